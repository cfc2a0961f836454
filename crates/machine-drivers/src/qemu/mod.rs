//! `qemu`: a virtual machine on this computer.
//!
//! The machine's files are in its folder: an overlay on a cached image, the seed for cloud-init, QEMU's sockets and logs. QEMU runs in
//! the background, without a daemon of ours; ports of 127.0.0.1 are forwarded to the guest's SSH server and engine.

mod accel;
mod check;
mod command;
mod disk;
mod flags;
mod launch;
mod look;
mod monitor;
mod mount;
mod network;
mod platform;
mod ports;
mod power;
mod process;
mod publish;
mod qmp;
mod run;
mod serial;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod trouble;
mod watch;

use std::borrow::Cow;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, ErrorKind,
    FlagValues, Known, Observed, Power, PowerSupport, Prospect, Resize, Snapshot,
};
use machine_image::Cache;

pub use state::{Direct, Hardware, QemuState};

use run::Run;
use state::{ENGINE_PORT, Files, KEY_FILE};

/// The driver's name.
pub const NAME: &str = "qemu";

/// The driver.
pub struct Qemu {
    spec: DriverSpec,
}

impl Qemu {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "a virtual machine on this computer, by QEMU".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities: Capabilities {
                    ssh: true,
                    start: PowerSupport::Driver,
                    stop: PowerSupport::Driver,
                    restart: PowerSupport::Driver,
                    kill: PowerSupport::Driver,
                    pause: true,
                    snapshot: true,
                    clone: true,
                    resize: true,
                    user_data: true,
                    ..Capabilities::default()
                },
            },
        }
    }
}

impl Default for Qemu {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for Qemu {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&flags::wish(cx, flags)?)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state: QemuState = state.typed()?;
        Ok(Known {
            url: if state.engine_port == 0 {
                String::new()
            } else {
                state.base.engine_url(state.engine_port)
            },
            ssh: state.ssh(),
            ip: state.base.ip_address,
            engine_port: Some(ENGINE_PORT),
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        check::check(cx, &wish.typed()?)
    }

    async fn prospect(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let wish: QemuState = wish.typed()?;
        // What is on another machine's disk by now, nobody knows.
        let image = match wish.clone_of.is_empty() {
            true => disk::cache(cx, &wish).find(&wish.image, wish.arch()?)?,
            false => None,
        };
        Ok(Prospect {
            image: image.and_then(|image| image.facts),
            private: true,
            mounts: mount::for_the_guest(&wish)?,
            ..Prospect::default()
        })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let mut state: QemuState = wish.typed()?;
        create(cx, &mut state, save).await?;
        DriverState::from_typed(&state)
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        look::look(cx, state).await
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let mut state: QemuState = state.typed()?;
        power::power(cx, &mut state, &Files::new(cx.machine_dir), op).await?;
        DriverState::from_typed(&state)
    }

    fn clone_wish(
        &self,
        cx: &ConfigureContext<'_>,
        source: &DriverState,
    ) -> Result<DriverState, DriverError> {
        let source: QemuState = source.typed()?;
        let mut base = source.base.clone();
        let here = ConfigureContext { name: cx.name, store_path: cx.store_path };
        let source_dir = cx.store_path.join("machines").join(&base.machine_name);
        base.machine_name = cx.name.to_string();
        base.store_path = cx.store_path.to_string_lossy().into_owned();
        base.ssh_key_path = state::machine_dir(&here).join(KEY_FILE).to_string_lossy().into_owned();
        base.ssh_port = 0;
        DriverState::from_typed(&QemuState {
            base,
            engine_port: 0,
            ssh_port_wanted: 0,
            engine_port_wanted: 0,
            monitor_ports: [0; 2],
            // Two machines can't have the same ports of this computer.
            publish: Vec::new(),
            accel_used: String::new(),
            uuid: String::new(),
            clone_of: source_dir.to_string_lossy().into_owned(),
            booted_directly: false,
            snapshots: std::collections::BTreeMap::new(),
            ..source
        })
    }

    async fn resize(&self, cx: &Cx<'_>, state: &DriverState, to: Resize) -> Result<DriverState, DriverError> {
        let mut state: QemuState = state.typed()?;
        resize(&mut state, &Files::new(cx.machine_dir), to).await?;
        DriverState::from_typed(&state)
    }

    async fn snapshots(&self, cx: &Cx<'_>, _state: &DriverState) -> Result<Vec<Snapshot>, DriverError> {
        snapshot::list(&Files::new(cx.machine_dir)).await
    }

    async fn take_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let mut state: QemuState = state.typed()?;
        snapshot::take(cx, &mut state, &Files::new(cx.machine_dir), name).await?;
        DriverState::from_typed(&state)
    }

