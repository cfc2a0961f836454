//! What a new host is told before its first boot: who may log in, which SSH host key it has, and, where the driver
//! knows enough of its image, all that makes its engine.

use std::path::PathBuf;

use machine_core::{Driver, ImageFacts, Machine, Prospect, Reporter, Secret, Seed};
use machine_provision::{HostFacts, Plan, user_data};
use machine_store::MachineLock;

use crate::key_file::KeyFile;
use crate::provision::warn_of;
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
        let plan = match self.image_to_set_up(machine, &prospect)? {
            Some(image) => {
                let facts = HostFacts::of_image(image, &login.user);
                Some(self.plan_ahead(&facts, machine, lock, recorder, host.report)?)
            }
            None => None,
        };
        let identity = user_data::Identity {
            user: &login.user,
            authorized_key: &own.line(),
            hostname: &machine.name,
            host_key: &host_key.private()?,
            host_key_public: &host_key.line(),
            mounts: &prospect.mounts,
        };
        prepared.by_itself = plan.is_some();
        prepared.seed.user_data = match plan {
            Some(plan) => user_data::complete(&identity, &plan),
            None => user_data::identity(&identity),
        };
        Ok(Some(prepared))
    }

    /// What is in the image, where the host can set up its engine by itself: there is one, its private key stays on this
    /// computer, and the address that its certificate must name is known.
    fn image_to_set_up<'a>(
        &self,
        machine: &Machine,
        prospect: &'a Prospect,
    ) -> Result<Option<&'a ImageFacts>, Error> {
        let image = prospect.image.as_ref().filter(|image| image.engine.is_some() && prospect.private);
        Ok(if self.known(machine)?.ip.is_empty() { None } else { image })
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
