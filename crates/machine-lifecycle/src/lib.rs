//! What happens to a machine in its life, written once for all drivers: create, resume, start, stop, restart, kill,
//! provision, upgrade, new certificates, remove; and looking at it.
//!
//! In: a [`Store`], a source of drivers, [`Settings`] and requests. Out: the new record, or an
//! [`Error`] that says what failed on which machine and how to go on; progress through a
//! [`Reporter`].
//!
//! This is the only room that changes records, and the only one that knows driver, store, SSH, provisioner and
//! engine together. It prints nothing.
#![forbid(unsafe_code)]

mod allow;
mod boot;
mod certificates;
mod connection;
mod create;
mod error;
mod gc;
mod host_key;
mod key_file;
mod locks;
mod observe;
mod power;
mod provision;
mod reach;
mod recorder;
mod regenerate;
mod remove;
mod request;
mod seed;
mod settings;
mod shape;
mod upgrade;
mod wait;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use machine_core::{Cx, Driver, DriverSource, Known, Machine, MachineName, Reporter};
use machine_store::Store;

pub use connection::Connection;
pub use create::Left;
pub use error::{Error, Kind};
pub use gc::{AccountRubbish, Collected, GoneHost, Outcome, Rubbish};
pub use observe::{Debugging, Observation};
pub use reach::{ConnectOptions, Jump, SystemSsh, parse_jump};
pub use remove::Removed;
pub use request::{AllowFrom, CreateRequest, InstallMethod, RegistryCa};
pub use settings::{CertPaths, Settings};
pub use wait::TimedOut;

/// All that can be done with machines.
pub struct Lifecycle {
    store: Store,
    drivers: Arc<dyn DriverSource>,
    settings: Settings,
    /// The store's id, once a driver has needed it.
    store_id: OnceLock<String>,
    /// The machines of which a create was begun or gone on with here.
    begun: Mutex<BTreeSet<String>>,
}

impl Lifecycle {
    /// Puts the parts together. No I/O.
    #[must_use]
    pub fn new(store: Store, drivers: Arc<dyn DriverSource>, settings: Settings) -> Self {
        Self { store, drivers, settings, store_id: OnceLock::new(), begun: Mutex::default() }
    }

    /// Where the records are.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What the record says of the host without asking anybody: address, URL, SSH endpoint. No I/O.
    ///
    /// # Errors
    /// [`Error::Driver`] where the driver is unknown or can't read its part of the record.
    pub fn known(&self, machine: &Machine) -> Result<Known, Error> {
        let driver = self.driver(&machine.driver_name)?;
        driver.known(&machine.driver).map_err(|error| Error::driver(&machine.name, error))
    }

    /// Whether the record of this machine was made by a create here, or one here goes on with it. What is there under a name that
    /// was only wished for is another's.
    #[must_use]
    pub fn has_begun(&self, name: &str) -> bool {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).contains(name)
    }

    fn begin(&self, name: &str) {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn driver(&self, name: &str) -> Result<Arc<dyn Driver>, Error> {
        self.drivers.driver(name).map_err(|error| Error::NoDriver(Box::new(error)))
    }

    /// What a driver gets to work with for a machine that there is.
    fn host<'a>(
        &'a self,
        driver: &dyn Driver,
        name: &MachineName,
        report: &'a dyn Reporter,
    ) -> Result<Host<'a>, Error> {
        let store_id = self.store_id(driver, || Ok(self.store.known_id()?.unwrap_or_default()))?;
        Ok(Host::new(&self.store, name, store_id, report))
    }

    /// What a driver gets to work with for a machine that is being made: the store then has an id.
    fn host_to_be<'a>(
        &'a self,
        driver: &dyn Driver,
        name: &MachineName,
        recorder: &recorder::Recorder<'_>,
        report: &'a dyn Reporter,
    ) -> Result<Host<'a>, Error> {
        let store_id = self.store_id(driver, || Ok(self.store.store_id()?))?;
        let extras = recorder.extras()?;
        let allow_from = allow::at_create(&recorder.journal, &extras);
        let narrowed_later = allow::is_due(&recorder.journal, &extras);
        Ok(Host { allow_from, narrowed_later, ..Host::new(&self.store, name, store_id, report) })
    }

    /// The store's id for drivers that mark what they make; it is asked for once. Empty for all others.
    fn store_id(
        &self,
        driver: &dyn Driver,
        ask: impl FnOnce() -> Result<String, Error>,
    ) -> Result<&str, Error> {
        if !driver.spec().capabilities.marks {
            return Ok("");
        }
        if let Some(id) = self.store_id.get() {
            return Ok(id);
        }
        let id = ask()?;
        // None is no answer for good: a create in this process may make one.
        Ok(if id.is_empty() { "" } else { self.store_id.get_or_init(|| id) })
    }

    fn name(&self, name: &str) -> Result<MachineName, Error> {
        // A name that can't be is, to the user, one that does not exist.
        MachineName::new(name)
            .map_err(|_| machine_store::StoreError::NoSuchMachine { name: name.to_owned() }.into())
    }
}

/// What a driver gets to work with, kept together for as long as the call lasts.
struct Host<'a> {
    name: MachineName,
    dir: std::path::PathBuf,
    store: &'a Store,
    store_id: &'a str,
    allow_from: Vec<String>,
    narrowed_later: bool,
    report: &'a dyn Reporter,
}

impl<'a> Host<'a> {
    fn new(store: &'a Store, name: &MachineName, store_id: &'a str, report: &'a dyn Reporter) -> Self {
        let dir = store.machine_dir(name.as_str());
        let (allow_from, narrowed_later) = (Vec::new(), false);
        Self { name: name.clone(), dir, store, store_id, allow_from, narrowed_later, report }
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            name: &self.name,
            machine_dir: &self.dir,
            store_path: self.store.root(),
            report: self.report,
            seed: None,
            store_id: self.store_id,
            allow_from: &self.allow_from,
            narrowed_later: self.narrowed_later,
        }
    }
}
