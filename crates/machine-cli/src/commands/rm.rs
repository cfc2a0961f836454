//! `rm`: removes machines, with all that was made for them.

use machine_lifecycle::{Error, Lifecycle, Removed};
use serde_json::json;

use crate::args::{Arguments, Command, Flag, Group, help_of, single};
use crate::error::CliError;
use crate::invocation::{Invocation, drivers};
use crate::output::{self, go};
use crate::progress::{self, To, View};
use crate::{machines, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "rm",
    about: "Remove a machine",
    description: "Argument(s) are one or more machine names.",
    arguments: Arguments::Machines,
    flags: &[
        Flag::switch(
            "force",
            "Remove local configuration even if machine cannot be removed, also implies an automatic yes (`-y`)",
        )
        .short('f'),
        Flag::switch("y", "Assumes automatic yes to proceed with remove, without prompting further user confirmation")
            .short('y'),
        super::JSON,
    ],
    examples: &[
        ("docker-machine rm web1", "ask, then remove the host and the record"),
        ("docker-machine rm -f web1", "clear the record whatever happens, and say what could not be removed"),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let mut names = invocation.args.words().to_vec();
    if names.is_empty() {
        let help = help_of(single(&COMMAND, &[]));
        return Err(CliError::usage("Error: Expected to get one or more machine names as arguments", help));
    }
    let (force, json) = (invocation.args.bool("force"), invocation.json());
    let about = format!(
        "About to remove {}\nWARNING: This action will delete both local reference and remote instance.",
        names.join(", ")
    );
    if json {
        output::note(&about)
    } else {
        output::print_line(&about)?
    }
    // Nobody to ask counts as no.
    if !force && !invocation.args.bool("y") && !invocation.confirm("Are you sure?").unwrap_or(false) {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::new();
    names.retain(|name| seen.insert(name.clone()));
    let lifecycle = invocation.lifecycle();
    let marking: Vec<Option<String>> = names.iter().map(|name| marking_driver(&lifecycle, name)).collect();
    let left =
        || Some("What was not removed yet is still listed: `docker-machine rm` again goes on.".to_owned());
    let ended = runtime::run(async { Ok(remove_all(&lifecycle, &names, force).await) }, left)?;
    for (driver, end) in marking.iter().zip(&ended) {
        if let (true, Some(driver), Ok(Removed { problems })) = (force, driver, end)
            && !problems.is_empty()
        {
            let hint = format!("Hint: `docker-machine gc -d {driver}` finds what is left at the provider.");
            output::note(&invocation.program.in_its_words(&hint));
        }
    }
    finish(&names, ended, force, json)
}

/// The machine's driver, where that marks what it makes: what a forced removal leaves can then be found.
fn marking_driver(lifecycle: &Lifecycle, name: &str) -> Option<String> {
    let driver = lifecycle.store().load(name).ok()?.driver_name;
    let marks = drivers().driver(&driver).ok()?.spec().capabilities.marks;
    marks.then_some(driver)
}

async fn remove_all(lifecycle: &Lifecycle, names: &[String], force: bool) -> Vec<Result<Removed, Error>> {
    machines::all(names, |name| async move {
        let report = progress::reporter(name, To::Stderr, View::Lines);
        lifecycle.remove(name, force, &*report).await
    })
    .await
}

/// Says what became of each machine, in the order in which they were named.
fn finish(
    names: &[String],
    ended: Vec<Result<Removed, Error>>,
    force: bool,
    json: bool,
) -> Result<(), CliError> {
    let (mut errors, mut rows) = (Vec::new(), Vec::new());
    for (name, end) in names.iter().zip(ended) {
        let (removed, problems) = match end {
            Ok(removed) => (true, removed.problems),
            Err(error) => (false, vec![error]),
        };
        let texts: Vec<String> = problems
            .iter()
            .map(|error| format!("Error removing host {}: {error}", go::quote(name)))
            .collect();
        for (text, problem) in texts.iter().zip(&problems) {
            if force {
                output::note(text);
            } else {
                errors.push(CliError::new(text.clone()).with_hint_if(problem.hint()));
            }
        }
        if !removed && force {
            output::note(&format!("Can't remove \"{name}\""));
        }
        if removed && !json {
            output::print_line(&format!("Successfully removed {name}"))?;
        }
        rows.push(json!({ "Name": name, "Removed": removed, "Errors": texts }));
    }
    if json {
        output::print_json(&rows)?;
    }
    CliError::all(errors).map_or(Ok(()), Err)
}
