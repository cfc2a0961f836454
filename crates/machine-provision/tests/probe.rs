//! The probe, run by real shells on this computer, and answers that are none.

mod host;

use std::io::Write;
use std::process::{Command, Stdio};

use host::shells;
use machine_provision::{EngineState, HostFacts, ProbeError, probe};
use proptest::prelude::*;

fn answer_of(argv: &[&str], before: &str) -> String {
    let mut child = Command::new(argv[0])
        .args(&argv[1..])
        .arg("-s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the shell starts");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(before.as_bytes()).unwrap();
    stdin.write_all(probe::script().as_bytes()).unwrap();
    drop(stdin);
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

#[test]
fn this_computer_is_known() {
    for shell in shells() {
        let facts = HostFacts::parse(&answer_of(&shell, "")).unwrap();
        let os_release = std::fs::read_to_string("/etc/os-release").unwrap();
        assert_eq!(facts.os, machine_provision::OsRelease::parse(&os_release), "{shell:?}");
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(facts.clock_skew_s(now).unwrap().abs() < 600, "{shell:?}");
        let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
        assert_eq!(facts.kernel, kernel.trim(), "{shell:?}");
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(facts.hostname, hostname.trim(), "{shell:?}");
        assert!(facts.free_root_kib.unwrap() > 0 && facts.free_engine_kib.unwrap() > 0, "{shell:?}");
        assert_eq!(facts.engine.dockerd_path.is_none(), facts.engine.state == EngineState::Absent);
        assert!(matches!(facts.cgroup, Some(1 | 2)));
    }
}

#[test]
fn a_talkative_login_shell_changes_nothing() {
    let shell = &shells()[0];
    let noisy = answer_of(shell, "echo Welcome; printf 'kernel FreeBSD no line end'\n");
    let mut facts = HostFacts::parse(&noisy).unwrap();
    let quiet = HostFacts::parse(&answer_of(shell, "")).unwrap();
    // What moves between two looks.
    facts.clock_s = quiet.clock_s;
    facts.free_root_kib = quiet.free_root_kib;
    facts.free_engine_kib = quiet.free_engine_kib;
    facts.locks.clone_from(&quiet.locks);
    facts.engine.state = quiet.engine.state;
    facts.engine.rootless = quiet.engine.rootless;
    facts.engine.data_of.clone_from(&quiet.engine.data_of);
    assert_eq!(facts, quiet);
    let windows = noisy.replace('\n', "\r\n");
    assert_eq!(HostFacts::parse(&windows).unwrap().os, quiet.os);
}

#[test]
fn answers_that_are_none() {
    let whole = answer_of(&shells()[0], "");
    for answer in
        ["", "% Invalid input detected at '^' marker.\n", "This account is currently not available.\n"]
    {
        assert_eq!(HostFacts::parse(answer), Err(ProbeError::NotAShell { answer: answer.trim().to_owned() }));
    }
    let half = &whole[..whole.len() / 2];
    assert!(matches!(HostFacts::parse(half), Err(ProbeError::CutOff { .. })));
    let darwin = whole.replace("kernel Linux", "kernel Darwin");
    assert_eq!(HostFacts::parse(&darwin), Err(ProbeError::NotLinux { system: "Darwin".to_owned() }));
}

proptest! {
    #[test]
    fn no_answer_makes_it_panic(words in proptest::collection::vec(
        prop_oneof![
            any::<String>(),
            Just("%docker-machine-probe-5f0c9d%".to_owned()),
            Just(" begin\n".to_owned()), Just(" end\n".to_owned()), Just(" file ".to_owned()),
            Just(" lock ".to_owned()), Just(" version ".to_owned()), Just("\n".to_owned()),
        ], 0..30)) {
        let _ = HostFacts::parse(&words.concat());
    }
}
