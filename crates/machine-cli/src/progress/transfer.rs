//! Bytes that are being moved: how many, how fast, how long still.

use std::time::{Duration, Instant};

/// How much of the recent past the rate is of.
const WINDOW: Duration = Duration::from_secs(5);
/// Between two words on the same transfer in lines.
const NEXT_WORD: Duration = Duration::from_secs(10);
/// Each of so many parts of the whole is worth a word, too …
const PARTS: u64 = 4;
/// … but not more often than this.
const NEXT_PART: Duration = Duration::from_secs(1);
/// Signs in the bar.
const BAR: usize = 20;

/// The transfer that goes on.
#[derive(Debug, Default)]
pub struct Transfer {
    what: String,
    done: u64,
    total: Option<u64>,
    began: Option<(Instant, u64)>,
    /// Looks at the recent past, oldest first.
    looks: Vec<(Instant, u64)>,
    last_word: Option<(Instant, u64)>,
    ended: bool,
}

/// What to do about a report of bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Word {
    /// Nothing in lines.
    None,
    /// A line on how it goes.
    Due,
    /// It has ended: the last line on it.
    End,
}

impl Transfer {
    /// Takes a report, and says whether lines should have a word on it.
    pub fn report(&mut self, what: &str, done: u64, total: Option<u64>, now: Instant) -> Word {
        if self.began.is_none() || self.what != what || done < self.done {
            // Another transfer, or the same from the beginning.
            *self = Self { what: what.to_owned(), began: Some((now, done)), ..Self::default() };
            self.last_word = Some((now, done));
        }
        (self.done, self.total) = (done, total);
        self.look(now);
        if total == Some(done) {
            return if std::mem::replace(&mut self.ended, true) { Word::None } else { Word::End };
        }
        if self.is_due(now) {
            self.last_word = Some((now, done));
            return Word::Due;
        }
        Word::None
    }

    fn look(&mut self, now: Instant) {
        // Some looks a second are enough, however many reports there are.
        let close = self.looks.last().is_some_and(|(at, _)| now.duration_since(*at) < WINDOW / 50);
        if !close {
            self.looks.push((now, self.done));
        }
        let old = self.looks.iter().take_while(|(at, _)| now.duration_since(*at) > WINDOW).count();
        // One old look stays, so that a transfer that stands still has a rate, too.
        self.looks.drain(..old.saturating_sub(1));
    }

    fn is_due(&self, now: Instant) -> bool {
        let Some((at, done)) = self.last_word else { return false };
        let since = now.duration_since(at);
        let part = |done: u64| self.total.filter(|total| *total > 0).map(|total| done * PARTS / total);
        since >= NEXT_WORD || since >= NEXT_PART && part(done) != part(self.done)
    }

    /// Bytes a second of the last seconds; `None` where nothing can be said yet.
    fn rate(&self, now: Instant) -> Option<u64> {
        let (at, done) = *self.looks.first()?;
        per_second(self.done.saturating_sub(done), now.duration_since(at))
    }

    /// `82.5 of 330.1 MiB (25 %), 5.1 MiB/s, 48 s left`.
    pub fn text(&self, now: Instant) -> String {
        let mut text = match self.total {
            Some(total) => format!(
                "{} of {} ({} %)",
                bytes_like(self.done, total),
                bytes(total),
                percent(self.done, total)
            ),
            None => bytes(self.done),
        };
        if let Some(rate) = self.rate(now) {
            text.push_str(&format!(", {}/s", bytes(rate)));
            if let Some(left) = self.total.and_then(|total| total.saturating_sub(self.done).checked_div(rate))
            {
                text.push_str(&format!(", {} left", time(left)));
            }
        }
        text
    }

    /// The line for a terminal: a bar where the whole is known, the numbers, and what it is.
    pub fn drawn(&self, now: Instant) -> String {
        let bar = match self.total {
            Some(total) => {
                let full =
                    self.done.min(total).saturating_mul(BAR as u64).checked_div(total).unwrap_or(BAR as u64);
                let full = usize::try_from(full).unwrap_or(BAR);
                format!("[{}{}] ", "=".repeat(full), " ".repeat(BAR - full))
            }
            None => String::new(),
        };
        format!("{bar}{}: {}", self.text(now), self.what)
    }

    /// What is said at the end: `disk.qcow2: 330.1 MiB in 65 s, 5.1 MiB/s`.
    pub fn end(&self, now: Instant) -> String {
        let (began, first) = self.began.unwrap_or((now, 0));
        let took = now.duration_since(began);
        let mut text = format!("{}: {} in {}", self.what, bytes(self.done), time(took.as_secs()));
        if let Some(rate) = per_second(self.done.saturating_sub(first), took).filter(|_| took.as_secs() > 0) {
            text.push_str(&format!(", {}/s", bytes(rate)));
        }
        text
    }

