//! What is read of the Resource Manager's answers: no more than is used, because there may be a thousand of them.

use std::collections::BTreeMap;

use machine_core::State;
use serde::{Deserialize, Deserializer};

use super::names::same;
use crate::cloud::{MACHINE_KEY, Mark, STORE_KEY};

/// A page of a list.
#[derive(Deserialize)]
pub(super) struct List<T> {
    #[serde(default = "Vec::new")]
    pub(super) value: Vec<T>,
    #[serde(rename = "nextLink")]
    pub(super) next_link: Option<String>,
}

/// Something with an id and tags.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound(deserialize = "P: Deserialize<'de> + Default"))]
pub(super) struct Resource<P> {
    #[serde(default)]
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) location: String,
    /// Of an availability set: its kind.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) sku: Kind,
    /// Of a disk: the machine that it is in; empty where it is in none.
    #[serde(default, deserialize_with = "or_default")]
    pub(super) managed_by: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) tags: BTreeMap<String, String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) properties: P,
}

/// The kind of a resource.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Kind {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
}

/// Resources whose properties nobody reads.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Plain {}

fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl<P> Resource<P> {
    /// Whether it carries the mark of this store.
    pub(super) fn is_of_store(&self, mark: &Mark) -> bool {
        !mark.store.is_empty() && self.tags.get(STORE_KEY) == Some(&mark.store)
    }

    /// Whether it carries the mark of any store.
    pub(super) fn is_marked(&self) -> bool {
        self.tags.contains_key(STORE_KEY)
    }

    /// Whether it carries this mark, store and machine.
    pub(super) fn is_of(&self, mark: &Mark) -> bool {
        self.is_of_store(mark) && self.tags.get(MACHINE_KEY) == Some(&mark.machine)
    }
}

/// A reference to something.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Reference {
    #[serde(default)]
    pub(super) id: String,
}

/// A virtual machine.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Vm {
    pub(super) provisioning_state: String,
    pub(super) instance_view: Option<InstanceView>,
    pub(super) storage_profile: StorageProfile,
    pub(super) network_profile: NetworkProfile,
}

/// What connects it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct NetworkProfile {
    #[serde(deserialize_with = "or_default")]
    pub(super) network_interfaces: Vec<Reference>,
}

impl Vm {
    /// Whether its system is on the disk of this name. We make such a name up for each machine, so that no other can have it.
    pub(super) fn is_on_disk(&self, name: &str) -> bool {
        let os_disk = &self.storage_profile.os_disk;
        let by_id = os_disk.managed_disk.as_ref().and_then(|disk| disk.id.rsplit('/').next());
        !name.is_empty() && (same(&os_disk.name, name) || by_id.is_some_and(|id| same(id, name)))
    }
}

/// What it is doing.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct InstanceView {
    pub(super) statuses: Vec<Status>,
}

/// A line of that, e.g. `PowerState/running`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) code: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) message: String,
}

impl InstanceView {
    /// The state, as docker/machine reads it; [`State::None`] where Azure tells none.
    pub(super) fn state(&self) -> State {
        let power = self.statuses.iter().find_map(|status| status.code.strip_prefix("PowerState/"));
        match power {
            Some("running") => State::Running,
            Some("starting") => State::Starting,
            Some("stopping" | "deallocating") => State::Stopping,
            Some("stopped" | "deallocated") => State::Stopped,
            _ => State::None,
        }
    }

