//! QEMU's process: is it there, and how it ends.
//!
//! QEMU locks its pid file (`fcntl`, the whole file, for writing) for as long as it lives, and the kernel says who holds that lock. So
//! neither a pid file that was left over nor another process with that number is ever taken for a machine.

use std::path::Path;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use tokio::time::{Instant, sleep};

/// How often is looked whether a process is gone.
const TICK: Duration = Duration::from_millis(25);
/// How long a killed process may take to be gone.
const KILL_LIMIT: Duration = Duration::from_secs(30);

/// Who is a machine's QEMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number; `None` where the kernel doesn't say, as from inside a container.
    pub(super) pid: Option<u32>,
}

/// Looks for the process that has this pid file.
///
/// # Errors
/// Where the file can't be looked at.
pub(super) fn find(pid_file: &Path) -> Result<Option<Process>, DriverError> {
    system::holder(pid_file).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("{} can't be looked at: {error}", pid_file.display()))
            .with_source(error)
    })
}

/// A process whose end is waited for. To be made before it is asked to end: it removes its pid file, and the lock with it, some time before
/// it is gone.
pub(super) struct Leaving<'a> {
    pid_file: &'a Path,
    process: Option<system::Known>,
}

impl<'a> Leaving<'a> {
    /// The one that has this pid file.
    ///
    /// # Errors
    /// As [`find`].
    pub(super) fn of(pid_file: &'a Path) -> Result<Self, DriverError> {
        let process = find(pid_file)?.and_then(|found| found.pid).and_then(system::known);
        Ok(Self { pid_file, process })
    }

    /// Waits until it is gone; false where it is still there at the end of the limit. `tick` is called now and then.
    ///
    /// # Errors
    /// As [`find`].
    pub(super) async fn gone_within(
        &self,
        limit: Duration,
        mut tick: impl FnMut(Duration),
    ) -> Result<bool, DriverError> {
        let begin = Instant::now();
        loop {
            if find(self.pid_file)?.is_none() && !self.process.as_ref().is_some_and(system::lives) {
                return Ok(true);
            }
            if begin.elapsed() >= limit {
                return Ok(false);
            }
            tick(begin.elapsed());
            sleep(TICK).await;
        }
    }
}

/// Ends the process that has this pid file, whatever it is doing.
///
/// # Errors
/// Where that is not allowed, or it does not go.
pub(super) async fn kill(pid_file: &Path) -> Result<(), DriverError> {
    let Some(process) = find(pid_file)? else { return Ok(()) };
    let Some(pid) = process.pid else {
        return Err(DriverError::new(
            ErrorKind::Other,
            format!("QEMU's process holds {}, but can't be seen from here", pid_file.display()),
        )
        .with_hint("run docker-machine where the machine was started, not in another container"));
    };
    let leaving = Leaving::of(pid_file)?;
    system::kill(pid, pid_file).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("QEMU's process {pid} can't be ended: {error}"))
            .with_source(error)
    })?;
    if leaving.gone_within(KILL_LIMIT, |_| ()).await? {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Other,
        format!("QEMU's process {pid} was killed and is still there after {} s", KILL_LIMIT.as_secs()),
    )
    .with_hint("its disk may not answer: look with `ps`"))
}

#[cfg(unix)]
mod system {
    use std::fs::File;
    use std::io;
    use std::path::Path;

    use rustix::process::{Flock, FlockType, Pid, Signal, fcntl_getlk};

    use super::Process;

    pub(super) fn holder(pid_file: &Path) -> io::Result<Option<Process>> {
        let file = match File::open(pid_file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let held = fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?;
        Ok(held.map(|lock| Process {
            pid: lock.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok()),
        }))
    }

    /// A process and when it was started, which tells it from a later one with its number.
    #[cfg(target_os = "linux")]
    pub(super) struct Known {
        pid: u32,
        started: String,
    }

    #[cfg(target_os = "linux")]
    pub(super) fn known(pid: u32) -> Option<Known> {
        stat(pid).map(|(_, started)| Known { pid, started })
    }

