//! Removing a machine and all that was made for it.

use machine_core::{Cx, DriverError, Event};
use serde::Deserialize;

use super::api::{Compute, Disk, Instance, Operation};
use super::create::is_ours;
use super::state::{GoogleState, INSTANCE};
use super::{firewall, location, observe};
use crate::cloud::{MACHINE_KEY, STORE_KEY};

const REMOVING: &str = "the instance can't be removed";

/// Removes the machine.
pub(super) async fn remove(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    state: &mut GoogleState,
) -> Result<(), DriverError> {
    let mut there = observe::find(compute, state).await?;
    if there.is_none() && is_under_way(compute, state).await? {
        there = observe::find(compute, state).await?;
    }
    if let Some(there) = &there {
        super::create::resolve(state, there);
        if is_the_machines(state, there) {
            cx.report.report(Event::DriverLine("Deleting instance.".into()));
            let zone = location::last(&there.zone);
            let path = compute.own(&format!("zones/{zone}/instances/{}", there.name));
            compute.delete(REMOVING, &path).await?;
        } else {
            cx.report.report(Event::Warning(format!(
                "the instance {:?} in {} is not the one that this machine had, and is left alone",
                there.name,
                location::last(&there.zone)
            )));
        }
    }
    if !goes_with(state, there.as_ref()) {
        remove_disk(compute, cx, state).await?;
    }
    firewall::remove(compute, state).await
}

/// Whether an instance of the machine's name may be removed: it is ours, or the Go driver's, which knows it by its name.
fn is_the_machines(state: &GoogleState, there: &Instance) -> bool {
    state.requests.is_none() || is_ours(state, there)
}

/// Whether the machine's disk is removed with its instance.
fn goes_with(state: &GoogleState, there: Option<&Instance>) -> bool {
    let disk = state.disk();
    let of_it = |there: &Instance| {
        there.disks.iter().any(|attached| attached.auto_delete && location::last(&attached.source) == disk)
    };
    state.use_existing || there.is_some_and(of_it)
}

/// Waits for a request for the instance that may be under way: its answer may never have arrived, or what it makes may
/// not be seen yet. True where there was one.
async fn is_under_way(compute: &Compute<'_>, state: &GoogleState) -> Result<bool, DriverError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        #[serde(default)]
        client_operation_id: String,
        #[serde(flatten)]
        operation: Operation,
    }
    let Some(id) = state.request(INSTANCE) else { return Ok(false) };
    let place = match state.zone() {
        Some(zone) => format!("zones/{zone}"),
        None => format!("regions/{}", state.region),
    };
    let path = compute.own(&format!("{place}/operations"));
    let doing = "operations can't be listed";
    let filter = format!("clientOperationId = \"{id}\"");
    let fields = "name,status,zone,region,clientOperationId";
    let found: Vec<Named> = compute.list(doing, &path, &filter, fields).await?;
    let Some(named) = found.into_iter().find(|named| named.client_operation_id == id) else {
        return Ok(false);
    };
    // Whether it ended well or badly is seen by what is there.
    compute.finish(doing, &named.operation).await?;
    Ok(true)
}

/// Removes a disk that is left: the Go driver's, or one of ours that lost its instance.
async fn remove_disk(compute: &Compute<'_>, cx: &Cx<'_>, state: &GoogleState) -> Result<(), DriverError> {
    let Some(zone) = state.zone() else { return Ok(()) };
    let path = compute.own(&format!("zones/{zone}/disks/{}", state.disk()));
    let fields = "name,zone,labels,users";
    let Some(disk): Option<Disk> = compute.get("the disk can't be looked up", &path, fields).await? else {
        return Ok(());
    };
    let label = |key: &str| disk.labels.get(key).map_or("", String::as_str);
    let ours = !state.store_id.is_empty()
        && label(STORE_KEY) == state.store_id
        && label(MACHINE_KEY) == state.base.machine_name;
    if !disk.users.is_empty() || !(ours || state.requests.is_none()) {
        return Ok(());
    }
    cx.report.report(Event::DriverLine("Deleting disk.".into()));
    compute.delete("the disk can't be removed", &path).await
}
