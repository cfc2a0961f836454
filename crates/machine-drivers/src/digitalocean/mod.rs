//! `digitalocean`: droplets of DigitalOcean.
//!
//! A machine is a droplet, a key of the account that was made for it, and, where somebody narrows who may connect, a firewall
//! of its own. What is made has the store's mark (see `mark`).

mod api;
mod check;
mod create;
mod firewall;
mod flags;
mod key;
mod mark;
mod observe;
mod owned;
mod power;
mod remove;
mod state;
#[cfg(test)]
mod tests;
mod trouble;

use std::borrow::Cow;

use async_trait::async_trait;
use machine_core::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec,
    DriverState, FlagValues, Known, Observed, Owned, Power, Prospect,
};

pub use state::DigitalOceanState;

use crate::cloud::{self, Clients, UBUNTU_24_04, image_facts};
use api::Login;

/// The driver's name.
pub const NAME: &str = "digitalocean";

/// The driver.
pub struct DigitalOcean {
    spec: DriverSpec,
    clients: Clients,
}

impl DigitalOcean {
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
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "droplets of DigitalOcean".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities,
            },
            clients: Clients::default(),
        }
    }

    fn login(&self, state: &DigitalOceanState) -> Result<Login, DriverError> {
        Login::of(&self.clients, state)
    }
}

impl Default for DigitalOcean {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for DigitalOcean {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&flags::configure(cx, flags)?)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        Ok(state.typed::<DigitalOceanState>()?.known())
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let wish: DigitalOceanState = wish.typed()?;
        let login = self.login(&wish)?;
        check::check(cx, &login.cloud(cx.report), &wish).await
    }

    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let wish: DigitalOceanState = wish.typed()?;
        let usual = wish.image == flags::DEFAULT_IMAGE;
        Ok(Prospect {
            image: usual.then(|| image_facts(UBUNTU_24_04, "x86_64")),
            user_data: cloud::user_data(flags::USER_DATA_FLAG, &wish.user_data_file)?,
            user_data_limit: Some(check::MOST_USER_DATA),
            ..Prospect::default()
        })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let wish: DigitalOceanState = wish.typed()?;
        let login = self.login(&wish)?;
        create::create(cx, &login.cloud(cx.report), wish, save).await
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state: DigitalOceanState = state.typed()?;
        let login = self.login(&state)?;
        observe::observe(&login.cloud(cx.report), state).await
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        cloud::all_answers(self, hosts).await
    }

    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        let read = |state: &DriverState| {
            let state: DigitalOceanState = state.typed()?;
            let token = state.access_token.expose().to_owned();
            Ok(((token, state.endpoint.clone(), state.ca_cert.clone()), state))
        };
        let list = async |members: Vec<(&Cx<'_>, DigitalOceanState)>| {
            let login = self.login(&members[0].1)?;
            let cloud = login.cloud(members[0].0.report);
            Ok(observe::observe_all(&cloud, members.into_iter().map(|(_, state)| state).collect()).await)
        };
        cloud::each_account(hosts, answer, read, list).await;
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let typed: DigitalOceanState = state.typed()?;
        let login = self.login(&typed)?;
        power::power(&self.spec, &login.cloud(cx.report), &typed, op).await?;
        Ok(state.clone())
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let typed: DigitalOceanState = state.typed()?;
        let login = self.login(&typed)?;
        firewall::narrow(cx, &login.cloud(cx.report), typed, networks).await
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        owned::account(&state.typed()?)
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let login = self.login(&state.typed()?)?;
        owned::owned(&login.cloud(cx.report), cx.store_id).await
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let login = self.login(&state.typed()?)?;
        owned::remove(&login.cloud(cx.report), cx.store_id, owned).await
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state: DigitalOceanState = state.typed()?;
        let login = self.login(&state)?;
        remove::remove(cx, &login.cloud(cx.report), &state).await
    }
}
