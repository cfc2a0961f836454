//! The driver's door: what the program may ask of whatever makes hosts.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    DriverError, ErrorKind, FlagSpec, FlagValues, MachineName, Reporter, Secret, SshEndpoint, State,
};

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

impl DriverSpec {
    /// The error for something that the driver does not do at all, e.g. `clone hosts`.
    #[must_use]
    pub fn cannot(&self, what: &str) -> DriverError {
        DriverError::new(ErrorKind::Unsupported, format!("the driver \"{}\" can't {what}", self.name))
    }
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
    /// Halting a running host where it stands, and letting it go on ([`Power::Pause`], [`Power::Resume`]).
    pub pause: bool,
    /// Keeping the host's disks as they are under a name, and going back to that.
    pub snapshot: bool,
    /// Making a machine of which the disk is a copy of another's ([`Driver::clone_wish`]).
    pub clone: bool,
    /// Other numbers of processors, memory, a larger disk ([`Driver::resize`]).
    pub resize: bool,
    /// Whether `create` can hand user data to cloud-init: it is then given a [`Seed`].
    pub user_data: bool,
    /// Whether `observe_many` costs fewer requests than as many calls of `observe`.
    pub batch: bool,
    /// Whether its hosts stand behind rules that say who may connect, and these can be narrowed ([`Cx::allow_from`],
    /// [`Driver::allow_from`]).
    pub firewall: bool,
    /// Whether everything that it makes carries a mark with the machine's name and the store's id, by which what has no
    /// record is found ([`Driver::owned`]).
    pub marks: bool,
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
    /// The TCP port on which the engine listens on the host itself, where a forwarded port makes that another one than
    /// the URL's.
    pub engine_port: Option<u16>,
}

/// What a driver sees of a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// What the host is doing.
    pub state: State,
    /// The driver's state where the look changed it, e.g. because an address is new: to be saved.
    pub changed: Option<DriverState>,
    /// The last thing that was seen of the host's boot, in one line, e.g. of its serial console; empty where nothing
    /// shows that.
    pub last_sign: String,
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
    /// Halted where it stands; its memory is kept. Only where [`Capabilities::pause`] says so.
    Pause,
    /// On from where it was halted.
    Resume,
}

/// What a driver knows of the host that `create` is about to make. It lets the engine be set up by user data, before
/// anybody has seen the host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Prospect {
    /// What the image has in it, where that is known for certain, e.g. because this program made it.
    pub image: Option<ImageFacts>,
    /// Whether user data stays on this computer, so that the engine's private key may be in it.
    pub private: bool,
    /// Folders of this computer that the host is to mount.
    pub mounts: Vec<Mount>,
    /// The wish where the look made it more definite, e.g. by the address that the host will have. It takes the wish's
    /// place: it is recorded before `create`, and [`Driver::known`] is asked again.
    pub wish: Option<DriverState>,
    /// Whether the host will read nothing of the seed but the authorized key, as boot2docker does. It then has an SSH
    /// host key of its own.
    pub seedless: bool,
    /// The user's own user data, which becomes a part of the host's.
    pub user_data: Option<Secret>,
    /// How much user data the provider takes, bytes of [`Seed::user_data`]; `None` where that is more than there can be, or not
    /// known.
    pub user_data_limit: Option<usize>,
}

/// What an image has in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageFacts {
    /// The content of its `/etc/os-release`.
    pub os_release: String,
    /// Its architecture as `uname -m` has it, e.g. `x86_64`.
    pub arch: String,
    /// The engine in it; `None` where there is none.
    pub engine: Option<ImageEngine>,
}

/// The engine in an image: installed from a package, enabled at boot, and not started yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageEngine {
    /// The package, e.g. `docker.io`.
    pub package: String,
    /// The version, e.g. `20.10.24`.
    pub version: String,
    /// Path of its program, e.g. `/usr/sbin/dockerd`.
    pub dockerd: String,
}

/// A folder that is mounted in the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What stands first in fstab: a device or tag.
    pub source: String,
    /// Absolute path in the host; it is made where it is missing.
    pub target: String,
    /// The file system, e.g. `9p`.
    pub kind: String,
    /// Its options, e.g. `trans=virtio,version=9p2000.L`.
    pub options: String,
}

/// What a new host is to be told before its first boot.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The machine's public key, as a line of `authorized_keys`. The private key is where [`Known::ssh`] says.
    pub authorized_key: String,
    /// User data for cloud-init: user, key, host name, SSH host keys, and what sets up the engine. It may be a MIME
    /// message and may have private keys in it (see [`Prospect::private`]).
    pub user_data: Secret,
}

