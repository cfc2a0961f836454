//! The user's private key: is it one, and its copy in the machine's folder.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind, Event, Reporter};

/// The largest file that is looked at, in bytes. A 16384-bit RSA key has about 13 KB.
const MAX_KEY: u64 = 64 * 1024;

/// Files in a machine's folder that other parts of the program own. A key of the same name (`key.pem` is a common
/// one) would be overwritten, or overwrite them, as it does in the reference program.
const TAKEN: [&str; 6] = ["ca.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem", "known_hosts"];

/// The file that a flag names.
pub(crate) struct SourceKey<'a> {
    flag: &'static str,
    given: &'a str,
    path: PathBuf,
}

impl<'a> SourceKey<'a> {
    /// The key of the flag's text (`flag` is its name without dashes); `None` where it is empty. A leading `~/` is the
    /// home folder: shells do not expand it after `--flag=`.
    pub(crate) fn new(flag: &'static str, given: &'a str) -> Option<Self> {
        let path = match given.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((rest, home)) => home.join(rest),
            None => PathBuf::from(given),
        };
        (!given.is_empty()).then_some(Self { flag, given, path })
    }

    /// The user's own file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Checks that the file is there, can be read, and is a private key.
    pub(crate) fn check(&self) -> Result<(), DriverError> {
        let error = |text: String| DriverError::new(ErrorKind::Precreate, text);
        let text = match self.read() {
            Ok(text) => text,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
                return Err(error(format!("SSH key does not exist: {:?}", self.given))
                    .with_hint(format!("--{} takes the path of a private key file", self.flag)));
            }
            Err(cause) => {
                return Err(
                    error(format!("SSH key can't be read: {:?}: {cause}", self.given)).with_source(cause)
                );
            }
        };
        match defect(&text) {
            None => Ok(()),
            Some((what, hint)) => {
                Err(error(format!("SSH key is not a private key: {:?}: {what}", self.given)).with_hint(hint))
            }
        }
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let metadata = fs::metadata(&self.path)?;
        if metadata.is_dir() {
            return Err(io::Error::new(io::ErrorKind::IsADirectory, "it is a folder"));
        }
        // A pipe would block, and could be read only once.
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut text = Vec::new();
        File::open(&self.path)?.take(MAX_KEY + 1).read_to_end(&mut text)?;
        Ok(text)
    }

    /// Where the copy belongs in the machine's folder.
    pub(crate) fn copy_in(&self, machine_dir: &Path) -> Result<PathBuf, DriverError> {
        let name =
            self.path.file_name().map(|name| name.to_string_lossy().into_owned()).ok_or_else(|| {
                DriverError::new(ErrorKind::Config, format!("SSH key is not a file: {:?}", self.given))
            })?;
        let taken = TAKEN.contains(&name.as_str())
            || [".json", ".bak", ".lock"].iter().any(|end| name.ends_with(end))
            || name.starts_with('.');
        Ok(machine_dir.join(if taken { format!("ssh-{}", name.trim_start_matches('.')) } else { name }))
    }

    /// Copies the key, and the public key next to it where there is one. Where the copy is there already and the
    /// original is gone, the copy is kept: an interrupted `create` goes on with it.
    pub(crate) fn import(&self, copy: &Path, report: &dyn Reporter) -> Result<(), DriverError> {
        if copy.is_file() && !self.path.exists() {
            return Ok(());
        }
        copy_private(&self.path, copy).map_err(|cause| {
            DriverError::new(ErrorKind::Other, format!("unable to copy ssh key: {:?}: {cause}", self.given))
                .with_source(cause)
        })?;
        match copy_private(&with_pub(&self.path), &with_pub(copy)) {
            Ok(()) => {}
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => {}
            Err(cause) => {
                report.report(Event::Warning(format!(
                    "Couldn't copy SSH public key : unable to copy ssh key: {cause}"
                )));
            }
        }
        Ok(())
    }
}

fn with_pub(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".pub");
    name.into()
}

/// Copies a file so that nobody else can read the copy, and nobody sees half of it.
fn copy_private(from: &Path, to: &Path) -> io::Result<()> {
    let (from, to) = (from.canonicalize()?, to.to_path_buf());
    if to.canonicalize().is_ok_and(|to| to == from) {
        return Ok(());
    }
    let content = fs::read(&from)?;
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = to.with_file_name(name);
    // A crash may have left it.
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let written = private_file(&new).and_then(|mut file| {
        file.write_all(&content)?;
        file.sync_all()
    });
    if let Err(error) = written.and_then(|()| fs::rename(&new, &to)) {
        let _ = fs::remove_file(&new);
        return Err(error);
    }
    Ok(())
}

