//! Why an engine could not be asked.

use std::io;
use std::time::Duration;

use crate::{ApiVersion, CertificateProblem};

/// Why a call of an engine failed. The texts of the first group are what Go's network and TLS packages say, because
/// callers look for those words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The machine's URL is no URL of an engine.
    #[error("parse {url:?}: {reason}")]
    InvalidUrl {
        /// The URL, as far as it could be understood.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The host name has no address.
    #[error("dial tcp: lookup {host}: {reason}")]
    Unresolvable {
        /// The name.
        host: String,
        /// `no such host`, or what the resolver says.
        reason: String,
    },
    /// Nobody listens there.
    #[error("dial {network} {address}: connect: connection refused")]
    Refused {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Address and port, or the socket's path.
        address: String,
    },
    /// No connection within the limit.
    #[error("dial {network} {address}: i/o timeout")]
    TimedOut {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Address and port, or the socket's path.
        address: String,
    },
    /// Connecting failed in another way, e.g. `no route to host`.
    #[error("dial {network} {address}: connect: {}", go_reason(.source))]
    Unreachable {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Address and port, or the socket's path.
        address: String,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The engine's certificate was not accepted.
    #[error("{problem}")]
    Certificate {
        /// Address and port.
        address: String,
        /// What is wrong with it.
        problem: CertificateProblem,
    },
    /// The engine did not accept our certificate.
    #[error("remote error: tls: {alert}")]
    ClientRejected {
        /// Address and port.
        address: String,
        /// The engine's reason in Go's words, e.g. `bad certificate`.
        alert: String,
    },
    /// Something answered, but not in TLS: plain HTTP, SSH, or the like.
    #[error("tls: first record does not look like a TLS handshake")]
    NotTls {
        /// Address and port.
        address: String,
    },
    /// The handshake failed in another way.
    #[error("tls: handshake with {address} failed: {reason}")]
    Tls {
        /// Address and port.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The other side took the connection but said nothing, or not everything, within the limit.
    #[error("read {network} {address}: i/o timeout: {waited_for} did not come within {} s", .limit.as_secs_f32())]
    Silent {
        /// `tcp` or `unix`.
        network: &'static str,
        /// Address and port, or the socket's path.
        address: String,
        /// What was waited for, e.g. `TLS handshake` or `answer to GET /version`.
        waited_for: String,
        /// The limit.
        limit: Duration,
    },
    /// The other side closed the connection without an answer.
    #[error("{address} closed the connection: {reason}")]
    Closed {
        /// Address and port, or the socket's path.
        address: String,
        /// What was seen: `EOF`, or the system's words.
        reason: String,
    },
    /// The CA, client certificate or key at hand can't be used.
    #[error("{what} can't be used: {reason}")]
    Identity {
        /// Which of them.
        what: &'static str,
        /// Why. Never the key itself.
        reason: String,
    },
    /// The engine answered with an error.
    #[error("{message} (HTTP {status})")]
    Http {
        /// The HTTP status.
        status: u16,
        /// The engine's message.
        message: String,
    },
    /// The engine reported an error within an answer that began well, e.g. while it pulled an image.
    #[error("{message}")]
    Engine {
        /// The engine's message.
        message: String,
    },
    /// What came back is not the answer of an engine.
    #[error("{address} did not answer like a Docker engine: {reason}")]
    Protocol {
        /// Address and port, or the socket's path.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no API version that both sides speak.
    #[error("the engine does not speak API version {ours}: {message}")]
    ApiVersion {
        /// The version that was sent.
        ours: ApiVersion,
        /// The engine's words.
        message: String,
    },
}

/// The text that the reference program has for a refused connection in the errors column of `ls`.
const REFUSED_IN_LS: &str = "Cannot connect to the docker engine endpoint";

impl EngineError {
    /// The text after `Unable to query docker version: ` in the errors column of `ls`, as the reference program has
    /// it: one sentence for a refused connection, the error itself for everything else.
    #[must_use]
    pub fn query_text(&self) -> String {
        match self {
            Self::Refused { .. } => REFUSED_IN_LS.to_owned(),
            other => other.to_string(),
        }
    }

    /// Whether nobody answered at all: the host may be off, or on its way up.
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::Unresolvable { .. }
                | Self::Refused { .. }
                | Self::TimedOut { .. }
                | Self::Unreachable { .. }
                | Self::Silent { .. }
                | Self::Closed { .. }
        )
    }

    /// Whether new certificates (`regenerate-certs`) would help.
    #[must_use]
    pub fn is_certificate(&self) -> bool {
        matches!(self, Self::Certificate { .. } | Self::ClientRejected { .. } | Self::Identity { .. })
    }
}

/// The system's words for an error, as Go prints them: lower case, no number.
fn go_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::HostUnreachable => "no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network is unreachable".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset by peer".to_owned(),
        io::ErrorKind::AddrNotAvailable => "cannot assign requested address".to_owned(),
        _ => error.to_string(),
    }
}
