//! What a host is doing.

use std::fmt;
use std::str::FromStr;

/// The state of a host as its driver sees it. The texts are the reference program's: callers compare them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing is known; printed as an empty text.
    #[default]
    None,
    /// On, as far as the driver can tell.
    Running,
    /// Frozen in memory.
    Paused,
    /// Written to disk by its hypervisor, to go on from there.
    Saved,
    /// Off.
    Stopped,
    /// On its way to [`State::Stopped`].
    Stopping,
    /// On its way to [`State::Running`].
    Starting,
    /// The host or the question about it failed.
    Error,
    /// No answer within the limit.
    Timeout,
    /// There is no such host (any more).
    NotFound,
}

impl State {
    /// Every state, in the order of the reference program.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::Running,
        Self::Paused,
        Self::Saved,
        Self::Stopped,
        Self::Stopping,
        Self::Starting,
        Self::Error,
        Self::Timeout,
        Self::NotFound,
    ];

    /// The text that `ls` and `status` print.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Running => "Running",
            Self::Paused => "Paused",
            Self::Saved => "Saved",
            Self::Stopped => "Stopped",
            Self::Stopping => "Stopping",
            Self::Starting => "Starting",
            Self::Error => "Error",
            Self::Timeout => "Timeout",
            Self::NotFound => "Not Found",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown state {0:?}")]
pub struct UnknownState(String);

impl FromStr for State {
    type Err = UnknownState;
    /// Reads a state by its text, upper or lower case.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str().eq_ignore_ascii_case(s))
            .ok_or_else(|| UnknownState(s.to_owned()))
    }
}
