//! VMware's programs: `vmrun`, which does things with machines, and `vmware-vdiskmanager`, which does things with disks.
//!
//! A machine is named by its configuration's path. What goes wrong is said on standard output, in a line that begins with
//! `Error:`, and by the exit status 255.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use machine_process::{Output, ProcessError, Program};

/// How long what only looks may take.
const LOOK: Duration = Duration::from_secs(30);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(180);
/// How long a guest may take to shut down when asked.
pub(super) const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);
/// How long the guest's tools may take to say an address; without tools in the guest `vmrun` may wait for them.
const TOOLS: Duration = Duration::from_secs(15);
/// How long what moves memory or a disk's content may take.
const LONG: Duration = Duration::from_secs(3600);
/// How often something is tried that VMware was too busy for.
const TRIES: u32 = 4;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(250);

/// Texts of `vmrun`, what they mean, and what to do.
const MEANINGS: &[(&str, ErrorKind, &str)] = &[
    ("not powered on", ErrorKind::AlreadyDone, ""),
    ("already powered on", ErrorKind::AlreadyDone, ""),
    ("already running", ErrorKind::AlreadyDone, ""),
    ("Insufficient permissions", ErrorKind::Credentials, "the machine's files must belong to you"),
    (
        "license",
        ErrorKind::Credentials,
        "start VMware's own window once and enter a license there, or choose the use without one",
    ),
    ("ot enough physical memory", ErrorKind::Quota, "stop other machines, or give this one less memory"),
    ("nsufficient memory", ErrorKind::Quota, "stop other machines, or give this one less memory"),
    ("ot enough space", ErrorKind::Quota, "make room on this computer's disk"),
    ("No space left", ErrorKind::Quota, "make room on this computer's disk"),
    ("disk is full", ErrorKind::Quota, "make room on this computer's disk"),
    ("already in use", ErrorKind::Unavailable, "is the machine open in another program of VMware's?"),
    ("is busy", ErrorKind::Unavailable, "try again in a moment"),
    ("operation was canceled", ErrorKind::Unavailable, "try again in a moment"),
    (
        "Unable to connect to host",
        ErrorKind::Unavailable,
        "are VMware's services running, and is the product that is installed the one that vmrun belongs to?",
    ),
    ("snapshot does not exist", ErrorKind::NotFound, ""),
    ("name already exists", ErrorKind::AlreadyDone, ""),
    ("cannot be found", ErrorKind::NotFound, ""),
    ("Cannot open VM", ErrorKind::NotFound, ""),
];

/// VMware's programs on this computer.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    vmrun: Program,
}

impl Programs {
    /// Looks for them: in the PATH, then where the installers put them.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] in the reference program's words.
    pub(super) fn find() -> Result<Self, DriverError> {
        let vmrun = look_for("vmrun").map_err(|error| {
            DriverError::new(ErrorKind::Precreate, "VMRUN not found")
                .with_hint(
                    "install VMware Fusion (macOS) or VMware Workstation (Linux, Windows), or put the folder of its \
                     vmrun into the PATH",
                )
                .with_source(error)
        })?;
        Ok(Self { vmrun })
    }

    /// Runs `vmrun` with a command.
    async fn vmrun(&self, command: &[&OsStr], limit: Duration) -> Result<String, DriverError> {
        let product = if cfg!(target_os = "macos") { "fusion" } else { "ws" };
        let args: Vec<&OsStr> =
            [OsStr::new("-T"), OsStr::new(product)].into_iter().chain(command.iter().copied()).collect();
        let what = command.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        let output = self.vmrun.output(&args, &[], limit).await.map_err(|error| no_answer(&what, error))?;
        match failure(&output) {
            None => Ok(output.stdout),
            Some(said) => Err(refused(&format!("vmrun {what}"), &said)),
        }
    }

    async fn on(
        &self,
        command: &str,
        vmx: &Path,
        more: &[&str],
        limit: Duration,
    ) -> Result<String, DriverError> {
        let mut words = vec![OsStr::new(command), vmx.as_os_str()];
        words.extend(more.iter().map(OsStr::new));
        self.vmrun(&words, limit).await
    }

