//! The machine's address: one of the server's own, or a floating IP.

use machine_core::{Checkpoint, DriverError, ErrorKind, Event};
use machine_http::api::{ApiError, Call, Seen};
use machine_http::header::{HeaderValue, IF_MATCH};
use serde_json::json;

use super::api::{FloatingIp, NovaFloatingIp, One, Port, Server};
use super::create::{Work, is_built, show, wait_until_active};
use super::mark;
use super::session::{Cloud, Service};
use super::state::OpenstackState;
use super::trouble::{is_quota, trouble};
use crate::cloud::{self, Mark};

/// Finds the machine's address, or gives it one.
pub(super) async fn assign(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if state.floating_ip_pool.is_empty() {
        let server = wait_until_active(work, state).await?;
        if let Some(address) = of_server(state, &server) {
            state.base.ip_address = address;
            save.save(&state.write()?)?;
        }
        return Ok(());
    }
    if !state.base.ip_address.is_empty() {
        return Ok(());
    }
    if super::resolve::has_neutron(work.cloud) {
        floating(work, state, save).await
    } else {
        of_nova(work, state, save).await
    }
}

/// The address among those of the server that is the machine's; `None` while it has none. The one that is known is kept
/// while the server has it.
pub(super) fn of_server(state: &OpenstackState, server: &Server) -> Option<String> {
    let found = server.addresses(version(state), !state.floating_ip_pool.is_empty());
    let known = crate::base::bare_host(&state.base.ip_address);
    let kept = found.iter().find(|address| **address == known).or(found.first());
    kept.map(|address| (*address).to_owned())
}

fn version(state: &OpenstackState) -> u8 {
    // The Go program's records of before it was a flag have none.
    if state.ip_version == 6 { 6 } else { 4 }
}

/// A floating IP of neutron's that leads to the server's network card.
async fn floating(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    let port = port(work, state).await?;
    let found = if work.resumed { earlier(work, state, &port).await? } else { None };
    let address = match found {
        Some(address) => address,
        None => match make(work, state, &port).await {
            Ok(address) => address,
            Err(error) => match error.refusal().filter(|refusal| is_quota(refusal)) {
                Some(_) => {
                    let free = take_free(work, state, &port).await?;
                    state.existing_floating_ip = free.is_some();
                    free.ok_or_else(|| trouble("the floating IP can't be made", &error))?
                }
                None => return Err(trouble("the floating IP can't be made", &error)),
            },
        },
    };
    state.floating_ip_id.clone_from(&address.id);
    state.base.ip_address.clone_from(&address.floating_ip_address);
    save.save(&state.write()?)?;
    if address.port_id == port { Ok(()) } else { lead(work.cloud, &address, &port).await.map(drop) }
}

/// The floating IP that an earlier create made, or took, without recording it.
async fn earlier(
    work: &Work<'_>,
    state: &mut OpenstackState,
    port: &str,
) -> Result<Option<FloatingIp>, DriverError> {
    if let Some(made) = marked(work.cloud, &work.mark).await?.pop() {
        return Ok(Some(made));
    }
    let taken = leading_to(work.cloud, port).await?.pop();
    state.existing_floating_ip |= taken.is_some();
    Ok(taken)
}

/// The floating IPs that lead to a network card.
async fn leading_to(cloud: &Cloud<'_>, port: &str) -> Result<Vec<FloatingIp>, DriverError> {
    let doing = "the floating IPs can't be listed";
    let mut all: Vec<FloatingIp> =
        cloud.list(Service::Network, &["floatingips"], &[("port_id", port)], doing).await?;
    all.retain(|address| address.port_id == port);
    Ok(all)
}

/// The network card of the server to which the floating IP is to lead.
async fn port(work: &Work<'_>, state: &OpenstackState) -> Result<String, DriverError> {
    let look = || has_port(work.cloud, state);
    cloud::wait_for(work.cx.report, "the server's address", Work::limit(state), look).await
}

