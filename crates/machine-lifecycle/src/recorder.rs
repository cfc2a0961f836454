//! Keeping the journal while an operation is under way.

use std::path::PathBuf;
use std::time::Instant;

use machine_core::{Event, Reporter};
use machine_store::{Journal, MachineLock, Operation, Phase, Status, Store, StoreError};
use machine_tls::KeyAlgorithm;

use crate::Error;
use crate::key_file::KeyFile;
use crate::request::Extras;
use crate::seed::HOST_KEY_FILE;

/// What the journal says of who writes it.
const PROGRAM_VERSION: &str = concat!("docker-machine ", env!("CARGO_PKG_VERSION"));

/// The journal of one machine, its lock, and the clock of the phase that is running.
pub(crate) struct Recorder<'a> {
    store: &'a Store,
    lock: &'a MachineLock,
    report: &'a dyn Reporter,
    pub(crate) journal: Journal,
    phase: Option<(Phase, Instant)>,
}

impl<'a> Recorder<'a> {
    /// The journal of a machine that does not exist yet.
    pub(crate) fn fresh(store: &'a Store, lock: &'a MachineLock, report: &'a dyn Reporter) -> Self {
        Self { store, lock, report, journal: Journal::default(), phase: None }
    }

    /// The journal of a machine; an empty one where it has none (made by the reference program).
    pub(crate) fn open(
        store: &'a Store,
        lock: &'a MachineLock,
        report: &'a dyn Reporter,
    ) -> Result<Self, Error> {
        let journal = store.load_journal(lock.name())?.unwrap_or_default();
        Ok(Self { store, lock, report, journal, phase: None })
    }

    /// Begins an operation. Nothing is written until [`Recorder::save`].
    pub(crate) fn begin(&mut self, operation: Operation, phase: Phase) {
        self.journal.restart(operation, PROGRAM_VERSION);
        self.enter(phase);
    }

    /// Ends the running phase, and begins the next.
    pub(crate) fn enter(&mut self, phase: Phase) {
        self.leave();
        self.journal.phase = phase.clone();
        self.report.report(Event::PhaseStarted(phase.to_string()));
        self.phase = Some((phase, Instant::now()));
    }

    /// Ends the running phase, begins the next, and puts that on disk: there is a record by now.
    pub(crate) fn advance(&mut self, phase: Phase) -> Result<(), Error> {
        self.enter(phase);
        self.save()
    }

    fn leave(&mut self) {
        if let Some((phase, since)) = self.phase.take() {
            let ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.report.report(Event::PhaseDone(phase.to_string(), ms));
            self.journal.timings.insert(phase, ms);
        }
    }

    /// Puts the journal on disk.
    pub(crate) fn save(&mut self) -> Result<(), Error> {
        self.store.save_journal(self.lock, &self.journal)?;
        Ok(())
    }

    /// Pins a key that the host will have, beside those that are pinned already.
    pub(crate) fn pin(&mut self, key: String) -> Result<(), Error> {
        if self.journal.host_keys.contains(&key) {
            return Ok(());
        }
        self.journal.host_keys.push(key);
        self.save()
    }

    /// Closes the journal with what came of the operation.
    pub(crate) fn close<T>(&mut self, outcome: Result<T, Error>) -> Result<T, Error> {
        match &outcome {
            Ok(_) => self.done()?,
            Err(error) => self.fail(&error.to_string(), error.hint().as_deref()),
        }
        outcome
    }

    /// All is done: nothing will be seeded any more.
    fn done(&mut self) -> Result<(), Error> {
        self.leave();
        self.journal.status = Status::Done;
        self.save()?;
        KeyFile::forget(&self.lock.dir().join(HOST_KEY_FILE));
        Ok(())
    }

    /// Closes the journal with what went wrong. That it can't be written must not hide the error itself.
    pub(crate) fn fail(&mut self, message: &str, hint: Option<&str>) {
        self.phase = None;
        self.journal.status =
            Status::Failed { message: message.to_owned(), hint: hint.map(ToOwned::to_owned) };
        if let Err(error) = self.save() {
            self.report.report(Event::Warning(format!("the journal can't be written: {error}")));
        }
    }

    /// The machine's folder.
    pub(crate) fn dir(&self) -> PathBuf {
        self.lock.dir()
    }

    /// What the machine was asked for that config.json has no place for.
    pub(crate) fn extras(&self) -> Result<Extras, Error> {
        Extras::load(&self.journal.extra).map_err(|source| {
            let path = self.lock.dir().join("state.json");
            StoreError::Journal { path, source }.into()
        })
    }

    /// What keys the certificates of this machine get.
    pub(crate) fn key_algorithm(&self) -> KeyAlgorithm {
        self.journal.key_algorithm.parse().unwrap_or_default()
    }
}
