//! What is left and said when something fails: crash reports, interrupts, panics of none.

mod common;

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{Place, text};

fn reports(store: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(store.join("crash-reports")) else { return Vec::new() };
    entries.flatten().map(|entry| std::fs::read_to_string(entry.path()).unwrap()).collect()
}

/// A store whose CA is no certificate: no create can succeed, and it is not a mistake in a flag.
fn broken_store() -> Place {
    let place = Place::new();
    let certs = place.store().join("certs");
    std::fs::create_dir_all(&certs).unwrap();
    for file in ["ca.pem", "ca-key.pem", "cert.pem", "key.pem"] {
        std::fs::write(certs.join(file), "not a certificate\n").unwrap();
    }
    place
}

const CREATE: [&str; 6] = ["create", "-d", "none", "--url", "tcp://127.0.0.1:1", "web1"];

#[test]
fn a_failed_create_leaves_a_report_and_says_where() {
    let place = broken_store();
    let run = place.run(&CREATE);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("crash-reports") && said.contains("sent nowhere"), "{said}");
    let reports = reports(&place.store());
    assert_eq!(reports.len(), 1);
    for part in
        ["program: docker-machine version", "system: ", "shell: /bin/bash", "command: create", "driver: none"]
    {
        assert!(reports[0].contains(part), "{part}: {}", reports[0]);
    }
}

#[test]
fn reports_can_be_refused_and_are_not_made_of_mistakes() {
    let place = broken_store();
    std::fs::write(place.store().join("no-error-report"), "").unwrap();
    assert_eq!(place.run(&CREATE).status.code(), Some(1));
    std::fs::remove_file(place.store().join("no-error-report")).unwrap();
    let mut command = place.command(&["--bugsnag-api-token=no-report"]);
    assert_eq!(command.args(CREATE).output().unwrap().status.code(), Some(1));
    assert!(reports(&place.store()).is_empty());
    let place = Place::new();
    assert_eq!(place.run(&["create", "-d", "none", "x"]).status.code(), Some(1));
    assert_eq!(
        place
            .run(&["create", "-d", "generic", "--generic-ip-address", "h", "--generic-ssh-key", "/no", "x"])
            .status
            .code(),
        Some(3)
    );
    assert!(reports(&place.store()).is_empty());
}

#[test]
fn an_interrupted_create_says_what_is_left_and_how_to_go_on() {
    let place = Place::new();
    // A port that takes connections and never speaks stands in for a host that hangs.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port().to_string();
    let key = place.root().join("key");
    let made = std::process::Command::new("ssh-keygen")
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&key)
        .status();
    if !made.is_ok_and(|status| status.success()) {
        machine_testkit::skip::because("no ssh-keygen here");
        return;
    }
    let args = ["create", "-d", "generic", "--generic-ip-address", "127.0.0.1", "--generic-ssh-port", &port];
    let child = place
        .command(&args)
        .arg("--generic-ssh-key")
        .arg(&key)
        .arg("web1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let record = place.store().join("machines/web1/config.json");
    let started = Instant::now();
    while !record.exists() {
        assert!(started.elapsed() < Duration::from_secs(60), "no record");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let run = child.wait_with_output().unwrap();
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(130), "{said}");
    assert!(said.contains("create --resume web1") && said.contains("rm web1"), "{said}");
    let rows = place.answer(&["ls", "-t", "1"]);
    assert!(rows.contains("interrupted"), "{rows}");
    assert!(place.answer(&["rm", "-y", "web1"]).contains("Successfully removed web1"));
}

#[test]
fn a_failed_resume_of_nothing_is_clear() {
    let place = Place::new();
    let run = place.run(&["create", "--resume", "nosuch"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(
        text(&run.stderr).starts_with("Docker machine \"nosuch\" does not exist"),
        "{}",
        text(&run.stderr)
    );
    place.create_none("web1", &[]);
    assert!(place.answer(&["create", "--resume", "web1"]).contains("web1"));
}
