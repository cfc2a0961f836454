//! What can go wrong in the store.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{ConfigError, Holder};

/// Why the store could not do what it was asked. The texts are the reference program's where it has them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// There is no machine of this name.
    #[error(
        "Docker machine {name:?} does not exist. Use \"docker-machine ls\" to list machines. Use \"docker-machine \
         create\" to add a new one."
    )]
    NoSuchMachine {
        /// The name asked for.
        name: String,
    },
    /// A new machine's name is taken.
    #[error("Docker machine {name:?} already exists")]
    AlreadyExists {
        /// The name.
        name: String,
    },
    /// config.json can't be understood.
    #[error("Error getting migrated host: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ConfigError,
    },
    /// state.json can't be understood.
    #[error("{}: {source}", path.display())]
    Journal {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// Somebody else is at work and did not finish in time.
    #[error("{what} is in use by {holder}; waited {} s for it", waited.as_secs())]
    Locked {
        /// `machine "foo"` or `the store PATH`.
        what: String,
        /// Who is at work.
        holder: Box<Holder>,
        /// How long was waited.
        waited: Duration,
    },
    /// A machine's name in a place where only plain folder names are safe.
    #[error("{name:?} can't be the name of a machine's folder")]
    UnsafeName {
        /// The name given.
        name: String,
    },
    /// A file could not be read or written. The text is as Go's: `open PATH: no such file or directory`.
    #[error("{action} {}: {}", path.display(), in_lower_case(source))]
    Io {
        /// What was tried: `open`, `write`, `rename`, ….
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl StoreError {
    /// What the user can do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Locked { holder, .. } => Some(match holder.pid {
                Some(pid) => format!("Wait until it is done and try again; if it hangs, end process {pid}."),
                None => "Wait until it is done and try again.".to_owned(),
            }),
            Self::Config { path, .. } => Some(config_hint(path)),
            Self::Journal { path, .. } => Some(format!(
                "{} holds the host keys that this machine is known by. Restore it from a backup, or remove the file: \
                 then the host's key is pinned anew on the next contact.",
                path.display()
            )),
            Self::Io { source, path, .. } => io_hint(source, path),
            Self::NoSuchMachine { .. } | Self::AlreadyExists { .. } | Self::UnsafeName { .. } => None,
        }
    }

    /// For `map_err`: an [`StoreError::Io`] of an action on a path.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn config_hint(path: &Path) -> String {
    let backup = path.with_file_name("config.json.bak");
    if backup.exists() {
        format!("An older copy is in {}.", backup.display())
    } else {
        format!(
            "Repair {} by hand, or remove the machine's record with \"docker-machine rm -f\".",
            path.display()
        )
    }
}

fn io_hint(source: &io::Error, path: &Path) -> Option<String> {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("Free some space there, then run the command again: nothing was changed.".to_owned())
        }
        io::ErrorKind::ReadOnlyFilesystem => Some(
            "The store is on a read-only file system; use another with --storage-path or MACHINE_STORAGE_PATH."
                .to_owned(),
        ),
        io::ErrorKind::PermissionDenied => {
            Some(format!("{} must belong to the user who runs docker-machine.", path.display()))
        }
        _ => None,
    }
}

/// The system's text for an error as Go has it: in lower case, without the number.
fn in_lower_case(error: &io::Error) -> String {
    let text = error.to_string();
    let text = match error.raw_os_error() {
        Some(code) => text.strip_suffix(&format!(" (os error {code})")).unwrap_or(&text),
        None => &text,
    };
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}
