//! Interactive sessions: this test program starts itself again as the one that has the terminal, under a real pty made
//! by `script`, or with pipes.

mod support;

use std::io::{Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use machine_ssh::{HostKeyPolicy, Options, PublicKey, Session, ShellRequest, Target};
use support::{Sshd, have, have_sshd, only};

/// Set for the program at the terminal: port, user, key file, host key, and `pty` or the like.
const ROLE: &str = "MACHINE_SSH_TEST_SHELL";

/// Not a test but the program at the terminal, when it is told to be that.
#[test]
fn at_the_terminal() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut words = role.split('|');
    let mut word = || words.next().expect("role").to_owned();
    let (port, user, key, pin) = (word(), word(), PathBuf::from(word()), word());
    let (pty, end, command) = (word(), word(), word());
    let request = ShellRequest {
        command: (!command.is_empty()).then_some(command),
        pty: match pty.as_str() {
            "yes" => Some(true),
            "no" => Some(false),
            _ => None,
        },
        ..ShellRequest::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let status = runtime.block_on(async {
        let target = Target::new("127.0.0.1", port.parse().expect("port"), user);
        let policy = HostKeyPolicy::Pinned(vec![PublicKey::parse(&pin).expect("pin")]);
        let session =
            Session::connect(&target, &only(&key), &policy, &Options::default()).await.expect("connect");
        let shell = session.shell(&request);
        tokio::pin!(shell);
        let pause = tokio::time::sleep(Duration::from_millis(500));
        match end.as_str() {
            "panic" => tokio::select! { _ = &mut shell => {}, () = pause => panic!("on purpose") },
            "abandon" => tokio::select! { _ = &mut shell => {}, () = pause => return 99 },
            _ => {}
        }
        shell.await.unwrap_or_else(|error| {
            eprintln!("{error}");
            77
        })
    });
    std::process::exit(status);
}

fn role(server: &Sshd, pty: &str, end: &str, command: &str) -> String {
    let pin = server.host_keys[0].to_line();
    let user = support::user();
    format!("{}|{user}|{}|{pin}|{pty}|{end}|{command}", server.port, server.key.display())
}

fn own_program() -> String {
    format!("{} --exact at_the_terminal --nocapture --quiet", std::env::current_exe().expect("exe").display())
}

/// The program with pipes for its streams.
fn piped(server: &Sshd, pty: &str, command: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("exec {}", own_program())])
        .env(ROLE, role(server, pty, "no", command))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("start")
}

/// A shell line at a terminal of 100 by 30 that `script` makes, with `$PROGRAM` for ours. It gives what is seen there.
struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    seen: std::sync::Arc<std::sync::Mutex<String>>,
}

impl Terminal {
    fn open(server: &Sshd, pty: &str, end: &str, command: &str, line: &str) -> Self {
        let mut child = Command::new("script")
            .args(["-q", "-e", "-c", &format!("stty cols 100 rows 30; {line}"), "/dev/null"])
            .env(ROLE, role(server, pty, end, command))
            .env("PROGRAM", own_program())
            .env("TERM", "vt220")
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("script");
        let keys = child.stdin.take();
        let mut screen = child.stdout.take().expect("stdout");
        let seen = std::sync::Arc::new(std::sync::Mutex::new(String::new()));
        let sink = seen.clone();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = screen.read(&mut buffer) {
                sink.lock().expect("lock").push_str(&String::from_utf8_lossy(&buffer[..length]));
            }
        });
        Self { child, keys, seen }
    }

    fn seen(&self) -> String {
        self.seen.lock().expect("lock").clone()
    }

    fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.seen().contains(text) {
            assert!(Instant::now() < deadline, "waited for {text:?}; seen: {:?}", self.seen());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn press(&mut self, keys: &str) {
        let stdin = self.keys.as_mut().expect("open");
        stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush()).expect("press");
    }

    fn ends_with(mut self) -> Option<i32> {
        let status = self.child.wait().expect("wait");
        self.keys = None;
        status.code()
    }
}

#[test]
fn a_shell_at_a_terminal_has_a_terminal_there_and_leaves_this_one_as_it_was() {
    if !have_sshd() || !have(&["script", "stty"]) {
        return;
    }
    let server = Sshd::start();
    let line = "stty -a > $BEFORE; $PROGRAM; echo status=$?; stty -a > $AFTER";
    let (before, after) = (server.folder.path().join("before"), server.folder.path().join("after"));
    let line = line
        .replace("$BEFORE", &before.display().to_string())
        .replace("$AFTER", &after.display().to_string());
    let mut terminal = Terminal::open(&server, "auto", "no", "", &line);
    // What is typed comes back as an echo from there: the answers have in them what was not typed.
    terminal.press("PS1=; echo \"tty=$(tty)\" \"size=$(stty size)\" \"term=$TERM\"\r");
    terminal.wait_for("tty=/dev/pts/");
    terminal.wait_for("size=30 100");
    terminal.wait_for("term=vt220");
    // Control-C goes there and ends what runs there, not us.
    terminal.press("sleep 1000\r");
    std::thread::sleep(Duration::from_millis(300));
    terminal.press("\u{3}");
    terminal.press("echo still=$((20 + 3))\r");
    terminal.wait_for("still=23");
    terminal.press("exit 5\r");
    terminal.wait_for("status=5");
    assert_eq!(terminal.ends_with(), Some(0));
    let read = |path| std::fs::read_to_string(path).expect("stty");
    assert_eq!(read(before), read(after));
}

