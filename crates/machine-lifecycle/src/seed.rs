//! What a new host is told before its first boot: who may log in, which SSH host key it has, and, where the driver
//! knows enough of its image, all that makes its engine.

use std::path::PathBuf;

use machine_core::{
    Driver, DriverError, ErrorKind, Event, Machine, Prospect, Reporter, Secret, Seed, Silent,
};
use machine_provision::user_data::{self, Own};
use machine_provision::{Certificates, HostFacts, Plan};
use machine_ssh::keys::{self, KeyKind};
use machine_store::MachineLock;

use crate::host_key::note_exposed;
use crate::key_file::KeyFile;
use crate::provision::warn_of;
use crate::reach::note_late_login;
use crate::recorder::Recorder;
use crate::{Error, Host, Lifecycle};

/// The host's private SSH key, in the machine's folder until the machine is complete: a create that goes on must seed
/// the same one.
pub(crate) const HOST_KEY_FILE: &str = "ssh_host_ed25519_key";
/// Where the record has the path of the machine's key, also while its driver does not know the host's address.
const KEY_PATH: &str = "SSHKeyPath";
/// Where it has the login name.
const USER: &str = "SSHUser";

/// A seed, and what the host will make of it.
pub(crate) struct Prepared {
    pub seed: Seed,
    /// Whether the host sets up its engine by itself.
    pub by_itself: bool,
}

/// What a host does by itself at its first boot, beside learning who it is.
enum ByItself {
    /// Nothing.
    Nothing,
    /// It installs packages and the engine; what is secret follows over SSH.
    Installs(Plan),
    /// All of it.
    Everything(Plan),
}

impl ByItself {
    fn user_data(&self, identity: &user_data::Identity<'_>, own: Option<&Own>) -> Secret {
        match self {
            Self::Everything(plan) => user_data::complete(identity, plan, own),
            Self::Installs(plan) => user_data::ahead(identity, plan, own),
            Self::Nothing => user_data::identity(identity, own),
        }
    }
}

/// Who logs in, and with the key in which file.
struct Login {
    user: String,
    key: PathBuf,
}

impl Lifecycle {
    /// Makes the machine's keys and the user data. `None` where the driver takes no seed, or the machine has no key of
    /// its own.
    pub(crate) async fn prepare_seed(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &mut Recorder<'_>,
    ) -> Result<Option<Prepared>, Error> {
        if !driver.spec().capabilities.user_data {
            return Ok(None);
        }
        let prospect = driver.prospect(&host.cx(), &machine.driver).await;
        let mut prospect = prospect.map_err(|error| Error::DriverCreate(Box::new(error)))?;
        self.keep(machine, lock, prospect.wish.take())?;
        let Some(login) = self.login(machine)? else { return Ok(None) };
        let own = KeyFile::ensure(&login.key, &lock.dir(), &machine.name)?;
        let mut prepared = Prepared {
            seed: Seed { authorized_key: own.line(), user_data: Secret::default() },
            by_itself: false,
        };
        if prospect.seedless {
            return Ok(Some(prepared));
        }
        let host_key = KeyFile::ensure(&lock.dir().join(HOST_KEY_FILE), &lock.dir(), &machine.name)?;
        recorder.pin(host_key.public.to_line())?;
        if !prospect.private {
            note_exposed(&mut recorder.journal, &host_key.public.to_line());
            recorder.save()?;
        }
        let by_itself = self.by_itself(&prospect, &login, machine, lock, recorder, host.report)?;
        let users = self.own_user_data(&prospect)?;
        if users.as_ref().is_some_and(|own| own.may_define(&login.user)) {
            note_late_login(&mut recorder.journal);
            recorder.save()?;
        }
        let identity = user_data::Identity {
            user: &login.user,
            authorized_key: &own.line(),
            usual_user: !prospect.private,
            hostname: &machine.name,
            host_key: &host_key.private()?,
            host_key_public: &host_key.line(),
            mounts: &prospect.mounts,
        };
        prepared.by_itself = matches!(by_itself, ByItself::Everything(_));
        prepared.seed.user_data = by_itself.user_data(&identity, users.as_ref());
        let bytes = prepared.seed.user_data.expose().len();
        host.report.report(Event::Debug(format!("the user data has {bytes} bytes")));
        Ok(Some(prepared))
    }

    /// That the user's own user data can be read and leaves room for the machine's, before anything is made. Only of drivers whose
    /// hosts are at a provider: no other takes any.
    pub(crate) async fn check_user_data(
        &self,
        driver: &dyn Driver,
        host: &Host<'_>,
        machine: &Machine,
        recorder: &Recorder<'_>,
    ) -> Result<(), Error> {
        let capabilities = &driver.spec().capabilities;
        if !capabilities.user_data || !capabilities.marks {
            return Ok(());
        }
        let prospect = match driver.prospect(&host.cx(), &machine.driver).await {
            Ok(prospect) => prospect,
            // It may need the machine's folder, which is not there yet: what is wrong is said when it is.
            Err(error) => {
                host.report.report(Event::Debug(format!("the user data is not looked at yet: {error}")));
                return Ok(());
            }
        };
        let own = self.own_user_data(&prospect).map_err(|error| match error {
            Error::DriverCreate(error) => Error::Precreate(error),
            other => other,
        })?;
        let (Some(limit), Some(own)) = (prospect.user_data_limit, own) else { return Ok(()) };
        let Some(bytes) = self.drafted_bytes(&prospect, &own, machine, recorder)? else { return Ok(()) };
        if bytes <= limit {
            return Ok(());
        }
        let text = format!(
            "the user data has {bytes} bytes with what the machine needs in it; the provider takes {limit}"
        );
        let error = DriverError::new(ErrorKind::Precreate, text)
            .with_hint("shorten yours, e.g. to an #include of an address where the rest is");
        Err(Error::Precreate(Box::new(error)))
    }

