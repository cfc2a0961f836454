//! What needs no libvirt: flags, records, identities.

use std::path::Path;

use machine_core::{ConfigureContext, Driver, DriverState, ErrorKind, FlagValue, FlagValues, MachineName};
use serde_json::json;

use super::*;

fn configure(given: &[(&str, FlagValue)]) -> Result<DriverState, DriverError> {
    let driver = Libvirt::new();
    let mut flags = FlagValues::defaults(FLAGS);
    for (name, value) in given {
        flags.set(*name, value.clone());
    }
    let name = MachineName::new("dev").expect("a name");
    driver.configure(&ConfigureContext { name: &name, store_path: Path::new("/store") }, &flags)
}

fn text(value: &str) -> FlagValue {
    FlagValue::Str(value.into())
}

#[test]
fn what_is_known_depends_on_the_network() {
    let driver = Libvirt::new();
    let known = |given: &[(&str, FlagValue)]| driver.known(&configure(given).unwrap()).unwrap().ip;
    assert_eq!(known(&[]), "");
    assert_eq!(known(&[("libvirt-uri", text("qemu:///system"))]), "");
    assert_eq!(known(&[("libvirt-uri", text("qemu:///session"))]), "127.0.0.1");
    assert_eq!(known(&[("libvirt-network", text("user"))]), "127.0.0.1");
}

#[test]
fn a_record_says_how_to_reach_the_machine() {
    let mut state = configure(&[("libvirt-network", text("user"))]).unwrap();
    state.0.insert("SSHPort".into(), json!(2222));
    state.0.insert("EnginePort".into(), json!(33_376));
    let known = Libvirt::new().known(&state).unwrap();
    let ssh = known.ssh.unwrap();
    assert_eq!((ssh.host.as_str(), ssh.port, ssh.user.as_str()), ("127.0.0.1", 2222, "docker"));
    assert_eq!(ssh.key.as_deref(), Some(Path::new("/store/machines/dev/id_ed25519")));
    assert_eq!((known.url.as_str(), known.engine_port), ("tcp://127.0.0.1:33376", Some(2376)));
    state.0.insert("IPAddress".into(), json!("192.168.122.9"));
    state.0.insert("SSHPort".into(), json!(0));
    state.0.insert("EnginePort".into(), json!(0));
    let known = Libvirt::new().known(&state).unwrap();
    assert_eq!((known.url.as_str(), known.engine_port), ("tcp://192.168.122.9:2376", None));
    assert_eq!(known.ssh.unwrap().port, 22);
}

#[test]
fn an_id_of_a_record_is_an_id_or_nothing() {
    assert!(is_uuid("a2c4d1de-0a4f-4c3e-9c61-0123456789ab"));
    for bad in
        ["a2c4d1de-0a4f-4c3e-9c61-0123456789a; quit", "A2C4D1DE-0a4f-4c3e-9c61-0123456789ab", "", "1-2-3-4-5"]
    {
        assert!(!is_uuid(bad), "{bad}");
    }
    let mut state = configure(&[]).unwrap();
    state.0.insert("UUID".into(), json!("x; undefine other"));
    assert_eq!(read(&state).unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_clone_has_an_identity_of_its_own() {
    let driver = Libvirt::new();
    let mut source = configure(&[
        ("libvirt-network", text("user")),
        ("libvirt-publish", FlagValue::List(vec!["8080:80".into()])),
    ])
    .unwrap();
    let id = "a2c4d1de-0a4f-4c3e-9c61-0123456789ab";
    for (key, value) in
        [("UUID", id), ("MAC", "52:54:00:00:00:01"), ("DiskVolume", "disk"), ("ImageVolume", "image")]
    {
        source.0.insert(key.into(), json!(value));
    }
    source.0.insert("SSHPort".into(), json!(2222));
    let name = MachineName::new("copy").unwrap();
    let cx = ConfigureContext { name: &name, store_path: Path::new("/store") };
    let clone = read(&driver.clone_wish(&cx, &source).unwrap()).unwrap();
    assert_eq!((clone.clone_of_uuid.as_str(), clone.clone_of_volume.as_str()), (id, "disk"));
    assert_eq!(clone.base.machine_name, "copy");
    assert_eq!((clone.base.ip_address.as_str(), clone.base.ssh_port, clone.engine_port), ("127.0.0.1", 0, 0));
    assert!(clone.uuid.is_empty() && clone.mac.is_empty() && clone.disk_volume.is_empty());
    assert!(clone.publish.is_empty());
}

#[test]
fn a_value_of_a_table() {
    let table = "Name:           default\nActive:         yes\nBridge:         virbr0\n";
    assert_eq!(field(table, "Active"), Some("yes"));
    assert_eq!(field(table, "Autostart"), None);
}
