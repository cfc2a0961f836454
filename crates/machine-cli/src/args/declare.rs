//! What a command and a flag are. One declaration gives parsing, help, completion, man pages and the reference pages.

use machine_core::FlagSpec;

use crate::error::CliError;
use crate::invocation::Invocation;

/// A flag of a command: a driver's declaration, and what only the command line needs.
#[derive(Clone, Debug)]
pub struct Flag {
    /// Name, environment variable, help, type and default.
    pub spec: FlagSpec,
    /// The one-letter form.
    pub short: Option<char>,
    /// Whether the reference program does not have it.
    pub added: bool,
    /// What stands for the value in help, e.g. `FILE`.
    pub value_name: &'static str,
    /// Heading under which help shows it; empty for plain options.
    pub heading: &'static str,
}

impl Flag {
    /// A flag without a short form.
    pub const fn new(spec: FlagSpec) -> Self {
        Self { spec, short: None, added: false, value_name: "", heading: "" }
    }

    /// A switch.
    pub const fn switch(name: &'static str, help: &'static str) -> Self {
        Self::new(FlagSpec::bool(name, "", help))
    }

    /// A text.
    pub const fn text(
        name: &'static str,
        env: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::new(FlagSpec::str(name, env, default, help))
    }

    /// A text that may be repeated.
    pub const fn list(name: &'static str, env: &'static str, help: &'static str) -> Self {
        Self::new(FlagSpec::list(name, env, help))
    }

    /// A whole number.
    pub const fn int(name: &'static str, default: i64, help: &'static str) -> Self {
        Self::new(FlagSpec::int(name, "", default, help))
    }

    /// Gives it a one-letter form.
    pub const fn short(mut self, letter: char) -> Self {
        self.short = Some(letter);
        self
    }

    /// Marks it as unknown to the reference program.
    pub const fn added(mut self) -> Self {
        self.added = true;
        self
    }

    /// Names its value in help.
    pub const fn value(mut self, name: &'static str) -> Self {
        self.value_name = name;
        self
    }

    /// Puts it under a heading in help.
    pub const fn under(mut self, heading: &'static str) -> Self {
        self.heading = heading;
        self
    }

    /// Whether this is the flag of that name or letter.
    pub fn is(&self, name: &str) -> bool {
        let mut letters = name.chars();
        self.spec.name == name
            || (self.short == letters.next() && self.short.is_some() && letters.next().is_none())
    }
}

/// What stands after the flags of a command; completion and usage are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arguments {
    /// Nothing.
    None,
    /// The name of a machine to be.
    NewMachine,
    /// One machine, or the one called `default`.
    Machine,
    /// Machines, or the one called `default`.
    Machines,
    /// A machine, then words that belong to somebody else: no flag behind the machine's name is ours.
    MachineThenRaw,
    /// `[user@]machine:path` or local paths.
    Locations,
    /// The name of a command.
    Command,
    /// A file or folder.
    Path,
    /// One of these words.
    Words(&'static [&'static str]),
}

/// Under which heading the list of commands shows a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// Makes, changes and removes machines.
    Machines,
    /// Says something about machines.
    Look,
    /// Uses a machine.
    Use,
    /// About the program.
    Program,
    /// Not shown.
    Hidden,
}

/// A command.
#[derive(Clone, Copy)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// One line, the reference program's where it has the command.
    pub about: &'static str,
    /// More lines.
    pub description: &'static str,
    /// What follows the flags.
    pub arguments: Arguments,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Command lines with what they do.
    pub examples: &'static [(&'static str, &'static str)],
    /// Where the list of commands shows it.
    pub group: Group,
    /// Does it.
    pub run: fn(&Invocation) -> Result<(), CliError>,
}

impl Command {
    /// The usage line without the word `Usage: `.
    pub fn usage(&self) -> String {
        let arguments = match self.arguments {
            Arguments::None => "",
            Arguments::NewMachine => " NAME",
            Arguments::Machine => " [NAME]",
            Arguments::Machines => " [NAME...]",
            Arguments::MachineThenRaw => " [NAME] [ssh options] [COMMAND [ARG...]]",
            Arguments::Locations => " [[user@]machine:]PATH [[user@]machine:]PATH",
            Arguments::Command => " [COMMAND]",
            Arguments::Path => " DIR",
            Arguments::Words(_) => " SHELL",
        };
        let options = if self.flags.is_empty() { "" } else { " [OPTIONS]" };
        format!("docker-machine {}{options}{arguments}", self.name)
    }
}
