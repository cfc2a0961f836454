//! Taking away a machine and exactly what was made for it.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_http::api::Seen;

use super::arm::{Arm, trouble};
use super::lock;
use super::model::{AvailabilitySet, Disk, Network, Plain, Resource, SecurityGroup, Vm};
use super::names::{Names, mark, same};
use super::state::AzureState;
use crate::cloud::{self, Mark};

/// How long a network interface stays reserved for a machine that could not be made: 180 s, and what it takes to see that.
const RESERVED: Duration = Duration::from_secs(240);
/// How long an empty resource group may take to go.
const GROUP: Duration = Duration::from_secs(120);
/// How long lists may show what is gone.
const LISTED: Duration = Duration::from_secs(20);
/// The management of storage accounts names a file's place in its address: `https://ACCOUNT.blob.…/CONTAINER/FILE`.
const BLOB: &str = ".blob.";

/// Removes it all. What is gone is gone.
pub(super) async fn remove(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<(), DriverError> {
    let (names, mark) = (Names::of(state, &arm.subscription), mark(state));
    let made_here = !state.store_id.is_empty();
    let own = Own::look(arm, state, &names, &mark).await?;
    if let Some(vm) = &own.vm {
        let doing = format!("the virtual machine {:?} can't be removed", state.base.machine_name);
        // Nobody waits for a machine to shut down in order that is thrown away.
        arm.delete(&doing, &names.vm, &[("forceDeletion", "true")]).await?;
        vhd(arm, &names, vm).await?;
    }
    // All that went with the machine says so when it is asked to go; what did not, goes now.
    if own.nic {
        interface(arm, cx, &names).await?;
    }
    let (ip, nsg, disk) =
        tokio::join!(gone(arm, own.ip, &names.ip), gone(arm, own.nsg, &names.nsg), disk(arm, &own, &names));
    ip?;
    nsg?;
    disk?;
    if !made_here {
        return Ok(());
    }
    let held = lock::removing(cx.store_path, &state.subscription_id, cx.report).await?;
    if held.is_none() {
        cx.report.report(Event::DriverLine(
            "Other machines are being made: what they may share is left for the next `rm`".to_owned(),
        ));
        return Ok(());
    }
    shared(arm, cx, state, &names, &mark).await
}

/// What there is of a machine, and is its own.
struct Own {
    vm: Option<Resource<Vm>>,
    nic: bool,
    ip: bool,
    nsg: bool,
}

impl Own {
    /// Looks at each under its name. Where our machines have marks, what has none is somebody else's.
    async fn look(
        arm: &Arm<'_>,
        state: &AzureState,
        names: &Names,
        mark: &Mark,
    ) -> Result<Self, DriverError> {
        let unmarked = state.store_id.is_empty();
        let there = |id, wanted: bool| async move {
            if wanted { is_own(arm, id, mark, unmarked).await } else { Ok(false) }
        };
        let (vm, nic, ip, nsg) = tokio::join!(
            arm.get::<Resource<Vm>>(LOOKING, &names.vm, &[]),
            there(names.nic.as_str(), true),
            there(names.ip.as_str(), !state.no_public_ip),
            there(names.nsg.as_str(), state.nsg.is_empty()),
        );
        let vm = vm?.filter(|vm| unmarked || vm.is_of(mark));
        Ok(Self { vm, nic: nic?, ip: ip?, nsg: nsg? })
    }
}

const LOOKING: &str = "what there is of the machine can't be looked at";

async fn is_own(arm: &Arm<'_>, id: &str, mark: &Mark, unmarked: bool) -> Result<bool, DriverError> {
    let thing: Option<Resource<Plain>> = arm.get(LOOKING, id, &[]).await?;
    Ok(thing.is_some_and(|thing| unmarked || thing.is_of(mark)))
}

async fn gone(arm: &Arm<'_>, wanted: bool, id: &str) -> Result<(), DriverError> {
    if wanted {
        arm.delete(&format!("{} can't be removed", short(id)), id, &[]).await?;
    }
    Ok(())
}

fn short(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

/// The network interface. Where a machine could not be made, it stays reserved for it for three minutes.
async fn interface(arm: &Arm<'_>, cx: &Cx<'_>, names: &Names) -> Result<(), DriverError> {
    let doing = "the network interface can't be removed";
    cloud::wait_for(cx.report, "the network interface to be free", RESERVED, || async {
        match arm.try_delete(doing, &names.nic, &[]).await? {
            Ok(_) => Ok(Seen::Done(())),
            Err(error) if error.code() == "NicReservedForAnotherVm" => {
                Ok(Seen::NotYet("it is reserved for the machine that could not be made".to_owned()))
            }
            Err(error) => Err(trouble(doing, &error)),
        }
    })
    .await
}

/// The disk: its name was made up for the machine, so that no other can have it. Of a machine of docker/machine's, the
/// machine itself says which it is.
async fn disk(arm: &Arm<'_>, own: &Own, names: &Names) -> Result<(), DriverError> {
    let of_vm = own.vm.as_ref().and_then(|vm| vm.properties.storage_profile.os_disk.managed_disk.as_ref());
    let of_vm = of_vm.map(|disk| disk.id.as_str()).filter(|id| !id.is_empty());
    let Some(id) = names.disk.as_deref().or(of_vm) else { return Ok(()) };
    let doing = "the disk can't be removed";
    if own.vm.is_none() && arm.get::<Resource<Disk>>(doing, id, &[]).await?.is_none() {
        return Ok(());
    }
    arm.delete(doing, id, &[]).await.map(drop)
}

/// The file that was the disk of a machine of docker/machine's, in a storage account of its own kind.
async fn vhd(arm: &Arm<'_>, names: &Names, vm: &Resource<Vm>) -> Result<(), DriverError> {
    let Some(vhd) = &vm.properties.storage_profile.os_disk.vhd else { return Ok(()) };
    let host_and_path = vhd.uri.split_once("://").map_or("", |(_, rest)| rest);
    let account = host_and_path.split_once(BLOB).map(|(account, _)| account);
    let container = host_and_path.split('/').nth(1);
    let (Some(account), Some(container)) = (account, container.filter(|name| name.starts_with("vhd-")))
    else {
        return Ok(());
    };
    let account = format!("{}/providers/Microsoft.Storage/storageAccounts/{account}", names.group);
    let containers = format!("{account}/blobServices/default/containers");
    let doing = format!("the file {} can't be removed", vhd.uri);
    arm.delete(&doing, &format!("{containers}/{container}"), &[]).await?;
    // docker/machine's own accounts begin so; they go with their last machine, as there.
    let left: Option<Vec<Resource<Plain>>> = arm.list(&doing, &containers, &[]).await?;
    if short(&account).starts_with("vhds") && left.is_some_and(|left| left.is_empty()) {
        arm.delete(&doing, &account, &[]).await?;
    }
    Ok(())
}

/// What machines share: removed where it is ours and, as Azure says, nobody uses it any more.
async fn shared(
    arm: &Arm<'_>,
    cx: &Cx<'_>,
    state: &AzureState,
    names: &Names,
    mark: &Mark,
) -> Result<(), DriverError> {
    let (set, network, nsg) = tokio::join!(
        availability_set(arm, state, names, mark),
        network(arm, state, names, mark),
        security_group(arm, state, names, mark),
    );
    set?;
    network?;
    nsg?;
    group(arm, cx, names, mark).await
}

/// A refusal because somebody uses it after all is no failure: it is theirs then.
async fn unless_used(arm: &Arm<'_>, id: &str) -> Result<(), DriverError> {
    let doing = format!("{} can't be removed", short(id));
    match arm.try_delete(&doing, id, &[]).await? {
        Err(error) if error.code().starts_with("InUse") || error.code() == "OperationNotAllowed" => Ok(()),
        Err(error) => Err(trouble(&doing, &error)),
        Ok(_) => Ok(()),
    }
}

async fn availability_set(
    arm: &Arm<'_>,
    state: &AzureState,
    names: &Names,
    mark: &Mark,
) -> Result<(), DriverError> {
    if !state.in_set() {
        return Ok(());
    }
    let doing = "the availability set can't be looked at";
    let set: Option<Resource<AvailabilitySet>> = arm.get(doing, &names.set, &[]).await?;
    match set {
        Some(set) if set.is_of_store(mark) && set.properties.virtual_machines.is_empty() => {
            unless_used(arm, &names.set).await
        }
        _ => Ok(()),
    }
}

async fn network(arm: &Arm<'_>, state: &AzureState, names: &Names, mark: &Mark) -> Result<(), DriverError> {
    let doing = "the virtual network can't be looked at";
    let Some(network) = arm.get::<Resource<Network>>(doing, &names.network, &[]).await? else {
        return Ok(());
    };
    let ours = network.is_of_store(mark);
    let subnets = &network.properties.subnets;
    let used = |name: &str| {
        let subnet = subnets.iter().find(|subnet| same(&subnet.name, name));
        subnet.is_some_and(|subnet| !subnet.properties.ip_configurations.is_empty())
    };
    if used(&state.subnet_name) || !(ours || state.subnet_made) {
        return Ok(());
    }
    // With its last subnet the network goes as a whole.
    if ours && subnets.iter().all(|subnet| same(&subnet.name, &state.subnet_name)) {
        return unless_used(arm, &names.network).await;
    }
    unless_used(arm, &names.subnet).await
}

/// A group of rules that several machines have, made because none of its name was there.
async fn security_group(
    arm: &Arm<'_>,
    state: &AzureState,
    names: &Names,
    mark: &Mark,
) -> Result<(), DriverError> {
    if state.nsg.is_empty() || state.nsg.starts_with('/') {
        return Ok(());
    }
    let doing = "the network security group can't be looked at";
    let Some(group) = arm.get::<Resource<SecurityGroup>>(doing, &names.nsg, &[]).await? else {
        return Ok(());
    };
    let used = !group.properties.network_interfaces.is_empty() || !group.properties.subnets.is_empty();
    if group.is_of_store(mark) && !used { unless_used(arm, &names.nsg).await } else { Ok(()) }
}

/// The resource group, where it is ours and nothing is in it: with it would go everything.
async fn group(arm: &Arm<'_>, cx: &Cx<'_>, names: &Names, mark: &Mark) -> Result<(), DriverError> {
    let doing = format!("the resource group {:?} can't be removed", short(&names.group));
    let group: Option<Resource<Plain>> = arm.get(&doing, &names.group, &[]).await?;
    if !group.is_some_and(|group| group.is_of_store(mark)) {
        return Ok(());
    }
    let removed = [&names.vm, &names.nic, &names.ip, &names.nsg, &names.set, &names.network];
    let removed: Vec<&String> = removed.into_iter().chain(&names.disk).collect();
    if !is_empty(arm, &names.group, |id| removed.iter().any(|gone| same(gone, id))).await? {
        return Ok(());
    }
    if !arm.begin_delete(&doing, &names.group).await? {
        return Ok(());
    }
    let waited = cloud::wait_for(cx.report, "the empty resource group to go", GROUP, || async {
        let there: Option<Resource<Plain>> = arm.get(&doing, &names.group, &[]).await?;
        Ok(if there.is_none() { Seen::Done(()) } else { Seen::NotYet("it is being removed".to_owned()) })
    });
    match waited.await {
        Err(error) if error.kind() == ErrorKind::Unavailable => {
            cx.report.report(Event::Warning(format!("Azure is still removing the resource group: {error}")));
            Ok(())
        }
        other => other,
    }
}

/// Whether nothing is in a resource group. Lists show for a while what has just been removed (`gone` says of an id whether
/// it may be such a thing): that is waited for.
pub(super) async fn is_empty(
    arm: &Arm<'_>,
    group: &str,
    gone: impl Fn(&str) -> bool,
) -> Result<bool, DriverError> {
    let gone = &gone;
    let waited = cloud::wait_for(arm.report, "Azure's list to be up to date", LISTED, || async move {
        let inside = inside(arm, group).await?;
        Ok(match inside.first() {
            None => Seen::Done(true),
            Some(_) if !inside.iter().all(|id| gone(id)) => Seen::Done(false),
            Some(id) => Seen::NotYet(format!("{} is still in it", short(id))),
        })
    });
    match waited.await {
        // Somebody uses one of these after all, or the list is very old: then the group stays.
        Err(error) if error.kind() == ErrorKind::Unavailable => Ok(false),
        other => other,
    }
}

/// The ids of what is in a resource group.
async fn inside(arm: &Arm<'_>, group: &str) -> Result<Vec<String>, DriverError> {
    let doing = format!("the resource group {:?} can't be looked at", short(group));
    let inside: Option<Vec<Resource<Plain>>> = arm.list(&doing, &format!("{group}/resources"), &[]).await?;
    Ok(inside.unwrap_or_default().into_iter().map(|thing| thing.id).collect())
}
