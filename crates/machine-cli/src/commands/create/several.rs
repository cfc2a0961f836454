//! Several machines at once: alike, each with its own outcome.

use futures_util::{StreamExt, stream};
use machine_core::{Event, Machine, PowerSupport, Reporter};
use machine_lifecycle::{CreateRequest, Error, Left, Lifecycle};
use machine_store::go_json;
use serde::Serialize;

use super::{known_driver, request, to};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To};
use crate::{crash, output, runtime};

/// Makes machines of these names, so many at the same time as `--parallel` says.
///
/// # Errors
/// Before anything is made: names and flags. Then: which machines failed, and why; exit code 3 where none got further than
/// the checks.
pub fn run(invocation: &Invocation, names: &[String]) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let parallel = parallel(invocation)?;
    let named = invocation.args.str("driver");
    if !named.is_empty() && !makes_hosts(named)? {
        // All of them would be the same host. The text is the reference program's.
        let more = names.get(1..).unwrap_or_default().join(" ");
        return Err(CliError::new(format!("Invalid command line. Found extra arguments [{more}]")));
    }
    check_names(&lifecycle, names)?;
    let choice = request::choose(invocation)?;
    let requests = names
        .iter()
        .map(|name| request::read(invocation, request::name(name)?, &choice))
        .collect::<Result<Vec<_>, CliError>>()?;
    let rollback = invocation.args.bool("rollback");
    let program = invocation.program.called();
    let left = || (!rollback).then(|| what_is_left(&lifecycle, names, &program));
    let to = to(invocation);
    let reporter = |name: &str| progress::one_of_several(name, to);
    let made = runtime::run(async { Ok(make(&lifecycle, requests, parallel, reporter).await) }, left);
    match made {
        Ok(made) => finish(invocation, &choice.driver, names, made),
        Err(interrupted) if rollback => {
            roll_back(&lifecycle, names, to);
            Err(interrupted.with_hint(what_is_left(&lifecycle, names, &program)))
        }
        Err(interrupted) => Err(interrupted),
    }
}

fn parallel(invocation: &Invocation) -> Result<usize, CliError> {
    let number = invocation.args.int("parallel");
    usize::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| {
        CliError::new(format!(
            "invalid value \"{number}\" for flag -parallel: expected a number of machines, 1 or more"
        ))
    })
}

/// Whether a driver makes hosts. One that only takes over what is there can't turn it on either.
fn makes_hosts(driver: &str) -> Result<bool, CliError> {
    Ok(matches!(known_driver(driver)?.spec().capabilities.start, PowerSupport::Driver))
}

/// Whether machines of all these names can be: nothing is made where one of them can't.
fn check_names(lifecycle: &Lifecycle, names: &[String]) -> Result<(), CliError> {
    let mut seen = std::collections::HashSet::new();
    let mut errors = Vec::new();
    for name in names {
        if let Err(error) = request::name(name) {
            errors.push(error.context(&format!("{name:?}")));
        } else if !seen.insert(name) {
            errors.push(CliError::new(format!("The name {name:?} is given twice")));
        } else if lifecycle.store().exists(name) {
            let incomplete = incomplete(lifecycle, name);
            errors.push(Error::Taken { machine: name.clone(), incomplete }.into());
        }
    }
    CliError::all(errors).map_or(Ok(()), Err)
}

fn incomplete(lifecycle: &Lifecycle, name: &str) -> Option<String> {
    let journal = lifecycle.store().load_journal(name).ok().flatten()?;
    lifecycle.store().incomplete(name, &journal)
}

/// Makes them. The answers are in the order of the requests.
async fn make(
    lifecycle: &Lifecycle,
    requests: Vec<CreateRequest>,
    parallel: usize,
    reporter: impl Fn(&str) -> Box<dyn Reporter>,
) -> Vec<Result<Machine, Error>> {
    let reporter = &reporter;
    let creates = requests.into_iter().enumerate().map(|(at, request)| async move {
        let report = reporter(request.name.as_str());
        let made = lifecycle.create(request, &*report).await;
        if let Err(error) = &made {
            report.report(Event::Notice(error.to_string()));
        }
        (at, made)
    });
    let mut made: Vec<_> = stream::iter(creates).buffer_unordered(parallel).collect().await;
    made.sort_by_key(|(at, _)| *at);
    made.into_iter().map(|(_, made)| made).collect()
}

/// A machine that was made, or why it was not.
#[derive(Serialize)]
#[serde(untagged)]
enum Row<'a> {
    Made(&'a Machine),
    #[serde(rename_all = "PascalCase")]
    Failed {
        name: &'a str,
        error: String,
        kept: bool,
    },
}

