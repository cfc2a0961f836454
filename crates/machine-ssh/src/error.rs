//! Everything that can go wrong on the way to a host and on it.

use std::path::PathBuf;
use std::time::Duration;

use crate::credentials::OfferedKey;
use crate::exec::Output;
use crate::keys::PublicKey;

/// Result with this room's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What failed, on which address, and after how long. `after` counts from the start of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The host answers, but nothing listens on the port.
    #[error("ssh: connection refused by {address} after {}", seconds(*.after))]
    Refused {
        /// `host:port`
        address: String,
        /// Time spent.
        after: Duration,
    },
    /// Nothing came within the limit.
    #[error("ssh: {address} did not answer: {waiting_for} took longer than {}", seconds(*.after))]
    TimedOut {
        /// `host:port`
        address: String,
        /// Time spent.
        after: Duration,
        /// What was being waited for.
        waiting_for: &'static str,
    },
    /// The name does not lead to an address.
    #[error("ssh: cannot find the address of {host:?}: {why}")]
    Unresolvable {
        /// The name.
        host: String,
        /// The resolver's words.
        why: String,
    },
    /// No way to the host: no route, network down, and the like.
    #[error("ssh: {address} cannot be reached: {why} (after {})", seconds(*.after))]
    Unreachable {
        /// `host:port`
        address: String,
        /// Time spent.
        after: Duration,
        /// The system's words.
        why: String,
    },
    /// Something else than an SSH server listens there.
    #[error("ssh: what answers on {address} is not an SSH server; it said {seen:?}")]
    NotSsh {
        /// `host:port`
        address: String,
        /// Time spent.
        after: Duration,
        /// The first bytes that it sent, with unprintable ones as `.`; may be empty.
        seen: String,
    },
    /// Client and server have no algorithm of a kind in common.
    #[error("ssh: no common {kind} with {address}: it offers {}", theirs.join(", "))]
    NoCommonAlgorithm {
        /// `host:port`
        address: String,
        /// Kind of algorithm (key exchange, host key, cipher, …).
        kind: String,
        /// What the server offers.
        theirs: Vec<String>,
    },
    /// The host shows another key than the pinned ones. Nothing was sent to it.
    #[error(
        "ssh: the host key of {address} has changed: expected {}, got {} {}. Somebody may be impersonating the host, \
         or it was re-installed",
        expected.join(" or "), got.algorithm(), got.fingerprint()
    )]
    HostKeyChanged {
        /// `host:port`
        address: String,
        /// Fingerprints of the pinned keys.
        expected: Vec<String>,
        /// The key that was shown.
        got: Box<PublicKey>,
    },
    /// No key is pinned, and the policy takes none on first contact.
    #[error("ssh: the host key of {address} is not known: {} {}", got.algorithm(), got.fingerprint())]
    HostKeyUnknown {
        /// `host:port`
        address: String,
        /// The key that was shown.
        got: Box<PublicKey>,
    },
    /// The server took none of our keys.
    #[error(transparent)]
    AuthFailed(Box<AuthFailure>),
    /// A key file that was asked for cannot be used.
    #[error("ssh: key file {}: {problem}", path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        problem: KeyFileProblem,
    },
    /// A pinned key line, or a public key file, that cannot be read as one.
    #[error("ssh: {line:?} is not an OpenSSH public key: {why}")]
    NotAPublicKey {
        /// The text.
        line: String,
        /// Why.
        why: String,
    },
    /// The connection ended.
    #[error("ssh: connection to {address} lost while {doing}: {why}")]
    Closed {
        /// `host:port`
        address: String,
        /// What was going on.
        doing: String,
        /// What was seen of the end.
        why: String,
        /// Time spent.
        after: Duration,
        /// What the command had said until then, where one was running.
        received: Option<Box<Output>>,
    },
    /// A command ran longer than its limit.
    #[error("ssh: on {address}: command still running after {}; last output: {}", seconds(*.limit), received.last_line())]
    CommandTimedOut {
        /// `host:port`
        address: String,
        /// The limit.
        limit: Duration,
        /// What the command had said until then.
        received: Box<Output>,
    },
    /// The server refused to open a channel, or to start something on it.
    #[error("ssh: {address} refused {what}: {why}")]
    ChannelRefused {
        /// `host:port`
        address: String,
        /// What was asked for.
        what: String,
        /// Its reason.
        why: String,
    },
    /// A jump host could not be passed.
    #[error("ssh: by way of jump host {hop}: {source}")]
    Jump {
        /// The jump host, `user@host:port`.
        hop: String,
        /// What happened there.
        source: Box<Error>,
    },
    /// Waiting for the host came to its limit.
    #[error("ssh: gave up waiting for {address} after {}: {last}", seconds(*.waited))]
    GaveUp {
        /// `host:port`
        address: String,
        /// Time waited.
        waited: Duration,
        /// Attempts made.
        attempts: u32,
        /// The last thing seen.
        #[source]
        last: Box<Error>,
    },
    /// A file on the host.
    #[error("ssh: {address}:{path}: {why}")]
    RemoteFile {
        /// `host:port`
        address: String,
        /// Path there, unprintable bytes replaced.
        path: String,
        /// Why.
        why: String,
    },
    /// A file on this machine.
    #[error("{}: {source}", path.display())]
    LocalFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The local terminal or its streams.
    #[error("ssh: local terminal: {0}")]
    Terminal(#[source] std::io::Error),
    /// A key pair could not be generated or written out.
    #[error("ssh: cannot generate a key pair: {0}")]
    KeyGeneration(String),
    /// Protocol trouble that none of the above covers.
    #[error("ssh: {address}: {why}")]
    Protocol {
        /// `host:port`
        address: String,
        /// What the library said.
        why: String,
    },
}

