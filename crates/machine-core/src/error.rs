//! Why a driver could not do what it was asked.

use std::error::Error as StdError;

/// What kind of thing went wrong: it selects the exit code, whether a retry makes sense, and what a command does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The user's flags or the record don't make sense.
    Config,
    /// A condition for `create` is not met; exit code 3 when it comes from the checks before it.
    Precreate,
    /// The host or a resource of it does not exist (any more).
    NotFound,
    /// The driver can't do this at all.
    Unsupported,
    /// Credentials are missing, wrong or expired.
    Credentials,
    /// The provider has no room for it.
    Quota,
    /// The provider or host did not answer in time or at all; trying again may help.
    Unavailable,
    /// The machine is already in the state asked for.
    AlreadyDone,
    /// Something else.
    Other,
}

/// A driver's error: what failed, why, and what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    #[source]
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl DriverError {
    /// An error of a kind with its text: what failed and why, in one line.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None, source: None }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error underneath.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error once more, for each of many that one answer was about. The error underneath stays with the first.
    #[must_use]
    pub fn again(&self) -> Self {
        Self { kind: self.kind, message: self.message.clone(), hint: self.hint.clone(), source: None }
    }

    /// The kind.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do next, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}