    async fn restore_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let mut state: QemuState = state.typed()?;
        snapshot::restore(cx, &mut state, &Files::new(cx.machine_dir), name).await?;
        DriverState::from_typed(&state)
    }

    async fn remove_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let mut state: QemuState = state.typed()?;
        snapshot::remove(cx, &mut state, &Files::new(cx.machine_dir), name).await?;
        DriverState::from_typed(&state)
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let files = Files::new(cx.machine_dir);
        if process::find(&files.pid())?.is_some() {
            // A record that can't be read is no reason to let it run.
            match state.typed::<QemuState>() {
                Ok(state) => power::end(&state, &files).await?,
                Err(_) => process::kill(&files.pid()).await?,
            }
        }
        disk::remove(&files.disk())?;
        // One that an interrupted call had only just started may have come up meanwhile. Without a disk none does any more.
        process::kill(&files.pid()).await?;
        for file in files.all() {
            disk::remove(&file)?;
        }
        Ok(Cache::of_store(cx.store_path).released_by(cx.machine_dir)?)
    }
}

/// Makes the machine; each step first looks whether it is done.
async fn create(cx: &Cx<'_>, state: &mut QemuState, save: &mut dyn Checkpoint) -> Result<(), DriverError> {
    let files = Files::new(cx.machine_dir);
    let mut keep = |state: &QemuState| save.save(&DriverState::from_typed(state)?);
    if process::find(&files.pid())?.is_some() {
        Run::bring_up(state, &files);
        keep(state)?;
        if launch::goes_on(cx, state, &files).await? {
            return Ok(());
        }
    }
    if state.uuid.is_empty() {
        state.uuid = state::new_uuid()?;
    }
    keep(state)?;
    if !files.disk().is_file() {
        if state.clone_of.is_empty() {
            let image = disk::image(cx, state).await?;
            state.booted_directly = state.direct_boot.is_some() && state.firmware.is_empty();
            keep(state)?;
            disk::overlay(cx, state, &files, &image).await?;
        } else {
            disk::copy(cx, state, &files).await?;
        }
    }
    if let Some(seed) = cx.seed {
        disk::seed(cx, state, &files, seed)?;
    }
    launch::start(cx, state, &files, &mut keep).await
}

async fn resize(state: &mut QemuState, files: &Files, to: Resize) -> Result<(), DriverError> {
    if process::find(&files.pid())?.is_some() {
        return Err(DriverError::new(ErrorKind::Other, "the machine must be off to get other sizes")
            .with_hint(format!("stop it first: docker-machine stop {}", state.base.machine_name)));
    }
    if let Some(cpus) = to.cpus {
        state.cpu = i64::from(cpus.max(1));
    }
    if let Some(memory) = to.memory_mib {
        if memory < flags::MIN_MEMORY.unsigned_abs() {
            return Err(DriverError::new(
                ErrorKind::Config,
                format!("{memory} MiB are too little memory: {} MiB or more", flags::MIN_MEMORY),
            ));
        }
        state.memory = memory;
    }
    if let Some(size) = to.disk_mib {
        machine_image::disk::resize(&files.disk(), machine_image::disk::Format::Qcow2, size).await?;
        state.disk_size = size;
    }
    Ok(())
}
