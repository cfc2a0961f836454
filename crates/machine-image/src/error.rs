//! What can go wrong with images.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use machine_http::HttpError;
use machine_process::ProcessError;

/// Why an image could not be had or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No such architecture.
    #[error("unknown architecture {name:?}")]
    UnknownArch {
        /// What was given.
        name: String,
    },
    /// Neither the catalogue nor the cache has it, and it is no file.
    #[error("there is no image {name:?}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// The names that there are.
        known: Vec<String>,
    },
    /// An address that can't be used.
    #[error("{url}: {why}")]
    Address {
        /// The address, without credentials and query.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The file is something else than a disk image.
    #[error("{what} is not a disk image but {is}")]
    NotADisk {
        /// A path or an address.
        what: String,
        /// What it is, e.g. `a compressed file (xz)`.
        is: &'static str,
        /// What to do about it; may be empty.
        hint: &'static str,
    },
    /// A downloaded image would read other files of this computer.
    #[error("{what} refers to other files, and is not used")]
    Refers {
        /// The address.
        what: String,
    },
    /// The publisher's list does not have the image.
    #[error("{sums} has no checksum of {file}")]
    NoChecksum {
        /// The list's address.
        sums: String,
        /// The image's file name.
        file: String,
    },
    /// What came is not what was expected.
    #[error("{what} has the wrong checksum: {found} instead of {expected}; it was thrown away")]
    WrongChecksum {
        /// The address.
        what: String,
        /// What it should be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// A file of the cache is not what it was.
    #[error("the image {name:?} is damaged: {} is not what it was when it came here", file.display())]
    Corrupt {
        /// Its name.
        name: String,
        /// The file.
        file: PathBuf,
        /// What gets it again: a name or an address; empty where it was baked here.
        from: String,
    },
    /// An image was removed while it was about to be used.
    #[error("the image {name:?} was removed in the meantime")]
    Gone {
        /// Its name.
        name: String,
    },
    /// Machines' disks are overlays on it.
    #[error("the image {name:?} is used by {}", machines.join(", "))]
    InUse {
        /// Its name.
        name: String,
        /// The machines.
        machines: Vec<String>,
    },
    /// A built image must not be called like one of the catalogue.
    #[error("the name {name:?} can't be given to an image")]
    BadName {
        /// The name.
        name: String,
    },
    /// Another process downloads the same and did not finish.
    #[error("another docker-machine downloads {what} and did not finish in {} s", waited.as_secs())]
    Busy {
        /// The image.
        what: String,
        /// How long was waited.
        waited: Duration,
    },
    /// It could not be got.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The disk is full.
    #[error("{}: no space left on the disk", path.display())]
    DiskFull {
        /// What was being written.
        path: PathBuf,
    },
    /// A file could not be read or written.
    #[error("{} could not be {doing}: {source}", path.display())]
    Io {
        /// What was done, e.g. `written`.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `qemu-img` is not on this computer.
    #[error("qemu-img is not installed, or is not in the PATH")]
    NoQemuImg,
    /// `qemu-img` failed.
    #[error("{0}")]
    QemuImg(ProcessError),
    /// `qemu-img` said something that is not understood.
    #[error("qemu-img said of {} what is not understood: {why}", file.display())]
    Output {
        /// The image.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Something is already there.
    #[error("{} exists already", path.display())]
    Exists {
        /// What.
        path: PathBuf,
    },
    /// Disks grow only.
    #[error("the disk {} has {has_mib} MiB already; it can't be made smaller ({wanted_mib} MiB)", file.display())]
    Shrink {
        /// The image.
        file: PathBuf,
        /// Its size, MiB.
        has_mib: u64,
        /// The size that was asked for, MiB.
        wanted_mib: u64,
    },
    /// A snapshot's name is taken.
    #[error("there is a snapshot {name:?} already")]
    SnapshotExists {
        /// The name.
        name: String,
    },
    /// No snapshot has that name.
    #[error("there is no snapshot {name:?}")]
    NoSnapshot {
        /// The name.
        name: String,
    },
    /// What building an image needs is not on this computer.
    #[error("building an image needs what is not on this computer: {}", missing.iter().map(|(what, _)| what.as_str()).collect::<Vec<_>>().join(", "))]
    BuildNeeds {
        /// Each program or file, and the Debian package that has it.
        missing: Vec<(String, &'static str)>,
    },
    /// An image can't be built in this way, or not here.
    #[error("no image can be built: {why}")]
    CantBuild {
        /// Why.
        why: String,
        /// What to do about it; may be empty.
        hint: &'static str,
    },
    /// A program failed while an image was built.
    #[error("{failed}: {source}")]
    BuildStep {
        /// What could not be done.
        failed: &'static str,
        /// Why.
        source: ProcessError,
    },
    /// Something else went wrong while an image was built.
    #[error("{failed}: {said}")]
    BuildTold {
        /// What could not be done.
        failed: &'static str,
        /// Why.
        said: String,
    },
}

impl ImageError {
    /// For `map_err`: what was being done with a file. A full disk gets its own error.
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { doing, path, source },
        }
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownArch { .. } => Some("use x86_64 (amd64) or aarch64 (arm64)".to_owned()),
            Self::Unknown { known, .. } => {
                Some(format!("use one of {}, an address (https://…) or a path", known.join(", ")))
            }
            Self::NotADisk { hint, .. } => Some((*hint).to_owned()).filter(|hint| !hint.is_empty()),
            Self::Refers { .. } => Some(
                "images with a backing file or descriptor could read any file of this computer; if you trust its maker, \
                 download it yourself, convert it (`qemu-img convert -O qcow2`) and name the file"
                    .to_owned(),
            ),
            Self::WrongChecksum { .. } => Some(
                "try again; if it stays so, the publisher's files do not fit each other, or somebody changes them on the way"
                    .to_owned(),
            ),
            Self::Corrupt { name, from, .. } => Some(if from.is_empty() {
                format!("remove it (`docker-machine image rm {name}`) and build it again (`docker-machine image build`)")
            } else {
                format!("get it again: `docker-machine image pull {from}`")
            }),
            Self::Gone { .. } => Some("try again".to_owned()),
            Self::InUse { .. } => {
                Some("remove these machines first; with --force they lose what their disks are made of".to_owned())
            }
            Self::BadName { .. } => Some(
                "use letters, digits, `.`, `-` and `_`, and no name of the catalogue (`docker-machine image ls --available`)".to_owned(),
            ),
            Self::Http(error @ HttpError::Unreachable { .. }) => Some(format!(
                "{}; where only packages can be had, `docker-machine image build` makes an image of those",
                error.hint().unwrap_or_default()
            )),
            Self::Http(error) => error.hint(),
            Self::DiskFull { .. } => Some(
                "make room, e.g. by `docker-machine image prune`, and try again; a download goes on where it stopped".to_owned(),
            ),
            Self::NoQemuImg => Some(how_to_install().to_owned()),
            Self::BuildNeeds { missing } => Some(format!("install it: `apt install {}`", packages_of(missing))),
            Self::CantBuild { hint, .. } => Some((*hint).to_owned()).filter(|hint| !hint.is_empty()),
            _ => None,
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownArch { .. }
            | Self::Unknown { .. }
            | Self::Address { .. }
            | Self::NotADisk { .. }
            | Self::BadName { .. }
            | Self::CantBuild { .. }
            | Self::Shrink { .. } => ErrorKind::Config,
            Self::NoQemuImg | Self::BuildNeeds { .. } => ErrorKind::Precreate,
            Self::NoSnapshot { .. } => ErrorKind::NotFound,
            Self::SnapshotExists { .. } => ErrorKind::AlreadyDone,
            Self::Busy { .. } => ErrorKind::Unavailable,
            Self::Http(error) if error.may_pass() => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        }
    }
}

/// The packages that have what is missing, each once.
fn packages_of(missing: &[(String, &'static str)]) -> String {
    let packages: std::collections::BTreeSet<&str> = missing.iter().map(|(_, package)| *package).collect();
    packages.into_iter().collect::<Vec<_>>().join(" ")
}

/// How `qemu-img` gets onto this computer.
fn how_to_install() -> &'static str {
    if cfg!(target_os = "macos") {
        "install it: `brew install qemu`"
    } else if cfg!(windows) {
        "install QEMU for Windows (`winget install SoftwareFreedomConservancy.QEMU`)"
    } else {
        "install it: `apt install qemu-utils`, `dnf install qemu-img`, `zypper install qemu-tools` or `pacman -S qemu-img`"
    }
}

/// For drivers: the text, the hint, and a fitting kind.
impl From<ImageError> for DriverError {
    fn from(error: ImageError) -> Self {
        let made = Self::new(error.kind(), error.to_string());
        match error.hint() {
            Some(hint) => made.with_hint(hint),
            None => made,
        }
    }
}
