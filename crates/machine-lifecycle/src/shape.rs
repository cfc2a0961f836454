//! Snapshots of a host, and other sizes for it.

use machine_core::{Driver, DriverError, DriverState, Machine, Reporter, Resize, Snapshot, State};
use machine_store::MachineLock;

use crate::power::line;
use crate::{Error, Host, Lifecycle};

/// What is asked of a driver that can take snapshots.
const SNAPSHOTS: &str = "take snapshots";

impl Lifecycle {
    /// The snapshots of a machine, oldest first.
    ///
    /// # Errors
    /// [`Error::Driver`] where its driver has none, or says why they can't be listed.
    pub async fn snapshots(&self, name: &str, report: &dyn Reporter) -> Result<Vec<Snapshot>, Error> {
        self.require_capability(name, |can| can.snapshot, SNAPSHOTS)?;
        let machine = self.store.load(name)?;
        let driver = self.driver(&machine.driver_name)?;
        let host = self.host(&*driver, &self.name(name)?, report)?;
        let listed = driver.snapshots(&host.cx(), &machine.driver).await;
        listed.map_err(|error| Error::driver(name, error))
    }

    /// Keeps a machine as it is under a name.
    ///
    /// # Errors
    /// [`Error::Driver`]: among others where there is a snapshot of this name.
    pub async fn take_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        self.require_capability(name, |can| can.snapshot, SNAPSHOTS)?;
        line(report, format!("Taking snapshot {snapshot:?} of {name:?}..."));
        let work = Work::locked(self, name, report).await?;
        let state = work.driver.take_snapshot(&work.host.cx(), &work.machine.driver, snapshot).await;
        work.keep(state).map(drop)
    }

    /// Makes a machine what it was when a snapshot was taken, and waits for its engine where it then runs.
    ///
    /// # Errors
    /// [`Error::Driver`]: among others where there is no such snapshot.
    pub async fn restore_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        self.require_capability(name, |can| can.snapshot, SNAPSHOTS)?;
        line(report, format!("Restoring snapshot {snapshot:?} of {name:?}..."));
        let work = Work::locked(self, name, report).await?;
        let state = work.driver.restore_snapshot(&work.host.cx(), &work.machine.driver, snapshot).await;
        if work.keep(state)? == State::Running {
            return self.wait_for_engine(name, report).await;
        }
        Ok(())
    }

    /// Forgets a snapshot.
    ///
    /// # Errors
    /// [`Error::Driver`]: among others where there is no such snapshot.
    pub async fn remove_snapshot(
        &self,
        name: &str,
        snapshot: &str,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        self.require_capability(name, |can| can.snapshot, SNAPSHOTS)?;
        let work = Work::locked(self, name, report).await?;
        let state = work.driver.remove_snapshot(&work.host.cx(), &work.machine.driver, snapshot).await;
        work.keep(state).map(drop)
    }

    /// Gives a machine other sizes.
    ///
    /// # Errors
    /// [`Error::Driver`]: among others where the machine must be off for it, or the disk would become smaller.
    pub async fn resize(&self, name: &str, to: Resize, report: &dyn Reporter) -> Result<(), Error> {
        self.require_capability(name, |can| can.resize, "resize hosts")?;
        line(report, format!("Resizing {name:?}..."));
        let work = Work::locked(self, name, report).await?;
        let state = work.driver.resize(&work.host.cx(), &work.machine.driver, to).await;
        work.keep(state).map(drop)
    }
}

/// A machine under its lock, and who can change its host.
struct Work<'a> {
    lifecycle: &'a Lifecycle,
    lock: MachineLock,
    machine: Machine,
    driver: std::sync::Arc<dyn Driver>,
    host: Host<'a>,
    /// What the host was doing before.
    before: State,
}

impl<'a> Work<'a> {
    async fn locked(lifecycle: &'a Lifecycle, name: &str, report: &'a dyn Reporter) -> Result<Self, Error> {
        let (lock, mut machine) = lifecycle.lock_and_load(name, report).await?;
        let driver = lifecycle.driver(&machine.driver_name)?;
        let host = lifecycle.host(&*driver, &lifecycle.name(name)?, report)?;
        let before = lifecycle.look(&*driver, &host, &mut machine, &lock).await?;
        Ok(Self { lifecycle, lock, machine, driver, host, before })
    }

    /// Puts the driver's new state on disk; what the host was doing comes back.
    fn keep(self, state: Result<DriverState, DriverError>) -> Result<State, Error> {
        let Self { lifecycle, lock, mut machine, before, .. } = self;
        let state = state.map_err(|error| Error::driver(&machine.name, error))?;
        lifecycle.keep(&mut machine, &lock, Some(state))?;
        Ok(before)
    }
}