/// Other sizes for a host; `None` leaves what is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resize {
    /// Number of virtual processors.
    pub cpus: Option<u32>,
    /// Memory, MiB.
    pub memory_mib: Option<u64>,
    /// Size of the disk, MiB; it can only grow.
    pub disk_mib: Option<u64>,
}

/// A snapshot of a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: String,
    /// When it was taken, seconds since 1970; 0 where not known.
    pub taken_s: u64,
    /// Bytes that it takes; `None` where not known.
    pub bytes: Option<u64>,
    /// Whether the running host's memory is part of it.
    pub with_memory: bool,
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
    /// The store's id: it goes into the mark of everything that is made, beside the machine's name. Empty where the store
    /// has none yet, which is never so in `create` of a driver with [`Capabilities::marks`].
    pub store_id: &'a str,
    /// Where to say what is going on.
    pub report: &'a dyn Reporter,
    /// What a new host is to be told: in `create`, for drivers with [`Capabilities::user_data`].
    pub seed: Option<&'a Seed>,
    /// From which networks (CIDR, e.g. `198.51.100.0/24`) a new host may be reached by SSH and at its engine's port; empty
    /// for all. Only in `precreate` and `create`, for drivers with [`Capabilities::firewall`].
    pub allow_from: &'a [String],
    /// Whether who may connect is narrowed after the first contact by [`Driver::allow_from`], because only the host can say from
    /// where this computer comes: `precreate` refuses what could not be narrowed then, and `create` gives the host rules of
    /// its own, open until then. Only there, and only where `allow_from` is empty.
    pub narrowed_later: bool,
}

/// Where the answers about many hosts go: the place of the question, and what was seen.
pub type Answers<'a> = &'a (dyn Fn(usize, Result<Observed, DriverError>) + Send + Sync);

/// What a driver may use where it is asked about an account rather than about a machine.
#[derive(Clone, Copy)]
pub struct AccountCx<'a> {
    /// The store's id.
    pub store_id: &'a str,
    /// The store's root folder.
    pub store_path: &'a Path,
    /// Where to say what is going on.
    pub report: &'a dyn Reporter,
}

