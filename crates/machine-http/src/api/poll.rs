//! Asking until something is so.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

/// A wait: what for, how long, how often.
#[derive(Clone, Copy, Debug)]
pub struct Poll<'a> {
    /// What is waited for, e.g. `the droplet to be active`.
    pub what: &'a str,
    /// For how long at most.
    pub limit: Duration,
    /// The first pause between two looks; it grows by half each time.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
}

impl<'a> Poll<'a> {
    /// Looks after 250 ms, then ever more seldom, up to every 3 s.
    #[must_use]
    pub fn new(what: &'a str, limit: Duration) -> Self {
        Self { what, limit, first: Duration::from_millis(250), longest: Duration::from_secs(3) }
    }
}

/// What one look found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen<T> {
    /// It is so.
    Done(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// Why a wait ended badly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PollError<E> {
    /// It took too long.
    #[error("waited {} s for {what}; last seen: {last}", limit.as_secs())]
    Limit {
        /// What was waited for.
        what: String,
        /// For how long.
        limit: Duration,
        /// The last thing that was seen.
        last: String,
    },
    /// A look failed.
    #[error(transparent)]
    Failed(E),
}

/// Looks until the look finds it, fails, or the limit is reached. `tell` hears after each look how long it has been and
/// what was seen.
///
/// # Errors
/// [`PollError`].
pub async fn poll<T, E>(
    wait: &Poll<'_>,
    mut tell: impl FnMut(Duration, &str),
    mut look: impl AsyncFnMut() -> Result<Seen<T>, E>,
) -> Result<T, PollError<E>> {
    let begin = Instant::now();
    let mut pause = wait.first;
    let mut last = "nothing".to_owned();
    loop {
        match timeout(wait.limit.saturating_sub(begin.elapsed()), look()).await {
            Ok(Ok(Seen::Done(found))) => return Ok(found),
            Ok(Ok(Seen::NotYet(seen))) => last = seen,
            Ok(Err(error)) => return Err(PollError::Failed(error)),
            Err(_) => {}
        }
        if begin.elapsed() + pause >= wait.limit {
            return Err(PollError::Limit { what: wait.what.to_owned(), limit: wait.limit, last });
        }
        tell(begin.elapsed(), &last);
        sleep(pause).await;
        pause = pause.mul_f64(1.5).min(wait.longest);
    }
}