    /// The configurations of all machines that are on.
    pub(super) async fn running(&self) -> Result<Vec<PathBuf>, DriverError> {
        patiently(|| self.list()).await
    }

    async fn list(&self) -> Result<Vec<PathBuf>, DriverError> {
        let said = self.vmrun(&[OsStr::new("list")], LOOK).await?;
        let mut lines = said.lines().map(str::trim);
        if !lines.by_ref().any(|line| line.starts_with("Total running VMs:")) {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!("`vmrun list` said what is not understood: {}", said.trim()),
            ));
        }
        Ok(lines.filter(|line| !line.is_empty()).map(PathBuf::from).collect())
    }

    /// Turns a machine on, or lets a suspended one go on, without a window.
    pub(super) async fn start(&self, vmx: &Path) -> Result<(), DriverError> {
        patiently(|| self.on("start", vmx, &["nogui"], CHANGE)).await.map(drop)
    }

    /// Asks the guest to shut down; its tools must be running.
    pub(super) async fn shut_down(&self, vmx: &Path) -> Result<(), DriverError> {
        self.on("stop", vmx, &["soft"], SHUTDOWN_LIMIT).await.map(drop)
    }

    /// Turns a machine off.
    pub(super) async fn turn_off(&self, vmx: &Path) -> Result<(), DriverError> {
        self.on("stop", vmx, &["hard"], CHANGE).await.map(drop)
    }

    pub(super) async fn pause(&self, vmx: &Path) -> Result<(), DriverError> {
        self.on("pause", vmx, &[], CHANGE).await.map(drop)
    }

    pub(super) async fn unpause(&self, vmx: &Path) -> Result<(), DriverError> {
        self.on("unpause", vmx, &[], CHANGE).await.map(drop)
    }

    /// Removes a machine that is off with its files.
    pub(super) async fn delete(&self, vmx: &Path) -> Result<(), DriverError> {
        self.on("deleteVM", vmx, &[], CHANGE).await.map(drop)
    }

    /// The address that the guest's tools tell.
    pub(super) async fn guest_address(&self, vmx: &Path) -> Result<String, DriverError> {
        self.on("getGuestIPAddress", vmx, &[], TOOLS).await.map(|said| said.trim().to_owned())
    }

    /// The names of a machine's snapshots, as `vmrun` tells them.
    pub(super) async fn snapshots(&self, vmx: &Path) -> Result<Vec<String>, DriverError> {
        let said = self.on("listSnapshots", vmx, &[], LOOK).await?;
        let names = said.lines().map(|line| line.trim_end_matches('\r'));
        Ok(names
            .skip_while(|line| !line.starts_with("Total snapshots:"))
            .skip(1)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect())
    }

    pub(super) async fn take_snapshot(&self, vmx: &Path, name: &str) -> Result<(), DriverError> {
        self.on("snapshot", vmx, &[name], LONG).await.map(drop)
    }

    pub(super) async fn restore_snapshot(&self, vmx: &Path, name: &str) -> Result<(), DriverError> {
        self.on("revertToSnapshot", vmx, &[name], LONG).await.map(drop)
    }

    pub(super) async fn remove_snapshot(&self, vmx: &Path, name: &str) -> Result<(), DriverError> {
        self.on("deleteSnapshot", vmx, &[name], LONG).await.map(drop)
    }
}

/// Does something that can be done twice, again where VMware was busy.
async fn patiently<T, F>(attempt: impl Fn() -> F) -> Result<T, DriverError>
where
    F: Future<Output = Result<T, DriverError>>,
{
    let mut pause = PAUSE;
    for _ in 1..TRIES {
        match attempt().await {
            Err(error) if error.kind() == ErrorKind::Unavailable => {}
            other => return other,
        }
        tokio::time::sleep(pause).await;
        pause *= 2;
    }
    attempt().await
}

