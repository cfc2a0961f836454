//! Making a machine, and going on where that stopped.

use machine_core::{
    AuthOptions, CONFIG_VERSION, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverState,
    EngineOptions, ErrorKind, HostOptions, Machine, MachineName, Reporter, SwarmOptions,
};
use machine_store::{MachineLock, Operation, Phase, Status, Store};
use serde_json::Map;

use crate::power::{can_be_started, line};
use crate::provision::Work;
use crate::recorder::Recorder;
use crate::request::Extras;
use crate::{CreateRequest, Error, Lifecycle, allow};

impl Lifecycle {
    /// Makes a machine: certificates, checks, record, host, engine.
    ///
    /// Dropping the future at any point leaves either nothing, or a record that [`Lifecycle::resume`] completes and
    /// [`Lifecycle::remove`] removes.
    ///
    /// # Errors
    /// Before there is a record: what is wrong with the request, [`Error::Precreate`] (exit code 3), or that the name
    /// is taken. After that [`Error::Create`], which says what is left and how to go on.
    pub async fn create(&self, request: CreateRequest, report: &dyn Reporter) -> Result<Machine, Error> {
        let driver = self.driver(&request.driver)?;
        check_discovery(&request.swarm.discovery)?;
        let extras = Extras::of(&request)?;
        for jump in &request.ssh_jumps {
            crate::reach::parse_jump(jump)?;
        }
        let lock = self.reserve(&request.name, report).await?;
        let context = ConfigureContext { name: &request.name, store_path: self.store.root() };
        let wish =
            driver.configure(&context, &request.flags).map_err(|error| Error::Configure(Box::new(error)))?;
        let host = self.host(&*driver, &request.name, report)?;
        driver.complete(&host.cx(), &wish).await.map_err(|error| Error::Configure(Box::new(error)))?;
        let machine = self.record(&request, &*driver, wish);

        let mut recorder = Recorder::fresh(&self.store, &lock, report);
        recorder.journal.jump_hosts.clone_from(&request.ssh_jumps);
        recorder.journal.key_algorithm = request.key_algorithm.to_string();
        extras.store(&mut recorder.journal.extra);
        self.check_and_record(&*driver, &machine, &lock, &mut recorder, report).await?;
        allow::warn_of_open(&recorder.journal, &extras, report);
        line(report, "Creating machine...");
        let outcome = self.complete(&*driver, machine, &lock, &mut recorder, report).await;
        match recorder.close(outcome) {
            Ok(machine) => Ok(machine),
            Err(cause) => {
                let left = match request.rollback {
                    true => self.roll_back(&*driver, &request.name, &lock, report).await,
                    false => Left::Record,
                };
                Err(Error::Create { machine: request.name.to_string(), cause: Box::new(cause), left })
            }
        }
    }

    /// Goes on with a create that failed or was interrupted. A machine that is complete is left as it is.
    ///
    /// # Errors
    /// As [`Lifecycle::create`] after the record; [`Error::Store`] where there is no such machine.
    pub async fn resume(&self, name: &str, report: &dyn Reporter) -> Result<Machine, Error> {
        let (lock, machine) = self.lock_and_load(name, report).await?;
        let driver = self.driver(&machine.driver_name)?;
        let mut recorder = Recorder::open(&self.store, &lock, report)?;
        if recorder.journal.status == Status::Done {
            line(report, format!("Machine {name:?} is complete: there is nothing to resume."));
            return Ok(machine);
        }
        recorder.begin(Operation::Create, Phase::Certificates);
        self.begin(name);
        self.ensure_certificates(recorder.key_algorithm(), report).await?;
        line(report, format!("Resuming the creation of {name:?}..."));
        let outcome = self.complete(&*driver, machine, &lock, &mut recorder, report).await;
        recorder.close(outcome).map_err(|cause| kept(name, cause))
    }

