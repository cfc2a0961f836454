//! Snapshots inside the disk, with the memory of a machine that runs.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event, Snapshot};
use machine_image::disk;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::command::DISK;
use super::qmp::{Qmp, QmpError};
use super::run::Run;
use super::state::{Files, Hardware, QemuState};
use super::{launch, power, process};

/// How long memory may take to be written or read. QEMU may answer nothing meanwhile.
const JOB_LIMIT: Duration = Duration::from_secs(1800);
/// How often a job is asked for.
const TICK: Duration = Duration::from_millis(100);
/// The name of the job; a machine has one at a time.
const JOB: &str = "docker-machine";

/// All, oldest first.
///
/// # Errors
/// Where the disk can't be read.
pub(super) async fn list(files: &Files) -> Result<Vec<Snapshot>, DriverError> {
    if !files.disk().is_file() {
        return Ok(Vec::new());
    }
    Ok(disk::snapshots(&files.disk()).await?)
}

/// Takes one.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where the name is taken; [`ErrorKind::Config`] where it can't be a name.
pub(super) async fn take(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    name: &str,
) -> Result<(), DriverError> {
    check_name(name)?;
    if list(files).await?.iter().any(|one| one.name == name) {
        return Err(DriverError::new(
            ErrorKind::AlreadyDone,
            format!("there is a snapshot {name:?} already"),
        ));
    }
    if !runs(state, files)? {
        return Ok(disk::take_snapshot(&files.disk(), name).await?);
    }
    let mut qmp = power::work(state, files).await?;
    let arguments = json!({"job-id": JOB, "tag": name, "vmstate": DISK, "devices": [DISK]});
    match job(cx, &mut qmp, "snapshot-save", arguments, "the machine's memory to be written").await {
        Ok(()) => {
            state.snapshots.insert(name.to_owned(), state.hardware());
            Ok(())
        }
        // Mounted folders and devices of other people's arguments may have a state that nobody can write down.
        Err(QmpError::Refused { said, .. }) if is_blocked(&said) => {
            cx.report.report(Event::Notice(format!(
                "The machine's memory can't be part of the snapshot, only its disk: {said}"
            )));
            qmp.execute("blockdev-snapshot-internal-sync", json!({"device": DISK, "name": name})).await?;
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

fn is_blocked(said: &str) -> bool {
    ["disabled", "blocked", "unmigratable", "not migratable", "is non-migratable", "VirtFS"]
        .iter()
        .any(|word| said.contains(word))
}

/// Goes back to one. What ran then runs; what was off is off.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn restore(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    name: &str,
) -> Result<(), DriverError> {
    let snapshot = named(files, name).await?;
    let runs = runs(state, files)?;
    if !snapshot.with_memory {
        if runs {
            power::end(state, files).await?;
        }
        disk::restore_snapshot(&files.disk(), name).await?;
        if runs {
            launch::start(cx, state, files, &mut |_| Ok(())).await?;
        }
        return Ok(());
    }
    let then = state.snapshots.get(name).cloned().unwrap_or_else(|| state.hardware());
    if runs && then != state.hardware() {
        power::end(state, files).await?;
    }
    wear(state, &then);
    let began = process::find(&files.pid())?.is_none();
    if began {
        launch::start_paused(cx, state, files).await?;
    }
    let loaded = load(cx, state, files, name).await;
    if loaded.is_err() && began {
        // It has nothing to run: off is what it was.
        power::end(state, files).await?;
    }
    loaded
}

/// Gives the machine what it had.
fn wear(state: &mut QemuState, then: &Hardware) {
    state.cpu = then.cpu;
    state.memory = then.memory;
    state.accel_used.clone_from(&then.accel);
    state.booted_directly = then.booted_directly && state.direct_boot.is_some();
}

async fn load(cx: &Cx<'_>, state: &QemuState, files: &Files, name: &str) -> Result<(), DriverError> {
    let mut qmp = power::work(state, files).await?;
    let arguments = json!({"job-id": JOB, "tag": name, "vmstate": DISK, "devices": [DISK]});
    job(cx, &mut qmp, "snapshot-load", arguments, "the machine's memory to be read").await.map_err(|error| {
        DriverError::from(error).with_hint(
            "a snapshot of memory can only be loaded by the same QEMU on the same kind of processor; stop the machine and restore a \
             snapshot of its disk alone",
        )
    })?;
    qmp.execute("cont", Value::Null).await?;
    Ok(())
}

/// Forgets one.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn remove(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    name: &str,
) -> Result<(), DriverError> {
    named(files, name).await?;
    if runs(state, files)? {
        let mut qmp = power::work(state, files).await?;
        let arguments = json!({"job-id": JOB, "tag": name, "devices": [DISK]});
        job(cx, &mut qmp, "snapshot-delete", arguments, "the snapshot to be removed").await?;
    } else {
        disk::remove_snapshot(&files.disk(), name).await?;
    }
    state.snapshots.remove(name);
    Ok(())
}

fn runs(state: &mut QemuState, files: &Files) -> Result<bool, DriverError> {
    let runs = process::find(&files.pid())?.is_some();
    if runs {
        Run::bring_up(state, files);
    }
    Ok(runs)
}

async fn named(files: &Files, name: &str) -> Result<Snapshot, DriverError> {
    let found = list(files).await?.into_iter().find(|one| one.name == name);
    found.ok_or_else(|| {
        DriverError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}"))
            .with_hint("`docker-machine snapshot ls` shows those that there are")
    })
}

