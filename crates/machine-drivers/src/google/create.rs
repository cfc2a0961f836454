//! Making a machine, and going on where that stopped.

use std::collections::BTreeMap;

use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event};
use machine_http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Compute, Instance, Operation};
use super::instance::{self, Place};
use super::state::{GoogleState, INSTANCE};
use super::{firewall, location, observe, trouble};
use crate::cloud::{self, MACHINE_KEY, STORE_KEY};

const MAKING: &str = "the instance can't be made";
/// How often a change of an instance is tried that others change at the same time.
const TRIES: usize = 3;

fn keep(state: &GoogleState, save: &mut dyn Checkpoint) -> Result<(), DriverError> {
    save.save(&DriverState::from_typed(state)?)
}

/// Makes the machine.
pub(super) async fn create(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    mut state: GoogleState,
    save: &mut dyn Checkpoint,
) -> Result<GoogleState, DriverError> {
    cx.store_id.clone_into(&mut state.store_id);
    state.requests.get_or_insert_default();
    firewall::settle(cx, &mut state)?;
    if state.use_existing {
        return adopt(compute, cx, state, save).await;
    }
    let begun_before = state.request(INSTANCE).map(str::to_owned);
    let id = match &begun_before {
        Some(id) => id.clone(),
        None => cloud::token()?,
    };
    state.requests.get_or_insert_default().insert(INSTANCE.to_owned(), id.clone());
    keep(&state, save)?;
    let (network, place) = place(compute, &state).await?;
    firewall::open(compute, cx, &mut state, &network, save).await?;
    if begun_before.is_some()
        && let Some(there) = observe::find(compute, &state).await?
    {
        return is_there(state, there, save);
    }
    warn_of_wishes(cx, &state);
    cx.report.report(Event::DriverLine("Creating instance".into()));
    insert(compute, cx, state, &place, &id, save).await
}

/// Says what of the flags comes to nothing.
fn warn_of_wishes(cx: &Cx<'_>, state: &GoogleState) {
    let preferred = |given: &String| given.to_uppercase().ends_with(location::PREFERRED);
    if state.location_zones.iter().any(preferred) {
        cx.report.report(Event::Warning(
            "--google-location-zone: Google knows no zone that is PREFERRED, only ALLOW and DENY; it is allowed".into(),
        ));
    }
    if state.bulk_insert && state.flex_machine_types.is_empty() {
        cx.report.report(Event::Warning(format!(
            "--google-bulk-insert without --google-flex-machine-type: only {:?} will do",
            state.machine_type
        )));
    }
}

/// Goes on with an instance that an earlier call made, or was making.
fn is_there(
    mut state: GoogleState,
    there: Instance,
    save: &mut dyn Checkpoint,
) -> Result<GoogleState, DriverError> {
    if !is_ours(&state, &there) {
        return Err(taken(&state));
    }
    resolve(&mut state, &there);
    there.id.clone_into(&mut state.instance_id);
    keep(&state, save)?;
    Ok(state)
}

/// Whether an instance is the machine's: by its mark, or by its number.
pub(super) fn is_ours(state: &GoogleState, there: &Instance) -> bool {
    let label = |key: &str| there.labels.get(key).map_or("", String::as_str);
    let marked = !state.store_id.is_empty()
        && label(STORE_KEY) == state.store_id
        && label(MACHINE_KEY) == state.base.machine_name;
    marked || !state.instance_id.is_empty() && state.instance_id == there.id
}

fn taken(state: &GoogleState) -> DriverError {
    let (name, zone) = (state.name(), state.zone().unwrap_or(&state.region));
    DriverError::new(ErrorKind::Other, format!("instance {name:?} already exists in zone {zone:?}"))
        .with_hint("take another name, or take the instance over with --google-use-existing")
}

/// What the provider chose, and where the instance is.
pub(super) fn resolve(state: &mut GoogleState, there: &Instance) {
    if state.bulk_insert {
        location::last(&there.zone).clone_into(&mut state.resolved_zone);
        location::last(&there.machine_type).clone_into(&mut state.resolved_machine_type);
    }
    let address = there.address(state.use_internal_ip);
    if !address.is_empty() {
        address.clone_into(&mut state.base.ip_address);
    }
}

/// What must be looked up before the instance can be asked for: its network's path, and what goes into the request.
async fn place(compute: &Compute<'_>, state: &GoogleState) -> Result<(String, Place), DriverError> {
    let mut network = location::network(state);
    let mut in_request = network.clone();
    // A subnetwork says its network; the flag's default would contradict it.
    if let Some(subnetwork) = location::subnetwork(state).filter(|_| state.network == super::flags::NETWORK) {
        in_request.clear();
        if !state.skip_firewall {
            network = network_of(compute, state, &subnetwork).await?;
        }
    }
    let address = static_address(compute, state).await?;
    Ok((network, Place { network: in_request, address, tags: firewall::tags(state) }))
}