/// Copies a disk, with all that its snapshots have, into a new one in one file that grows. Appears when it is whole.
pub(super) async fn copy_disk(from: &Path, to: &Path) -> Result<(), DriverError> {
    let mut part = to.as_os_str().to_owned();
    part.push(".part.vmdk");
    match std::fs::remove_file(&part) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(DriverError::new(
                ErrorKind::Other,
                format!("{} could not be removed: {error}", part.to_string_lossy()),
            )
            .with_source(error));
        }
        _ => {}
    }
    manager(&["-r".into(), from.into(), "-t".into(), "0".into(), part.clone()]).await?;
    // By its own program: a disk's file has its name in it.
    manager(&["-n".into(), part, to.into()]).await
}

/// Makes a disk larger.
pub(super) async fn grow_disk(disk: &Path, mib: u64) -> Result<(), DriverError> {
    manager(&["-x".into(), format!("{mib}MB").into(), disk.into()]).await
}

async fn manager(args: &[OsString]) -> Result<(), DriverError> {
    let program = look_for("vmware-vdiskmanager").map_err(|error| {
        DriverError::new(ErrorKind::Precreate, error.to_string())
            .with_hint("it comes with VMware Fusion and VMware Workstation, not with the Player")
            .with_source(error)
    })?;
    let output = program.output(args, &[], LONG).await.map_err(|error| no_answer("disk", error))?;
    if output.status.success() {
        return Ok(());
    }
    Err(refused("vmware-vdiskmanager", &output.said()))
}

fn look_for(name: &str) -> Result<Program, ProcessError> {
    let further: &[&str] = if cfg!(target_os = "macos") {
        &[
            "/Applications/VMware Fusion.app/Contents/Library",
            "/Applications/VMware Fusion.app/Contents/Public",
            "/Applications/VMware Fusion Tech Preview.app/Contents/Library",
        ]
    } else if cfg!(windows) {
        &[
            r"C:\Program Files (x86)\VMware\VMware Workstation",
            r"C:\Program Files\VMware\VMware Workstation",
            r"C:\Program Files (x86)\VMware\VMware Player",
            r"C:\Program Files (x86)\VMware\VMware VIX",
        ]
    } else {
        &["/usr/bin", "/usr/local/bin"]
    };
    let further: Vec<&Path> = further.iter().map(Path::new).collect();
    Program::find(&[name], &further)
}

/// What a program said that failed; `None` where it did not fail. Some versions fail with the exit status of success.
fn failure(output: &Output) -> Option<String> {
    let error = output
        .stdout
        .lines()
        .chain(output.stderr.lines())
        .find_map(|line| line.trim().strip_prefix("Error:"));
    match error {
        Some(said) => Some(said.trim().to_owned()),
        None if output.status.success() => None,
        None => Some(output.said()),
    }
}

fn refused(program: &str, said: &str) -> DriverError {
    let found = MEANINGS.iter().find(|(mark, ..)| said.contains(mark));
    // What ends without saying why may have done its work.
    let silent = said == "it said nothing";
    let kind =
        found.map_or(if silent { ErrorKind::Unavailable } else { ErrorKind::Other }, |(_, kind, _)| *kind);
    let error = DriverError::new(kind, format!("{program}: {said}"));
    match found.map(|(_, _, hint)| *hint).filter(|hint| !hint.is_empty()) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

fn no_answer(what: &str, error: ProcessError) -> DriverError {
    DriverError::new(ErrorKind::Unavailable, format!("VMware did not answer ({what}): {error}"))
        .with_hint("does VMware's own window ask something?")
        .with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_vmrun_says_is_understood() {
        let kind = |said: &str| refused("vmrun start", said).kind();
        assert_eq!(kind("The virtual machine is not powered on: /x.vmx"), ErrorKind::AlreadyDone);
        assert_eq!(kind("The file is already in use"), ErrorKind::Unavailable);
        assert_eq!(
            kind("Not enough physical memory is available to power on this virtual machine"),
            ErrorKind::Quota
        );
        assert_eq!(kind("Insufficient permissions in host operating system"), ErrorKind::Credentials);
        assert_eq!(kind("The VMware Tools are not running in the virtual machine: /x.vmx"), ErrorKind::Other);
        assert_eq!(kind("it said nothing"), ErrorKind::Unavailable);
    }
}