    /// Makes a machine whose disk begins as a copy of another's. It has an identity of its own: keys, certificates, host
    /// name; engine, Swarm and registries are as the source's.
    ///
    /// # Errors
    /// As [`Lifecycle::create`].
    pub async fn clone_machine(
        &self,
        source: &str,
        new: &str,
        report: &dyn Reporter,
    ) -> Result<Machine, Error> {
        self.require_capability(source, |can| can.clone, "clone hosts")?;
        let name = MachineName::new(new).map_err(Error::BadName)?;
        let (_source_lock, from) = self.lock_and_load(source, report).await?;
        let journal = self.store.load_journal(source)?.unwrap_or_default();
        let driver = self.driver(&from.driver_name)?;
        let lock = self.reserve(&name, report).await?;
        let context = ConfigureContext { name: &name, store_path: self.store.root() };
        let wish =
            driver.clone_wish(&context, &from.driver).map_err(|error| Error::Configure(Box::new(error)))?;

        let options = &from.host_options;
        let names = options.auth_options.server_cert_sans.clone().unwrap_or_default();
        let machine = self.record_of(
            &name,
            &*driver,
            wish,
            (options.engine_options.clone(), options.swarm_options.clone(), names),
        );
        let mut recorder = Recorder::fresh(&self.store, &lock, report);
        recorder.journal.jump_hosts.clone_from(&journal.jump_hosts);
        recorder.journal.key_algorithm.clone_from(&journal.key_algorithm);
        Extras::load(&journal.extra).unwrap_or_default().store(&mut recorder.journal.extra);
        self.check_and_record(&*driver, &machine, &lock, &mut recorder, report).await?;
        line(report, format!("Cloning {source:?} to {new:?}..."));
        let outcome = self.complete(&*driver, machine, &lock, &mut recorder, report).await;
        recorder.close(outcome).map_err(|cause| kept(new, cause))
    }

    /// The phases up to the record: certificates, checks. Before it, nothing is left of a create that fails.
    async fn check_and_record(
        &self,
        driver: &dyn Driver,
        machine: &Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        self.store.create_layout()?;
        recorder.begin(Operation::Create, Phase::Certificates);
        self.ensure_certificates(recorder.key_algorithm(), report).await?;
        line(report, "Running pre-create checks...");
        recorder.enter(Phase::Check);
        allow::check(driver, &recorder.extras()?)?;
        let host = self.host_to_be(driver, &self.name(lock.name())?, recorder, report)?;
        let checked = driver.precreate(&host.cx(), &machine.driver).await;
        checked.map_err(|error| Error::Precreate(Box::new(error)))?;
        self.check_user_data(driver, &host, machine, recorder).await?;
        recorder.enter(Phase::Record);
        self.store.create(lock, machine, &recorder.journal)?;
        self.begin(lock.name());
        Ok(())
    }

