//! User data: what a host makes of it. Python's `email`, with which cloud-init reads it, says what its parts are; real shells
//! say whether they can read the scripts.

mod host;

use std::io::Write;
use std::process::{Command, Stdio};

use host::{facts, has, shells, wish};
use machine_core::{EngineOptions, ImageEngine, ImageFacts, MachineName, Mount, Secret};
use machine_provision::user_data::{self, Identity};
use machine_provision::{EngineState, EngineWish, Family, HostFacts, RegistryCa, plan};
use proptest::prelude::*;
use serde_json::Value;

/// Looks like one; it is none.
const HOST_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhost'key\\%s\n-----END OPENSSH PRIVATE KEY-----\n";

/// Prints the parts as JSON: `[[content type, text], …]`.
const READ_MIME: &str = r#"
import email, json, sys
message = email.message_from_bytes(sys.stdin.buffer.read())
assert message.is_multipart() and not message.defects, message.defects
parts = []
for part in message.get_payload():
    assert not part.defects, part.defects
    parts.append([part.get_content_type(), part.get_payload(decode=True).decode(part.get_content_charset())])
json.dump(parts, sys.stdout)
"#;

/// The parts of a message, as cloud-init sees them; `None`, with the reason printed, where there is no Python.
fn parts(user_data: &Secret) -> Option<Vec<(String, String)>> {
    if !has("python3") {
        return None;
    }
    let mut python = Command::new("python3")
        .args(["-c", READ_MIME])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(user_data.expose().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

fn part<'a>(parts: &'a [(String, String)], kind: &str) -> &'a str {
    let mut found = parts.iter().filter(|(found, _)| found == kind);
    let (_, text) = found.next().unwrap_or_else(|| panic!("no {kind} in {parts:?}"));
    assert!(found.next().is_none(), "{kind} twice");
    text
}

fn config(parts: &[(String, String)]) -> Value {
    let text = part(parts, "text/cloud-config");
    serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap()
}

fn identity<'a>(user: &'a str, hostname: &'a str, host_key: &'a Secret, mounts: &'a [Mount]) -> Identity<'a> {
    Identity {
        user,
        authorized_key: "ssh-ed25519 AAAA dev\n",
        hostname,
        host_key,
        host_key_public: "ssh-ed25519 BBBB dev",
        mounts,
    }
}

fn image() -> HostFacts {
    let image = ImageFacts {
        os_release: "ID=debian\nVERSION_ID=12\n".to_owned(),
        arch: "x86_64".to_owned(),
        engine: Some(ImageEngine {
            package: "docker.io".to_owned(),
            version: "20.10.24".to_owned(),
            dockerd: "/usr/sbin/dockerd".to_owned(),
        }),
    };
    HostFacts::of_image(&image, "docker")
}

fn can_be_read_by_shells(script: &str) {
    assert!(script.starts_with("#!/bin/sh\n"));
    for shell in shells() {
        let mut child =
            Command::new(shell[0]).args(&shell[1..]).arg("-n").stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "{shell:?}");
    }
}

#[test]
fn facts_of_an_image() {
    let facts = image();
    assert_eq!((facts.family, facts.engine.state), (Family::Debian, EngineState::Stopped));
    assert_eq!(facts.engine.version_number(), Some((20, 10)));
    let bare = HostFacts::of_image(&ImageFacts { engine: None, ..ImageFacts::default() }, "root");
    assert_eq!(bare.engine.state, EngineState::Absent);
}

#[test]
fn an_identity_alone_is_a_cloud_config() {
    let key = Secret::new(HOST_KEY);
    let mounts = [Mount {
        source: "home".to_owned(),
        target: "/a b".to_owned(),
        kind: "9p".to_owned(),
        options: "trans=virtio".to_owned(),
    }];
    let Some(parts) = parts(&user_data::identity(&identity("docker", "web.example", &key, &mounts))) else {
        return;
    };
    assert_eq!(parts.len(), 1);
    let config = config(&parts);
    assert_eq!(config["users"][0]["name"], "docker");
    assert_eq!(config["users"][0]["primary_group"], "docker");
    assert_eq!(config["users"][0]["ssh_authorized_keys"][0], "ssh-ed25519 AAAA dev");
    assert_eq!(config["ssh_keys"]["ed25519_private"], HOST_KEY);
    assert_eq!(config["fqdn"], "web.example");
    assert_eq!(config["mounts"][0][1], "/a\\040b");
    assert_eq!(config["mounts"][0][3], "trans=virtio,nofail");

    let long = "a".repeat(65);
    let Some(parts) = self::parts(&user_data::identity(&identity("root", &long, &key, &[]))) else { return };
    let config = self::config(&parts);
    assert_eq!((&config["preserve_hostname"], &config["hostname"]), (&Value::from(true), &Value::Null));
    assert_eq!((&config["disable_root"], &config["users"][0]["sudo"]), (&Value::from(false), &Value::Null));
    assert_eq!(config["users"][0].get("primary_group"), None);
}

