//! Certificates of real engines: replaced, of every kind of key, expired, and never where others can read their keys.

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use machine_testkit::lab::{Login, Variant};
use machine_testkit::skip;
use machine_tls::{Authority, KeyAlgorithm};
use support::watch::{Watch, holds};
use support::{IMAGE, World, assert_works, clients, inside};
use time::{Duration, OffsetDateTime};

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap()
}

/// What openssl says of a certificate.
fn openssl(file: &Path, what: &[&str]) -> String {
    let output =
        Command::new("openssl").args(["x509", "-noout", "-in"]).arg(file).args(what).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn new_ones_for_the_engine_and_the_client() {
    let Some(world) = World::new() else { return };
    if !skip::require(&["openssl"]) {
        return;
    }
    let (host, other) = (world.host(Variant::Docker), world.host(Variant::Docker));
    world.create(&host, "m", &["--tls-san", "db.example", "--tls-san", "203.0.113.9"]).ok();
    world.create(&other, "o", &[]).ok();
    world.image(&host);
    let (certs, dir) = (world.store().join("certs"), world.machine_dir("m"));
    let names = openssl(&dir.join("server.pem"), &["-ext", "subjectAltName"]);
    for name in [
        "DNS:db.example",
        "IP Address:203.0.113.9",
        &format!("IP Address:{}", host.address()),
        "DNS:localhost",
    ] {
        assert!(names.contains(name), "{names}");
    }

    // The engine's.
    let (server, client, ca) =
        (read(&dir.join("server.pem")), read(&certs.join("cert.pem")), read(&certs.join("ca.pem")));
    let asked = world.run_with_input(&["regenerate-certs", "m"], b"n\n");
    assert_eq!(read(&dir.join("server.pem")), server, "a declined one changes nothing: {asked}");
    world.answer(&["regenerate-certs", "-f", "m"]);
    assert_ne!(read(&dir.join("server.pem")), server);
    assert_eq!(read(&certs.join("cert.pem")), client);
    assert_eq!(inside(&host, "cat /etc/docker/server.pem"), read(&dir.join("server.pem")).trim_end());
    assert!(openssl(&dir.join("server.pem"), &["-ext", "subjectAltName"]).contains("DNS:db.example"));
    assert_works(&world, "m");
    clients::assert_containers_run(&world, "m");

    // The client's: every machine goes on, and every copy is the new one.
    world.answer(&["regenerate-certs", "-f", "--client-certs", "m"]);
    assert_ne!(read(&certs.join("cert.pem")), client);
    assert_eq!(read(&certs.join("ca.pem")), ca, "a CA that is good stays");
    for name in ["m", "o"] {
        for file in ["cert.pem", "key.pem", "ca.pem"] {
            assert_eq!(read(&world.machine_dir(name).join(file)), read(&certs.join(file)), "{name} {file}");
        }
        assert_works(&world, name);
        let version =
            clients::docker(&world, &clients::all(&world)[0], name, "version -f '{{.Server.Version}}'");
        assert!(version.starts_with("20.10"), "{version}");
    }
}

#[test]
fn every_kind_of_key() {
    let Some(world) = World::new() else { return };
    if !skip::require(&["openssl"]) {
        return;
    }
    let host = world.host(Variant::Docker);
    for (algorithm, shown) in
        [("ed25519", "ED25519"), ("ecdsa-p256", "id-ecPublicKey"), ("rsa-2048", "rsaEncryption")]
    {
        let world = World::new().unwrap();
        world.create(&host, "m", &["--tls-key-algorithm", algorithm]).ok();
        for file in ["ca.pem", "cert.pem", "server.pem"] {
            let text = openssl(&world.machine_dir("m").join(file), &["-text"]);
            assert!(text.contains(&format!("Public Key Algorithm: {shown}")), "{algorithm} {file}: {text}");
        }
        assert_works(&world, "m");
        let image = format!("{IMAGE}-{algorithm}");
        host.import_image(&image).unwrap();
        for client in clients::all(&world) {
            let said = clients::docker(&world, &client, "m", &format!("run --rm {image} /bin/echo hello"));
            assert_eq!(said, "hello\n", "{} {algorithm}", client.display());
        }
        // The kind is kept for later ones.
        world.answer(&["regenerate-certs", "-f", "m"]);
        let text = openssl(&world.machine_dir("m").join("server.pem"), &["-text"]);
        assert!(text.contains(shown), "{text}");
    }
    let never = world.create(&host, "n", &["--tls-key-algorithm", "dsa"]);
    assert!(never.code == 1 && never.stderr.contains("rsa-2048"), "{never}");
}

/// A store whose CA was made that many days before it ended that many days ago, and its client certificate.
fn age(world: &World, days_since_the_end: i64) -> String {
    let certs = world.store().join("certs");
    let then = OffsetDateTime::now_utc() - Duration::days(1080 + days_since_the_end);
    let ca = Authority::generate_at(KeyAlgorithm::Rsa2048, "tester", then).unwrap();
    let client = ca.issue_client_at(KeyAlgorithm::Rsa2048, "tester.<bootstrap>", then).unwrap();
    fs::create_dir_all(&certs).unwrap();
    for (name, text) in [
        ("ca.pem", ca.certificate_pem()),
        ("ca-key.pem", ca.key_pem().expose()),
        ("cert.pem", client.certificate_pem.as_str()),
        ("key.pem", client.key_pem.expose()),
    ] {
        fs::write(certs.join(name), text).unwrap();
    }
    ca.key_pem().expose().to_owned()
}

#[test]
fn a_ca_that_has_ended_is_renewed_without_losing_access() {
    let Some(world) = World::new() else { return };
    if !skip::require(&["openssl"]) {
        return;
    }
    let (host, other) = (world.host(Variant::Docker), world.host(Variant::Docker));
    // A CA of 1,079 days ago: good for a day. The machines are made with it.
    let key = age(&world, -1);
    let run = world.create(&host, "m", &[]);
    run.ok();
    world.create(&other, "o", &[]).ok();
    let certs = world.store().join("certs");
    let old = read(&certs.join("ca.pem"));
    let env = world.run(&["env", "m"]);
    env.ok();
    assert!(env.stderr.contains("certificate") && env.stderr.contains("day"), "no warning: {env}");
    // Renewed before its end: other machines, whose engines still have the old certificate of the CA, go on.
    world.answer(&["regenerate-certs", "-f", "--client-certs", "m"]);
    assert_ne!(read(&certs.join("ca.pem")), old);
    assert_eq!(read(&certs.join("ca-key.pem")), key, "the CA's key is kept");
    let left = openssl(&certs.join("ca.pem"), &["-checkend", "31536000"]);
    assert!(left.contains("will not expire"), "{left}");
    for name in ["m", "o"] {
        assert_works(&world, name);
        let version =
            clients::docker(&world, &clients::all(&world)[0], name, "version -f '{{.Server.Version}}'");
        assert!(version.starts_with("20.10"), "{version}");
    }
    let quiet = world.run(&["env", "m"]);
    quiet.ok();
    assert_eq!(quiet.stderr, "");

    // One that has ended a month ago already, put where the good one was: nothing works, and one command heals it.
    let key = age(&world, 30);
    let broken = world.run(&["regenerate-certs", "-f", "m"]);
    broken.ok();
    assert_eq!(read(&certs.join("ca-key.pem")), key);
    assert!(openssl(&certs.join("ca.pem"), &["-checkend", "31536000"]).contains("will not expire"));
    assert_works(&world, "m");
    // The other one was made with another CA: it is healed in the same way.
    world.answer(&["provision", "o"]);
    assert_works(&world, "o");
}

#[test]
fn keys_stay_secret() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Stopped);
    let watch = Watch::start();
    let (address, key) = (host.address().to_string(), world.key());
    let mut args =
        vec!["-D", "create", "-d", "generic", "--generic-ip-address", &address, "--generic-ssh-user"];
    args.extend([Login::Debian.name(), "--generic-ssh-key", &key, "m"]);
    let run = world.run(&args);
    run.ok();
    let again = world.run(&["-D", "regenerate-certs", "-f", "--client-certs", "m"]);
    again.ok();
    let seen = watch.end();
    let (certs, dir) = (world.store().join("certs"), world.machine_dir("m"));
    let keys =
        [certs.join("ca-key.pem"), certs.join("key.pem"), dir.join("server-key.pem"), dir.join("id_rsa")];
    for file in &keys {
        let text = read(file);
        // A line from the middle of the key belongs to it alone.
        let line = text.lines().nth(text.lines().count() / 2).unwrap();
        assert!(line.len() > 40, "{line}");
        for output in [&run.stdout, &run.stderr, &again.stdout, &again.stderr] {
            assert!(!output.contains(line), "{} is in what was printed", file.display());
        }
        assert!(!seen.iter().any(|text| holds(text, line)), "{} was on a command line", file.display());
    }
    for text in [&run.stdout, &run.stderr] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
    assert!(!seen.iter().any(|text| holds(text, "PRIVATE KEY-----\nMII")), "a key was on a command line");
    // The watch works: it saw the engine's command line on the host.
    assert!(seen.iter().any(|text| holds(text, "--tlskey\0/etc/docker/server-key.pem")));
    let modes = inside(
        &host,
        "stat -c '%a %n' /etc/docker/*.pem; find / -xdev -newer /etc/docker/ca.pem -name '*key*.pem'",
    );
    assert_eq!(
        modes,
        "644 /etc/docker/ca.pem\n600 /etc/docker/server-key.pem\n644 /etc/docker/server.pem\n/etc/docker/server-key.pem"
    );
}
