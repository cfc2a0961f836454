//! `resume`: lets paused hosts go on.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "resume",
    about: "Resume a paused machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\". A create that was \
                  interrupted goes on with `create --resume`.",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine resume dev", "go on where `pause` halted it")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.unpause(name, report).await?))
}
