//! Waiting for an engine on a host that boots, with an eye on the host: one that went down is not waited for.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use machine_core::{Driver, ErrorKind, Event, Machine, Reporter, State};
use machine_ssh::{ExecLimits, Session};
use machine_store::{MachineLock, Phase};
use tokio::time::Instant;

use crate::connection::{TlsConfigs, connection_error};
use crate::power::{can_be_started, line, with_sign};
use crate::provision::Work;
use crate::recorder::Recorder;
use crate::wait::{self, Look};
use crate::{Error, Host, Lifecycle};

/// How long one question to an engine is waited for before the next is asked beside it. A port that is forwarded to a host
/// without a network yet takes connections and is silent for long; one that was just opened answers the next question.
const TURN: Duration = Duration::from_secs(2);
/// How many questions may be open.
const AT_ONCE: usize = 8;
/// The pause between two looks at the host: some drivers start a program for it.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The same where a look is a request to a provider.
const ASK_EVERY: Duration = Duration::from_secs(10);
/// How long a host whose engine does not answer has for letting us in by SSH: it has had all the time to boot.
const SECOND_CHANCE: Duration = Duration::from_secs(60);
/// What cloud-init says of itself. Waits for nothing.
const CLOUD_INIT_STATUS: &str = "cloud-init status --long";

impl Lifecycle {
    /// Waits for the engine of a host that sets itself up. If it does not come, the host is set up over SSH, or says why
    /// it is not.
    pub(crate) async fn wait_for_first_boot(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
    ) -> Result<(), Error> {
        let report = host.report;
        recorder.advance(Phase::Ready)?;
        line(report, "Waiting for the machine to boot and set itself up, this may take a few minutes...");
        let first = match self.wait_for_booted_engine(driver, host, machine, Some(lock)).await {
            Ok(()) => return self.configure_swarm(machine, report).await,
            Err(error @ (Error::TimedOut(_) | Error::Connection { .. })) => error,
            Err(error) => return Err(error),
        };
        report.report(Event::Warning(format!("{}; it is set up over SSH now", first.to_string().trim())));
        recorder.advance(Phase::Reach)?;
        let second = async {
            self.tell_cloud_init(machine, recorder, report).await?;
            self.work_over_ssh(machine, lock, recorder, Work::Everything, report).await?;
            self.wait_until_ready(machine, report).await
        };
        let second = second.await;
        second.map_err(|second| Error::FirstBoot { first: Box::new(first), second: Box::new(second) })
    }

    /// Tells what cloud-init says of its work.
    async fn tell_cloud_init(
        &self,
        machine: &Machine,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let limit = self.settings.reach_limit.min(SECOND_CHANCE);
        let session: Session = self.reach_within(machine, limit, recorder, report).await?;
        let status = session.exec(CLOUD_INIT_STATUS, "", &ExecLimits::of(SECOND_CHANCE)).await;
        session.close().await;
        let status = status.map_err(|source| Error::ssh(machine, source))?;
        let text = String::from_utf8_lossy(&status.stdout);
        for said in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            report.report(Event::Notice(format!("cloud-init of {:?}: {said}", machine.name)));
        }
        Ok(())
    }

    /// Waits until the engine of a host that boots answers over TLS. With the lock, what the looks at the host change in the
    /// record is kept.
    pub(crate) async fn wait_for_booted_engine(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: Option<&MachineLock>,
    ) -> Result<(), Error> {
        let tls = TlsConfigs::default().of(machine)?;
        let what = format!("the engine of machine {:?} to answer over TLS", machine.name);
        let mut watch = Watch::new(driver);
        let mut url = String::new();
        let mut asked = FuturesUnordered::new();
        wait::until(&what, self.settings.boot_limit, host.report, async || {
            watch.look(self, host, machine, lock).await?;
            let now = self.known(machine)?.url;
            if url != now {
                // The host is somewhere else by now.
                asked.clear();
                url = now;
            }
            if url.is_empty() {
                return Ok(Look::NotYet(watch.seen("its address is not known")));
            }
            if asked.len() < AT_ONCE {
                let (url, tls, limit) = (url.clone(), tls.clone(), self.settings.dial_limit);
                asked.push(async move { machine_engine::check_tls(&url, &tls, limit).await });
            }
            match tokio::time::timeout(TURN, asked.next()).await {
                Ok(Some(Ok(_))) => Ok(Look::Found(())),
                Ok(Some(Err(error))) if !error.is_unreachable() => {
                    Err(connection_error(machine, &url, error))
                }
                Ok(Some(Err(error))) => Ok(Look::NotYet(watch.seen(&error.to_string()))),
                Ok(None) | Err(_) => Ok(Look::NotYet(watch.seen(&format!("{url} is silent")))),
            }
        })
        .await
    }
}

/// Looks at a host now and then.
struct Watch<'a> {
    driver: &'a dyn Driver,
    next: Option<Instant>,
    last_sign: String,
}

impl<'a> Watch<'a> {
    fn new(driver: &'a dyn Driver) -> Self {
        // One that can't turn a host on sees no more of it than whether it answers.
        let next = can_be_started(driver).then(Instant::now);
        Self { driver, next, last_sign: String::new() }
    }

    /// Looks, if it is time to.
    ///
    /// # Errors
    /// [`Error::WentDown`] where the host does not run any more; what the driver says otherwise.
    async fn look(
        &mut self,
        lifecycle: &Lifecycle,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: Option<&MachineLock>,
    ) -> Result<(), Error> {
        if self.next.is_none_or(|next| Instant::now() < next) {
            return Ok(());
        }
        let marks = self.driver.spec().capabilities.marks;
        self.next = Some(Instant::now() + if marks { ASK_EVERY } else { LOOK_EVERY });
        let observed = match lifecycle.observed(self.driver, host, machine).await {
            Ok(observed) => observed,
            Err(Error::Driver { source, .. }) if source.kind() == ErrorKind::Unavailable => {
                self.last_sign = source.to_string();
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        if !observed.last_sign.is_empty() {
            self.last_sign = observed.last_sign;
        }
        match (lock, observed.changed) {
            (Some(lock), changed) => lifecycle.keep(machine, lock, changed)?,
            // Somebody else is at work on it; for the wait, what was seen counts all the same.
            (None, Some(changed)) => machine.driver = changed,
            (None, None) => {}
        }
        match observed.state {
            state @ (State::Stopped | State::Saved | State::Error | State::NotFound) => {
                let (machine, last_sign) = (machine.name.clone(), self.last_sign.clone());
                Err(Error::WentDown { machine, state, last_sign })
            }
            _ => Ok(()),
        }
    }

    /// What was seen, with the host's last sign of life.
    fn seen(&self, what: &str) -> String {
        with_sign(what.to_owned(), &self.last_sign)
    }
}
