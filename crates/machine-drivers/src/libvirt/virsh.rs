//! libvirt by its own program. virsh brings all of libvirt's transports, logins and versions with it; a client of the
//! protocol itself would have to, and the only ones in Rust link a C library or are not kept up.

use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use machine_process::{ProcessError, Program};

use super::trouble::{Failure, Trouble};

/// How long a call may take that makes libvirt do little. The first after an installation looks at every emulator.
const LIMIT: Duration = Duration::from_secs(120);
/// How long a call may take that moves or copies disks and memory.
pub(super) const LONG: Duration = Duration::from_secs(3600);

/// virsh with a connection.
#[derive(Clone, Debug)]
pub(super) struct Virsh {
    program: Program,
    uri: String,
}

/// What a call led to: what it printed, or how it failed.
pub(super) type Answer = Result<String, Failure>;

impl Virsh {
    /// virsh on this computer.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] where it is not installed.
    pub(super) fn new(uri: &str) -> Result<Self, DriverError> {
        let program = Program::find(&["virsh"], &[]).map_err(|error| {
            DriverError::new(ErrorKind::Precreate, error.to_string()).with_hint(
                "install libvirt's client: libvirt-clients (Debian, Ubuntu), libvirt-client (Fedora), \
                 libvirt (Arch, Homebrew)",
            )
        })?;
        // Its texts are read, and its times.
        let program = program.variable("LC_ALL", "C").variable("LANGUAGE", "C").variable("TZ", "UTC");
        Ok(Self { program, uri: uri.to_owned() })
    }

    /// The connection.
    pub(super) fn uri(&self) -> &str {
        &self.uri
    }

    /// Runs a command; a failure is an error.
    ///
    /// # Errors
    /// What virsh said, and what to do about it.
    pub(super) async fn run(&self, args: &[&str]) -> Result<String, DriverError> {
        Ok(self.ask(args, &[], LIMIT).await??)
    }

    /// Runs a command that reads an input as the file `/dev/stdin`.
    ///
    /// # Errors
    /// What virsh said, and what to do about it.
    pub(super) async fn feed(&self, args: &[&str], input: &[u8]) -> Result<String, DriverError> {
        Ok(self.ask(args, input, LIMIT).await??)
    }

    /// Runs a command; a failure is an answer.
    ///
    /// # Errors
    /// Where virsh could not be run or did not end.
    pub(super) async fn try_run(&self, args: &[&str]) -> Result<Answer, DriverError> {
        self.ask(args, &[], LIMIT).await
    }

    /// Runs a command of which some failures mean that its work is done already: these give `None`.
    ///
    /// # Errors
    /// All other failures.
    pub(super) async fn unless(
        &self,
        done: &[Trouble],
        args: &[&str],
    ) -> Result<Option<String>, DriverError> {
        self.long_unless(done, args, &[], LIMIT).await
    }

    /// The same with an input, which the command reads as the file `/dev/stdin`, and another limit.
    ///
    /// # Errors
    /// All other failures.
    pub(super) async fn long_unless(
        &self,
        done: &[Trouble],
        args: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Option<String>, DriverError> {
        match self.ask(args, input, limit).await? {
            Ok(said) => Ok(Some(said)),
            Err(failure) if done.contains(&failure.trouble) => Ok(None),
            Err(failure) => Err(failure.into()),
        }
    }

    /// Runs a command with an input and a limit.
    ///
    /// # Errors
    /// Where virsh could not be run or did not end.
    pub(super) async fn ask(
        &self,
        args: &[&str],
        input: &[u8],
        limit: Duration,
    ) -> Result<Answer, DriverError> {
        let mut all = vec!["-q", "-c", &self.uri];
        all.extend_from_slice(args);
        let output = self.program.output(&all, input, limit).await.map_err(|error| self.broken(&error))?;
        if output.status.success() {
            Ok(Ok(output.stdout))
        } else {
            Ok(Err(Failure::new(&self.uri, &output.stderr)))
        }
    }

    /// Runs several commands at once, for what they print; those that fail print nothing. The text must not have anything of a user's in it:
    /// virsh splits and unquotes it. An answer is a failure only where there was no connection.
    ///
    /// # Errors
    /// Where virsh could not be run or did not end.
    pub(super) async fn batch(&self, commands: &str) -> Result<Answer, DriverError> {
        let all = ["-q", "-c", &self.uri, commands];
        let output = self.program.output(&all, &[], LIMIT).await.map_err(|error| self.broken(&error))?;
        let failure = Failure::new(&self.uri, &output.stderr);
        let lost = matches!(failure.trouble, Trouble::Unreachable | Trouble::Denied);
        if output.status.success() || (!lost && !output.stdout.is_empty()) {
            return Ok(Ok(output.stdout));
        }
        Ok(Err(failure))
    }

    fn broken(&self, error: &ProcessError) -> DriverError {
        let made = DriverError::new(ErrorKind::Unavailable, format!("libvirt ({}): {error}", self.uri));
        made.with_hint(format!(
            "does `virsh -c {} list` work in a terminal, without asking for a password?",
            self.uri
        ))
    }
}
