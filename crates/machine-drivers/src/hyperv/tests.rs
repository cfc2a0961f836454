//! What needs no PowerShell: the record, and what the flags make of it.

use machine_core::{ConfigureContext, Driver, DriverState, FlagValue, FlagValues, MachineName};
use serde_json::json;

use super::Hyperv;

/// A record as the Go program writes it.
fn of_go() -> DriverState {
    serde_json::from_value(json!({
        "IPAddress": "192.168.1.44",
        "MachineName": "dev",
        "SSHUser": "docker",
        "SSHPort": 22,
        "SSHKeyPath": "",
        "StorePath": "/home/u/.docker/machine",
        "SwarmMaster": false,
        "SwarmHost": "tcp://0.0.0.0:3376",
        "SwarmDiscovery": "",
        "Boot2DockerURL": "",
        "VSwitch": "External",
        "DiskSize": 20000,
        "MemSize": 1024,
        "CPU": 1,
        "MacAddr": "",
        "VLanID": 0,
        "DisableDynamicMemory": false
    }))
    .unwrap()
}

fn wish(given: &[(&str, FlagValue)]) -> DriverState {
    let driver = Hyperv::new();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    for (name, value) in given {
        flags.set(*name, value.clone());
    }
    let name = MachineName::new("dev").unwrap();
    let cx = ConfigureContext { name: &name, store_path: "/home/u/.docker/machine".as_ref() };
    driver.configure(&cx, &flags).unwrap()
}

#[test]
fn a_machine_of_the_go_program_is_taken_over() {
    let known = Hyperv::new().known(&of_go()).unwrap();
    assert_eq!((known.ip.as_str(), known.url.as_str()), ("192.168.1.44", "tcp://192.168.1.44:2376"));
    let ssh = known.ssh.unwrap();
    assert_eq!((ssh.user.as_str(), ssh.port), ("docker", 22));
    assert_eq!(ssh.key.unwrap().to_str(), Some("/home/u/.docker/machine/machines/dev/id_rsa"));
}

#[test]
fn the_record_begins_with_the_keys_of_the_go_program_in_their_order() {
    let ours = wish(&[]);
    let keys: Vec<_> = ours.0.keys().take(of_go().0.len()).cloned().collect();
    assert_eq!(keys, of_go().0.keys().cloned().collect::<Vec<_>>());
    let defaults = |key: &str| ours.0[key].clone();
    assert_eq!(defaults("DiskSize"), 20_000);
    assert_eq!(defaults("MemSize"), 1024);
    assert_eq!((defaults("CPU"), defaults("SSHUser")), (json!(1), json!("docker")));
}

#[test]
fn the_generation_fits_what_is_booted() {
    let generation = |state: DriverState| state.typed::<super::HypervState>().unwrap().generation();
    let default = if cfg!(target_arch = "aarch64") { 2 } else { 1 };
    assert_eq!(generation(wish(&[])), default);
    assert_eq!(generation(wish(&[("hyperv-generation", FlagValue::Int(2))])), 2);
}
