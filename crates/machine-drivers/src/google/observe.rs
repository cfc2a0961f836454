//! Looking at instances.

use std::collections::BTreeMap;

use machine_core::{DriverError, DriverState, ErrorKind, Observed, State};

use super::api::{Compute, Instance};
use super::create::resolve;
use super::location;
use super::state::GoogleState;
use crate::cloud::{MACHINE_KEY, STORE_KEY};

/// What is asked of an instance.
const FIELDS: &str =
    "id,name,status,zone,machineType,labels,tags,metadata,disks(source,autoDelete),networkInterfaces";
/// What is asked of each of many.
const SOME_FIELDS: &str =
    "id,name,status,zone,machineType,labels,networkInterfaces(networkIP,accessConfigs/natIP)";
/// Up to how many instances that a list does not have are asked for one by one.
const FEW: usize = 2;
const LOOKING: &str = "the instance can't be looked up";

/// The machine's instance; `None` where there is none. Where the provider chose its zone and nobody has seen it yet,
/// it is looked for in all.
pub(super) async fn find(
    compute: &Compute<'_>,
    state: &GoogleState,
) -> Result<Option<Instance>, DriverError> {
    match state.zone() {
        Some(zone) => {
            let path = compute.own(&format!("zones/{zone}/instances/{}", state.name()));
            compute.get(LOOKING, &path, FIELDS).await
        }
        None => everywhere(compute, state).await,
    }
}

async fn everywhere(compute: &Compute<'_>, state: &GoogleState) -> Result<Option<Instance>, DriverError> {
    let filter = match state.store_id.as_str() {
        "" => format!("name = \"{}\"", state.name()),
        store => format!(
            "labels.{STORE_KEY} = \"{store}\" AND labels.{MACHINE_KEY} = \"{}\"",
            state.base.machine_name
        ),
    };
    let found: Vec<Instance> = compute.list_everywhere("instances", &filter, FIELDS).await?;
    let in_region = |instance: &Instance| {
        let zone = location::last(&instance.zone);
        zone.rsplit_once('-').is_some_and(|(region, _)| region == state.region)
    };
    Ok(found.into_iter().find(|instance| instance.name == state.name() && in_region(instance)))
}

/// What an instance's status means here.
fn meaning(status: &str) -> State {
    match status {
        "PROVISIONING" | "STAGING" | "PENDING" => State::Starting,
        "RUNNING" => State::Running,
        "STOPPING" | "PENDING_STOP" | "SUSPENDING" | "DEPROVISIONING" => State::Stopping,
        "STOPPED" | "TERMINATED" => State::Stopped,
        "SUSPENDED" => State::Saved,
        "REPAIRING" => State::Error,
        _ => State::None,
    }
}

/// The error for an instance that is not there.
pub(super) fn gone(state: &GoogleState) -> DriverError {
    let place = state.zone().map_or(state.region.as_str(), |zone| zone);
    let text = format!("instance {:?} is not in {place} of the project {:?}", state.name(), state.project);
    DriverError::new(ErrorKind::NotFound, text)
        .with_hint("somebody removed it; `docker-machine rm` removes what is left of it")
}

/// What is seen of an instance.
pub(super) fn seen(state: &GoogleState, there: &Instance) -> Result<Observed, DriverError> {
    let mut now = state.clone();
    resolve(&mut now, there);
    let changed = if now == *state { None } else { Some(DriverState::from_typed(&now)?) };
    Ok(Observed {
        state: meaning(&there.status),
        changed,
        last_sign: format!("the instance is {}", there.status),
    })
}

/// Looks at the machine.
pub(super) async fn look(compute: &Compute<'_>, state: &GoogleState) -> Result<Observed, DriverError> {
    match find(compute, state).await? {
        Some(there) => seen(state, &there),
        None => Err(gone(state)),
    }
}

/// Looks at machines one by one.
pub(super) async fn look_at_each(
    compute: &Compute<'_>,
    states: &[&GoogleState],
) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
    let mut answers = Vec::with_capacity(states.len());
    for state in states {
        answers.push(look(compute, state).await);
    }
    Ok(answers)
}

/// Looks at all machines of one zone with one list: of our mark where they all have it. What that list does not have may have
/// lost its labels: few are then asked for one by one, for more a list of the whole zone is cheaper.
pub(super) async fn look_at_all(
    compute: &Compute<'_>,
    zone: &str,
    states: &[&GoogleState],
) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
    let store = &states[0].store_id;
    // The Go driver's instances have no labels, also where a firewall of ours was made for them later.
    let is_ours =
        |state: &&GoogleState| state.store_id == *store && !state.use_existing && state.requests.is_some();
    let marked = !store.is_empty() && states.iter().all(is_ours);
    let filter = if marked { format!("labels.{STORE_KEY} = \"{store}\"") } else { String::new() };
    let mut found = list(compute, zone, &filter).await?;
    let missing: Vec<&GoogleState> =
        states.iter().filter(|state| !found.contains_key(state.name())).copied().collect();
    let mut alone = BTreeMap::new();
    if marked && missing.len() > FEW {
        found.extend(list(compute, zone, "").await?);
    } else if marked {
        for state in missing {
            alone.insert(state.name(), look(compute, state).await);
        }
    }
    let mut answer = |state: &GoogleState| match found.get(state.name()) {
        Some(there) => seen(state, there),
        None => alone.remove(state.name()).unwrap_or_else(|| Err(gone(state))),
    };
    Ok(states.iter().map(|state| answer(state)).collect())
}

async fn list(
    compute: &Compute<'_>,
    zone: &str,
    filter: &str,
) -> Result<BTreeMap<String, Instance>, DriverError> {
    let path = compute.own(&format!("zones/{zone}/instances"));
    let doing = "the instances of the zone can't be listed";
    let found: Vec<Instance> = compute.list(doing, &path, filter, SOME_FIELDS).await?;
    Ok(found.into_iter().map(|instance| (instance.name.clone(), instance)).collect())
}
