//! Clocks that jump: certificates that are not valid yet, or not any more, are named and healed.

mod fault_support;
mod support;

use std::process::Command;

use fault_support::{Place, Snapshot, run};
use machine_testkit::lab::Variant;
use machine_testkit::skip;
use support::{World, assert_works};

const DAY: i64 = 24 * 60 * 60;

/// Lets a command believe that it runs so many seconds later. Its timers go as ever.
fn later(command: Command, seconds: i64) -> Command {
    let mut faked = Command::new("faketime");
    faked.args(["--exclude-monotonic", "-f", &format!("{seconds:+}s")]).arg(command.get_program());
    faked.args(command.get_args()).env_clear().stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            faked.env(name, value);
        }
    }
    faked.current_dir(command.get_current_dir().unwrap());
    faked
}

fn can_fake() -> bool {
    skip::require(&["faketime"])
}

/// Days from now until the CA of a store ends.
fn days_left(place: &Place) -> i64 {
    let text = std::fs::read_to_string(place.store().join("certs/ca.pem")).unwrap();
    let now = time_now();
    machine_tls::CertificateInfo::from_pem(&text).unwrap().days_left(now)
}

fn time_now() -> time::OffsetDateTime {
    time::OffsetDateTime::now_utc()
}

#[test]
fn certificates_of_a_clock_that_was_ahead_are_not_valid_yet_and_are_healed() {
    let Some(world) = World::new() else { return };
    if !can_fake() {
        return;
    }
    let host = world.host(Variant::Docker);
    world.create(&host, "web", &[]).ok();
    // What a computer leaves whose clock was a year ahead for a while: the CA is in use, the rest is from the future.
    let words = ["regenerate-certs", "-f", "--client-certs", "web"];
    let future = run(later(world.command(&words), 365 * DAY));
    // The host's clock is right: the engine refuses us, or says nothing of it; either way we find out.
    assert!(future.code == 0 || future.stderr.contains("cert"), "{future}");
    let told = run(world.command(&["env", "web"]));
    told.fails_saying(
        1,
        &["Error checking TLS connection", "certificate", "not yet valid", "regenerate-certs"],
    );
    let error = world.ls_error("web");
    assert!(error.contains("certificate") || error.contains("x509"), "{error}");
    world.answer(&words);
    assert_works(&world, "web");
}

#[test]
fn certificates_of_a_store_from_the_future_are_healed() {
    let Some(world) = World::new() else { return };
    if !can_fake() {
        return;
    }
    let host = world.host(Variant::Docker);
    // All of it, the CA too, is made a year ahead.
    let (address, key) = (host.address().to_string(), world.key());
    let words =
        ["create", "-d", "generic", "--generic-ip-address", &address, "--generic-ssh-key", &key, "web"];
    let made = run(later(world.command(&words), 365 * DAY));
    made.fails_saying(1, &["certificate", "create --resume web"]);
    world.answer(&["regenerate-certs", "-f", "--client-certs", "web"]);
    world.answer(&["create", "--resume", "web"]);
    assert_works(&world, "web");
}

#[test]
fn certificates_of_a_clock_that_was_behind_have_ended_and_are_healed() {
    let Some(world) = World::new() else { return };
    if !can_fake() {
        return;
    }
    let host = world.host(Variant::Docker);
    let (address, key) = (host.address().to_string(), world.key());
    let words =
        ["create", "-d", "generic", "--generic-ip-address", &address, "--generic-ssh-key", &key, "web"];
    // Four years behind: what is made there ended a year ago.
    let made = run(later(world.command(&words), -4 * 365 * DAY));
    made.fails_saying(1, &["certificate", "create --resume web"]);
    run(world.command(&["env", "web"])).fails_saying(1, &["expired", "regenerate-certs"]);
    world.answer(&["regenerate-certs", "-f", "--client-certs", "web"]);
    world.answer(&["create", "--resume", "web"]);
    assert_works(&world, "web");
}

#[test]
fn the_end_of_certificates_is_told_a_month_ahead_on_stderr_only() {
    let Some(world) = World::new() else { return };
    if !can_fake() {
        return;
    }
    let host = world.host(Variant::Docker);
    world.create(&host, "web", &[]).ok();
    let info = |file: &str| {
        let text = std::fs::read_to_string(world.store().join("certs").join(file)).unwrap();
        machine_tls::CertificateInfo::from_pem(&text).unwrap().days_left(time_now())
    };
    let left = info("ca.pem").min(info("cert.pem"));
    for words in
        [&["env", "--shell", "sh", "web"][..], &["config", "web"], &["ls", "-f", "{{.Name}} {{.Error}}"]]
    {
        let (early, late) = ((left - 40) * DAY, (left - 29) * DAY);
        let quiet = run(later(world.command(words), early));
        assert!(!quiet.stderr.contains("certificate"), "{quiet}");
        let told = run(later(world.command(words), late));
        assert_eq!(told.ok(), quiet.ok(), "stdout is as ever");
        assert!(told.stderr.contains("certificate"), "{told}");
        assert!(told.stderr.contains("days") && told.stderr.contains("regenerate-certs"), "{told}");
    }
}

/// A create years later renews what has ended, under the same CA key.
#[test]
fn an_ended_ca_is_renewed_by_the_next_create_and_one_from_the_future_is_not() {
    if !can_fake() {
        return;
    }
    let place = Place::new();
    let words =
        ["create", "-d", "none", "--url", fault_support::NOWHERE, "--tls-key-algorithm", "ecdsa-p256"];
    let with = |name| place.command(&[&words[..], &[name]].concat());
    run(later(with("old"), -4 * 365 * DAY)).ok();
    assert!(days_left(&place) < 0);
    let key = std::fs::read(place.store().join("certs/ca-key.pem")).unwrap();
    run(with("new")).ok();
    assert!(days_left(&place) > 1000);
    assert_eq!(std::fs::read(place.store().join("certs/ca-key.pem")).unwrap(), key);
    // One from the future is not replaced unasked: it may be this clock that is wrong.
    let place = Place::new();
    let with = |name| place.command(&[&words[..], &[name]].concat());
    run(later(with("old"), 365 * DAY)).ok();
    let before = Snapshot::of(&place.store().join("certs"));
    run(with("new"))
        .fails_saying(1, &["is not valid before", "clock right", "regenerate-certs --client-certs"]);
    before.assert_same(&place.store().join("certs"));
    assert_eq!(place.run(&["ls", "-q"]).ok(), "old\n");
}
