//! What several commands do with several machines.

use std::cmp::Ordering;
use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use machine_core::{Capabilities, PowerSupport, Reporter, Silent, State};
use machine_lifecycle::Lifecycle;
use machine_store::{Operation, Store};
use serde_json::json;

use crate::error::CliError;
use crate::invocation::{Invocation, drivers};
use crate::progress::{self, To, View};
use crate::{output, runtime};

/// Does something with every machine that is named, all at once. As in the reference program nothing is done where
/// one of them can't be read, and every error is said, a line each.
///
/// # Errors
/// What went wrong, of all machines.
pub fn each<W>(invocation: &Invocation, work: W) -> Result<(), CliError>
where
    W: AsyncFn(&Lifecycle, &str, &dyn Reporter) -> Result<(), CliError>,
{
    let lifecycle = invocation.lifecycle();
    let names = invocation.names(lifecycle.store())?;
    each_of(invocation, &lifecycle, &names, work)
}

/// [`each`] for these machines.
///
/// # Errors
/// As [`each`].
pub fn each_of<W>(
    invocation: &Invocation,
    lifecycle: &Lifecycle,
    names: &[String],
    work: W,
) -> Result<(), CliError>
where
    W: AsyncFn(&Lifecycle, &str, &dyn Reporter) -> Result<(), CliError>,
{
    readable(lifecycle, names)?;
    let to = if invocation.json() { To::Stderr } else { To::Stdout };
    let view = if names.len() == 1 && !invocation.json() { View::Waits } else { View::Lines };
    let one = async |name: &String| {
        let report = progress::reporter(name, to, view);
        work(lifecycle, name, &*report).await
    };
    let left = || Some(format!("`{} ls` shows where each machine stands.", invocation.program.called()));
    let ended = runtime::run(async { Ok(join_all(names.iter().map(one)).await) }, left)?;
    if invocation.json() {
        print_outcomes(names, &ended)?;
    }
    CliError::all(ended.into_iter().filter_map(Result::err).collect()).map_or(Ok(()), Err)
}

/// Something that only some drivers can do with their machines.
pub struct Ability {
    /// What it is, as in `can't pause hosts`.
    pub what: &'static str,
    /// Whether a driver can.
    pub of: fn(&Capabilities) -> bool,
}

impl Ability {
    /// Whether the drivers of all these machines can do it, before anything is asked or done.
    ///
    /// # Errors
    /// A record that can't be read; a driver that can't, with those that can.
    pub fn require(&self, lifecycle: &Lifecycle, names: &[String]) -> Result<(), CliError> {
        readable(lifecycle, names)?;
        let errors = names.iter().filter_map(|name| self.missing(lifecycle, name)).collect();
        CliError::all(errors).map_or(Ok(()), Err)
    }

    fn missing(&self, lifecycle: &Lifecycle, name: &str) -> Option<CliError> {
        let drivers = drivers();
        // What is wrong with the record or the driver is said by what is done next.
        let driver = drivers.driver(&lifecycle.store().load(name).ok()?.driver_name).ok()?;
        if (self.of)(&driver.spec().capabilities) {
            return None;
        }
        let can = |name: &String| drivers.driver(name).is_ok_and(|it| (self.of)(&it.spec().capabilities));
        let able: Vec<String> = drivers.names().into_iter().filter(can).collect();
        let error = CliError::new(format!("machine {name:?}: {}", driver.spec().cannot(self.what)));
        Some(error.with_hint_if((!able.is_empty()).then(|| format!("drivers that can: {}", able.join(", ")))))
    }
}

/// Does something with one machine.
///
/// # Errors
/// What went wrong.
pub fn one<W>(invocation: &Invocation, name: &str, work: W) -> Result<(), CliError>
where
    W: AsyncFn(&Lifecycle, &dyn Reporter) -> Result<(), CliError>,
{
    let lifecycle = invocation.lifecycle();
    each_of(invocation, &lifecycle, &[name.to_owned()], async |lifecycle, _, report| {
        work(lifecycle, report).await
    })
}

/// Which machines `--all` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those that are off, and that their driver can turn on.
    CanStart,
    /// Those that are on, and that their driver can turn off and on again.
    CanStop,
}

/// How long a driver may take to say what one machine is doing.
const STATE_LIMIT: Duration = Duration::from_secs(30);

impl Which {
    /// By what the record says: whether the driver can do it.
    fn takes_driver(self, can: &Capabilities) -> bool {
        let start = matches!(can.start, PowerSupport::Driver);
        start && (self == Self::CanStart || !matches!(can.stop, PowerSupport::No(_)))
    }

    fn takes_state(self, state: State) -> bool {
        match self {
            Self::CanStart => matches!(state, State::Stopped | State::Saved),
            Self::CanStop => matches!(state, State::Running | State::Starting | State::Paused),
        }
    }

    fn none(self) -> &'static str {
        match self {
            Self::CanStart => "There is no stopped machine that can be started.",
            Self::CanStop => "There is no running machine that can be stopped.",
        }
    }
}

