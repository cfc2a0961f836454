//! `stop`: turns hosts off, asking them first.

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Which};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "stop",
    about: "Stop a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[
        Flag::switch("all", "Stop every machine that runs and that its driver can start again").added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine stop web1", "shut a machine down"),
        ("docker-machine stop --all", "shut all down that can be started again"),
    ],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let names = machines::named_or_all(invocation, &lifecycle, Which::CanStop)?;
    machines::each_of(invocation, &lifecycle, &names, async |lifecycle, name, report| {
        Ok(lifecycle.stop(name, report).await?)
    })
}
