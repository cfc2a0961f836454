//! What carries the mark of a store in a subscription.

use machine_core::{AccountCx, DriverError, ErrorKind, Owned};

use super::arm::Arm;
use super::lock;
use super::model::{Disk, Plain, Resource};
use super::names::{machine_of_disk, same};
use super::state::AzureState;
use crate::cloud::{MACHINE_KEY, STORE_KEY};

/// Kinds in an order in which they can be removed: type, our word, the end of its name behind the machine's, whether
/// machines share it.
const KINDS: [(&str, &str, &str, bool); 8] = [
    ("Microsoft.Compute/virtualMachines", "virtual machine", "", false),
    ("Microsoft.Compute/disks", "disk", "-os-disk", false),
    ("Microsoft.Network/networkInterfaces", "network interface", "-nic", false),
    ("Microsoft.Network/publicIPAddresses", "public address", "-ip", false),
    ("Microsoft.Network/networkSecurityGroups", "network security group", "-firewall", false),
    ("Microsoft.Compute/availabilitySets", "availability set", "", true),
    ("Microsoft.Network/virtualNetworks", "virtual network", "", true),
    (GROUP_TYPE, "resource group", "", true),
];
const GROUP_TYPE: &str = "Microsoft.Resources/resourceGroups";

/// The type in an id, e.g. `Microsoft.Compute/disks`; that of a resource group where nothing is below it.
fn type_of(id: &str) -> String {
    let Some((_, rest)) = id.split_once("/providers/") else { return GROUP_TYPE.to_owned() };
    rest.split('/').take(2).collect::<Vec<_>>().join("/")
}

fn rank(id: &str) -> usize {
    let kind = type_of(id);
    KINDS.iter().position(|(known, ..)| known.eq_ignore_ascii_case(&kind)).unwrap_or(0)
}

fn of_machine(name: &str, id: &str, tags: &std::collections::BTreeMap<String, String>) -> String {
    if let Some(machine) = tags.get(MACHINE_KEY) {
        return machine.clone();
    }
    // Lists that are filtered by a tag tell no tags. Ours have the machine's name in their own.
    let (_, _, end, shared) = KINDS[rank(id)];
    match name.rsplit_once(end) {
        _ if shared => String::new(),
        Some((machine, _)) if !end.is_empty() => machine.to_owned(),
        _ if end.is_empty() => name.to_owned(),
        _ => String::new(),
    }
}

/// Lists it, in an order in which it can be removed.
pub(super) async fn owned(cx: &AccountCx<'_>, arm: &Arm<'_>) -> Result<Vec<Owned>, DriverError> {
    if cx.store_id.is_empty() {
        return Ok(Vec::new());
    }
    let doing = "what carries this store's mark can't be listed";
    let filter = format!("tagName eq '{STORE_KEY}' and tagValue eq '{}'", cx.store_id);
    let things = format!("{}/resources", arm.subscription);
    let groups = format!("{}/resourcegroups", arm.subscription);
    let disks = format!("{}/providers/Microsoft.Compute/disks", arm.subscription);
    let query = [("$filter", filter.as_str())];
    let (things, groups, disks) = tokio::join!(
        arm.list::<Resource<Plain>>(doing, &things, &query),
        arm.list::<Resource<Plain>>(doing, &groups, &query),
        arm.list::<Resource<Disk>>(doing, &disks, &[]),
    );
    let mut found: Vec<Owned> = Vec::new();
    for thing in things?.unwrap_or_default().into_iter().chain(groups?.unwrap_or_default()) {
        found.push(one(&thing.id, &thing.name, &thing.tags));
    }
    // Azure gives disks that are made with a machine no tags of ours: their names say whose they are.
    for disk in disks?.unwrap_or_default() {
        let ours = disk.managed_by.is_empty() && machine_of_disk(&disk.name, cx.store_id).is_some();
        if ours && !found.iter().any(|other| same(&other.id, &disk.id)) {
            found.push(one(&disk.id, &disk.name, &disk.tags));
        }
    }
    found.sort_by_key(|owned| rank(&owned.id));
    Ok(found)
}

