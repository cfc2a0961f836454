//! The `docker-machine` program: turns a command line into a call of the other rooms and their answer into text.
//!
//! In: argv, the environment, a terminal. Out: text and an exit code. No other room prints, and nothing depends on
//! this one; it is a library only so that tests and fuzzers can reach the template engine ([`render_template`]).
#![forbid(unsafe_code)]

mod args;
mod commands;
mod complete;
mod crash;
mod debug;
mod docs_gen;
mod error;
mod invocation;
mod location;
mod machines;
mod output;
mod plugin;
mod program;
mod progress;
mod runtime;
mod system_client;
mod version;

use std::process::ExitCode;

pub use output::template::Problem as TemplateProblem;

/// Runs the program with the process's arguments and environment.
#[must_use]
pub fn main() -> ExitCode {
    complete::answer_shell();
    crash::install_panic_hook();
    ExitCode::from(program::run(std::env::args_os().collect()))
}

/// Fills a Go template in, as `inspect --format` does. For fuzzers.
///
/// # Errors
/// [`TemplateProblem`] in Go's words; never a panic.
pub fn render_template(template: &str, value: &serde_json::Value) -> Result<String, TemplateProblem> {
    output::template::render_json(template, value)
}
