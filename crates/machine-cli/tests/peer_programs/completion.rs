//! What Tab does at the prompt of real shells in a real terminal. PowerShell is nowhere to be had here: its script is
//! clap's, and not tested.

use machine_testkit::skip;

use crate::common::Place;
use crate::tmux::Terminal;

/// The lines that a person types before Tab, and what is to be seen then: all of these words, none of those. (Where
/// there is little room, fish leaves out the beginnings of long words.)
const OFFERS: &[(&str, &[&str], &[&str])] = &[
    ("docker-machine st", &["start", "status", "stop"], &["ssh"]),
    ("docker-machine ip ", &["web1", "web2"], &["wfile"]),
    ("docker-machine create -d ", &["generic", "none"], &["web1"]),
    ("docker-machine create --driver=", &["generic", "none"], &["web1"]),
    ("docker-machine create -d generic --generic-ssh-", &["ssh-user", "ssh-port"], &["--engine"]),
    ("docker-machine ls --filter ", &["name=", "label=", "driver=generic", "state=Running"], &["web1"]),
    ("docker-machine ls --filter state=S", &["Saved", "Stopped", "Starting"], &["Running"]),
    ("docker-machine env --shell ", &["bash", "fish", "tcsh", "powershell", "emacs"], &["web1"]),
    ("docker-machine scp w", &["web1:", "web2:", "wfile"], &["--recursive"]),
    ("docker-machine create -d generic --generic-ssh-key ", &["wfile", "sub"], &["web1"]),
];

/// The lines that have one end, and what they become.
const ENDS: &[(&str, &str)] = &[
    ("docker-machine insp", "docker-machine inspect"),
    ("docker-machine inspect other", "docker-machine inspect other-machine"),
    ("docker-machine create --driver=gen", "docker-machine create --driver=generic"),
    (
        "docker-machine create -d generic --generic-ip",
        "docker-machine create -d generic --generic-ip-address",
    ),
    ("docker-machine ls --filter driver=gen", "docker-machine ls --filter driver=generic"),
    ("docker-machine ls --filter state=Not", r"docker-machine ls --filter state=Not\ Found"),
    ("docker-machine scp o", "docker-machine scp other-machine:"),
    ("docker-machine scp a", r"docker-machine scp a\ b"),
    (
        "docker-machine create -d generic --generic-ssh-key=wf",
        "docker-machine create -d generic --generic-ssh-key=wfile",
    ),
];

fn tab(shell: &str, load: &str) {
    if !skip::require(&["tmux", shell]) {
        return;
    }
    let place = Place::new();
    for name in ["web1", "web2", "other-machine"] {
        place.create_none(name, &[]);
    }
    std::fs::create_dir(place.root().join("sub dir")).unwrap();
    for file in ["wfile", "a b"] {
        std::fs::write(place.root().join(file), "").unwrap();
    }
    let terminal = Terminal::open(&place, shell, 180, 50);
    terminal.line(load);
    terminal.line("echo LOADED");
    terminal.shows("\nLOADED\n");
    for (typed, words, others) in OFFERS {
        terminal.clear();
        terminal.text(typed);
        terminal.key("Tab");
        terminal.key("Tab");
        let screen = terminal.until(&format!("{typed:?} is completed with {words:?}"), |screen| {
            words.iter().all(|word| screen.contains(word))
        });
        for other in *others {
            assert!(!screen.contains(other), "{other} is no end of {typed:?}:\n{screen}");
        }
    }
    for (typed, whole) in ENDS {
        terminal.clear();
        terminal.text(typed);
        terminal.key("Tab");
        terminal.until(&format!("{typed:?} becomes {whole:?}"), |screen| {
            screen.lines().any(|line| line.strip_prefix("> ") == Some(whole))
        });
    }
}

#[test]
fn bash() {
    tab("bash", "source <(docker-machine completion bash)");
}

#[test]
fn bash_with_bash_completion() {
    let file = "/usr/share/bash-completion/bash_completion";
    if !std::path::Path::new(file).exists() {
        skip::because("no bash-completion here; `cargo xtask setup` installs it");
        return;
    }
    tab("bash", &format!(". {file}; source <(docker-machine completion bash)"));
}

#[test]
fn zsh() {
    tab("zsh", "autoload -Uz compinit && compinit -u -D; source <(docker-machine completion zsh)");
}

#[test]
fn fish() {
    tab("fish", "docker-machine completion fish | source");
}
