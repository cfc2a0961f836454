//! `provision` twice changes nothing and restarts nothing; a container goes on.

mod support;

use machine_testkit::lab::{Host, Login, Variant};
use support::{IMAGE, World, assert_works, clients, inside};

/// Everything on the host whose content, owner or mode changed since the mark; `/run`, `/proc` and the like are file
/// systems of their own.
fn changed_since_mark(host: &Host) -> Vec<String> {
    let find = "find / -xdev -cnewer /run/mark ! -type d ! -path '/var/log/*' ! -path '/var/lib/systemd/*'";
    inside(host, find).lines().map(str::to_owned).collect()
}

fn engine(host: &Host) -> String {
    inside(host, "systemctl show docker -p MainPID -p ActiveEnterTimestampMonotonic -p NRestarts")
}

#[test]
fn twice_changes_nothing() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Socket);
    let flags = ["--engine-label", "role=db", "--engine-env", "A=b c", "--engine-opt", "log-level=warn"];
    world.create_as(&host, "m", Login::Debian, &flags).ok();
    world.image(&host);
    let client = &clients::all(&world)[0];
    let run = format!("run -d --name stays {IMAGE} /bin/sleep 100000");
    clients::docker(&world, client, "m", &run);
    let state =
        || clients::docker(&world, client, "m", "inspect -f '{{.State.StartedAt}} {{.State.Running}}' stays");
    let (container, engine_before) = (state(), engine(&host));
    assert!(container.ends_with("true\n"), "{container}");
    for login in ["first", "second"] {
        inside(&host, "sleep 0.05; touch /run/mark; sleep 0.05");
        world.answer(&["provision", "m"]);
        assert_eq!(changed_since_mark(&host), Vec::<String>::new(), "{login}");
        assert_eq!(engine(&host), engine_before, "{login}");
        assert_eq!(state(), container, "{login}");
    }
    // What somebody broke is mended, and then again nothing is to be done.
    inside(
        &host,
        "rm /etc/systemd/system/docker.service.d/10-machine.conf; chmod 644 /etc/docker/server-key.pem",
    );
    world.answer(&["provision", "m"]);
    assert_works(&world, "m");
    assert_eq!(inside(&host, "stat -c %a /etc/docker/server-key.pem"), "600");
    let mended = engine(&host);
    assert_ne!(mended, engine_before);
    world.answer(&["provision", "m"]);
    assert_eq!(engine(&host), mended);
    // An engine that was stopped is started.
    inside(&host, "systemctl stop docker.socket docker");
    world.answer(&["provision", "m"]);
    assert_works(&world, "m");
}

/// A machine whose folder lost its side file (an older program, another computer) is provisioned all the same.
#[test]
fn without_a_side_file() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "m", &["--engine-label", "kept=yes"]).ok();
    std::fs::remove_file(world.machine_dir("m").join("state.json")).unwrap();
    world.answer(&["provision", "m"]);
    assert_works(&world, "m");
    let labels = clients::info(&world, "m")["Labels"].to_string();
    assert!(labels.contains("kept=yes"), "{labels}");
}
