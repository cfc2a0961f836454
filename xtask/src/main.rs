//! Everything a developer or CI runs: `cargo xtask COMMAND`.

mod lab;

use std::{error::Error, process::ExitCode};

use clap::{ArgMatches, Command};

/// What every command answers: done, or why not.
type Outcome = Result<(), Box<dyn Error>>;

fn main() -> ExitCode {
    let matches = cli().get_matches();
    let Some((name, given)) = matches.subcommand() else { return ExitCode::FAILURE };
    match dispatch(name, given) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("xtask {name}: {e}");
            ExitCode::FAILURE
        }
    }
}

fn cli() -> Command {
    Command::new("xtask")
        .about("Everything a developer or CI runs")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(lab::cli())
}

fn dispatch(name: &str, given: &ArgMatches) -> Outcome {
    match name {
        "lab" => lab::run(given),
        other => Err(format!("no command {other}").into()),
    }
}
