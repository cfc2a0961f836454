//! Text that other programs and people read: stdout, tables, templates, shell syntax, Go's way of quoting.

pub mod go;
pub mod rows;
pub mod shell;
pub mod table;
pub mod template;

use std::io::{IsTerminal, Write};

use serde::Serialize;

use crate::error::CliError;

/// Prints an answer on stdout.
///
/// # Errors
/// [`CliError::BrokenPipe`] where nobody reads it; a text where it can't be written, e.g. on a full disk.
pub fn print(text: &str) -> Result<(), CliError> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}

/// Prints an answer on stdout, with a newline behind it.
///
/// # Errors
/// As [`print`].
pub fn print_line(text: &str) -> Result<(), CliError> {
    print(&format!("{text}\n"))
}

/// Prints a value as indented JSON, with a newline behind it.
///
/// # Errors
/// As [`print`].
pub fn print_json<T: Serialize>(value: &T) -> Result<(), CliError> {
    print_line(&machine_store::go_json::to_string_indented(value))
}

/// Says something on stderr. A stderr that can't be written is no reason to fail.
pub fn note(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Whether stdout is a terminal that takes colours and moving lines.
pub fn fancy_stdout() -> bool {
    std::io::stdout().is_terminal() && fancy_wanted()
}

/// Whether stderr is a terminal that takes colours and moving lines.
pub fn fancy_stderr() -> bool {
    std::io::stderr().is_terminal() && fancy_wanted()
}

/// The number of columns of the terminal that stdout is; `None` where it is none.
pub fn columns_of_stdout() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    console::Term::stdout()
        .size_checked()
        .map(|(_, columns)| usize::from(columns))
        .filter(|columns| *columns > 0)
}

fn fancy_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    !set("NO_COLOR") && !set("CI") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}
