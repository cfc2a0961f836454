//! From what the user named to what is there: flavor, image, networks, and whether all of it fits.

use std::collections::BTreeMap;

use machine_core::{DriverError, ErrorKind, Event};

use super::api::{Flavor, IdName, Image, KeyPair, Network, One, Volume, Zone};
use super::session::{Cloud, Service};
use super::state::OpenstackState;

/// What was found for a wish.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    pub(super) flavor: Flavor,
    /// The image; none where an existing volume is booted.
    pub(super) image: Option<Image>,
    /// The network's id; empty where nova chooses.
    pub(super) network: String,
    /// The id of the network of floating IPs; empty for none.
    pub(super) pool: String,
    /// The server group's id; empty for none.
    pub(super) server_group: String,
}

/// How many names are listed in a hint.
const NAMES: usize = 8;

/// Whether neutron is what networks are made with. The reference program's flag for nova's own services counts only where
/// there is no neutron: elsewhere they are gone.
pub(super) fn has_neutron(cloud: &Cloud<'_>) -> bool {
    cloud.has(Service::Network)
}

/// Looks up all that the wish names, at the same time.
pub(super) async fn resolve(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Found, DriverError> {
    let (flavor, image, networks, server_group) = tokio::try_join!(
        flavor(cloud, state),
        image(cloud, state),
        networks(cloud, state),
        server_group(cloud, state)
    )?;
    let (network, pool) = networks;
    Ok(Found { flavor, image, network, pool, server_group })
}

fn unknown(text: String, wanted: &str, names: Vec<String>) -> DriverError {
    let wrong = DriverError::new(ErrorKind::Config, text);
    match near(wanted, names) {
        near if near.is_empty() => wrong,
        near => wrong.with_hint(format!("there is: {near}")),
    }
}

/// The names most like a wanted one, the best first.
fn near(wanted: &str, mut names: Vec<String>) -> String {
    let wanted = wanted.to_lowercase();
    names.retain(|name| !name.is_empty());
    names.sort();
    names.dedup();
    names.sort_by_key(|name| distance(&wanted, &name.to_lowercase()));
    let more = names.len().saturating_sub(NAMES);
    names.truncate(NAMES);
    let listed = names.join(", ");
    if more > 0 { format!("{listed} and {more} more") } else { listed }
}

/// How many letters must be changed (Levenshtein); less where one is in the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = corner + usize::from(a != *b);
            corner = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(corner + 1);
        }
    }
    let text: String = other.iter().collect();
    let inside = !one.is_empty() && (text.contains(one) || one.contains(&text));
    if inside { 0 } else { row[other.len()] }
}

