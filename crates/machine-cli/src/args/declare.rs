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
    heading: &'static str,
    /// One that is made at run time; it counts more.
    made_heading: String,
}

impl Flag {
    /// A flag without a short form.
    pub const fn new(spec: FlagSpec) -> Self {
        Self { spec, short: None, added: false, value_name: "", heading: "", made_heading: String::new() }
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
    pub const fn headed(mut self, heading: &'static str) -> Self {
        self.heading = heading;
        self
    }

    /// The same with a heading that is made at run time.
    #[must_use]
    pub fn under(mut self, heading: String) -> Self {
        self.made_heading = heading;
        self
    }

    /// Heading under which help shows it; empty for plain options.
    pub fn heading(&self) -> &str {
        if self.made_heading.is_empty() { self.heading } else { &self.made_heading }
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
    /// The names of machines to be.
    NewMachines,
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
    /// Each in its place.
    Each(&'static [Word]),
}

/// What stands at one place behind a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Word {
    /// As the usage line shows it, e.g. `NAME`, `[NAME]` or `NAME...`. With dots it is the last, and there may be several.
    pub shown: &'static str,
    /// What it is; completion goes by this.
    pub is: WordKind,
}

/// What a word names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WordKind {
    /// A machine.
    Machine,
    /// A snapshot of the machine that is named before it.
    Snapshot,
    /// An image that is kept here.
    Image,
    /// Something new, e.g. the name of a machine to be.
    New,
}

impl Word {
    /// Declares one.
    pub const fn new(shown: &'static str, is: WordKind) -> Self {
        Self { shown, is }
    }

    /// Whether there may be several.
    pub fn repeats(&self) -> bool {
        self.shown.trim_end_matches(']').ends_with("...")
    }
}

/// Commands that belong together under one word, e.g. `snapshot`.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The word.
    pub name: &'static str,
    /// One line.
    pub about: &'static str,
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
    /// Its name; two words where it is one of a family, e.g. `snapshot ls` (see `commands::FAMILIES`).
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
    /// The last word of its name.
    pub fn last_word(&self) -> &'static str {
        self.name.rsplit(' ').next().unwrap_or(self.name)
    }

    /// The family that it is one of.
    pub fn family(&self) -> Option<&'static str> {
        self.name.split_once(' ').map(|(family, _)| family)
    }

    /// The usage line without the word `Usage: `.
    pub fn usage(&self) -> String {
        let arguments = match self.arguments {
            Arguments::None => String::new(),
            Arguments::NewMachines => " NAME...".to_owned(),
            Arguments::Machine => " [NAME]".to_owned(),
            Arguments::Machines => " [NAME...]".to_owned(),
            Arguments::MachineThenRaw => " [NAME] [ssh options] [COMMAND [ARG...]]".to_owned(),
            Arguments::Locations => " [[user@]machine:]PATH [[user@]machine:]PATH".to_owned(),
            Arguments::Command => " [COMMAND]".to_owned(),
            Arguments::Path => " DIR".to_owned(),
            Arguments::Words(_) => " SHELL".to_owned(),
            Arguments::Each(words) => words.iter().map(|word| format!(" {}", word.shown)).collect(),
        };
        let options = if self.flags.is_empty() { "" } else { " [OPTIONS]" };
        format!("docker-machine {}{options}{arguments}", self.name)
    }
}