/// The machines that the words name; with `--all`, those that it means. A machine of which the state can't be learned is
/// said on stderr and left out; so is one whose create did not end.
///
/// # Errors
/// Names beside `--all`; a store that can't be read.
pub fn named_or_all(
    invocation: &Invocation,
    lifecycle: &Lifecycle,
    which: Which,
) -> Result<Vec<String>, CliError> {
    if !invocation.args.bool("all") {
        return invocation.names(lifecycle.store());
    }
    if let Some(name) = invocation.args.words().first() {
        return Err(CliError::new(format!("--all means every machine; {name:?} can't be named beside it")));
    }
    let names = all_of(lifecycle, which)?;
    if names.is_empty() {
        output::note(which.none());
    }
    Ok(names)
}

fn all_of(lifecycle: &Lifecycle, which: Which) -> Result<Vec<String>, CliError> {
    let drivers = drivers();
    let mut names = lifecycle.store().machine_names()?;
    names.retain(|name| {
        let machine = lifecycle.store().load(name).map_err(|error| error.to_string());
        let driver = machine
            .and_then(|machine| drivers.driver(&machine.driver_name).map_err(|error| error.to_string()));
        let why_not = match driver {
            Ok(driver) if !which.takes_driver(&driver.spec().capabilities) => return false,
            Ok(_) => unfinished(lifecycle.store(), name),
            Err(error) => Some(error),
        };
        why_not.iter().for_each(|why| left_out(name, why));
        why_not.is_none()
    });
    names.sort_by(|a, b| natural(a, b));
    let seen = runtime::look(async { Ok(all(&names, |name| state(lifecycle, name)).await) })?;
    let mut wanted = Vec::new();
    for (name, state) in names.into_iter().zip(seen) {
        match state {
            Ok(state) if which.takes_state(state) => wanted.push(name),
            Ok(_) => {}
            Err(why) => left_out(&name, &why),
        }
    }
    Ok(wanted)
}

fn left_out(name: &str, why: &str) {
    output::note(&format!("WARNING: {name} is left out: {why}"));
}

/// Where its create stopped, if it did.
fn unfinished(store: &Store, name: &str) -> Option<String> {
    let journal = store.load_journal(name).ok().flatten()?;
    if journal.operation == Operation::Create { store.incomplete(name, &journal) } else { None }
}

async fn state(lifecycle: &Lifecycle, name: &str) -> Result<State, String> {
    match tokio::time::timeout(STATE_LIMIT, lifecycle.status(name, &Silent)).await {
        Ok(state) => state.map_err(|error| error.to_string()),
        Err(_) => Err(format!("its driver did not say within {} s what it is doing", STATE_LIMIT.as_secs())),
    }
}

fn readable(lifecycle: &Lifecycle, names: &[String]) -> Result<(), CliError> {
    let errors =
        names.iter().filter_map(|name| lifecycle.store().load(name).err()).map(CliError::from).collect();
    CliError::all(errors).map_or(Ok(()), Err)
}

fn print_outcomes(names: &[String], ended: &[Result<(), CliError>]) -> Result<(), CliError> {
    let rows: Vec<_> = names
        .iter()
        .zip(ended)
        .map(|(name, end)| json!({ "Name": name, "Error": end.as_ref().err().map(CliError::message) }))
        .collect();
    output::print_json(&rows)
}

/// Runs one future for each machine, all at once, in the order of the names.
pub async fn all<'a, T, F: Future<Output = T>>(names: &'a [String], one: impl Fn(&'a String) -> F) -> Vec<T> {
    join_all(names.iter().map(one)).await
}

/// The order of `ls`: numbers in names by their value, upper and lower case alike.
pub fn natural(a: &str, b: &str) -> Ordering {
    let (mut a_rest, mut b_rest) = (a, b);
    while !a_rest.is_empty() && !b_rest.is_empty() {
        let (a_part, a_next) = part(a_rest);
        let (b_part, b_next) = part(b_rest);
        let order = match (number(a_part), number(b_part)) {
            (Some(x), Some(y)) => x.len().cmp(&y.len()).then_with(|| x.cmp(y)),
            _ => lower(a_part).cmp(lower(b_part)),
        };
        if order != Ordering::Equal {
            return order;
        }
        (a_rest, b_rest) = (a_next, b_next);
    }
    a_rest.len().cmp(&b_rest.len()).then_with(|| a.cmp(b))
}

fn lower(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|byte| byte.to_ascii_lowercase())
}

/// The leading run of digits, or of anything else, and the rest.
fn part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|c: char| c.is_ascii_digit());
    let end = text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

/// The digits of a number without leading zeros.
fn number(text: &str) -> Option<&str> {
    text.starts_with(|c: char| c.is_ascii_digit()).then(|| text.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_count_by_their_value() {
        let mut names = vec!["node10", "node9", "Alpha", "node-1", "a.b-c", "node09", "b"];
        names.sort_by(|a, b| natural(a, b));
        assert_eq!(names, ["a.b-c", "Alpha", "b", "node09", "node9", "node10", "node-1"]);
    }
}