async fn has_port(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Seen<String>, DriverError> {
    let mut query = vec![("device_id", state.machine_id.as_str()), ("fields", "id"), ("fields", "fixed_ips")];
    if !state.network_id.is_empty() {
        query.push(("network_id", &state.network_id));
    }
    let doing = "the server's network cards can't be listed";
    let all: Vec<Port> = cloud.list(Service::Network, &["ports"], &query, doing).await?;
    // Only IPv4 is translated.
    let fits = |port: &&Port| port.fixed_ips.iter().any(|fixed| fixed.ip_address.contains('.'));
    if let Some(port) = all.iter().find(fits) {
        return Ok(Seen::Done(port.id.clone()));
    }
    // Will it ever have one?
    Ok(match is_built(cloud, &state.machine_id).await? {
        Seen::NotYet(seen) => Seen::NotYet(seen),
        Seen::Done(_) => Seen::NotYet("it has no network card with an IPv4 address".to_owned()),
    })
}

/// Makes a floating IP that leads to a network card.
async fn make(work: &Work<'_>, state: &OpenstackState, port: &str) -> Result<FloatingIp, ApiError> {
    let wrong = |error: DriverError| ApiError::NoAccess { why: error.to_string() };
    let url = work.cloud.url(Service::Network, &["floatingips"], &[]).map_err(wrong)?;
    let call = Call::post(url).json(&json!({"floatingip": {
        "floating_network_id": state.floating_ip_pool_id,
        "port_id": port,
        "description": mark::description(&work.mark),
    }}));
    match work.cloud.send(&call).await.and_then(|answer| answer.json::<One<FloatingIp>>()) {
        Ok(made) => Ok(made.it),
        Err(error) if error.outcome_unknown() => {
            marked(work.cloud, &work.mark).await.map_err(wrong)?.pop().ok_or(error)
        }
        Err(error) => Err(error),
    }
}

/// The floating IPs that carry a mark.
pub(super) async fn marked(cloud: &Cloud<'_>, mark: &Mark) -> Result<Vec<FloatingIp>, DriverError> {
    let description = mark::description(mark);
    let doing = "the floating IPs can't be listed";
    let query = [("description", description.as_str())];
    let mut all: Vec<FloatingIp> = cloud.list(Service::Network, &["floatingips"], &query, doing).await?;
    all.retain(|address| address.description == description);
    Ok(all)
}

/// Where no more floating IPs may be made: one of the project's that leads nowhere. It stays when the machine goes.
async fn take_free(
    work: &Work<'_>,
    state: &OpenstackState,
    port: &str,
) -> Result<Option<FloatingIp>, DriverError> {
    let doing = "the floating IPs can't be listed";
    let query =
        [("floating_network_id", state.floating_ip_pool_id.as_str()), ("project_id", work.cloud.project())];
    let all: Vec<FloatingIp> = work.cloud.list(Service::Network, &["floatingips"], &query, doing).await?;
    let free = all.iter().filter(|a| a.port_id.is_empty() && mark::of_description(&a.description).is_none());
    for address in free {
        if let Some(taken) = lead(work.cloud, address, port).await? {
            work.cx.report.report(Event::Warning(format!(
                "no more floating IPs may be made; {} is used, which was free",
                taken.floating_ip_address
            )));
            return Ok(Some(taken));
        }
    }
    Ok(None)
}

/// Makes a floating IP lead to a network card; `None` where somebody else was faster.
async fn lead(
    cloud: &Cloud<'_>,
    address: &FloatingIp,
    port: &str,
) -> Result<Option<FloatingIp>, DriverError> {
    let doing = "the floating IP can't be made to lead to the server";
    let url = cloud.url(Service::Network, &["floatingips", &address.id], &[])?;
    let mut call = Call::put(url).json(&json!({"floatingip": {"port_id": port}}));
    // Only if it is still as it was when it was seen.
    let seen = address.revision_number.map(|number| format!("revision_number={number}"));
    if let Some(seen) = seen.and_then(|seen| HeaderValue::from_str(&seen).ok()) {
        call = call.header(IF_MATCH, seen);
    }
    match cloud.send(&call).await.and_then(|answer| answer.json::<One<FloatingIp>>()) {
        Ok(led) => Ok(Some(led.it)),
        // It changed: somebody else was faster, or we were, and heard nothing of it.
        Err(error) if error.status() == Some(412) => {
            Ok(leading_to(cloud, port).await?.into_iter().find(|there| there.id == address.id))
        }
        Err(error) => Err(trouble(doing, &error)),
    }
}

/// A floating IP of nova's own network services: a free one of the pool, else a new one. They can't be marked.
async fn of_nova(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    let doing = "the floating IP can't be made";
    wait_until_active(work, state).await?;
    let path = ["os-floating-ips"];
    let all: Vec<NovaFloatingIp> = work.cloud.list(Service::Compute, &path, &[], doing).await?;
    // One that an earlier create made, else one that nobody uses.
    let own = all.iter().find(|ip| ip.id == state.floating_ip_id);
    let free = || all.iter().find(|ip| ip.instance_id.is_empty() && ip.pool == state.floating_ip_pool);
    let existing = if own.is_none() { free() } else { None };
    let address = match own.or(existing).cloned() {
        Some(address) => {
            state.existing_floating_ip |= existing.is_some();
            address
        }
        None => {
            let call = Call::post(work.cloud.url(Service::Compute, &path, &[])?)
                .json(&json!({"pool": state.floating_ip_pool}));
            let made = work.cloud.send(&call).await.and_then(|a| a.json::<One<NovaFloatingIp>>());
            made.map_err(|error| trouble(doing, &error))?.it
        }
    };
    state.floating_ip_id = address.id;
    save.save(&state.write()?)?;
    let body = json!({"addFloatingIp": {"address": address.ip}});
    super::power::action(work.cloud, &state.machine_id, &body)
        .await?
        .map_err(|error| trouble("the floating IP can't be made to lead to the server", &error))?;
    state.base.ip_address = address.ip;
    save.save(&state.write()?)
}

/// Removes a floating IP; one that was there before only stops to lead to the server, which goes.
pub(super) async fn remove(cloud: &Cloud<'_>, id: &str) -> Result<(), DriverError> {
    let doing = "the floating IP can't be removed";
    if super::resolve::has_neutron(cloud) {
        cloud.delete(Service::Network, &["floatingips", id], doing).await
    } else {
        cloud.delete(Service::Compute, &["os-floating-ips", id], doing).await
    }
}

/// The server, or the error that it is gone.
pub(super) async fn must_show(cloud: &Cloud<'_>, id: &str) -> Result<Server, DriverError> {
    match show(cloud, id).await? {
        Some(server) if !server.is_deleted() => Ok(server),
        _ => Err(gone(id)),
    }
}

/// The error for a server that is gone.
pub(super) fn gone(id: &str) -> DriverError {
    let text =
        if id.is_empty() { "no server was made".to_owned() } else { format!("there is no server {id}") };
    DriverError::new(ErrorKind::NotFound, text)
}