/// QEMU looks for a snapshot by its number first: a name that is a number could mean another one.
fn check_name(name: &str) -> Result<(), DriverError> {
    let good = (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        && !name.bytes().all(|b| b.is_ascii_digit());
    if good {
        return Ok(());
    }
    Err(DriverError::new(ErrorKind::Config, format!("{name:?} can't be the name of a snapshot")).with_hint(
        "use letters, digits, `.`, `-` and `_`, beginning with a letter or digit, and not digits alone",
    ))
}

/// Has QEMU do something longer, to its end.
async fn job(
    cx: &Cx<'_>,
    qmp: &mut Qmp,
    command: &str,
    arguments: Value,
    what: &str,
) -> Result<(), QmpError> {
    // What an interrupted call left. Where there is none, that is an error that nobody wants to hear of.
    let _ = qmp.execute("job-dismiss", json!({"id": JOB})).await;
    let begin = Instant::now();
    qmp.execute_within(command, arguments, JOB_LIMIT).await?;
    while begin.elapsed() < JOB_LIMIT {
        let jobs = qmp.execute_within("query-jobs", Value::Null, JOB_LIMIT).await?;
        let Some(job) = jobs.as_array().into_iter().flatten().find(|job| job.get("id") == Some(&JOB.into()))
        else {
            return Err(QmpError::Garbage(format!("its job for {command} is gone")));
        };
        if job.get("status") == Some(&"concluded".into()) {
            let error = job.get("error").and_then(Value::as_str).map(str::to_owned);
            qmp.execute("job-dismiss", json!({"id": JOB})).await?;
            return match error {
                Some(said) => Err(QmpError::Refused { what: command.to_owned(), said }),
                None => Ok(()),
            };
        }
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        cx.report.report(Event::Waiting {
            what: what.to_owned(),
            for_ms: ms(begin.elapsed()),
            limit_ms: ms(JOB_LIMIT),
            last: job.get("status").and_then(Value::as_str).unwrap_or_default().to_owned(),
        });
        sleep(TICK).await;
    }
    Err(QmpError::Silent { what: command.to_owned(), limit: JOB_LIMIT })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_snapshots() {
        for good in ["a", "before-upgrade", "2024-01-01", "v1.2_x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "-a", ".a", "a b", "a/b", "ä", "a\n", &"a".repeat(65)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }
}
