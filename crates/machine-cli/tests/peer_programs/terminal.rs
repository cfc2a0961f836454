//! What a person sees at a real terminal, and what keys do.

use machine_testkit::lab::{Host, KeyKind, Lab, Spec, Variant};
use machine_testkit::skip;

use crate::common::Place;
use crate::tmux::Terminal;

/// A terminal with bash, a store with the machine `web1`; `None` without tmux.
fn terminal(columns: u16) -> Option<(Place, Terminal)> {
    if !skip::require(&["tmux", "bash"]) {
        return None;
    }
    let place = Place::new();
    place.create_none("web1", &[]);
    let terminal = Terminal::open(&place, "bash", columns, 40);
    Some((place, terminal))
}

/// What ends a prompt of `rm`: keys, the exit code, and what is left.
const ANSWERS: &[(&[&str], &str, &str)] = &[
    (&["n", "Enter"], "rc 0", "web1\n"),
    (&["Enter"], "rc 0", "web1\n"),
    (&["C-c"], "rc 130", "web1\n"),
    (&["C-d"], "rc 0", "web1\n"),
    (&["y", "Enter"], "rc 0", ""),
];

#[test]
fn rm_asks() {
    let Some((place, terminal)) = terminal(120) else { return };
    for (keys, code, left) in ANSWERS {
        terminal.clear();
        terminal.line("docker-machine rm web1");
        terminal.shows("Are you sure? (y/n):");
        for key in *keys {
            terminal.key(key);
        }
        // The prompt stands on a line of its own, whatever ended the question.
        terminal.until("the prompt is on a line of its own", |screen| screen.trim_end().ends_with("\n>"));
        terminal.line("echo rc $?");
        terminal.shows(&format!("\n{code}\n"));
        assert_eq!(place.answer(&["ls", "-q"]), *left, "{keys:?}");
    }
}

#[test]
fn ls_watch_draws_over_what_it_drew() {
    let Some((place, terminal)) = terminal(160) else { return };
    terminal.line("docker-machine ls --watch -t 1");
    terminal.shows("\nweb1 ");
    place.create_none("web2", &[]);
    let screen = terminal.shows("\nweb2 ");
    assert_eq!(screen.matches("NAME ").count(), 1, "{screen}");
    assert_eq!(screen.matches("\nweb1 ").count(), 1, "{screen}");
    place.answer(&["rm", "-y", "web1"]);
    terminal.until("web1 is gone", |screen| !screen.contains("\nweb1 ") && screen.contains("web2 "));
    terminal.key("C-c");
    terminal.until("the prompt is on a line of its own", |screen| screen.trim_end().ends_with("\n>"));
    terminal.line("echo rc $?");
    terminal.shows("\nrc 130\n");
}

#[test]
fn ls_fits_a_narrow_terminal_and_is_whole_in_a_pipe() {
    let Some((place, terminal)) = terminal(60) else { return };
    place.create_none("a-machine-with-a-name-that-is-rather-long", &[]);
    terminal.line("docker-machine ls -t 1; echo END");
    let screen = terminal.shows("\nEND\n");
    let rows: Vec<&str> = screen.lines().skip_while(|line| !line.starts_with("NAME ")).collect();
    assert!(
        rows[1].starts_with("a-machine") && rows[1].contains('…') && rows[2].starts_with("web1 "),
        "{screen}"
    );
    assert_eq!(rows[3], "END", "{screen}");
    terminal.line("docker-machine ls -t 1 | grep -c a-machine-with-a-name-that-is-rather-long");
    terminal.shows("\n1\n");
}

#[test]
fn somebody_who_reads_one_line_or_nothing() {
    let Some((_place, terminal)) = terminal(160) else { return };
    terminal.line("docker-machine inspect web1 | head -1; echo rc ${PIPESTATUS[1]}");
    terminal.shows("\n{\nrc 0\n");
    for line in ["ls -q >&-", "--help >&-", "inspect web1 <&- >/dev/null", "env -u 2>&- >/dev/null"] {
        terminal.clear();
        terminal.line(&format!("docker-machine {line}; echo rc $?"));
        let screen = terminal.shows("\nrc ");
        assert!(screen.contains("\nrc 0\n") && !screen.contains("panic"), "{screen}");
    }
}

#[test]
fn an_unknown_word_or_machine_is_one_clear_line() {
    let Some((_place, terminal)) = terminal(160) else { return };
    terminal.line("NO_COLOR=1 docker-machine status nosuch; NO_COLOR=1 docker-machine nosuch");
    terminal.shows("See 'docker-machine --help'.");
    let said = terminal.coloured();
    assert!(said.contains("Docker machine \"nosuch\" does not exist."), "{said}");
    assert!(!said.contains('\u{1b}'), "NO_COLOR: {said}");
}

/// The command line that creates a machine on the host.
fn create(lab: &Lab, host: &Host, name: &str) -> String {
    format!(
        "docker-machine create -d generic --generic-ip-address {} --generic-ssh-key {} {name}",
        host.address(),
        lab.key(KeyKind::Ed25519).display()
    )
}

#[test]
fn a_create_is_watched_interrupted_and_resumed_and_a_shell_is_had() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let Some((place, terminal)) = terminal(160) else { return };
    let host = lab.host(Spec::new(Variant::Docker)).unwrap();
    terminal.line(&create(&lab, &host, "live"));
    terminal.until("the create works on the host", |screen| {
        screen.contains("✓ reach") && screen.contains(" provision ")
    });
    terminal.key("C-c");
    terminal.shows("Interrupted.");
    terminal.line("echo rc $?");
    let screen = terminal.shows("\nrc 130\n");
    assert!(screen.contains("docker-machine create --resume live"), "{screen}");
    assert!(place.answer(&["ls", "-f", "{{.Name}} {{.Error}}"]).contains("live creating, interrupted"));

    terminal.clear();
    terminal.line("docker-machine create --resume live");
    let screen = terminal.shows("docker-machine env live");
    for phase in ["✓ reach", "✓ provision", "✓ ready"] {
        assert_eq!(screen.matches(phase).count(), 1, "{screen}");
    }
    a_shell(&terminal);
    a_dumb_terminal(&terminal, &create(&lab, &host, "dumb"));
}

/// The shell over there has the terminal's size, follows it, and its exit code is ours.
fn a_shell(terminal: &Terminal) {
    terminal.clear();
    terminal.line("docker-machine ssh live");
    terminal.shows(":~#");
    terminal.line("clear; stty size");
    terminal.shows("40 160\n");
    terminal.resize(100, 30);
    // The new size is on its way: asked for until it has come.
    terminal.line("until stty size | grep '^30 100$'; do :; done; exit 7");
    terminal.shows("\n30 100\n");
    terminal.line("echo rc $?");
    terminal.shows("\nrc 7\n");
    terminal.resize(160, 40);
    // Keys are echoed and lines are edited as before.
    terminal.line("stty -a | grep -qw -e -echo -e -icanon || echo COOKED");
    terminal.shows("\nCOOKED\n");
}

/// Plain lines where the terminal can't draw.
fn a_dumb_terminal(terminal: &Terminal, create: &str) {
    terminal.clear();
    terminal.line(&format!("docker-machine rm -y live; TERM=dumb {create}"));
    terminal.shows("docker-machine env dumb");
    let said = terminal.coloured();
    assert!(said.contains("Provisioning with debian..."), "{said}");
    assert!(!said.contains('✓') && !said.contains('\u{1b}'), "{said}");
}
