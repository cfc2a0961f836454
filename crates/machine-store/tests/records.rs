//! config.json: the recorded cases, old versions, unknown keys, broken texts, foreign folders.

mod support;

use std::fs;

use machine_store::{ConfigError, Mode, Store, StoreError, go_json, parse_config, to_json};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use support::{LIMIT, machine, names_in, put_config, store};

fn at_store(text: &str, store: &Store) -> String {
    text.replace("@STORE@", store.root().to_str().unwrap())
}

#[test]
fn a_record_is_written_byte_for_byte_as_the_reference_writes_it() {
    let (_dir, store) = store();
    let printed = at_store(include_str!("data/108-inspect.json"), &store);
    let text = printed.strip_suffix('\n').unwrap();
    put_config(&store, "foo", text);
    let machine = store.load("foo").unwrap();
    assert_eq!(to_json(&machine), text);
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    store.save(&lock, &machine).unwrap();
    assert_eq!(fs::read_to_string(store.machine_dir("foo").join("config.json")).unwrap(), text);
    assert_eq!(names_in(&store.machine_dir("foo")), ["config.json"]);
}

#[test]
fn version_1_is_migrated_as_the_reference_does() {
    let (_dir, store) = store();
    let before = at_store(include_str!("data/198-before.json"), &store);
    put_config(&store, "v1", &before);
    let machine = store.load("v1").unwrap();
    let expected: Value = serde_json::from_str(include_str!("data/198-inspect-v1.json")).unwrap();
    let mut have = serde_json::to_value(&machine).unwrap();
    // The recorded case was printed by the reference's driver, which shows its other keys at their zeros.
    let driver = have["Driver"].take();
    assert_eq!(driver, json!({ "MachineName": "v1", "StorePath": ".", "URL": "tcp://1.2.3.4:2376" }));
    have["Driver"] = expected["Driver"].clone();
    assert_eq!(go_json::to_string_indented(&have) + "\n", include_str!("data/198-inspect-v1.json"));

    let dir = store.machine_dir("v1");
    assert_eq!(fs::read_to_string(dir.join("config.json.bak")).unwrap(), before);
    assert_eq!(fs::read_to_string(dir.join("config.json")).unwrap(), to_json(&machine));
    assert_eq!(store.load("v1").unwrap(), machine);
    assert_eq!(names_in(&dir), ["config.json", "config.json.bak"]);
}

#[test]
fn version_1_with_its_store_path_keeps_it() {
    // The shape of docker/machine 0.2 to 0.4's files.
    let text = json!({
        "ConfigVersion": 1,
        "Driver": { "MachineName": "dev", "SSHPort": 64477, "IPAddress": "192.0.2.1", "Big": 18_446_744_073_709_551_615_u64 },
        "DriverName": "virtualbox",
        "HostOptions": {
            "EngineOptions": { "ArbitraryFlags": [], "TlsVerify": true, "TlsCaCert": "" },
            "SwarmOptions": { "Host": "tcp://0.0.0.0:3376", "Heartbeat": 0 },
            "AuthOptions": { "StorePath": "", "CaCertPath": "/s/certs/ca.pem", "PrivateKeyPath": "/s/certs/ca-key.pem" },
        },
        "StorePath": "/s/machines/dev",
        "Later": [1],
    });
    let machine = parse_config(text.to_string().as_bytes()).unwrap();
    let auth = &machine.host_options.auth_options;
    assert_eq!((auth.store_path.as_str(), auth.cert_dir.as_str()), ("/s", "/s/certs"));
    assert_eq!(
        (auth.ca_cert_path.as_str(), auth.ca_private_key_path.as_str()),
        ("/s/certs/ca.pem", "/s/certs/ca-key.pem")
    );
    assert_eq!(
        serde_json::to_string(&machine.driver).unwrap(),
        r#"{"Big":18446744073709551615,"IPAddress":"192.0.2.1","MachineName":"dev","SSHPort":64477,"StorePath":"/s"}"#
    );
    let keys: Vec<_> = machine.extra.keys().collect();
    assert_eq!(keys, ["Later"]);
    assert!(machine.host_options.engine_options.extra.contains_key("TlsCaCert"));
}

