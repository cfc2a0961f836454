//! From argv to a command, and from its end to an exit code.

use std::ffi::OsString;

use crate::args::argv::{self, ArgvError, Front, Given};
use crate::args::{Args, Arguments, Command, Flag, GLOBAL_FLAGS, Globals, closest, help_of, single};
use crate::commands::{self, COMMANDS};
use crate::error::{BROKEN_PIPE, CliError};
use crate::invocation::{Invocation, Program};
use crate::{debug, output, plugin, version};

/// Runs a command line and returns the exit code. All that the user reads is said when it returns.
pub fn run(argv: Vec<OsString>) -> u8 {
    match words(argv).and_then(|argv| start(&argv)) {
        Ok(()) => 0,
        Err(error) => say(&error),
    }
}

/// Prints a failure: its usage text on stdout, message and hint on stderr.
fn say(error: &CliError) -> u8 {
    if let Some(usage) = error.usage_text()
        && let Err(CliError::BrokenPipe) = output::print(usage)
    {
        return BROKEN_PIPE;
    }
    if !error.message().is_empty() {
        output::note(error.message());
    }
    if let Some(hint) = error.hint() {
        output::note(&format!("Hint: {hint}"));
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

fn start(argv: &[String]) -> Result<(), CliError> {
    let program = Program::of(argv);
    let args = plugin::own_arguments(argv.get(1..).unwrap_or_default());
    let front =
        argv::front(&args, GLOBAL_FLAGS).map_err(|error| usage_error(&error, commands::help::overview()))?;
    if front.version {
        return output::print_line(&version::line());
    }
    let Some(name) = front.command.as_deref() else {
        return output::print(&commands::help::overview());
    };
    if front.help {
        return commands::help::print(name);
    }
    let Some(command) = find(name) else { return Err(no_such_command(name)) };
    run_command(command, &front, program)
}

/// The command of this name.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().copied().find(|command| command.name == name)
}

/// There is no command of this name.
pub fn no_such_command(name: &str) -> CliError {
    let names = COMMANDS.iter().map(|command| command.name);
    CliError::new(format!(
        "docker-machine: '{name}' is not a docker-machine command. See 'docker-machine --help'."
    ))
    .with_hint_if(closest(name, names).map(|near| format!("did you mean '{near}'?")))
}

fn run_command(command: &'static Command, front: &Front, program: Program) -> Result<(), CliError> {
    // A driver's flags are known only when the driver is; its error comes before any other, as in the reference.
    let driver_flags =
        if command.name == "create" { commands::create::driver_flags(&front.rest)? } else { Vec::new() };
    let own: Vec<Flag> = command.flags.iter().chain(&driver_flags).cloned().collect();
    let raw = command.arguments == Arguments::MachineThenRaw;
    let help = || help_of(single(command, &driver_flags));
    let back =
        argv::back(&front.rest, &own, GLOBAL_FLAGS, raw).map_err(|error| usage_error(&error, help()))?;
    if back.help {
        return output::print(&help());
    }
    let globals: Vec<Given> = front.given.iter().chain(&back.globals).cloned().collect();
    let globals = Globals::read(&globals)?;
    debug::start(globals.debug);
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
    (command.run)(&Invocation { command: command.name, args, globals, program, driver_flags })
}

fn usage_error(error: &ArgvError, help: String) -> CliError {
    CliError::usage(error.to_string(), format!("Incorrect Usage.\n\n{help}")).with_hint_if(error.hint())
}