    /// Code and explanation of a failure to make or change it.
    pub(super) fn failure(&self) -> Option<(&str, &str)> {
        self.statuses.iter().find_map(|status| {
            let code = status.code.strip_prefix("ProvisioningState/failed")?;
            Some((code.trim_start_matches('/'), status.message.as_str()))
        })
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct StorageProfile {
    pub(super) os_disk: OsDisk,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct OsDisk {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    pub(super) managed_disk: Option<Reference>,
    /// The file in a storage account, of machines that docker/machine made.
    pub(super) vhd: Option<Vhd>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Vhd {
    pub(super) uri: String,
}

/// A disk.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Disk {}

/// A public address.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PublicAddress {
    #[serde(deserialize_with = "or_default")]
    pub(super) ip_address: String,
    pub(super) dns_settings: Option<DnsSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DnsSettings {
    #[serde(deserialize_with = "or_default")]
    pub(super) fqdn: String,
}

/// A network interface.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Interface {
    pub(super) ip_configurations: Vec<IpConfiguration>,
    #[serde(deserialize_with = "or_default")]
    pub(super) network_security_group: Reference,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IpConfiguration {
    pub(super) properties: IpProperties,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct IpProperties {
    #[serde(rename = "privateIPAddress", deserialize_with = "or_default")]
    pub(super) private_ip_address: String,
    #[serde(rename = "publicIPAddress", deserialize_with = "or_default")]
    pub(super) public_ip_address: Reference,
}

/// A virtual network.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    #[serde(deserialize_with = "or_default")]
    pub(super) subnets: Vec<Resource<Subnet>>,
}

/// A part of it.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Subnet {
    /// Who is in it.
    #[serde(deserialize_with = "or_default")]
    pub(super) ip_configurations: Vec<Reference>,
}

/// An availability set.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct AvailabilitySet {
    #[serde(deserialize_with = "or_default")]
    pub(super) virtual_machines: Vec<Reference>,
}

/// A network security group.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct SecurityGroup {
    #[serde(deserialize_with = "or_default")]
    pub(super) security_rules: Vec<Resource<Plain>>,
    #[serde(deserialize_with = "or_default")]
    pub(super) network_interfaces: Vec<Reference>,
    #[serde(deserialize_with = "or_default")]
    pub(super) subnets: Vec<Reference>,
}

/// A size, or another thing that a region sells.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub(super) struct Sku {
    #[serde(deserialize_with = "or_default")]
    pub(super) resource_type: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) location_info: Vec<LocationInfo>,
    #[serde(deserialize_with = "or_default")]
    pub(super) capabilities: Vec<Capability>,
    #[serde(deserialize_with = "or_default")]
    pub(super) restrictions: Vec<Restriction>,
    #[serde(deserialize_with = "or_default")]
    pub(super) family: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LocationInfo {
    #[serde(deserialize_with = "or_default")]
    pub(super) zones: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Capability {
    #[serde(deserialize_with = "or_default")]
    pub(super) name: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Restriction {
    #[serde(rename = "type", deserialize_with = "or_default")]
    pub(super) kind: String,
    #[serde(deserialize_with = "or_default")]
    pub(super) restriction_info: RestrictionInfo,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct RestrictionInfo {
    #[serde(deserialize_with = "or_default")]
    pub(super) zones: Vec<String>,
}

impl Sku {
    /// A capability's value, e.g. of `vCPUs`; empty where it has none.
    pub(super) fn capability(&self, name: &str) -> &str {
        self.capabilities.iter().find(|one| one.name == name).map_or("", |one| &one.value)
    }
}

/// How much of something is used, and may be.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    pub(super) name: UsageName,
    pub(super) current_value: i64,
    pub(super) limit: i64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UsageName {
    pub(super) value: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_is_read_as_by_docker_machine() {
        let view = |code: &str| InstanceView {
            statuses: vec![
                Status { code: "ProvisioningState/succeeded".into(), message: String::new() },
                Status { code: code.into(), message: String::new() },
            ],
        };
        assert_eq!(view("PowerState/deallocated").state(), State::Stopped);
        assert_eq!(view("PowerState/deallocating").state(), State::Stopping);
        assert_eq!(view("PowerState/unknown").state(), State::None);
        assert_eq!(InstanceView::default().state(), State::None);
    }

    #[test]
    fn nulls_are_as_nothing() {
        let read: Resource<Network> =
            serde_json::from_str(r#"{"id":"x","tags":null,"properties":{"subnets":null}}"#).unwrap();
        assert!(read.tags.is_empty() && read.properties.subnets.is_empty());
    }
}