#[test]
fn version_0_is_read_flat_and_nested() {
    let flat = json!({
        "DriverName": "none", "Driver": { "URL": "tcp://192.0.2.1:2376" }, "StorePath": "/s/machines/old",
        "CaCertPath": "/s/certs/ca.pem", "PrivateKeyPath": "/s/certs/ca-key.pem", "ServerCertPath": "/s/server.pem",
        "ServerKeyPath": "/s/server-key.pem", "ClientCertPath": "/s/certs/cert.pem", "ClientKeyPath": "/s/certs/key.pem",
        "SwarmHost": "tcp://0.0.0.0:3376", "SwarmMaster": true, "SwarmDiscovery": "token://1",
    });
    let machine = parse_config(flat.to_string().as_bytes()).unwrap();
    let options = &machine.host_options;
    assert_eq!(machine.config_version, 3);
    assert!(options.engine_options.tls_verify);
    assert_eq!(options.engine_options.install_url, "https://get.docker.com");
    assert_eq!(
        (
            options.swarm_options.host.as_str(),
            options.swarm_options.discovery.as_str(),
            options.swarm_options.master
        ),
        ("tcp://0.0.0.0:3376", "token://1", true)
    );
    let auth = &options.auth_options;
    assert_eq!(
        [
            &auth.ca_cert_path,
            &auth.ca_private_key_path,
            &auth.client_key_path,
            &auth.server_key_path,
            &auth.cert_dir
        ],
        ["/s/certs/ca.pem", "/s/certs/ca-key.pem", "/s/certs/key.pem", "/s/server-key.pem", "/s/certs"]
    );
    assert_eq!(machine.driver.str("StorePath"), "/s");
    assert!(machine.extra.is_empty(), "{:?}", machine.extra);

    let nested = json!({
        "DriverName": "virtualbox", "Driver": {}, "StorePath": "/s/machines/old",
        "HostOptions": { "AuthOptions": { "PrivateKeyPath": "/k", "CaCertPath": "/c" } },
    });
    let machine = parse_config(nested.to_string().as_bytes()).unwrap();
    let auth = &machine.host_options.auth_options;
    assert_eq!((auth.ca_private_key_path.as_str(), auth.ca_cert_path.as_str()), ("/k", "/c"));
}

#[test]
fn version_2_keeps_its_store() {
    let text = |driver: Value, store_path: &str| {
        json!({
            "ConfigVersion": 2, "Driver": driver, "DriverName": "none", "Name": "x",
            "HostOptions": { "AuthOptions": { "StorePath": store_path, "CaPrivateKeyPath": "/k" } },
        })
        .to_string()
    };
    let store_path = |text: String| parse_config(text.as_bytes()).unwrap().driver.str("StorePath").to_owned();
    assert_eq!(store_path(text(json!({}), "/s")), "/s");
    assert_eq!(store_path(text(json!({ "StorePath": "/d" }), "/s")), "/d");
    assert_eq!(store_path(text(json!({}), "")), ".");
    let machine = parse_config(text(json!({}), "/s").as_bytes()).unwrap();
    assert_eq!(machine.host_options.auth_options.ca_private_key_path, "/k");
}

