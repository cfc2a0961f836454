//! `pause`: halts hosts where they stand.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Ability};

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

const ABILITY: Ability = Ability { what: "pause hosts", of: |can| can.pause };

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let names = invocation.names(lifecycle.store())?;
    ABILITY.require(&lifecycle, &names)?;
    machines::each_of(invocation, &lifecycle, &names, async |lifecycle, name, report| {
        Ok(lifecycle.pause(name, report).await?)
    })
}
