//! Making a machine.

use machine_core::{Checkpoint, ConfigureContext, Cx, DriverError, DriverState, ErrorKind, Event, State};
use machine_image::{Arch, Cache, disk as image_disk};
use serde::Deserialize;
use serde_json::Value;

use super::disk::{self, MIB, Media, path};
use super::powershell::{Operation, PowerShell};
use super::run::{self, Host};
use super::state::HypervState;
use super::vm::{self, Check, Listing};
use crate::base::Base;
use crate::boot2docker;

/// A text that PowerShell must give back as it is.
const GIVEN: &str = "it's $(1) \"data\" \u{e9}";

/// Whether `create` can succeed.
///
/// # Errors
/// What stands in the way, in the reference program's words where it has some.
pub(super) async fn check(cx: &Cx<'_>, wish: &HypervState) -> Result<(), DriverError> {
    let shell = PowerShell::find()?;
    let check = usable(&shell).await?;
    switch(&check, wish)?;
    let listing: Listing = shell.ask(Operation::LIST, &[]).await?;
    if let Some(vm) = listing.machines.iter().find(|vm| vm.has_name(cx.name.as_str())) {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("Hyper-V has a machine \"{}\" already ({})", vm.name, vm.path),
        )
        .with_hint("choose another name, or remove that machine in the Hyper-V Manager"));
    }
    if wish.is_boot2docker() {
        return boot2docker::fetch(cx, &wish.boot2docker_url).await.map(drop);
    }
    if !wish.clone_of.is_empty() {
        return disk::clone_source(&shell, wish).await.map(drop);
    }
    image_disk::program()?;
    Cache::of_store(cx.store_path).fetch(&wish.image, Arch::host(), cx.report).await?;
    Ok(())
}

/// Whether Hyper-V is there for this user.
async fn usable(shell: &PowerShell) -> Result<Check, DriverError> {
    let check: Check = shell.ask(Operation::CHECK, &[("GIVEN", GIVEN.to_owned())]).await?;
    if check.given != GIVEN {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            "PowerShell does not get the environment that it is given",
        )
        .with_hint("in a Linux subsystem of Windows use the docker-machine for Windows"));
    }
    if !check.module {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            "Hyper-V PowerShell Module is not available",
        )
        .with_hint(
            "as Administrator: Enable-WindowsOptionalFeature -Online -FeatureName Microsoft-Hyper-V -All, then \
             restart the computer",
        ));
    }
    if !check.administrator && !check.member {
        return Err(DriverError::new(
            ErrorKind::Credentials,
            "Hyper-v commands have to be run as an Administrator",
        )
        .with_hint(
            "run it as Administrator, or become a member of the group Hyper-V Administrators and log in again",
        ));
    }
    Ok(check)
}

/// The switch for the machine.
fn switch(check: &Check, wish: &HypervState) -> Result<String, DriverError> {
    let names = || check.switches.iter().map(|switch| switch.name.as_str()).collect::<Vec<_>>().join(", ");
    if !wish.switch.is_empty() {
        let found = check.switches.iter().find(|switch| switch.name == wish.switch);
        return found.map(|switch| switch.name.clone()).ok_or_else(|| {
            DriverError::new(ErrorKind::Precreate, format!("vswitch {:?} not found", wish.switch))
                .with_hint(format!("there are: {}", names()))
        });
    }
    let chosen = vm::choose(&check.switches, wish.is_boot2docker());
    chosen.map(|switch| switch.name.clone()).ok_or_else(|| {
        DriverError::new(
            ErrorKind::Precreate,
            "no External vswitch found. A valid vswitch must be available for this command to run. \
             Check https://docs.docker.com/machine/drivers/hyper-v/",
        )
        .with_hint("make one in the Hyper-V Manager (Virtual Switch Manager), or name one by --hyperv-virtual-switch")
    })
}

