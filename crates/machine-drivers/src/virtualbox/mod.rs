//! `virtualbox`: virtual machines by VirtualBox, on this computer.
//!
//! Two ways: by default an image for clouds, made into a machine by a seed for cloud-init, with an address that is known before it boots; and for
//! those who name one, boot2docker's CD.

mod cidr;
mod create;
mod disk;
mod flags;
mod host;
mod network;
mod power;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod vboxmanage;
mod vm;

use std::borrow::Cow;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, FlagValues,
    Known, Observed, Power, Prospect, Resize, Snapshot,
};

pub use state::VirtualboxState;
pub use vboxmanage::find_program;

use vboxmanage::VBoxManage;

/// The driver's name.
pub const NAME: &str = "virtualbox";
/// The login of all its machines.
const USER: &str = "docker";

/// The driver.
pub struct Virtualbox {
    spec: DriverSpec,
}

impl Virtualbox {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            ssh: true,
            pause: true,
            snapshot: true,
            clone: true,
            resize: true,
            user_data: true,
            batch: true,
            ..Capabilities::default()
        };
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "virtual machines by VirtualBox on this computer".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities,
            },
        }
    }
}

impl Default for Virtualbox {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads a record.
fn read(state: &DriverState) -> Result<VirtualboxState, DriverError> {
    state.typed::<VirtualboxState>()?.checked()
}

#[async_trait]
impl Driver for Virtualbox {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&flags::configure(cx, flags)?)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        Ok(state.typed::<VirtualboxState>()?.known())
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        create::check(cx, &read(wish)?).await
    }

    async fn prospect(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        create::prospect(cx, read(wish)?).await
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
        power::observe(cx, read(state)?).await
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        let all: Vec<_> = hosts.iter().map(|(cx, state)| (cx.machine_dir, read(state))).collect();
        power::observe_many(&all).await
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&power::power(cx, read(state)?, op).await?)
    }

    fn clone_wish(
        &self,
        cx: &ConfigureContext<'_>,
        source: &DriverState,
    ) -> Result<DriverState, DriverError> {
        let source = read(source)?;
        if source.uuid.is_empty() || !source.boot2docker_url.is_empty() {
            return Err(self.spec.cannot("clone machines that boot boot2docker"));
        }
        create::clone_wish(cx, source)
    }

    async fn resize(&self, cx: &Cx<'_>, state: &DriverState, to: Resize) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&power::resize(cx, read(state)?, to).await?)
    }

    async fn snapshots(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Vec<Snapshot>, DriverError> {
        snapshot::list(&VBoxManage::find()?, cx, &read(state)?).await
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
        DriverState::from_typed(&snapshot::restore(cx, read(state)?, name).await?)
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
        power::remove(cx, &read(state)?).await
    }
}
