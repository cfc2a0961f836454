//! `vmwarefusion`: virtual machines in VMware Fusion (macOS) and Workstation (Linux, Windows), by `vmrun`.
//!
//! A machine is its configuration, `NAME.vmx` in the machine's folder. `vmrun` tells which machines are on; what else it
//! does not tell is read from VMware's own files: the configuration, the leases of its DHCP server, the snapshots' list.
//! Nothing is done in the guest by `vmrun`: that would take a password as an argument.

mod create;
mod disk;
mod flags;
mod leases;
mod programs;
mod run;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod vmx;

use std::borrow::Cow;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, FlagValues,
    Known, Observed, Power, Prospect, Resize, Snapshot,
};

pub use state::VmwareFusionState;

/// The driver's name.
pub const NAME: &str = "vmwarefusion";

/// The driver.
pub struct VmwareFusion {
    spec: DriverSpec,
}

impl VmwareFusion {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "virtual machines on this computer, in VMware Fusion or Workstation".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities: Capabilities {
                    ssh: true,
                    pause: true,
                    snapshot: true,
                    clone: true,
                    resize: true,
                    user_data: true,
                    batch: true,
                    ..Capabilities::default()
                },
            },
        }
    }
}

impl Default for VmwareFusion {
    fn default() -> Self {
        Self::new()
    }
}

fn read(state: &DriverState) -> Result<VmwareFusionState, DriverError> {
    state.typed()
}

#[async_trait]
impl Driver for VmwareFusion {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&flags::wish(cx, flags)?)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let mut state = read(state)?;
        state.base.ssh_key_path = state.key_path().to_string_lossy().into_owned();
        if state.base.ssh_user.is_empty() {
            state.base.ssh_user = state::SSH_USER.to_owned();
        }
        Ok(Known {
            ip: state.base.ip_address.clone(),
            url: state.base.engine_url(state::ENGINE_PORT),
            ssh: state.base.ssh(),
            engine_port: None,
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        create::check(cx, &read(wish)?).await
    }

    /// The address is known only once VMware has started the machine, so nothing can be said of the image: the engine's
    /// certificate has to wait.
    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        Ok(Prospect { seedless: read(wish)?.is_boot2docker(), ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        create::create(cx, read(&wish)?, save).await
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        run::observe(cx, state).await
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        run::observe_many(hosts).await
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        run::power(cx, read(state)?, op).await
    }

    fn clone_wish(
        &self,
        cx: &ConfigureContext<'_>,
        source: &DriverState,
    ) -> Result<DriverState, DriverError> {
        let source = read(source)?;
        if source.is_boot2docker() {
            return Err(self.spec.cannot("clone machines that boot boot2docker"));
        }
        create::clone_wish(cx, source)
    }

    async fn resize(&self, cx: &Cx<'_>, state: &DriverState, to: Resize) -> Result<DriverState, DriverError> {
        run::resize(cx, read(state)?, to).await
    }

    async fn snapshots(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Vec<Snapshot>, DriverError> {
        snapshot::list(cx, &read(state)?).await
    }

    async fn take_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        snapshot::take(cx, &read(state)?, name).await?;
        Ok(state.clone())
    }

    async fn restore_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        snapshot::restore(cx, read(state)?, name).await
    }

    async fn remove_snapshot(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        snapshot::remove(cx, &read(state)?, name).await?;
        Ok(state.clone())
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        run::remove(cx, &read(state)?).await
    }
}
