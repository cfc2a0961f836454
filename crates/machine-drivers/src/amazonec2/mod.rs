//! `amazonec2`: instances of Amazon's Elastic Compute Cloud, and of what speaks its API.

mod api;
mod check;
mod create;
mod credentials;
mod endpoint;
mod flags;
mod image;
mod network;
mod observe;
mod owned;
mod power;
mod remove;
mod request;
mod session;
mod settle;
mod sign;
mod state;
#[cfg(test)]
mod tests;
mod trouble;
mod whose;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    AccountCx, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState,
    FlagValues, Known, Observed, Owned, Power, Prospect, Reporter,
};

pub use state::Ec2State;

use crate::cloud::{self, Clients};
use check::Plan;
use credentials::{Environment, Logins};
use session::Session;
use whose::Opened;

/// The driver's name.
pub const NAME: &str = "amazonec2";

/// The driver.
pub struct Amazonec2 {
    spec: DriverSpec,
    environment: Environment,
    clients: Clients,
    logins: Logins,
    settling: Duration,
    /// What `precreate` looked up, until `create` takes it: it need not be asked twice.
    plans: Mutex<BTreeMap<PathBuf, Plan>>,
}

impl Amazonec2 {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        Self::within(Environment::of_process())
    }

    /// With another time within which EC2 knows everywhere what it has made. Two minutes unless said otherwise; an imitation of
    /// EC2 may need less.
    #[must_use]
    pub fn settling_within(mut self, limit: Duration) -> Self {
        self.settling = limit;
        self
    }

    fn within(environment: Environment) -> Self {
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
                summary: "instances of Amazon EC2".into(),
                flags: Cow::Borrowed(flags::FLAGS),
                capabilities,
            },
            environment,
            clients: Clients::default(),
            logins: Logins::default(),
            settling: create::VISIBLE,
            plans: Mutex::default(),
        }
    }

    async fn session(&self, state: &Ec2State, report: &dyn Reporter) -> Result<Session, DriverError> {
        let session = Session::open(&self.clients, &self.logins, &self.environment, state, report).await?;
        Ok(session.settling_within(self.settling))
    }

    /// What is looked at together: who asks, and where.
    fn account_of(state: &Ec2State) -> [&str; 7] {
        [
            state.access_key.expose(),
            state.secret_key.expose(),
            state.session_token.expose(),
            &state.profile,
            &state.region,
            &state.endpoint,
            &state.ca_cert,
        ]
    }
}

impl Default for Amazonec2 {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for Amazonec2 {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        flags::configure(cx, flags)?.write()
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state = Ec2State::read(state)?;
        Ok(Known {
            url: state.base.engine_url(network::ENGINE_PORT),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: None,
        })
    }

