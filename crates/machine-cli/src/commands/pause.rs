//! `pause`: halts hosts where they stand.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "pause",
    about: "Pause a machine: halt it where it stands, with its memory kept",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\". Only drivers of \
                  virtual machines can do it; `resume` lets the machine go on.",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine pause dev", "take no more processor time; containers stand still")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.pause(name, report).await?))
}