#[test]
fn what_the_engine_reads_comes_before_it_and_the_rest_at_the_end() {
    let key = Secret::new(HOST_KEY);
    let wish = EngineWish {
        registry_cas: vec![RegistryCa { registry: None, pem: "registry\n".to_owned() }],
        ..wish()
    };
    let plan = plan(&image(), &wish).unwrap();
    let user_data = user_data::complete(&identity("docker", "dev", &key, &[]), &plan);
    let Some(parts) = parts(&user_data) else { return };
    assert_eq!(parts.len(), 3);
    let config = config(&parts);
    assert_eq!(config["users"], serde_json::json!(["docker"]));
    assert_eq!(config["ssh_deletekeys"], false);

    let boothook = part(&parts, "text/cloud-boothook");
    // The image's initial RAM disk looks for this line.
    assert!(boothook.lines().any(|line| line == "# before-init: yes"));
    for text in ["/etc/docker/server-key.pem", "10-machine.conf", "127.0.1.1", "update-ca-certificates"] {
        assert!(boothook.contains(text), "{text}");
    }
    let late = part(&parts, "text/x-shellscript");
    for secret in ["PRIVATE KEY", "host\\0047key"] {
        assert!(boothook.contains(secret) && !late.contains(secret), "{secret}");
        assert!(!part(&parts, "text/cloud-config").contains(secret), "{secret}");
    }
    assert!(late.contains("\ndm_step 0 60 dm_step_0") && late.contains("dm_enable docker"));
    can_be_read_by_shells(boothook);
    can_be_read_by_shells(late);
    assert!(!format!("{user_data:?}").contains("PRIVATE"));
}

#[test]
fn nothing_secret_is_in_what_others_can_read() {
    let key = Secret::new("");
    let bare = HostFacts { engine: machine_provision::EngineFacts::default(), ..facts() };
    let wish = EngineWish {
        engine: EngineOptions {
            env: Some(vec!["HTTPS_PROXY=http://u:secret@proxy".to_owned()]),
            ..EngineOptions::default()
        },
        ..wish()
    };
    let plan = plan(&bare, &wish).unwrap();
    let user_data = user_data::ahead(&identity("debian", "dev", &key, &[]), &plan);
    assert!(!user_data.expose().contains("secret") && !user_data.expose().contains("not'a"));
    let Some(parts) = parts(&user_data) else { return };
    let script = part(&parts, "text/x-shellscript");
    assert!(script.contains("dm_install_by_script https://get.docker.com"), "{script}");
    can_be_read_by_shells(script);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Names, keys and values with whatever characters: the message keeps its parts, and the scripts stay scripts.
    #[test]
    fn any_value_stays_in_its_place(
        user in "[a-z_][a-z0-9_-]{0,30}",
        comment in "[^\\p{Cc}]{0,40}",
        target in "/[^\\p{Cc}]{1,40}",
        label in "[^\\p{Cc}]{0,60}",
        hostname in "[a-zA-Z0-9][a-zA-Z0-9.-]{0,80}",
    ) {
        let key = Secret::new(format!("{HOST_KEY}--docker-machine\n{comment}"));
        let mounts = [Mount { source: "a".to_owned(), target, kind: "9p".to_owned(), options: String::new() }];
        let authorized_key = format!("ssh-ed25519 AAAA {comment}");
        let identity = Identity { authorized_key: &authorized_key, ..identity(&user, &hostname, &key, &mounts) };
        let engine = EngineOptions { labels: Some(vec![format!("a={label}")]), ..EngineOptions::default() };
        let machine = MachineName::new(&hostname).unwrap_or_else(|_| MachineName::new("m").unwrap());
        let plan = plan(&image(), &EngineWish { engine, machine, ..wish() }).unwrap();
        let complete = user_data::complete(&identity, &plan);
        if let Some(parts) = parts(&complete) {
            prop_assert_eq!(parts.len(), 3);
            can_be_read_by_shells(part(&parts, "text/cloud-boothook"));
        }
        if let Some(parts) = parts(&user_data::identity(&identity)) {
            let config = config(&parts);
            prop_assert_eq!(&config["users"][0]["ssh_authorized_keys"][0], authorized_key.trim());
            prop_assert_eq!(&config["ssh_keys"]["ed25519_private"], key.expose());
        }
    }
}
