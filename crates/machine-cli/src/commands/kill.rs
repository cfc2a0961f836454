//! `kill`: turns hosts off at once.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "kill",
    about: "Kill a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine kill web1", "turn a machine off that does not shut down any more")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.kill(name, report).await?))
}
