//! Progress for people and for programs: a pipe gets the reference program's lines, a terminal a live view of phases
//! with their times.

mod transfer;

use std::io::Write;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use machine_core::{Event, Reporter, StepStatus};

pub use self::transfer::bytes;
use self::transfer::{Transfer, Word};
use crate::{debug, output};

/// Where plain lines go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// As the reference program's log.
    Stdout,
    /// For commands whose stdout is an answer.
    Stderr,
}

/// What a terminal shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// The lines, as a pipe gets them.
    Lines,
    /// The lines, and below them what is being waited for.
    Waits,
    /// Phases with their times instead of lines.
    Phases,
}

/// A reporter for work on one machine: live on a terminal, lines elsewhere.
pub fn reporter(machine: &str, to: To, view: View) -> Box<dyn Reporter> {
    // It is drawn on stderr and takes the place of lines on stdout.
    if view != View::Lines && output::fancy_stdout() && output::fancy_stderr() {
        return Box::new(Live::new(machine, view));
    }
    Box::new(Lines::new(machine, to, false))
}

/// A reporter for one of several machines that are worked on at the same time: lines, all with the machine's name before
/// them.
pub fn one_of_several(machine: &str, to: To) -> Box<dyn Reporter> {
    Box::new(Lines::new(machine, to, true))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reference program's lines, and a word now and then on a wait that takes long.
struct Lines {
    machine: String,
    to: To,
    /// Whether the machine's name stands before every line, and not only before those of its driver.
    named: bool,
    wait: Mutex<Wait>,
    transfer: Mutex<Transfer>,
}

/// After how long a wait is spoken of in lines, in milliseconds.
const FIRST_WORD_MS: u64 = 10_000;
/// How long it is until the next word on the same wait, in milliseconds.
const NEXT_WORD_MS: u64 = 30_000;

/// The wait that goes on.
#[derive(Default)]
struct Wait {
    what: String,
    next_ms: u64,
}

impl Wait {
    /// Whether a word on this wait is due.
    fn is_due(&mut self, what: &str, for_ms: u64) -> bool {
        if self.what != what {
            *self = Self { what: what.to_owned(), next_ms: FIRST_WORD_MS };
        }
        let due = for_ms >= self.next_ms;
        if due {
            self.next_ms = for_ms + NEXT_WORD_MS;
        }
        due
    }
}

impl Lines {
    fn new(machine: &str, to: To, named: bool) -> Self {
        let (wait, transfer) = (Mutex::default(), Mutex::default());
        Self { machine: machine.to_owned(), to, named, wait, transfer }
    }

    fn with_name(&self, event: Event) -> Event {
        let named = |line: String| of_machine(&self.machine, &line);
        match event {
            event if !self.named => event,
            Event::Line(line) => Event::Line(named(line)),
            Event::Notice(line) => Event::Notice(named(line)),
            Event::Warning(line) => Event::Warning(named(line)),
            other => other,
        }
    }
}

impl Reporter for Lines {
    fn report(&self, event: Event) {
        if let Event::Waiting { what, for_ms, limit_ms, last } = &event
            && locked(&self.wait).is_due(what, *for_ms)
        {
            output::note(&wait_text(&self.machine, what, *for_ms, *limit_ms, last));
        }
        if let Event::Transfer { what, done, total } = &event {
            let (now, mut transfer) = (Instant::now(), locked(&self.transfer));
            match transfer.report(what, *done, *total, now) {
                Word::Due => output::note(&of_machine(&self.machine, &transfer.line(now))),
                Word::End => output::note(&of_machine(&self.machine, &transfer.end(now))),
                Word::None => {}
            }
        }
        match said(&self.machine, self.with_name(event)) {
            Some(Said::Line(line)) => match self.to {
                // Nobody who reads is no reason to stop making a machine.
                To::Stdout => drop(writeln!(std::io::stdout().lock(), "{line}")),
                To::Stderr => output::note(&line),
            },
            Some(Said::Aside(line)) => output::note(&line),
            None => {}
        }
    }
}

enum Said {
    Line(String),
    Aside(String),
}

/// What is said of an event in lines; the rest is kept for `--debug`.
fn said(machine: &str, event: Event) -> Option<Said> {
    let text = match event {
        Event::Line(line) => {
            debug::keep(&line);
            return Some(Said::Line(line));
        }
        Event::DriverLine(line) => {
            let line = of_machine(machine, &line);
            debug::keep(&line);
            return Some(Said::Line(line));
        }
        Event::Notice(line) => return Some(Said::Aside(line)),
        Event::Warning(line) => return Some(Said::Aside(format!("WARNING: {line}"))),
        Event::Debug(text) => text,
        Event::PhaseStarted(phase) => format!("phase {phase} begins"),
        Event::PhaseDone(phase, ms) => format!("phase {phase} done in {ms} ms"),
        Event::Step { name, status } => format!("step {name}: {}", step_text(&status)),
        Event::Waiting { what, for_ms, limit_ms, last } => {
            debug::note(&wait_text(machine, &what, for_ms, limit_ms, &last));
            return None;
        }
        _ => return None,
    };
    debug::note(&of_machine(machine, &text));
    None
}

/// The machine's name before a line; for work on none, the line alone.
fn of_machine(machine: &str, line: &str) -> String {
    if machine.is_empty() { line.to_owned() } else { format!("({machine}) {line}") }
}

fn wait_text(machine: &str, what: &str, for_ms: u64, limit_ms: u64, last: &str) -> String {
    let last = if last.is_empty() { String::new() } else { format!("; {last}") };
    of_machine(machine, &format!("waiting for {what}: {} of {} s{last}", for_ms / 1000, limit_ms / 1000))
}

fn step_text(status: &StepStatus) -> String {
    match status {
        StepStatus::Started => "begins".to_owned(),
        StepStatus::Changed => "changed".to_owned(),
        StepStatus::Unchanged => "nothing to do".to_owned(),
        StepStatus::Failed(why) => format!("failed: {why}"),
        _ => String::new(),
    }
}

#[allow(clippy::cast_precision_loss)] // milliseconds of a wait
fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Phases with their times, and below them what is being done now.
struct Live {
    machine: String,
    bar: ProgressBar,
    view: View,
    transfer: Mutex<Transfer>,
}

impl Live {
    fn new(machine: &str, view: View) -> Self {
        let bar = ProgressBar::new_spinner();
        let template = match view {
            View::Phases => "{spinner} {prefix:14} {wide_msg} ({elapsed})",
            View::Waits | View::Lines => "{spinner} {wide_msg} ({elapsed})",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { machine: machine.to_owned(), bar, view, transfer: Mutex::default() }
    }

    fn now(&self, text: String) {
        self.bar.set_message(text);
    }
}

impl Reporter for Live {
    fn report(&self, event: Event) {
        match &event {
            Event::PhaseStarted(phase) => {
                self.bar.set_prefix(phase.clone());
                self.bar.reset_elapsed();
                self.now(String::new());
            }
            Event::PhaseDone(phase, ms) if self.view == View::Phases => {
                self.bar.println(format!("✓ {phase:14} {:.1} s", seconds(*ms)))
            }
            Event::Step { name, status: StepStatus::Started } => self.now(name.clone()),
            Event::Waiting { what, last, .. } if last.is_empty() => self.now(format!("waiting for {what}")),
            Event::Waiting { what, last, .. } => self.now(format!("waiting for {what}; {last}")),
            Event::Transfer { what, done, total } => {
                let (now, mut transfer) = (Instant::now(), locked(&self.transfer));
                match transfer.report(what, *done, *total, now) {
                    Word::End => {
                        self.now(String::new());
                        self.bar.println(transfer.end(now));
                    }
                    Word::Due | Word::None => self.now(transfer.drawn(now)),
                }
            }
            _ => {}
        }
        match said(&self.machine, event) {
            Some(Said::Line(line)) if self.view == View::Phases => self.now(line),
            Some(Said::Line(line)) => self.bar.println(line),
            Some(Said::Aside(line)) => self.bar.println(line),
            None => {}
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_wait_is_spoken_of_now_and_then() {
        let mut wait = Wait::default();
        let due: Vec<u64> =
            (0..100).map(|second| second * 1000).filter(|ms| wait.is_due("ssh", *ms)).collect();
        assert_eq!(due, [10_000, 40_000, 70_000]);
        assert!(!wait.is_due("the engine", 2_000) && wait.is_due("the engine", 12_000));
    }
}
