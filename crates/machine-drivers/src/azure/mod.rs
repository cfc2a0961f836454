//! `azure`: virtual machines of Microsoft Azure, by its Resource Manager.

mod arm;
mod catalogue;
mod check;
mod create;
mod credentials;
mod environment;
mod firewall;
mod flags;
mod image;
mod lock;
mod model;
mod names;
mod observe;
mod owned;
mod power;
mod remove;
mod state;
#[cfg(test)]
mod tests;
mod trouble;

use std::borrow::Cow;
use std::path::Path;

use async_trait::async_trait;
use machine_core::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec,
    DriverState, ErrorKind, FlagValues, Known, Observed, Owned, Power, Prospect, Reporter,
};

pub use catalogue::{MarketplaceImage, PUBLISHERS, images};
pub use state::AzureState;

use crate::cloud::{self, Clients};
use arm::Arm;
use credentials::{SignIn, Tokens};
use names::Names;

/// The driver's name.
pub const NAME: &str = "azure";

/// The driver.
pub struct Azure {
    spec: DriverSpec,
    clients: Clients,
    tokens: Tokens,
    looked: check::Looked,
}

impl Azure {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            ssh: true,
            user_data: true,
            batch: true,
            firewall: true,
            marks: true,
            ..Capabilities::default()
        };
        let spec = DriverSpec {
            name: NAME.into(),
            summary: "virtual machines of Microsoft Azure".into(),
            flags: Cow::Borrowed(flags::FLAGS),
            capabilities,
        };
        Self {
            spec,
            clients: Clients::default(),
            tokens: Tokens::default(),
            looked: check::Looked::default(),
        }
    }

    /// Signs in where a machine's record says. `ask` says whether a person may be asked to open a page.
    async fn arm<'a>(
        &self,
        state: &AzureState,
        store: &Path,
        report: &'a dyn Reporter,
        ask: bool,
    ) -> Result<Arm<'a>, DriverError> {
        let client = self.clients.get(&state.ca_cert, flags::CA_CERT)?;
        let sign_in = SignIn::new(client, &self.tokens, state, store, report, ask)?;
        Ok(Arm::new(sign_in.granted().await?, &state.subscription_id, report))
    }

    async fn arm_of<'a>(&self, cx: &Cx<'a>, state: &AzureState) -> Result<Arm<'a>, DriverError> {
        self.arm(state, cx.store_path, cx.report, true).await
    }
}

impl Default for Azure {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for Azure {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        flags::configure(cx, flags)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state = AzureState::read(state)?;
        Ok(Known {
            ip: state.base.ip_address.clone(),
            url: state.base.engine_url(if state.docker_port == 0 { 2376 } else { state.docker_port }),
            ssh: state.base.ssh(),
            engine_port: None,
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let state = AzureState::of_machine(wish)?;
        check::files(&state)?;
        let arm = self.arm_of(cx, &state).await?;
        let group = check::check(&arm, cx, &state).await?;
        self.looked.keep(&Names::of(&state, &arm.subscription).vm, group);
        Ok(())
    }

    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let state = AzureState::of_machine(wish)?;
        Ok(Prospect {
            image: image::facts(&state.image),
            user_data: cloud::user_data(flags::CUSTOM_DATA, &state.custom_data_file)?,
            user_data_limit: Some(create::MAX_CUSTOM_DATA),
            ..Prospect::default()
        })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let state = AzureState::of_machine(&wish)?;
        let arm = self.arm_of(cx, &state).await?;
        let looked = self.looked.take(&Names::of(&state, &arm.subscription).vm);
        create::create(&arm, cx, state, looked, save).await
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state = AzureState::of_machine(state)?;
        observe::is_made(&state)?;
        let arm = self.arm_of(cx, &state).await?;
        observe::observe(&arm, state).await
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        cloud::all_answers(self, hosts).await
    }

    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        let read = |state: &DriverState| {
            let state = AzureState::of_machine(state)?;
            Ok((observe::account(&state), state))
        };
        let list = async |members: Vec<(&Cx<'_>, AzureState)>| {
            let (cx, first) = &members[0];
            // A list is no time to ask somebody to sign in.
            let arm = self.arm(first, cx.store_path, cx.report, false).await?;
            observe::observe_all(&arm, members.into_iter().map(|(_, state)| state).collect()).await
        };
        cloud::each_account(hosts, answer, read, list).await;
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        if matches!(op, Power::Pause | Power::Resume) {
            return Err(crate::power::unsupported(&self.spec, op));
        }
        let state = AzureState::of_machine(state)?;
        observe::is_made(&state)?;
        let arm = self.arm_of(cx, &state).await?;
        power::power(&arm, cx, state, op).await
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let state = AzureState::of_machine(state)?;
        let arm = self.arm_of(cx, &state).await?;
        firewall::narrow(&arm, cx, state, networks).await
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        let state = AzureState::of_machine(state)?;
        let cloud = if state.endpoint.is_empty() { &state.environment } else { &state.endpoint };
        Ok(format!("{cloud}/{}", state.subscription_id))
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let state = AzureState::of_machine(state)?;
        let arm = self.arm(&state, cx.store_path, cx.report, true).await?;
        owned::owned(cx, &arm).await
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let state = AzureState::of_machine(state)?;
        let arm = self.arm(&state, cx.store_path, cx.report, true).await?;
        owned::remove(cx, &arm, &state, owned).await
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state = AzureState::read(state)?;
        if state.resource_group.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Config,
                "new azure driver uses the new Azure Resource Manager APIs and therefore cannot manage this existing machine created with old azure driver. Please downgrade to docker-machine 0.6.0 to continue using these machines or to remove them",
            )
            .with_hint("the API that made it is gone; `docker-machine rm -f` forgets the machine"));
        }
        if state.is_untouched() {
            return Ok(());
        }
        let arm = self.arm_of(cx, &state).await?;
        remove::remove(&arm, cx, &state).await
    }
}
