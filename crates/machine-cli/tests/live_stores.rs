//! Machines of docker/machine 0.16.2: its record of a generic machine (`data/generic-v3.json`, recorded with the paths,
//! the key and the address replaced by `@STORE@`, `@KEY@` and `@IP@`) works here, and ours looks the same to it. That
//! program itself is not at hand in tests; the certificates stand in for its, with the same names and kinds of keys.

mod support;

use std::fs;
use std::path::PathBuf;

use machine_testkit::lab::{Host, Variant};
use machine_tls::{Authority, KeyAlgorithm};
use serde_json::{Value, json};
use support::{World, assert_works, clients, inside};

const NAME: &str = "theirs";

fn recorded() -> String {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/generic-v3.json");
    fs::read_to_string(file).unwrap()
}

/// Puts the record and its files where that program has them.
fn plant(world: &World, host: &Host) -> Value {
    let text = recorded()
        .replace("@STORE@", world.store().to_str().unwrap())
        .replace("@KEY@", &world.key())
        .replace("@IP@", &host.address().to_string());
    let mut record: Value = serde_json::from_str(&text).unwrap();
    // What a fork of that program has added.
    record["Driver"]["AddedByAFork"] = json!({"b": [1, 2.50], "a": null});
    let (certs, dir) = (world.store().join("certs"), world.machine_dir(NAME));
    fs::create_dir_all(&certs).unwrap();
    fs::create_dir_all(&dir).unwrap();
    let ca = Authority::generate(KeyAlgorithm::Rsa2048, "tester").unwrap();
    let client = ca.issue_client(KeyAlgorithm::Rsa2048, "tester.<bootstrap>").unwrap();
    let names = ["their.example".to_owned(), host.address().to_string(), "localhost".to_owned()];
    let server = ca.issue_server(KeyAlgorithm::Rsa2048, "tester.theirs", &names).unwrap();
    fs::write(certs.join("ca-key.pem"), ca.key_pem().expose()).unwrap();
    for folder in [&certs, &dir] {
        fs::write(folder.join("ca.pem"), ca.certificate_pem()).unwrap();
        fs::write(folder.join("cert.pem"), &client.certificate_pem).unwrap();
        fs::write(folder.join("key.pem"), client.key_pem.expose()).unwrap();
    }
    fs::write(dir.join("server.pem"), &server.certificate_pem).unwrap();
    fs::write(dir.join("server-key.pem"), server.key_pem.expose()).unwrap();
    fs::copy(world.key(), dir.join("id_rsa")).unwrap();
    fs::write(dir.join("config.json"), serde_json::to_string_pretty(&record).unwrap()).unwrap();
    record
}

/// The paths of all keys in order, which both programs write alike.
fn keys(value: &Value, path: &str, found: &mut Vec<String>) {
    for (key, value) in value.as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        found.push(path.clone());
        keys(value, &path, found);
    }
}

#[test]
fn theirs_works_here() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let record = plant(&world, &host);
    let server = fs::read_to_string(world.machine_dir(NAME).join("server.pem")).unwrap();
    assert_eq!(world.answer(&["ls", "-q"]), "theirs\n");
    assert_eq!(world.answer(&["ip", NAME]), format!("{}\n", host.address()));
    // That program pins no host keys: the first contact is told, and then the key is known.
    let first = world.run(&["ssh", NAME, "echo", "hello"]);
    assert_eq!(first.ok(), "hello\n");
    assert!(first.stderr.contains("SHA256:"), "{first}");
    assert_eq!(world.run(&["ssh", NAME, "true"]).stderr, "");
    world.answer(&["provision", NAME]);
    assert_works(&world, NAME);
    world.image(&host);
    clients::assert_containers_run(&world, NAME);
    // The certificate that fitted is used as it is, and so are the CA and the client's.
    assert_eq!(inside(&host, "cat /etc/docker/server.pem"), server.trim_end());
    assert!(clients::info(&world, NAME)["Labels"].to_string().contains("who=theirs"));
    // The record is theirs still: nothing lost, nothing moved, only the paths on the host filled in.
    let mut now = world.config(NAME);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    keys(&record, "", &mut before);
    keys(&now, "", &mut after);
    assert_eq!(after, before);
    for key in ["CaCertRemotePath", "ServerCertRemotePath", "ServerKeyRemotePath"] {
        let path = now["HostOptions"]["AuthOptions"][key].take();
        assert!(path.as_str().unwrap().starts_with("/etc/docker/"), "{key}: {path}");
        now["HostOptions"]["AuthOptions"][key] = json!("");
    }
    assert_eq!(now, record);
    world.answer(&["regenerate-certs", "-f", NAME]);
    assert_works(&world, NAME);
    world.answer(&["rm", "-y", NAME]);
}

#[test]
fn ours_looks_the_same_to_it() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, NAME, &["--engine-label", "who=theirs", "--tls-san", "their.example"]).ok();
    let text = fs::read_to_string(world.machine_dir(NAME).join("config.json")).unwrap();
    let paths = ["CaCertRemotePath", "ServerCertRemotePath", "ServerKeyRemotePath"];
    let mut ours: Value = serde_json::from_str(&text).unwrap();
    for key in paths {
        ours["HostOptions"]["AuthOptions"][key] = json!("");
    }
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut bytes = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, formatter);
    serde::Serialize::serialize(&ours, &mut serializer).unwrap();
    let theirs = recorded()
        .replace("@STORE@", world.store().to_str().unwrap())
        .replace("@KEY@", &world.key())
        .replace("@IP@", &host.address().to_string());
    assert_eq!(String::from_utf8(bytes).unwrap(), theirs.trim_end());
    // Every file that program looks for, with the modes that it gives them.
    let dir = world.machine_dir(NAME);
    for (file, mode) in [
        (dir.join("config.json"), "600"),
        (dir.join("ca.pem"), "644"),
        (dir.join("cert.pem"), "644"),
        (dir.join("key.pem"), "600"),
        (dir.join("server.pem"), "644"),
        (dir.join("server-key.pem"), "600"),
        (dir.join("id_rsa"), "600"),
        (world.store().join("certs/ca-key.pem"), "600"),
        (world.store().join("certs/key.pem"), "600"),
        (world.store().join("certs/ca.pem"), "644"),
        (world.store().join("certs/cert.pem"), "644"),
        (dir.clone(), "700"),
    ] {
        let shown = std::process::Command::new("stat").args(["-c", "%a"]).arg(&file).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&shown.stdout).trim_end(), mode, "{}", file.display());
    }
    // It reads RSA keys in this form only.
    for key in [dir.join("server-key.pem"), dir.join("key.pem"), world.store().join("certs/ca-key.pem")] {
        let text = fs::read_to_string(&key).unwrap();
        assert!(text.starts_with("-----BEGIN RSA PRIVATE KEY-----"), "{}", key.display());
    }
}
