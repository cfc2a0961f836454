//! Removing a machine: the host first, then the record.

use machine_core::{ErrorKind, Machine, MachineName, Reporter};
use machine_store::{MachineLock, Operation, Phase, Status, StoreError};

use crate::recorder::Recorder;
use crate::{Error, Lifecycle};

/// How a removal went.
#[derive(Debug, Default)]
pub struct Removed {
    /// What could not be removed, where it was forced: the record is gone all the same.
    pub problems: Vec<Error>,
}

impl Lifecycle {
    /// Removes the host and then its record. With `force` the record is cleared even where the host can't be removed
    /// or the record can't be read; what went wrong is in the answer.
    ///
    /// # Errors
    /// Without `force`: whatever stood in the way; the record is kept, so that it can be tried again. With `force`:
    /// only where the record itself can't be removed.
    pub async fn remove(&self, name: &str, force: bool, report: &dyn Reporter) -> Result<Removed, Error> {
        if !self.store.exists(name) {
            // Why not: there is no such machine, or the store can't be looked into.
            self.store.load(name)?;
        }
        let lock = self.lock(name, report).await?;
        self.remove_locked(name, &lock, force, report).await
    }

    /// Removes what an interrupted create of this process left of a machine. What is complete, and what another process has made or
    /// gone on with meanwhile, is left alone; then the answer is `false`.
    ///
    /// # Errors
    /// As [`Lifecycle::remove`] without `force`.
    pub async fn undo_create(&self, name: &str, report: &dyn Reporter) -> Result<bool, Error> {
        if !self.has_begun(name) || !self.store.exists(name) {
            return Ok(false);
        }
        let lock = self.lock(name, report).await?;
        let ours = self.store.load_journal(name)?.is_some_and(|journal| {
            journal.operation == Operation::Create
                && journal.status != Status::Done
                && journal.actor.is_this_process()
        });
        if ours {
            self.remove_locked(name, &lock, false, report).await?;
        }
        Ok(ours)
    }

    async fn remove_locked(
        &self,
        name: &str,
        lock: &MachineLock,
        force: bool,
        report: &dyn Reporter,
    ) -> Result<Removed, Error> {
        let mut problems = Vec::new();
        let removed = match self.store.load(name) {
            Ok(machine) => self.remove_host(&machine, lock, force, &mut problems, report).await,
            Err(error) => Err(error.into()),
        };
        match removed {
            Ok(()) => {}
            Err(error) if force => problems.push(error),
            Err(error) => return Err(error),
        }
        self.store.remove(lock)?;
        Ok(Removed { problems: if force { problems } else { Vec::new() } })
    }

    /// Has the driver remove the host. What is only in the way of the journal goes to `problems`.
    pub(crate) async fn remove_host(
        &self,
        machine: &Machine,
        lock: &MachineLock,
        force: bool,
        problems: &mut Vec<Error>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let driver = self.driver(&machine.driver_name)?;
        // A folder that a careless hand put there may have a name that no machine can have: a copy, whose host may be
        // that of a machine in use.
        let name = MachineName::new(machine.name.as_str())
            .map_err(|_| StoreError::UnsafeName { name: machine.name.clone() })?;
        let host = self.host(&*driver, &name, report)?;
        let mut recorder = match Recorder::open(&self.store, lock, report) {
            Ok(recorder) => recorder,
            Err(error) if force => {
                problems.push(error);
                Recorder::fresh(&self.store, lock, report)
            }
            Err(error) => return Err(error),
        };
        recorder.begin(Operation::Remove, Phase::Host);
        // Where a link stands for the folder, only the link is removed, and nothing is written to where it leads.
        let ours = std::fs::symlink_metadata(lock.dir()).is_ok_and(|found| found.is_dir());
        // The journal is a help, not a condition: a full disk must not stand in the way of a removal.
        if ours && let Err(error) = recorder.save() {
            problems.push(error);
        }
        match driver.remove(&host.cx(), &machine.driver).await {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => {
                if ours {
                    recorder.fail(&error.to_string(), error.hint());
                }
                Err(Error::driver(&machine.name, error))
            }
        }
    }
}
