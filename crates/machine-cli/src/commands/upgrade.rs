//! `upgrade`: upgrades the engine.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{crash, machines};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "upgrade",
    about: "Upgrade a machine to the latest version of Docker",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine upgrade web1", "upgrade the engine")],
    group: Group::Machines,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    machines::each(invocation, async |lifecycle, name, report| {
        let upgraded = lifecycle.upgrade(name, report).await;
        upgraded.map_err(|error| crash::of_failure(&error, &invocation.globals.store_path, "upgrade", ""))
    })
}
