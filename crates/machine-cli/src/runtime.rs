//! Running what waits for networks and processes. Built only by commands that need it: it costs a millisecond.

use std::future::Future;

use machine_core::Machine;
use machine_lifecycle::Lifecycle;

use crate::error::{CliError, INTERRUPTED};
use crate::progress::{self, To, View};

/// The exit code after SIGTERM, as shells count it.
#[cfg(unix)]
const TERMINATED: u8 = 143;

/// Runs a future to its end, or until Ctrl-C or a request to terminate; then it is dropped, which cancels what it
/// does, and `left` says what is left and how to go on.
///
/// # Errors
/// What the future says, or that it was interrupted.
pub fn run<T, F>(future: F, left: impl FnOnce() -> Option<String>) -> Result<T, CliError>
where
    F: Future<Output = Result<T, CliError>>,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::new(format!("The program's event loop can't be made: {error}")))?;
    let done = runtime.block_on(async {
        let mut stop = Stop::listen()
            .map_err(|error| End::Failed(CliError::new(format!("Signals can't be listened for: {error}"))))?;
        tokio::select! {
            biased;
            done = future => done.map_err(End::Failed),
            code = stop.asked() => Err(End::Stopped(code)),
        }
    });
    // A look-up of a name may hang in a thread; nothing is to be waited for any more.
    runtime.shutdown_background();
    done.map_err(|end| match end {
        End::Failed(error) => error,
        End::Stopped(code) => CliError::new("Interrupted.").with_code(code).with_hint_if(left()),
    })
}

/// [`run`] for what leaves nothing behind.
///
/// # Errors
/// As [`run`].
pub fn look<T>(future: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    run(future, || None)
}

/// A machine with its address, where only its driver knows it: it is asked once. All others need neither a driver nor a runtime.
///
/// # Errors
/// What is wrong with the record, or that it was interrupted.
pub fn with_address(lifecycle: &Lifecycle, machine: Machine) -> Result<Machine, CliError> {
    // What is wrong with a record is said where its address is read.
    if !lifecycle.lacks_address(&machine).unwrap_or(false) {
        return Ok(machine);
    }
    let report = progress::reporter(&machine.name, To::Stderr, View::Lines);
    look(async { Ok(lifecycle.with_address(machine, &*report).await?) })
}

enum End {
    Failed(CliError),
    Stopped(u8),
}

/// The signals that ask the program to stop. They are listened for before the work begins, so that none is missed.
#[cfg(unix)]
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Stop {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The exit code for the first of them that comes.
    async fn asked(&mut self) -> u8 {
        tokio::select! {
            _ = self.interrupt.recv() => INTERRUPTED,
            _ = self.terminate.recv() => TERMINATED,
        }
    }
}

/// Ctrl-C of the console.
#[cfg(windows)]
struct Stop(tokio::signal::windows::CtrlC);

#[cfg(windows)]
impl Stop {
    fn listen() -> std::io::Result<Self> {
        tokio::signal::windows::ctrl_c().map(Self)
    }

    async fn asked(&mut self) -> u8 {
        self.0.recv().await;
        INTERRUPTED
    }
}
