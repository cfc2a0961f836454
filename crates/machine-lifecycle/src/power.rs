//! Turning hosts on and off.

use std::time::Duration;

use machine_core::{
    Capabilities, Driver, DriverError, DriverState, ErrorKind, Event, Machine, Observed, Power, PowerSupport,
    Reporter, State,
};
use machine_ssh::ExecLimits;
use machine_store::MachineLock;
use tokio::time::Instant;

use crate::recorder::Recorder;
use crate::wait::{self, Look, Pace};
use crate::{Error, Host, Lifecycle};

impl Lifecycle {
    /// Turns a stopped host on and waits for its engine.
    ///
    /// # Errors
    /// [`Error::AlreadyInState`] where it runs; what the driver or the wait says otherwise.
    pub async fn start(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Starting {name:?}..."));
        self.switch(name, Power::Start, State::Running, report).await?;
        line(report, format!("Machine {name:?} was started."));
        self.wait_for_engine(name, report).await
    }

    /// Turns a host off, asking it first.
    ///
    /// # Errors
    /// [`Error::AlreadyInState`] where it is off; what the driver or the wait says otherwise.
    pub async fn stop(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Stopping {name:?}..."));
        self.switch(name, Power::Stop, State::Stopped, report).await?;
        line(report, format!("Machine {name:?} was stopped."));
        Ok(())
    }

    /// Turns a host off at once.
    ///
    /// # Errors
    /// As for [`Lifecycle::stop`].
    pub async fn kill(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Killing {name:?}..."));
        self.switch(name, Power::Kill, State::Stopped, report).await?;
        line(report, format!("Machine {name:?} was killed."));
        Ok(())
    }

    /// Halts a running host where it stands.
    ///
    /// # Errors
    /// [`Error::AlreadyInState`] where it is paused; [`Error::Driver`] where its driver can't do that.
    pub async fn pause(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Pausing {name:?}..."));
        self.require_capability(name, |can| can.pause, "pause hosts")?;
        self.switch(name, Power::Pause, State::Paused, report).await?;
        line(report, format!("Machine {name:?} was paused."));
        Ok(())
    }

    /// Lets a paused host go on, and waits for its engine.
    ///
    /// # Errors
    /// As for [`Lifecycle::pause`].
    pub async fn unpause(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Resuming {name:?}..."));
        self.require_capability(name, |can| can.pause, "resume hosts")?;
        self.switch(name, Power::Resume, State::Running, report).await?;
        line(report, format!("Machine {name:?} was resumed."));
        self.wait_for_engine(name, report).await
    }

    /// That a machine's driver can do something: an error in the driver's name where it can't.
    pub(crate) fn require_capability(
        &self,
        name: &str,
        has: impl Fn(&Capabilities) -> bool,
        what: &str,
    ) -> Result<(), Error> {
        let machine = self.store.load(name)?;
        let driver = self.driver(&machine.driver_name)?;
        if has(&driver.spec().capabilities) {
            return Ok(());
        }
        Err(Error::driver(name, driver.spec().cannot(what)))
    }

    /// Turns a host off and on again, or on where it is off, and waits for its engine.
    ///
    /// # Errors
    /// What the driver, the host or the wait says.
    pub async fn restart(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        line(report, format!("Restarting {name:?}..."));
        let (lock, mut machine) = self.lock_and_load(name, report).await?;
        let driver = self.driver(&machine.driver_name)?;
        let host = self.host(&*driver, &self.name(name)?, report)?;
        let support = driver.spec().capabilities.restart.clone();
        if let PowerSupport::No(text) = support {
            return Err(unsupported(name, text));
        }
        let state = self.look(&*driver, &host, &mut machine, &lock).await?;
        match (support, state) {
            (_, State::Stopped) if !can_be_started(&*driver) => {
                return Err(Error::Down { machine: name.to_owned() });
            }
            (_, State::Stopped) => self.power(&*driver, &host, &mut machine, &lock, Power::Start).await?,
            (PowerSupport::OverSsh, _) => self.reboot_over_ssh(&lock, &machine, report).await?,
            _ => self.power(&*driver, &host, &mut machine, &lock, Power::Restart).await?,
        }
        self.wait_for_state(&*driver, &host, &mut machine, &lock, State::Running).await?;
        drop(lock);
        self.wait_for_engine(name, report).await
    }

