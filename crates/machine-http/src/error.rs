//! What can go wrong between us and a server.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use crate::Url;

/// Why something could not be had. No text has credentials or queries of addresses in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// Only `http` and `https` are spoken.
    #[error("{url} is no address of HTTP")]
    Scheme {
        /// The address.
        url: String,
    },
    /// The file with further root certificates is no good.
    #[error("the certificates in {} can't be used: {why}", path.display())]
    ExtraCa {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is no TLS to be had, e.g. because the system has no root certificates.
    #[error("HTTPS can't be used: {why}")]
    Setup {
        /// What is wrong.
        why: String,
    },
    /// No connection: name look-up, refused, TLS, proxy.
    #[error("{url} can't be reached: {why}")]
    Unreachable {
        /// The address.
        url: String,
        /// What happened, down to the first cause.
        why: String,
    },
    /// The server said nothing for too long.
    #[error("{url}: nothing came for {} s", limit.as_secs())]
    Silent {
        /// The address.
        url: String,
        /// The limit.
        limit: Duration,
    },
    /// The server sends us on and on, or from HTTPS to HTTP.
    #[error("{url}: {why}")]
    Redirect {
        /// The address that was asked for.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server refused.
    #[error("{url}: the server answered {status} {reason}")]
    Status {
        /// The address.
        url: String,
        /// The status code, e.g. 404.
        status: u16,
        /// What it stands for, e.g. `Not Found`.
        reason: &'static str,
    },
    /// There is nothing at the place from which on more was asked for.
    #[error("{url}: the server has nothing from byte {offset} on")]
    NothingThere {
        /// The address.
        url: String,
        /// Where it was to go on.
        offset: u64,
        /// The length of what the server has, where it says so.
        total: Option<u64>,
    },
    /// The connection broke while the answer came.
    #[error("{url}: the transfer broke off: {why}")]
    Cut {
        /// The address.
        url: String,
        /// What happened.
        why: String,
    },
    /// The answer is not what HTTP allows, or larger than what is sensible.
    #[error("{url}: the server's answer makes no sense: {why}")]
    Nonsense {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
}

impl HttpError {
    /// Whether the same request may succeed a little later.
    #[must_use]
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Silent { .. } | Self::Cut { .. } => true,
            // A certificate does not get better, nor a name that is known for certain not to exist.
            Self::Unreachable { why, .. } => !why.contains("certificate") && !is_no_name(why),
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }

    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let ca = crate::EXTRA_CA;
        match self {
            Self::ExtraCa { .. } => Some(format!("{ca} names a file with certificates in PEM")),
            Self::Setup { .. } => Some(format!(
                "install the system's root certificates (Debian: ca-certificates), or name a file with some by {ca}"
            )),
            Self::Unreachable { why, .. } if why.contains("certificate") => Some(format!(
                "if a proxy or server of yours has its own certification authority, name its certificate by {ca}=FILE"
            )),
            Self::Unreachable { .. } => Some(
                "check the network; behind a proxy set HTTPS_PROXY (and NO_PROXY for what is near)"
                    .to_owned(),
            ),
            Self::Status { status: 401 | 403, .. } => {
                Some("the address may need credentials, or have expired".to_owned())
            }
            Self::Status { status: 407, .. } => {
                Some("the proxy wants credentials: HTTPS_PROXY=http://USER:PASSWORD@HOST:PORT".to_owned())
            }
            _ => None,
        }
    }

    /// Reads the library's error. `limit` is how long a silence may be.
    pub(crate) fn of(error: reqwest::Error, url: &Url, limit: Duration) -> Self {
        let error = error.without_url();
        let (url, why) = (crate::shown(url), causes(&error));
        if error.is_redirect() {
            return Self::Redirect { url, why };
        }
        if error.is_timeout() && !error.is_connect() {
            return Self::Silent { url, limit };
        }
        if error.is_body() || error.is_decode() {
            return Self::Cut { url, why };
        }
        Self::Unreachable { url, why }
    }
}

/// Whether a name was looked up and there is none: as glibc, musl, macOS and Windows say it.
fn is_no_name(why: &str) -> bool {
    const WORDS: [&str; 4] =
        ["Name or service not known", "Name does not resolve", "nodename nor servname", "No such host"];
    WORDS.iter().any(|words| why.contains(words))
}

/// The causes of an error, the library's own words left out where there is something behind them.
fn causes(error: &dyn StdError) -> String {
    const NOTHING_NEW: [&str; 4] =
        ["client error (Connect)", "dns error", "error resolving DNS", "tcp connect error"];
    let mut text = String::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) && !NOTHING_NEW.contains(&words.as_str()) {
            let _ = write!(text, "{}{words}", if text.is_empty() { "" } else { ": " });
        }
        next = cause.source();
    }
    if text.is_empty() { error.to_string() } else { text }
}
