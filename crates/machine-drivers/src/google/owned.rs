//! What carries the store's mark in a project.

use std::collections::BTreeMap;

use machine_core::{AccountCx, DriverError, ErrorKind, Owned};

use super::api::{Compute, Disk, Firewall, Instance};
use super::{firewall, location};
use crate::cloud::{MACHINE_KEY, STORE_KEY};

const INSTANCE: &str = "instance";
const DISK: &str = "disk";
const RULE: &str = "firewall rule";

/// Everything, in an order in which it can be removed: instances take their disks along, rules go last.
pub(super) async fn list(compute: &Compute<'_>, cx: &AccountCx<'_>) -> Result<Vec<Owned>, DriverError> {
    let filter = format!("labels.{STORE_KEY} = \"{}\"", cx.store_id);
    let fields = "name,zone,status,labels,networkInterfaces(networkIP,accessConfigs/natIP)";
    let instances: Vec<Instance> = compute.list_everywhere("instances", &filter, fields).await?;
    let disks: Vec<Disk> = compute.list_everywhere("disks", &filter, "name,zone,labels,users").await?;
    let path = compute.own("global/firewalls");
    let fields = "name,description";
    let rules: Vec<Firewall> = compute.list("the firewall rules can't be listed", &path, "", fields).await?;

    let machine = |labels: &BTreeMap<String, String>| labels.get(MACHINE_KEY).cloned().unwrap_or_default();
    let id = |zone: &str, name: &str| format!("{}/{name}", location::last(zone));
    let mut all: Vec<Owned> = instances
        .iter()
        .map(|instance| Owned {
            kind: INSTANCE.to_owned(),
            id: id(&instance.zone, &instance.name),
            machine: machine(&instance.labels),
            about: about(instance),
        })
        .collect();
    all.extend(disks.iter().filter(|disk| disk.users.is_empty()).map(|disk| Owned {
        kind: DISK.to_owned(),
        id: id(&disk.zone, &disk.name),
        machine: machine(&disk.labels),
        about: "attached to nothing".to_owned(),
    }));
    all.extend(rules.iter().filter_map(|rule| {
        let mark = firewall::read_mark(rule, cx.store_id)?;
        Some(Owned {
            kind: RULE.to_owned(),
            id: rule.name.clone(),
            machine: mark.machine,
            about: String::new(),
        })
    }));
    Ok(all)
}

fn about(instance: &Instance) -> String {
    let status = instance.status.to_lowercase();
    match instance.address(false) {
        "" => status,
        address => format!("{status}, {address}"),
    }
}

/// Removes one of them.
pub(super) async fn remove(
    compute: &Compute<'_>,
    cx: &AccountCx<'_>,
    state: &super::state::GoogleState,
    owned: &Owned,
) -> Result<(), DriverError> {
    let unknown =
        || DriverError::new(ErrorKind::Config, format!("{:?} is no {} of Google's", owned.id, owned.kind));
    let zonal = |kind: &str| {
        let (zone, name) = owned.id.split_once('/').ok_or_else(unknown)?;
        Ok::<_, DriverError>(compute.own(&format!("zones/{zone}/{kind}/{name}")))
    };
    match owned.kind.as_str() {
        INSTANCE => compute.delete("the instance can't be removed", &zonal("instances")?).await,
        DISK => compute.delete("the disk can't be removed", &zonal("disks")?).await,
        RULE => {
            let path = compute.own(&format!("global/firewalls/{}", owned.id));
            let doing = "the firewall rule can't be looked up";
            let Some(rule): Option<Firewall> = compute.get(doing, &path, "").await? else { return Ok(()) };
            match firewall::read_mark(&rule, cx.store_id) {
                Some(mark) if mark.machine.is_empty() => shared(compute, state, &rule).await,
                Some(_) => compute.delete("the firewall rule can't be removed", &path).await,
                None => Ok(()),
            }
        }
        _ => Err(unknown()),
    }
}

async fn shared(
    compute: &Compute<'_>,
    state: &super::state::GoogleState,
    rule: &Firewall,
) -> Result<(), DriverError> {
    if firewall::remove_shared(compute, state, rule).await? {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Other,
        format!("there are machines that need the firewall rule {:?}: it stays", rule.name),
    )
    .with_hint("remove them first"))
}
