//! What a machine is doing: from its process and its monitor together.

use std::time::Duration;

use machine_core::{Cx, DriverError, DriverState, Event, Observed, State};

use super::monitor::Monitor;
use super::qmp::{self, Qmp, QmpError};
use super::run::Run;
use super::state::{Files, QemuState};
use super::{process, serial};

/// How long the monitor may take to say what a machine is doing. While memory is saved it says nothing.
const LOOK_LIMIT: Duration = Duration::from_secs(3);

/// Looks. A machine without a process costs two looks at files and the end of a third: no process, no connection.
///
/// # Errors
/// Where the machine's folder can't be looked at.
pub(super) async fn look(cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
    let mut typed: QemuState = state.typed()?;
    let files = Files::new(cx.machine_dir);
    if process::find(&files.pid())?.is_none() {
        let off = files.disk().symlink_metadata().is_ok();
        return Ok(Observed {
            state: if off { State::Stopped } else { State::NotFound },
            changed: None,
            last_sign: if off { serial::last_line(&files.serial()) } else { String::new() },
        });
    }
    let changed = Run::bring_up(&mut typed, &files).then(|| DriverState::from_typed(&typed)).transpose()?;
    let (seen, said) = match ask(&typed, &files).await {
        Ok(word) => state_of(&word),
        Err(QmpError::Connect(_)) => (State::Starting, None),
        Err(error) => {
            cx.report.report(Event::Debug(format!("{error}; the process is there")));
            (State::Running, None)
        }
    };
    let last_sign = said.map_or_else(|| serial::last_line(&files.serial()), str::to_owned);
    Ok(Observed { state: seen, changed, last_sign })
}

async fn ask(state: &QemuState, files: &Files) -> Result<String, QmpError> {
    let asked = async {
        let mut qmp = Qmp::connect(Monitor::Look, files.dir(), state, LOOK_LIMIT).await?;
        qmp::status(&mut qmp).await
    };
    let silent = QmpError::Silent { what: "what the machine is doing".to_owned(), limit: LOOK_LIMIT };
    tokio::time::timeout(LOOK_LIMIT, asked).await.unwrap_or(Err(silent))
}

/// What QEMU's word (`RunState` of its qapi/run-state.json) means, and what is to be said of it.
fn state_of(word: &str) -> (State, Option<&'static str>) {
    match word {
        "paused" | "suspended" => (State::Paused, None),
        "prelaunch" | "inmigrate" | "restore-vm" => (State::Starting, None),
        "shutdown" => (State::Stopping, None),
        "io-error" => (
            State::Error,
            Some(
                "it stands still because its disk could not be written: make room on this computer, then resume it",
            ),
        ),
        "internal-error" => (State::Error, Some("QEMU could not go on with the guest (internal error)")),
        "guest-panicked" => (State::Error, Some("the guest's kernel panicked")),
        // Among them: while memory is saved, the guest stands still for a moment.
        _ => (State::Running, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn qemus_words() {
        assert_eq!(state_of("running").0, State::Running);
        assert_eq!(state_of("save-vm").0, State::Running);
        assert_eq!(state_of("paused").0, State::Paused);
        assert_eq!(state_of("prelaunch").0, State::Starting);
        let (state, why) = state_of("io-error");
        assert!(state == State::Error && why.unwrap().contains("resume"));
    }
}
