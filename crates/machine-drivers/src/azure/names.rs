//! What is made for a machine, and under which ids. The names are docker/machine's, so that either program finds them.

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

/// The mark of a machine's own things.
pub(super) fn mark(state: &AzureState) -> Mark {
    Mark { store: state.store_id.clone(), machine: state.base.machine_name.clone() }
}

/// Whether two ids are the same: their letters may differ in case.
pub(super) fn same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}