fn one(id: &str, name: &str, tags: &std::collections::BTreeMap<String, String>) -> Owned {
    let group = id.split('/').nth(4).unwrap_or_default();
    Owned {
        kind: KINDS[rank(id)].1.to_owned(),
        id: id.to_owned(),
        machine: of_machine(name, id, tags),
        about: format!("{name} in resource group {group}"),
    }
}

/// Removes one of these. What machines share is not removed while one is being made.
pub(super) async fn remove(
    cx: &AccountCx<'_>,
    arm: &Arm<'_>,
    state: &AzureState,
    owned: &Owned,
) -> Result<(), DriverError> {
    let id = owned.id.as_str();
    if !id.get(..arm.subscription.len()).is_some_and(|start| same(start, &arm.subscription)) {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("{id} is not in the subscription of this account"),
        ));
    }
    let doing = format!("the {} can't be removed", owned.kind);
    let mut held = None;
    if KINDS[rank(id)].3 {
        held = lock::removing(cx.store_path, &state.subscription_id, cx.report).await?;
        if held.is_none() {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!("{doing}: machines are being made"),
            )
            .with_hint("try again when they are there"));
        }
    }
    if type_of(id) == GROUP_TYPE
        && let Some(inside) = something_in(arm, id).await?
    {
        return Err(DriverError::new(ErrorKind::Other, format!("{doing}: {inside} is in it"))
            .with_hint("with it would go everything in it; remove that first"));
    }
    let query: &[(&str, &str)] = if rank(id) == 0 { &[("forceDeletion", "true")] } else { &[] };
    let removed = arm.delete(&doing, id, query).await.map(drop);
    drop(held);
    removed
}

/// Something that is in a resource group. The list of all kinds shows what is new only after minutes, and what is gone for
/// minutes: for the kinds that machines are made of their own provider is asked.
async fn something_in(arm: &Arm<'_>, group: &str) -> Result<Option<String>, DriverError> {
    let doing = "what is in the resource group can't be looked at";
    let kinds = KINDS.iter().map(|kind| kind.0).filter(|kind| *kind != GROUP_TYPE);
    let kinds: Vec<&str> = kinds.collect();
    for kind in &kinds {
        let list = format!("{group}/providers/{kind}");
        let there: Option<Vec<Resource<Plain>>> = arm.list(doing, &list, &[]).await?;
        if let Some(first) = there.unwrap_or_default().into_iter().next() {
            return Ok(Some(first.name));
        }
    }
    let all: Option<Vec<Resource<Plain>>> = arm.list(doing, &format!("{group}/resources"), &[]).await?;
    let is_other = |id: &str| !kinds.iter().any(|kind| kind.eq_ignore_ascii_case(&type_of(id)));
    Ok(all.unwrap_or_default().into_iter().find(|thing| is_other(&thing.id)).map(|thing| thing.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_machines() {
        let group = "/subscriptions/s/resourceGroups/g";
        let of = |kind: &str, name: &str| {
            one(&format!("{group}/providers/{kind}/{name}"), name, &std::collections::BTreeMap::new())
        };
        assert_eq!(of("Microsoft.Network/networkInterfaces", "web-nic-nic").machine, "web-nic");
        assert_eq!(of("Microsoft.Compute/disks", "web-os-disk-12345678").machine, "web");
        assert_eq!(of("Microsoft.Compute/virtualMachines", "web").machine, "web");
        assert_eq!(of("microsoft.network/virtualnetworks", "docker-machine-vnet").machine, "");
        let group = one(group, "g", &std::collections::BTreeMap::new());
        assert_eq!((group.kind.as_str(), group.machine.as_str()), ("resource group", ""));
    }
}
