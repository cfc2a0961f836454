//! What carries the store's mark.

use machine_core::{AccountCx, DriverError, ErrorKind, Owned};
use machine_http::api::ApiError;

use super::api::{Instance, Params};
use super::session::Session;
use super::trouble::trouble;
use super::{observe, remove};
use crate::cloud::STORE_KEY;

const INSTANCE: &str = "instance";
const SPOT_REQUEST: &str = "spot instance request";
const INTERFACE: &str = "network interface";
const VOLUME: &str = "volume";
const KEY_PAIR: &str = "key pair";
const GROUP: &str = "security group";

/// Everything of the store in the account and region, in the order in which it can be removed.
pub(super) async fn owned(session: &Session, cx: &AccountCx<'_>) -> Result<Vec<Owned>, DriverError> {
    let ec2 = session.ec2(cx.report);
    let ours = || Params::default().filter(&format!("tag:{STORE_KEY}"), [cx.store_id]);
    let (instances, spots, interfaces, volumes, keys, groups) = tokio::join!(
        ec2.instances(ours()),
        ec2.spot_requests(ours()),
        // What is attached goes with its instance.
        ec2.interfaces(ours().filter("status", ["available"])),
        ec2.volumes(ours().filter("status", ["available"])),
        ec2.key_pairs(ours()),
        ec2.groups(ours()),
    );
    let mut all = Vec::new();
    let wrong = |error: ApiError| trouble("what the store has made can't be listed", &error);
    all.extend(instances.map_err(wrong)?.into_iter().filter(|one| !observe::is_over(one)).map(of_instance));
    let open =
        spots.map_err(wrong)?.into_iter().filter(|one| ["open", "active"].contains(&one.state.as_str()));
    all.extend(open.map(|one| found(SPOT_REQUEST, one.id, one.machine, one.state)));
    let loose =
        |kind: &'static str| move |one: super::api::Marked| found(kind, one.id, one.machine, one.state);
    all.extend(interfaces.map_err(wrong)?.into_iter().map(loose(INTERFACE)));
    all.extend(volumes.map_err(wrong)?.into_iter().map(loose(VOLUME)));
    all.extend(
        keys.map_err(wrong)?.into_iter().map(|key| found(KEY_PAIR, key.name, key.machine, String::new())),
    );
    all.extend(
        groups.map_err(wrong)?.into_iter().map(|group| found(GROUP, group.id, group.machine, group.name)),
    );
    Ok(all)
}

fn found(kind: &str, id: String, machine: String, about: String) -> Owned {
    Owned { kind: kind.to_owned(), id, machine, about }
}

fn of_instance(instance: Instance) -> Owned {
    let address = [&instance.public_ip, &instance.private_ip, &instance.ipv6];
    let address = address.into_iter().find(|address| !address.is_empty());
    let about =
        [Some(&instance.state), address].into_iter().flatten().cloned().collect::<Vec<_>>().join(", ");
    found(INSTANCE, instance.id, instance.machine, about)
}

/// Removes one of them.
pub(super) async fn remove(session: &Session, cx: &AccountCx<'_>, owned: &Owned) -> Result<(), DriverError> {
    let ec2 = session.ec2(cx.report);
    let id = owned.id.as_str();
    let doing = format!("the {} {id} can't be removed", owned.kind);
    match owned.kind.as_str() {
        INSTANCE => remove::terminate(&ec2, id).await,
        SPOT_REQUEST => remove::cancel_spot(&ec2, id).await,
        KEY_PAIR => remove::delete_key_pair(&ec2, id).await,
        GROUP => remove::delete_group_of_nobody(&ec2, cx.report, id).await,
        VOLUME => {
            let removed = ec2.ask("DeleteVolume", &Params::default().with("VolumeId", id)).await;
            remove::unless_gone(removed, &["InvalidVolume.NotFound"], &doing)
        }
        INTERFACE => {
            let removed =
                ec2.ask("DeleteNetworkInterface", &Params::default().with("NetworkInterfaceId", id)).await;
            remove::unless_gone(removed, &["InvalidNetworkInterfaceID.NotFound"], &doing)
        }
        kind => Err(DriverError::new(ErrorKind::Unsupported, format!("amazonec2 makes no {kind}"))),
    }
}