/// Makes the machine, or goes on with it.
///
/// # Errors
/// What failed; what was made is found again by the next call, and by `remove`.
pub(super) async fn create(
    cx: &Cx<'_>,
    mut state: HypervState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let shell = PowerShell::find()?;
    if state.base.ssh_key_path.is_empty() {
        state.base.ssh_key_path = path(&state.key_path());
    }
    save.save(&DriverState::from_typed(&state)?)?;
    let host = Host::new(&shell, cx, &state);
    let off = |vm: &Option<vm::Vm>| vm.as_ref().is_none_or(|vm| vm.state() == State::Stopped);
    // The long part first, while others may have their turn.
    let (_, vm) = host.look().await?;
    let media = if off(&vm) { Some(disk::prepare(&shell, cx, &state).await?) } else { None };
    let turn = run::turn(cx).await?;
    let vm = match vm {
        Some(vm) => vm,
        None => make(&host, cx, &state).await?,
    };
    state.vm_id = vm.id.clone();
    save.save(&DriverState::from_typed(&state)?)?;
    match (vm.state(), media) {
        (State::Stopped, Some(media)) => {
            configure(&shell, &state, &media).await?;
            cx.report.report(Event::DriverLine("Starting VM...".to_owned()));
            run::change(&shell, &state.vm_id, "start").await?;
        }
        (State::Paused, _) => run::change(&shell, &state.vm_id, "resume").await?,
        (State::Saved, _) => run::change(&shell, &state.vm_id, "start").await?,
        _ => {}
    }
    drop(turn);
    state.base.ip_address = run::wait_for_address(&shell, cx, &state).await?;
    let state = DriverState::from_typed(&state)?;
    save.save(&state)?;
    Ok(state)
}

#[derive(Deserialize)]
struct Made {
    id: String,
}

/// Makes the virtual machine itself. Where the answer gets lost, the next call finds the machine by name and folder.
async fn make(host: &Host<'_>, cx: &Cx<'_>, state: &HypervState) -> Result<vm::Vm, DriverError> {
    let switch = switch(&usable(host.shell).await?, state)?;
    cx.report.report(Event::DriverLine("Creating VM...".to_owned()));
    cx.report.report(Event::DriverLine(format!("Using switch {switch:?}")));
    let values = [
        ("NAME", cx.name.to_string()),
        ("FOLDER", path(cx.machine_dir)),
        ("GENERATION", state.generation().to_string()),
        ("MEMORY_BYTES", (state.mem_size * MIB).to_string()),
        ("SWITCH", switch),
    ];
    let made: Made = host.shell.ask(Operation::NEW, &values).await?;
    let listing: Listing = host.shell.ask(Operation::LIST, &[]).await?;
    let vm = listing.machines.into_iter().find(|vm| vm.id.eq_ignore_ascii_case(&made.id));
    vm.ok_or_else(|| {
        DriverError::new(
            ErrorKind::NotFound,
            format!("Hyper-V made a machine {} and does not have it", made.id),
        )
    })
}

/// Gives the machine its disks and settings.
async fn configure(shell: &PowerShell, state: &HypervState, media: &Media) -> Result<(), DriverError> {
    let yes = |on: bool| if on { "yes" } else { "no" }.to_owned();
    let values = [
        ("ID", state.vm_id.clone()),
        ("STATIC_MEMORY", yes(state.disable_dynamic_memory)),
        ("CPUS", state.cpu.max(1).to_string()),
        ("MAC", state.mac_addr.clone()),
        ("VLAN", state.vlan_id.to_string()),
        ("DISK", path(&media.disk)),
        ("DVD", media.dvd.as_deref().map(path).unwrap_or_default()),
        ("SECURE_BOOT", yes(state.secure_boot)),
    ];
    let _: Value = shell.ask(Operation::CONFIGURE, &values).await?;
    Ok(())
}

/// The wish for a copy of a machine.
pub(super) fn clone_wish(cx: &ConfigureContext<'_>, source: HypervState) -> Result<DriverState, DriverError> {
    let folder = source.folder();
    let base = Base {
        ssh_user: source.base.ssh_user.clone(),
        swarm_host: source.base.swarm_host.clone(),
        ..Base::new(cx)
    };
    let mut wish = HypervState {
        base,
        clone_of: source.base.machine_name.clone(),
        clone_of_folder: path(&folder),
        vm_id: String::new(),
        // Two machines with one address would not both be reached.
        mac_addr: String::new(),
        ..source
    };
    wish.base.ssh_key_path = path(&wish.key_path());
    DriverState::from_typed(&wish)
}