/// The network of a subnetwork.
async fn network_of(
    compute: &Compute<'_>,
    state: &GoogleState,
    subnetwork: &str,
) -> Result<String, DriverError> {
    #[derive(Deserialize)]
    struct Subnetwork {
        network: String,
    }
    let doing = "the subnetwork can't be looked up";
    let found: Option<Subnetwork> = compute.get(doing, subnetwork, "network").await?;
    let found = found.ok_or_else(|| no_subnetwork(state))?;
    Ok(location::network_path(&found.network, &state.project))
}

/// The error for a subnetwork that is not there.
pub(super) fn no_subnetwork(state: &GoogleState) -> DriverError {
    let text = format!("--google-subnetwork: there is no {:?} in {}", state.subnetwork, state.region());
    DriverError::new(ErrorKind::Precreate, text).with_hint(
        "`gcloud compute networks subnets list` shows what there is; a path names one of another project",
    )
}

/// A reserved address.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    pub(super) address: String,
    pub(super) status: String,
    pub(super) users: Vec<String>,
}

/// Looks a reserved address up by the name that the user gave.
pub(super) async fn reserved(compute: &Compute<'_>, state: &GoogleState) -> Result<Address, DriverError> {
    let path = compute.own(&format!("regions/{}/addresses/{}", state.region(), state.address));
    let found = compute.get("the address can't be looked up", &path, "address,status,users").await?;
    found.ok_or_else(|| {
        let text = format!("--google-address: there is no address {:?} in {}", state.address, state.region());
        DriverError::new(ErrorKind::Precreate, text)
            .with_hint("`gcloud compute addresses list` shows what there is; it must be in the zone's region")
    })
}

/// Whether a flag gives an address by its name rather than by its digits.
pub(super) fn is_address_name(given: &str) -> bool {
    given.parse::<std::net::IpAddr>().is_err()
}

async fn static_address(compute: &Compute<'_>, state: &GoogleState) -> Result<String, DriverError> {
    if state.address.is_empty() || !is_address_name(&state.address) {
        return Ok(state.address.clone());
    }
    Ok(reserved(compute, state).await?.address)
}

/// Asks for the instance, and waits until it is there.
async fn insert(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    mut state: GoogleState,
    place: &Place,
    id: &str,
    save: &mut dyn Checkpoint,
) -> Result<GoogleState, DriverError> {
    let (path, body) = if state.bulk_insert {
        let path = compute.own(&format!("regions/{}/instances/bulkInsert", state.region));
        (path, instance::bulk_body(cx, &state, place)?)
    } else {
        (compute.own(&format!("zones/{}/instances", state.zone)), instance::body(cx, &state, place)?)
    };
    let begun = match compute.begin(Method::POST, &path, id, Some(&body)).await {
        Ok(begun) => begun,
        // It may be ours, made by a request whose answer got lost long ago.
        Err(error) if error.is_taken() => match observe::find(compute, &state).await? {
            Some(there) if is_ours(&state, &there) => return is_there(state, there, save),
            Some(_) => return Err(taken(&state)),
            // Something else is: Google says what.
            None => return Err(error.into_error(compute, MAKING)),
        },
        Err(error) => {
            if !error.is_unknown() {
                forget_request(&mut state, save)?;
            }
            return Err(error.into_error(compute, MAKING));
        }
    };
    if !state.bulk_insert {
        begun.target_id.clone_into(&mut state.instance_id);
        keep(&state, save)?;
    }
    cx.report.report(Event::DriverLine("Waiting for Instance".into()));
    let done = compute.finish(MAKING, &begun).await?;
    settle(compute, state, &done, save).await
}

/// What became of the request.
async fn settle(
    compute: &Compute<'_>,
    mut state: GoogleState,
    done: &Operation,
    save: &mut dyn Checkpoint,
) -> Result<GoogleState, DriverError> {
    if let Err(error) = done.well(MAKING) {
        // The provider would answer the same request with the same failure.
        state.instance_id.clear();
        forget_request(&mut state, save)?;
        return Err(error);
    }
    if !state.bulk_insert {
        return Ok(state);
    }
    match observe::find(compute, &state).await? {
        Some(there) => is_there(state, there, save),
        None => Err(DriverError::new(
            ErrorKind::Unavailable,
            format!("Google says that it made the instance {:?}, but shows it in no zone", state.name()),
        )
        .with_hint("`docker-machine create --resume NAME` looks again, `rm` removes it")),
    }
}

/// The next request is a new one.
fn forget_request(state: &mut GoogleState, save: &mut dyn Checkpoint) -> Result<(), DriverError> {
    state.requests.get_or_insert_default().insert(INSTANCE.to_owned(), cloud::token()?);
    keep(state, save)
}

