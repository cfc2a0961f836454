//! Restart, the refusals of a driver that has no power over its host, and what is said of a host that is down.

mod support;

use machine_testkit::lab::{Login, Variant};
use serde_json::Value;
use support::{IMAGE, World, assert_works, clients, inside};

#[test]
fn restarted_refused_and_down() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Socket);
    world.create_as(&host, "m", Login::Debian, &[]).ok();
    world.image(&host);
    let client = &clients::all(&world)[0];
    let run = format!("run -d --restart always --name stays {IMAGE} /bin/sleep 100000");
    clients::docker(&world, client, "m", &run);

    // A restart reboots the host and waits until the engine is there.
    let before = inside(&host, "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1");
    let pid = host.init_pid().unwrap();
    let restarted = world.run(&["restart", "m"]);
    let told = "Restarted machines may have new IP addresses. You may need to re-run the `docker-machine env` command.";
    assert!(restarted.ok().contains("Restarting \"m\"...") && restarted.stdout.contains(told), "{restarted}");
    assert_ne!(host.init_pid().unwrap(), pid, "PID 1 is another process ({before})");
    assert_works(&world, "m");
    support::eventually("the container", || {
        clients::docker(&world, client, "m", "inspect -f '{{.State.Running}}' stays") == "true\n"
    });

    for (verb, said) in [
        ("start", "already running"),
        ("stop", "generic driver does not support stop"),
        ("kill", "generic driver does not support kill"),
    ] {
        let run = world.run(&[verb, "m"]);
        run.fails_saying(1, &[said]);
    }
    records(&world, &host.address().to_string());

    // The link is cut: nothing hangs, and every answer says what is the matter.
    host.partition().unwrap();
    let ls = world.answer(&["ls", "-t", "3"]);
    let row = ls.lines().nth(1).unwrap();
    assert!(row.starts_with("m ") && !row.contains("v20.10"), "{ls}");
    assert!(row.contains("Timeout") || row.contains("Unknown") || row.contains("Stopped"), "{ls}");
    host.heal().unwrap();
    support::eventually("the link", || world.run(&["env", "m"]).code == 0);

    // Its processes are stopped: the kernel accepts connections, and nobody answers.
    host.pause().unwrap();
    let ls = world.answer(&["ls", "-t", "3"]);
    host.resume().unwrap();
    let row = ls.lines().nth(1).unwrap();
    assert!(row.starts_with("m ") && !row.contains("v20.10"), "{ls}");

    // Nothing listens: what is known without the host is still told.
    inside(&host, "systemctl stop docker.socket docker ssh.socket ssh");
    let env = world.run(&["env", "m"]);
    env.fails_saying(1, &["Error checking TLS connection", "regenerate-certs", "m"]);
    assert_eq!(world.answer(&["status", "m"]), "Stopped\n");
    records(&world, &host.address().to_string());
    let ls = world.answer(&["ls"]);
    assert!(ls.contains("Stopped"), "{ls}");
    inside(&host, "systemctl start ssh docker");
    host.wait_for_ssh().unwrap();
    assert_eq!(world.answer(&["status", "m"]), "Running\n");
}

/// What needs the record only.
fn records(world: &World, ip: &str) {
    assert_eq!(world.answer(&["ip", "m"]), format!("{ip}\n"));
    assert_eq!(world.answer(&["inspect", "-f", "{{.Driver.IPAddress}}", "m"]), format!("{ip}\n"));
    let all: Value = serde_json::from_str(&world.answer(&["inspect", "m"])).unwrap();
    assert_eq!(all["Driver"]["SSHUser"], "debian");
    assert_eq!(world.answer(&["ls", "-q"]), "m\n");
}

#[test]
fn upgrades() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "m", &[]).ok();
    // A mirror that can't be reached.
    inside(&host, "echo 'deb http://127.0.0.1:9/debian bookworm main' > /etc/apt/sources.list");
    let run = world.run(&["upgrade", "m"]);
    run.fails_saying(
        1,
        &["\"m\"", "127.0.0.1:9", "does not reach the outside", "newer engine", "is not known"],
    );
    assert!(world.ls_error("m").contains("newer engine"), "{}", world.ls_error("m"));
    assert_eq!(world.journal("m")["operation"], "upgrade");
    // The engine runs on.
    clients::info(&world, "m");
    inside(&host, ": > /etc/apt/sources.list");
    let run = world.run(&["upgrade", "m"]);
    assert!(run.ok().contains("The engine is up to date: 20.10."), "{run}");
    assert_works(&world, "m");
}
