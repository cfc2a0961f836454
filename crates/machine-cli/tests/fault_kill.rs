//! Processes that are ended in the middle, by kill -9 and by signals that ask: nothing is lost, nothing is in the way.

mod fault_support;
mod support;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use fault_support::{Ended, NOWHERE, Place, Watched, assert_clean, assert_unlocked, row, run};
use machine_testkit::lab::{Host, Variant};
use machine_testkit::skip;
use support::{World, assert_works};

/// The words of `create --debug` of a lab host under that name.
fn create(world: &World, host: &Host, name: &str) -> Command {
    let (address, key) = (host.address().to_string(), world.key());
    let words = [
        "--debug",
        "create",
        "-d",
        "generic",
        "--generic-ip-address",
        &address,
        "--generic-ssh-key",
        &key,
        name,
    ];
    world.command(&words)
}

/// The lines of `--debug` at which a phase or a step begins, in their order, without the machine's name.
fn moments(ended: &Ended) -> Vec<String> {
    let begins = |line: &str| {
        let (_, text) = line.split_once(") ")?;
        let phase = text.starts_with("phase ") && text.ends_with(" begins");
        let step = text.starts_with("step ") && text.ends_with(": begins");
        (phase || step).then(|| text.to_owned())
    };
    ended.stderr.lines().filter_map(begins).collect()
}

/// STATE and ERRORS of a machine in `ls`; `None` where it is not listed.
#[track_caller]
fn listed(world: &World, name: &str) -> Option<String> {
    row(&world.answer(&["ls", "-f", "{{.Name}}\t{{.State}} {{.Error}}"]), name)
}

/// What must hold after a create was ended at any moment; true where a record is left.
#[track_caller]
fn assert_incomplete_or_absent(world: &World, name: &str, at: &str) -> bool {
    assert_unlocked(&world.store());
    match listed(world, name) {
        None => {
            assert!(!world.machine_dir(name).exists(), "killed at {at}: a folder that ls does not show");
            false
        }
        Some(row) => {
            assert!(row.contains("creating, interrupted"), "killed at {at}: {row}");
            world.run(&["create", "-d", "none", "--url", NOWHERE, name]).fails_saying(
                1,
                &["already exists", &format!("create --resume {name}"), &format!("rm {name}")],
            );
            true
        }
    }
}

/// Kills creates of a host at those moments, and goes on in one of the three ways after each.
fn kill_creates_at(world: &World, host: &Host, moments: &[String]) {
    for (round, moment) in moments.iter().enumerate() {
        let name = format!("killed{round}");
        let mut process = Watched::spawn(create(world, host, &name));
        process.expect(moment);
        // Not only at the very moment: also a little into what it begins.
        std::thread::sleep(Duration::from_millis(round as u64 % 4 * 15));
        let ended = process.kill();
        let journal = fault_support::json(&world.machine_dir(&name).join("state.json"));
        if ended.code == 0 || journal.is_some_and(|journal| journal["status"]["state"] == "done") {
            // It was faster than we were: nothing was left to do but to say so.
            assert_works(world, &name);
        } else {
            assert_eq!(ended.code, 137, "{ended}");
            let there = assert_incomplete_or_absent(world, &name, moment);
            match round % 3 {
                0 if there => drop(world.answer(&["create", "--resume", &name])),
                1 if there => drop(world.answer(&["provision", &name])),
                2 if there => {
                    world.answer(&["rm", "-y", &name]);
                    run(create(world, host, &name)).ok();
                }
                _ => drop(run(create(world, host, &name)).ok().to_owned()),
            }
            assert_works(world, &name);
        }
        world.answer(&["rm", "-y", &name]);
        assert_eq!(listed(world, &name), None);
        assert_clean(&world.store());
    }
}

