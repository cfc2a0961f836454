//! What EC2 does not know yet: what was made a moment ago is neither listed nor known everywhere at once (EC2's developer
//! guide, "Eventual consistency").

use std::time::{Duration, SystemTime};

use machine_core::{DriverError, Event, Reporter};
use tokio::time::Instant;

/// The pause between the first two looks, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_millis(500), Duration::from_secs(3)];

/// Seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

/// Looks until there is something, once at least; `None` where there still is nothing after this time, or where there is no
/// time. Unlike [`crate::cloud::wait_for`] it never ends a look: only an answer says that there is nothing.
///
/// # Errors
/// What a look says.
pub(super) async fn within<T, F>(
    report: &dyn Reporter,
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> F,
) -> Result<Option<T>, DriverError>
where
    F: Future<Output = Result<Option<T>, DriverError>>,
{
    let begin = Instant::now();
    let [mut pause, longest] = PAUSES;
    loop {
        if let Some(found) = look().await? {
            return Ok(Some(found));
        }
        let elapsed = begin.elapsed();
        if elapsed >= limit {
            return Ok(None);
        }
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        report.report(Event::Waiting {
            what: what.to_owned(),
            for_ms: ms(elapsed),
            limit_ms: ms(limit),
            last: "EC2 does not know it (yet)".to_owned(),
        });
        tokio::time::sleep(pause.min(limit - elapsed)).await;
        pause = pause.mul_f64(1.5).min(longest);
    }
}
