//! `resume`: lets paused hosts go on.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Ability};

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

const ABILITY: Ability = Ability { what: "resume hosts", of: |can| can.pause };

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let names = invocation.names(lifecycle.store())?;
    ABILITY.require(&lifecycle, &names)?;
    machines::each_of(invocation, &lifecycle, &names, async |lifecycle, name, report| {
        Ok(lifecycle.unpause(name, report).await?)
    })
}
