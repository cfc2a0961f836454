//! Engine options, registries and the retired standalone Swarm, as the engine itself shows them.

mod support;

use std::fs;
use std::process::Command;

use machine_testkit::lab::{Login, Variant};
use machine_testkit::skip;
use support::{World, assert_works, clients, inside};

/// The reference program's drop-in for these options, which either program can take over.
const DROP_IN: &str = "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H tcp://0.0.0.0:2376 -H unix:///var/run/docker.sock \
     --storage-driver overlay2 --tlsverify --tlscacert /etc/docker/ca.pem --tlscert /etc/docker/server.pem \
     --tlskey /etc/docker/server-key.pem --label role=db --label provider=generic --insecure-registry 10.0.0.1:5000 \
     --registry-mirror http://mirror.example:5000 --log-level=warn\n";

const FLAGS: &[&str] = &[
    "--engine-label",
    "role=db",
    "--engine-insecure-registry",
    "10.0.0.1:5000",
    "--engine-registry-mirror",
    "http://mirror.example:5000",
    "--engine-opt",
    "log-level=warn",
    "--engine-storage-driver",
    "overlay2",
    "--engine-env",
    "FOO=bar",
];

#[test]
fn the_engine_has_its_options() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create_as(&host, "m", Login::Debian, FLAGS).ok();
    let drop_in = inside(&host, "cat /etc/systemd/system/docker.service.d/10-machine.conf");
    let (start, environment) = drop_in.split_at(drop_in.find("Environment=").unwrap());
    assert_eq!(start, DROP_IN);
    assert!(environment.contains("FOO=bar"), "{environment}");
    let info = clients::info(&world, "m");
    for label in ["role=db", "provider=generic"] {
        assert!(info["Labels"].to_string().contains(label), "{}", info["Labels"]);
    }
    assert_eq!(info["Driver"], "overlay2");
    assert_eq!(info["Name"], "m");
    assert_eq!(info["RegistryConfig"]["Mirrors"][0], "http://mirror.example:5000/");
    assert_eq!(info["RegistryConfig"]["IndexConfigs"]["10.0.0.1:5000"]["Secure"], false);
    let environ = inside(&host, "tr '\\0' '\\n' < /proc/$(pgrep -x dockerd)/environ");
    assert!(environ.lines().any(|line| line == "FOO=bar"), "{environ}");
    let recorded = &world.config("m")["HostOptions"]["EngineOptions"];
    assert_eq!(recorded["Labels"][0], "role=db");
    assert_eq!(recorded["ArbitraryFlags"][0], "log-level=warn");
    assert_eq!(recorded["Env"][0], "FOO=bar");
}

/// Bytes that systemd, the shell and dockerd's own parser would take for something else.
#[test]
fn odd_values_arrive_as_they_are() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let values = [
        "it's \"quoted\"",
        "$HOME ${x} $$ `id`",
        "100% %n %%",
        "back\\slash \\n",
        "ünï → 漢字",
        "a;b|c&d #e",
    ];
    let mut flags: Vec<String> = Vec::new();
    for (index, value) in values.iter().enumerate() {
        flags.extend(["--engine-label".into(), format!("l{index}={value}")]);
        flags.extend(["--engine-env".into(), format!("E{index}={value}")]);
    }
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    world.create(&host, "m", &flags).ok();
    let labels = clients::info(&world, "m")["Labels"].clone();
    let labels: Vec<&str> = labels.as_array().unwrap().iter().map(|l| l.as_str().unwrap()).collect();
    let environ = inside(&host, "tr '\\0' '\\n' < /proc/$(pgrep -x dockerd)/environ");
    for (index, value) in values.iter().enumerate() {
        assert!(labels.contains(&format!("l{index}={value}").as_str()), "{value}: {labels:?}");
        assert!(environ.lines().any(|line| line == format!("E{index}={value}")), "{value}: {environ}");
    }
    for bad in ["A=line\nbreak", "novalue"] {
        let run = world.create(&host, "never", &["--engine-env", bad]);
        assert!(run.code != 0 && run.stderr.contains("--engine-env"), "{run}");
    }
}

