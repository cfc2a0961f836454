//! `create`: makes a machine, or goes on where that stopped.

mod flags;
mod names;
mod request;
mod several;

use machine_lifecycle::{Error, Lifecycle};
use machine_store::go_json;

pub use self::flags::{COMMAND, driver_flags, of_driver};
use crate::args::{help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::{self, go};
use crate::progress::{self, To, View};
use crate::{crash, runtime};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let resume = invocation.args.str("resume");
    if !resume.is_empty() {
        return go_on(invocation, resume);
    }
    let names = match invocation.args.words() {
        [] => return Err(no_name(invocation)),
        [one] if one.is_empty() => return Err(no_name(invocation)),
        words => names::read(invocation, words)?,
    };
    match &names[..] {
        [name] => one(invocation, name),
        _ => several::run(invocation, &names),
    }
}

fn no_name(invocation: &Invocation) -> CliError {
    let help = help_of(single(&COMMAND, &invocation.driver_flags));
    CliError::usage("Error: No machine name specified", help)
}

fn one(invocation: &Invocation, name: &str) -> Result<(), CliError> {
    let name = request::name(name)?;
    let request = request::read(invocation, name, &request::choose(invocation)?)?;
    let lifecycle = invocation.lifecycle();
    let name = request.name.to_string();
    let (driver, rollback) = (request.driver.clone(), request.rollback);
    let report = progress::reporter(&name, to(invocation), view(invocation));
    let made = runtime::run(async { Ok(lifecycle.create(request, &*report).await) }, || {
        (!rollback).then(|| left(&lifecycle, &name, &invocation.program.called()))
    });
    drop(report);
    match made {
        Ok(made) => finish(invocation, &name, &driver, made),
        Err(interrupted) if rollback => Err(roll_back(invocation, &lifecycle, &name, interrupted)),
        Err(interrupted) => Err(interrupted),
    }
}

/// Removes what an interrupted create made; another Ctrl-C leaves it.
fn roll_back(invocation: &Invocation, lifecycle: &Lifecycle, name: &str, interrupted: CliError) -> CliError {
    let program = invocation.program.called();
    if lifecycle.has_begun(name) && lifecycle.store().exists(name) {
        output::note(&format!("Rolling back: removing {}...", go::quote(name)));
        let report = progress::reporter(name, to(invocation), View::Lines);
        let removed = runtime::run(async { Ok(lifecycle.undo_create(name, &*report).await) }, || None);
        if let Ok(Err(error)) = removed {
            output::note(&format!("Rolling back failed: {error}"));
        }
    }
    interrupted.with_hint(left(lifecycle, name, &program))
}

fn go_on(invocation: &Invocation, name: &str) -> Result<(), CliError> {
    if let Some(extra) = invocation.args.words().first() {
        return Err(CliError::new(format!("Invalid command line. Found extra arguments [{extra}]"))
            .with_hint("--resume takes the name of the machine; all else is in its record"));
    }
    let lifecycle = invocation.lifecycle();
    let report = progress::reporter(name, to(invocation), view(invocation));
    let made = runtime::run(async { Ok(lifecycle.resume(name, &*report).await) }, || {
        Some(left(&lifecycle, name, &invocation.program.called()))
    })?;
    drop(report);
    let driver = lifecycle.store().load(name).map(|machine| machine.driver_name).unwrap_or_default();
    finish(invocation, name, &driver, made)
}

/// What a terminal shows of a machine being made.
pub fn view(invocation: &Invocation) -> View {
    if invocation.json() { View::Lines } else { View::Phases }
}

/// Where its lines go.
pub fn to(invocation: &Invocation) -> To {
    if invocation.json() { To::Stderr } else { To::Stdout }
}

/// Says how a machine that was made is used, or what went wrong.
///
/// # Errors
/// What went wrong, with a crash report where that is worth one.
pub fn finish(
    invocation: &Invocation,
    name: &str,
    driver: &str,
    made: Result<machine_core::Machine, Error>,
) -> Result<(), CliError> {
    let machine =
        made.map_err(|error| crash::of_failure(&error, &invocation.globals.store_path, "create", driver))?;
    if invocation.json() {
        return output::print_line(&go_json::to_json(&machine));
    }
    output::print_line(&format!(
        "To see how to connect your Docker Client to the Docker Engine running on this virtual machine, run: {} env {name}",
        invocation.program.called()
    ))
}

/// What an interrupted create leaves, and how to go on.
pub fn left(lifecycle: &Lifecycle, name: &str, program: &str) -> String {
    if !lifecycle.store().exists(name) {
        return format!("Nothing is left of machine {}.", go::quote(name));
    }
    if !lifecycle.has_begun(name) {
        return format!(
            "Nothing was made here of machine {}: another process has that name.",
            go::quote(name)
        );
    }
    format!(
        "What was made of machine {} is kept: `{program} create --resume {name}` goes on where it stopped; `{program} \
         rm {name}` removes it.",
        go::quote(name)
    )
}

/// Whether there is a driver of this name.
///
/// # Errors
/// The reference program's text, with what may have been meant.
pub fn known_driver(name: &str) -> Result<std::sync::Arc<dyn machine_core::Driver>, CliError> {
    let drivers = crate::invocation::drivers();
    drivers.driver(name).map_err(|error| {
        let names = drivers.names();
        let near = crate::args::closest(name, names.iter().map(String::as_str));
        let hint = near.map_or_else(
            || format!("built in are: {}; choose one with --driver", names.join(", ")),
            |near| format!("did you mean {near}?"),
        );
        CliError::new(error.to_string()).with_hint(hint)
    })
}