#[test]
fn a_change_of_the_terminals_size_is_told_there() {
    if !have_sshd() || !have(&["script", "stty"]) {
        return;
    }
    let server = Sshd::start();
    let tty = server.folder.path().join("tty");
    let mut terminal =
        Terminal::open(&server, "auto", "no", "", &format!("tty > {}; $PROGRAM", tty.display()));
    terminal.press("PS1=; echo \"first=$(stty size)\"\r");
    terminal.wait_for("first=30 100");
    let name = std::fs::read_to_string(&tty).expect("tty");
    let resized =
        Command::new("stty").args(["-F", name.trim(), "cols", "77", "rows", "22"]).status().expect("stty");
    assert!(resized.success());
    terminal.press("while [ \"$(stty size)\" != '22 77' ]; do sleep 0.1; done; echo new=$((1 + 1))\r");
    terminal.wait_for("new=2");
    terminal.press("exit\r");
    assert_eq!(terminal.ends_with(), Some(0));
}

#[test]
fn the_terminal_is_restored_after_a_signal_a_lost_connection_and_a_panic() {
    if !have_sshd() || !have(&["script", "stty"]) {
        return;
    }
    let server = Sshd::start();
    let cases = [
        ("kill -TERM $(cat @FILE@)", "no", "status=143"),
        ("kill -9 $PPID", "no", "status=255"),
        ("", "abandon", "status=99"),
        ("", "panic", "status=101"),
    ];
    for (n, (typed, end, expected)) in cases.into_iter().enumerate() {
        let at = |name: &str| server.folder.path().join(format!("{name}{n}"));
        let (before, after, pid) = (at("before"), at("after"), at("pid"));
        let line = format!(
            "stty -a > {}; sh -c 'echo $$ > {}; exec '\"$PROGRAM\"; echo status=$?; stty -a > {}",
            before.display(),
            pid.display(),
            after.display()
        );
        let mut terminal = Terminal::open(&server, "auto", end, "", &line);
        if !typed.is_empty() {
            terminal.press("PS1=; echo up=$((40 + 2))\r");
            terminal.wait_for("up=42");
            terminal.press(&format!("{}\r", typed.replace("@FILE@", &pid.display().to_string())));
        }
        terminal.wait_for(expected);
        assert_eq!(terminal.ends_with(), Some(0));
        let read = |path| std::fs::read_to_string(path).expect("stty");
        assert_eq!(read(before), read(after), "{expected}");
    }
}

#[test]
fn with_pipes_streams_stay_apart_and_the_end_of_input_is_passed_on() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let mut child = piped(&server, "auto", "cat; echo oops >&2; exit 3");
    let data = "0123456789abcdef".repeat(100_000);
    let mut stdin = child.stdin.take().expect("stdin");
    let fed = data.clone();
    let feeder = std::thread::spawn(move || stdin.write_all(fed.as_bytes()).expect("feed"));
    let output = child.wait_with_output().expect("wait");
    feeder.join().expect("feeder");
    // The test harness says something on stdout first.
    assert!(output.stdout.ends_with(data.as_bytes()));
    assert!(String::from_utf8_lossy(&output.stderr).contains("oops"));
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn statuses_signals_and_forced_terminals_come_through() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let status = |pty: &str, command: &str| {
        let output = piped(&server, pty, command).wait_with_output().expect("wait");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(status("no", "exit 255").0, Some(255));
    assert_eq!(status("no", "kill -KILL $$").0, Some(137));
    assert_eq!(status("no", "kill -9 $PPID; sleep 60").0, Some(255));
    assert!(status("no", "tty").1.contains("not a tty"));
    let (code, said) = status("yes", "tty");
    assert!(code == Some(0) && said.contains("/dev/pts/"), "{said}");
}

#[test]
fn the_programs_end_does_not_wait_for_a_key() {
    if !have_sshd() {
        return;
    }
    let server = Sshd::start();
    let mut child = piped(&server, "no", "exit 6");
    // Standard input stays open and silent.
    let stdin = child.stdin.take().expect("stdin");
    assert_eq!(child.wait().expect("wait").code(), Some(6));
    drop(stdin);
}