#[test]
fn a_create_that_is_killed_in_any_phase_is_completed_or_removed() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let whole = run(create(&world, &host, "whole"));
    whole.ok();
    let phases: Vec<String> = moments(&whole).into_iter().filter(|text| text.starts_with("phase ")).collect();
    let names: Vec<&str> = phases.iter().filter_map(|text| text.split(' ').nth(1)).collect();
    assert_eq!(names, ["certificates", "check", "record", "host", "reach", "provision", "ready"]);
    kill_creates_at(&world, &host, &phases);
    assert_works(&world, "whole");
}

#[test]
fn a_create_that_is_killed_in_any_step_on_the_host_is_completed_or_removed() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let whole = run(create(&world, &host, "whole"));
    whole.ok();
    let steps: Vec<String> = moments(&whole).into_iter().filter(|text| text.starts_with("step ")).collect();
    assert!(steps.len() > 3, "{steps:?}");
    kill_creates_at(&world, &host, &steps);
}

#[test]
fn new_certificates_that_are_killed_in_the_middle_are_healed() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "web", &[]).ok();
    let words = ["--debug", "regenerate-certs", "-f", "web"];
    let whole = run(world.command(&words));
    whole.ok();
    for (round, moment) in moments(&whole).iter().enumerate() {
        let mut process = Watched::spawn(world.command(&words));
        process.expect(moment);
        std::thread::sleep(Duration::from_millis(round as u64 % 4 * 15));
        let ended = process.kill();
        assert_unlocked(&world.store());
        if ended.code != 0 && world.journal("web")["status"]["state"] == "running" {
            let row = listed(&world, "web").unwrap();
            assert!(row.contains("regenerating certificates, interrupted"), "killed at {moment}: {row}");
        }
        world.answer(&["provision", "web"]);
        assert_works(&world, "web");
        assert_clean(&world.store());
    }
    // The client's certificate and the CA's copies, at moments that no line marks.
    let words = ["regenerate-certs", "-f", "--client-certs", "web"];
    for round in 0..6 {
        let process = Watched::spawn(world.command(&words));
        std::thread::sleep(Duration::from_millis(60 + round * 110));
        process.kill();
        assert_unlocked(&world.store());
        world.answer(&["provision", "web"]);
        assert_works(&world, "web");
    }
    assert_clean(&world.store().join("certs"));
}

#[test]
fn interrupt_and_terminate_say_how_to_go_on() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let rounds =
        [("INT", 130, "phase reach begins"), ("TERM", 143, "phase provision begins"), ("INT", 130, "step ")];
    for (round, (signal, code, moment)) in rounds.into_iter().enumerate() {
        let name = format!("asked{round}");
        let mut process = Watched::spawn(create(&world, &host, &name));
        process.expect(moment);
        process.signal(signal);
        let ended = process.finish();
        ended
            .fails_saying(code, &["Interrupted.", &format!("create --resume {name}"), &format!("rm {name}")]);
        // Somebody else may go on at once.
        assert!(assert_incomplete_or_absent(&world, &name, moment));
        world.answer(&["create", "--resume", &name]);
        assert_works(&world, &name);
        world.answer(&["rm", "-y", &name]);
        assert_clean(&world.store());
    }
}

/// A create of a machine that is only a URL; the certificates' keys are quick to make.
fn quick_create(place: &Place, name: &str) -> Command {
    place.command(&["create", "-d", "none", "--url", NOWHERE, "--tls-key-algorithm", "ecdsa-p256", name])
}

/// How long a command takes here; it must succeed.
fn time_of(command: Command) -> Duration {
    let started = Instant::now();
    run(command).ok();
    started.elapsed()
}

#[track_caller]
fn assert_client_certificate_is_of_the_ca(certs: &Path) {
    let of = |file: &str| std::fs::read_to_string(certs.join(file)).unwrap();
    let client = machine_tls::CertificateInfo::from_pem(&of("cert.pem")).unwrap();
    assert!(client.is_signed_by(&of("ca.pem")), "{}", certs.display());
    assert!(machine_tls::key_fits(&of("cert.pem"), &of("key.pem")));
    assert!(machine_tls::key_fits(&of("ca.pem"), &of("ca-key.pem")));
}

