//! One after the other: hypervisors tolerate little concurrency, so that whoever changes something in one waits for its turn.
//!
//! The turn is a lock that the kernel holds on a file of the user's, not of a store: a hypervisor's own registry is a user's too, and two stores
//! lead to the same hypervisor. A process that is killed leaves no turn behind.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Event, Reporter};
use tokio::time::{Instant, sleep};

/// How long others may take until it is our turn. The longest that is done in one turn is the copy of a disk.
const LIMIT: Duration = Duration::from_secs(1800);
/// The first and the longest pause between two looks.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));
/// From when on it is said that there is something to wait for.
const QUIET: Duration = Duration::from_secs(1);
/// The folder in the user's home.
const FOLDER: &str = ".docker/machine-hypervisors";

/// The right to change something in a hypervisor: no other process of this user changes anything there until it is dropped.
///
/// Not to be taken twice by one task: the second would wait for the first.
#[derive(Debug)]
pub(crate) struct Turn(File);

impl Drop for Turn {
    fn drop(&mut self) {
        // Not left to closing the file: a program that is being started may have a copy of the handle for a moment.
        let _ = self.0.unlock();
    }
}

/// Waits for the turn to change something in this hypervisor, e.g. `virtualbox`.
///
/// # Errors
/// [`ErrorKind::Unavailable`] after half an hour, with who has it; [`ErrorKind::Other`] where the lock's file can't be opened.
pub(crate) async fn turn(hypervisor: &str, report: &dyn Reporter) -> Result<Turn, DriverError> {
    let home = std::env::home_dir().filter(|home| !home.as_os_str().is_empty()).ok_or_else(|| {
        DriverError::new(
            ErrorKind::Other,
            "this user has no home folder, in which the lock of the hypervisor could be",
        )
        .with_hint("set HOME")
    })?;
    let file = home.join(FOLDER).join(format!("{hypervisor}.lock"));
    wait_for(&file, &format!("another docker-machine that uses {hypervisor}"), LIMIT, report).await
}

/// Waits for the lock on a file, which is made where it is missing. `whom` is who is waited for, e.g. `another docker-machine that uses
/// virtualbox`.
///
/// # Errors
/// As [`turn`].
pub(crate) async fn wait_for(
    path: &Path,
    whom: &str,
    limit: Duration,
    report: &dyn Reporter,
) -> Result<Turn, DriverError> {
    let broken = |error: io::Error| {
        DriverError::new(ErrorKind::Other, format!("the lock {} can't be used: {error}", path.display()))
            .with_source(error)
    };
    let (begin, mut pause) = (Instant::now(), PAUSE.0);
    loop {
        let mut file = open(path).map_err(broken)?;
        match file.try_lock() {
            Ok(()) => {
                sign(&mut file);
                return Ok(Turn(file));
            }
            Err(TryLockError::Error(error)) => return Err(broken(error)),
            Err(TryLockError::WouldBlock) => {}
        }
        let waited = begin.elapsed();
        let holder = holder(path);
        if waited >= limit {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!("waited {} s for {whom} ({holder})", limit.as_secs()),
            )
            .with_hint("try again when it has ended, or end it"));
        }
        if waited >= QUIET {
            report.report(Event::Waiting {
                what: whom.to_owned(),
                for_ms: millis(waited),
                limit_ms: millis(limit),
                last: holder,
            });
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

/// Who has it, for those who wait. That it can't be written is no reason to stop.
fn sign(file: &mut File) {
    let _ = file.set_len(0);
    let _ = file.rewind();
    let _ = write!(file, "process {}", std::process::id());
}

fn holder(path: &Path) -> String {
    let mut text = String::new();
    // Where a lock keeps others from reading too, nobody knows.
    let read = File::open(PathBuf::from(path)).and_then(|file| file.take(100).read_to_string(&mut text));
    if read.is_err() || text.is_empty() { "a process that is not known".to_owned() } else { text }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use machine_core::Silent;

    use super::*;

    #[tokio::test]
    async fn who_waits_in_vain_hears_for_whom() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new/x.lock");
        let first = wait_for(&file, "another one", LIMIT, &Silent).await.unwrap();
        let error = wait_for(&file, "another one", Duration::ZERO, &Silent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let us = format!("waited 0 s for another one (process {})", std::process::id());
        assert_eq!(error.to_string(), us);
        drop(first);
        wait_for(&file, "another one", Duration::ZERO, &Silent).await.unwrap();
    }

    #[tokio::test]
    async fn a_lock_that_can_not_be_made_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = wait_for(&file.join("x.lock"), "x", LIMIT, &Silent).await.unwrap_err();
        assert!(error.to_string().contains("can't be used"), "{error}");
    }
}
