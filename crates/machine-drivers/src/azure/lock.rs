//! Who makes machines, and who removes what machines share, do not do so at once: a network or a resource group must not
//! go while a new machine is about to stand in it. That is kept for one store; what other people do, Azure itself must judge.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{DriverError, ErrorKind, Event, Reporter};
use tokio::time::{Instant, sleep};

/// How long a create waits for a removal of what is shared.
const CREATE: Duration = Duration::from_secs(900);
/// How long a removal waits for creates. What is then left is removed with the next machine.
const REMOVE: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);

/// A lock that is held until it is dropped, or until the process ends.
#[derive(Debug)]
pub(super) struct Held(#[allow(dead_code)] File);

fn path(store: &Path, subscription: &str, what: &str) -> PathBuf {
    store.join("credentials").join("azure").join(format!("{subscription}.{what}.lock"))
}

/// For who makes a machine: many may.
pub(super) async fn making(
    store: &Path,
    subscription: &str,
    report: &dyn Reporter,
) -> Result<Held, DriverError> {
    let file = path(store, subscription, "shared");
    let held = wait(&file, CREATE, report, File::try_lock_shared).await?;
    held.ok_or_else(|| busy(CREATE, "the removal of what machines shared"))
}

/// For who makes a network: one at a time, because the second would write over what the first put into it.
pub(super) async fn network(
    store: &Path,
    subscription: &str,
    report: &dyn Reporter,
) -> Result<Held, DriverError> {
    let file = path(store, subscription, "network");
    let held = wait(&file, CREATE, report, File::try_lock).await?;
    held.ok_or_else(|| busy(CREATE, "another create that makes a network"))
}

/// For who removes what machines share; `None` where machines are being made.
pub(super) async fn removing(
    store: &Path,
    subscription: &str,
    report: &dyn Reporter,
) -> Result<Option<Held>, DriverError> {
    wait(&path(store, subscription, "shared"), REMOVE, report, File::try_lock).await
}

fn busy(limit: Duration, whom: &str) -> DriverError {
    DriverError::new(ErrorKind::Unavailable, format!("waited {} s for {whom}", limit.as_secs()))
        .with_hint("try again when it has ended, or end it")
}

async fn wait(
    path: &Path,
    limit: Duration,
    report: &dyn Reporter,
    lock: fn(&File) -> Result<(), TryLockError>,
) -> Result<Option<Held>, DriverError> {
    let broken = |error: io::Error| {
        DriverError::new(ErrorKind::Other, format!("the lock {} can't be used: {error}", path.display()))
            .with_source(error)
    };
    let file = open(path).map_err(broken)?;
    let begin = Instant::now();
    let mut told = false;
    loop {
        match lock(&file) {
            Ok(()) => return Ok(Some(Held(file))),
            Err(TryLockError::Error(error)) => return Err(broken(error)),
            Err(TryLockError::WouldBlock) if begin.elapsed() >= limit => return Ok(None),
            Err(TryLockError::WouldBlock) => {}
        }
        if !told && begin.elapsed() > Duration::from_secs(1) {
            told = true;
            report.report(Event::Debug(format!("azure: waiting for {}", path.display())));
        }
        sleep(PAUSE).await;
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    File::options().create(true).truncate(false).read(true).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use machine_core::Silent;

    use super::*;

    #[tokio::test]
    async fn many_make_and_nobody_removes_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let one = making(dir.path(), "s", &Silent).await.unwrap();
        let other = making(dir.path(), "s", &Silent).await.unwrap();
        let short = Duration::from_millis(60);
        let file = path(dir.path(), "s", "shared");
        assert!(wait(&file, short, &Silent, File::try_lock).await.unwrap().is_none());
        drop((one, other));
        assert!(removing(dir.path(), "s", &Silent).await.unwrap().is_some());
    }
}