/// What was tried to be let in, and what would have been welcome.
#[derive(Debug, thiserror::Error)]
#[error("ssh: {address} accepts none of our keys for user {user:?} ({}); it would accept {}",
    offers(offered, problems), if accepts.is_empty() { "nothing that it names".to_owned() } else { accepts.join(", ") })]
pub struct AuthFailure {
    /// `host:port`
    pub address: String,
    /// Login name.
    pub user: String,
    /// Methods tried (`publickey`; `none` when there was no key to offer).
    pub tried: Vec<&'static str>,
    /// Keys offered: where from and fingerprint, in order.
    pub offered: Vec<OfferedKey>,
    /// Keys that could not be offered, and why (an agent that is not there, an encrypted default key, …).
    pub problems: Vec<String>,
    /// Methods that the server would accept.
    pub accepts: Vec<&'static str>,
    /// Time spent.
    pub after: Duration,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileProblem {
    /// Cannot be read at all.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// Not a private key in any format that we know.
    #[error("is not a private key ({0})")]
    NotAKey(String),
    /// Encrypted, and there is no passphrase.
    #[error("is encrypted; add it to an ssh-agent (ssh-add) and try again")]
    Encrypted,
    /// Encrypted, and the passphrase is wrong.
    #[error("is encrypted, and the passphrase does not open it")]
    WrongPassphrase,
    /// A public key where a private one is needed.
    #[error("is a public key; the private key is needed")]
    Public,
}

impl Error {
    /// Can waiting heal this? A host that boots refuses, times out, or says nothing; a changed key stays changed.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Refused { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }
            | Self::Closed { .. }
            | Self::Unresolvable { .. } => true,
            // A boot-time responder or a half-open proxy says nothing and closes.
            Self::NotSsh { seen, .. } => seen.is_empty(),
            Self::Jump { source, .. } => source.is_transient(),
            // The jump host is there; what lies behind it is not yet.
            Self::ChannelRefused { what, .. } => what.starts_with("a connection to"),
            _ => false,
        }
    }

    /// Is this, or what caused it, the server taking none of our keys?
    pub fn is_auth_failure(&self) -> bool {
        match self {
            Self::AuthFailed(_) => true,
            Self::Jump { source, .. } => source.is_auth_failure(),
            _ => false,
        }
    }
}

/// A duration for people: `0.4 s`, `118 s`.
pub(crate) fn seconds(d: Duration) -> String {
    if d < Duration::from_secs(10) {
        format!("{:.1} s", d.as_secs_f64())
    } else {
        format!("{} s", d.as_secs())
    }
}

fn offers(offered: &[OfferedKey], problems: &[String]) -> String {
    let mut parts: Vec<String> = offered.iter().map(|key| format!("offered {key}")).collect();
    parts.extend(problems.iter().cloned());
    if parts.is_empty() { "there was no key to offer".to_owned() } else { parts.join("; ") }
}
