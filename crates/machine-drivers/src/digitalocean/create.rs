//! Making a machine: its key, its firewall where somebody narrows who may connect, its droplet. Each is asked for once: what
//! was asked for and whose answer nobody has is looked for before it is asked for again.

use std::time::{Duration, Instant, SystemTime};

use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event, Secret};
use tokio::time::sleep;

use super::api::{Cloud, Droplet, NewDroplet, NumberOr};
use super::check::user_data_fits;
use super::flags::{KEY_PATH_FLAG, USER_DATA_FLAG};
use super::state::DigitalOceanState;
use super::trouble::explain;
use super::{firewall, key, mark};
use crate::cloud;
use crate::source_key::SourceKey;

/// How long after it was asked for a thing may not be in lists yet.
const SETTLE: Duration = Duration::from_secs(3);
/// The pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(400);
/// What to do where nobody knows whether something was made.
pub(super) const RESUME: &str =
    "`docker-machine create --resume NAME` looks for it and goes on; `rm` removes it";

/// A create under way.
pub(super) struct Making<'a> {
    pub(super) cx: &'a Cx<'a>,
    pub(super) cloud: &'a Cloud<'a>,
    pub(super) state: DigitalOceanState,
    save: &'a mut dyn Checkpoint,
}

/// Makes a machine, or goes on with one.
///
/// # Errors
/// What failed; what was made until then is in the last checkpoint.
pub(super) async fn create(
    cx: &Cx<'_>,
    cloud: &Cloud<'_>,
    wish: DigitalOceanState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let user_data = user_data(cx, &wish)?;
    let mut making = Making { cx, cloud, state: wish, save };
    if making.state.droplet_id == 0 {
        if making.state.marked_store.is_empty() {
            cx.store_id.clone_into(&mut making.state.marked_store);
        }
        making.own_key()?;
        making.key().await?;
        firewall::make(&mut making).await?;
        making.droplet(&user_data).await?;
    }
    DriverState::from_typed(&making.state)
}

/// What cloud-init is told: the seed, which has the user's part in it, else the user's alone.
fn user_data(cx: &Cx<'_>, wish: &DigitalOceanState) -> Result<Secret, DriverError> {
    let data = match cx.seed {
        Some(seed) if !seed.user_data.is_empty() => seed.user_data.clone(),
        _ => cloud::user_data(USER_DATA_FLAG, &wish.user_data_file)?.unwrap_or_default(),
    };
    user_data_fits(data.expose().len())?;
    Ok(data)
}

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Looks for something that was asked for at that time (seconds since 1970) and whose answer nobody has. It may take a
/// moment to show.
///
/// # Errors
/// Why it can't be looked for.
pub(super) async fn look_for<T, F>(
    asked_at: u64,
    mut look: impl FnMut() -> F,
) -> Result<Option<T>, DriverError>
where
    F: Future<Output = Result<Option<T>, DriverError>>,
{
    let begin = Instant::now();
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        // Clocks can be set back; the wait is short all the same.
        if now().saturating_sub(asked_at) >= SETTLE.as_secs() || begin.elapsed() >= SETTLE {
            return Ok(None);
        }
        sleep(LOOK_EVERY).await;
    }
}

