//! What is known of a host before anything is changed there.

use std::collections::BTreeMap;

use machine_core::ImageFacts;

use crate::probe::{self, ProbeError};
use crate::{Family, OsRelease};

/// What the probe found on a host.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostFacts {
    /// The system, by its os-release file.
    pub os: OsRelease,
    /// The family that it belongs to.
    pub family: Family,
    /// The kernel's release, `uname -r`.
    pub kernel: String,
    /// The processor's architecture, `uname -m`.
    pub arch: String,
    /// The host's name now.
    pub hostname: String,
    /// The user who logged in.
    pub user: String,
    /// How commands become root's.
    pub privilege: Privilege,
    /// What starts services.
    pub init: InitSystem,
    /// What installs packages.
    pub packages: Option<PackageManager>,
    /// Whether `curl` is there.
    pub curl: bool,
    /// Whether `wget` is there.
    pub wget: bool,
    /// The engine.
    pub engine: EngineFacts,
    /// The files that a plan may write, as far as they exist, by path.
    pub files: BTreeMap<String, FileFacts>,
    /// Free space on `/`, KiB.
    pub free_root_kib: Option<u64>,
    /// Free space where the engine keeps its data (`/var/lib/docker` or the nearest folder above it), KiB.
    pub free_engine_kib: Option<u64>,
    /// The host's clock, seconds since 1970.
    pub clock_s: Option<u64>,
    /// Version of the control groups, 1 or 2.
    pub cgroup: Option<u8>,
    /// What SELinux does.
    pub selinux: SeLinux,
    /// Whether cloud-init runs.
    pub cloud_init: CloudInit,
    /// What cloud-init could not do at this boot, in its own words, once it has finished.
    pub cloud_init_errors: Vec<String>,
    /// What it could not read of its user data at this boot, and passed over; since its version 23.4. Nothing of the user data is
    /// in it.
    pub unread_user_data: Vec<String>,
    /// Changes with each start of the host; empty where not known.
    pub boot: String,
    /// Who holds locks of the package manager.
    pub locks: Vec<LockHolder>,
    /// Whether programs can't be run from `/tmp`.
    pub tmp_noexec: bool,
    /// Whether AppArmor is enabled in the kernel.
    pub apparmor: bool,
}

/// How commands become root's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Privilege {
    /// The user is root.
    Root,
    /// `sudo -n` works.
    Sudo,
    /// `doas -n` works.
    Doas,
    /// sudo is there and refuses without a password or a terminal; the text is what it said.
    SudoRefuses(String),
    /// Neither root nor sudo nor doas.
    #[default]
    None,
}

/// What starts services.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InitSystem {
    /// systemd, running.
    Systemd,
    /// OpenRC.
    OpenRc,
    /// Something else, or nothing: a container without an init system.
    #[default]
    None,
}

/// What installs packages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PackageManager {
    /// Debian's and Ubuntu's.
    Apt,
    /// Fedora's and its relatives'.
    Dnf,
    /// The older one of the same.
    Yum,
    /// SUSE's.
    Zypper,
    /// Alpine's.
    Apk,
    /// Arch's.
    Pacman,
    /// Photon's.
    Tdnf,
}

impl PackageManager {
    /// What a family's images bring, where its name alone does not say so in a plan.
    fn usual(family: Family) -> Option<Self> {
        match family {
            Family::Amazon2 => Some(Self::Yum),
            Family::Amazon2023 | Family::Fedora | Family::RedHat | Family::RedHatClone => Some(Self::Dnf),
            _ => None,
        }
    }
}

