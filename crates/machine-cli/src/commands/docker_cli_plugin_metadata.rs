//! `docker-cli-plugin-metadata`: how docker learns that this program is its command `machine`.

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{output, plugin};

/// The declaration.
pub const COMMAND: Command = Command {
    name: plugin::METADATA,
    about: "Tell docker what this plugin is",
    description: "",
    arguments: Arguments::None,
    flags: &[],
    examples: &[],
    group: Group::Hidden,
    run,
};

fn run(_: &Invocation) -> Result<(), CliError> {
    output::print_json(&plugin::metadata())
}