    /// What the driver says that the host is doing.
    ///
    /// # Errors
    /// What the driver says; a record that can't be read.
    pub async fn status(&self, name: &str, report: &dyn Reporter) -> Result<State, Error> {
        let machine = self.store.load(name)?;
        let driver = self.driver(&machine.driver_name)?;
        let machine_name = self.name(name)?;
        let host = self.host(&*driver, &machine_name, report)?;
        Ok(self.observed(&*driver, &host, &machine).await?.state)
    }

    /// Asks the driver what the host is doing. A driver that can only dial the host can't see past jump hosts: then it
    /// is the SSH server behind them that answers or does not.
    pub(crate) async fn observed(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &Machine,
    ) -> Result<Observed, Error> {
        let name = &machine.name;
        if can_be_started(driver) || !self.is_behind_jump_hosts(name)? {
            let observed = driver.observe(&host.cx(), &machine.driver).await;
            return observed.map_err(|error| Error::driver(name, error));
        }
        let state = match self.connect_to_look(machine).await {
            Ok(session) => {
                session.close().await;
                State::Running
            }
            Err(Error::Ssh { source, .. }) if source.is_transient() => {
                host.report.report(Event::Debug(source.to_string()));
                State::Stopped
            }
            Err(error) => return Err(error),
        };
        Ok(Observed { state, ..Observed::default() })
    }

    pub(crate) fn is_behind_jump_hosts(&self, name: &str) -> Result<bool, Error> {
        Ok(self.store.load_journal(name)?.is_some_and(|journal| !journal.jump_hosts.is_empty()))
    }

    async fn switch(&self, name: &str, op: Power, wanted: State, report: &dyn Reporter) -> Result<(), Error> {
        let (lock, mut machine) = self.lock_and_load(name, report).await?;
        let driver = self.driver(&machine.driver_name)?;
        let host = self.host(&*driver, &self.name(name)?, report)?;
        let state = self.look(&*driver, &host, &mut machine, &lock).await?;
        if state == wanted {
            return Err(Error::AlreadyInState { machine: name.to_owned(), state: wanted });
        }
        let capabilities = &driver.spec().capabilities;
        let paused = state == State::Paused && capabilities.pause;
        let op = if op == Power::Start && paused { Power::Resume } else { op };
        let support = match op {
            Power::Start => &capabilities.start,
            Power::Stop => &capabilities.stop,
            Power::Restart => &capabilities.restart,
            Power::Kill => &capabilities.kill,
            // The driver says itself that it can't.
            Power::Pause | Power::Resume => &PowerSupport::Driver,
        };
        if let PowerSupport::No(text) = support {
            return Err(unsupported(name, text));
        }
        self.power(&*driver, &host, &mut machine, &lock, op).await?;
        self.wait_for_state(&*driver, &host, &mut machine, &lock, wanted).await
    }

    async fn power(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
        op: Power,
    ) -> Result<(), Error> {
        let state = driver.power(&host.cx(), &machine.driver, op).await;
        let state = state.map_err(|error| Error::driver(&machine.name, error))?;
        self.keep(machine, lock, Some(state))
    }

    /// Looks at the host and keeps what the look changed in the record.
    pub(crate) async fn look(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
    ) -> Result<State, Error> {
        Ok(self.look_closely(driver, host, machine, lock).await?.0)
    }

    /// [`Lifecycle::look`] with the last thing that was seen of the host's boot.
    async fn look_closely(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
    ) -> Result<(State, String), Error> {
        let observed = self.observed(driver, host, machine).await?;
        self.keep(machine, lock, observed.changed)?;
        Ok((observed.state, observed.last_sign))
    }

    pub(crate) fn keep(
        &self,
        machine: &mut Machine,
        lock: &MachineLock,
        state: Option<DriverState>,
    ) -> Result<(), Error> {
        if let Some(state) = state.filter(|state| *state != machine.driver) {
            machine.driver = state;
            self.store.save(lock, machine)?;
        }
        Ok(())
    }

