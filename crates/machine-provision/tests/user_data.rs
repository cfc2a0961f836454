//! User data: what a host makes of it. Python's `email`, with which cloud-init reads it, says what its parts are; real shells
//! say whether they can read the scripts.

mod host;

use std::io::Write;
use std::process::{Command, Stdio};

use host::{has, shells, wish};
use machine_core::{EngineOptions, ImageEngine, ImageFacts, MachineName, Mount, Secret};
use machine_provision::user_data::{self, Identity, Own};
use machine_provision::{
    DEFAULT_INSTALL_URL, EngineState, EngineWish, Family, HostFacts, InstallMethod, Plan, RegistryCa, plan,
};
use proptest::prelude::*;
use serde_json::Value;

/// Looks like one; it is none.
const HOST_KEY: &str =
    "-----BEGIN OPENSSH PRIVATE KEY-----\nhost'key\\%s\n-----END OPENSSH PRIVATE KEY-----\n";

/// Prints the parts as JSON, `[[content type, text], …]`, as cloud-init reads them: the message is text before it is taken apart
/// (`user_data.py`, `convert_string`), and a part's bytes are UTF-8 whatever they say of themselves (`util.py`,
/// `fully_decoded_payload`).
const READ_MIME: &str = r#"
import email, json, sys
message = email.message_from_string(sys.stdin.buffer.read().decode("utf-8"))
assert message.is_multipart() and not message.defects, message.defects
parts = []
for part in message.walk():
    assert not part.defects, part.defects
    if part.is_multipart(): continue
    parts.append([part.get_content_type(), part.get_payload(decode=True).decode("utf-8", "surrogateescape")])
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
        usual_user: false,
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
    let Some(parts) = parts(&user_data::identity(&identity("docker", "web.example", &key, &mounts), None))
    else {
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
    let Some(parts) = self::parts(&user_data::identity(&identity("root", &long, &key, &[]), None)) else {
        return;
    };
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
    let user_data = user_data::complete(&identity("docker", "dev", &key, &[]), &plan, None);
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

/// A plan for a system that has no engine yet.
fn bare_plan(proxies: &[(&str, &str)], install: InstallMethod, system: &str) -> Plan {
    let bare = ImageFacts { os_release: system.to_owned(), arch: "x86_64".to_owned(), engine: None };
    let proxies = proxies.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value)));
    let wish = EngineWish { proxies: proxies.collect(), install, ..wish() };
    plan(&HostFacts::of_image(&bare, "debian"), &wish).unwrap()
}

const UBUNTU: &str = "ID=ubuntu\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n";
const SYSTEMS: [&str; 5] = [
    UBUNTU,
    "ID=debian\nVERSION_ID=12\nVERSION_CODENAME=bookworm\n",
    "ID=amzn\nVERSION_ID=2023\n",
    "ID=rocky\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=9.4\n",
    "ID=fedora\nVERSION_ID=42\n",
];

#[test]
fn nothing_secret_is_in_what_others_can_read() {
    let key = Secret::new("");
    let ahead = |proxies: &[(&str, &str)], install| {
        let plan = bare_plan(proxies, install, UBUNTU);
        user_data::ahead(&identity("debian", "dev", &key, &[]), &plan, None).expose().to_owned()
    };
    let default = || InstallMethod::Url(DEFAULT_INSTALL_URL.to_owned());
    let with = ahead(&[("HTTPS_PROXY", "http://proxy.example:3128")], default());
    assert!(with.contains("dm_install_by_script https://get.docker.com"), "{with}");
    assert!(with.contains("HTTPS_PROXY=http://proxy.example:3128") && !with.contains("not'a"));
    // What can't be fetched without a password is fetched later.
    let without = [
        ahead(&[("HTTPS_PROXY", "http://u:secret@proxy.example")], default()),
        ahead(&[], InstallMethod::Url("https://u:secret@get.example".to_owned())),
    ];
    for text in without {
        assert!(
            !text.contains("secret") && !text.contains("dm_install") && text.contains("ssh_keys"),
            "{text}"
        );
    }
}

#[test]
fn what_is_installed_ahead_is_short_and_can_be_run() {
    let key = Secret::new(HOST_KEY.repeat(4));
    for system in SYSTEMS {
        for install in [InstallMethod::Url(DEFAULT_INSTALL_URL.to_owned()), InstallMethod::Distro] {
            if system.contains("rocky") && install == InstallMethod::Distro {
                continue;
            }
            let plan = bare_plan(&[], install, system);
            let user_data = user_data::ahead(&identity("debian", "dev", &key, &[]), &plan, None);
            let bytes = user_data.expose().len();
            assert!(bytes < 10 * 1024, "{bytes} bytes of the 16 KiB that some providers take: {system}");
            let Some(parts) = parts(&user_data) else { return };
            let script = part(&parts, "text/x-shellscript");
            can_be_read_by_shells(script);
            // Every function that is called is there: nothing says "not found" where each command is looked up.
            for called in script.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
                let function = called.starts_with("dm_")
                    && FUNCTIONS.iter().any(|text| text.contains(&format!("\n{called}() {{")));
                assert!(!function || script.contains(&format!("\n{called}() {{")), "{called} is missing");
            }
            assert!(!script.contains("dm_open_port") && !script.contains("dm_file()"), "{script}");
        }
    }
}

