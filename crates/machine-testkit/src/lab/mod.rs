//! Real Debian 12 hosts for tests: systemd as PID 1, sshd and Docker's engine, each in its own mount, pid, uts,
//! ipc, net and cgroup namespaces, a second apiece.
//!
//! ```no_run
//! use machine_testkit::lab::{Lab, Spec, Variant};
//! # fn main() -> Result<(), machine_testkit::lab::LabError> {
//! let Some(lab) = Lab::for_test()? else { return Ok(()) }; // says why it skips
//! let host = lab.host(Spec::new(Variant::Docker))?;
//! println!("ssh -i {} root@{}", host.key().display(), host.address());
//! # Ok(()) } // the host is gone when `host` is dropped
//! ```
//!
//! State lives in `<checkout>/target/lab` (or `MACHINE_LAB_DIR`): `base` is the root file system, made once from
//! the mirror that apt's own configuration names; every host writes to an overlay of its own above it. A host that
//! belongs to a test dies with the test's process, at the latest when the next lab is opened.

mod base;
mod boot;
mod cgroup;
mod command;
mod error;
mod host;
mod layer;
mod lock;
mod mirror;
mod network;
mod prepare;
mod record;
mod spec;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::Duration,
};

pub use base::ASKS_PASSWORD;
pub use error::LabError;
pub use host::{Host, Login, Output};
pub use mirror::MirrorProxy;
pub use record::HostRecord;
pub use spec::{Options, Spec, Variant};

use crate::skip;

/// How many hosts of tests may be up at once, all test processes of one checkout together (`MACHINE_LAB_SLOTS`).
const SLOTS: usize = 6;
/// How long a test waits for one of them.
const SLOT_LIMIT: Duration = Duration::from_secs(600);

/// Programs without which there is no lab, and the Debian package of each.
pub const PROGRAMS: &[(&str, &str)] = &[
    ("mmdebstrap", "mmdebstrap"),
    ("ip", "iproute2"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("mknod", "coreutils"),
    ("bash", "bash"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("tar", "tar"),
];

/// The kind of a key that every user of every lab host accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// RSA, 2048 bit, PKCS#1 PEM, as docker-machine has always made them.
    Rsa,
    /// ECDSA P-256, OpenSSH's format.
    Ecdsa,
    /// Ed25519, OpenSSH's format.
    Ed25519,
}

impl KeyKind {
    const ALL: [Self; 3] = [Self::Rsa, Self::Ecdsa, Self::Ed25519];

    fn file_name(self) -> &'static str {
        match self {
            Self::Rsa => "id_rsa",
            Self::Ecdsa => "id_ecdsa",
            Self::Ed25519 => "id_ed25519",
        }
    }
}

/// A place where hosts are made. Opening one twice, or from many processes, is fine.
#[derive(Debug, Clone)]
pub struct Lab {
    dir: PathBuf,
    /// How many hosts there may be at a time that end with who asked for them.
    slots: usize,
}

impl Lab {
    /// The lab of this checkout, its root file system made when it is missing (about a minute), and hosts that
    /// dead tests have left behind taken down.
    ///
    /// # Errors
    /// Not root, a program of [`PROGRAMS`] missing, or a step of the making failed; the message says which.
    pub fn open() -> Result<Self, LabError> {
        let lab = Self::without_base()?;
        base::ensure(&lab.dir)?;
        lab.reap()?;
        Ok(lab)
    }

    /// The lab for a test: `None`, with the reason printed, where this machine can't have one.
    ///
    /// # Errors
    /// As [`Lab::open`].
    ///
    /// # Panics
    /// Where `MACHINE_TEST_REQUIRE_ALL` is set and something is missing.
    pub fn for_test() -> Result<Option<Self>, LabError> {
        let programs: Vec<&str> = PROGRAMS.iter().map(|(program, _)| *program).collect();
        if !skip::require_root() || !skip::require(&programs) {
            return Ok(None);
        }
        Self::open().map(Some)
    }

