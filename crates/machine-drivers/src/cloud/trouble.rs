//! From a provider's refusal to an error that says what to do.

use machine_core::{DriverError, ErrorKind};
use machine_http::api::{ApiError, Refusal};

/// How a driver reads its provider's refusals.
pub(crate) struct Reading {
    /// What the credentials are and where they come from, for the hint of a refused one.
    pub(crate) credentials: &'static str,
    /// The provider's own codes: what kind of error, and what to do. `None` leaves it to the status.
    pub(crate) refine: fn(&Refusal) -> Option<(ErrorKind, &'static str)>,
}

/// What to do, for what all providers have in common.
pub(crate) mod hint {
    /// Too many requests.
    pub(crate) const THROTTLED: &str =
        "the provider takes no more requests from this account for now: try again in a few minutes";
    /// Too many hosts.
    pub(crate) const QUOTA: &str = "remove what is not needed (`docker-machine gc` finds what was forgotten), or ask the provider for a higher limit";
    /// The provider is down.
    pub(crate) const DOWN: &str = "the provider has trouble: look at its status page and try again later";
    /// No network.
    pub(crate) const NETWORK: &str = "check the network; behind a proxy set HTTPS_PROXY";
}

/// An error for a call that failed while something was done, e.g. `the droplet can't be made`.
pub(crate) fn trouble(reading: &Reading, doing: &str, error: &ApiError) -> DriverError {
    let (kind, hint) = judge(reading, error);
    let wrong = DriverError::new(kind, format!("{doing}: {error}"));
    match hint {
        Some(hint) => wrong.with_hint(hint),
        None => wrong,
    }
}

fn judge(reading: &Reading, error: &ApiError) -> (ErrorKind, Option<String>) {
    let said = |kind, hint: &str| (kind, Some(hint.to_owned()));
    match error {
        ApiError::NoAccess { .. } => said(ErrorKind::Credentials, reading.credentials),
        ApiError::Transport { source, .. } => {
            (ErrorKind::Unavailable, source.hint().or_else(|| Some(hint::NETWORK.to_owned())))
        }
        ApiError::Refused { refusal, .. } => match (reading.refine)(refusal) {
            Some((kind, hint)) => (kind, Some(hint.to_owned()).filter(|hint| !hint.is_empty())),
            None => by_status(reading, refusal),
        },
        _ => (ErrorKind::Other, None),
    }
}

fn by_status(reading: &Reading, refusal: &Refusal) -> (ErrorKind, Option<String>) {
    let said = |kind, hint: &str| (kind, Some(hint.to_owned()));
    match refusal.status {
        _ if refusal.throttled => said(ErrorKind::Unavailable, hint::THROTTLED),
        401 | 403 => said(ErrorKind::Credentials, reading.credentials),
        404 | 410 => (ErrorKind::NotFound, None),
        408 | 425 | 500..=599 => said(ErrorKind::Unavailable, hint::DOWN),
        _ => (ErrorKind::Other, None),
    }
}
