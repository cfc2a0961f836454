//! What carries a store's mark.

use machine_core::{DriverError, ErrorKind, Owned};

use super::api::{FloatingIp, ListedKeyPair, SecurityGroup, Server, Volume};
use super::mark::{machine_of_key_pair, of_description, of_metadata};
use super::remove::{self, Removal};
use super::session::{Cloud, Service};
use super::{address, volume};

const FLOATING_IP: &str = "floating IP";
const SERVER: &str = "server";
const VOLUME: &str = "volume";
const GROUP: &str = "security group";
const KEY_PAIR: &str = "key pair";

/// All of it, in an order in which it can be removed.
pub(super) async fn all(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    if store.is_empty() {
        return Ok(Vec::new());
    }
    let (addresses, servers, volumes, groups, keys) = tokio::try_join!(
        addresses(cloud, store),
        servers(cloud, store),
        volumes(cloud, store),
        groups(cloud, store),
        keys(cloud, store)
    )?;
    Ok([addresses, servers, volumes, groups, keys].concat())
}

fn owned(kind: &str, id: String, machine: String, about: String) -> Owned {
    Owned { kind: kind.to_owned(), id, machine, about }
}

async fn addresses(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    if !cloud.has(Service::Network) {
        return Ok(Vec::new());
    }
    let query = [("project_id", cloud.project())];
    let doing = "the floating IPs can't be listed";
    let all: Vec<FloatingIp> = cloud.list(Service::Network, &["floatingips"], &query, doing).await?;
    let ours = all.into_iter().filter_map(|address| {
        let mark = of_description(&address.description).filter(|mark| mark.store == store)?;
        Some(owned(FLOATING_IP, address.id, mark.machine, address.floating_ip_address))
    });
    Ok(ours.collect())
}

async fn servers(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    let doing = "the servers can't be listed";
    let all: Vec<Server> = cloud.list(Service::Compute, &["servers", "detail"], &[], doing).await?;
    let ours = all.into_iter().filter(|server| !server.is_deleted()).filter_map(|server| {
        let mark = of_metadata(&server.metadata).filter(|mark| mark.store == store)?;
        let about = format!("{}, {}", server.name, server.status.to_lowercase());
        Some(owned(SERVER, server.id, mark.machine, about))
    });
    Ok(ours.collect())
}

async fn volumes(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    if !cloud.has(Service::Volume) {
        return Ok(Vec::new());
    }
    let doing = "the volumes can't be listed";
    let all: Vec<Volume> = cloud.list(Service::Volume, &["volumes", "detail"], &[], doing).await?;
    let ours = all.into_iter().filter_map(|volume| {
        let mark = of_metadata(&volume.metadata).filter(|mark| mark.store == store)?;
        Some(owned(VOLUME, volume.id, mark.machine, format!("{}, {}", volume.name, volume.status)))
    });
    Ok(ours.collect())
}

async fn groups(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    if !cloud.has(Service::Network) {
        return Ok(Vec::new());
    }
    let query =
        [("fields", "id"), ("fields", "name"), ("fields", "description"), ("project_id", cloud.project())];
    let doing = "the security groups can't be listed";
    let all: Vec<SecurityGroup> = cloud.list(Service::Network, &["security-groups"], &query, doing).await?;
    let ours = all.into_iter().filter_map(|group| {
        let mark = of_description(&group.description).filter(|mark| mark.store == store)?;
        Some(owned(GROUP, group.id, mark.machine, group.name))
    });
    Ok(ours.collect())
}

async fn keys(cloud: &Cloud<'_>, store: &str) -> Result<Vec<Owned>, DriverError> {
    let doing = "the key pairs can't be listed";
    let all: Vec<ListedKeyPair> = cloud.list(Service::Compute, &["os-keypairs"], &[], doing).await?;
    let ours = all.into_iter().filter_map(|listed| {
        let name = listed.keypair.name;
        let machine = machine_of_key_pair(&name, store)?;
        Some(owned(KEY_PAIR, name, machine, String::new()))
    });
    Ok(ours.collect())
}

/// Removes one of these.
pub(super) async fn remove(removal: &Removal<'_>, owned: &Owned) -> Result<(), DriverError> {
    match owned.kind.as_str() {
        FLOATING_IP => address::remove(removal.cloud, &owned.id).await,
        SERVER => remove::server(removal, &owned.id).await,
        VOLUME => volume::remove(removal, &owned.id).await,
        GROUP => remove::group(removal, &owned.id).await,
        KEY_PAIR => remove::key_pair(removal.cloud, &owned.id).await,
        other => Err(DriverError::new(ErrorKind::Other, format!("OpenStack has no {other:?} of ours"))),
    }
}
