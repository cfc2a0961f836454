//! What the program did, for `--debug` and for crash reports. Values of secret flags are taken out before anything is
//! kept or shown.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use machine_core::Secret;
use machine_store::Store;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::commands::inspect;
use crate::invocation;

/// How many lines a crash report gets.
const KEPT: usize = 500;

static SHOWN: AtomicBool = AtomicBool::new(false);
static HISTORY: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());
static HIDDEN: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Begins to collect, and to show on stderr where that is wanted.
pub fn start(show: bool) {
    SHOWN.store(show, Ordering::Relaxed);
    // Fails only where it was done before, in tests.
    let _ = tracing::subscriber::set_global_default(Collector);
}

/// Makes a text disappear from everything that is kept and shown. Short texts would take too much else with them.
pub fn hide(secret: &str) {
    if secret.len() < 4 {
        return;
    }
    let mut hidden = HIDDEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // The machines of an account have the same.
    if !hidden.iter().any(|known| known == secret) {
        hidden.push(secret.to_owned());
    }
}

/// Makes the secrets that the records hold disappear, too: drivers use them, and a provider may repeat them in an answer.
pub fn hide_records(store: &Path) {
    let (store, drivers) = (Store::new(store), invocation::drivers());
    for name in store.machine_names().unwrap_or_default() {
        let secrets = store.load(&name).map(|machine| inspect::secrets_of(&machine, &*drivers));
        secrets.unwrap_or_default().iter().for_each(|secret| hide(secret));
    }
}

/// A text without the secrets in it.
pub fn redacted(text: &str) -> String {
    let hidden = HIDDEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    hidden.iter().fold(text.to_owned(), |text, secret| text.replace(secret, Secret::REDACTED))
}

/// Notes a line, and shows it with `--debug`.
pub fn note(line: &str) {
    if SHOWN.load(Ordering::Relaxed) {
        crate::output::note(&redacted(line));
    }
    keep(line);
}

/// Notes a line that the user sees anyway.
pub fn keep(line: &str) {
    let line = redacted(line);
    let mut history = HISTORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if history.len() == KEPT {
        history.pop_front();
    }
    history.push_back(line);
}

/// The last lines, the oldest first.
pub fn history() -> Vec<String> {
    HISTORY.lock().unwrap_or_else(std::sync::PoisonError::into_inner).iter().cloned().collect()
}

/// Takes the events of our own rooms.
struct Collector;

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
            && metadata.target().starts_with("machine_")
            && *metadata.level() <= tracing::Level::DEBUG
    }

    fn max_level_hint(&self) -> Option<tracing::level_filters::LevelFilter> {
        Some(tracing::level_filters::LevelFilter::DEBUG)
    }

    fn event(&self, event: &Event<'_>) {
        let mut line = Line::default();
        event.record(&mut line);
        let room = event.metadata().target().split("::").next().unwrap_or_default();
        let room = room.trim_start_matches("machine_");
        note(&format!("({room}) {}{}", line.message, line.fields));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }
    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_and_history_is_bounded() {
        hide("hunter2");
        hide("no");
        for at in 0..=KEPT {
            note(&format!("{at} the token is hunter2, no more"));
        }
        let history = history();
        assert_eq!(history.len(), KEPT);
        assert_eq!(history.last().unwrap(), &format!("{KEPT} the token is <redacted>, no more"));
    }
}
