//! Hosts that go away in the middle: what is said, and that it goes on when they are back.

mod fault_support;
mod support;

use std::process::Command;

use fault_support::{Ended, Watched, assert_clean, assert_unlocked, row, run};
use machine_testkit::lab::{Host, Login, Variant};
use support::{World, assert_works, inside};

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

/// Begins a create, hurts the host when its engine is being set up, and waits for the end of it: our keep-alives
/// find out within a minute.
#[track_caller]
fn create_on_a_host_that_goes_away(world: &World, host: &Host, hurt: impl FnOnce(&Host)) -> Ended {
    let mut process = Watched::spawn(create(world, host, "web"));
    process.expect("phase provision begins");
    process.expect("step ");
    hurt(host);
    process.finish()
}

/// It is told what happened to which machine in which phase, and how to go on; nothing is locked.
#[track_caller]
fn assert_told(world: &World, ended: &Ended) {
    ended.fails_saying(
        1,
        &["Error creating machine: ", "\"web\"", "ssh: ", "create --resume web", "docker-machine rm web"],
    );
    assert_unlocked(&world.store());
    assert_eq!(world.journal("web")["phase"], "provision");
    let listed = world.answer(&["ls", "-t", "2", "-f", "{{.Name}}\t{{.Error}}"]);
    let error = row(&listed, "web").unwrap();
    assert!(error.contains("creating failed in phase provision: ") && error.contains("ssh: "), "{error}");
}

#[test]
fn a_host_that_stands_still_while_it_is_set_up() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let ended = create_on_a_host_that_goes_away(&world, &host, |host| host.pause().unwrap());
    assert_told(&world, &ended);
    host.resume().unwrap();
    world.answer(&["create", "--resume", "web"]);
    assert_works(&world, "web");
    assert_clean(&world.store());
}

#[test]
fn a_host_that_is_cut_off_while_it_is_set_up() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let ended = create_on_a_host_that_goes_away(&world, &host, |host| host.partition().unwrap());
    assert_told(&world, &ended);
    host.heal().unwrap();
    world.answer(&["provision", "web"]);
    assert_works(&world, "web");
    assert_clean(&world.store());
}

#[test]
fn a_machine_whose_host_is_gone_is_removed_at_once() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "kept", &[]).ok();
    world.create(&host, "gone", &[]).ok();
    // It accepts connections and says nothing.
    host.pause().unwrap();
    let listed =
        world.answer(&["ls", "-t", "2", "-f", "{{.Name}}\t{{.State}} {{.DockerVersion}} {{.Error}}"]);
    for name in ["kept", "gone"] {
        let seen = row(&listed, name).unwrap();
        assert!(seen.starts_with("Running Unknown Unable to query docker version: "), "{listed}");
    }
    assert!(world.answer(&["rm", "-f", "gone"]).contains("Successfully removed gone"));
    assert!(!world.machine_dir("gone").exists());
    host.resume().unwrap();
    assert_works(&world, "kept");
}

/// Who removes a machine that another process makes gets it when that one is done.
#[test]
fn a_removal_waits_for_the_create_of_another_process() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let mut making = Watched::spawn(create(&world, &host, "web"));
    making.expect("phase provision begins");
    let mut removing = Watched::spawn(world.command(&["--debug", "rm", "-y", "web"]));
    // It waits, and says for what and for whom.
    let maker = making.pid().to_string();
    let waited = removing.until("in use by");
    let made = making.finish();
    let removed = removing.finish();
    made.ok();
    assert!(removed.ok().contains("Successfully removed web"));
    assert!(!waited || removed.stderr.contains(&format!("process {maker}")), "{removed}");
    assert_eq!(world.answer(&["ls", "-q"]), "");
    assert_clean(&world.store());
}

#[test]
fn a_changed_host_key_stops_every_command_before_anything_is_sent() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "web", &[]).ok();
    let pinned = world.journal("web")["hostKeys"][0].as_str().unwrap().to_owned();
    let old = fingerprint(&pinned);
    host.change_host_key().unwrap();
    let algorithm = pinned.split(' ').next().unwrap().trim_start_matches("ssh-").to_owned();
    let new = fingerprint(&inside(&host, &format!("cat /etc/ssh/ssh_host_{algorithm}_key.pub")));
    assert_ne!(old, new);
    let marked = inside(&host, "journalctl -n0 --show-cursor -q | sed -n 's/^-- cursor: //p'");
    std::fs::write(world.root().join("file"), "secret").unwrap();
    for words in [
        &["ssh", "web", "touch /root/was-here"][..],
        &["scp", "file", "web:/root/was-here"],
        &["provision", "web"],
        &["restart", "web"],
        &["regenerate-certs", "-f", "web"],
        &["upgrade", "web"],
    ] {
        let refused = run(world.command(words));
        assert!(refused.code != 0, "{refused}");
        for text in ["has changed", &old, &new, "--accept-new-host-key web"] {
            assert!(refused.stderr.contains(text), "no {text:?}: {refused}");
        }
    }
    assert_eq!(inside(&host, "ls /root"), "");
    // sshd saw no user and no key: we went away during the key exchange.
    let log = inside(&host, &format!("journalctl -q --no-pager -u ssh --after-cursor '{marked}'"));
    assert!(!log.contains("Accepted") && !log.contains("Failed") && !log.contains("user root"), "{log}");
    assert_eq!(world.answer(&["ssh", "--accept-new-host-key", "web", "echo yes"]), "yes\n");
    world.answer(&["provision", "web"]);
    world.answer(&["regenerate-certs", "-f", "web"]);
    assert_works(&world, "web");
    assert!(host.ssh(Login::Root, "true").unwrap().status.success());
}

/// What OpenSSH says of a public key.
fn fingerprint(line: &str) -> String {
    machine_ssh::PublicKey::parse(line).unwrap().fingerprint()
}
