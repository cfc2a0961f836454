//! `VBoxManage`, VirtualBox's command line: where it is, how it is called, and what its failures mean.
//!
//! Whatever changes something is done in our turn ([`crate::hypervisor_lock`]); looks need none, VirtualBox's service answers them beside anything
//! else. What fails because somebody else uses the object at that moment is tried again for a while.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use machine_process::{ProcessError, Program};
use tokio::time::{Instant, sleep};

use crate::hypervisor_lock::Turn;

/// How long a call may take. VirtualBox's service may have to be started for it, and starts slowly with many machines.
pub(super) const SHORT: Duration = Duration::from_secs(120);
/// How long one may take that copies or merges disks or writes a machine's memory.
pub(super) const LONG: Duration = Duration::from_secs(1800);
/// How long is tried again what fails because an object is in use.
const PATIENCE: Duration = Duration::from_secs(20);
/// The first and the longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(2));

/// Where VirtualBox's program is: what its installers name, the folders of `PATH`, and where the installers put it. No process is started.
#[must_use]
pub fn find_program() -> Option<Program> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let named: Vec<PathBuf> =
        ["VBOX_INSTALL_PATH", "VBOX_MSI_INSTALL_PATH"].into_iter().filter_map(set).collect();
    let usual = match () {
        () if cfg!(windows) => Some(PathBuf::from(r"C:\Program Files\Oracle\VirtualBox")),
        () if cfg!(target_os = "macos") => Some(PathBuf::from("/Applications/VirtualBox.app/Contents/MacOS")),
        () => None,
    };
    let further: Vec<PathBuf> = named.into_iter().chain(usual).collect();
    let further: Vec<_> = further.iter().map(PathBuf::as_path).collect();
    Program::find(&["VBoxManage"], &further).ok()
}

/// What a failure of VBoxManage means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// There is no such machine.
    NoMachine,
    /// There is no such snapshot.
    NoSnapshot,
    /// There is already something like it.
    Exists,
    /// Somebody uses the object at this moment, or the service is on its way up: nothing was done.
    Busy,
    /// VirtualBox's service went away: nobody knows what was done.
    Lost,
    /// The machine is in a state in which this can't be done.
    WrongState,
    /// The user, or VirtualBox's rules for host-only networks, don't allow it.
    Denied,
    /// The disk is full.
    DiskFull,
    /// It took longer than its limit.
    Slow,
    /// Something else.
    Other,
}

/// A call that failed.
#[derive(Clone, Debug)]
pub(super) struct Failure {
    /// What it means.
    pub trouble: Trouble,
    /// What was to be done, e.g. `modifyvm`.
    what: String,
    /// What VBoxManage said, without what only its makers understand.
    said: String,
}

/// What VBoxManage prints before each line of an error.
const ERROR: &str = "error:";
/// Words in its errors, and what they mean; the first that fits counts.
///
/// They are those of `Machine`, `VirtualBox` and `Snapshot` of VirtualBox's API, as people quote them from versions 4.3 to 7.1; result codes as in the SDK
/// reference (`VBOX_E_OBJECT_NOT_FOUND` 0x80bb0001, `VBOX_E_INVALID_VM_STATE` 0x80bb0002, `VBOX_E_INVALID_OBJECT_STATE` 0x80bb0007).
const WORDS: &[(&str, Trouble)] = &[
    ("could not find a registered machine", Trouble::NoMachine),
    ("could not find a snapshot", Trouble::NoSnapshot),
    ("does not have any snapshots", Trouble::NoSnapshot),
    ("already locked", Trouble::Busy),
    ("being locked", Trouble::Busy),
    ("being unlocked", Trouble::Busy),
    ("session is busy", Trouble::Busy),
    ("the object is not ready", Trouble::Busy),
    ("functionality is limited", Trouble::Busy),
    ("failed to create the virtualbox object", Trouble::Busy),
    ("failed to initialize com", Trouble::Busy),
    ("ns_error_call_failed", Trouble::Lost),
    ("ns_error_abort", Trouble::Lost),
    ("the remote procedure call failed", Trouble::Lost),
    ("verr_disk_full", Trouble::DiskFull),
    ("no space left on device", Trouble::DiskFull),
    ("already exists", Trouble::Exists),
    ("is not currently running", Trouble::WrongState),
    ("vbox_e_invalid_vm_state", Trouble::WrongState),
    ("0x80bb0002", Trouble::WrongState),
    ("e_accessdenied", Trouble::Denied),
    ("0x80070005", Trouble::Denied),
    ("vbox_e_invalid_object_state", Trouble::Busy),
    ("0x80bb0007", Trouble::Busy),
];

