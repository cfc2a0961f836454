//! `generate-docs`: the reference pages of `docs/reference`, from the declarations.

use crate::args::{Arguments, Command, Group};
use crate::docs_gen;
use crate::error::CliError;
use crate::invocation::Invocation;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "generate-docs",
    about: "Write the reference of commands, flags, variables and drivers as Markdown into a folder",
    description: "Argument is a folder; it is made where it is missing.",
    arguments: Arguments::Path,
    flags: &[],
    examples: &[],
    group: Group::Hidden,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    docs_gen::write_all(&super::man::folder(invocation)?, docs_gen::reference_pages())
}
