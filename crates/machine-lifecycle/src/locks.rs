//! Taking locks without standing still: while this process waits for another one, its other work and Ctrl-C go on.

use std::time::Duration;

use machine_core::{Machine, MachineName, Reporter};
use machine_store::{MachineLock, StoreError, StoreLock};
use tokio::time::Instant;

use crate::wait::waiting;
use crate::{Error, Lifecycle};

/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(50);
/// How often the user is told that the wait goes on.
const SAY_EVERY: Duration = Duration::from_secs(2);

impl Lifecycle {
    /// The right to change a machine.
    pub(crate) async fn lock(&self, name: &str, report: &dyn Reporter) -> Result<MachineLock, Error> {
        let what = format!("machine {name:?} to be free");
        self.take(&what, report, || self.store.try_lock_machine(name)).await
    }

    /// The right to change a machine, for whoever waits for nobody.
    ///
    /// # Errors
    /// As [`machine_store::Store::try_lock_machine`].
    pub(crate) async fn lock_now(&self, name: &str) -> Result<MachineLock, StoreError> {
        match self.store.try_lock_machine(name) {
            // Somebody may only have asked whether it is held.
            Err(StoreError::Locked { .. }) => {}
            done => return done,
        }
        tokio::time::sleep(PAUSE).await;
        self.store.try_lock_machine(name)
    }

    /// The right to change the certificates that all machines share.
    pub(crate) async fn lock_certificates(&self, report: &dyn Reporter) -> Result<StoreLock, Error> {
        self.take("the store's certificates to be free", report, || self.store.try_lock_store()).await
    }

    /// The right to make a machine of this name.
    pub(crate) async fn reserve(
        &self,
        name: &MachineName,
        report: &dyn Reporter,
    ) -> Result<MachineLock, Error> {
        let what = format!("the name {:?} to be free", name.as_str());
        let taken = self.take(&what, report, || self.store.try_reserve(name)).await;
        match taken {
            Err(Error::Store(error)) if matches!(*error, StoreError::AlreadyExists { .. }) => {
                let journal = self.store.load_journal(name.as_str()).ok().flatten();
                let incomplete = journal.and_then(|journal| self.store.incomplete(name.as_str(), &journal));
                Err(Error::Taken { machine: name.to_string(), incomplete })
            }
            other => other,
        }
    }

    /// The right to change a machine, and its record as it then is.
    pub(crate) async fn lock_and_load(
        &self,
        name: &str,
        report: &dyn Reporter,
    ) -> Result<(MachineLock, Machine), Error> {
        // Before the lock, so that a name that does not exist waits for nobody.
        self.store.load(name)?;
        let lock = self.lock(name, report).await?;
        let machine = self.store.load(name)?;
        Ok((lock, machine))
    }

    async fn take<L>(
        &self,
        what: &str,
        report: &dyn Reporter,
        mut once: impl FnMut() -> Result<L, StoreError>,
    ) -> Result<L, Error> {
        let limit = self.settings.lock_limit;
        let start = Instant::now();
        let mut said = start;
        loop {
            let holder = match once() {
                Ok(lock) => return Ok(lock),
                Err(StoreError::Locked { what, holder, .. }) if start.elapsed() >= limit => {
                    return Err(StoreError::Locked { what, holder, waited: start.elapsed() }.into());
                }
                Err(StoreError::Locked { holder, .. }) => holder,
                Err(error) => return Err(error.into()),
            };
            if said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                report.report(waiting(what, start.elapsed(), limit, &format!("in use by {holder}")));
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