#[test]
fn a_first_create_that_is_killed_at_any_moment_leaves_a_store_that_works() {
    const ROUNDS: u32 = 24;
    let place = Place::new();
    let whole = time_of(quick_create(&place, "timed"));
    for round in 0..ROUNDS {
        let place = Place::new();
        let process = Watched::spawn(quick_create(&place, "first"));
        std::thread::sleep(whole * round / ROUNDS);
        let ended = process.kill();
        assert!([0, 137].contains(&ended.code), "{ended}");
        assert_unlocked(&place.store());
        if let Some(row) = place.row("first").filter(|_| ended.code != 0) {
            // Between the record and the end there is next to nothing to do for this driver: it may be complete.
            let complete = fault_support::json(&place.machine_dir("first").join("state.json")).unwrap();
            assert!(row.contains("creating, interrupted") || complete["status"]["state"] == "done", "{row}");
            place.run(&["create", "--resume", "first"]).ok();
        }
        run(quick_create(&place, "second")).ok();
        assert_client_certificate_is_of_the_ca(&place.store().join("certs"));
        for name in place.run(&["ls", "-q"]).ok().lines() {
            place.run(&["rm", "-y", name]).ok();
        }
        assert_clean(&place.store());
    }
}

#[test]
fn a_removal_that_is_killed_at_any_moment_is_finished_by_the_next() {
    const ROUNDS: u32 = 40;
    let place = Place::new();
    run(quick_create(&place, "timed")).ok();
    let whole = time_of(place.command(&["rm", "-y", "timed"]));
    let mut interrupted = 0;
    for round in 0..ROUNDS {
        run(quick_create(&place, "gone")).ok();
        // Something to remove takes a while.
        for file in 0..200 {
            std::fs::write(place.machine_dir("gone").join(format!("file{file}")), "x").unwrap();
        }
        let process = Watched::spawn(place.command(&["rm", "-y", "gone"]));
        std::thread::sleep(whole * 2 * round / ROUNDS);
        process.kill();
        assert_unlocked(&place.store());
        if let Some(row) = place.row("gone") {
            let begun = fault_support::json(&place.machine_dir("gone").join("state.json")).unwrap();
            if begun["operation"] == "remove" {
                interrupted += 1;
                assert!(row.contains("removing, interrupted in phase host"), "{row}");
            }
            place.run(&["rm", "-y", "gone"]).ok();
        }
        assert_eq!(place.row("gone"), None);
        assert!(!place.machine_dir("gone").exists());
    }
    println!("{interrupted} of {ROUNDS} were killed between the journal and the removal");
    // The next that changes machines clears away what the killed ones left.
    run(quick_create(&place, "other")).ok();
    assert_clean(&place.store());
    assert_eq!(place.run(&["ls", "-q"]).ok(), "other\n");
}

#[test]
fn a_removal_of_a_real_host_that_is_killed_is_finished_by_the_next() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "web", &[]).ok();
    let mut process = Watched::spawn(world.command(&["--debug", "rm", "-y", "web"]));
    process.expect("phase host begins");
    process.kill();
    assert_unlocked(&world.store());
    if let Some(row) = listed(&world, "web") {
        assert!(!row.is_empty());
        world.answer(&["rm", "-y", "web"]);
    }
    assert_eq!(listed(&world, "web"), None);
    // The same host under the same name again.
    world.create(&host, "web", &[]).ok();
    assert_works(&world, "web");
    assert_clean(&world.store());
}

#[test]
fn openssl_agrees_with_the_certificates_of_a_killed_create() {
    if !skip::require(&["openssl"]) {
        return;
    }
    let place = Place::new();
    for round in 0..6 {
        let process = Watched::spawn(quick_create(&place, "web"));
        std::thread::sleep(Duration::from_millis(round * 25));
        process.kill();
    }
    run(quick_create(&place, "other")).ok();
    let certs = place.store().join("certs");
    let verified = Command::new("openssl")
        .args(["verify", "-CAfile"])
        .args([certs.join("ca.pem"), certs.join("cert.pem")])
        .output()
        .unwrap();
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stderr));
}