/// What is known of the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineFacts {
    /// Whether it is there and runs.
    pub state: EngineState,
    /// Path of the client.
    pub docker_path: Option<String>,
    /// Path of the engine's program.
    pub dockerd_path: Option<String>,
    /// The engine's version, e.g. `28.2.2`.
    pub version: Option<String>,
    /// Whether an engine runs without root's rights.
    pub rootless: bool,
    /// Whether it comes as a snap, with its own paths and configuration.
    pub snap: bool,
    /// Whether `docker` is podman under another name.
    pub podman: bool,
    /// The package it comes from, where a package manager says so: `docker-ce`, `docker.io`, `moby-engine`, `docker`.
    pub package: Option<String>,
    /// Storage drivers which have left data behind, e.g. `overlay2`; `overlayfs` and the like are containerd's snapshotters.
    pub data_of: Vec<String>,
    /// The file system that its data is on, as `stat -f` calls it.
    pub filesystem: String,
    /// `/etc/docker/daemon.json`.
    pub daemon_json: Option<String>,
    /// The drop-in that this program and the reference program write.
    pub drop_in: Option<String>,
    /// Drop-ins which come after ours and set `ExecStart=` themselves.
    pub rival_drop_ins: Vec<String>,
    /// Whether the distribution's own settings start the engine with `--selinux-enabled`.
    pub selinux_by_distribution: bool,
    /// Whether it starts at boot.
    pub enabled: bool,
}

/// Whether the engine is there and runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EngineState {
    /// There is none.
    #[default]
    Absent,
    /// Installed, not running, and nothing would start it on demand.
    Stopped,
    /// Not running, but systemd listens on its socket and starts it on demand.
    SocketActivated,
    /// Running.
    Running,
}

/// A file on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFacts {
    /// SHA-256 of its content, lower-case hexadecimal; empty where the host has no program that tells.
    pub sha256: String,
    /// Permission bits; `None` where the host has no program that tells.
    pub mode: Option<u32>,
}

/// What SELinux does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SeLinux {
    /// It is not there or not enabled.
    #[default]
    Disabled,
    /// It logs and lets pass.
    Permissive,
    /// It enforces its policy.
    Enforcing,
}

/// Whether cloud-init runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CloudInit {
    /// It is not there, or disabled.
    #[default]
    Absent,
    /// It is still at work.
    Running,
    /// It has finished.
    Done,
}

/// Who holds a lock of the package manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockHolder {
    /// Process id.
    pub pid: u32,
    /// The process's name.
    pub name: String,
    /// The lock file.
    pub file: String,
}

impl HostFacts {
    /// Reads what [`probe::script`] printed. Lines that it did not print, e.g. of a talkative `.bashrc`, are passed over.
    ///
    /// # Errors
    /// [`ProbeError`] where the script did not run, did not finish, or the host is not a Linux.
    pub fn parse(output: &str) -> Result<Self, ProbeError> {
        probe::parse(output)
    }

    /// What is known of a host that will boot from an image for the first time.
    #[must_use]
    pub fn of_image(image: &ImageFacts, user: &str) -> Self {
        let os = OsRelease::parse(&image.os_release);
        let engine = image.engine.as_ref().map_or_else(EngineFacts::default, |engine| EngineFacts {
            state: EngineState::Stopped,
            docker_path: Some("/usr/bin/docker".to_owned()),
            dockerd_path: Some(engine.dockerd.clone()),
            version: Some(engine.version.clone()),
            package: Some(engine.package.clone()),
            enabled: true,
            ..EngineFacts::default()
        });
        let family = Family::detect(&os);
        Self {
            family,
            packages: PackageManager::usual(family),
            os,
            arch: image.arch.clone(),
            user: user.to_owned(),
            privilege: Privilege::Root,
            init: InitSystem::Systemd,
            engine,
            ..Self::default()
        }
    }

    /// How far the host's clock is ahead of `now_s` (seconds since 1970), in seconds; negative where it is behind.
    #[must_use]
    pub fn clock_skew_s(&self, now_s: u64) -> Option<i64> {
        let host = i64::try_from(self.clock_s?).ok()?;
        Some(host - i64::try_from(now_s).ok()?)
    }

    /// The system and its architecture, to be shown to people, e.g. `Debian GNU/Linux 12 (bookworm), x86_64`.
    #[must_use]
    pub fn display_name(&self) -> String {
        format!("{}, {}", self.os.display_name(), self.arch)
    }
}

impl EngineFacts {
    /// Major and minor number of the engine's version.
    #[must_use]
    pub fn version_number(&self) -> Option<(u32, u32)> {
        let mut numbers = self.version.as_deref()?.split('.').map(str::parse);
        Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}
