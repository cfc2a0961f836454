//! `gc`: what the store made at providers and has no record of, and records whose host is gone.

mod answer;

use futures_util::future::join_all;
use machine_lifecycle::{Collected, Lifecycle, Rubbish};

use self::answer::Answer;
use crate::args::{Arguments, Command, Flag, GLOBAL_FLAGS, Group, argv};
use crate::commands::create;
use crate::error::CliError;
use crate::invocation::{Invocation, drivers};
use crate::progress::{self, To, View};
use crate::{output, runtime};

const DRIVER: Flag = Flag::text(
    "driver",
    "",
    "",
    "Look into the account of this driver, too, that its flags and variables name (as for `create`)",
)
.short('d')
.value("DRIVER")
.added();

/// The declaration.
pub const COMMAND: Command = Command {
    name: "gc",
    about: "Find and remove what was made at providers and has no machine any more",
    description: "Looks into every account that machines of this store are in, and into that which -d DRIVER names, and lists what \
                  carries this store's mark and belongs to no machine of it, and machines whose host is gone. Nothing is \
                  removed without --yes. A copy of the store, e.g. on another computer, has the same mark: what it made \
                  since has no machine here.",
    arguments: Arguments::None,
    flags: &[DRIVER, Flag::switch("yes", "Remove what is found").short('y').added(), super::JSON],
    examples: &[
        ("docker-machine gc", "list what is left over in the accounts of all machines"),
        ("docker-machine gc --yes", "remove it"),
    ],
    group: Group::Machines,
    run,
};

/// The flags of the driver that a command line of `gc` names; none where it names none.
///
/// # Errors
/// There is no such driver.
pub fn driver_flags(args: &[String]) -> Result<Vec<Flag>, CliError> {
    let named = argv::peek(args, &DRIVER, &[COMMAND.flags, GLOBAL_FLAGS]);
    match named.filter(|name| !name.is_empty()) {
        Some(name) => Ok(create::of_driver(create::known_driver(&name)?.spec())),
        None => Ok(Vec::new()),
    }
}

fn run(invocation: &Invocation) -> Result<(), CliError> {
    if let Some(extra) = invocation.args.words().first() {
        return Err(CliError::new(format!("Invalid command line. Found extra arguments [{extra}]"))
            .with_hint("gc looks into whole accounts; `docker-machine rm` removes machines by their names"));
    }
    require_marks(invocation.args.str("driver"))?;
    let answer = answer(invocation, &invocation.lifecycle())?;
    match invocation.json() {
        true => output::print_json(&answer.json())?,
        false => output::print(&answer.text(output::columns_of_stdout()))?,
    }
    answer.notes().iter().for_each(|note| output::note(&invocation.program.in_its_words(note)));
    CliError::all(answer.errors()).map_or(Ok(()), Err)
}

/// Whether the driver can be asked for what it made.
fn require_marks(name: &str) -> Result<(), CliError> {
    if name.is_empty() {
        return Ok(());
    }
    let drivers = drivers();
    let marks = |name: &str| drivers.driver(name).is_ok_and(|driver| driver.spec().capabilities.marks);
    if marks(name) {
        return Ok(());
    }
    let able: Vec<String> = drivers.names().into_iter().filter(|name| marks(name)).collect();
    let cannot = create::known_driver(name)?.spec().cannot("find what it made");
    let hint = (!able.is_empty()).then(|| format!("drivers that can: {}", able.join(", ")));
    Err(CliError::new(cannot.to_string()).with_hint_if(hint))
}

/// Looks, and removes what was found where that was asked for.
fn answer(invocation: &Invocation, lifecycle: &Lifecycle) -> Result<Answer, CliError> {
    let driver = invocation.args.str("driver");
    let also = (!driver.is_empty()).then(|| (driver, invocation.args.values()));
    let report = progress::reporter("", To::Stderr, View::Waits);
    let rubbish = runtime::look(async { Ok(lifecycle.rubbish(also, &*report).await?) })?;
    if !invocation.args.bool("yes") {
        return Ok(Answer { rubbish, collected: None });
    }
    let left = || Some("What was not removed yet is found by `docker-machine gc` again.".to_owned());
    let collected = runtime::run(async { Ok(collect(lifecycle, &rubbish, &*report).await) }, left)?;
    Ok(Answer { rubbish, collected: Some(collected) })
}

async fn collect(
    lifecycle: &Lifecycle,
    rubbish: &Rubbish,
    report: &dyn machine_core::Reporter,
) -> Vec<Collected> {
    join_all(rubbish.accounts.iter().map(|account| lifecycle.collect(account, report))).await
}