impl Making<'_> {
    pub(super) fn save(&mut self) -> Result<(), DriverError> {
        self.save.save(&DriverState::from_typed(&self.state)?)
    }

    pub(super) fn tell(&self, line: &str) {
        self.cx.report.report(Event::DriverLine(line.to_owned()));
    }

    /// Copies the user's own key into the machine's folder.
    fn own_key(&mut self) -> Result<(), DriverError> {
        let Some(own) = SourceKey::new(KEY_PATH_FLAG, &self.state.ssh_key) else { return Ok(()) };
        let copy = own.copy_in(self.cx.machine_dir)?;
        own.import(&copy, self.cx.report)?;
        self.state.base.ssh_key_path = copy.to_string_lossy().into_owned();
        Ok(())
    }

    /// Uploads the machine's key, unless the user names one of the account.
    async fn key(&mut self) -> Result<(), DriverError> {
        if !self.state.ssh_key_fingerprint.is_empty() || self.state.ssh_key_id != 0 {
            return Ok(());
        }
        let line = match self.cx.seed {
            Some(seed) => seed.authorized_key.clone(),
            None => public_key_file(&self.state.base.ssh_key_path)?,
        };
        if self.state.key_asked_at != 0 && self.adopt_key().await? {
            return Ok(());
        }
        self.state.own_key_fingerprint = key::fingerprint(&line)?;
        self.state.key_asked_at = now();
        self.save()?;
        self.tell("Creating SSH key...");
        let name = mark::key_name(&self.state.mark());
        let error = match self.cloud.add_key(&name, &line).await {
            Ok(key) => {
                self.state.ssh_key_id = key.id;
                self.state.key_asked_at = 0;
                return self.save();
            }
            Err(error) => error,
        };
        let there = error.status() == Some(422);
        if (error.outcome_unknown() || there) && self.adopt_key().await? {
            return Ok(());
        }
        let wrong = explain("the SSH key can't be added to the account", &error);
        Err(if error.outcome_unknown() { wrong.with_hint(RESUME) } else { wrong })
    }

    /// Takes the machine's key where it is at DigitalOcean already: as ours where its name says so, else as the user's,
    /// which stays.
    async fn adopt_key(&mut self) -> Result<bool, DriverError> {
        let look = || key::look_up(self.cloud, &self.state);
        let Some(found) = look_for(self.state.key_asked_at, look).await? else { return Ok(false) };
        if key::is_ours(&found, &self.state) {
            self.state.ssh_key_id = found.id;
        } else {
            self.state.ssh_key_fingerprint = found.fingerprint;
        }
        self.state.key_asked_at = 0;
        self.save()?;
        Ok(true)
    }

    /// Asks for the droplet.
    async fn droplet(&mut self, user_data: &Secret) -> Result<(), DriverError> {
        if self.state.droplet_asked_at != 0 && self.adopt_droplet().await? {
            return Ok(());
        }
        self.state.droplet_asked_at = now();
        self.save()?;
        self.tell("Creating Digital Ocean droplet...");
        let wish = wanted(&self.state, user_data);
        let error = match self.cloud.make_droplet(&wish).await {
            Ok((droplet, action)) => {
                self.state.create_action_id = action.map_or(0, |action| action.id);
                return self.made(&droplet);
            }
            Err(error) => error,
        };
        if error.outcome_unknown() && self.adopt_droplet().await? {
            return Ok(());
        }
        let wrong = explain("the droplet can't be made", &error);
        Err(if error.outcome_unknown() { wrong.with_hint(RESUME) } else { wrong })
    }

    async fn adopt_droplet(&mut self) -> Result<bool, DriverError> {
        let look = || find_droplet(self.cloud, &self.state);
        match look_for(self.state.droplet_asked_at, look).await? {
            Some(droplet) => self.made(&droplet).map(|()| true),
            None => Ok(false),
        }
    }

    fn made(&mut self, droplet: &Droplet) -> Result<(), DriverError> {
        self.state.droplet_id = droplet.id;
        self.state.droplet_asked_at = 0;
        self.state.base.ip_address = droplet.address().unwrap_or_default();
        self.save()
    }
}

/// The machine's droplet, by its tag.
///
/// # Errors
/// Why it can't be looked up.
pub(super) async fn find_droplet(
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<Option<Droplet>, DriverError> {
    let tag = mark::machine_tag(&state.mark());
    let mut found = None;
    let look = cloud.droplets(Some(&tag), |page| {
        found = page.into_iter().next();
        found.is_none()
    });
    look.await.map_err(|error| explain("the machine's droplet can't be looked up", &error))?;
    Ok(found)
}

fn wanted<'a>(state: &'a DigitalOceanState, user_data: &'a Secret) -> NewDroplet<'a> {
    let key = match state.ssh_key_fingerprint.as_str() {
        "" => NumberOr::Number(state.ssh_key_id),
        named => NumberOr::of(named),
    };
    let marks = [mark::store_tag(&state.marked_store), mark::machine_tag(&state.mark())];
    NewDroplet {
        name: &state.base.machine_name,
        region: &state.region,
        size: &state.size,
        image: NumberOr::of(&state.image),
        ssh_keys: vec![key],
        backups: state.backups,
        ipv6: state.ipv6,
        monitoring: state.monitoring,
        tags: state.own_tags().map(str::to_owned).chain(marks).collect(),
        user_data: user_data.expose(),
        private_networking: state.private_networking && state.vpc_uuid.is_empty(),
        vpc_uuid: &state.vpc_uuid,
        with_droplet_agent: state.droplet_agent.parse().ok(),
    }
}

fn public_key_file(private: &str) -> Result<String, DriverError> {
    let path = format!("{private}.pub");
    std::fs::read_to_string(&path).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("the machine's public key can't be read: {path}: {error}"))
            .with_source(error)
    })
}
