//! What can go wrong with a lab host.

use std::{io, path::Path, path::PathBuf, time::Duration};

/// Why there is no lab host.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// Namespaces, mounts and links need root.
    #[error("the lab needs root (namespaces, mounts, network links): run it with sudo")]
    NotRoot,
    /// A program of the system is missing.
    #[error("{program} is not installed; `cargo xtask setup` installs it")]
    NoProgram {
        /// Its name.
        program: String,
    },
    /// A program ended with an error.
    #[error("`{line}` failed ({status}): {said}")]
    Command {
        /// The command line.
        line: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        said: String,
    },
    /// A file could not be read, written or removed.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// apt names no Debian mirror.
    #[error("apt's configuration names no Debian mirror ({0}); set MACHINE_LAB_MIRROR to the address of one")]
    NoMirror(String),
    /// A host of that name is there already.
    #[error("there is a lab host named {0} already; `cargo xtask lab down {0}` removes it")]
    NameTaken(String),
    /// No host of that name.
    #[error("there is no lab host named {0}; `cargo xtask lab list` shows them")]
    NoHost(String),
    /// A name that can't be a file name and a host name.
    #[error("{0:?} can't be a lab host's name: use letters, digits and hyphens")]
    BadName(String),
    /// A host name, a variant or an option is unknown.
    #[error("{0}")]
    BadOption(String),
    /// All 250 subnets are in use.
    #[error("no free subnet in 10.99.0.0/16 for a lab host; `cargo xtask lab down --all` frees them")]
    NoSubnet,
    /// A wait came to its limit.
    #[error("{what} did not happen within {} s; last seen: {last}", limit.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The last thing seen.
        last: String,
    },
}

impl LabError {
    pub(super) fn file(action: &'static str, path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::File { action, path: path.as_ref().to_owned(), source }
    }
}
