//! Crash reports: what somebody needs to find out why a create or upgrade failed, or why the program has a bug. They
//! are written into the store and sent nowhere.
//!
//! A file `no-error-report` in the store's root suppresses them, as in the reference program; so does its
//! `--bugsnag-api-token=no-report`, with which GitLab Runner begins every call.

use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use machine_lifecycle::{Error, Kind};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::CliError;
use crate::{debug, output, version};

const OPT_OUT: &str = "no-error-report";
const FOLDER: &str = "crash-reports";
/// How many reports are kept: a caller that tries again all night must not fill the disk.
const KEPT: usize = 20;

static CALL: OnceLock<(PathBuf, &'static str)> = OnceLock::new();

/// Remembers where the store is and which command runs, for the panic hook.
pub fn remember(store: &Path, command: &'static str) {
    let _ = CALL.set((store.to_owned(), command));
}

/// Makes a panic a clear message and a report, instead of a trace that says nothing to the user.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let what = text
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no reason given");
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        output::note(&format!("docker-machine has a bug: {what} ({place})"));
        let trace = std::backtrace::Backtrace::force_capture();
        if let Some((store, command)) = CALL.get() {
            let cause = format!("panic: {what}\nat {place}\n{trace}");
            if let Some(where_it_is) = report(store, command, "", &cause) {
                output::note(&where_it_is);
            }
        }
    }));
}

/// The failure of a create or upgrade as the user reads it. One that is the world's fault, not the user's, gets a
/// report.
pub fn of_failure(error: &Error, store: &Path, command: &str, driver: &str) -> CliError {
    let failure = CliError::from_lifecycle(error);
    match report_of(error, store, command, driver) {
        Some(where_it_is) => failure.and_hint(&where_it_is),
        None => failure,
    }
}

/// Writes a report of a failure that is the world's fault, and returns what to tell the user.
pub fn report_of(error: &Error, store: &Path, command: &str, driver: &str) -> Option<String> {
    if error.kind() == Kind::User || error.exit_code() != 1 {
        return None;
    }
    report(store, command, driver, &crate::error::chain(error))
}

/// Writes a report and returns what to tell the user, unless the user does not want reports. A report that can't be
/// written is not worth another failure.
fn report(store: &Path, command: &str, driver: &str, cause: &str) -> Option<String> {
    if store.join(OPT_OUT).exists() || no_report_token() || !store.is_dir() {
        debug::note("Opting out of crash reporting.");
        return None;
    }
    debug::hide_records(store);
    match write(store, &text(command, driver, cause)) {
        Ok(path) => Some(format!(
            "A crash report is in {}. It is sent nowhere; look through it before you show it to others. An empty \
             file {} keeps reports from being written.",
            path.display(),
            store.join(OPT_OUT).display()
        )),
        Err(error) => {
            debug::note(&format!("no crash report: {error}"));
            None
        }
    }
}

fn no_report_token() -> bool {
    let token = "no-report";
    std::env::var("MACHINE_BUGSNAG_API_TOKEN").is_ok_and(|value| value == token)
        || std::env::args().any(|word| word.contains("bugsnag-api-token") && word.ends_with(token))
}

fn write(store: &Path, text: &str) -> io::Result<PathBuf> {
    let dir = store.join(FOLDER);
    let mut folder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut folder, 0o700);
    folder.recursive(true).create(&dir)?;
    let time = OffsetDateTime::now_utc().format(&Rfc3339).map_err(io::Error::other)?;
    let time: String = time.chars().take(19).filter(|c| c.is_ascii_digit() || *c == 'T').collect();
    // Several machines of one command may fail within the same second.
    static WRITTEN: AtomicU32 = AtomicU32::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    let path = dir.join(format!("{time}-{}-{number}.txt", std::process::id()));
    machine_store::write_file(&path, text.as_bytes(), machine_store::Mode::Private)
        .map_err(io::Error::other)?;
    forget_old(&dir)?;
    Ok(path)
}

/// Names begin with the time, so that their order is that of the reports.
fn forget_old(dir: &Path) -> io::Result<()> {
    let mut reports: Vec<PathBuf> = std::fs::read_dir(dir)?.flatten().map(|entry| entry.path()).collect();
    reports.sort_unstable();
    for old in reports.iter().rev().skip(KEPT) {
        std::fs::remove_file(old)?;
    }
    Ok(())
}

fn text(command: &str, driver: &str, cause: &str) -> String {
    let mut out = String::new();
    let shell = std::env::var("SHELL").unwrap_or_default();
    let facts = [
        ("program", version::line()),
        ("system", format!("{} ({})", std::env::consts::OS, system_version())),
        ("architecture", std::env::consts::ARCH.to_owned()),
        ("shell", shell),
        ("command", command.to_owned()),
        ("driver", driver.to_owned()),
        ("cause", cause.to_owned()),
    ];
    for (name, value) in facts {
        let _ = writeln!(out, "{name}: {}", debug::redacted(&value));
    }
    let _ = writeln!(out, "\nhistory:");
    for line in debug::history() {
        let _ = writeln!(out, "  {line}");
    }
    out
}

/// The system's own name for its version, where a file says it.
fn system_version() -> String {
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "version not known".to_owned(), |name| name.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_is_needed_and_no_secret() {
        debug::hide("s3cr3t-token");
        debug::note("asked with s3cr3t-token");
        let store = tempfile::tempdir().unwrap();
        let text = text("create", "generic", "it failed with s3cr3t-token");
        for part in
            ["docker-machine version", "system: ", "architecture: ", "shell: ", "driver: generic", "history:"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("s3cr3t-token"));
        let path = write(store.path(), &text).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }

    #[test]
    fn only_the_newest_reports_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        for at in 0..KEPT + 3 {
            std::fs::write(dir.path().join(format!("20260101T0000{at:02}-1.txt")), "").unwrap();
        }
        forget_old(dir.path()).unwrap();
        let mut left: Vec<_> =
            std::fs::read_dir(dir.path()).unwrap().flatten().map(|e| e.file_name()).collect();
        left.sort();
        assert_eq!((left.len(), left[0].to_str().unwrap()), (KEPT, "20260101T000003-1.txt"));
    }
}