async fn flavor(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Flavor, DriverError> {
    let doing = "the flavor can't be looked up";
    if state.flavor_name.is_empty() {
        let found: Option<One<Flavor>> =
            cloud.find(Service::Compute, &["flavors", &state.flavor_id], doing).await?;
        if let Some(found) = found {
            return Ok(found.it);
        }
    }
    let all: Vec<Flavor> = cloud.list(Service::Compute, &["flavors", "detail"], &[], doing).await?;
    let names = |all: Vec<Flavor>| all.into_iter().map(|flavor| flavor.name).collect();
    if state.flavor_name.is_empty() {
        let text = format!("Unable to find flavor with the id {}", state.flavor_id);
        return Err(unknown(text, &state.flavor_id, all.into_iter().map(|flavor| flavor.id).collect()));
    }
    match all.iter().find(|flavor| flavor.name == state.flavor_name) {
        Some(flavor) => Ok(flavor.clone()),
        None => {
            let text = format!("Unable to find flavor named {}", state.flavor_name);
            Err(unknown(text, &state.flavor_name, names(all)))
        }
    }
}

async fn image(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Option<Image>, DriverError> {
    let doing = "the image can't be looked up";
    if state.image_name.is_empty() && state.image_id.is_empty() {
        return Ok(None);
    }
    let (wanted, found) = if state.image_name.is_empty() {
        (&state.image_id, cloud.find(Service::Image, &["images", &state.image_id], doing).await?)
    } else {
        // The newest comes first.
        let named: Vec<Image> =
            cloud.list(Service::Image, &["images"], &[("name", &state.image_name)], doing).await?;
        if named.len() > 1 {
            cloud.report().report(Event::Warning(format!(
                "there are {} images named {:?}; the newest is taken: {}",
                named.len(),
                state.image_name,
                named[0].id
            )));
        }
        (&state.image_name, named.into_iter().next())
    };
    match found {
        Some(image) if image.status == "active" => Ok(Some(image)),
        Some(image) => {
            let text = format!("the image {wanted:?} can't be used: it is {}", image.status);
            Err(DriverError::new(ErrorKind::Config, text)
                .with_hint("wait until it is active, or take another one"))
        }
        None => {
            let all: Vec<Image> = cloud.list(Service::Image, &["images"], &[], doing).await?;
            let text = match state.image_name.is_empty() {
                true => format!("Unable to find image with the id {wanted}"),
                false => format!("Unable to find image named {wanted}"),
            };
            Err(unknown(text, wanted, all.into_iter().map(|image| image.name).collect()))
        }
    }
}

/// The network and that of floating IPs, by one list.
async fn networks(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(String, String), DriverError> {
    let (named, pool) = (!state.network_name.is_empty(), !state.floating_ip_pool.is_empty());
    if !has_neutron(cloud) {
        return without_neutron(state).map(|()| (state.network_id.clone(), String::new()));
    }
    if !named && !pool && state.network_id.is_empty() {
        return Ok((String::new(), String::new()));
    }
    let fields = [("fields", "id"), ("fields", "name"), ("fields", "router:external")];
    let doing = "the networks can't be listed";
    let all: Vec<Network> = cloud.list(Service::Network, &["networks"], &fields, doing).await?;
    let names = |external: bool| -> Vec<String> {
        all.iter().filter(|n| !external || n.external).map(|n| n.name.clone()).collect()
    };
    let network = if named {
        let text = format!("Unable to find network named {}", state.network_name);
        let found = all.iter().find(|network| network.name == state.network_name);
        found.ok_or_else(|| unknown(text, &state.network_name, names(false)))?.id.clone()
    } else if !state.network_id.is_empty() {
        let text = format!("Unable to find network with the id {}", state.network_id);
        let found = all.iter().find(|network| network.id == state.network_id);
        found.ok_or_else(|| unknown(text, &state.network_id, names(false)))?.id.clone()
    } else {
        String::new()
    };
    let pool = if pool {
        let wanted = &state.floating_ip_pool;
        let text = format!("Unable to find network named {wanted}");
        let found = all.iter().find(|n| n.name == *wanted && n.external);
        let found = found.or_else(|| all.iter().find(|n| n.id == *wanted || n.name == *wanted));
        let found = found.ok_or_else(|| unknown(text, wanted, names(true)))?;
        if !found.external {
            let text = format!("the network {wanted:?} has no floating IPs: it is not external");
            return Err(unknown(text, wanted, names(true)));
        }
        found.id.clone()
    } else {
        String::new()
    };
    Ok((network, pool))
}

/// What can be had of nova's own network services.
fn without_neutron(state: &OpenstackState) -> Result<(), DriverError> {
    if state.network_name.is_empty() || state.compute_network {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Config,
        format!("the network {:?} can't be looked up: the cloud has no neutron", state.network_name),
    )
    .with_hint("name the network by --openstack-net-id, or leave it to nova"))
}

async fn server_group(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<String, DriverError> {
    let wanted = &state.server_group_name;
    if wanted.is_empty() {
        return Ok(state.server_group_id.clone());
    }
    let doing = "the server groups can't be listed";
    let all: Vec<IdName> = cloud.list(Service::Compute, &["os-server-groups"], &[], doing).await?;
    match all.iter().find(|group| group.name == *wanted) {
        Some(group) => Ok(group.id.clone()),
        None => {
            let text = format!("Unable to find server group named {wanted}");
            Err(unknown(text, wanted, all.into_iter().map(|group| group.name).collect()))
        }
    }
}

/// What else can be seen to stand in the way before anything is made.
pub(super) async fn check(
    cloud: &Cloud<'_>,
    state: &OpenstackState,
    is_narrowed: bool,
) -> Result<Found, DriverError> {
    if is_narrowed && !has_neutron(cloud) {
        return Err(super::firewall::without_neutron());
    }
    let (found, (), (), (), ()) = tokio::try_join!(
        resolve(cloud, state),
        key_pair(cloud, state),
        zone(cloud, state),
        security_groups(cloud, state),
        volume(cloud, state)
    )?;
    fits(&found, state)?;
    Ok(found)
}

/// Whether the image takes the flavor.
fn fits(found: &Found, state: &OpenstackState) -> Result<(), DriverError> {
    let (flavor, Some(image)) = (&found.flavor, &found.image) else { return Ok(()) };
    let wrong = |needs: String, has: String, hint: &str| {
        let text = format!("the image {:?} needs {needs}, {has}", image.name);
        Err(DriverError::new(ErrorKind::Config, text).with_hint(hint))
    };
    let of_flavor = |has: i64| format!("the flavor {:?} has {has}", flavor.name);
    if image.min_ram > flavor.ram {
        let needs = format!("{} MiB of memory", image.min_ram);
        return wrong(needs, of_flavor(flavor.ram), "take a larger flavor");
    }
    // 0 is a disk of the image's own size; a volume of no certain size is made large enough.
    let disk = if state.boot_from_volume {
        i64::try_from(state.volume_size).unwrap_or(i64::MAX)
    } else {
        flavor.disk
    };
    if disk == 0 || image.min_disk <= disk {
        return Ok(());
    }
    let needs = format!("{} GiB of disk", image.min_disk);
    if state.boot_from_volume {
        let has = format!("--openstack-volume-size is {disk}");
        return wrong(needs, has, &format!("give {} or more, or leave it out", image.min_disk));
    }
    wrong(needs, of_flavor(disk), "take a larger flavor")
}

async fn key_pair(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    if !state.existing_key {
        return Ok(());
    }
    let doing = "the key pair can't be looked up";
    let name = &state.key_pair_name;
    let found: Option<One<KeyPair>> = cloud.find(Service::Compute, &["os-keypairs", name], doing).await?;
    if found.is_some() {
        return Ok(());
    }
    Err(DriverError::new(ErrorKind::Config, format!("there is no key pair named {name:?}"))
        .with_hint("`openstack keypair list` shows the user's; without --openstack-keypair-name one is made"))
}

async fn zone(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    // ZONE:HOST is for operators.
    let wanted = state.availability_zone.split(':').next().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(());
    }
    let doing = "the availability zones can't be listed";
    let all: Vec<Zone> = cloud.list(Service::Compute, &["os-availability-zone"], &[], doing).await?;
    if all.iter().any(|zone| zone.name == wanted && zone.state.available) {
        return Ok(());
    }
    let text = format!("there is no availability zone {wanted:?} that takes servers");
    let names = all.into_iter().filter(|zone| zone.state.available).map(|zone| zone.name).collect();
    Err(unknown(text, wanted, names))
}

async fn security_groups(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    let wanted = state.security_groups.as_deref().unwrap_or_default();
    if wanted.is_empty() || !has_neutron(cloud) {
        return Ok(());
    }
    let fields = [("fields", "id"), ("fields", "name")];
    let doing = "the security groups can't be listed";
    let all: Vec<IdName> = cloud.list(Service::Network, &["security-groups"], &fields, doing).await?;
    let known: BTreeMap<&str, ()> =
        all.iter().flat_map(|group| [(group.id.as_str(), ()), (group.name.as_str(), ())]).collect();
    match wanted.iter().find(|name| !known.contains_key(name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let names = all.iter().map(|group| group.name.clone()).collect();
            Err(unknown(format!("there is no security group {name:?}"), name, names))
        }
    }
}

async fn volume(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    if state.volume_id.is_empty() || state.own_volume {
        return if state.makes_volume() { volume_type(cloud, state).await } else { Ok(()) };
    }
    let doing = "the volume can't be looked up";
    let id = &state.volume_id;
    let found: Option<One<Volume>> = cloud.find(Service::Volume, &["volumes", id], doing).await?;
    match found {
        Some(One { it }) if it.status == "available" => Ok(()),
        Some(One { it }) => Err(DriverError::new(
            ErrorKind::Config,
            format!("the volume {id} can't be used: it is {}", it.status),
        )
        .with_hint("detach it first, or take another one")),
        None => Err(DriverError::new(ErrorKind::Config, format!("there is no volume {id}"))
            .with_hint("`openstack volume list` shows the project's")),
    }
}

/// Whether there is cinder, and the type of volumes.
async fn volume_type(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    let wanted = &state.volume_type;
    if wanted.is_empty() {
        // It must be in the catalog.
        return cloud.url(Service::Volume, &[], &[]).map(drop);
    }
    let doing = "the types of volumes can't be listed";
    let all: Vec<IdName> = cloud.list(Service::Volume, &["types"], &[], doing).await?;
    if all.iter().any(|known| known.name == *wanted || known.id == *wanted) {
        return Ok(());
    }
    let names = all.into_iter().map(|known| known.name).collect();
    Err(unknown(format!("there is no type of volumes named {wanted:?}"), wanted, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_come_first() {
        let names = || ["m1.large", "ubuntu-24.04", "Ubuntu-22.04", "debian"].map(str::to_owned).to_vec();
        assert!(near("ubuntu-24.4", names()).starts_with("ubuntu-24.04, Ubuntu-22.04"));
        assert!(near("large", names()).starts_with("m1.large"));
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
