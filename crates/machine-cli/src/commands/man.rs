//! `man`: manual pages.

use std::path::PathBuf;

use crate::args::{Arguments, Command, Group};
use crate::docs_gen;
use crate::error::CliError;
use crate::invocation::Invocation;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "man",
    about: "Write manual pages into a folder",
    description: "Argument is a folder, e.g. ~/.local/share/man/man1; it is made where it is missing.",
    arguments: Arguments::Path,
    flags: &[],
    examples: &[("docker-machine man ~/.local/share/man/man1", "then: man docker-machine-create")],
    group: Group::Program,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    docs_gen::write_all(&folder(invocation)?, docs_gen::man_pages()?)
}

/// The folder that the words name.
///
/// # Errors
/// No word, or more than one.
pub fn folder(invocation: &Invocation) -> Result<PathBuf, CliError> {
    match invocation.args.words() {
        [folder] => Ok(PathBuf::from(folder)),
        _ => Err(CliError::new("Error: Expected one folder as an argument")),
    }
}
