//! Why there is no plan.

/// Why a host can't be provisioned. Its text says what is wrong there; [`PlanError::hint`] what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The user is not root, and there is neither sudo nor doas.
    #[error("the user {user:?} is not root on the host, and there is neither sudo nor doas")]
    NoRoot {
        /// Who logged in.
        user: String,
    },
    /// sudo asks for a password or a terminal.
    #[error("sudo on the host does not let the user {user:?} through without asking: {said}")]
    SudoRefuses {
        /// Who logged in.
        user: String,
        /// What sudo said.
        said: String,
    },
    /// Neither systemd nor OpenRC runs there.
    #[error("{system}: neither systemd nor OpenRC runs there, so nothing can start an engine")]
    NoInitSystem {
        /// The system.
        system: String,
    },
    /// The only engine there runs without root's rights.
    #[error(
        "the engine on the host runs in rootless mode as {user:?}; it can't be given a TLS port this way"
    )]
    Rootless {
        /// Who logged in.
        user: String,
    },
    /// The engine there is a snap.
    #[error("the engine on the host is a snap: it does not read /etc/docker nor drop-ins of docker.service")]
    Snap,
    /// No engine, and none may be installed.
    #[error("there is no engine on the host, and none is to be installed")]
    NoEngine,
    /// The distribution has no package for it.
    #[error("{system} has no package of the engine in its own repositories")]
    NoPackage {
        /// The system.
        system: String,
    },
    /// The engine belongs to the image, and it isn't there.
    #[error("{system} brings the engine with its image, and it is not there")]
    NotInImage {
        /// The system.
        system: String,
    },
    /// No package manager that is known here.
    #[error("{system} has no package manager that is known here (apt, dnf, yum, zypper, apk, pacman, tdnf)")]
    NoPackageManager {
        /// The system.
        system: String,
    },
    /// daemon.json and our flags say different things; dockerd then does not start.
    #[error(
        "/etc/docker/daemon.json on the host sets {keys}, which docker-machine sets on dockerd's command line; dockerd does not start when a setting stands in both"
    )]
    DaemonJsonConflict {
        /// The keys, with commas.
        keys: String,
    },
    /// daemon.json can't be read.
    #[error("/etc/docker/daemon.json on the host is not valid, so dockerd does not start: {why}")]
    DaemonJsonInvalid {
        /// What is wrong with it.
        why: String,
    },
    /// Another drop-in comes after ours.
    #[error("{path} on the host sets ExecStart= of docker.service and comes after 10-machine.conf")]
    RivalDropIn {
        /// Its path.
        path: String,
    },
    /// A value can't be written down where the engine reads it.
    #[error("{what} {value:?} can't be used: {why}")]
    BadValue {
        /// Which option, e.g. `--engine-label`.
        what: &'static str,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is not enough room for an engine.
    #[error(
        "only {free_mib} MiB are free on the host under {path}; an engine needs about {needed_mib} MiB to be installed"
    )]
    DiskFull {
        /// Where.
        path: &'static str,
        /// What there is.
        free_mib: u64,
        /// What it takes.
        needed_mib: u64,
    },
    /// There is nothing to upgrade by.
    #[error(
        "the engine on the host comes from no package that is known here, so it can't be upgraded this way"
    )]
    NotFromPackage,
}

impl PlanError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoRoot { .. } => "log in as root, or install sudo there and let the user in without a password".to_owned(),
            Self::SudoRefuses { user, .. } => format!(
                "log in as root, or put a line into /etc/sudoers.d there: {user} ALL=(ALL) NOPASSWD: ALL"
            ),
            Self::NoInitSystem { .. } => "use a host that was booted with systemd or OpenRC".to_owned(),
            Self::Rootless { .. } => {
                "install the engine for the whole host beside it, or use it over SSH: docker -H ssh://USER@HOST".to_owned()
            }
            Self::Snap => "remove the snap there (sudo snap remove docker), then try again".to_owned(),
            Self::NoEngine => "install one there, or leave the choice out: --engine-install-url is tried by default".to_owned(),
            Self::NoPackage { .. } => {
                "leave --engine-install out: the engine is then installed from docker.com's packages".to_owned()
            }
            Self::NotInImage { .. } => "take an image that has it".to_owned(),
            Self::NoPackageManager { .. } => "install an engine there by hand, then try again".to_owned(),
            Self::DaemonJsonConflict { .. } => {
                "take these keys out of /etc/docker/daemon.json there, and give them as --engine-… flags where you need them".to_owned()
            }
            Self::DaemonJsonInvalid { .. } => "repair or remove the file there".to_owned(),
            Self::RivalDropIn { path } => format!("remove {path} there, or its ExecStart= lines"),
            Self::BadValue { .. } => return None,
            Self::DiskFull { .. } => "make room there, or use a larger disk".to_owned(),
            Self::NotFromPackage => "upgrade it there the way it was installed".to_owned(),
        })
    }
}