/// Where the functions of scripts are.
const FUNCTIONS: [&str; 5] = [
    include_str!("../src/sh/host.sh"),
    include_str!("../src/sh/run.sh"),
    include_str!("../src/sh/files.sh"),
    include_str!("../src/sh/packages.sh"),
    include_str!("../src/sh/engine.sh"),
];

fn own(text: &str) -> Result<Own, String> {
    Own::read(&Secret::new(text)).map_err(|error| error.to_string())
}

const MESSAGE: &str = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"docker-machine\"\n\n\
    --docker-machine\nContent-Type: text/cloud-config\n\n#cloud-config\npackages: [jq]\n\
    --docker-machine\nContent-Type: text/x-shellscript\n\n#!/bin/sh\necho hello\n--docker-machine--\n";

#[test]
fn the_users_own_comes_first_and_as_it_is() {
    let key = Secret::new(HOST_KEY);
    for (text, kinds) in [
        ("#cloud-config\npackages: [jq]\n", &["text/cloud-config"][..]),
        ("\n\n#Cloud-Config\npackages: [jq]\n", &["text/cloud-config"]),
        ("#!/bin/sh\necho hello\n", &["text/x-shellscript"]),
        ("#include\nhttps://x.example/a\n", &["text/x-include-url"]),
        ("#include-once https://x.example/a\n", &["text/x-include-once-url"]),
        ("#cloud-boothook\n#!/bin/sh\n:\n", &["text/cloud-boothook"]),
        ("## template: jinja\n#cloud-config\nfinal_message: {{ v1.cloud_name }}\n", &["text/jinja2"]),
        (MESSAGE, &["text/cloud-config", "text/x-shellscript"]),
        (&format!("From nobody Thu\n{MESSAGE}"), &["text/cloud-config", "text/x-shellscript"]),
    ] {
        let own = own(text).unwrap();
        let plan = bare_plan(&[], InstallMethod::Distro, UBUNTU);
        let user_data = user_data::ahead(&identity("debian", "dev", &key, &[]), &plan, Some(&own));
        let Some(mut parts) = parts(&user_data) else { return };
        if text.contains("https://") {
            // Whatever is there may define our account.
            let (kind, script) = parts.remove(0);
            assert!(kind == "text/x-shellscript" && script.contains("dm_login debian "), "{script}");
        }
        let found: Vec<&str> = parts.iter().map(|(kind, _)| kind.as_str()).collect();
        assert_eq!(found[..kinds.len()], *kinds, "{text}");
        assert_eq!(found[kinds.len()..], ["text/cloud-config", "text/cloud-config", "text/x-shellscript"]);
        let first = if kinds.len() == 1 { text.trim() } else { "#cloud-config\npackages: [jq]" };
        assert_eq!(parts[0].1.trim(), first);
        let ours: Vec<Value> = parts[kinds.len()..][..2]
            .iter()
            .map(|(_, text)| serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap())
            .collect();
        assert_eq!(
            (&ours[0]["users"][0]["name"], &ours[0]["ssh_keys"]),
            (&Value::from("debian"), &Value::Null)
        );
        assert_eq!(ours[1]["ssh_keys"]["ed25519_private"], HOST_KEY);
        assert!(!format!("{own:?}").contains("jq"));
    }
}

#[test]
fn what_is_beyond_ascii_comes_to_the_host_as_it_was_written() {
    let key = Secret::new(HOST_KEY);
    let long = "Zażółć gęślą jaźń, ".repeat(40);
    for text in [
        "#cloud-config\n# Müller – łódź 日\npackages: [jq]\n",
        "#!/bin/sh\necho é\n",
        &format!("#cloud-config\nfinal_message: {long}\n"),
    ] {
        let own = own(text).unwrap();
        let user_data = user_data::identity(&identity("debian", "dev", &key, &[]), Some(&own));
        assert!(user_data.expose().is_ascii() && user_data.expose().lines().all(|line| line.len() < 998));
        let Some(parts) = parts(&user_data) else { return };
        assert_eq!(parts[0].1.trim_end(), text.trim_end());
    }
}

