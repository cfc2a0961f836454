//! Everything a developer or CI runs: `cargo xtask COMMAND`.

/// Prints a line. Nobody who reads it, as behind `| head -1`, is no reason to stop half-way.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($text)*);
    }};
}

mod bench;
mod demo;
mod dist;
mod docs;
mod fuzz;
mod lab;
mod openstack;
mod setup;
mod stages;
mod test;
mod workspace;

use std::{error::Error, process::ExitCode};

use clap::{ArgMatches, Command};

/// What every command answers: done, or why not.
type Outcome = Result<(), Box<dyn Error>>;

/// A command of ours: how it is given, and what it does.
type Task = (fn() -> Command, fn(&ArgMatches) -> Outcome);

const TASKS: [Task; 9] = [
    (setup::cli, setup::run),
    (test::cli, test::run),
    (demo::cli, demo::run),
    (lab::cli, lab::run),
    (openstack::cli, openstack::run),
    (docs::cli, docs::run),
    (bench::cli, bench::run),
    (bench::measure_cli, bench::measure),
    (dist::cli, dist::run),
];

fn main() -> ExitCode {
    let program = Command::new("xtask")
        .about("Everything a developer or CI runs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands(TASKS.map(|(cli, _)| cli()));
    let matches = program.get_matches();
    let Some((name, given)) = matches.subcommand() else { return ExitCode::FAILURE };
    let task = TASKS.iter().find(|(cli, _)| cli().get_name() == name);
    match task.map_or_else(|| Err(format!("no command {name}").into()), |(_, run)| run(given)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask {name}: {e}");
            ExitCode::FAILURE
        }
    }
}