    /// A line on how it goes: `disk.qcow2: 82.5 of 330.1 MiB (25 %), …`.
    pub fn line(&self, now: Instant) -> String {
        format!("{}: {}", self.what, self.text(now))
    }
}

fn per_second(bytes: u64, time: Duration) -> Option<u64> {
    let ms = u64::try_from(time.as_millis()).ok().filter(|ms| *ms >= 200)?;
    Some(bytes.saturating_mul(1000) / ms)
}

fn percent(done: u64, total: u64) -> u64 {
    done.min(total).saturating_mul(100).checked_div(total).unwrap_or(100)
}

/// A time for people: `55 s`, `3 min 20 s`, `2 h 5 min`.
fn time(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];

/// The unit in which a number of bytes is best read, and how many bytes it has.
fn unit(count: u64) -> (&'static str, u64) {
    let power = (1..UNITS.len()).rev().find(|power| count >= 1 << (10 * power)).unwrap_or(0);
    (UNITS[power], 1 << (10 * power))
}

fn in_unit(count: u64, size: u64) -> String {
    if size == 1 {
        return count.to_string();
    }
    let tenths = u128::from(count) * 10 / u128::from(size);
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// A number of bytes for people: `330.1 MiB`.
pub fn bytes(count: u64) -> String {
    let (name, size) = unit(count);
    format!("{} {name}", in_unit(count, size))
}

/// The number alone, in the unit of another.
fn bytes_like(count: u64, of: u64) -> String {
    in_unit(count, unit(of).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    /// Reports `rate` MiB in each second from `first` to `total`, ten times a second; the words with their seconds.
    fn words(first: u64, total: u64, rate: u64) -> Vec<(u64, Word)> {
        let (began, mut transfer, mut said) = (Instant::now(), Transfer::default(), Vec::new());
        for tick in 0.. {
            let done = (first * MIB + tick * rate * MIB / 10).min(total * MIB);
            let now = began + Duration::from_millis(tick * 100);
            match transfer.report("disk", done, Some(total * MIB), now) {
                Word::None => {}
                word => said.push((tick / 10, word)),
            }
            if done == total * MIB {
                return said;
            }
        }
        said
    }

    #[test]
    fn a_word_each_quarter_or_ten_seconds_and_one_at_the_end() {
        assert_eq!(words(0, 8, 1), [(2, Word::Due), (4, Word::Due), (6, Word::Due), (8, Word::End)]);
        assert_eq!(words(0, 100, 200), [(0, Word::End)]);
        let slow: Vec<u64> = words(0, 1000, 10).into_iter().map(|(second, _)| second).collect();
        assert_eq!(slow, [10, 20, 25, 35, 45, 50, 60, 70, 75, 85, 95, 100]);
    }

    #[test]
    fn numbers_are_for_people() {
        let (began, mut transfer) = (Instant::now(), Transfer::default());
        let after = |seconds| began + Duration::from_secs(seconds);
        // A transfer that goes on at half of it is not infinitely fast.
        transfer.report("disk", 100 * MIB, Some(200 * MIB), began);
        assert_eq!(transfer.text(began), "100.0 of 200.0 MiB (50 %)");
        transfer.report("disk", 110 * MIB, Some(200 * MIB), after(2));
        assert_eq!(transfer.text(after(2)), "110.0 of 200.0 MiB (55 %), 5.0 MiB/s, 18 s left");
        assert_eq!(
            transfer.drawn(after(2)),
            "[===========         ] 110.0 of 200.0 MiB (55 %), 5.0 MiB/s, 18 s left: disk"
        );
        transfer.report("disk", 200 * MIB, Some(200 * MIB), after(20));
        assert_eq!(transfer.end(after(20)), "disk: 200.0 MiB in 20 s, 5.0 MiB/s");
        transfer.report("list", 1500, None, after(21));
        assert_eq!(transfer.text(after(21)), "1.4 KiB");
        assert_eq!((time(200).as_str(), time(7500).as_str()), ("3 min 20 s", "2 h 5 min"));
    }

    #[test]
    fn one_that_stands_still_or_is_empty_is_said_so() {
        let (began, mut transfer) = (Instant::now(), Transfer::default());
        transfer.report("disk", 0, Some(MIB), began);
        transfer.report("disk", 0, Some(MIB), began + Duration::from_secs(30));
        assert_eq!(transfer.text(began + Duration::from_secs(30)), "0.0 of 1.0 MiB (0 %), 0 B/s");
        assert_eq!(transfer.report("none", 0, Some(0), began), Word::End);
        assert_eq!(transfer.report("none", 0, Some(0), began), Word::None);
        assert_eq!(transfer.drawn(began), "[====================] 0 of 0 B (100 %): none");
    }
}
