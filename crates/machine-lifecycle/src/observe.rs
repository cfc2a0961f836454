//! Looking at many machines at once.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesOrdered;
use machine_core::{
    Driver, DriverError, DriverState, EngineOptions, ErrorKind, Machine, MachineName, Observed, Silent,
    State, SwarmOptions,
};
use machine_engine::{Client, EngineError};
use machine_store::StoreError;
use time::OffsetDateTime;
use tokio::sync::{Semaphore, oneshot};

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

/// The machines of one driver.
struct Batch<'a> {
    name: &'a str,
    driver: Arc<dyn Driver>,
    members: Vec<(Host<'a>, &'a DriverState, oneshot::Sender<Seen>)>,
}

/// What a driver says of one host.
type Seen = Result<Observed, DriverError>;

/// Where the driver's answer about one machine of many comes.
type Answer = oneshot::Receiver<Seen>;

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

    fn unreadable(name: &str, error: &StoreError) -> Self {
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
        let machines: Vec<_> = names.iter().map(|name| self.store.load(name)).collect();
        let (batches, mut answers) = self.batches(&machines);
        let looks: FuturesOrdered<_> = names
            .iter()
            .zip(&machines)
            .enumerate()
            .map(|(index, (name, machine))| {
                let (slots, tls, answer) = (Arc::clone(&slots), &tls, answers.remove(&index));
                async move {
                    let _slot = slots.acquire().await;
                    match machine {
                        Ok(machine) => self.observe_one(machine, limit, tls, answer).await,
                        Err(error) => Observation::unreadable(name, error),
                    }
                }
            })
            .collect();
        // Asked at the same time; what nobody waits for any more is not asked to its end.
        tokio::select! {
            observations = looks.collect() => observations,
            never = self.ask_in_batches(batches, limit) => match never {},
        }
    }

    /// The machines whose drivers are asked about all of them at once, by driver; and where each one's answer will come.
    fn batches<'a>(
        &'a self,
        machines: &'a [Result<Machine, StoreError>],
    ) -> (Vec<Batch<'a>>, HashMap<usize, Answer>) {
        let (mut batches, mut answers) = (Vec::<Batch<'_>>::new(), HashMap::new());
        for (index, machine) in machines.iter().enumerate() {
            let Ok(machine) = machine else { continue };
            let Ok(driver) = self.driver(&machine.driver_name) else { continue };
            // A record that the driver can't read must not hurt the others: it is asked about on its own.
            if !driver.spec().capabilities.batch || driver.known(&machine.driver).is_err() {
                continue;
            }
            let Ok(name) = MachineName::new(machine.name.as_str()) else { continue };
            let Ok(host) = self.host(&*driver, &name, &Silent) else { continue };
            let (sender, answer) = oneshot::channel();
            answers.insert(index, answer);
            let member = (host, &machine.driver, sender);
            match batches.iter_mut().find(|batch| batch.name == machine.driver_name) {
                Some(batch) => batch.members.push(member),
                None => batches.push(Batch { name: &machine.driver_name, driver, members: vec![member] }),
            }
        }
        (batches, answers)
    }

    /// Asks each driver once, and hands the answers out as they come. Where one takes too long, its machines get none.
    async fn ask_in_batches(&self, batches: Vec<Batch<'_>>, limit: Duration) -> Infallible {
        let asked = batches.into_iter().map(|Batch { driver, members, .. }| async move {
            let hosts: Vec<_> = members.iter().map(|(host, state, _)| (host.cx(), *state)).collect();
            let answers = tokio::time::timeout(limit, driver.observe_many(&hosts)).await.unwrap_or_default();
            drop(hosts);
            for ((_, _, sender), answer) in members.into_iter().zip(answers) {
                // Who does not wait any more has asked the engine.
                let _ = sender.send(answer);
            }
        });
        futures_util::future::join_all(asked).await;
        std::future::pending().await
    }

    async fn observe_one(
        &self,
        machine: &Machine,
        limit: Duration,
        tls: &TlsConfigs,
        answer: Option<Answer>,
    ) -> Observation {
        let started = Instant::now();
        let name = &machine.name;
        let mut seen = Observation::of(machine);
        // The engine's limit is a little shorter: what it says of a silent engine is worth more than "Timeout".
        let engine_limit = limit - limit / 10;
        match tokio::time::timeout(limit, self.look_at(machine, engine_limit, tls, answer, &mut seen)).await {
            Ok(()) => {}
            Err(_) => seen.state = State::Timeout,
        }
        if let Ok(Some(journal)) = self.store.load_journal(name)
            && let Some(reason) = self.store.incomplete(name, &journal)
        {
            seen.error.clone_from(&reason);
            seen.incomplete = Some(reason);
        }
        seen.warnings = local_warnings(machine, OffsetDateTime::now_utc());
        seen.response_time = started.elapsed();
        seen
    }

    /// Asks the driver and the engine at the same time: a host that is up answers both, and one that is down would
    /// cost two time limits one after the other.
    async fn look_at(
        &self,
        machine: &Machine,
        limit: Duration,
        tls: &TlsConfigs,
        answer: Option<Answer>,
        seen: &mut Observation,
    ) {
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
        let state = self.driver_state(machine, answer);
        let (state, mut version) = match select(pin!(state), pin!(version)).await {
            Either::Right((Some(Ok(version)), _)) => {
                seen.docker_version = format!("v{version}");
                // Who answers is running, whatever the way to its SSH port looks like, and however long its driver takes.
                seen.state = State::Running;
                return;
            }
            Either::Right((version, state)) => (state.await, version),
            Either::Left((state, version)) => (state, version.await),
        };
        let state = state.map(|mut observed| {
            let changed = observed.changed.take();
            (observed, changed.and_then(|changed| self.keep_if_free(machine, changed)))
        });
        if let Ok((_, Some(elsewhere))) = &state
            && !matches!(version, Some(Ok(_)))
            && let Ok(known) = self.known(elsewhere)
            && known.url != seen.url
        {
            seen.url = known.url;
            version = self.query_version(elsewhere, &seen.url, limit, tls).await;
        }
        let state = state.map(|(observed, _)| observed);
        match version {
            Some(Ok(version)) => {
                seen.docker_version = format!("v{version}");
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

    /// What the driver sees: from its answer about all of its machines, or asked about this one.
    async fn driver_state(&self, machine: &Machine, answer: Option<Answer>) -> Result<Observed, Error> {
        if let Some(answer) = answer {
            return match answer.await {
                Ok(answer) => answer.map_err(|error| Error::driver(&machine.name, error)),
                // It was not given in time.
                Err(_) => std::future::pending().await,
            };
        }
        let driver = self.driver(&machine.driver_name)?;
        let name = MachineName::new(machine.name.as_str()).map_err(Error::BadName)?;
        let host = self.host(&*driver, &name, &Silent)?;
        self.observed(&*driver, &host, machine).await
    }

    /// The machine with what a look changed in it, e.g. its address. It is put on disk where nobody works on the machine:
    /// a look waits for nobody. `None` where the record is another one by now.
    pub(crate) fn keep_if_free(&self, machine: &Machine, changed: DriverState) -> Option<Machine> {
        if changed == machine.driver {
            return None;
        }
        let Ok(lock) = self.store.try_lock_machine(&machine.name) else {
            return Some(Machine { driver: changed, ..machine.clone() });
        };
        // All else as it is on disk by now: what was read is older than the look.
        let mut now = self.store.load(&machine.name).ok()?;
        if now.driver != machine.driver {
            return None;
        }
        now.driver = changed;
        // What can't be kept is looked for again the next time.
        let _ = self.store.save(&lock, &now);
        Some(now)
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