    /// The phases after the record. Each first looks whether its work is done.
    async fn complete(
        &self,
        driver: &dyn Driver,
        mut machine: Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Machine, Error> {
        recorder.advance(Phase::Host)?;
        let host = self.host_to_be(driver, &self.name(lock.name())?, recorder, report)?;
        let prepared = self.prepare_seed(driver, &host, &mut machine, lock, recorder).await?;
        let cx = Cx { seed: prepared.as_ref().map(|prepared| &prepared.seed), ..host.cx() };
        let wish = machine.driver.clone();
        let mut checkpoint = RecordCheckpoint { store: &self.store, lock, machine: &mut machine };
        let made = driver.create(&cx, wish, &mut checkpoint).await;
        machine.driver = made.map_err(|error| Error::DriverCreate(Box::new(error)))?;
        self.store.save(lock, &machine)?;
        if !driver.spec().capabilities.ssh {
            return Ok(machine);
        }
        if prepared.is_some_and(|prepared| prepared.by_itself) {
            self.wait_for_first_boot(driver, &host, &mut machine, lock, recorder).await?;
            self.narrow_by_itself(&mut machine, lock, recorder, report).await?;
        } else {
            recorder.advance(Phase::Reach)?;
            line(report, "Waiting for machine to be running, this may take a few minutes...");
            // A driver that only dials says no more than the SSH session will, and not why.
            if can_be_started(driver) {
                self.wait_for_new_host(driver, &host, &mut machine, lock).await?;
            }
            line(report, "Detecting operating system of created instance...");
            self.work_over_ssh(&mut machine, lock, recorder, Work::Everything, report).await?;
            line(report, "Checking connection to Docker...");
            self.wait_until_ready(&machine, report).await?;
        }
        line(report, "Docker is up and running!");
        Ok(machine)
    }

    /// Removes what a failed create made.
    async fn roll_back(
        &self,
        driver: &dyn Driver,
        name: &MachineName,
        lock: &MachineLock,
        report: &dyn Reporter,
    ) -> Left {
        line(report, format!("Rolling back: removing {:?}...", name.as_str()));
        let undone = async {
            let record = self.store.load(name.as_str())?;
            let host = self.host(driver, name, report)?;
            let removed = driver.remove(&host.cx(), &record.driver).await;
            removed.map_err(|error| Error::driver(name.as_str(), error))
        };
        let undone: Result<(), Error> = undone.await;
        match undone.and_then(|()| self.store.remove(lock).map_err(Error::from)) {
            Ok(()) => Left::Nothing,
            Err(error) => Left::RollbackFailed(Box::new(error)),
        }
    }

    fn record(&self, request: &CreateRequest, driver: &dyn Driver, wish: DriverState) -> Machine {
        let options = (request.engine.clone(), request.swarm.clone(), request.tls_sans.clone());
        self.record_of(&request.name, driver, wish, options)
    }

    /// The record of a machine with these options of the engine and the Swarm, and these names in its certificate.
    fn record_of(
        &self,
        name: &MachineName,
        driver: &dyn Driver,
        wish: DriverState,
        (engine_options, swarm_options, names): (EngineOptions, SwarmOptions, Vec<String>),
    ) -> Machine {
        let dir = self.store.machine_dir(name.as_str());
        let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
        let paths = &self.settings.cert_paths;
        Machine {
            config_version: CONFIG_VERSION,
            driver: wish,
            driver_name: driver.spec().name.to_string(),
            host_options: HostOptions {
                engine_options,
                swarm_options,
                auth_options: AuthOptions {
                    cert_dir: text(&paths.dir),
                    ca_cert_path: text(&paths.ca_cert),
                    ca_private_key_path: text(&paths.ca_key),
                    server_cert_path: text(&dir.join("server.pem")),
                    server_key_path: text(&dir.join("server-key.pem")),
                    client_key_path: text(&paths.client_key),
                    client_cert_path: text(&paths.client_cert),
                    server_cert_sans: Some(names),
                    store_path: text(&dir),
                    ..AuthOptions::default()
                },
                ..HostOptions::default()
            },
            name: name.to_string(),
            extra: Map::new(),
        }
    }
}

/// What a failed create leaves behind.
#[derive(Debug)]
pub enum Left {
    /// The record, and whatever it names.
    Record,
    /// Nothing: it was rolled back.
    Nothing,
    /// The record, because rolling back failed too.
    RollbackFailed(Box<Error>),
}

/// A create that failed and was left as it is.
fn kept(machine: &str, cause: Error) -> Error {
    Error::Create { machine: machine.to_owned(), cause: Box::new(cause), left: Left::Record }
}

/// Puts each state of the driver on disk before the driver goes on.
struct RecordCheckpoint<'a> {
    store: &'a Store,
    lock: &'a MachineLock,
    machine: &'a mut Machine,
}

impl Checkpoint for RecordCheckpoint<'_> {
    fn save(&mut self, state: &DriverState) -> Result<(), DriverError> {
        self.machine.driver = state.clone();
        self.store.save(self.lock, self.machine).map_err(|error| {
            DriverError::new(ErrorKind::Other, format!("the record can't be written: {error}"))
                .with_source(error)
        })
    }
}

/// A discovery URL is `scheme://…`; the reference program looks at no more than that.
fn check_discovery(discovery: &str) -> Result<(), Error> {
    if discovery.is_empty() || discovery.contains("://") {
        return Ok(());
    }
    Err(Error::SwarmDiscovery(discovery.to_owned()))
}