    async fn complete(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        self.session(&Ec2State::read(wish)?, cx.report).await.map(drop)
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let state = Ec2State::read(wish)?;
        let session = self.session(&state, cx.report).await?;
        let plan = check::precreate(&session, cx, &state).await?;
        let mut plans = self.plans.lock().unwrap_or_else(PoisonError::into_inner);
        plans.insert(cx.machine_dir.to_owned(), plan);
        Ok(())
    }

    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let state = Ec2State::read(wish)?;
        let image = state.ami.is_empty().then(|| image::default_facts(&state.instance_type));
        let user_data = cloud::user_data("amazonec2-userdata", &state.user_data_file)?;
        let user_data_limit = Some(request::MAX_USER_DATA);
        Ok(Prospect { image, user_data, user_data_limit, ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let plan = self.plans.lock().unwrap_or_else(PoisonError::into_inner).remove(cx.machine_dir);
        let state = Ec2State::read(&wish)?;
        let session = self.session(&state, cx.report).await?;
        create::create(&session, cx, state, plan, save).await
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state = Ec2State::read(state)?;
        if state.instance_id.is_empty() {
            return Err(observe::gone(&state));
        }
        let session = self.session(&state, cx.report).await?;
        match observe::look(&session.ec2(cx.report), &state.instance_id).await? {
            None => Err(Opened::ask(&session, cx.report, [&state]).await.missing(&state)),
            found => observe::observed(state, found.as_ref()),
        }
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        let states: Vec<_> = hosts.iter().map(|(_, state)| Ec2State::read(state)).collect();
        let mut accounts: BTreeMap<[&str; 7], Vec<usize>> = BTreeMap::new();
        for (at, state) in states.iter().enumerate() {
            if let Ok(state) = state
                && !state.instance_id.is_empty()
            {
                accounts.entry(Self::account_of(state)).or_default().push(at);
            }
        }
        let mut answers: BTreeMap<usize, Result<Observed, DriverError>> = BTreeMap::new();
        for members in accounts.values() {
            let of = |at: &usize| states[*at].as_ref().ok();
            let ids: Vec<&str> =
                members.iter().filter_map(of).map(|state| state.instance_id.as_str()).collect();
            let (report, first) = (hosts[members[0]].0.report, members.iter().find_map(of));
            let Some(first) = first else { continue };
            let seen = match self.session(first, report).await {
                Ok(session) => match observe::look_at_all(&session.ec2(report), &ids).await {
                    Ok(seen) => {
                        let is_missing = |state: &&Ec2State| !seen.contains_key(&state.instance_id);
                        let missing = members.iter().filter_map(of).filter(is_missing);
                        let opened = Opened::ask(&session, report, missing).await;
                        Ok((seen, opened))
                    }
                    Err(error) => Err(error),
                },
                Err(error) => Err(error),
            };
            for at in members {
                let Some(state) = of(at) else { continue };
                let answer = match &seen {
                    Ok((seen, opened)) => match seen.get(&state.instance_id) {
                        None => Err(opened.missing(state)),
                        found => observe::observed(state.clone(), found),
                    },
                    Err(error) => Err(error.again()),
                };
                answers.insert(*at, answer);
            }
        }
        let rest = |(at, state): (usize, Result<Ec2State, DriverError>)| {
            answers.remove(&at).unwrap_or_else(|| state.and_then(|state| Err(observe::gone(&state))))
        };
        states.into_iter().enumerate().map(rest).collect()
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let record = Ec2State::read(state)?;
        if record.instance_id.is_empty() {
            return Err(observe::gone(&record));
        }
        let session = self.session(&record, cx.report).await?;
        match power::power(&session.ec2(cx.report), cx, &record, op).await {
            Some(done) => done.map(|()| state.clone()),
            None => Err(crate::power::unsupported(&self.spec, op)),
        }
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let mut state = Ec2State::read(state)?;
        let session = self.session(&state, cx.report).await?;
        network::narrow(&session.ec2(cx.report), cx.report, &state, networks).await?;
        state.allow_from = networks.to_vec();
        state.write()
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        let state = Ec2State::read(state)?;
        let who = match (state.access_key.expose(), state.profile.as_str()) {
            ("", "") => "default credentials",
            ("", profile) => profile,
            (key, _) => key,
        };
        let region = if state.region.is_empty() { "default region" } else { &state.region };
        let place = if state.endpoint.is_empty() { String::new() } else { format!("/{}", state.endpoint) };
        Ok(format!("{who}/{region}{place}"))
    }

    fn made_in(&self, state: &DriverState) -> Option<String> {
        let state = Ec2State::read(state).ok()?;
        // What speaks EC2's API elsewhere may have nobody to ask whose account it is.
        (state.endpoint.is_empty() && !state.owner_id.is_empty()).then_some(state.owner_id)
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let session = self.session(&Ec2State::read(state)?, cx.report).await?;
        owned::owned(&session, cx).await
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let session = self.session(&Ec2State::read(state)?, cx.report).await?;
        owned::remove(&session, cx, owned).await
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state = Ec2State::read(state)?;
        if state.instance_id.is_empty()
            && state.client_token.is_empty()
            && state.key_name.is_empty()
            && state.groups().is_empty()
            && state.own_security_group.is_empty()
            && state.subnet_id.is_empty()
        {
            return Ok(());
        }
        let session = self.session(&state, cx.report).await?;
        remove::remove(&session, cx, state).await
    }
}
