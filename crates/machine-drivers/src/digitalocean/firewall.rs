//! The machine's own firewall, for those who narrow who may connect. Without one, everybody may, as with the Go driver.

use machine_core::{Cx, DriverError, DriverState, ErrorKind};
use serde_json::{Value, json};

use super::api::{Cloud, Firewall};
use super::create::{Making, RESUME, look_for, now};
use super::mark;
use super::state::{DigitalOceanState, ENGINE_PORT};
use super::trouble::explain;

const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

/// Makes the firewall before the droplet, which it finds by the machine's tag: the droplet never stands open.
///
/// # Errors
/// What failed.
pub(super) async fn make(making: &mut Making<'_>) -> Result<(), DriverError> {
    let networks = making.cx.allow_from;
    if networks.is_empty() || !making.state.firewall_id.is_empty() {
        return Ok(());
    }
    let asked_before = making.state.firewall_asked_at != 0;
    if !asked_before {
        ask(making)?;
    }
    let tag = mark::machine_tag(&making.state.mark());
    let tagged = making.cloud.make_tag(&tag).await;
    tagged.map_err(|error| explain("the firewall's tag can't be made", &error))?;
    if asked_before {
        if adopt(making).await? {
            return Ok(());
        }
        ask(making)?;
    }
    making.tell("Creating firewall...");
    let wish = Firewall { tags: vec![tag], ..wanted(&making.state, networks) };
    let error = match making.cloud.make_firewall(&wish).await {
        Ok(made) => return keep(making, made.id),
        Err(error) => error,
    };
    // Two firewalls can't have one name: it may be there.
    if (error.outcome_unknown() || error.status() == Some(409)) && adopt(making).await? {
        return Ok(());
    }
    let wrong = explain("the firewall can't be made", &error);
    Err(if error.outcome_unknown() { wrong.with_hint(RESUME) } else { wrong })
}

/// Writes down that it is asked for from now on.
fn ask(making: &mut Making<'_>) -> Result<(), DriverError> {
    making.state.firewall_asked_at = now();
    making.save()
}

/// Takes a firewall of the machine's name, and makes it what the machine needs: an earlier machine of the name may have left
/// it, with other networks and without the tag.
async fn adopt(making: &mut Making<'_>) -> Result<bool, DriverError> {
    let look = || find(making.cloud, &making.state);
    let Some(mut found) = look_for(making.state.firewall_asked_at, look).await? else { return Ok(false) };
    let tag = mark::machine_tag(&making.state.mark());
    if !found.tags.contains(&tag) {
        found.tags.push(tag);
    }
    set_rules(&mut found, &making.state, making.cx.allow_from);
    let set = making.cloud.set_firewall(&found.id, &found).await;
    set.map_err(|error| explain("the firewall can't be changed", &error))?;
    keep(making, found.id)?;
    Ok(true)
}

/// Who may come in by the machine's ports; the user's rules for others stay.
fn set_rules(firewall: &mut Firewall, state: &DigitalOceanState, networks: &[String]) {
    firewall.inbound_rules.retain(|rule| !is_ours(rule, state));
    firewall.inbound_rules.extend(inbound(state, networks));
}

fn keep(making: &mut Making<'_>, id: String) -> Result<(), DriverError> {
    making.state.firewall_id = id;
    making.state.firewall_asked_at = 0;
    making.save()
}

/// The machine's firewall, by its name.
///
/// # Errors
/// Why it can't be looked up.
pub(super) async fn find(
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<Option<Firewall>, DriverError> {
    let name = mark::firewall_name(&state.mark());
    let mut found = None;
    let look = cloud.firewalls(|firewall| {
        if firewall.name == name {
            found = Some(firewall);
        }
    });
    look.await.map_err(|error| explain("the machine's firewall can't be looked up", &error))?;
    Ok(found)
}

/// Narrows who may connect to a machine that is there.
///
/// # Errors
/// What failed.
pub(super) async fn narrow(
    cx: &Cx<'_>,
    cloud: &Cloud<'_>,
    mut state: DigitalOceanState,
    networks: &[String],
) -> Result<DriverState, DriverError> {
    let trouble = |error| explain("the firewall can't be changed", &error);
    if state.droplet_id == 0 {
        return Err(DriverError::new(ErrorKind::NotFound, "the machine has no droplet yet"));
    }
    if state.marked_store.is_empty() {
        cx.store_id.clone_into(&mut state.marked_store);
    }
    let there = match state.firewall_id.as_str() {
        "" => find(cloud, &state).await?,
        id => cloud.firewall(id).await.map_err(trouble)?,
    };
    let (mut there, is_new) = match there {
        Some(there) => (there, false),
        None => made(cloud, &state, networks).await?,
    };
    if !is_new {
        // One that an earlier machine of the name left, or from which somebody took the droplet, keeps nobody out.
        if !there.droplet_ids.contains(&state.droplet_id) {
            there.droplet_ids.push(state.droplet_id);
        }
        set_rules(&mut there, &state, networks);
        cloud.set_firewall(&there.id, &there).await.map_err(trouble)?;
    }
    state.firewall_id = there.id;
    state.firewall_asked_at = 0;
    DriverState::from_typed(&state)
}

/// A firewall for a droplet that is there, and whether it is new: that of a request whose answer got lost may be an older one.
async fn made(
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
    networks: &[String],
) -> Result<(Firewall, bool), DriverError> {
    let wish = Firewall { droplet_ids: vec![state.droplet_id], ..wanted(state, networks) };
    let error = match cloud.make_firewall(&wish).await {
        Ok(made) => return Ok((made, true)),
        Err(error) => error,
    };
    // Two firewalls can't have one name: it may be there.
    if (error.outcome_unknown() || error.status() == Some(409))
        && let Some(found) = look_for(now(), || find(cloud, state)).await?
    {
        return Ok((found, false));
    }
    Err(explain("the firewall can't be made", &error))
}

fn wanted(state: &DigitalOceanState, networks: &[String]) -> Firewall {
    let outbound = [("tcp", "0"), ("udp", "0"), ("icmp", "0")];
    let destinations = json!({ "addresses": EVERYBODY });
    let rule =
        |(protocol, ports)| json!({"protocol": protocol, "ports": ports, "destinations": destinations});
    Firewall {
        name: mark::firewall_name(&state.mark()),
        inbound_rules: inbound(state, networks),
        outbound_rules: outbound.map(rule).into(),
        ..Firewall::default()
    }
}

fn inbound(state: &DigitalOceanState, networks: &[String]) -> Vec<Value> {
    let sources = match networks {
        [] => json!({ "addresses": EVERYBODY }),
        some => json!({ "addresses": some }),
    };
    let rule = |port: u16| json!({"protocol": "tcp", "ports": port.to_string(), "sources": sources});
    state.base.ports(ENGINE_PORT).into_iter().map(rule).collect()
}

fn is_ours(rule: &Value, state: &DigitalOceanState) -> bool {
    let port = rule["ports"].as_str().and_then(|port| port.parse().ok());
    rule["protocol"] == "tcp" && port.is_some_and(|port: u16| state.base.ports(ENGINE_PORT).contains(&port))
}
