//! `start`: turns hosts on.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{machines, output};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "start",
    about: "Start a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine start web1 web2", "turn two machines on at the same time")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.start(name, report).await?))?;
    let hint = "Started machines may have new IP addresses. You may need to re-run the `docker-machine env` command.";
    if invocation.json() { Ok(()) } else { output::print_line(hint) }
}
