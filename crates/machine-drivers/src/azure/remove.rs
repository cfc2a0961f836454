//! Taking away a machine and exactly what was made for it.

use std::time::Duration;

use machine_core::{Cx, DriverError, Event};
use machine_http::api::Seen;

use super::arm::{Arm, trouble};
use super::lock;
use super::model::{AvailabilitySet, Disk, Interface, Network, Plain, Resource, SecurityGroup, Vm};
use super::names::{Names, mark, same};
use super::state::AzureState;
use crate::cloud::{self, MACHINE_KEY, Mark, STORE_KEY};

/// How long a network interface stays reserved for a machine that could not be made: 180 s, and what it takes to see that.
const RESERVED: Duration = Duration::from_secs(240);
/// The management of storage accounts names a file's place in its address: `https://ACCOUNT.blob.…/CONTAINER/FILE`.
const BLOB: &str = ".blob.";

/// Removes it all. What is gone is gone. The resource group stays: with it would go whatever anybody has put into it since.
pub(super) async fn remove(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<(), DriverError> {
    let names = Names::of(state, &arm.subscription);
    let unmarked = state.store_id.is_empty();
    // A record of ours that docker/machine wrote again has lost the store's id; its machine still has the mark.
    let mark = if unmarked { Mark::of(cx) } else { mark(state) };
    let own = Own::look(arm, cx, state, &names, &mark).await?;
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
    if unmarked {
        return Ok(());
    }
    let held = lock::removing(cx.store_path, &state.subscription_id, cx.report).await?;
    if held.is_none() {
        cx.report.report(Event::DriverLine(
            "Other machines are being made: what they may share is left for the next `rm`".to_owned(),
        ));
        return Ok(());
    }
    shared(arm, state, &names, &mark).await
}

/// What there is of a machine, and is its own.
struct Own {
    vm: Option<Resource<Vm>>,
    nic: bool,
    ip: bool,
    nsg: bool,
}

impl Own {
    /// Looks at each under its name. What has no mark of ours is somebody else's, with two exceptions: docker/machine's have
    /// none, and tags can be lost, but not the disk that a machine is on, nor what hangs on that machine.
    async fn look(
        arm: &Arm<'_>,
        cx: &Cx<'_>,
        state: &AzureState,
        names: &Names,
        mark: &Mark,
    ) -> Result<Self, DriverError> {
        let (vm, nic, ip, nsg) = tokio::join!(
            arm.get::<Resource<Vm>>(LOOKING, &names.vm, &[]),
            arm.get::<Resource<Interface>>(LOOKING, &names.nic, &[]),
            plain(arm, !state.no_public_ip, &names.ip),
            plain(arm, state.nsg.is_empty(), &names.nsg),
        );
        let (vm, nic) = (vm?, nic?);
        let whose = Whose { cx, mark, unmarked: state.store_id.is_empty() };
        let on_disk = vm.as_ref().is_some_and(|vm| vm.properties.is_on_disk(&state.os_disk_name));
        let is_vm = whose.is_ours(vm.as_ref(), on_disk);
        let hangs_on = |vm: &Resource<Vm>| {
            vm.properties.network_profile.network_interfaces.iter().any(|one| same(&one.id, &names.nic))
        };
        let is_nic = whose.is_ours(nic.as_ref(), is_vm && vm.as_ref().is_some_and(hangs_on));
        let of_nic = nic.as_ref().filter(|_| is_nic).map(|nic| &nic.properties);
        let has_ip = of_nic.is_some_and(|nic| {
            nic.ip_configurations.iter().any(|ip| same(&ip.properties.public_ip_address.id, &names.ip))
        });
        let has_nsg = of_nic.is_some_and(|nic| same(&nic.network_security_group.id, &names.nsg));
        let (ip, nsg) = (whose.is_ours(ip?.as_ref(), has_ip), whose.is_ours(nsg?.as_ref(), has_nsg));
        Ok(Self { vm: vm.filter(|_| is_vm), nic: is_nic, ip, nsg })
    }
}

/// By what the machine's own things are known.
struct Whose<'a> {
    cx: &'a Cx<'a>,
    mark: &'a Mark,
    /// docker/machine made it: its things have no marks.
    unmarked: bool,
}

impl Whose<'_> {
    /// Whether something is the machine's own; `proved` where it is so whatever its tags say. What is left alone is said.
    fn is_ours<P>(&self, thing: Option<&Resource<P>>, proved: bool) -> bool {
        let Some(thing) = thing else { return false };
        if proved || thing.is_of(self.mark) || (self.unmarked && !thing.is_marked()) {
            return true;
        }
        self.cx.report.report(Event::Warning(format!(
            "{} is there, but does not carry this machine's mark (the tags {STORE_KEY} and {MACHINE_KEY}): it is left alone",
            thing.id
        )));
        false
    }
}

const LOOKING: &str = "what there is of the machine can't be looked at";

async fn plain(arm: &Arm<'_>, wanted: bool, id: &str) -> Result<Option<Resource<Plain>>, DriverError> {
    if wanted { arm.get(LOOKING, id, &[]).await } else { Ok(None) }
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
async fn shared(arm: &Arm<'_>, state: &AzureState, names: &Names, mark: &Mark) -> Result<(), DriverError> {
    let (set, network, nsg) = tokio::join!(
        availability_set(arm, state, names, mark),
        network(arm, state, names, mark),
        security_group(arm, state, names, mark),
    );
    set?;
    network?;
    nsg
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