/// Of two accounts of one name cloud-init takes the first, with its list of keys.
#[test]
fn an_account_of_the_user_that_is_ours_as_well_lets_us_in() {
    let key = Secret::new(HOST_KEY);
    let data = |text: &str| {
        let own = own(text).unwrap();
        user_data::identity(&identity("deploy", "dev", &key, &[]), Some(&own))
    };
    let theirs = "#cloud-config\nusers:\n- default\n- name: deploy\n  ssh_authorized_keys: [theirs]\n";
    let Some(parts) = parts(&data(theirs)) else { return };
    let script = part(&parts, "text/x-shellscript");
    can_be_read_by_shells(script);
    assert_eq!(parts[0].1, script, "before what takes its time");
    assert!(script.ends_with("\ndm_login deploy 'ssh-ed25519 AAAA dev'\n"), "{script}");
    for called in ["dm_home_of", "dm_is_group", "dm_has_line"] {
        assert!(script.contains(&format!("\n{called}() {{")), "{called} is missing");
    }
    assert!(!script.contains("dm_mount") && script.len() < 1500, "{}", script.len());
    for other in ["#cloud-config\nusers:\n- name: bob\n", "#!/bin/sh\nuseradd deploy\n"] {
        assert!(!data(other).expose().contains("dm_login"), "{other}");
    }
}

#[test]
fn the_images_usual_user_has_the_providers_keys() {
    let key = Secret::new(HOST_KEY);
    let identity = Identity { usual_user: true, ..identity("ubuntu", "dev", &key, &[]) };
    let Some(parts) = parts(&user_data::identity(&identity, None)) else { return };
    let users = &config(&parts)["users"];
    assert_eq!((&users[0], &users[1]["name"]), (&Value::from("default"), &Value::from("ubuntu")));
}

#[test]
fn what_cloud_init_would_not_read_is_refused() {
    let long_enough = MESSAGE.replace("--docker-machine--\n", "");
    for (bad, why) in [
        ("", "empty"),
        ("  \n", "empty"),
        ("H4sIAAAAAAAA", "compressed"),
        ("\u{1f}\u{8b}\u{8}", "compressed"),
        ("packages: [jq]\n", "first line"),
        ("# cloud-config\n", "first line"),
        ("echo hello\n", "first line"),
        ("#cloud-config\n- a\n", "a list"),
        ("#cloud-config\nhello\n", "line 2"),
        ("#cloud-config\n  packages: [jq]\n", "line 2 is indented"),
        ("#cloud-config\npackages:\n\t- jq\n", "line 3 is indented with a tab"),
        ("#cloud-config\npackages:\n- jq\nruncmd\n", "line 4"),
        ("#cloud-config\nusers:\n  bob: {}\n", "users"),
        ("#cloud-config\nusers: bob\n", "users"),
        ("#cloud-config\n{\"users\": {\"bob\": 1}}\n", "users"),
        ("#include\n\n", "includes nothing"),
        ("#include\nfile\n", "no address"),
        ("Content-Type: text/plain\n\nhello\n", "multipart"),
        ("Content-Type: multipart/mixed\n\nhello\n", "boundary"),
        ("Content-Type: multipart/mixed; boundary=x\n\nhello\n", "no part"),
        (&long_enough, "end is missing"),
        (&MESSAGE.replace("echo", "echo é"), "base64"),
        ("#!/bin/sh\n\0", "no text"),
    ] {
        let error = own(bad).unwrap_err();
        assert!(error.contains(why), "{bad:?}: {error}");
        // There may be passwords in it.
        assert!(!error.contains("hello") && !error.contains("jq") && !error.contains("runcmd"), "{error}");
    }
    for good in [
        "#cloud-config\n",
        "#cloud-config\n# nothing\n---\npackages:\n- jq\n-\n  - curl\n  - 1\n...\n",
        "#cloud-config\nusers: # all of them\n\n  # bob\n  - name: bob\n    sudo: x\nruncmd:\n - |\n  a\n  \tb\n",
        "#cloud-config\nusers: [default]\n\"quoted\": 1\nrun-cmd:\n  - a: b\n",
        "#cloud-config\n{\"users\": [\"default\"],\n\t\"a\": 1}\n",
        "#cloud-config\r\npackages:\r\n- jq\r\n",
        "#cloud-config\nwrite_files:\n- path: /a\n  content: |\n    #!/bin/sh\n    x\n",
    ] {
        own(good).unwrap_or_else(|error| panic!("{good:?}: {error}"));
    }
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
        let complete = user_data::complete(&identity, &plan, None);
        if let Some(parts) = parts(&complete) {
            prop_assert_eq!(parts.len(), 3);
            can_be_read_by_shells(part(&parts, "text/cloud-boothook"));
        }
        if let Some(parts) = parts(&user_data::identity(&identity, None)) {
            let config = config(&parts);
            prop_assert_eq!(&config["users"][0]["ssh_authorized_keys"][0], authorized_key.trim());
            prop_assert_eq!(&config["ssh_keys"]["ed25519_private"], key.expose());
        }
    }
}