/// Takes over an instance that is there: opens the firewall and lets the machine's key in.
async fn adopt(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    mut state: GoogleState,
    save: &mut dyn Checkpoint,
) -> Result<GoogleState, DriverError> {
    let there = existing(compute, &state).await?;
    there.id.clone_into(&mut state.instance_id);
    state.unheeded_flags.clear();
    resolve(&mut state, &there);
    keep(&state, save)?;
    let network = location::network_path(there.network(), &state.project);
    firewall::open(compute, cx, &mut state, &network, save).await?;
    cx.report.report(Event::DriverLine("Configuring instance".into()));
    add_tags(compute, &state, &there).await?;
    let line = instance::key_line(cx, &state)?;
    let with_key = |there: &Instance| instance::with_key(&there.metadata, &line);
    change(compute, &state, &there, "setMetadata", with_key).await?;
    Ok(state)
}

/// The instance that is to be taken over.
pub(super) async fn existing(compute: &Compute<'_>, state: &GoogleState) -> Result<Instance, DriverError> {
    let there = observe::find(compute, state).await?.ok_or_else(|| {
        let text = format!("unable to find instance {:?} in zone {:?}", state.name(), state.zone);
        DriverError::new(ErrorKind::Precreate, text).with_hint(
            "the machine's name must be the instance's; `gcloud compute instances list` shows name and zone",
        )
    })?;
    if there.status != "RUNNING" {
        let text = format!("instance {:?} is {}, not RUNNING", state.name(), there.status);
        return Err(DriverError::new(ErrorKind::Precreate, text)
            .with_hint("start it: `gcloud compute instances start NAME --zone ZONE`"));
    }
    if there.address(state.use_internal_ip).is_empty() {
        let text = format!("instance {:?} has no external address", state.name());
        return Err(DriverError::new(ErrorKind::Precreate, text).with_hint(
            "--google-use-internal-ip takes its internal one, if this computer reaches that network",
        ));
    }
    if instance::has_os_login(&there.metadata) {
        let text = format!("instance {:?} has OS Login on: keys in its metadata let nobody in", state.name());
        return Err(DriverError::new(ErrorKind::Precreate, text).with_hint(
            "`gcloud compute instances add-metadata NAME --zone ZONE --metadata enable-oslogin=FALSE` turns it off",
        ));
    }
    Ok(there)
}

/// Gives an instance the tags that it lacks.
pub(super) async fn add_tags(
    compute: &Compute<'_>,
    state: &GoogleState,
    there: &Instance,
) -> Result<(), DriverError> {
    let tagged = |there: &Instance| {
        let mut items = there.tags.items.clone();
        items.extend(firewall::tags(state).into_iter().filter(|tag| !there.tags.items.contains(tag)));
        let body = json!({ "items": items, "fingerprint": there.tags.fingerprint });
        (items != there.tags.items).then_some(body)
    };
    change(compute, state, there, "setTags", tagged).await
}

/// Changes an instance. `body` makes what it is to be of what it is; `None` where it is so. Where something else changes it
/// between our look and our request, it is looked at again.
async fn change(
    compute: &Compute<'_>,
    state: &GoogleState,
    there: &Instance,
    what: &str,
    body: impl Fn(&Instance) -> Option<Value> + Send + Sync,
) -> Result<(), DriverError> {
    let mut now = there.clone();
    for left in (0..TRIES).rev() {
        let Some(wanted) = body(&now) else { break };
        match change_once(compute, state, what, &wanted).await {
            Err(error) if left > 0 && trouble::is_stale(&error) => {}
            done => return done,
        }
        now = observe::find(compute, state).await?.ok_or_else(|| observe::gone(state))?;
    }
    Ok(())
}

/// Changes an instance. The fingerprint in the body lets it happen once.
async fn change_once(
    compute: &Compute<'_>,
    state: &GoogleState,
    what: &str,
    body: &Value,
) -> Result<(), DriverError> {
    let doing = format!("{what} of the instance failed");
    let zone = state.zone().unwrap_or_default();
    let path = compute.own(&format!("zones/{zone}/instances/{}/{what}", state.name()));
    let begun = compute.begin(Method::POST, &path, &cloud::token()?, Some(body)).await;
    let begun = begun.map_err(|error| error.into_error(compute, &doing))?;
    compute.done(&doing, &begun).await
}

/// Whether nothing was ever asked for: what the Go driver wrote has no such list, and may have made anything.
pub(super) fn is_untouched(state: &GoogleState) -> bool {
    state.requests.as_ref().is_some_and(BTreeMap::is_empty)
        && state.instance_id.is_empty()
        && state.shared_rules.is_empty()
        && state.own_rules.is_empty()
}
