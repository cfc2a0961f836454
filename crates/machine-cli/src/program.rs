//! From argv to a command, and from its end to an exit code.

use std::ffi::OsString;

use crate::args::argv::{self, ArgvError, Front, Given};
use crate::args::{Args, Arguments, Command, Family, Flag, GLOBAL_FLAGS, Globals, closest, help_of, single};
use crate::commands::{self, COMMANDS, FAMILIES};
use crate::error::{BROKEN_PIPE, CliError};
use crate::invocation::{Invocation, Program};
use crate::{debug, output, plugin, version};

/// Runs a command line and returns the exit code. All that the user reads is said when it returns.
pub fn run(argv: Vec<OsString>) -> u8 {
    let argv = match words(argv) {
        Ok(argv) => argv,
        Err(error) => return say(&error, &Program::of(&[])),
    };
    let program = Program::of(&argv);
    match start(&argv, &program) {
        Ok(()) => 0,
        Err(error) => say(&error, &program),
    }
}

/// Prints a failure: its usage text on stdout, message and hint on stderr.
fn say(error: &CliError, program: &Program) -> u8 {
    if let Some(usage) = error.usage_text()
        && let Err(CliError::BrokenPipe) = output::print(&program.in_its_words(usage))
    {
        return BROKEN_PIPE;
    }
    if !error.message().is_empty() {
        output::note(error.message());
    }
    if let Some(hint) = error.hint() {
        output::note(&format!("Hint: {}", program.in_its_words(hint)));
    }
    error.code()
}

fn words(argv: Vec<OsString>) -> Result<Vec<String>, CliError> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| CliError::new(format!("The argument {:?} is not UTF-8", word.to_string_lossy())))
    };
    argv.into_iter().map(text).collect()
}

fn start(argv: &[String], program: &Program) -> Result<(), CliError> {
    let args = plugin::own_arguments(argv.get(1..).unwrap_or_default());
    let front = read_front(&args)?;
    if front.version {
        return output::print_line(&version::line());
    }
    let Some(name) = front.command.as_deref() else {
        return output::print(&program.in_its_words(&commands::help::overview()));
    };
    if front.help {
        let second = front.rest.first().filter(|word| !word.starts_with('-'));
        return commands::help::print(name, second.map(String::as_str), program);
    }
    if let Some(family) = family(name) {
        return start_member(family, front, program);
    }
    let Some(command) = find(name) else { return Err(no_such_command(name)) };
    run_command(command, &front, program)
}

fn read_front(args: &[String]) -> Result<Front, CliError> {
    argv::front(args, GLOBAL_FLAGS).map_err(|error| usage_error(&error, commands::help::overview()))
}

/// A command of two words: the second is looked for behind the first as that was behind the program's name.
fn start_member(family: &Family, mut front: Front, program: &Program) -> Result<(), CliError> {
    let back = argv::front(&front.rest, GLOBAL_FLAGS)
        .map_err(|error| usage_error(&error, commands::help::of_family(family)))?;
    let Some(member) = back.command.as_deref().filter(|_| !back.help) else {
        return commands::help::print(family.name, back.command.as_deref(), program);
    };
    let name = format!("{} {member}", family.name);
    let Some(command) = find(&name) else { return Err(no_such_command(&name)) };
    front.given.extend(back.given);
    front.rest = back.rest;
    run_command(command, &front, program)
}

/// The command of this name; both words of it where it has two.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().copied().find(|command| command.name == name)
}

/// The family of commands of this name.
pub fn family(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// There is no command of this name.
pub fn no_such_command(name: &str) -> CliError {
    let group = name.split_once(' ').map(|(group, _)| group);
    let mut names: Vec<&str> = COMMANDS.iter().map(|command| command.name).collect();
    names.extend(FAMILIES.iter().map(|family| family.name));
    names.retain(|known| known.split_once(' ').map(|(group, _)| group) == group);
    CliError::new(match group {
        Some(group) => format!(
            "docker-machine: '{name}' is not a docker-machine command. See 'docker-machine {group} --help'."
        ),
        None => {
            format!("docker-machine: '{name}' is not a docker-machine command. See 'docker-machine --help'.")
        }
    })
    .with_hint_if(closest(name, names).map(|near| format!("did you mean '{near}'?")))
}

fn run_command(command: &'static Command, front: &Front, program: &Program) -> Result<(), CliError> {
    // A driver's flags are known only when the driver is; its error comes before any other, as in the reference.
    let driver_flags = commands::driver_flags(command.name, &front.rest)?;
    let own: Vec<Flag> = command.flags.iter().chain(&driver_flags).cloned().collect();
    let raw = command.arguments == Arguments::MachineThenRaw;
    let help = || help_of(single(command, &driver_flags));
    let back =
        argv::back(&front.rest, &own, GLOBAL_FLAGS, raw).map_err(|error| usage_error(&error, help()))?;
    if back.help {
        return output::print(&program.in_its_words(&help()));
    }
    let globals: Vec<Given> = front.given.iter().chain(&back.globals).cloned().collect();
    let globals = Globals::read(&globals)?;
    debug::start(globals.debug);
    if globals.debug {
        debug::hide_records(&globals.store_path);
    }
    crate::crash::remember(&globals.store_path, command.name);
    let args = Args::read(&own, &back.given, back.plain)?;
    for flag in own.iter().filter(|flag| flag.spec.secret) {
        debug::hide(args.str(&flag.spec.name));
    }
    tracing::debug!(
        version = version::VERSION,
        build = version::BUILD,
        command = command.name,
        "docker-machine"
    );
    let program = program.clone();
    (command.run)(&Invocation { command: command.name, args, globals, program, driver_flags })
}

fn usage_error(error: &ArgvError, help: String) -> CliError {
    CliError::usage(error.to_string(), format!("Incorrect Usage.\n\n{help}")).with_hint_if(error.hint())
}