impl Failure {
    fn new(what: &str, stderr: &str, stdout: &str) -> Self {
        let text = if stderr.trim().is_empty() { stdout } else { stderr };
        let lower = text.to_ascii_lowercase();
        let trouble =
            WORDS.iter().find(|(words, _)| lower.contains(words)).map_or(Trouble::Other, |(_, t)| *t);
        Self { trouble, what: what.to_owned(), said: essence(text) }
    }

    /// What VBoxManage said, in one line.
    pub(super) fn said(&self) -> &str {
        &self.said
    }
}

/// The lines of an error that say something to its reader.
fn essence(text: &str) -> String {
    let lines = text.lines().filter_map(|line| line.split_once(ERROR).map(|(_, rest)| rest.trim()));
    let telling: Vec<&str> = lines.filter(|line| !line.is_empty() && !line.starts_with("Context:")).collect();
    if telling.is_empty() {
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
        return line.unwrap_or("it said nothing").to_owned();
    }
    telling.join("; ")
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        let kind = match failure.trouble {
            Trouble::NoMachine | Trouble::NoSnapshot => ErrorKind::NotFound,
            Trouble::Busy | Trouble::Lost | Trouble::Slow => ErrorKind::Unavailable,
            Trouble::DiskFull => ErrorKind::Quota,
            Trouble::Exists | Trouble::WrongState | Trouble::Denied | Trouble::Other => ErrorKind::Other,
        };
        let made = Self::new(kind, format!("VBoxManage {} failed: {}", failure.what, failure.said));
        match failure.trouble {
            Trouble::Busy => made.with_hint("close VirtualBox's windows for this machine, and try again"),
            Trouble::Lost => made.with_hint("VirtualBox's service ended; try again"),
            Trouble::DiskFull => made.with_hint("make room on the disk where the store is, and try again"),
            Trouble::Denied => {
                made.with_hint("is the machine another user's? VirtualBox keeps machines per user")
            }
            Trouble::Slow => made.with_hint("does `VBoxManage list vms` answer in a terminal?"),
            _ => made,
        }
    }
}

/// VirtualBox's command line.
#[derive(Clone, Debug)]
pub(super) struct VBoxManage(Program);

impl VBoxManage {
    /// Looks for it.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] in the reference program's words.
    pub(super) fn find() -> Result<Self, DriverError> {
        find_program().map(Self).ok_or_else(|| {
            DriverError::new(
                ErrorKind::Precreate,
                "VBoxManage not found. Make sure VirtualBox is installed and VBoxManage is in the path",
            )
            .with_hint(
                "install VirtualBox from https://www.virtualbox.org, or use another driver, e.g. `-d qemu`",
            )
        })
    }

