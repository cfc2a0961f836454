//! Plans: what is to be done on a host, as data.

mod build;
mod daemon;
mod daemon_json;
mod error;
mod install;
mod layout;

use machine_core::Secret;

pub(crate) use build::HOSTNAME_MAX;
pub use build::{certificates_plan, plan, registry_plan, upgrade_plan, wait_plan};
pub use error::PlanError;

use crate::PackageManager;

/// What is to be done on a host, in order. Nothing in it depends on how it gets there: one renderer makes a shell script of it,
/// and files, packages and units are kept apart from commands so that another can make cloud-init user data of it.
///
/// Each step looks first whether its work is done, so that a plan can be run again.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What the user should know although the plan can be carried out.
    pub warnings: Vec<String>,
    /// Proxy variables, name and value, for every command of the plan. An address of a proxy may have a password in it.
    pub environment: Vec<(String, Secret)>,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What people see, e.g. `install engine`.
    pub name: String,
    /// After so many seconds the step has failed.
    pub limit_s: u32,
    /// What is done.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Action {
    /// Waits until cloud-init has finished, successfully or not.
    WaitForCloudInit,
    /// Waits until nobody holds a lock of the package manager.
    WaitForPackageLock(PackageManager),
    /// Gives the name an address of its own (127.0.1.1) in `/etc/hosts`, so that it resolves without DNS.
    HostsEntry {
        /// The name.
        name: String,
    },
    /// Sets the host's name, now and for later boots.
    Hostname {
        /// The name.
        name: String,
        /// Where it is kept: `/etc/hostname`, except where a live system keeps it elsewhere.
        file: String,
    },
    /// Installs packages that are missing.
    Packages {
        /// With what.
        manager: PackageManager,
        /// Which.
        names: Vec<String>,
    },
    /// Installs the engine where there is none.
    InstallEngine(Install),
    /// Brings a package to its newest version.
    UpgradePackages {
        /// With what.
        manager: PackageManager,
        /// Which of these are installed is looked up; the others are left alone.
        names: Vec<String>,
    },
    /// Makes a file what it should be.
    File(File),
    /// Lets clients through a firewall that the host itself runs (firewalld or ufw), if it is active.
    OpenPort {
        /// The TCP port.
        port: u16,
    },
    /// Has the service start at boot.
    Enable {
        /// The service, e.g. `docker`.
        service: String,
    },
    /// Restarts the engine if a file that it reads at its start has changed, here or in an earlier run that did not get so far, or
    /// if it does not run or does not listen.
    RestartEngineIfChanged {
        /// The service, e.g. `docker`.
        service: String,
        /// The TCP port on which it should listen.
        port: u16,
    },
    /// Waits until something listens on a TCP port.
    WaitForPort {
        /// The port.
        port: u16,
    },
    /// Runs a command.
    Command {
        /// The program and its arguments.
        argv: Vec<String>,
        /// Whether it is run at all.
        when: When,
    },
}

/// When a command is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Each time.
    Always,
    /// When the step before it changed something.
    PreviousChanged,
}

/// How the engine gets there.
#[derive(Clone, Debug, PartialEq)]
pub enum Install {
    /// A shell script from an address is fetched, looked at and run.
    Script {
        /// The address.
        url: String,
    },
    /// docker.com's repository for this distribution is added, and its packages are installed.
    DockerComRepository {
        /// The repository file.
        url: String,
    },
    /// The distribution's package.
    Packages {
        /// With what.
        manager: PackageManager,
        /// Which packages.
        names: Vec<String>,
        /// Packages that are taken as well where they exist under these names.
        wanted: Vec<String>,
    },
}

/// A file on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// Absolute path; missing folders are made, 0755.
    pub path: String,
    /// What is in it.
    pub content: Content,
    /// Permission bits, e.g. 0o644. The owner is root.
    pub mode: u32,
    /// Whether the engine reads it only at its start.
    pub restarts_engine: bool,
    /// Whether a file of somebody else that stood there is kept beside it, with `.before-docker-machine` added to its name.
    pub keep_original: bool,
}

/// What is in a file. Its `Debug` shows nothing of it: an engine's environment may have passwords.
#[derive(Clone, PartialEq)]
pub enum Content {
    /// Pieces, one after the other.
    Pieces(Vec<Piece>),
    /// A text that must not be shown.
    Secret(Secret),
}

/// A piece of a file's content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// As it is.
    Text(String),
    /// The path of the engine's program, looked up once the engine is there.
    DockerdPath,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pieces(pieces) => write!(f, "Pieces({})", pieces.len()),
            Self::Secret(_) => f.write_str("Secret(<redacted>)"),
        }
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Self::Pieces(vec![Piece::Text(text)])
    }
}