fn finish(
    invocation: &Invocation,
    driver: &str,
    names: &[String],
    made: Vec<Result<Machine, Error>>,
) -> Result<(), CliError> {
    if invocation.json() {
        let rows: Vec<Row<'_>> = names.iter().zip(&made).map(|(name, made)| row(name, made)).collect();
        output::print_line(&go_json::to_string_indented(&rows))?;
    }
    let ready: Vec<&str> =
        names.iter().zip(&made).filter(|(_, made)| made.is_ok()).map(|(name, _)| name.as_str()).collect();
    if !invocation.json() && !ready.is_empty() {
        output::print_line(&format!(
            "To see how to connect your Docker Client to the Docker Engine running on one of {}, run: {} env NAME",
            ready.join(", "),
            invocation.program.called()
        ))?;
    }
    let failed: Vec<(&str, Error)> = names
        .iter()
        .zip(made)
        .filter_map(|(name, made)| made.err().map(|error| (name.as_str(), error)))
        .collect();
    if failed.is_empty() {
        return Ok(());
    }
    let report = failed
        .iter()
        .find_map(|(_, error)| crash::report_of(error, &invocation.globals.store_path, "create", driver));
    let error = failure(names.len(), &failed, &invocation.program.called());
    Err(report.into_iter().fold(error, |error, report| error.and_hint(&report)))
}

fn row<'a>(name: &'a str, made: &'a Result<Machine, Error>) -> Row<'a> {
    match made {
        Ok(machine) => Row::Made(machine),
        Err(error) => Row::Failed { name, error: error.to_string(), kept: is_kept(error) },
    }
}

/// Whether a record is left of a machine that could not be made.
fn is_kept(error: &Error) -> bool {
    matches!(error, Error::Create { left: Left::Record | Left::RollbackFailed(_), .. })
}

/// What failed, machine by machine; each thing that can be done about it once.
fn failure(of: usize, failed: &[(&str, Error)], program: &str) -> CliError {
    let mut text = format!("{} of {of} machines could not be made:", failed.len());
    let (mut hints, mut kept): (Vec<String>, Vec<&str>) = (Vec::new(), Vec::new());
    for (name, error) in failed {
        text.push_str(&format!("\n{name}: {error}"));
        let (hint, rollback) = match error {
            Error::Create { cause, left: Left::RollbackFailed(error), .. } => {
                (cause.hint(), Some(format!("Rolling back {name} failed, too: {error}")))
            }
            Error::Create { cause, .. } => (cause.hint(), None),
            other => (other.hint(), None),
        };
        for hint in hint.into_iter().chain(rollback) {
            if !hints.contains(&hint) {
                hints.push(hint);
            }
        }
        if is_kept(error) {
            kept.push(name);
        }
    }
    hints.extend(go_on(&kept, program));
    let code = failed.iter().map(|(_, error)| error.exit_code()).min().unwrap_or(1);
    CliError::new(text).with_code(code).with_hint_if((!hints.is_empty()).then(|| hints.join("\n")))
}

/// How to go on with machines of which a part is made.
fn go_on(kept: &[&str], program: &str) -> Option<String> {
    (!kept.is_empty()).then(|| {
        format!(
            "What was made of {} is kept: `{program} create --resume NAME` goes on where it stopped; `{program} rm {}` \
             removes it.",
            kept.join(", "),
            kept.join(" ")
        )
    })
}

/// What an interruption leaves, and how to go on.
fn what_is_left(lifecycle: &Lifecycle, names: &[String], program: &str) -> String {
    let (mut ready, mut kept, mut nothing, mut others) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in names {
        let list = match lifecycle.store().exists(name) {
            false => &mut nothing,
            true if !lifecycle.has_begun(name) => &mut others,
            true if incomplete(lifecycle, name).is_some() => &mut kept,
            true => &mut ready,
        };
        list.push(name.as_str());
    }
    let mut lines = Vec::new();
    if !ready.is_empty() {
        lines.push(format!("Ready: {}.", ready.join(", ")));
    }
    lines.extend(go_on(&kept, program));
    if !nothing.is_empty() {
        lines.push(format!("Nothing is left of {}.", nothing.join(", ")));
    }
    if !others.is_empty() {
        lines.push(format!("Another process has these names: {}.", others.join(", ")));
    }
    lines.join("\n")
}

/// Removes what an interruption left of machines that are not ready and were begun here; another Ctrl-C leaves it.
fn roll_back(lifecycle: &Lifecycle, names: &[String], to: To) {
    let ours = |name: &&String| lifecycle.has_begun(name) && incomplete(lifecycle, name).is_some();
    let kept: Vec<&String> = names.iter().filter(ours).collect();
    if kept.is_empty() {
        return;
    }
    let work = kept.iter().map(|name| async move {
        let report = progress::one_of_several(name, to);
        report.report(Event::Line("Rolling back...".to_owned()));
        if let Err(error) = lifecycle.undo_create(name, &*report).await {
            report.report(Event::Warning(format!("rolling back failed: {error}")));
        }
    });
    // Interrupted again, or not: what is left is looked up afterwards.
    drop(runtime::look(async { Ok(futures_util::future::join_all(work).await) }));
}

#[cfg(test)]
mod tests;
