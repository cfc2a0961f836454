//! Looking at many machines at once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use machine_core::{EngineOptions, ErrorKind, Machine, MachineName, Observed, Silent, State, SwarmOptions};
use machine_engine::{Client, EngineError};
use time::OffsetDateTime;
use tokio::sync::Semaphore;

use crate::connection::{TlsConfigs, local_warnings};
use crate::power::can_be_started;
use crate::{Error, Host, Lifecycle};

/// How many machines are looked at at the same time. Each needs up to two sockets, and 1,024 open files are a common
/// limit.
const AT_ONCE: usize = 400;

/// What one look found.
#[derive(Clone, Debug, PartialEq)]
pub struct Observation {
    /// The machine.
    pub name: String,
    /// Its driver; `not found` where the record can't be read, as the reference program has it.
    pub driver_name: String,
    /// What the host is doing.
    pub state: State,
    /// Where the engine is; empty where not known.
    pub url: String,
    /// The retired Swarm's options.
    pub swarm: SwarmOptions,
    /// The engine's options.
    pub engine: EngineOptions,
    /// The engine's version with a `v` before it, or `Unknown`.
    pub docker_version: String,
    /// What is wrong, in one line; empty where nothing is.
    pub error: String,
    /// How long the look took.
    pub response_time: Duration,
    /// Why the machine is not complete, where it is not.
    pub incomplete: Option<String>,
    /// Certificates that have ended or soon will, one line each.
    pub warnings: Vec<String>,
}

impl Observation {
    fn of(machine: &Machine) -> Self {
        Self {
            name: machine.name.clone(),
            driver_name: machine.driver_name.clone(),
            state: State::None,
            url: String::new(),
            swarm: machine.host_options.swarm_options.clone(),
            engine: machine.host_options.engine_options.clone(),
            docker_version: "Unknown".into(),
            error: String::new(),
            response_time: Duration::ZERO,
            incomplete: None,
            warnings: Vec::new(),
        }
    }

    fn unreadable(name: &str, error: &Error) -> Self {
        Self {
            name: name.to_owned(),
            driver_name: "not found".into(),
            state: State::Error,
            url: String::new(),
            swarm: SwarmOptions::default(),
            engine: EngineOptions::default(),
            docker_version: String::new(),
            error: error.to_string(),
            response_time: Duration::ZERO,
            incomplete: None,
            warnings: Vec::new(),
        }
    }
}

impl Lifecycle {
    /// Looks at machines, all at once, each with its own time limit. The answers are in the order of the names; a
    /// machine that can't be looked at is an answer too.
    pub async fn observe(&self, names: &[String], limit: Duration) -> Vec<Observation> {
        let slots = Arc::new(Semaphore::new(AT_ONCE));
        let tls = TlsConfigs::default();
        let looks: FuturesOrdered<_> = names
            .iter()
            .map(|name| {
                let (slots, tls) = (Arc::clone(&slots), &tls);
                async move {
                    let _slot = slots.acquire().await;
                    self.observe_one(name, limit, tls).await
                }
            })
            .collect();
        looks.collect().await
    }

    async fn observe_one(&self, name: &str, limit: Duration, tls: &TlsConfigs) -> Observation {
        let started = Instant::now();
        let machine = match self.store.load(name) {
            Ok(machine) => machine,
            Err(error) => return Observation::unreadable(name, &error.into()),
        };
        let mut seen = Observation::of(&machine);
        // The engine's limit is a little shorter: what it says of a silent engine is worth more than "Timeout".
        let engine_limit = limit - limit / 10;
        match tokio::time::timeout(limit, self.look_at(&machine, engine_limit, tls, &mut seen)).await {
            Ok(()) => {}
            Err(_) => seen.state = State::Timeout,
        }
        if let Ok(Some(journal)) = self.store.load_journal(name)
            && let Some(reason) = self.store.incomplete(name, &journal)
        {
            seen.error.clone_from(&reason);
            seen.incomplete = Some(reason);
        }
        seen.warnings = local_warnings(&machine, OffsetDateTime::now_utc());
        seen.response_time = started.elapsed();
        seen
    }

    /// Asks the driver and the engine at the same time: a host that is up answers both, and one that is down would
    /// cost two time limits one after the other.
    async fn look_at(&self, machine: &Machine, limit: Duration, tls: &TlsConfigs, seen: &mut Observation) {
        let known = match self.known(machine) {
            Ok(known) => known,
            Err(error) => {
                seen.state = State::Error;
                seen.error = error.to_string();
                return;
            }
        };
        seen.url = known.url;
        let version = self.query_version(machine, &seen.url, limit, tls);
        let (state, version) = futures_util::join!(self.driver_state(machine), version);
        match version {
            Some(Ok(version)) => {
                seen.docker_version = format!("v{version}");
                // Who answers is running, whatever the way to its SSH port looks like.
                seen.state = State::Running;
                return;
            }
            Some(Err(error)) => seen.error = error.to_string(),
            None => {}
        }
        match state {
            Ok(Observed { state, last_sign, .. }) => {
                seen.state = state;
                if state == State::Error && !last_sign.is_empty() {
                    // Why is worth more than that no engine answers.
                    seen.error = last_sign;
                }
                let off = matches!(state, State::Stopped | State::Saved | State::Paused);
                if off && self.driver(&machine.driver_name).is_ok_and(|driver| can_be_started(&*driver)) {
                    // Nobody expects an engine to answer there. Where nobody could have turned it off, that it does
                    // not answer is trouble.
                    seen.error.clear();
                    seen.url.clear();
                }
            }
            Err(error) => {
                seen.state = match &error {
                    Error::Driver { source, .. } if source.kind() == ErrorKind::NotFound => State::NotFound,
                    _ => State::Error,
                };
                seen.error = error.to_string();
            }
        }
    }

    async fn driver_state(&self, machine: &Machine) -> Result<Observed, Error> {
        let driver = self.driver(&machine.driver_name)?;
        let name = MachineName::new(machine.name.as_str()).map_err(Error::BadName)?;
        let host = Host::new(&self.store, &name, &Silent);
        self.observed(&*driver, &host, machine).await
    }

    async fn query_version(
        &self,
        machine: &Machine,
        url: &str,
        limit: Duration,
        tls: &TlsConfigs,
    ) -> Option<Result<String, Error>> {
        if url.is_empty() {
            return None;
        }
        let asked = async {
            let tls = tls.of(machine)?;
            let client = Client::new(url, Some(&tls), limit).map_err(version_error)?;
            Ok(client.version().await.map_err(version_error)?.version)
        };
        Some(asked.await)
    }

    /// The version of a machine's engine.
    ///
    /// # Errors
    /// [`Error::Version`] with the reference program's text.
    pub async fn engine_version(&self, machine: &Machine) -> Result<String, Error> {
        let url = self.known(machine)?.url;
        if url.is_empty() {
            return Err(Error::NoAddress { machine: machine.name.clone() });
        }
        let tls = TlsConfigs::default().of(machine)?;
        let client = Client::new(&url, Some(&tls), self.settings.dial_limit).map_err(version_error)?;
        Ok(client.version().await.map_err(version_error)?.version)
    }
}

fn version_error(error: EngineError) -> Error {
    Error::Version(Box::new(error))
}