    /// Waits until the driver says that the host is in a state.
    pub(crate) async fn wait_for_state(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
        wanted: State,
    ) -> Result<(), Error> {
        let what = format!("machine {:?} to be {}", machine.name, wanted.as_str().to_lowercase());
        wait::until_at(Pace::of(driver), &what, self.settings.reach_limit, host.report, async || {
            match self.look_closely(driver, host, machine, lock).await {
                Ok((state, _)) if state == wanted => Ok(Look::Found(())),
                Ok((state, sign)) => Ok(Look::NotYet(with_sign(format!("the driver says {state}"), &sign))),
                Err(Error::Driver { source, .. }) if source.kind() == ErrorKind::Unavailable => {
                    Ok(Look::NotYet(source.to_string()))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Waits until a host that was just made runs and has an address. It may take minutes, and some providers do not know it
    /// at once everywhere.
    pub(crate) async fn wait_for_new_host(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
    ) -> Result<(), Error> {
        let what = format!("machine {:?} to be running", machine.name);
        let limit = self.patience(machine).max(self.settings.reach_limit);
        let made = Instant::now();
        wait::until_at(Pace::of(driver), &what, limit, host.report, async || {
            match self.look_closely(driver, host, machine, lock).await {
                Ok((State::Running, sign)) => Ok(match self.known(machine)?.ssh {
                    Some(_) => Look::Found(()),
                    None => Look::NotYet(with_sign("it runs and has no address yet".to_owned(), &sign)),
                }),
                Ok((state @ (State::Error | State::NotFound), last_sign)) => {
                    Err(Error::WentDown { machine: machine.name.clone(), state, last_sign })
                }
                Ok((state, sign)) => Ok(Look::NotYet(with_sign(format!("the driver says {state}"), &sign))),
                Err(Error::Driver { source, .. })
                    if source.kind() == ErrorKind::Unavailable
                        || source.kind() == ErrorKind::NotFound && made.elapsed() < UNKNOWN_GRACE =>
                {
                    Ok(Look::NotYet(source.to_string()))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// Whether the driver can turn hosts on. One that can't (it reaches servers that somebody else runs) sees no more of
/// them than whether they answer.
pub(crate) fn can_be_started(driver: &dyn Driver) -> bool {
    matches!(driver.spec().capabilities.start, PowerSupport::Driver)
}

/// How long a provider may say of a host that it just made that there is none.
const UNKNOWN_GRACE: Duration = Duration::from_secs(30);

/// What was seen, with the host's last sign of life.
pub(crate) fn with_sign(seen: String, sign: &str) -> String {
    if sign.is_empty() { seen } else { format!("{seen}; the host: {sign}") }
}

fn unsupported(name: &str, text: &str) -> Error {
    Error::driver(name, DriverError::new(ErrorKind::Unsupported, text))
}

pub(crate) fn line(report: &dyn Reporter, text: impl Into<String>) {
    report.report(Event::Line(text.into()));
}

impl Lifecycle {
    /// Tells the host to restart itself, and waits until it has gone down.
    async fn reboot_over_ssh(
        &self,
        lock: &MachineLock,
        machine: &Machine,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let mut recorder = Recorder::open(&self.store, lock, report)?;
        let session = self.reach(machine, &mut recorder, report).await?;
        let ssh = |source| Error::ssh(machine, source);
        let before = boot_id(&session).await.map_err(ssh)?;
        // The connection may end before the command does: that is what was asked for.
        match session.exec(REBOOT, "", &ExecLimits::of(REBOOT_LIMIT)).await {
            Ok(output) if !output.status.success() => {
                return Err(Error::Reboot { machine: machine.name.clone(), said: output.stderr_text() });
            }
            Ok(_) | Err(machine_ssh::Error::Closed { .. } | machine_ssh::Error::CommandTimedOut { .. }) => {}
            Err(error) => return Err(ssh(error)),
        }
        session.close().await;
        let what = format!("machine {:?} to restart", machine.name);
        wait::until(&what, self.settings.reach_limit, report, async || {
            match self.connect_to_look(machine).await {
                Ok(session) => match boot_id(&session).await {
                    Ok(after) if after != before => Ok(Look::Found(())),
                    Ok(_) => Ok(Look::NotYet("it has not gone down yet".into())),
                    Err(error) => Ok(Look::NotYet(error.to_string())),
                },
                Err(Error::Ssh { source, .. }) if source.is_transient() => {
                    Ok(Look::NotYet(source.to_string()))
                }
                Err(error) => Err(error),
            }
        })
        .await
    }
}

/// A word that changes with every start of the kernel, or of PID 1 where the kernel is somebody else's.
async fn boot_id(session: &machine_ssh::Session) -> Result<Vec<u8>, machine_ssh::Error> {
    let command =
        "cat /proc/sys/kernel/random/boot_id; stat -c %Y /proc/1 2>/dev/null; cut -d' ' -f22 /proc/1/stat";
    Ok(session.exec(command, "", &ExecLimits::of(REBOOT_LIMIT)).await?.stdout)
}

/// Restarts the host as root, by whatever way to root there is.
const REBOOT: &str = "if [ \"$(id -u)\" = 0 ]; then shutdown -r now || reboot; else sudo -n shutdown -r now || sudo -n reboot; fi";
/// How long the host may take to obey.
const REBOOT_LIMIT: Duration = Duration::from_secs(15);
