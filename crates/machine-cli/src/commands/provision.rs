//! `provision`: sets up the engine again.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "provision",
    about: "Re-provision existing machines",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine provision web1", "set the engine up again, or go on where that stopped")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.provision(name, report).await?))
}