    /// Whether it is still there. One that only waits for its parent to notice has let go of everything.
    #[cfg(target_os = "linux")]
    pub(super) fn lives(known: &Known) -> bool {
        stat(known.pid).is_some_and(|(state, started)| started == known.started && !"ZX".contains(&*state))
    }

    /// Its state and the time of its start. Source: proc_pid_stat(5); the second field may have anything in it but ends with the last `)`.
    #[cfg(target_os = "linux")]
    fn stat(pid: u32) -> Option<(String, String)> {
        let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let mut fields = text.rsplit_once(") ")?.1.split(' ');
        Some((fields.next()?.to_owned(), fields.nth(18)?.to_owned()))
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) struct Known(Pid);

    #[cfg(not(target_os = "linux"))]
    pub(super) fn known(pid: u32) -> Option<Known> {
        number(pid).map(Known)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn lives(known: &Known) -> bool {
        rustix::process::test_kill_process(known.0).is_ok()
    }

    #[cfg(target_os = "linux")]
    pub(super) fn kill(pid: u32, pid_file: &Path) -> io::Result<()> {
        use rustix::process::{PidfdFlags, pidfd_open, pidfd_send_signal};
        let Some(number) = number(pid) else { return Ok(()) };
        let gone = |error: rustix::io::Errno| {
            if error == rustix::io::Errno::SRCH { Ok(()) } else { Err(error.into()) }
        };
        match pidfd_open(number, PidfdFlags::empty()) {
            // The handle stands for one process: only if that holds the lock now, it is ours.
            Ok(process) if holder(pid_file)? == Some(Process { pid: Some(pid) }) => {
                pidfd_send_signal(&process, Signal::KILL).or_else(gone)
            }
            Ok(_) => Ok(()),
            // Kernels before 5.3.
            Err(rustix::io::Errno::NOSYS) => {
                rustix::process::kill_process(number, Signal::KILL).or_else(gone)
            }
            Err(error) => gone(error),
        }
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn kill(pid: u32, _pid_file: &Path) -> io::Result<()> {
        let Some(number) = number(pid) else { return Ok(()) };
        match rustix::process::kill_process(number, Signal::KILL) {
            Err(rustix::io::Errno::SRCH) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn number(pid: u32) -> Option<Pid> {
        i32::try_from(pid).ok().and_then(Pid::from_raw)
    }
}

#[cfg(windows)]
mod system {
    use std::fs::OpenOptions;
    use std::io;
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::Process;

    /// `ERROR_SHARING_VIOLATION`: QEMU keeps its pid file open and lets nobody else write.
    const SHARING_VIOLATION: i32 = 32;

    pub(super) fn holder(pid_file: &Path) -> io::Result<Option<Process>> {
        match OpenOptions::new().write(true).open(pid_file) {
            Ok(_) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(SHARING_VIOLATION) => {
                let text = std::fs::read_to_string(pid_file)?;
                Ok(Some(Process { pid: text.trim().parse().ok() }))
            }
            Err(error) => Err(error),
        }
    }

    /// Nothing more is known of it than its pid file, which it has open to its end.
    pub(super) struct Known;

    pub(super) fn known(_pid: u32) -> Option<Known> {
        None
    }

    pub(super) fn lives(_known: &Known) -> bool {
        false
    }

    pub(super) fn kill(pid: u32, _pid_file: &Path) -> io::Result<()> {
        let ended = Command::new("taskkill")
            .args(["/F", "/PID", &pid.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        if ended.success() { Ok(()) } else { Err(io::Error::other(format!("taskkill failed ({ended})"))) }
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn one_that_ended_and_one_that_has_its_number_are_not_it() {
        let mut child = std::process::Command::new("sleep").arg("600").spawn().unwrap();
        let known = system::known(child.id()).unwrap();
        assert!(system::lives(&known));
        child.kill().unwrap();
        while system::lives(&known) {
            std::thread::sleep(TICK);
        }
        // A zombie until here.
        assert!(system::known(child.id()).is_some());
        child.wait().unwrap();
        assert!(system::known(child.id()).is_none());
    }
}
