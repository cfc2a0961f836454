//! Records; the conformance suite and what is asked of Azure are in `tests/conformance/azure`.

use machine_core::{ConfigureContext, Driver, DriverState, FlagValue, FlagValues, MachineName};

use super::{Azure, AzureState};

/// The keys of docker/machine v0.16.2, in its order.
const GO_KEYS: [&str; 30] = [
    "IPAddress",
    "MachineName",
    "SSHUser",
    "SSHPort",
    "SSHKeyPath",
    "StorePath",
    "SwarmMaster",
    "SwarmHost",
    "SwarmDiscovery",
    "ClientID",
    "ClientSecret",
    "Environment",
    "SubscriptionID",
    "ResourceGroup",
    "DockerPort",
    "Location",
    "Size",
    "Image",
    "VirtualNetwork",
    "SubnetName",
    "SubnetPrefix",
    "AvailabilitySet",
    "StorageType",
    "OpenPorts",
    "PrivateIPAddr",
    "UsePrivateIP",
    "NoPublicIP",
    "DNSLabel",
    "StaticPublicIP",
    "CustomDataFile",
];

fn wish(more: &[(&str, FlagValue)]) -> DriverState {
    let driver = Azure::new();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    flags.set("azure-subscription-id", FlagValue::Str("sub".into()));
    for (flag, value) in more {
        flags.set(*flag, value.clone());
    }
    let name = MachineName::new("dev").unwrap();
    let context = ConfigureContext { name: &name, store_path: std::path::Path::new("/store") };
    driver.configure(&context, &flags).unwrap()
}

#[test]
fn the_keys_stand_in_the_order_of_the_go_program() {
    let state = wish(&[]);
    let keys: Vec<&String> = state.0.keys().take(GO_KEYS.len()).collect();
    assert_eq!(keys, GO_KEYS);
    assert_eq!(state.str("SSHKeyPath"), "/store/machines/dev/id_rsa");
    assert_eq!(state.str("Image"), "Canonical:ubuntu-24_04-lts:server:latest");
}

#[test]
fn the_image_fits_the_processor() {
    let state = wish(&[("azure-size", FlagValue::Str("Standard_D2ps_v5".into()))]);
    assert_eq!(state.str("Image"), "Canonical:ubuntu-24_04-lts:server-arm64:latest");
}

#[test]
fn machines_of_before_the_resource_manager_are_refused_in_the_programs_words() {
    let old: DriverState =
        serde_json::from_str(r#"{"MachineName":"old","SubscriptionCert":"/c.pem"}"#).unwrap();
    let error = AzureState::of_machine(&old).unwrap_err();
    assert_eq!(error.to_string(), "new azure driver cannot manage old VMs, downgrade to v0.6.0");
}
