//! The files of a machine: its disk, and the CD from which cloud-init reads or boot2docker boots.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use machine_core::{Cx, DriverError, ErrorKind, Event, Seed, State};
use machine_image::disk::{self, Format};
use machine_image::seed::{self, NoCloud};
use machine_image::{Arch, Cache};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::powershell::{Operation, PowerShell};
use super::state::HypervState;
use super::vm::Check;
use crate::boot2docker;

/// Bytes in a MiB.
pub(super) const MIB: u64 = 1024 * 1024;
/// Everything that is made in the machine's folder, whatever the way; Hyper-V's own folder is named as the machine.
const FILES: [&str; 8] = [
    "disk.vhdx",
    "disk.part.vhdx",
    "disk.vhd",
    "disk.part.vhd",
    "fixed.vhd",
    "overlay.qcow2",
    "seed.iso",
    "boot2docker.iso",
];
/// How long files may be in use after the machine is gone: Hyper-V may still be merging checkpoints.
const RELEASE_LIMIT: Duration = Duration::from_secs(60);

/// The files that a machine starts with.
pub(super) struct Media {
    /// The disk.
    pub(super) disk: PathBuf,
    /// The CD; `None` where there is nothing to say to the guest.
    pub(super) dvd: Option<PathBuf>,
}

/// Makes the files that are not there yet.
pub(super) async fn prepare(
    shell: &PowerShell,
    cx: &Cx<'_>,
    state: &HypervState,
) -> Result<Media, DriverError> {
    if state.is_boot2docker() {
        let iso = boot2docker::iso_for(cx, &state.boot2docker_url).await?;
        let disk = cx.machine_dir.join("disk.vhd");
        if !disk.exists() {
            boot2docker_disk(shell, cx, state, &disk).await?;
        }
        return Ok(Media { disk, dvd: Some(iso) });
    }
    let disk = cx.machine_dir.join("disk.vhdx");
    if !disk.exists() {
        if state.clone_of.is_empty() {
            from_image(cx, state, &disk).await?;
        } else {
            from_clone(shell, cx, state, &disk).await?;
        }
    }
    let dvd = cx.seed.map(|seed| write_seed(cx, seed)).transpose()?;
    Ok(Media { disk, dvd })
}

/// Makes the disk of a cloud image: an overlay of the wanted size, written out as a VHDX. Its size is right from the
/// beginning, because only administrators may resize a VHDX.
async fn from_image(cx: &Cx<'_>, state: &HypervState, to: &Path) -> Result<(), DriverError> {
    let image = Cache::of_store(cx.store_path).fetch(&state.image, Arch::host(), cx.report).await?;
    cx.report.report(Event::DriverLine(format!("Converting image {} to a VHDX...", image.name)));
    let overlay = cx.machine_dir.join("overlay.qcow2");
    remove_file(&overlay)?;
    disk::overlay(&image.file, image.format, &overlay, Some(state.disk_size)).await?;
    let converted = disk::convert(&overlay, Format::Qcow2, to, Format::Vhdx, cx.report).await;
    remove_file(&overlay)?;
    Ok(converted?)
}

/// Copies the disk of another machine, which must be off.
async fn from_clone(
    shell: &PowerShell,
    cx: &Cx<'_>,
    state: &HypervState,
    to: &Path,
) -> Result<(), DriverError> {
    let source = clone_source(shell, state).await?;
    cx.report.report(Event::DriverLine(format!("Copying the disk of {}...", state.clone_of)));
    let part = cx.machine_dir.join("disk.part.vhdx");
    remove_file(&part)?;
    let values = [("SOURCE", source), ("DISK", path(&part))];
    let _: Value = shell.ask(Operation::DISK_COPY, &values).await?;
    rename(&part, to)
}

/// The disk of the machine that is to be copied, as that machine uses it now.
///
/// # Errors
/// Where that machine is on, or has no disk.
pub(super) async fn clone_source(shell: &PowerShell, state: &HypervState) -> Result<String, DriverError> {
    let listing: super::vm::Listing = shell.ask(Operation::LIST, &[]).await?;
    let found = listing.ours("", &state.clone_of, &[PathBuf::from(&state.clone_of_folder)]);
    let missing = |what: &str| {
        DriverError::new(ErrorKind::NotFound, format!("the machine \"{}\" {what}", state.clone_of))
    };
    let vm = found.first().ok_or_else(|| missing("is not in Hyper-V"))?;
    if vm.state() != State::Stopped {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the machine \"{}\" is not off ({})", state.clone_of, vm.state),
        )
        .with_hint("stop it first: the disk of a machine that runs changes while it is copied"));
    }
    vm.disks.first().cloned().ok_or_else(|| missing("has no disk"))
}

