//! Removing a machine with all that was made for it: the droplet first, which costs.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_http::api::Seen;

use super::api::{Cloud, Firewall};
use super::create::{find_droplet, look_for};
use super::observe::is_being_made;
use super::state::DigitalOceanState;
use super::trouble::{explain, is_busy};
use super::{firewall, key, mark};
use crate::cloud::wait_for;

/// How long a droplet may be busy, or may not show yet.
const LIMIT: Duration = Duration::from_secs(180);

/// # Errors
/// What could not be removed.
pub(super) async fn remove(
    cx: &Cx<'_>,
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<(), DriverError> {
    droplet(cloud, state).await?;
    own_firewall(cx, cloud, state).await?;
    own_key(cloud, state).await?;
    tag(cx, cloud, state).await;
    Ok(())
}

async fn droplet(cloud: &Cloud<'_>, state: &DigitalOceanState) -> Result<(), DriverError> {
    let id = match (state.droplet_id, state.droplet_asked_at) {
        (0, 0) => return Ok(()),
        (0, asked_at) => {
            let look = || find_droplet(cloud, state);
            let Some(found) = look_for(asked_at, look).await? else { return Ok(()) };
            found.id
        }
        (id, _) => id,
    };
    let what = format!("droplet {id} to be destroyed");
    wait_for(cloud.report, &what, LIMIT, || destroy(cloud, id, state)).await
}

/// Destroys a droplet once it can be: it may be busy, or, while it is being made, not to be found yet.
async fn destroy(cloud: &Cloud<'_>, id: u64, state: &DigitalOceanState) -> Result<Seen<()>, DriverError> {
    let mut deleted = cloud.delete_droplet(id).await;
    if matches!(deleted, Ok(false)) && state.create_action_id != 0 {
        if is_being_made(cloud, state).await? {
            return Ok(Seen::NotYet("it is being made".to_owned()));
        }
        // It may have been finished between the two.
        deleted = cloud.delete_droplet(id).await;
    }
    match deleted {
        Ok(_) => Ok(Seen::Done(())),
        Err(error) => match error.refusal() {
            Some(refusal) if is_busy(refusal) => Ok(Seen::NotYet(refusal.message.clone())),
            _ => Err(explain(&format!("droplet {id} can't be destroyed"), &error)),
        },
    }
}

async fn own_firewall(cx: &Cx<'_>, cloud: &Cloud<'_>, state: &DigitalOceanState) -> Result<(), DriverError> {
    let id = match (state.firewall_id.as_str(), state.firewall_asked_at) {
        ("", 0) => match unrecorded_firewall(cx, cloud, state).await? {
            Some(found) => found.id,
            None => return Ok(()),
        },
        ("", asked_at) => {
            let look = || firewall::find(cloud, state);
            let Some(found) = look_for(asked_at, look).await? else { return Ok(()) };
            found.id
        }
        (id, _) => id.to_owned(),
    };
    let deleted = cloud.delete_firewall(&id).await;
    deleted.map(drop).map_err(|error| explain("the machine's firewall can't be deleted", &error))
}

/// A firewall that was made for a droplet that was there, and whose answer nobody has. Who may not read firewalls has made none.
async fn unrecorded_firewall(
    cx: &Cx<'_>,
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<Option<Firewall>, DriverError> {
    let mut marked = state.clone();
    if marked.marked_store.is_empty() {
        cx.store_id.clone_into(&mut marked.marked_store);
    }
    if state.droplet_id == 0 || marked.marked_store.is_empty() {
        return Ok(None);
    }
    match firewall::find(cloud, &marked).await {
        Err(error) if error.kind() == ErrorKind::Credentials => Ok(None),
        found => found,
    }
}

/// Deletes the key, unless it is the user's.
async fn own_key(cloud: &Cloud<'_>, state: &DigitalOceanState) -> Result<(), DriverError> {
    if !state.ssh_key_fingerprint.is_empty() {
        return Ok(());
    }
    let id = match (state.ssh_key_id, state.key_asked_at) {
        (0, 0) => return Ok(()),
        (0, asked_at) => {
            let look = || key::look_up(cloud, state);
            match look_for(asked_at, look).await? {
                Some(found) if key::is_ours(&found, state) => found.id,
                _ => return Ok(()),
            }
        }
        (id, _) => id,
    };
    let deleted = cloud.delete_key(id).await;
    deleted.map(drop).map_err(|error| explain("the machine's SSH key can't be deleted", &error))
}

/// Deletes the machine's tag. It costs nothing, and the token may not be allowed to: then it stays.
async fn tag(cx: &Cx<'_>, cloud: &Cloud<'_>, state: &DigitalOceanState) {
    let tagged = state.droplet_id != 0 || state.droplet_asked_at != 0 || state.firewall_asked_at != 0;
    if state.marked_store.is_empty() || (!tagged && state.firewall_id.is_empty()) {
        return;
    }
    let tag = mark::machine_tag(&state.mark());
    if let Err(error) = cloud.delete_tag(&tag).await {
        cx.report.report(Event::Warning(format!(
            "the tag {tag} stays at DigitalOcean, which costs nothing: {error}"
        )));
    }
}
