//! Key pairs of SSH in files, of which there is only ever one: what is there is used.

use std::path::{Path, PathBuf};

use machine_core::Secret;
use machine_ssh::PublicKey;
use machine_ssh::keys::{self, KeyKind};
use machine_store::{Mode, write_file};

use crate::Error;

/// A private key's file, and the public key that belongs to it.
pub(crate) struct KeyFile {
    path: PathBuf,
    pub public: PublicKey,
}

impl KeyFile {
    /// The key pair in a file, with the public key beside it as `PATH.pub`. One is made (Ed25519) where there is none,
    /// but only in the machine's folder: a key anywhere else is the user's, and a missing one is a mistake.
    pub(crate) fn ensure(path: &Path, dir: &Path, machine: &str) -> Result<Self, Error> {
        let fail = |source| Error::Ssh { machine: machine.to_owned(), source: Box::new(source) };
        if path.starts_with(dir) && !path.exists() {
            let made = keys::generate(KeyKind::Ed25519, machine).map_err(fail)?;
            write_file(path, made.private_pem.as_bytes(), Mode::Private)?;
        }
        let public = keys::public_key_of_file(path).map_err(fail)?;
        let found = Self { path: path.to_owned(), public };
        let beside = public_path(path);
        if path.starts_with(dir) && !beside.exists() {
            write_file(&beside, format!("{}\n", found.line()).as_bytes(), Mode::Public)?;
        }
        Ok(found)
    }

    /// Removes a pair. A file that stays is removed with the machine.
    pub(crate) fn forget(path: &Path) {
        if std::fs::remove_file(path).is_ok() {
            let _ = std::fs::remove_file(public_path(path));
        }
    }

    /// The public key as a line, with its comment.
    pub(crate) fn line(&self) -> String {
        keys::public_key_line(&self.public)
    }

    /// The text of the private key.
    pub(crate) fn private(&self) -> Result<Secret, Error> {
        let text = std::fs::read_to_string(&self.path);
        text.map(Secret::new).map_err(|source| Error::CertificateFile { path: self.path.clone(), source })
    }
}

/// Where OpenSSH keeps the public key: `PATH.pub`.
fn public_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    PathBuf::from(name)
}
