//! Waiting: with a limit, saying for what, and remembering the last thing that was seen.

use std::fmt;
use std::time::Duration;

use machine_core::{Driver, Event, Reporter};
use tokio::time::Instant;

/// How often is looked: the pauses between two looks grow by half each time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    first: Duration,
    longest: Duration,
}

impl Pace {
    /// For looks that cost next to nothing.
    const QUICK: Self = Self { first: Duration::from_millis(100), longest: Duration::from_secs(1) };
    /// For looks that are requests to a provider, who counts them.
    const COUNTED: Self = Self { first: Duration::from_millis(500), longest: Duration::from_secs(5) };

    /// For looks at a host through its driver.
    pub(crate) fn of(driver: &dyn Driver) -> Self {
        // What has marks is in an account.
        if driver.spec().capabilities.marks { Self::COUNTED } else { Self::QUICK }
    }
}
/// How often the user is told that the wait goes on.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// What one look found.
pub(crate) enum Look<T> {
    /// It is there.
    Found(T),
    /// Not yet; what was seen instead.
    NotYet(String),
}

/// A wait that came to its limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimedOut {
    /// What was waited for.
    pub what: String,
    /// For how long.
    pub limit: Duration,
    /// The last thing that was seen.
    pub last: String,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, limit, last } = self;
        write!(f, "waited {} s for {what}; last seen: {last}", limit.as_secs())
    }
}

impl std::error::Error for TimedOut {}

/// Looks again and again, at growing intervals, until the look finds something, fails, or the limit is reached.
pub(crate) async fn until<T, E>(
    what: &str,
    limit: Duration,
    report: &dyn Reporter,
    look: impl AsyncFnMut() -> Result<Look<T>, E>,
) -> Result<T, E>
where
    E: From<TimedOut>,
{
    until_at(Pace::QUICK, what, limit, report, look).await
}

/// [`until`] at a pace.
pub(crate) async fn until_at<T, E>(
    pace: Pace,
    what: &str,
    limit: Duration,
    report: &dyn Reporter,
    mut look: impl AsyncFnMut() -> Result<Look<T>, E>,
) -> Result<T, E>
where
    E: From<TimedOut>,
{
    let start = Instant::now();
    let mut pause = pace.first;
    let mut said = start;
    let mut last = "nothing".to_owned();
    loop {
        let left = limit.saturating_sub(start.elapsed());
        match tokio::time::timeout(left, look()).await {
            Ok(Ok(Look::Found(found))) => return Ok(found),
            Ok(Ok(Look::NotYet(seen))) => last = seen,
            Ok(Err(error)) => return Err(error),
            Err(_) => {}
        }
        if start.elapsed() + pause >= limit {
            return Err(TimedOut { what: what.to_owned(), limit, last }.into());
        }
        if said.elapsed() >= SAY_EVERY {
            said = Instant::now();
            report.report(waiting(what, start.elapsed(), limit, &last));
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 3 / 2).min(pace.longest);
    }
}

/// The event that says that a wait goes on.
pub(crate) fn waiting(what: &str, elapsed: Duration, limit: Duration, last: &str) -> Event {
    Event::Waiting {
        what: what.to_owned(),
        for_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        limit_ms: u64::try_from(limit.as_millis()).unwrap_or(u64::MAX),
        last: last.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use machine_core::Silent;

    #[tokio::test(flavor = "current_thread")]
    async fn says_what_was_last_seen() {
        let limit = Duration::from_millis(300);
        let result: Result<(), TimedOut> =
            until("ssh", limit, &Silent, async || Ok(Look::NotYet("connection refused".into()))).await;
        let text = result.unwrap_err().to_string();
        assert_eq!(text, "waited 0 s for ssh; last seen: connection refused");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_look_that_hangs_is_cut_at_the_limit() {
        let result: Result<(), TimedOut> = until("ssh", Duration::from_millis(50), &Silent, async || {
            std::future::pending::<()>().await;
            Ok(Look::Found(()))
        })
        .await;
        assert!(result.is_err());
    }

    #[tokio::test(flavor = "current_thread")]
    async fn ends_as_soon_as_it_is_there() {
        let mut looks = 0;
        let result: Result<u32, TimedOut> = until("it", Duration::from_secs(60), &Silent, async || {
            looks += 1;
            Ok(if looks == 4 { Look::Found(looks) } else { Look::NotYet("not yet".into()) })
        })
        .await;
        assert_eq!(result, Ok(4));
    }
}
