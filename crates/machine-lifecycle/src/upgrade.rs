//! A newer engine.

use machine_core::{Reporter, State};
use machine_store::{Operation, Phase};

use crate::power::{can_be_started, line};
use crate::recorder::Recorder;
use crate::{Error, Lifecycle};

impl Lifecycle {
    /// Upgrades the engine by the package that it came from, and restarts it if its version changed. A machine that is
    /// off is started first.
    ///
    /// # Errors
    /// [`Error::NoSsh`] for a machine that is only a URL; else what reaching or the upgrade says.
    pub async fn upgrade(&self, name: &str, report: &dyn Reporter) -> Result<(), Error> {
        let (lock, mut machine) = self.lock_and_load(name, report).await?;
        self.require_ssh(&machine, "upgrade")?;
        let driver = self.driver(&machine.driver_name)?;
        let host = self.host(&*driver, &self.name(name)?, report)?;
        let state = self.look(&*driver, &host, &mut machine, &lock).await?;
        let can_start = can_be_started(&*driver);
        if state == State::Stopped && can_start {
            line(report, "Starting machine so machine can be upgraded...");
            drop(lock);
            self.start(name, report).await?;
            let (lock, machine) = self.lock_and_load(name, report).await?;
            return self.upgrade_locked(machine, lock, report).await;
        }
        self.upgrade_locked(machine, lock, report).await
    }

    async fn upgrade_locked(
        &self,
        machine: machine_core::Machine,
        lock: machine_store::MachineLock,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let mut recorder = Recorder::open(&self.store, &lock, report)?;
        recorder.begin(Operation::Upgrade, Phase::Reach);
        let done = async {
            recorder.save()?;
            let session = self.reach(&machine, &mut recorder, report).await?;
            recorder.advance(Phase::Provision)?;
            let facts = self.probe(&session, &machine, report).await?;
            let before = facts.engine.version.clone();
            let certificates = self.machine_certificates(&machine, &lock, recorder.key_algorithm(), false)?;
            let wish = self.wish(&machine, certificates, &recorder.extras()?)?;
            let plan = machine_provision::upgrade_plan(&facts, &wish)
                .map_err(|source| Error::Plan { machine: machine.name.clone(), source })?;
            line(report, "Upgrading docker...");
            self.run(&session, &machine, &facts, &plan, report).await?;
            session.close().await;
            recorder.enter(Phase::Ready);
            self.wait_until_ready(&machine, report).await?;
            Ok::<_, Error>(before)
        }
        .await;
        let before = recorder.close(done)?;
        let after = self.engine_version(&machine).await?;
        let text = match before {
            Some(before) if before == after => format!("The engine is up to date: {after}."),
            Some(before) => format!("The engine went from {before} to {after}."),
            None => format!("The engine is now {after}."),
        };
        line(report, text);
        Ok(())
    }
}
