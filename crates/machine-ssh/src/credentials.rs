//! What we can prove who we are with: key files, an agent, the user's default keys.

use std::fmt;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use russh::keys::{PrivateKey, decode_secret_key};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::error::{Error, KeyFileProblem, Result};
use crate::keys::PublicKey;

/// Asked for the passphrase of an encrypted key file; `None` means that there is none to be had.
pub type Passphrase = Arc<dyn Fn(&Path) -> Option<Zeroizing<String>> + Send + Sync>;

/// Key files larger than this are no key files.
const KEY_FILE_LIMIT: u64 = 256 * 1024;

/// How long an agent may take to list its keys. It needs no one's consent for that; one behind a forwarding that has
/// died takes the connection and never answers.
const AGENT_LIMIT: Duration = Duration::from_secs(5);

/// Which SSH agent to ask.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AgentUse {
    /// The one at `SSH_AUTH_SOCK`, if there is one.
    #[default]
    Environment,
    /// The one at this socket.
    Socket(PathBuf),
    /// None.
    Off,
}

/// Keys to try, in this order: the key files, then the agent's, then (when no key file is named) the user's own.
#[derive(Clone, Default)]
pub struct Credentials {
    /// Private key files: OpenSSH, PKCS#1, PKCS#8 or SEC1 PEM. Each must be readable and be a key, or connecting
    /// fails before anything is sent. An encrypted one is used by way of the agent, if that holds the same key.
    pub key_files: Vec<PathBuf>,
    /// The agent. One that is not there is no error.
    pub agent: AgentUse,
    /// Offer `id_ed25519`, `id_ecdsa` and `id_rsa` of this folder (the user's `~/.ssh`) when `key_files` is empty.
    /// Those that are missing, encrypted or broken are passed over.
    pub default_keys: Option<PathBuf>,
    /// How to get at passphrases; without it, encrypted keys need the agent.
    pub passphrase: Option<Passphrase>,
}

impl Credentials {
    /// This key file and nothing else (the agent is asked only if the file is encrypted).
    pub fn key_file(path: impl Into<PathBuf>) -> Self {
        Self { key_files: vec![path.into()], agent: AgentUse::Environment, ..Self::default() }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("key_files", &self.key_files)
            .field("agent", &self.agent)
            .field("default_keys", &self.default_keys)
            .field("passphrase", &self.passphrase.is_some())
            .finish()
    }
}

/// Where an offered key came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A key file.
    File(PathBuf),
    /// The agent, with the key's comment there.
    Agent(String),
}

/// A key that was offered to the server. It says nothing of the private part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OfferedKey {
    /// Where it came from.
    pub source: KeySource,
    /// `ssh-ed25519`, `ssh-rsa`, …
    pub algorithm: String,
    /// `SHA256:…`
    pub fingerprint: String,
}

impl fmt::Display for OfferedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            KeySource::File(path) => write!(f, "{}", path.display())?,
            KeySource::Agent(comment) => write!(f, "agent key {comment:?}")?,
        }
        write!(f, " ({} {})", self.algorithm, self.fingerprint)
    }
}

/// A key file that others than its owner can read: the system's ssh refuses such a file, we use it and say so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyWarning {
    /// The file.
    pub path: PathBuf,
    /// Its permission bits.
    pub mode: u32,
}

impl fmt::Display for KeyWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "key file {} can be read by others (mode {:04o}); chmod 600 it",
            self.path.display(),
            self.mode
        )
    }
}

/// A key that can sign, or that the agent signs with.
pub(crate) enum Identity {
    File { path: PathBuf, key: Arc<PrivateKey> },
    Agent { key: russh::keys::PublicKey, comment: String },
}

impl Identity {
    pub(crate) fn public(&self) -> PublicKey {
        match self {
            Self::File { key, .. } => key.public_key().clone().into(),
            Self::Agent { key, .. } => key.clone().into(),
        }
    }

    pub(crate) fn offered(&self) -> OfferedKey {
        let public = self.public();
        let source = match self {
            Self::File { path, .. } => KeySource::File(path.clone()),
            Self::Agent { comment, .. } => KeySource::Agent(comment.clone()),
        };
        OfferedKey { source, algorithm: public.algorithm(), fingerprint: public.fingerprint() }
    }
}

/// What [`Credentials`] came to: keys to offer in order, and what is to be said about the rest.
pub(crate) struct KeyRing {
    pub(crate) identities: Vec<Identity>,
    pub(crate) problems: Vec<String>,
    pub(crate) warnings: Vec<KeyWarning>,
    pub(crate) agent_socket: Option<PathBuf>,
}

impl KeyRing {
    /// Reads the key files and lists the agent's keys. Only a named key file that can't be used is an error.
    pub(crate) async fn open(credentials: &Credentials) -> Result<Self> {
        let mut ring =
            Self { identities: Vec::new(), problems: Vec::new(), warnings: Vec::new(), agent_socket: None };
        for path in &credentials.key_files {
            ring.add_named_file(path, credentials).await?;
        }
        if !credentials.key_files.is_empty() {
            return Ok(ring);
        }
        for (key, comment) in ring.list_agent(&credentials.agent).await {
            ring.add(Identity::Agent { key, comment });
        }
        for name in ["id_ed25519", "id_ecdsa", "id_rsa"] {
            if let Some(folder) = &credentials.default_keys {
                ring.add_default_file(&folder.join(name), credentials.passphrase.as_ref());
            }
        }
        Ok(ring)
    }