/// Makes a file of mode 0600. Windows gives it the folder's permissions.
fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Says what a text is instead of a private key, and what to do; `None` where it looks like one. The key itself may be
/// encrypted, so its inside is the SSH client's to judge.
fn defect(content: &[u8]) -> Option<(&'static str, &'static str)> {
    const GIVE: &str = "give the private key file, e.g. ~/.ssh/id_ed25519";
    if content.is_empty() {
        return Some(("the file is empty", GIVE));
    }
    if content.len() as u64 > MAX_KEY {
        return Some(("the file is too large for a key", GIVE));
    }
    let Ok(text) = std::str::from_utf8(content) else {
        return Some(("it is binary data", "convert it to PEM, e.g. with openssl or ssh-keygen -p -f FILE"));
    };
    if text.starts_with("PuTTY-User-Key-File-") {
        return Some(("it is a PuTTY key", "convert it: puttygen FILE -O private-openssh -o NEW"));
    }
    if is_public(text) {
        return Some(("it is a public key", "give the file without .pub"));
    }
    if text.contains("-----BEGIN CERTIFICATE-----") && !text.contains("PRIVATE KEY-----") {
        return Some(("it is a certificate", GIVE));
    }
    let mut lines = text.lines().map(str::trim).skip_while(|line| !is_mark(line, "BEGIN"));
    if lines.next().is_none() {
        return Some(("it has no \"BEGIN ... PRIVATE KEY\" line", GIVE));
    }
    let mut body = 0;
    for line in lines {
        if is_mark(line, "END") {
            return (body == 0).then_some(("there is nothing between BEGIN and END", GIVE));
        }
        let header = line.contains(": ");
        if !header && !line.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b)) {
            return Some(("it is damaged: what stands in it is not base64", GIVE));
        }
        body += usize::from(!header && !line.is_empty());
    }
    Some(("it is cut off: the \"END ... PRIVATE KEY\" line is missing", GIVE))
}

fn is_mark(line: &str, which: &str) -> bool {
    line.strip_prefix("-----")
        .and_then(|rest| rest.strip_prefix(which))
        .is_some_and(|rest| rest.starts_with(' ') && rest.ends_with("PRIVATE KEY-----"))
}

fn is_public(text: &str) -> bool {
    let first = text.split_whitespace().next().unwrap_or_default();
    ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| first.starts_with(start))
        || text.starts_with("---- BEGIN SSH2 PUBLIC KEY")
        || (text.contains("PUBLIC KEY-----") && !text.contains("PRIVATE KEY-----"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_does_not_take_the_place_of_the_machines_own_files() {
        let dir = Path::new("/m");
        let copy = |given: &str| SourceKey::new("generic-ssh-key", given).unwrap().copy_in(dir).unwrap();
        assert_eq!(copy("/home/u/.ssh/id_rsa"), dir.join("id_rsa"));
        assert_eq!(copy("aws.pem"), dir.join("aws.pem"));
        for taken in ["key.pem", "config.json", "state.json", "known_hosts"] {
            assert_eq!(copy(taken), dir.join(format!("ssh-{taken}")));
        }
        assert_eq!(copy("/x/.key"), dir.join("ssh-key"));
        assert!(SourceKey::new("generic-ssh-key", "/x/..").unwrap().copy_in(dir).is_err());
    }

    #[test]
    fn what_is_no_private_key_is_named() {
        let what = |content: &str| defect(content.as_bytes()).map(|(what, _)| what);
        assert_eq!(what("ssh-ed25519 AAAA u@h\n"), Some("it is a public key"));
        assert_eq!(
            what("-----BEGIN PUBLIC KEY-----\nAA\n-----END PUBLIC KEY-----\n"),
            Some("it is a public key")
        );
        assert_eq!(what("PuTTY-User-Key-File-3: ssh-rsa\n"), Some("it is a PuTTY key"));
        assert_eq!(what("hello"), Some("it has no \"BEGIN ... PRIVATE KEY\" line"));
        assert!(what("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n").unwrap().starts_with("it is cut off"));
        assert!(what("-----BEGIN RSA PRIVATE KEY-----\n<html>\n-----END RSA PRIVATE KEY-----").is_some());
        assert_eq!(
            what(
                "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAA+/\n-----END RSA PRIVATE KEY-----"
            ),
            None
        );
        assert_eq!(defect(&[0xff, 0xfe]).map(|(what, _)| what), Some("it is binary data"));
    }
}
