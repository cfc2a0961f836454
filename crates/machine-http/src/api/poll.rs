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
    /// The first pause between two looks.
    pub first: Duration,
    /// The longest pause.
    pub longest: Duration,
    /// By what each pause is longer than the one before: 1.5 is half as long again.
    pub growth: f64,
    /// How much of a pause is left to chance: 0.5 makes it between half and one and a half times as long.
    pub chance: f64,
}

impl<'a> Poll<'a> {
    /// Looks after 250 ms, then ever more seldom, up to every 3 s.
    #[must_use]
    pub fn new(what: &'a str, limit: Duration) -> Self {
        let (first, longest) = (Duration::from_millis(250), Duration::from_secs(3));
        Self { what, limit, first, longest, growth: 1.5, chance: 0.0 }
    }

    /// A pause of about this length.
    fn about(&self, pause: Duration) -> Duration {
        let chance = self.chance.clamp(0.0, 1.0);
        pause.mul_f64((2.0 * fastrand::f64()).mul_add(chance, 1.0 - chance))
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
pub async fn poll<T, E, F>(
    wait: &Poll<'_>,
    mut tell: impl FnMut(Duration, &str),
    // No `AsyncFnMut`: of what that gives, nobody can say that it may go to another thread, as a driver's futures must.
    mut look: impl FnMut() -> F,
) -> Result<T, PollError<E>>
where
    F: Future<Output = Result<Seen<T>, E>>,
{
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
        let now = wait.about(pause);
        if begin.elapsed() + now >= wait.limit {
            return Err(PollError::Limit { what: wait.what.to_owned(), limit: wait.limit, last });
        }
        tell(begin.elapsed(), &last);
        sleep(now).await;
        // What is too long for a duration is too long for a pause.
        let longer = Duration::try_from_secs_f64(pause.as_secs_f64() * wait.growth.max(1.0));
        pause = longer.unwrap_or(wait.longest).min(wait.longest);
    }
}