    async fn list_agent(&mut self, agent: &AgentUse) -> Vec<(russh::keys::PublicKey, String)> {
        let socket = match agent {
            AgentUse::Off => return Vec::new(),
            AgentUse::Socket(path) => path.clone(),
            AgentUse::Environment => match std::env::var_os("SSH_AUTH_SOCK") {
                Some(path) if !path.is_empty() => PathBuf::from(path),
                _ => return Vec::new(),
            },
        };
        let why = match timeout(AGENT_LIMIT, crate::auth::agent_keys(&socket)).await {
            Ok(Ok(keys)) => {
                self.agent_socket = Some(socket);
                return keys;
            }
            Ok(Err(why)) => why.to_string(),
            Err(_) => format!("it did not answer within {} s", AGENT_LIMIT.as_secs()),
        };
        self.problems.push(format!("the agent at {} gave no keys: {why}", socket.display()));
        Vec::new()
    }

    /// The agent is asked only where the file alone is not enough.
    async fn add_named_file(&mut self, path: &Path, credentials: &Credentials) -> Result<()> {
        let text = read_key_file(path)?;
        self.warn_of_mode(path);
        match decode_key(path, &text, credentials.passphrase.as_ref()) {
            Ok(key) => self.add(Identity::File { path: path.to_owned(), key: Arc::new(key) }),
            Err(error) => {
                let agent_keys = self.list_agent(&credentials.agent).await;
                let public =
                    PrivateKey::from_openssh(without_newline(&text)).ok().map(|key| key.public_key().clone());
                let held = agent_keys.iter().find(|(key, _)| {
                    public.as_ref().is_some_and(|public| public.key_data() == key.key_data())
                });
                let Some((key, comment)) = held else { return Err(error) };
                self.add(Identity::Agent { key: key.clone(), comment: comment.clone() });
            }
        }
        Ok(())
    }

    fn add_default_file(&mut self, path: &Path, passphrase: Option<&Passphrase>) {
        if !path.exists() {
            return;
        }
        match read_key_file(path).and_then(|text| decode_key(path, &text, passphrase)) {
            Ok(key) => {
                self.warn_of_mode(path);
                self.add(Identity::File { path: path.to_owned(), key: Arc::new(key) });
            }
            Err(Error::KeyFile { path, problem }) => {
                self.problems.push(format!("{} {problem}", path.display()))
            }
            Err(error) => self.problems.push(error.to_string()),
        }
    }

    /// Each key once, however many ways lead to it: servers count the attempts.
    fn add(&mut self, identity: Identity) {
        let public = identity.public();
        if !self.identities.iter().any(|known| known.public() == public) {
            self.identities.push(identity);
        }
    }

    fn warn_of_mode(&mut self, path: &Path) {
        if let Ok(metadata) = path.metadata() {
            let mode = metadata.permissions().mode() & 0o7777;
            if mode & 0o077 != 0 {
                self.warnings.push(KeyWarning { path: path.to_owned(), mode });
            }
        }
    }
}

/// The text of a key file, wiped from memory when dropped.
pub(crate) fn read_key_file(path: &Path) -> Result<Zeroizing<String>> {
    let fail = |problem| Error::KeyFile { path: path.to_owned(), problem };
    let unreadable = |e| fail(KeyFileProblem::Unreadable(e));
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(KEY_FILE_LIMIT + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > KEY_FILE_LIMIT {
        return Err(fail(KeyFileProblem::NotAKey("too large for one".into())));
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(fail(KeyFileProblem::NotAKey("it is not text".into()))),
    }
}

/// Reads a private key, asking for a passphrase only if it is encrypted.
pub(crate) fn decode_key(path: &Path, text: &str, passphrase: Option<&Passphrase>) -> Result<PrivateKey> {
    let fail = |problem| Error::KeyFile { path: path.to_owned(), problem };
    if russh::keys::PublicKey::from_openssh(text.trim()).is_ok() {
        return Err(fail(KeyFileProblem::Public));
    }
    if !text.contains("PRIVATE KEY-----") && !text.trim_start().starts_with("PuTTY-User-Key-File-") {
        return Err(fail(KeyFileProblem::NotAKey("it has no PEM header of one".into())));
    }
    if !is_encrypted(text) {
        return decode_secret_key(text, None).map_err(|e| fail(KeyFileProblem::NotAKey(e.to_string())));
    }
    let Some(secret) = passphrase.and_then(|ask| ask(path)) else {
        return Err(fail(KeyFileProblem::Encrypted));
    };
    decode_secret_key(text, Some(&secret)).map_err(|_| fail(KeyFileProblem::WrongPassphrase))
}

fn is_encrypted(text: &str) -> bool {
    text.contains("-----BEGIN ENCRYPTED PRIVATE KEY-----")
        || text.lines().any(|line| line.starts_with("Proc-Type:") && line.contains("ENCRYPTED"))
        || PrivateKey::from_openssh(without_newline(text)).is_ok_and(|key| key.is_encrypted())
}

/// The OpenSSH parser wants no text after the last line.
pub(crate) fn without_newline(text: &str) -> &str {
    text.trim()
}