#[test]
fn a_newer_version_is_left_alone() {
    let (_dir, store) = store();
    for version in ["4", "99999999999"] {
        let text = format!(r#"{{"ConfigVersion":{version},"Name":"new"}}"#);
        put_config(&store, "new", &text);
        let error = store.load("new").unwrap_err();
        assert_eq!(
            error.to_string(),
            "Error getting migrated host: config version is from the future -- you should upgrade your Docker \
             Machine client"
        );
        assert_eq!(fs::read_to_string(store.machine_dir("new").join("config.json")).unwrap(), text);
        assert_eq!(names_in(&store.machine_dir("new")), ["config.json"]);
    }
}

#[test]
fn the_folder_gives_the_name_and_unknown_keys_stay() {
    let (_dir, store) = store();
    let mut value = serde_json::to_value(machine("other")).unwrap();
    value["Future"] = json!({ "z": 1, "a": [null] });
    value["HostOptions"]["EngineOptions"]["Later"] = json!(1.5);
    value["Driver"]["AccessToken"] = json!("<&>");
    put_config(&store, "dev", value.to_string());
    let machine = store.load("dev").unwrap();
    assert_eq!(machine.name, "dev");
    let lock = store.lock_machine("dev", LIMIT).unwrap();
    store.save(&lock, &machine).unwrap();
    let again: Value =
        serde_json::from_slice(&fs::read(store.machine_dir("dev").join("config.json")).unwrap()).unwrap();
    value["Name"] = json!("dev");
    assert_eq!(again, value);
}

#[test]
fn what_go_leaves_at_zero_is_no_error() {
    for text in [
        r#"{"ConfigVersion":3}"#,
        r#"{"ConfigVersion":3,"Driver":null,"DriverName":null,"HostOptions":null,"Name":null}"#,
        r#"{"ConfigVersion":3,"Name":"a","Name":"","HostOptions":{"EngineOptions":null,"SwarmOptions":{"Env":null}}}"#,
        "\n {\"ConfigVersion\" : 3 }\n\n",
    ] {
        let machine = parse_config(text.as_bytes()).unwrap();
        assert_eq!((machine.name.as_str(), machine.driver_name.as_str()), ("", ""), "{text}");
    }
    // Bytes that are not UTF-8 are U+FFFD.
    let machine = parse_config(b"{\"ConfigVersion\":3,\"DriverName\":\"a\xffb\"}").unwrap();
    assert_eq!(machine.driver_name, "a\u{fffd}b");
}

#[test]
fn broken_texts_are_named_as_go_names_them() {
    // The expected texts are what go1.19's encoding/json says.
    for (text, error) in [
        ("", "unexpected end of JSON input"),
        ("{\n", "unexpected end of JSON input"),
        (r#"{"a":"b"#, "unexpected end of JSON input"),
        (r#"{"a":-"#, "invalid character ' ' in numeric literal"),
        (r#"{"a":nul"#, "invalid character ' ' in literal null (expecting 'l')"),
        ("x", "invalid character 'x' looking for beginning of value"),
        (r#"{"a":1,}"#, "invalid character '}' looking for beginning of object key string"),
        (r#"{"a":1]"#, "invalid character ']' after object key:value pair"),
        (r#"{"a" 1}"#, "invalid character '1' after object key"),
        (r#"{"a":[1 2]}"#, "invalid character '2' after array element"),
        ("{} {}", "invalid character '{' after top-level value"),
        ("\0\0\0", r"invalid character '\x00' looking for beginning of value"),
        ("{\"a\n", r"invalid character '\n' in string literal"),
        (r#"{"a":tru}"#, "invalid character '}' in literal true (expecting 'e')"),
        (r#"{"a":1.}"#, "invalid character '}' after decimal point in numeric literal"),
        (r#"{"a":1e}"#, "invalid character '}' in exponent of numeric literal"),
        (r#"{"a":01}"#, "invalid character '1' after object key:value pair"),
        (r#"{"a":"\x"}"#, "invalid character 'x' in string escape code"),
        (r#"{"a":"\u12g4"}"#, r"invalid character 'g' in \u hexadecimal character escape"),
        ("é", "invalid character 'Ã' looking for beginning of value"),
        ("'", r"invalid character '\'' looking for beginning of value"),
        (r#"""x"#, "invalid character 'x' after top-level value"),
    ] {
        assert_eq!(parse_config(text.as_bytes()), Err(ConfigError::Syntax(error.to_owned())), "{text}");
    }
}

#[test]
fn json_that_is_no_machine_says_so_without_its_values() {
    for (text, error) in [
        ("[]", "config.json holds a list, not an object"),
        ("null", "config.json holds null, not an object"),
        (r#"{"ConfigVersion":"secret"}"#, "ConfigVersion of config.json is a text, not a version"),
        (r#"{"ConfigVersion":-1}"#, "ConfigVersion of config.json is a number, not a version"),
        (r#"{"ConfigVersion":3,"Driver":"secret"}"#, "Driver of config.json is a text, not an object"),
        (r#"{"ConfigVersion":1,"Driver":["secret"]}"#, "Driver of config.json is a list, not an object"),
    ] {
        assert_eq!(parse_config(text.as_bytes()), Err(ConfigError::Shape(error.to_owned())), "{text}");
    }
    let error = parse_config(br#"{"ConfigVersion":3,"HostOptions":{"EngineOptions":{"TlsVerify":"x"}}}"#)
        .unwrap_err();
    assert!(error.to_string().starts_with("HostOptions of config.json: "), "{error}");
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(matches!(parse_config(deep.as_bytes()), Err(ConfigError::Syntax(_))));
}

#[test]
fn missing_machines_and_files_are_told_apart() {
    let (_dir, store) = store();
    assert_eq!(store.machine_names().unwrap(), Vec::<String>::new());
    for name in ["nosuch", "", "..", ".", "a/b", "../machines", ".hidden", "a\0b"] {
        let text = store.load(name).unwrap_err().to_string();
        assert_eq!(
            text,
            format!(
                "Docker machine {name:?} does not exist. Use \"docker-machine ls\" to list machines. Use \
                 \"docker-machine create\" to add a new one."
            )
        );
        assert!(!store.exists(name));
    }
    store.create_layout().unwrap();
    fs::create_dir(store.machine_dir("emptydir")).unwrap();
    assert_eq!(
        store.load("emptydir").unwrap_err().to_string(),
        format!("open {}/emptydir/config.json: no such file or directory", store.machines_dir().display())
    );
    put_config(&store, "torn", "{\n");
    let error = store.load("torn").unwrap_err();
    assert_eq!(error.to_string(), "Error getting migrated host: unexpected end of JSON input");
    assert!(error.hint().unwrap().contains("docker-machine rm -f"));
}

#[test]
fn foreign_files_are_no_machines() {
    let (_dir, store) = store();
    put_config(&store, "b", to_json(&machine("b")));
    put_config(&store, "a_B", to_json(&machine("a")));
    let machines = store.machines_dir();
    fs::create_dir(machines.join(".hidden")).unwrap();
    fs::create_dir(machines.join("empty")).unwrap();
    fs::write(machines.join("file"), "x").unwrap();
    fs::write(machines.join(".DS_Store"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(machines.join("b"), machines.join("link")).unwrap();
    assert_eq!(store.machine_names().unwrap(), ["a_B", "b", "empty"]);
    assert_eq!(store.load("a_B").unwrap().name, "a_B");
    // A folder with a name that no new machine could have can be removed.
    let lock = store.lock_machine("a_B", LIMIT).unwrap();
    store.remove(&lock).unwrap();
    assert_eq!(store.machine_names().unwrap(), ["b", "empty"]);
    assert!(machines.join("file").exists() && machines.join(".hidden").exists());
    assert!(store.load("file").unwrap_err().to_string().ends_with("/file/config.json: not a directory"));
}

#[cfg(unix)]
#[test]
fn only_the_owner_may_read() {
    use std::os::unix::fs::PermissionsExt;
    let (_dir, store) = store();
    store.create_layout().unwrap();
    let lock = store.lock_machine("dev", LIMIT).unwrap();
    store.create(&lock, &machine("dev"), &machine_store::Journal::default()).unwrap();
    let source = store.certs_dir().join("ca.pem");
    machine_store::write_file(&source, b"ca", Mode::Public).unwrap();
    store.write_machine_file(&lock, "ca.pem", b"ca", Mode::Public).unwrap();
    store.write_machine_file(&lock, "key.pem", b"key", Mode::Private).unwrap();
    store.store_id().unwrap();
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for folder in ["", "certs", "cache", "machines", "machines/dev", "locks"] {
        assert_eq!(mode(&store.root().join(folder)), 0o700, "{folder}");
    }
    for (file, expected) in [
        ("machines/dev/config.json", 0o600),
        ("machines/dev/state.json", 0o600),
        ("machines/dev/key.pem", 0o600),
        ("machines/dev/ca.pem", 0o644),
        ("locks/dev.lock", 0o600),
        (".store-id", 0o600),
    ] {
        assert_eq!(mode(&store.root().join(file)), expected, "{file}");
    }
    for name in ["../x", "a/b", ".x", ""] {
        let error = store.write_machine_file(&lock, name, b"", Mode::Public).unwrap_err();
        assert!(matches!(error, StoreError::UnsafeName { .. }), "{error}");
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("JSON has no others", |number| number.is_finite()).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            json_object(inner).prop_map(Value::from),
        ]
    })
}

fn json_object(of: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    proptest::collection::vec((any::<String>(), of), 0..5).prop_map(|entries| entries.into_iter().collect())
}

proptest! {
    #[test]
    fn any_driver_survives_on_disk(driver in json_object(json_value())) {
        let (_dir, store) = store();
        let mut machine = machine("dev");
        machine.driver.0 = driver;
        let lock = store.lock_machine("dev", LIMIT).unwrap();
        store.save(&lock, &machine).unwrap();
        prop_assert_eq!(&store.load("dev").unwrap(), &machine);
        let keys = |machine: &machine_core::Machine| machine.driver.0.keys().cloned().collect::<Vec<_>>();
        prop_assert_eq!(keys(&store.load("dev").unwrap()), keys(&machine));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse_config(&bytes);
    }

    #[test]
    fn a_damaged_record_is_read_or_refused(at in 0_usize..2500, byte in any::<u8>(), version in 0_u8..5) {
        let mut bytes = to_json(&machine("dev")).into_bytes();
        let versions = bytes.iter().position(|b| *b == b'3').unwrap();
        bytes[versions] = b'0' + version;
        let at = at % bytes.len();
        bytes[at] = byte;
        let _ = parse_config(&bytes);
        bytes.truncate(at);
        prop_assert!(parse_config(&bytes).is_err());
    }

    #[test]
    fn any_object_of_any_version_is_read_or_refused(mut top in json_object(json_value()), version in 0_u8..5) {
        top.insert("ConfigVersion".to_owned(), version.into());
        let text = serde_json::to_string(&top).unwrap();
        if let Ok(machine) = parse_config(text.as_bytes()) {
            prop_assert_eq!(parse_config(to_json(&machine).as_bytes()), Ok(machine));
        }
    }
}
