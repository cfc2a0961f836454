//! On, off, halted and on again.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event, Power};
use serde_json::Value;

use super::accel::Accel;
use super::monitor::Monitor;
use super::qmp::{self, Qmp, QmpError};
use super::run::Run;
use super::state::{Files, QemuState};
use super::{disk, launch, process, serial};

/// How long a guest may take to go down when it is asked to.
const STOP_LIMIT: Duration = Duration::from_secs(90);
/// The same for one that is emulated.
const STOP_LIMIT_EMULATED: Duration = Duration::from_secs(240);
/// How often it is asked: one that is still booting does not hear it.
const ASK_AGAIN: Duration = Duration::from_secs(15);
/// How long QEMU may take to end.
const QUIT_LIMIT: Duration = Duration::from_secs(10);
/// How often a wait is spoken of.
const SAY: Duration = Duration::from_secs(1);

/// Does it.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where the machine is so already; what QEMU says.
pub(super) async fn power(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    op: Power,
) -> Result<(), DriverError> {
    let runs = process::find(&files.pid())?.is_some();
    if runs {
        Run::bring_up(state, files);
    }
    match op {
        Power::Start => start(cx, state, files, runs).await,
        Power::Stop if runs => stop(cx, state, files).await,
        Power::Kill if runs => end(state, files).await,
        Power::Stop | Power::Kill => Err(already("stopped")),
        Power::Restart => {
            if runs {
                stop(cx, state, files).await?;
            }
            start(cx, state, files, false).await
        }
        Power::Pause | Power::Resume if !runs => {
            Err(DriverError::new(ErrorKind::Other, "the machine is not running").with_hint("start it first"))
        }
        Power::Pause => halt(state, files, "stop", "running").await,
        Power::Resume => halt(state, files, "cont", "paused").await,
    }
}

fn already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the machine is {what} already"))
}

/// The error for a machine that has no disk.
fn no_disk(state: &QemuState, files: &Files) -> DriverError {
    if state.is_of_the_plugin() {
        return DriverError::new(
            ErrorKind::Unsupported,
            "this machine was made by the plugin docker-machine-driver-qemu, from an ISO: the built-in driver can't run it",
        )
        .with_hint("remove it and create a new one");
    }
    DriverError::new(
        ErrorKind::NotFound,
        format!("the machine has no disk: {} does not exist", files.disk().display()),
    )
    .with_hint("go on with `docker-machine create --resume` if its creation was interrupted, else remove it")
}

async fn start(cx: &Cx<'_>, state: &mut QemuState, files: &Files, runs: bool) -> Result<(), DriverError> {
    if runs {
        let mut qmp = work(state, files).await?;
        return match qmp::status(&mut qmp).await?.as_str() {
            "running" => Err(already("running")),
            _ => Ok(qmp.execute("cont", Value::Null).await.map(drop)?),
        };
    }
    if !files.disk().is_file() {
        return Err(no_disk(state, files));
    }
    // By now the disk may have another kernel than the image.
    state.booted_directly = false;
    launch::start(cx, state, files, &mut |_| Ok(())).await
}

/// Asks the guest to go down; turns it off where it doesn't.
async fn stop(cx: &Cx<'_>, state: &QemuState, files: &Files) -> Result<(), DriverError> {
    let limit = stop_limit(state);
    let pid_file = files.pid();
    let leaving = process::Leaving::of(&pid_file)?;
    let mut waited = Duration::ZERO;
    while waited < limit {
        match ask_to_stop(state, files).await {
            Ok(()) | Err(QmpError::Closed | QmpError::Connect(_)) => {}
            Err(error) => {
                cx.report.report(Event::Warning(format!("The machine can't be asked to stop: {error}")));
                break;
            }
        }
        let part = ASK_AGAIN.min(limit - waited);
        let mut said = Duration::ZERO;
        let say = |part| {
            if part >= said {
                said = part + SAY;
                cx.report.report(waiting(files, waited + part, limit));
            }
        };
        if leaving.gone_within(part, say).await? {
            return clean(files);
        }
        waited += part;
    }
    cx.report.report(Event::Warning(format!(
        "The machine did not stop within {} s: it is turned off ({})",
        waited.as_secs(),
        match serial::last_line(&files.serial()) {
            line if line.is_empty() => "it said nothing on its console".to_owned(),
            line => format!("last seen on its console: {line}"),
        }
    )));
    end(state, files).await
}

fn stop_limit(state: &QemuState) -> Duration {
    match state.stop_timeout {
        0 if state.accel_used() == Some(Accel::Tcg) => STOP_LIMIT_EMULATED,
        0 => STOP_LIMIT,
        seconds => Duration::from_secs(seconds),
    }
}

fn waiting(files: &Files, waited: Duration, limit: Duration) -> Event {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    Event::Waiting {
        what: "the machine to stop".to_owned(),
        for_ms: ms(waited),
        limit_ms: ms(limit),
        last: serial::last_line(&files.serial()),
    }
}

async fn ask_to_stop(state: &QemuState, files: &Files) -> Result<(), QmpError> {
    let mut qmp = Qmp::connect(Monitor::Work, files.dir(), state, QUIT_LIMIT).await?;
    if qmp::status(&mut qmp).await? != "running" {
        // One that stands still hears nothing.
        qmp.execute("cont", Value::Null).await?;
    }
    qmp.execute("system_powerdown", Value::Null).await.map(drop)
}

/// Turns the machine off: QEMU writes out what the guest wrote, and ends; it is killed where it doesn't.
///
/// # Errors
/// Where even that fails.
pub(super) async fn end(state: &QemuState, files: &Files) -> Result<(), DriverError> {
    let pid_file = files.pid();
    let leaving = process::Leaving::of(&pid_file)?;
    let asked = async {
        let mut qmp = Qmp::connect(Monitor::Work, files.dir(), state, QUIT_LIMIT).await?;
        qmp.execute_within("quit", Value::Null, QUIT_LIMIT).await
    };
    // It may end before it has answered.
    let heard = matches!(asked.await, Ok(_) | Err(QmpError::Closed));
    if !heard || !leaving.gone_within(QUIT_LIMIT, |_| ()).await? {
        process::kill(&files.pid()).await?;
    }
    clean(files)
}

/// Removes what only a running machine has.
fn clean(files: &Files) -> Result<(), DriverError> {
    for monitor in Monitor::ALL {
        disk::remove(&files.dir().join(monitor.file()))?;
    }
    disk::remove(&files.pid())
}

async fn halt(state: &QemuState, files: &Files, command: &str, only_if: &str) -> Result<(), DriverError> {
    let mut qmp = work(state, files).await?;
    let now = qmp::status(&mut qmp).await?;
    // One that stands still because its disk was full goes on too.
    if now != only_if && !(command == "cont" && now != "running") {
        return Err(already(if command == "stop" { "paused" } else { "running" }));
    }
    qmp.execute(command, Value::Null).await?;
    Ok(())
}

/// Connects with the machine's monitor.
///
/// # Errors
/// Where it does not answer.
pub(super) async fn work(state: &QemuState, files: &Files) -> Result<Qmp, DriverError> {
    Ok(Qmp::connect(Monitor::Work, files.dir(), state, qmp::SHORT).await?)
}
