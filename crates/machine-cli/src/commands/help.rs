//! `help`: what there is, and how it is used.

use crate::args::{Arguments, Command, Family, GLOBAL_FLAGS, Group, help_of, help_text, single};
use crate::commands::COMMANDS;
use crate::error::CliError;
use crate::invocation::{Invocation, Program};
use crate::{output, program, version};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "help",
    about: "Shows a list of commands or help for one command",
    description: "",
    arguments: Arguments::Command,
    flags: &[],
    examples: &[("docker-machine help create", "the same as `docker-machine create --help`")],
    group: Group::Program,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    match invocation.args.words() {
        [] => output::print(&invocation.program.in_its_words(&overview())),
        [name, more @ ..] => print(name, more.first().map(String::as_str), &invocation.program),
    }
}

/// Prints the help of a command, or of a family of commands.
///
/// # Errors
/// There is no such command.
pub fn print(name: &str, second: Option<&str>, program: &Program) -> Result<(), CliError> {
    let text = match (program::family(name), second) {
        (Some(family), None) => of_family(family),
        (Some(_), Some(second)) => of_command(&format!("{name} {second}"))?,
        (None, _) => of_command(name)?,
    };
    output::print(&program.in_its_words(&text))
}

fn of_command(name: &str) -> Result<String, CliError> {
    let Some(command) = program::find(name) else { return Err(program::no_such_command(name)) };
    let more = super::driver_flags(name, &["--help".to_owned()])?;
    Ok(help_of(single(command, &more)))
}

/// The commands of a family.
pub fn of_family(family: &Family) -> String {
    let mut text =
        format!("Usage: docker-machine {} COMMAND [arg...]\n\n{}\n\nCommands:\n", family.name, family.about);
    for command in COMMANDS.iter().filter(|command| command.family() == Some(family.name)) {
        text.push_str(&row(command));
    }
    text.push_str(&format!(
        "\nRun 'docker-machine {} COMMAND --help' for more information on a command.\n",
        family.name
    ));
    text
}

fn row(command: &Command) -> String {
    format!("  {:18}{}\n", command.name, command.about)
}

/// All commands in their groups, and the global flags.
pub fn overview() -> String {
    let mut text = format!(
        "Usage: docker-machine [OPTIONS] COMMAND [arg...]\n\nCreate and manage machines running Docker.\n\nVersion: {}, build {}\n",
        version::VERSION,
        version::BUILD
    );
    for (group, title) in [
        (Group::Machines, "Make and change machines"),
        (Group::Use, "Use a machine"),
        (Group::Look, "Look at machines"),
        (Group::Program, "The program"),
    ] {
        text.push_str(&format!("\n{title}:\n"));
        for command in COMMANDS.iter().filter(|command| command.group == group) {
            text.push_str(&row(command));
        }
    }
    text.push_str("\nOptions:\n");
    let mut rows: Vec<(String, String)> = GLOBAL_FLAGS
        .iter()
        .map(|flag| {
            let short = flag.short.map_or_else(|| "    ".to_owned(), |letter| format!("-{letter}, "));
            let value =
                if flag.value_name.is_empty() { String::new() } else { format!(" {}", flag.value_name) };
            (format!("{short}--{}{value}", flag.spec.name), help_text(flag).to_string())
        })
        .collect();
    rows.push(("-h, --help".to_owned(), "Show help".to_owned()));
    rows.push(("-v, --version".to_owned(), "Print the version".to_owned()));
    for (flag, help) in rows {
        text.push_str(&format!("  {flag:30}{help}\n"));
    }
    text.push_str("\nRun 'docker-machine COMMAND --help' for more information on a command.\n");
    text
}