/// Something at a provider that carries the mark of a store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    /// What it is, in the provider's word, e.g. `instance`, `key pair`.
    pub kind: String,
    /// The provider's id of it, enough to remove it, e.g. `i-0abc…` or `us-central1-a/dev`.
    pub id: String,
    /// The machine that it was made for; empty where it is shared by machines of the store.
    pub machine: String,
    /// What else helps to recognise it, e.g. `running, 203.0.113.7`; may be empty.
    pub about: String,
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

    /// Whether what the flags leave to the surroundings is there: credentials in the files of a provider's own tools, a role
    /// of the computer. Called after [`Driver::configure`], before `precreate`; an error is one of the flags, as in the
    /// reference program, whose drivers look while they read them.
    ///
    /// # Errors
    /// What is neither in the flags nor around.
    async fn complete(&self, _cx: &Cx<'_>, _wish: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }

    /// Can `create` succeed? Looks at credentials, quota, names taken, tools installed, files named by flags.
    ///
    /// # Errors
    /// Whatever stands in the way; the program then exits with 3 and leaves no record.
    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError>;

    /// What is known of the host that `create` would make of this wish. Called before `create`, only where
    /// [`Capabilities::user_data`] says that a seed can be given. Costs no more than a look at a local file.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the wish can't be read.
    async fn prospect(&self, _cx: &Cx<'_>, _wish: &DriverState) -> Result<Prospect, DriverError> {
        Ok(Prospect::default())
    }

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
    /// [`ErrorKind::NotFound`] where it is gone: the record goes with it, so that this is only said where the account was asked
    /// in which the host was made (see [`Driver::made_in`]); [`ErrorKind::Credentials`] where the credentials at hand open
    /// another; [`ErrorKind::Unavailable`] where nobody answered.
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

    /// [`Driver::observe_many`], each answer handed over as soon as it is there: who has waited long enough drops the call
    /// and keeps what came. A driver of several accounts asks them at the same time, so that one that is silent costs its
    /// own hosts their answers only.
    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        for (at, seen) in self.observe_many(hosts).await.into_iter().enumerate() {
            answer(at, seen);
        }
    }

    /// Turns the host on or off. Only called for what [`Capabilities`] says that the driver does.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`] where the host is already so.
    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError>;

    /// The wish for a machine whose disk begins as a copy of another's: [`Driver::create`] then makes it as any other,
    /// with a seed and an identity of its own. Pure: no I/O. That the source is off is looked at by
    /// [`Driver::precreate`]. Only called where [`Capabilities::clone`] says so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the source's record can't be read.
    fn clone_wish(
        &self,
        _cx: &ConfigureContext<'_>,
        _source: &DriverState,
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("clone hosts"))
    }

    /// Gives the host other sizes. Only called where [`Capabilities::resize`] says so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where a size can't be had, e.g. a smaller disk; [`ErrorKind::Other`] where the host must be
    /// off for it.
    async fn resize(
        &self,
        _cx: &Cx<'_>,
        _state: &DriverState,
        _to: Resize,
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("resize hosts"))
    }

    /// The host's snapshots, oldest first. This and the three below are only called where [`Capabilities::snapshot`] says so.
    ///
    /// # Errors
    /// Why they can't be listed.
    async fn snapshots(&self, _cx: &Cx<'_>, _state: &DriverState) -> Result<Vec<Snapshot>, DriverError> {
        Err(self.spec().cannot("take snapshots"))
    }

    /// Keeps the host as it is under a name: with its memory where it runs, if the driver can.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyDone`] where there is a snapshot of this name.
    async fn take_snapshot(
        &self,
        _cx: &Cx<'_>,
        _state: &DriverState,
        _name: &str,
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("take snapshots"))
    }

    /// Makes the host what it was when the snapshot was taken.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of this name.
    async fn restore_snapshot(
        &self,
        _cx: &Cx<'_>,
        _state: &DriverState,
        _name: &str,
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("restore snapshots"))
    }

    /// Forgets a snapshot.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] where there is none of this name.
    async fn remove_snapshot(
        &self,
        _cx: &Cx<'_>,
        _state: &DriverState,
        _name: &str,
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("remove snapshots"))
    }

    /// Narrows who may reach the host by SSH and at its engine's port to these networks (CIDR). Only called where
    /// [`Capabilities::firewall`] says so. A rule that machines share is left as it is for the others: the driver then
    /// refuses with [`ErrorKind::Unsupported`].
    ///
    /// # Errors
    /// Why that can't be done.
    async fn allow_from(
        &self,
        _cx: &Cx<'_>,
        _state: &DriverState,
        _networks: &[String],
    ) -> Result<DriverState, DriverError> {
        Err(self.spec().cannot("narrow who may connect"))
    }

    /// The account and region in which a machine's host is, as a text that is the same for all machines whose
    /// [`Driver::owned`] gives the same answer. It has no secret in it, e.g. `AKIA…/us-east-1`. Pure: no I/O. Only called
    /// where [`Capabilities::marks`] says so.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the record can't be read.
    fn account(&self, _state: &DriverState) -> Result<String, DriverError> {
        Err(self.spec().cannot("tell accounts apart"))
    }

    /// The account in which the host was made, in the provider's own word (an account's number, a project, a subscription), where
    /// the record has it. The driver then looks whether that is the account which the credentials at hand open, before it says
    /// that the host is gone: there may be several sources of credentials, and today's another one than that of `create`. `None`
    /// where the record does not say; what is said to be gone is then doubted where nothing of the store is in the account.
    /// Pure: no I/O.
    fn made_in(&self, _state: &DriverState) -> Option<String> {
        None
    }

    /// Everything in the account of this state that carries the store's mark ([`AccountCx::store_id`]), in an order in
    /// which it can be removed. The state is that of any machine there, or what [`Driver::configure`] makes of flags. Only
    /// called where [`Capabilities::marks`] says so.
    ///
    /// # Errors
    /// Why it can't be listed.
    async fn owned(&self, _cx: &AccountCx<'_>, _state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        Err(self.spec().cannot("find what it made"))
    }

    /// Removes one of these; "gone" is success.
    ///
    /// # Errors
    /// Why it can't be removed.
    async fn remove_owned(
        &self,
        _cx: &AccountCx<'_>,
        _state: &DriverState,
        _owned: &Owned,
    ) -> Result<(), DriverError> {
        Err(self.spec().cannot("remove what has no record"))
    }

    /// Removes the host and all that was made for it. Idempotent: "gone" is success, on the condition of [`Driver::observe`].
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
