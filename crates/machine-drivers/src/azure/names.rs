//! What is made for a machine, and under which ids. The names are docker/machine's, so that either program finds them.

use aws_lc_rs::digest::{SHA256, digest};

use super::state::AzureState;
use crate::cloud::Mark;

/// The ids of a machine's own things and of those that it shares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Names {
    /// The virtual machine.
    pub(super) vm: String,
    /// Its network interface.
    pub(super) nic: String,
    /// Its public address.
    pub(super) ip: String,
    /// Its network security group, or the one that the user named.
    pub(super) nsg: String,
    /// Its disk; `None` where the record does not know.
    pub(super) disk: Option<String>,
    /// The resource group.
    pub(super) group: String,
    /// The availability set.
    pub(super) set: String,
    /// The virtual network.
    pub(super) network: String,
    /// The subnet.
    pub(super) subnet: String,
}

impl Names {
    /// Those of a machine in this subscription, `/subscriptions/…`.
    pub(super) fn of(state: &AzureState, subscription: &str) -> Self {
        let name = &state.base.machine_name;
        let group = format!("{subscription}/resourceGroups/{}", state.resource_group);
        let compute = |kind: &str, name: &str| format!("{group}/providers/Microsoft.Compute/{kind}/{name}");
        let network = |kind: &str, name: &str| format!("{group}/providers/Microsoft.Network/{kind}/{name}");
        let nsg = match state.nsg.as_str() {
            "" => network("networkSecurityGroups", &format!("{name}-firewall")),
            id if id.starts_with('/') => id.to_owned(),
            name => network("networkSecurityGroups", name),
        };
        let (network_group, network_name) = state.network();
        let vnet = format!(
            "{subscription}/resourceGroups/{network_group}/providers/Microsoft.Network/virtualNetworks/{network_name}"
        );
        Self {
            vm: compute("virtualMachines", name),
            nic: network("networkInterfaces", &format!("{name}-nic")),
            ip: network("publicIPAddresses", &format!("{name}-ip")),
            nsg,
            disk: (!state.os_disk_name.is_empty()).then(|| compute("disks", &state.os_disk_name)),
            set: compute("availabilitySets", &state.availability_set),
            subnet: format!("{vnet}/subnets/{}", state.subnet_name),
            network: vnet,
            group,
        }
    }

    /// Those of the machine's own things that have a name which somebody else's may have, too.
    pub(super) fn own<'a>(&'a self, state: &AzureState) -> Vec<&'a str> {
        let mut own = vec![self.vm.as_str(), &self.nic];
        if !state.no_public_ip {
            own.push(&self.ip);
        }
        if state.nsg.is_empty() {
            own.push(&self.nsg);
        }
        own
    }
}

/// How long the name of a disk may be. Source: "Naming rules and restrictions for Azure resources".
const LONGEST_DISK: usize = 80;
/// What stands between a machine's name and the end of its disk's.
const DISK: &str = "-os-disk-";
/// Digits at the end of a disk's name: as many for the store as chance.
const DIGITS: usize = 8;

/// The name of a machine's disk, of 32 random digits. Azure gives a disk that is made with a machine no tags: its name says
/// whose it is. Where the machine's own name leaves no room for that, it does not.
pub(super) fn disk(machine: &str, store: &str, random: &str) -> String {
    let chance: String = random.chars().filter(char::is_ascii_hexdigit).take(DIGITS).collect();
    let room = LONGEST_DISK.saturating_sub(machine.len() + DISK.len());
    let mut end = format!("{}{chance}", digits(store));
    if end.len() > room {
        end = chance.chars().take(room).collect();
    }
    format!("{machine}{DISK}{end}")
}

/// The machine that a disk was made for, where its name says that this store made it.
pub(super) fn machine_of_disk<'a>(disk: &'a str, store: &str) -> Option<&'a str> {
    let (machine, end) = disk.rsplit_once(DISK)?;
    let chance = end.strip_prefix(&digits(store))?;
    let is_ours = chance.len() == DIGITS && chance.bytes().all(|b| b.is_ascii_hexdigit());
    Some(machine).filter(|machine| is_ours && !machine.is_empty())
}

fn digits(store: &str) -> String {
    let sum = digest(&SHA256, store.as_bytes());
    sum.as_ref().iter().take(DIGITS / 2).map(|byte| format!("{byte:02x}")).collect()
}

/// The mark of a machine's own things.
pub(super) fn mark(state: &AzureState) -> Mark {
    Mark { store: state.store_id.clone(), machine: state.base.machine_name.clone() }
}

/// Whether two ids are the same: their letters may differ in case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_says_whose_it_is() {
        let random = "0f8fad5b-d9cb-469f-a165-70867728950e";
        let name = disk("web-os-disk-1", "store", random);
        assert!(name.starts_with("web-os-disk-1-os-disk-") && name.ends_with("0f8fad5b"), "{name}");
        assert_eq!(machine_of_disk(&name, "store"), Some("web-os-disk-1"));
        assert_eq!(machine_of_disk(&name, "another"), None);
        for other in ["prod-os-disk-old", "prod-os-disk-0f8fad5b", &format!("{name}-old"), "-os-disk-"] {
            assert_eq!(machine_of_disk(other, "store"), None, "{other}");
        }
    }

    #[test]
    fn a_disk_of_the_longest_name_can_be_made() {
        let random = "0f8fad5b-d9cb-469f-a165-70867728950e";
        assert_eq!(disk(&"m".repeat(64), "store", random).len(), LONGEST_DISK);
        let name = disk(&"m".repeat(55), "store", random);
        assert_eq!(name.len(), LONGEST_DISK);
        assert_eq!(machine_of_disk(&name, "store"), Some("m".repeat(55).as_str()));
    }
}
