//! The driver's door: what the program may ask of whatever makes hosts.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{DriverError, ErrorKind, FlagSpec, FlagValues, MachineName, Reporter, SshEndpoint, State};

/// What a driver is, as data: it makes the flags of `create`, help, documentation, and selects conformance tests.
#[derive(Clone, Debug)]
pub struct DriverSpec {
    /// The name after `-d`, and `DriverName` of the record.
    pub name: Cow<'static, str>,
    /// What it makes hosts of, in one line, for lists and documentation.
    pub summary: Cow<'static, str>,
    /// Its flags.
    pub flags: Cow<'static, [FlagSpec]>,
    /// What it can do.
    pub capabilities: Capabilities,
}

/// What a driver can do beyond create, observe and remove.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Whether its hosts can be reached by SSH and provisioned. False for hosts that are only a URL.
    pub ssh: bool,
    /// Turning a stopped host on.
    pub start: PowerSupport,
    /// Turning a host off, asking it first.
    pub stop: PowerSupport,
    /// Off and on again.
    pub restart: PowerSupport,
    /// Turning a host off at once.
    pub kill: PowerSupport,
    /// Whether `create` can hand user data to cloud-init.
    pub user_data: bool,
    /// Whether `observe_many` costs fewer requests than as many calls of `observe`.
    pub batch: bool,
}

/// Whether and how a power operation can be done.
#[derive(Clone, Debug, Default)]
pub enum PowerSupport {
    /// The driver does it.
    #[default]
    Driver,
    /// The driver can't; the host can do it to itself when told so by SSH.
    OverSsh,
    /// It can't be done; the text is the error, in the reference program's words.
    No(&'static str),
}

/// What a driver keeps of a machine: `Driver` of config.json, key for key as the reference program's driver of the
/// same name has it. Typed inside the driver, opaque outside.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct DriverState(pub Map<String, Value>);

/// Says the keys only: some values are secret, and only the driver knows which.
impl std::fmt::Debug for DriverState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DriverState ")?;
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl DriverState {
    /// Makes the state from a driver's own type.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] where that type does not serialise to a JSON object: a mistake in the driver.
    pub fn from_typed<T: Serialize>(typed: &T) -> Result<Self, DriverError> {
        match serde_json::to_value(typed) {
            Ok(Value::Object(map)) => Ok(Self(map)),
            Ok(other) => Err(DriverError::new(
                ErrorKind::Other,
                format!("the driver's state is not a JSON object but {other}"),
            )),
            Err(error) => {
                Err(DriverError::new(ErrorKind::Other, "the driver's state can't be written")
                    .with_source(error))
            }
        }
    }

    /// Reads the state in a driver's own type.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the record has something else in the place of a value.
    pub fn typed<T: DeserializeOwned>(&self) -> Result<T, DriverError> {
        // From the map as it is: a copy of it costs more than the reading, and `active` reads a thousand.
        T::deserialize(&self.0).map_err(|error| {
            DriverError::new(
                ErrorKind::Config,
                format!("the Driver part of config.json can't be read: {error}"),
            )
        })
    }

    /// A text of the state; empty where there is none. For the keys that all drivers share.
    #[must_use]
    pub fn str(&self, key: &str) -> &str {
        self.0.get(key).and_then(Value::as_str).unwrap_or_default()
    }
}

/// What a record says of a host without asking anybody.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// What `ip` prints; empty where the address is not known yet.
    pub ip: String,
    /// What `url` prints, e.g. `tcp://203.0.113.7:2376`; empty where not known yet.
    pub url: String,
    /// How to reach it by SSH; `None` where it has no SSH or no address yet.
    pub ssh: Option<SshEndpoint>,
}

/// What a driver sees of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the host is doing.
    pub state: State,
    /// The driver's state where the look changed it, e.g. because an address is new: to be saved.
    pub changed: Option<DriverState>,
}

/// A power operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Power {
    /// On.
    Start,
    /// Off, asking the host first.
    Stop,
    /// Off and on again.
    Restart,
    /// Off at once.
    Kill,
}

/// What the flags are read for.
#[derive(Clone, Copy, Debug)]
pub struct ConfigureContext<'a> {
    /// The machine to be.
    pub name: &'a MachineName,
    /// The store's root folder.
    pub store_path: &'a Path,
}

/// What a driver may use while it works.
pub struct Cx<'a> {
    /// The machine.
    pub name: &'a MachineName,
    /// The machine's folder, for keys and disks. It exists, except while `precreate` looks: nothing is made before that.
    pub machine_dir: &'a Path,
    /// The store's root folder.
    pub store_path: &'a Path,
    /// Where to say what is going on.
    pub report: &'a dyn Reporter,
}

/// Saves the driver's state while `create` is under way.
pub trait Checkpoint: Send {
    /// Puts the state on disk; when it returns, a crash can't lose it. To be called with every id *before* the next
    /// request goes out.
    ///
    /// # Errors
    /// [`ErrorKind::Other`] where the state could not be written; the driver must stop and pass the error on.
    fn save(&mut self, state: &DriverState) -> Result<(), DriverError>;
}

/// Makes hosts and says where they are. Stateless: state in, new state out. It knows nothing of SSH sessions,
/// engines, certificates, the terminal or the store.
///
/// Dropping a future cancels the operation: a driver must leave the state of its last checkpoint usable.
#[async_trait]
pub trait Driver: Send + Sync {
    /// What it is.
    fn spec(&self) -> &DriverSpec;

    /// Turns flags into this driver's wish for a machine. Pure: no I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] with the reference program's text where flags are missing or make no sense.
    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError>;

    /// What the record says of the host. Pure: no I/O.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the record can't be read.
    fn known(&self, state: &DriverState) -> Result<Known, DriverError>;

    /// Can `create` succeed? Looks at credentials, quota, names taken, tools installed, files named by flags.
    ///
    /// # Errors
    /// Whatever stands in the way; the program then exits with 3 and leaves no record.
    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError>;

    /// Makes the host, or goes on where an earlier call stopped: it first looks which of its work is done.
    ///
    /// # Errors
    /// What failed; what was made until then is in the last checkpoint.
    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError>;

    /// Looks at the host.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where it is gone; [`ErrorKind::Unavailable`] where nobody answered.
    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError>;

    /// Looks at many hosts. Only called where [`Capabilities::batch`] says that it costs fewer requests than as many
    /// calls of [`Driver::observe`]; the answers are in the order of the questions.
    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        let mut answers = Vec::with_capacity(hosts.len());
        for (cx, state) in hosts {
            answers.push(self.observe(cx, state).await);
        }
        answers
    }

    /// Turns the host on or off. Only called for what [`Capabilities`] says that the driver does.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`] where the host is already so.
    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError>;

    /// Removes the host and all that was made for it. Idempotent: "gone" is success.
    ///
    /// # Errors
    /// What could not be removed, and why.
    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError>;
}

/// Finds a driver by name: built in, or in another process.
pub trait DriverSource: Send + Sync {
    /// The driver of this name.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] with the reference program's text where there is none.
    fn driver(&self, name: &str) -> Result<Arc<dyn Driver>, DriverError>;

    /// The names of all built-in drivers, for help and completion.
    fn names(&self) -> Vec<String>;
}
