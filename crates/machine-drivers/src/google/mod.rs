//! `google`: virtual machines of Google Compute Engine.
//!
//! The Go driver's flags, JSON and names, what GitLab's and Rancher's forks added, and today's defaults. Everything that
//! is made has a name that is recorded before, and carries the store's mark: labels on instances and disks, the
//! description of firewall rules.

mod api;
mod check;
mod create;
mod credentials;
mod firewall;
mod flags;
mod instance;
mod jwt;
mod location;
mod observe;
mod owned;
mod power;
mod remove;
mod state;
mod surroundings;
#[cfg(test)]
mod tests;
mod token;
mod trouble;

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use machine_core::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec,
    DriverState, FlagValues, Known, Observed, Owned, Power, Prospect, Reporter, Secret,
};
use machine_http::Client;

pub use state::{Backoff, GoogleState};

use crate::cloud::{self, Clients, UBUNTU_24_04, image_facts};
use api::Compute;
use credentials::{Session, Tokens};
use state::ENGINE_PORT;
use surroundings::Surroundings;

/// The driver's name.
pub const NAME: &str = "google";

/// The driver.
pub struct Google {
    spec: DriverSpec,
    clients: Clients,
    tokens: Tokens,
    around: Surroundings,
}

impl Google {
    /// The driver, in this process's environment.
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
                summary: "virtual machines of Google Compute Engine".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities,
            },
            clients: Clients::default(),
            tokens: Tokens::default(),
            around: Surroundings::Process,
        }
    }

    /// The driver, with these variables instead of the process's: `GOOGLE_APPLICATION_CREDENTIALS`, `CLOUDSDK_CONFIG`,
    /// `HOME`, `APPDATA`, `GCE_METADATA_HOST`, `NO_GCE_CHECK`.
    #[must_use]
    pub fn in_environment(variables: BTreeMap<String, String>) -> Self {
        Self { around: Surroundings::Given(variables), ..Self::new() }
    }

    /// Who we are with a machine's credentials, and how we speak.
    fn enter(&self, state: &GoogleState) -> Result<Entrance, DriverError> {
        let client = self.clients.get(&state.ca_cert, "google-ca-cert")?;
        let session = self.tokens.session(state, &self.around, client.clone())?;
        Ok(Entrance { session, client })
    }
}

impl Default for Google {
    fn default() -> Self {
        Self::new()
    }
}

/// What an API is made of.
struct Entrance {
    session: Session,
    client: Client,
}

impl Entrance {
    fn compute<'a>(
        &'a self,
        state: &'a GoogleState,
        report: &'a dyn Reporter,
    ) -> Result<Compute<'a>, DriverError> {
        Compute::new(&self.session, self.client.clone(), state, report)
    }
}

/// What machines have in common that are looked at by one list: who asks, where, the project and the zone. A machine whose
/// zone nobody knows yet is a group of its own: its name is in the place of that.
type Group = ([String; 5], Result<String, String>);

fn group(state: &GoogleState) -> Group {
    let account = [
        state.endpoint.clone(),
        state.ca_cert.clone(),
        state.auth.expose().to_owned(),
        state.application_credentials.clone(),
        state.project.clone(),
    ];
    (account, state.zone().map(ToOwned::to_owned).ok_or_else(|| state.base.machine_name.clone()))
}

impl Google {
    /// Looks at machines of one group.
    async fn look_at_group(
        &self,
        members: Vec<(&Cx<'_>, GoogleState)>,
    ) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
        let [(cx, first), ..] = members.as_slice() else { return Ok(Vec::new()) };
        let entrance = self.enter(first)?;
        let compute = entrance.compute(first, cx.report)?;
        let states: Vec<&GoogleState> = members.iter().map(|(_, state)| state).collect();
        match first.zone() {
            Some(zone) => observe::look_at_all(&compute, zone, &states).await,
            None => observe::look_at_each(&compute, &states).await,
        }
    }
}

#[async_trait]
impl Driver for Google {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        DriverState::from_typed(&flags::wish(cx, flags)?)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let mut state: GoogleState = state.typed()?;
        if state.base.ssh_user.is_empty() {
            "docker-user".clone_into(&mut state.base.ssh_user);
        }
        Ok(Known {
            url: state.base.engine_url(ENGINE_PORT),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: None,
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let state: GoogleState = wish.typed()?;
        check::locally(cx, &state)?;
        let entrance = self.enter(&state)?;
        check::remotely(&entrance.compute(&state, cx.report)?, cx, &state).await
    }

    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let state: GoogleState = wish.typed()?;
        let types = state.flex_machine_types.first().unwrap_or(&state.machine_type);
        let arch = if instance::is_arm(types) { "aarch64" } else { "x86_64" };
        let default = !state.use_existing && flags::is_default_image(&state.machine_image);
        let mut given = instance::given_metadata(&state)?;
        let user_data = match given.remove(instance::USER_DATA) {
            Some(text) => Some(Secret::new(text)),
            None => cloud::user_data("google-userdata", &state.userdata)?,
        };
        Ok(Prospect {
            image: default.then(|| image_facts(UBUNTU_24_04, arch)),
            // An instance that runs already reads no more than its key.
            seedless: state.use_existing,
            user_data,
            user_data_limit: Some(instance::MAX_VALUE),
            ..Prospect::default()
        })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let state: GoogleState = wish.typed()?;
        let entrance = self.enter(&state)?;
        let compute = entrance.compute(&state, cx.report)?;
        DriverState::from_typed(&create::create(&compute, cx, state.clone(), save).await?)
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state: GoogleState = state.typed()?;
        let entrance = self.enter(&state)?;
        observe::look(&entrance.compute(&state, cx.report)?, &state).await
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        cloud::all_answers(self, hosts).await
    }

    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        let read = |state: &DriverState| {
            let state: GoogleState = state.typed()?;
            Ok((group(&state), state))
        };
        cloud::each_account(hosts, answer, read, |members| self.look_at_group(members)).await;
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let state: GoogleState = state.typed()?;
        let entrance = self.enter(&state)?;
        let compute = entrance.compute(&state, cx.report)?;
        DriverState::from_typed(&power::power(&compute, state.clone(), op).await?)
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let state: GoogleState = state.typed()?;
        let entrance = self.enter(&state)?;
        let compute = entrance.compute(&state, cx.report)?;
        let mut now = state.clone();
        firewall::narrow(&compute, cx, &mut now, networks).await?;
        DriverState::from_typed(&now)
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        let state: GoogleState = state.typed()?;
        Ok(match state.endpoint.as_str() {
            "" => state.project,
            endpoint => format!("{endpoint}/{}", state.project),
        })
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let state: GoogleState = state.typed()?;
        let entrance = self.enter(&state)?;
        owned::list(&entrance.compute(&state, cx.report)?, cx).await
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let state: GoogleState = state.typed()?;
        let entrance = self.enter(&state)?;
        owned::remove(&entrance.compute(&state, cx.report)?, cx, &state, owned).await
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state: GoogleState = state.typed()?;
        if create::is_untouched(&state) {
            return Ok(());
        }
        let entrance = self.enter(&state)?;
        let compute = entrance.compute(&state, cx.report)?;
        remove::remove(&compute, cx, &mut state.clone()).await
    }
}