    /// The lab as it is: for listing and taking down, which need no root file system.
    ///
    /// # Errors
    /// Not root, or the state folder can't be made.
    pub fn without_base() -> Result<Self, LabError> {
        if !rustix::process::geteuid().is_root() {
            return Err(LabError::NotRoot);
        }
        let dir = state_dir();
        fs::create_dir_all(dir.join("hosts")).map_err(|e| LabError::file("make", &dir, e))?;
        Ok(Self { dir, slots: slots() })
    }

    /// The same with room for so many hosts at a time, for who needs more of them at once than there usually are.
    #[must_use]
    pub fn with_room_for(mut self, hosts: usize) -> Self {
        self.slots = self.slots.max(hosts);
        self
    }

    /// Brings a host up for the caller: it answers on its SSH port, and its engine on its socket where the variant
    /// has a running one. It is taken down when the value is dropped.
    ///
    /// # Errors
    /// The name is taken, no slot became free, or the host did not come up (with the end of its console).
    pub fn host(&self, spec: Spec) -> Result<Host, LabError> {
        let slot = lock::Slot::take(&self.dir, self.slots, SLOT_LIMIT)?;
        host::bring_up(self, &spec, host::Lifetime::Caller(slot))
    }

    /// Brings a host up that outlives this process, until [`Lab::down`].
    ///
    /// # Errors
    /// As [`Lab::host`].
    pub fn lasting_host(&self, spec: Spec) -> Result<HostRecord, LabError> {
        host::bring_up(self, &spec, host::Lifetime::Lasting).map(|host| host.record().clone())
    }

    /// A lasting host that is already up, for commands on it. Dropping the value leaves it up.
    ///
    /// # Errors
    /// There is no such host.
    pub fn attach(&self, name: &str) -> Result<Host, LabError> {
        host::attach(self, record::load(&self.dir, name)?)
    }

    /// All hosts that have a folder here, by name.
    ///
    /// # Errors
    /// The state folder can't be read.
    pub fn list(&self) -> Result<Vec<HostRecord>, LabError> {
        record::list(&self.dir)
    }

    /// Takes a host down, whoever made it.
    ///
    /// # Errors
    /// There is no such host, or something of it stays behind.
    pub fn down(&self, name: &str) -> Result<(), LabError> {
        host::tear_down(&record::load(&self.dir, name)?)
    }

    /// Takes down what belongs to processes that are gone.
    ///
    /// # Errors
    /// As [`Lab::down`].
    pub fn reap(&self) -> Result<(), LabError> {
        let _one_at_a_time = lock::exclusive(&self.dir.join("lab.lock"))?;
        for abandoned in record::abandoned(&self.dir)? {
            host::tear_down(&abandoned)?;
        }
        Ok(())
    }

    /// The private key of that kind, accepted by every user of every host here.
    pub fn key(&self, kind: KeyKind) -> PathBuf {
        self.dir.join("keys").join(kind.file_name())
    }

    /// A tar of a tiny root file system (a static busybox with its applets), for `docker import FILE NAME`: a real
    /// image where no registry can be reached.
    pub fn image_tar(&self) -> PathBuf {
        self.dir.join("busybox.tar")
    }

    /// Debian 12's docker client (20.10) of the root file system; it runs on this machine too where its C library
    /// is not older than Debian 12's.
    pub fn docker_client(&self) -> PathBuf {
        base::Base::of(&self.dir).rootfs().join("usr/bin/docker")
    }

    /// Where this lab keeps its state.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// `MACHINE_LAB_DIR`, or `target/lab` of the checkout that this crate was built from.
fn state_dir() -> PathBuf {
    env::var_os("MACHINE_LAB_DIR").filter(|d| !d.is_empty()).map_or_else(
        || {
            Path::new(env!("CARGO_MANIFEST_DIR"))
                .ancestors()
                .nth(2)
                .unwrap_or(Path::new("/"))
                .join("target/lab")
        },
        PathBuf::from,
    )
}

fn slots() -> usize {
    env::var("MACHINE_LAB_SLOTS").ok().and_then(|v| v.parse().ok()).filter(|n| *n > 0).unwrap_or(SLOTS)
}
