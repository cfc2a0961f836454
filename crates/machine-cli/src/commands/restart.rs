//! `restart`: turns hosts off and on again.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{machines, output};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "restart",
    about: "Restart a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine restart web1", "reboot a machine and wait for its engine")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| Ok(lifecycle.restart(name, report).await?))?;
    let hint = "Restarted machines may have new IP addresses. You may need to re-run the `docker-machine env` command.";
    if invocation.json() { Ok(()) } else { output::print_line(hint) }
}
