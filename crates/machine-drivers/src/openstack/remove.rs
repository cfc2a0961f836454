//! Removing a machine and all that was made for it, whatever the record knows of that.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event, Reporter};
use machine_http::api::{Call, Seen};
use serde_json::json;

use super::create::{Work, marked, show};
use super::session::{Cloud, Service};
use super::state::OpenstackState;
use super::trouble::trouble;
use super::{address, firewall, power, volume};
use crate::cloud::{self, Mark};

/// For how long a removal may take that no record has an own word for.
const LIMIT: Duration = Duration::from_secs(300);

/// What a removal works with.
pub(super) struct Removal<'a> {
    pub(super) cloud: &'a Cloud<'a>,
    pub(super) report: &'a dyn Reporter,
    pub(super) limit: Duration,
}

impl<'a> Removal<'a> {
    pub(super) fn new(cloud: &'a Cloud<'a>, report: &'a dyn Reporter) -> Self {
        Self { cloud, report, limit: LIMIT }
    }
}

/// Whether the record says that something may have been made.
pub(super) fn is_needed(state: &OpenstackState) -> bool {
    let key = !state.existing_key && !state.key_pair_name.is_empty();
    state.is_begun() || !state.machine_id.is_empty() || key
}

/// Removes the address first, so that nothing else gets it while the server still listens; then the server; then what it
/// held.
pub(super) async fn remove(
    cloud: &Cloud<'_>,
    cx: &Cx<'_>,
    state: &OpenstackState,
) -> Result<(), DriverError> {
    let mut removal = Removal::new(cloud, cx.report);
    removal.limit = removal.limit.max(Work::limit(state));
    // Machines of other programs carry no mark.
    let mark = state.is_begun().then(|| Mark { store: state.store_id.clone(), machine: cx.name.to_string() });
    addresses(&removal, state, mark.as_ref()).await?;
    servers(&removal, state, mark.as_ref()).await?;
    volumes(&removal, state, mark.as_ref()).await?;
    groups(&removal, state, mark.as_ref()).await?;
    if !state.existing_key && !state.key_pair_name.is_empty() {
        key_pair(cloud, &state.key_pair_name).await?;
    }
    Ok(())
}

async fn addresses(
    removal: &Removal<'_>,
    state: &OpenstackState,
    mark: Option<&Mark>,
) -> Result<(), DriverError> {
    if state.floating_ip_pool.is_empty() || state.existing_floating_ip {
        return Ok(());
    }
    let cloud = removal.cloud;
    let mut ids = Vec::from_iter((!state.floating_ip_id.is_empty()).then(|| state.floating_ip_id.clone()));
    match mark {
        Some(mark) if ids.is_empty() && super::resolve::has_neutron(cloud) => {
            ids.extend(address::marked(cloud, mark).await?.into_iter().map(|address| address.id));
        }
        // The Go program takes one that is free or makes one, and leaves it to whoever comes next.
        None if !state.base.ip_address.is_empty() => removal.report.report(Event::Warning(format!(
            "the floating IP {} stays in the project: this record does not say whether it was made for the machine",
            state.base.ip_address
        ))),
        _ => {}
    }
    for id in ids {
        address::remove(cloud, &id).await?;
    }
    Ok(())
}

async fn servers(
    removal: &Removal<'_>,
    state: &OpenstackState,
    mark: Option<&Mark>,
) -> Result<(), DriverError> {
    if !state.machine_id.is_empty() {
        return server(removal, &state.machine_id).await;
    }
    let Some(mark) = mark else { return Ok(()) };
    for found in marked(removal.cloud, mark).await? {
        server(removal, &found.id).await?;
    }
    Ok(())
}

