//! `start`: turns hosts on.

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Which};
use crate::output;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "start",
    about: "Start a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[
        Flag::switch("all", "Start every machine that is stopped and that its driver can start").added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine start web1 web2", "turn two machines on at the same time"),
        ("docker-machine start --all", "turn all on that are off, e.g. after this computer was restarted"),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let names = machines::named_or_all(invocation, &lifecycle, Which::CanStart)?;
    machines::each_of(invocation, &lifecycle, &names, async |lifecycle, name, report| {
        Ok(lifecycle.start(name, report).await?)
    })?;
    let hint = "Started machines may have new IP addresses. You may need to re-run the `docker-machine env` command.";
    if invocation.json() || names.is_empty() { Ok(()) } else { output::print_line(hint) }
}