    /// How long the user data will be: with keys that are thrown away, for those of machines are all of one length.
    fn drafted_bytes(
        &self,
        prospect: &Prospect,
        own: &Own,
        machine: &Machine,
        recorder: &Recorder<'_>,
    ) -> Result<Option<usize>, Error> {
        let Some(login) = self.login(machine)? else { return Ok(None) };
        let by_itself = match &prospect.image {
            Some(image) if image.engine.is_none() && !prospect.private => {
                self.installation(&HostFacts::of_image(image, &login.user), machine, recorder, &Silent)?
            }
            _ => ByItself::Nothing,
        };
        let key = keys::generate(KeyKind::Ed25519, &machine.name);
        let key = key.map_err(|source| Error::ssh(machine, source))?;
        let (private, public) = (Secret::new(key.private_pem.as_str()), keys::public_key_line(&key.public));
        let identity = user_data::Identity {
            user: &login.user,
            authorized_key: &public,
            usual_user: !prospect.private,
            hostname: &machine.name,
            host_key: &private,
            host_key_public: &public,
            mounts: &prospect.mounts,
        };
        Ok(Some(by_itself.user_data(&identity, Some(own)).expose().len()))
    }

    fn own_user_data(&self, prospect: &Prospect) -> Result<Option<Own>, Error> {
        let read = prospect.user_data.as_ref().map(Own::read).transpose();
        read.map_err(|error| {
            let text = DriverError::new(ErrorKind::Config, error.to_string()).with_hint(error.hint());
            Error::DriverCreate(Box::new(text))
        })
    }

    /// What the host can do by itself. All of it where there is an engine in the image, its private key stays on this computer,
    /// and the address that its certificate must name is known. Without an engine it can be installed while the host boots.
    fn by_itself(
        &self,
        prospect: &Prospect,
        login: &Login,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<ByItself, Error> {
        let Some(image) = &prospect.image else { return Ok(ByItself::Nothing) };
        let facts = HostFacts::of_image(image, &login.user);
        let known = !self.known(machine)?.ip.is_empty();
        match (&image.engine, prospect.private) {
            (Some(_), true) if known => {
                Ok(ByItself::Everything(self.plan_ahead(&facts, machine, lock, recorder, report)?))
            }
            (None, false) => self.installation(&facts, machine, recorder, report),
            _ => Ok(ByItself::Nothing),
        }
    }

    /// What is to be installed on a host that nobody has seen yet. What can't be said so early, e.g. for a system that nobody
    /// knows, is said of the host itself later.
    fn installation(
        &self,
        facts: &HostFacts,
        machine: &Machine,
        recorder: &Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<ByItself, Error> {
        // They are not part of what is installed.
        let none = Certificates {
            ca_pem: String::new(),
            server_cert_pem: String::new(),
            server_key_pem: Secret::default(),
        };
        let wish = self.wish(machine, none, &recorder.extras()?)?;
        Ok(match machine_provision::plan(facts, &wish) {
            Ok(plan) => ByItself::Installs(plan),
            Err(error) => {
                report.report(Event::Debug(format!("nothing is installed while the host boots: {error}")));
                ByItself::Nothing
            }
        })
    }

    /// The plan for a host that nobody has seen yet.
    fn plan_ahead(
        &self,
        facts: &HostFacts,
        machine: &mut Machine,
        lock: &MachineLock,
        recorder: &Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Plan, Error> {
        let name = machine.name.clone();
        let plan_error = |source| Error::Plan { machine: name.clone(), source };
        let remote_dir = Plan::certificates_dir(facts).map_err(plan_error)?;
        self.keep_remote_paths(machine, lock, remote_dir)?;
        let certificates = self.machine_certificates(machine, lock, recorder.key_algorithm(), false)?;
        let wish = self.wish(machine, certificates, &recorder.extras()?)?;
        let plan = machine_provision::plan(facts, &wish).map_err(plan_error)?;
        warn_of(&plan, report);
        Ok(plan)
    }

    fn login(&self, machine: &Machine) -> Result<Option<Login>, Error> {
        if let Some(endpoint) = self.known(machine)?.ssh {
            return Ok(endpoint.key.map(|key| Login { user: endpoint.user, key }));
        }
        let (user, key) = (machine.driver.str(USER), machine.driver.str(KEY_PATH));
        let named = !user.is_empty() && !key.is_empty();
        Ok(named.then(|| Login { user: user.to_owned(), key: PathBuf::from(key) }))
    }
}
