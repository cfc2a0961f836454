//! Looking at droplets: at one, or at all of an account with one list.

use std::collections::{BTreeMap, BTreeSet};

use machine_core::{DriverError, DriverState, ErrorKind, Observed, State};

use super::api::{Cloud, Droplet};
use super::create::find_droplet;
use super::mark;
use super::state::DigitalOceanState;
use super::trouble::explain;

/// Up to how many droplets that a list does not have are asked for one by one; for more, another list is cheaper.
const FEW: usize = 2;

/// # Errors
/// [`ErrorKind::NotFound`] where there is no droplet.
pub(super) async fn observe(cloud: &Cloud<'_>, state: DigitalOceanState) -> Result<Observed, DriverError> {
    if state.droplet_id == 0 {
        return match find_unrecorded(cloud, &state).await? {
            Some(droplet) => seen(state, &droplet),
            None => Err(gone(&state)),
        };
    }
    let droplet = cloud.droplet(state.droplet_id).await;
    match droplet.map_err(|error| explain("the droplet can't be looked at", &error))? {
        Some(droplet) => seen(state, &droplet),
        None => not_there(cloud, state).await,
    }
}

async fn find_unrecorded(
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<Option<Droplet>, DriverError> {
    match state.droplet_asked_at {
        0 => Ok(None),
        _ => find_droplet(cloud, state).await,
    }
}

/// A droplet may not show yet while it is being made.
async fn not_there(cloud: &Cloud<'_>, state: DigitalOceanState) -> Result<Observed, DriverError> {
    if state.create_action_id == 0 {
        return Err(gone(&state));
    }
    if is_being_made(cloud, &state).await? {
        return Ok(Observed { state: State::Starting, ..Observed::default() });
    }
    // It may have been finished between the two looks.
    let droplet = cloud.droplet(state.droplet_id).await;
    match droplet.map_err(|error| explain("the droplet can't be looked at", &error))? {
        Some(droplet) => seen(state, &droplet),
        None => Err(gone(&state)),
    }
}

/// Whether a droplet that was never seen is still being made.
///
/// # Errors
/// Why that can't be asked; that its making failed.
pub(super) async fn is_being_made(cloud: &Cloud<'_>, state: &DigitalOceanState) -> Result<bool, DriverError> {
    if state.create_action_id == 0 {
        return Ok(false);
    }
    let action = cloud.action(state.create_action_id).await;
    let action = action.map_err(|error| explain("the making of the droplet can't be looked at", &error))?;
    Ok(action.is_some_and(|action| action.status == "in-progress"))
}

fn gone(state: &DigitalOceanState) -> DriverError {
    let text = match state.droplet_id {
        0 => "there is no droplet of this machine at DigitalOcean".to_owned(),
        id => format!("there is no droplet {id} at DigitalOcean (any more)"),
    };
    DriverError::new(ErrorKind::NotFound, text).with_hint("`docker-machine rm NAME` removes the record")
}

/// What a droplet is seen to be, and what of it the record did not know.
fn seen(mut state: DigitalOceanState, droplet: &Droplet) -> Result<Observed, DriverError> {
    let before = state.clone();
    let now = match droplet.status.as_str() {
        "new" => State::Starting,
        "active" => State::Running,
        "off" => State::Stopped,
        _ => State::None,
    };
    state.droplet_id = droplet.id;
    state.droplet_asked_at = 0;
    state.create_action_id = 0;
    if let Some(address) = droplet.address() {
        state.base.ip_address = address;
    }
    if let Some(address) = droplet.private_address() {
        state.private_ip_address = address;
    }
    let changed = (state != before).then(|| DriverState::from_typed(&state)).transpose()?;
    // Where it has no address yet nobody can reach it, whatever DigitalOcean calls it.
    let now = if now == State::Running && state.base.ip_address.is_empty() { State::Starting } else { now };
    Ok(Observed { state: now, changed, last_sign: String::new() })
}

/// Looks at all machines of an account: one list, of the store's tag if all of them have it.
pub(super) async fn observe_all(
    cloud: &Cloud<'_>,
    machines: Vec<DigitalOceanState>,
) -> Vec<Result<Observed, DriverError>> {
    let mut wanted: BTreeSet<u64> =
        machines.iter().map(|state| state.droplet_id).filter(|id| *id != 0).collect();
    let mut there: BTreeMap<u64, Droplet> = BTreeMap::new();
    let tag = common_tag(&machines);
    let mut listed = list(cloud, tag.as_deref(), &mut wanted, &mut there).await;
    if listed.is_ok() && tag.is_some() && wanted.len() > FEW {
        // Somebody took their tags away, or they are gone.
        listed = list(cloud, None, &mut wanted, &mut there).await;
        wanted.retain(|_| listed.is_err());
    }
    let mut answers = Vec::with_capacity(machines.len());
    for state in machines {
        answers.push(match there.get(&state.droplet_id) {
            Some(droplet) => seen(state, droplet),
            None => match &listed {
                Err(error) => Err(error.again()),
                Ok(()) if is_worth_asking(&state, &wanted, tag.is_some()) => observe(cloud, state).await,
                Ok(()) => Err(gone(&state)),
            },
        });
    }
    answers
}

/// Whether a droplet that is in no list may be there all the same.
fn is_worth_asking(state: &DigitalOceanState, missing: &BTreeSet<u64>, by_tag: bool) -> bool {
    let unfinished = state.create_action_id != 0 || state.droplet_asked_at != 0;
    unfinished || (by_tag && missing.contains(&state.droplet_id))
}

/// The store's tag, where all machines have it.
fn common_tag(machines: &[DigitalOceanState]) -> Option<String> {
    let store = &machines.first()?.marked_store;
    let all = !store.is_empty() && machines.iter().all(|state| state.marked_store == *store);
    all.then(|| mark::store_tag(store))
}

/// Moves droplets from `wanted` to `there`.
async fn list(
    cloud: &Cloud<'_>,
    tag: Option<&str>,
    wanted: &mut BTreeSet<u64>,
    there: &mut BTreeMap<u64, Droplet>,
) -> Result<(), DriverError> {
    if wanted.is_empty() {
        return Ok(());
    }
    let listed = cloud.droplets(tag, |page| {
        for droplet in page {
            if wanted.remove(&droplet.id) {
                there.insert(droplet.id, droplet);
            }
        }
        !wanted.is_empty()
    });
    listed.await.map_err(|error| explain("the droplets can't be listed", &error))
}