    /// Asks something; its answer.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn ask<A: AsRef<OsStr>>(&self, args: &[A]) -> Result<String, Failure> {
        self.patiently(args, SHORT).await
    }

    /// Changes something, in our turn; what VBoxManage printed.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn change<A: AsRef<OsStr>>(&self, _turn: &Turn, args: &[A]) -> Result<String, Failure> {
        self.patiently(args, SHORT).await
    }

    /// [`Self::change`], where some failures mean that there is nothing to do: `None` then.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn unless<A: AsRef<OsStr>>(
        &self,
        turn: &Turn,
        fine: &[Trouble],
        args: &[A],
    ) -> Result<Option<String>, Failure> {
        match self.change(turn, args).await {
            Ok(said) => Ok(Some(said)),
            Err(failure) if fine.contains(&failure.trouble) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// [`Self::change`] for what copies disks or writes memory.
    ///
    /// # Errors
    /// [`Failure`].
    pub(super) async fn change_slowly<A: AsRef<OsStr>>(
        &self,
        _turn: &Turn,
        args: &[A],
    ) -> Result<String, Failure> {
        self.patiently(args, LONG).await
    }

    async fn patiently<A: AsRef<OsStr>>(&self, args: &[A], limit: Duration) -> Result<String, Failure> {
        let (begin, mut pause) = (Instant::now(), PAUSE.0);
        loop {
            match self.once(args, limit).await {
                Err(failure) if failure.trouble == Trouble::Busy && begin.elapsed() < PATIENCE => {}
                other => return other,
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    async fn once<A: AsRef<OsStr>>(&self, args: &[A], limit: Duration) -> Result<String, Failure> {
        let what = args.first().map(|arg| arg.as_ref().to_string_lossy().into_owned()).unwrap_or_default();
        let broken = |error: ProcessError| Failure {
            trouble: if matches!(error, ProcessError::TimedOut { .. }) {
                Trouble::Slow
            } else {
                Trouble::Other
            },
            what: what.clone(),
            said: error.to_string(),
        };
        let output = self.0.output(args, &[], limit).await.map_err(broken)?;
        // It happens that it ends well and says that it did not.
        let failed = output.stderr.lines().any(|line| line.contains(ERROR));
        if output.status.success() && !failed {
            return Ok(output.stdout);
        }
        Err(Failure::new(&what, &output.stderr, &output.stdout))
    }
}

/// The value of a line `Key:   value`.
pub(super) fn after<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    name.eq_ignore_ascii_case(key).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As in reports of users; versions 4.3 to 7.0.
    #[test]
    fn what_failures_mean() {
        for (said, trouble, essence) in [
            (
                "VBoxManage: error: Could not find a registered machine named 'dev'\n\
                 VBoxManage: error: Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), component VirtualBoxWrap, interface IVirtualBox, callee nsISupports\n\
                 VBoxManage: error: Context: \"FindMachine(Bstr(VMNameOrUuid).raw(), machine.asOutParam())\" at line 2611 of file VBoxManageInfo.cpp\n",
                Trouble::NoMachine,
                "Could not find a registered machine named 'dev'; Details: code VBOX_E_OBJECT_NOT_FOUND (0x80bb0001), \
                 component VirtualBoxWrap, interface IVirtualBox, callee nsISupports",
            ),
            (
                "VBoxManage.exe: error: The machine 'dev' is already locked by a session (or being locked or unlocked)\n\
                 VBoxManage.exe: error: Details: code VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine, callee IUnknown\n",
                Trouble::Busy,
                "The machine 'dev' is already locked by a session (or being locked or unlocked); Details: code \
                 VBOX_E_INVALID_OBJECT_STATE (0x80bb0007), component MachineWrap, interface IMachine, callee IUnknown",
            ),
            (
                "VBoxManage: error: Code E_ACCESSDENIED (0x80070005) - Access denied (extended info not available)\n\
                 VBoxManage: error: Context: \"EnableStaticIPConfig(Bstr(pszIp).raw(), Bstr(pszNetmask).raw())\" at line 242 of file VBoxManageHostonly.cpp\n",
                Trouble::Denied,
                "Code E_ACCESSDENIED (0x80070005) - Access denied (extended info not available)",
            ),
            ("VBoxManage: error: The object is not ready\n", Trouble::Busy, "The object is not ready"),
            ("Segmentation fault\n", Trouble::Other, "Segmentation fault"),
            ("", Trouble::Other, "it said nothing"),
        ] {
            let failure = Failure::new("x", said, "");
            assert_eq!((failure.trouble, failure.said()), (trouble, essence), "{said}");
        }
    }
}
