//! `stop`: turns hosts off, asking them first.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "stop",
    about: "Stop a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine stop web1", "shut a machine down")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.stop(name, report).await?))
}
