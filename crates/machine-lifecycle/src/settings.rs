//! What the caller knows from flags and environment.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Settings that hold for every machine in one run of the program.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the CA and the client certificate are.
    pub cert_paths: CertPaths,
    /// The user's name, or `unknown`: it becomes the organisation in certificates, as in the reference program.
    pub user: String,
    /// How long to wait for another process that works on the same machine.
    pub lock_limit: Duration,
    /// How long to wait for a host to be running, and then for its SSH server.
    pub reach_limit: Duration,
    /// How long to wait for the engine after it was (re)started.
    pub engine_limit: Duration,
    /// How long to wait for a host that boots: for its SSH server, or for its engine where nobody needs to log in.
    /// Minutes where a processor is emulated.
    pub boot_limit: Duration,
    /// How long a host that was told its SSH host key, and was not seen with it yet, may show another: an SSH server that was
    /// faster than cloud-init shows what the image brought. Counted from the first time.
    pub key_grace: Duration,
    /// How long one connection to an engine may take.
    pub dial_limit: Duration,
    /// The user's `~/.ssh`, for default keys.
    pub ssh_dir: Option<PathBuf>,
}

impl Settings {
    /// The settings of a store without any flags.
    #[must_use]
    pub fn for_store(root: &Path) -> Self {
        Self {
            cert_paths: CertPaths::in_folder(&root.join("certs")),
            user: "unknown".to_owned(),
            lock_limit: Duration::from_secs(60),
            reach_limit: Duration::from_secs(5 * 60),
            engine_limit: Duration::from_secs(90),
            boot_limit: Duration::from_secs(10 * 60),
            key_grace: Duration::from_secs(30),
            dial_limit: Duration::from_secs(20),
            ssh_dir: None,
        }
    }
}

/// The files of the CA and the client certificate (`--tls-ca-cert` and its siblings).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertPaths {
    /// The folder; `CertDir` of the record.
    pub dir: PathBuf,
    /// The CA's certificate.
    pub ca_cert: PathBuf,
    /// The CA's private key.
    pub ca_key: PathBuf,
    /// The client's certificate.
    pub client_cert: PathBuf,
    /// The client's private key.
    pub client_key: PathBuf,
}

impl CertPaths {
    /// The reference program's file names in a folder.
    #[must_use]
    pub fn in_folder(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            ca_cert: dir.join("ca.pem"),
            ca_key: dir.join("ca-key.pem"),
            client_cert: dir.join("cert.pem"),
            client_key: dir.join("key.pem"),
        }
    }
}