#[test]
fn registries_with_a_ca_of_their_own() {
    let Some(world) = World::new() else { return };
    if !skip::require(&["openssl"]) {
        return;
    }
    let host = world.host(Variant::Docker);
    let (cert, key) = (world.root().join("registry.pem"), world.root().join("registry.key"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "30",
        "-subj",
        "/CN=registry.example",
    ]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert);
    assert!(openssl.output().unwrap().status.success());
    let own = "registry.pem=registry.example:5000";
    world.create(&host, "m", &["--engine-registry-ca", own, "--engine-registry-ca", "registry.pem"]).ok();
    let pem = fs::read_to_string(&cert).unwrap();
    let there = inside(&host, "cat /etc/docker/certs.d/registry.example:5000/ca.crt");
    assert_eq!(there, pem.trim_end());
    // The host's own trust store has the other one.
    let middle = pem.lines().nth(2).unwrap();
    assert_eq!(inside(&host, &format!("grep -c '{middle}' /etc/ssl/certs/ca-certificates.crt")), "1");
    // Later runs don't need the file.
    fs::remove_file(&cert).unwrap();
    inside(&host, "rm -r /etc/docker/certs.d");
    world.answer(&["provision", "m"]);
    assert_eq!(inside(&host, "cat /etc/docker/certs.d/registry.example:5000/ca.crt"), pem.trim_end());
    for bad in ["missing.pem", "registry.key", "missing.pem=registry.example"] {
        let run = world.create(&host, "never", &["--engine-registry-ca", bad]);
        let file = bad.split('=').next().unwrap();
        assert!(
            run.code != 0 && run.stderr.contains("--engine-registry-ca") && run.stderr.contains(file),
            "{run}"
        );
    }
    assert_eq!(world.answer(&["ls", "-q"]), "m\n");
}

/// `swarm:latest` can't be had any more; a busybox that waits stands in for it, under its name.
#[test]
fn the_retired_swarm() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let lab_image = fs::File::open(world.lab.image_tar()).unwrap();
    let mut import = host.ssh_command(Login::Root).unwrap();
    import.arg("docker import -c 'ENTRYPOINT [\"/bin/sh\", \"-c\", \"exec sleep 100000\"]' - swarm:latest");
    assert!(import.stdin(lab_image).output().unwrap().status.success());
    let flags =
        ["--swarm", "--swarm-master", "--swarm-discovery", "token://abc", "--swarm-strategy", "binpack"];
    let run = world.create(
        &host,
        "m",
        &[&flags[..], &["--swarm-opt", "heartbeat=5s", "--swarm-join-opt", "ttl=9s"]].concat(),
    );
    run.ok();
    assert!(run.stderr.contains("standalone Swarm is retired"), "{run}");
    assert_works(&world, "m");
    let client = &clients::all(&world)[0];
    let shown =
        |name: &str| clients::docker(&world, client, "m", &format!("inspect -f '{{{{json .}}}}' {name}"));
    let master: serde_json::Value = serde_json::from_str(&shown("swarm-agent-master")).unwrap();
    let agent: serde_json::Value = serde_json::from_str(&shown("swarm-agent")).unwrap();
    let ip = host.address();
    let words = |value: &serde_json::Value| {
        let words = value["Args"].as_array().unwrap().iter().map(|w| w.as_str().unwrap().to_owned());
        words.skip(2).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        words(&master),
        format!(
            "manage --tlsverify --tlscacert=/etc/docker/ca.pem --tlscert=/etc/docker/server.pem \
             --tlskey=/etc/docker/server-key.pem -H tcp://0.0.0.0:3376 --strategy binpack --advertise {ip}:3376 \
             --heartbeat=5s token://abc"
        )
    );
    assert_eq!(words(&agent), format!("join --advertise {ip}:2376 --ttl=9s token://abc"));
    for container in [&master, &agent] {
        assert_eq!(container["State"]["Running"], true);
        assert_eq!(container["HostConfig"]["RestartPolicy"]["Name"], "always");
    }
    assert_eq!(world.answer(&["ls", "-f", "{{.Name}} {{.Swarm}}"]), "m m (master)\n");
    let not_there = world.run(&["env", "--swarm", "m"]);
    not_there.fails_saying(1, &["Maybe swarm is not started"]);
    world.answer(&["provision", "m"]);
    assert_works(&world, "m");
}
