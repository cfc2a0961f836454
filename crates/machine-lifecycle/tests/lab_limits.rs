//! Waits that come to their limit against a real host. The program's own limits are minutes; here they are seconds,
//! all else is as in the program.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use machine_core::{EngineOptions, FlagValue, FlagValues, MachineName, Silent, SwarmOptions};
use machine_lifecycle::{CreateRequest, Error, InstallMethod, Lifecycle, Settings};
use machine_store::{Journal, Phase, Status, Store};
use machine_testkit::lab::{Host, KeyKind, Lab, Spec, Variant};

const SHORT: Duration = Duration::from_secs(3);

/// What can be done with the machines of a store, with short limits.
fn impatient(root: &Path) -> Lifecycle {
    let mut settings = Settings::for_store(root);
    settings.lock_limit = SHORT;
    settings.reach_limit = SHORT;
    settings.engine_limit = SHORT;
    settings.dial_limit = SHORT;
    Lifecycle::new(Store::new(root), Arc::new(machine_drivers::Builtin), settings)
}

fn patient(root: &Path) -> Lifecycle {
    Lifecycle::new(Store::new(root), Arc::new(machine_drivers::Builtin), Settings::for_store(root))
}

fn request(lab: &Lab, host: &Host) -> CreateRequest {
    let mut flags = FlagValues::default();
    let key = lab.key(KeyKind::Rsa).to_string_lossy().into_owned();
    flags.set("generic-ip-address", FlagValue::Str(host.address().to_string()));
    flags.set("generic-ssh-user", FlagValue::Str("root".into()));
    flags.set("generic-ssh-key", FlagValue::Str(key));
    flags.set("generic-ssh-port", FlagValue::Int(host.ssh_port().into()));
    flags.set("generic-engine-port", FlagValue::Int(2376));
    CreateRequest {
        name: MachineName::new("web").unwrap(),
        driver: "generic".into(),
        flags,
        engine: EngineOptions::default(),
        swarm: SwarmOptions::default(),
        tls_sans: Vec::new(),
        key_algorithm: machine_tls::KeyAlgorithm::default(),
        install: InstallMethod::None,
        registry_cas: Vec::new(),
        ssh_jumps: Vec::new(),
        allow_from: Vec::new(),
        rollback: false,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn inside(host: &Host, line: &str) {
    host.shell_inside(line).unwrap().expect_success();
}

fn journal(lifecycle: &Lifecycle) -> Journal {
    lifecycle.store().load_journal("web").unwrap().unwrap()
}

#[track_caller]
fn assert_says(error: &Error, texts: &[&str]) {
    let all = format!("{error} | {}", error.hint().unwrap_or_default());
    for text in texts {
        assert!(all.contains(text), "no {text:?} in {all}");
    }
}

#[test]
fn an_ssh_server_that_is_away_is_waited_for_and_named() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let host = lab.host(Spec::new(Variant::Docker)).unwrap();
    let root = tempfile::tempdir().unwrap();
    let lifecycle = impatient(root.path());
    inside(&host, "systemctl stop ssh.socket ssh.service");

    let error = block_on(lifecycle.create(request(&lab, &host), &Silent)).unwrap_err();
    assert_says(
        &error,
        &["Error creating machine: ", "web", "gave up waiting for", "refused", "create --resume web"],
    );
    let seen = journal(&lifecycle);
    assert_eq!(seen.phase, Phase::Reach);
    assert!(
        matches!(&seen.status, Status::Failed { message, .. } if message.contains("refused")),
        "{seen:?}"
    );

    // Somebody turns it on: it goes on where it stopped.
    inside(&host, "systemctl start ssh.service");
    host.wait_for_ssh().unwrap();
    block_on(patient(root.path()).resume("web", &Silent)).unwrap();
    assert_eq!(journal(&lifecycle).status, Status::Done);

    inside(&host, "systemctl stop ssh.socket ssh.service");
    let error = block_on(lifecycle.provision("web", &Silent)).unwrap_err();
    assert_says(&error, &["\"web\"", "ssh: ", "refused", &host.address().to_string(), "SSH port"]);
    assert_eq!(journal(&lifecycle).phase, Phase::Reach);
}

#[test]
fn a_host_that_stands_still_is_told_from_one_that_refuses() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let host = lab.host(Spec::new(Variant::Docker)).unwrap();
    let root = tempfile::tempdir().unwrap();
    block_on(patient(root.path()).create(request(&lab, &host), &Silent)).unwrap();
    let lifecycle = impatient(root.path());
    host.pause().unwrap();
    let error = block_on(lifecycle.provision("web", &Silent)).unwrap_err();
    assert_says(&error, &["\"web\"", "ssh: ", "the port is open but silent"]);
    host.resume().unwrap();
    block_on(patient(root.path()).provision("web", &Silent)).unwrap();
    assert_eq!(journal(&lifecycle).status, Status::Done);
}

#[test]
fn a_machine_that_somebody_works_on_is_waited_for_and_the_holder_named() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let host = lab.host(Spec::new(Variant::Docker)).unwrap();
    let root = tempfile::tempdir().unwrap();
    let lifecycle = impatient(root.path());
    block_on(patient(root.path()).create(request(&lab, &host), &Silent)).unwrap();
    let other = Store::new(root.path()).with_command("docker-machine upgrade");
    let lock = other.lock_machine("web", Duration::ZERO).unwrap();
    let holder = format!("docker-machine upgrade (process {}", std::process::id());
    for error in [
        block_on(lifecycle.remove("web", false, &Silent)).unwrap_err(),
        block_on(lifecycle.remove("web", true, &Silent)).unwrap_err(),
        block_on(lifecycle.provision("web", &Silent)).unwrap_err(),
    ] {
        assert_says(
            &error,
            &["machine \"web\" is in use by", &holder, "waited 3 s", "Wait until it is done"],
        );
    }
    drop(lock);
    block_on(lifecycle.remove("web", false, &Silent)).unwrap();
    assert!(!lifecycle.store().exists("web"));
}
