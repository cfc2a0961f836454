//! Flags, and records of this program and of the Go program.

use std::path::Path;

use machine_core::{FlagValue, MachineName, SshEndpoint};
use serde_json::{Value, json};

use super::*;

fn configure(given: &[(&str, FlagValue)]) -> Result<DriverState, DriverError> {
    let driver = Virtualbox::new();
    let mut values = FlagValues::defaults(&driver.spec().flags);
    for (flag, value) in given {
        values.set(*flag, value.clone());
    }
    let name = MachineName::new("dev").unwrap();
    driver.configure(&ConfigureContext { name: &name, store_path: Path::new("/store") }, &values)
}

fn text(value: &str) -> FlagValue {
    FlagValue::Str(value.to_owned())
}

/// The keys of the Go driver in its order: `BaseDriver` and its two embedded interfaces, then its own fields.
#[test]
fn the_record_is_the_go_drivers() {
    let state = configure(&[
        ("virtualbox-boot2docker-url", text("https://example.com/b.iso")),
        ("virtualbox-hostonly-cidr", text("192.168.99.1/24")),
    ]);
    assert_eq!(
        serde_json::to_string(&state.unwrap()).unwrap(),
        concat!(
            r#"{"IPAddress":"","MachineName":"dev","SSHUser":"docker","SSHPort":0,"SSHKeyPath":"/store/machines/dev/id_rsa","#,
            r#""StorePath":"/store","SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":"","VBoxManager":{},"HostInterfaces":{},"#,
            r#""CPU":1,"Memory":1024,"DiskSize":20000,"NatNicType":"82540EM","Boot2DockerURL":"https://example.com/b.iso","#,
            r#""Boot2DockerImportVM":"","HostDNSResolver":false,"HostOnlyCIDR":"192.168.99.1/24","HostOnlyNicType":"82540EM","#,
            r#""HostOnlyPromiscMode":"deny","UIType":"headless","HostOnlyNoDHCP":false,"NoShare":false,"DNSProxy":true,"#,
            r#""NoVTXCheck":false,"ShareFolder":""}"#
        )
    );
}

/// A record of docker-machine 0.16 with nothing of ours in it.
#[test]
fn a_record_of_the_go_program_says_where_the_machine_is() {
    let record: Value = json!({
        "IPAddress": "192.168.99.100", "MachineName": "dev", "SSHUser": "docker", "SSHPort": 50001,
        "SSHKeyPath": "/home/me/.docker/machine/machines/dev/id_rsa", "StorePath": "/home/me/.docker/machine",
        "SwarmMaster": false, "SwarmHost": "tcp://0.0.0.0:3376", "SwarmDiscovery": "", "VBoxManager": {},
        "HostInterfaces": {}, "CPU": 1, "Memory": 1024, "DiskSize": 20000, "NatNicType": "82540EM", "Boot2DockerURL": "",
        "Boot2DockerImportVM": "", "HostDNSResolver": false, "HostOnlyCIDR": "192.168.99.1/24",
        "HostOnlyNicType": "82540EM", "HostOnlyPromiscMode": "deny", "UIType": "headless", "HostOnlyNoDHCP": false,
        "NoShare": false, "DNSProxy": true, "NoVTXCheck": false, "ShareFolder": ""
    });
    let state: DriverState = serde_json::from_value(record.clone()).unwrap();
    let known = Virtualbox::new().known(&state).unwrap();
    assert_eq!((known.ip.as_str(), known.url.as_str()), ("192.168.99.100", "tcp://192.168.99.100:2376"));
    let ssh = SshEndpoint {
        host: "127.0.0.1".into(),
        port: 50001,
        user: "docker".into(),
        key: Some("/home/me/.docker/machine/machines/dev/id_rsa".into()),
    };
    assert_eq!(known.ssh, Some(ssh));
    let again = DriverState::from_typed(&read(&state).unwrap()).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), record.to_string(), "nothing is added or lost");
    assert_eq!(read(&state).unwrap().handle(), "dev");
}

#[test]
fn cloud_images_get_the_card_that_they_know() {
    let state = configure(&[]).unwrap();
    assert_eq!((state.str("NatNicType"), state.str("HostOnlyCIDR")), ("virtio", ""));
    let state = configure(&[("virtualbox-nat-nictype", text("82545EM"))]).unwrap();
    assert_eq!((state.str("NatNicType"), state.str("HostOnlyNicType")), ("82545EM", "virtio"));
}

#[test]
fn what_makes_no_sense_is_refused() {
    for (flag, value) in [
        ("virtualbox-memory", FlagValue::Int(0)),
        ("virtualbox-disk-size", FlagValue::Int(-1)),
        ("virtualbox-hostonly-cidr", text("192.168.99.0/24")),
        ("virtualbox-hostonly-cidr", text("nonsense")),
        ("virtualbox-hostonly-nicpromisc", text("maybe")),
        ("virtualbox-ui-type", text("tv")),
        ("virtualbox-nat-nictype", text("a b")),
        ("virtualbox-share-folder", text("/home")),
        ("virtualbox-boot2docker-url", text("--help")),
        ("virtualbox-import-boot2docker-vm", text("boot2docker-vm")),
    ] {
        let Err(error) = configure(&[(flag, value)]) else { panic!("{flag} was taken") };
        assert_eq!(error.kind(), machine_core::ErrorKind::Config, "{flag}: {error}");
    }
    let both = [("virtualbox-image", text("debian-13")), ("virtualbox-boot2docker-url", text("/x.iso"))];
    assert!(configure(&both).is_err());
}

#[test]
fn a_record_can_not_make_options() {
    let mut state = configure(&[]).unwrap();
    state.0.insert("VMUUID".into(), json!("--delete"));
    assert!(read(&state).is_err());
}

/// The names, variables, defaults and texts of the reference program's flags.
#[test]
fn the_flags_are_the_reference_programs() {
    let driver = Virtualbox::new();
    let flags = &driver.spec().flags;
    let ours = flags.iter().map(|flag| flag.name.as_ref()).filter(|name| *name == "virtualbox-image").count();
    assert_eq!((flags.len(), ours), (17, 1));
    assert_eq!(flags[7].env, "VIRTUALBOX_HOSTONLY_CIDR");
    assert_eq!(flags[7].default_value(), text("192.168.99.1/24"));
}
