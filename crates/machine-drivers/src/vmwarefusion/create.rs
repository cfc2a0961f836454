//! Making a machine.

use std::path::Path;

use machine_core::{Checkpoint, ConfigureContext, Cx, DriverError, DriverState, ErrorKind, Event, Secret};
use machine_image::{Arch, Cache, disk as image_disk};

use super::programs::Programs;
use super::run;
use super::state::VmwareFusionState;
use super::{disk, flags};
use crate::base::Base;
use crate::boot2docker;

/// Whether `create` can succeed.
///
/// # Errors
/// What stands in the way, in the reference program's words where it has some.
pub(super) async fn check(cx: &Cx<'_>, wish: &VmwareFusionState) -> Result<(), DriverError> {
    let programs = Programs::find()?;
    let running = programs.running().await?;
    if wish.is_boot2docker() {
        if Arch::host() == Arch::Aarch64 {
            return Err(DriverError::new(
                ErrorKind::Precreate,
                "boot2docker is for x86_64, which VMware does not run on this computer",
            )
            .with_hint(
                "leave --vmwarefusion-boot2docker-url out: the machine is then made of a cloud image",
            ));
        }
        boot2docker::fetch(cx, &wish.boot2docker_url).await?;
    }
    if !wish.config_drive_url.is_empty() {
        disk::fetch_config_drive(cx, &wish.config_drive_url).await?;
        if !wish.is_boot2docker() {
            cx.report.report(Event::Notice(
                "The configuration drive is put in beside our own; cloud-init reads ours.".to_owned(),
            ));
        }
    }
    if !wish.clone_of_vmx.is_empty() {
        disk::clone_source(wish)?;
        if run::is_among(Path::new(&wish.clone_of_vmx), &running) {
            return Err(DriverError::new(
                ErrorKind::Precreate,
                format!("the machine of {} is not off", wish.clone_of_vmx),
            )
            .with_hint("stop it first: the disk of a machine that runs changes while it is copied"));
        }
        return Ok(());
    }
    image_disk::program()?;
    if !wish.is_boot2docker() {
        Cache::of_store(cx.store_path).for_hardware().fetch(&wish.image, Arch::host(), cx.report).await?;
    }
    Ok(())
}

/// Makes the machine, or goes on with it.
///
/// # Errors
/// What failed; what was made is found again by the next call, and by `remove`.
pub(super) async fn create(
    cx: &Cx<'_>,
    mut state: VmwareFusionState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let programs = Programs::find()?;
    flags::places(&mut state);
    save.save(&DriverState::from_typed(&state)?)?;
    let vmx = state.vmx(cx);
    if !vmx.exists() {
        cx.report.report(Event::DriverLine("Creating VM...".to_owned()));
        disk::make(cx, &state, &vmx).await?;
        save.save(&DriverState::from_typed(&state)?)?;
    }
    let turn = run::turn(cx).await?;
    if !run::is_among(&vmx, &programs.running().await?) {
        cx.report.report(Event::DriverLine(format!("Starting {}...", cx.name)));
        programs.start(&vmx).await?;
    } else if state.paused {
        programs.unpause(&vmx).await?;
    }
    drop(turn);
    state.paused = false;
    state.base.ip_address = run::wait_for_address(&programs, cx, &state).await?;
    let state = DriverState::from_typed(&state)?;
    save.save(&state)?;
    Ok(state)
}

/// The wish for a copy of a machine.
pub(super) fn clone_wish(
    cx: &ConfigureContext<'_>,
    source: VmwareFusionState,
) -> Result<DriverState, DriverError> {
    let vmx = source.folder().join(format!("{}.vmx", source.base.machine_name));
    let base = Base {
        ssh_user: source.base.ssh_user.clone(),
        ssh_port: source.base.ssh_port,
        swarm_host: source.base.swarm_host.clone(),
        ..Base::new(cx)
    };
    let mut wish = VmwareFusionState {
        base,
        clone_of_vmx: vmx.to_string_lossy().into_owned(),
        paused: false,
        ssh_password: Secret::new(source.ssh_password.expose()),
        ..source
    };
    flags::places(&mut wish);
    DriverState::from_typed(&wish)
}