/// Removes a server and waits until it is gone: what it holds can only go after it, and a server that can't be removed
/// must keep its record.
pub(super) async fn server(removal: &Removal<'_>, id: &str) -> Result<(), DriverError> {
    let doing = "the server can't be removed";
    let call = Call::delete(removal.cloud.url(Service::Compute, &["servers", id], &[])?);
    match removal.cloud.send(&call).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) if error.refusal().is_some_and(|refusal| refusal.message.contains("locked")) => {
            let text = format!("{doing}: {error}");
            return Err(
                DriverError::new(ErrorKind::Other, text).with_hint("`openstack server unlock` lets it go")
            );
        }
        // It is being removed already.
        Err(error) if error.status() == Some(409) => {}
        Err(error) => return Err(trouble(doing, &error)),
    }
    let forced = AtomicBool::new(false);
    let look = || is_gone(removal.cloud, id, &forced);
    cloud::wait_for(removal.report, "the server to be removed", removal.limit, look).await
}

async fn is_gone(cloud: &Cloud<'_>, id: &str, forced: &AtomicBool) -> Result<Seen<()>, DriverError> {
    match show(cloud, id).await? {
        None => Ok(Seen::Done(())),
        Some(server) if server.status == "SOFT_DELETED" && !forced.swap(true, Ordering::Relaxed) => {
            // Clouds that keep removed servers for a while do not count them, but they hold volumes. Not everybody may.
            let _ = power::action(cloud, id, &json!({"forceDelete": null})).await?;
            Ok(Seen::NotYet("the cloud keeps it for a while".to_owned()))
        }
        Some(server) if server.is_deleted() => Ok(Seen::Done(())),
        Some(server) => Ok(Seen::NotYet(format!("it is {}", server.status))),
    }
}

async fn volumes(
    removal: &Removal<'_>,
    state: &OpenstackState,
    mark: Option<&Mark>,
) -> Result<(), DriverError> {
    if !state.own_volume {
        return Ok(());
    }
    if !state.volume_id.is_empty() {
        return volume::remove(removal, &state.volume_id).await;
    }
    let Some(mark) = mark else { return Ok(()) };
    for found in volume::marked(removal.cloud, mark).await? {
        volume::remove(removal, &found.id).await?;
    }
    Ok(())
}

async fn groups(
    removal: &Removal<'_>,
    state: &OpenstackState,
    mark: Option<&Mark>,
) -> Result<(), DriverError> {
    if !state.security_group_id.is_empty() {
        return group(removal, &state.security_group_id).await;
    }
    // One may have been made after the server, by a call that was cut off.
    let Some(mark) = mark.filter(|_| super::resolve::has_neutron(removal.cloud)) else { return Ok(()) };
    let found = match firewall::marked(removal.cloud, mark).await {
        // Whoever may not look for groups made none.
        Err(error) if error.kind() == ErrorKind::Credentials && state.allow_from.is_empty() => Vec::new(),
        found => found?,
    };
    for found in found {
        group(removal, &found.id).await?;
    }
    Ok(())
}

/// Removes a security group; one that neutron thinks is still used by a server just gone is waited for.
pub(super) async fn group(removal: &Removal<'_>, id: &str) -> Result<(), DriverError> {
    let call = Call::delete(removal.cloud.url(Service::Network, &["security-groups", id], &[])?);
    let look = || is_group_gone(removal.cloud, &call);
    cloud::wait_for(removal.report, "the security group to be free", removal.limit, look).await
}

async fn is_group_gone(cloud: &Cloud<'_>, call: &Call) -> Result<Seen<()>, DriverError> {
    match cloud.send(call).await {
        Ok(_) => Ok(Seen::Done(())),
        Err(error) if error.is_not_found() => Ok(Seen::Done(())),
        Err(error) if error.status() == Some(409) => Ok(Seen::NotYet(error.to_string())),
        Err(error) => Err(trouble("the security group can't be removed", &error)),
    }
}

/// Removes a key pair.
pub(super) async fn key_pair(cloud: &Cloud<'_>, name: &str) -> Result<(), DriverError> {
    cloud.delete(Service::Compute, &["os-keypairs", name], "the key pair can't be removed").await
}
