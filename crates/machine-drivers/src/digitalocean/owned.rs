//! What carries a store's mark.

use machine_core::{DriverError, ErrorKind, Owned};

use super::api::{Cloud, Droplet};
use super::mark;
use super::state::DigitalOceanState;
use super::trouble::explain;

const DROPLET: &str = "droplet";
const FIREWALL: &str = "firewall";
const KEY: &str = "SSH key";

/// The account of a machine. A token is not to be shown: a part of its MD5 sum stands for it.
///
/// # Errors
/// None; for the door's sake.
pub(super) fn account(state: &DigitalOceanState) -> Result<String, DriverError> {
    let sum = format!("{:x}", md5::compute(state.access_token.expose()));
    let place = if state.endpoint.is_empty() { "digitalocean" } else { &state.endpoint };
    Ok(format!("{place}/token-{}", &sum[..8]))
}

/// Everything with the store's mark: droplets, firewalls, keys.
///
/// # Errors
/// Why it can't be listed.
pub(super) async fn owned(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    let trouble = |error| explain("what the account has can't be listed", &error);
    let of = |kind: &str, id: String, machine: String| Owned {
        kind: kind.to_owned(),
        id,
        machine,
        about: String::new(),
    };
    let mut all = Vec::new();
    let tag = mark::store_tag(store);
    let droplets = cloud.droplets(Some(&tag), |page| {
        let found = page.into_iter().map(|droplet| Owned {
            about: about(&droplet),
            ..of(DROPLET, droplet.id.to_string(), machine_of(&droplet, store))
        });
        all.extend(found);
        true
    });
    droplets.await.map_err(trouble)?;
    let firewalls = cloud.firewalls(|firewall| {
        if let Some(machine) = mark::machine_of_firewall(&firewall.name, store) {
            all.push(of(FIREWALL, firewall.id, machine));
        }
    });
    firewalls.await.map_err(trouble)?;
    let keys = cloud.keys(|key| {
        if let Some(machine) = mark::machine_of_key(&key.name, store) {
            all.push(of(KEY, key.id.to_string(), machine));
        }
    });
    keys.await.map_err(trouble)?;
    Ok(all)
}

/// The machine of a droplet: its tag says it, else its name.
fn machine_of(droplet: &Droplet, store: &str) -> String {
    let tagged = droplet.tags.iter().find_map(|tag| mark::machine_of_tag(tag, store));
    tagged.unwrap_or_else(|| droplet.name.clone())
}

fn about(droplet: &Droplet) -> String {
    match droplet.address() {
        Some(address) => format!("{}, {address}", droplet.status),
        None => droplet.status.clone(),
    }
}

/// Removes one of them, and with a droplet the tag of its machine.
///
/// # Errors
/// Why it can't be removed.
pub(super) async fn remove(cloud: &Cloud<'_>, store: &str, owned: &Owned) -> Result<(), DriverError> {
    let wrong = || DriverError::new(ErrorKind::Config, format!("there is no {} {:?}", owned.kind, owned.id));
    let number = || owned.id.parse().map_err(|_| wrong());
    let removed = match owned.kind.as_str() {
        DROPLET => cloud.delete_droplet(number()?).await,
        FIREWALL => cloud.delete_firewall(&owned.id).await,
        KEY => cloud.delete_key(number()?).await,
        _ => return Err(wrong()),
    };
    let doing = format!("the {} {} can't be removed", owned.kind, owned.id);
    removed.map_err(|error| explain(&doing, &error))?;
    if owned.kind == DROPLET {
        let mark = mark::Mark { store: store.to_owned(), machine: owned.machine.clone() };
        // It costs nothing, and is made again when it is needed.
        let _ = cloud.delete_tag(&mark::machine_tag(&mark)).await;
    }
    Ok(())
}
