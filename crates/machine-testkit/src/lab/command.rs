//! Running the system's programs, and waiting for things.

use std::{
    ffi::OsStr,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use super::LabError;
use crate::skip;

/// A command with nothing on its input. System folders are searched besides `PATH`.
pub fn command(program: &str) -> Result<Command, LabError> {
    let path =
        skip::find_program(program).ok_or_else(|| LabError::NoProgram { program: program.to_owned() })?;
    let mut command = Command::new(path);
    command.stdin(Stdio::null());
    Ok(command)
}

/// Runs a program to its end and returns what it printed on stdout.
pub fn run<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Result<String, LabError> {
    let mut command = command(program)?;
    command.args(args);
    let output = output(&mut command)?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a prepared command; an exit status other than 0 is an error with the end of what it said.
pub fn output(command: &mut Command) -> Result<Output, LabError> {
    let output = command.output().map_err(|e| LabError::Command {
        line: line(command),
        status: "not started".to_owned(),
        said: e.to_string(),
    })?;
    if output.status.success() {
        return Ok(output);
    }
    let mut said = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.trim().is_empty() {
        said = String::from_utf8_lossy(&output.stdout).into_owned();
    }
    Err(LabError::Command { line: line(command), status: output.status.to_string(), said: tail(&said, 12) })
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|w| w.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// The last lines of a text, for a message.
pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.trim_end().lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Asks `probe` until it says `Ok`, often at first; after `limit` the last `Err` is what was last seen.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut probe: impl FnMut() -> Result<T, String>,
) -> Result<T, LabError> {
    let start = Instant::now();
    let mut pause = Duration::from_millis(10);
    loop {
        match probe() {
            Ok(value) => return Ok(value),
            Err(last) if start.elapsed() >= limit => {
                return Err(LabError::Timeout { what: what.to_owned(), limit, last });
            }
            Err(_) => thread::sleep(pause),
        }
        pause = (pause * 3 / 2).min(Duration::from_millis(200));
    }
}