/// Makes a boot2docker machine's disk: its first bytes tell boot2docker to format it, and have the key. Such a disk must
/// lie in the file as it is; it is small and grown afterwards, or, where only administrators may do that, large at once.
async fn boot2docker_disk(
    shell: &PowerShell,
    cx: &Cx<'_>,
    state: &HypervState,
    to: &Path,
) -> Result<(), DriverError> {
    let seed = cx.seed.ok_or_else(|| {
        DriverError::new(ErrorKind::Other, "there is no SSH key to put into the boot2docker machine")
    })?;
    let check: Check = shell.ask(Operation::CHECK, &[]).await?;
    let wanted = state.disk_size * MIB;
    let fixed_bytes = if check.administrator { (10 * MIB).min(wanted) } else { wanted };
    let (fixed, part) = (cx.machine_dir.join("fixed.vhd"), cx.machine_dir.join("disk.part.vhd"));
    remove_file(&fixed)?;
    remove_file(&part)?;
    cx.report.report(Event::DriverLine("Creating VHD".to_owned()));
    let values = [("FIXED", path(&fixed)), ("DISK_BYTES", fixed_bytes.to_string())];
    let _: Value = shell.ask(Operation::DISK_FIXED, &values).await?;
    let head = boot2docker::disk_head(&seed.authorized_key);
    let written = fs::OpenOptions::new().write(true).open(&fixed).and_then(|mut file| file.write_all(&head));
    written.map_err(|error| unwritten(&fixed, error))?;
    let mut values = vec![("SOURCE", path(&fixed)), ("DISK", path(&part))];
    if fixed_bytes < wanted {
        values.push(("DISK_BYTES", wanted.to_string()));
    }
    let _: Value = shell.ask(Operation::DISK_COPY, &values).await?;
    remove_file(&fixed)?;
    rename(&part, to)
}

/// Writes the CD from which cloud-init reads. It may have keys in it.
fn write_seed(cx: &Cx<'_>, seed: &Seed) -> Result<PathBuf, DriverError> {
    let file = cx.machine_dir.join("seed.iso");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let iso = seed::iso(&NoCloud {
        instance_id: &format!("{}-{now}", cx.name),
        hostname: cx.name.as_str(),
        user_data: &seed.user_data,
        network_config: None,
    });
    remove_file(&file)?;
    private_file(&file).and_then(|mut to| to.write_all(&iso)).map_err(|error| unwritten(&file, error))?;
    Ok(file)
}

/// Makes a file that nobody else can read. On Windows it has the rights of its folder, which is the user's own.
fn private_file(file: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

/// Removes what was made in the machine's folder.
///
/// # Errors
/// Where a file is still in use after a minute.
pub(super) async fn remove(machine_dir: &Path, name: &str) -> Result<(), DriverError> {
    for file in FILES {
        released(&machine_dir.join(file), |file| fs::remove_file(file)).await?;
    }
    let left = fs::read_dir(machine_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    for file in left.filter(|file| file.extension().is_some_and(|end| end == "avhdx" || end == "avhd")) {
        released(&file, |file| fs::remove_file(file)).await?;
    }
    released(&machine_dir.join(name), |folder| fs::remove_dir_all(folder)).await
}

/// Removes a file or folder, waiting for whoever uses it.
async fn released(what: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> Result<(), DriverError> {
    let begin = Instant::now();
    loop {
        match remove(what) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if begin.elapsed() >= RELEASE_LIMIT || !cfg!(windows) => {
                return Err(DriverError::new(
                    ErrorKind::Other,
                    format!("{} could not be removed: {error}", what.display()),
                )
                .with_source(error));
            }
            Err(_) => sleep(Duration::from_millis(500)).await,
        }
    }
}

fn remove_file(file: &Path) -> Result<(), DriverError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(file, error)),
        _ => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), DriverError> {
    fs::rename(from, to).map_err(|error| unwritten(to, error))
}

fn unwritten(file: &Path, error: io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Other,
    };
    DriverError::new(kind, format!("{} could not be written: {error}", file.display())).with_source(error)
}

/// A path as a value for a script.
pub(super) fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
