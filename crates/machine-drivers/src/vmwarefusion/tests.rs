//! What needs none of VMware's programs: the record, and what the flags make of it.

use machine_core::{ConfigureContext, Driver, DriverState, FlagValue, FlagValues, MachineName};
use serde_json::json;

use super::VmwareFusion;

/// A record as the Go program writes it.
fn of_go() -> DriverState {
    serde_json::from_value(json!({
        "IPAddress": "172.16.78.130",
        "MachineName": "dev",
        "SSHUser": "docker",
        "SSHPort": 22,
        "SSHKeyPath": "",
        "StorePath": "/Users/u/.docker/machine",
        "SwarmMaster": false,
        "SwarmHost": "",
        "SwarmDiscovery": "",
        "Memory": 1024,
        "DiskSize": 20000,
        "CPU": 1,
        "ISO": "/Users/u/.docker/machine/machines/dev/boot2docker.iso",
        "Boot2DockerURL": "",
        "SSHPassword": "tcuser",
        "ConfigDriveISO": "/Users/u/.docker/machine/machines/dev/configdrive.iso",
        "ConfigDriveURL": "",
        "NoShare": false
    }))
    .unwrap()
}

fn wish(given: &[(&str, FlagValue)]) -> DriverState {
    let driver = VmwareFusion::new();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    for (name, value) in given {
        flags.set(*name, value.clone());
    }
    let name = MachineName::new("dev").unwrap();
    let cx = ConfigureContext { name: &name, store_path: "/Users/u/.docker/machine".as_ref() };
    driver.configure(&cx, &flags).unwrap()
}

#[test]
fn a_machine_of_the_go_program_is_taken_over() {
    let known = VmwareFusion::new().known(&of_go()).unwrap();
    assert_eq!((known.ip.as_str(), known.url.as_str()), ("172.16.78.130", "tcp://172.16.78.130:2376"));
    let ssh = known.ssh.unwrap();
    assert_eq!(ssh.user, "docker");
    assert_eq!(ssh.key.unwrap().to_str(), Some("/Users/u/.docker/machine/machines/dev/id_rsa"));
}

#[test]
fn the_record_is_that_of_the_go_program() {
    let (ours, theirs) = (wish(&[]), of_go());
    let keys: Vec<_> = ours.0.keys().take(theirs.0.len()).cloned().collect();
    assert_eq!(keys, theirs.0.keys().cloned().collect::<Vec<_>>());
    for (key, value) in &theirs.0 {
        if !["IPAddress", "SSHKeyPath"].contains(&key.as_str()) {
            assert_eq!(ours.0.get(key), Some(value), "{key}");
        }
    }
}

#[test]
fn processors_are_as_many_as_can_be_had() {
    let cpus = |count| wish(&[("vmwarefusion-cpu-count", FlagValue::Int(count))]).0["CPU"].as_u64().unwrap();
    assert_eq!((cpus(3), cpus(99)), (3, 16));
    assert!((1..=16).contains(&cpus(-1)));
}
