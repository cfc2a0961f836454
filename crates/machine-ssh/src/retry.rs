//! Waiting for a host that is still coming up.

use std::time::{Duration, Instant};

use crate::connect::Options;
use crate::credentials::Credentials;
use crate::error::{Error, Result};
use crate::hostkey::HostKeyPolicy;
use crate::session::Session;
use crate::target::Target;

/// First pause between attempts; it grows by half each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A booting host swallows packets: better to ask again than to sit out the system's growing retransmission times.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// How long to wait for a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryOptions {
    /// For all attempts together.
    pub limit: Duration,
    /// How long refused keys are taken for "not there yet", counted from the first time that the server refused them:
    /// cloud-init puts them in place some time after sshd answers. Zero: fail at once.
    pub auth_grace: Duration,
}

impl Default for RetryOptions {
    fn default() -> Self {
        Self { limit: Duration::from_secs(180), auth_grace: Duration::from_secs(30) }
    }
}

/// Where the waiting stands, after a failed attempt.
#[derive(Debug)]
pub struct WaitInfo<'a> {
    /// Attempts made.
    pub attempt: u32,
    /// Time waited.
    pub waited: Duration,
    /// The limit of it.
    pub limit: Duration,
    /// What was seen last.
    pub last: &'a Error,
}

impl Session {
    /// Connects as soon as the host lets us in. `on_wait` is called after each failed attempt.
    ///
    /// # Errors
    /// At once what waiting can't heal (a changed host key, a key file that is none); after `auth_grace` refused
    /// keys; at the limit [`Error::GaveUp`] with the last thing seen.
    pub async fn connect_with_retry(
        target: &Target,
        credentials: &Credentials,
        host_keys: &HostKeyPolicy,
        options: &Options,
        retry: &RetryOptions,
        mut on_wait: impl FnMut(WaitInfo<'_>),
    ) -> Result<Self> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        let mut refused_since = None;
        for attempt in 1.. {
            let left = retry.limit.saturating_sub(started.elapsed()).max(FIRST_PAUSE);
            let limits = Options {
                connect_timeout: options.connect_timeout.min(ATTEMPT_LIMIT).min(left),
                auth_timeout: options.auth_timeout.min(left),
                ..options.clone()
            };
            let error = match Self::connect(target, credentials, host_keys, &limits).await {
                Ok(session) => return Ok(session),
                Err(error) => error,
            };
            let waited = started.elapsed();
            if error.is_auth_failure() {
                if refused_since.get_or_insert_with(Instant::now).elapsed() >= retry.auth_grace {
                    return Err(error);
                }
            } else if !error.is_transient() {
                return Err(error);
            }
            if waited + pause >= retry.limit {
                return Err(Error::GaveUp {
                    address: target.address(),
                    waited,
                    attempts: attempt,
                    last: Box::new(error),
                });
            }
            on_wait(WaitInfo { attempt, waited, limit: retry.limit, last: &error });
            tokio::time::sleep(pause).await;
            pause = (pause * 3 / 2).min(LONGEST_PAUSE);
        }
        unreachable!("the attempts end by returning")
    }
}
