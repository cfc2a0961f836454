//! When a call is made again.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::time::Instant;

use super::{Answer, ApiError, Repeat};

/// How often and how long a call is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retries {
    /// How often at most.
    pub tries: u32,
    /// The pause before the second try at most; it doubles with each further one. Half of it is left to chance.
    pub first: Duration,
    /// The longest pause, unless the provider asks for a longer one.
    pub longest: Duration,
    /// After this time no further try is begun; a pause that would end later is not begun either.
    pub budget: Duration,
}

impl Default for Retries {
    /// 8 tries within two minutes, with pauses from a quarter of a second to ten seconds.
    fn default() -> Self {
        Self {
            tries: 8,
            first: Duration::from_millis(250),
            longest: Duration::from_secs(10),
            budget: Duration::from_secs(120),
        }
    }
}

/// The tries of one call.
pub(super) struct Tries<'a> {
    retries: &'a Retries,
    begin: Instant,
    pub(super) count: u32,
}

impl<'a> Tries<'a> {
    pub(super) fn new(retries: &'a Retries) -> Self {
        Self { retries, begin: Instant::now(), count: 0 }
    }

    /// How long to wait before the next try; `None` where there is to be none.
    pub(super) fn pause_before_next(&self, failed: &ApiError, repeat: Repeat) -> Option<Duration> {
        let refused_unheard = match failed {
            ApiError::Transport { sent, .. } => !sent,
            ApiError::Refused { refusal, .. } => refusal.throttled,
            _ => false,
        };
        let may = failed.may_pass() && (repeat == Repeat::Safe || refused_unheard);
        if !may || self.count >= self.retries.tries {
            return None;
        }
        // What is wanted is the least: many are told the same, and "now" is said by clocks that are not ours.
        let wanted = failed.refusal().and_then(|refusal| refusal.retry_after).unwrap_or_default();
        let pause = wanted.saturating_add(self.backed_off());
        self.begin.elapsed().checked_add(pause).filter(|end| *end <= self.retries.budget).map(|_| pause)
    }

    /// A pause that doubles with each try, half of it left to chance so that many who were refused at once do not all
    /// come back at once.
    fn backed_off(&self) -> Duration {
        let doubled = self.retries.first.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1)));
        let most = doubled.min(self.retries.longest);
        most.mul_f64(fastrand::f64().mul_add(0.5, 0.5))
    }
}

/// When a provider wants to be asked again: `Retry-After` (RFC 9110, 10.2.3), else, where we ask too often,
/// `RateLimit-Reset` in seconds since 1970 as DigitalOcean has it. (At Hetzner it is the time when the whole quota is back:
/// its dialect drops it.)
pub(super) fn wanted(answer: &Answer) -> Option<Duration> {
    let now = OffsetDateTime::now_utc();
    let text = answer.header("retry-after").trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    if let Ok(at) = OffsetDateTime::parse(text, &Rfc2822) {
        return Some((at - now).try_into().unwrap_or(Duration::ZERO));
    }
    if answer.status != 429 {
        return None;
    }
    let reset: i64 = answer.header("ratelimit-reset").trim().parse().ok()?;
    // A second more: the clocks are not the same.
    let seconds = reset.saturating_sub(now.unix_timestamp()).saturating_add(1);
    u64::try_from(seconds).ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::super::Refusal;
    use super::*;

    fn pause(wanted: Option<Duration>, count: u32) -> Option<Duration> {
        let retries = Retries::default();
        let begin = Instant::now() - Duration::from_secs(5);
        let refusal = Refusal { status: 429, throttled: true, retry_after: wanted, ..Refusal::default() };
        let failed = ApiError::Refused { call: String::new(), refusal: Box::new(refusal) };
        Tries { retries: &retries, begin, count }.pause_before_next(&failed, Repeat::Once)
    }

    #[test]
    fn a_pause_is_never_nothing_and_never_the_same_for_all() {
        let wanted = Some(Duration::from_secs(29));
        let pauses: Vec<Duration> = (0..20).filter_map(|_| pause(wanted, 4)).collect();
        assert_eq!(pauses.len(), 20);
        assert!(pauses.iter().all(|pause| (30..=31).contains(&pause.as_secs())), "{pauses:?}");
        assert!(pauses.iter().any(|pause| *pause != pauses[0]), "all at once");
        // "Now", said by a clock that is behind ours.
        assert!(pause(Some(Duration::ZERO), 5).unwrap() >= Duration::from_secs(2));
        assert_eq!(pause(None, 8), None, "it was tried often enough");
        assert_eq!(pause(Some(Duration::from_secs(120)), 1), None, "there is no time for it");
        assert_eq!(pause(Some(Duration::MAX), 1), None);
        assert_eq!(pause(Some(Duration::from_secs(u64::MAX)), 1), None);
    }
}
