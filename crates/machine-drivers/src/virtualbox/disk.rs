//! The files of a machine: its disk, and the CD from which cloud-init reads or boot2docker boots.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use machine_core::{Cx, DriverError, ErrorKind, Event, Seed, State};
use machine_image::disk::{self, Format};
use machine_image::seed::{self, NoCloud};
use machine_image::{Arch, Cache};

use super::cidr::Cidr;
use super::network;
use super::state::VirtualboxState;
use super::vboxmanage::VBoxManage;
use super::vm;
use crate::boot2docker;
use crate::hypervisor_lock::Turn;

/// The disk.
const DISK: &str = "disk.vdi";
/// What cloud-init reads.
const SEED: &str = "seed.iso";
/// Is there while VirtualBox writes the disk: what is there then may be half a disk.
const UNFINISHED: &str = "disk.unfinished";
/// Everything that is made in the machine's folder; VirtualBox's own folder in it is named as the machine.
const FILES: [&str; 8] = [
    DISK,
    SEED,
    UNFINISHED,
    "disk.qcow2",
    "disk.raw",
    "disk.vdi.part",
    "boot2docker.iso.part",
    super::create::CONSOLE,
];
/// The size with which a boot2docker disk begins, before VirtualBox makes it larger. Bytes.
const SMALL: u64 = 4 * 1024 * 1024;

/// The files that a machine starts with.
pub(super) struct Media {
    /// The disk.
    pub disk: PathBuf,
    /// The CD; `None` where there is nothing to say to the guest.
    pub dvd: Option<PathBuf>,
}

/// Makes the files of a machine of an image that are not there yet.
///
/// # Errors
/// Where the image can't be had, or the disk can't be written.
pub(super) async fn from_image(
    cx: &Cx<'_>,
    state: &VirtualboxState,
    cidr: Cidr,
) -> Result<Media, DriverError> {
    let to = cx.machine_dir.join(DISK);
    if !to.exists() {
        let image = Cache::of_store(cx.store_path).fetch(&state.image, Arch::host(), cx.report).await?;
        cx.report.report(Event::DriverLine(format!("Converting the image {} to a VDI...", image.name)));
        // VirtualBox reads no qcow2 of today; and what comes out has its size from the beginning.
        let overlay = cx.machine_dir.join("disk.qcow2");
        remove_file(&overlay)?;
        disk::overlay(&image.file, image.format, &overlay, Some(state.disk_size)).await?;
        let converted = disk::convert(&overlay, Format::Qcow2, &to, Format::Vdi, cx.report).await;
        remove_file(&overlay)?;
        converted?;
    }
    Ok(Media { disk: to, dvd: write_seed(cx, state, cidr)? })
}

/// Makes the files of a machine whose disk is a copy of another's, which must be off.
///
/// # Errors
/// Where that machine is on or gone, or its disk can't be copied.
pub(super) async fn from_clone(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    state: &VirtualboxState,
    cidr: Cidr,
) -> Result<Media, DriverError> {
    let to = cx.machine_dir.join(DISK);
    if !is_whole(manage, turn, cx, &to).await? {
        let source = clone_source(manage, state).await?;
        cx.report.report(Event::DriverLine(format!("Copying the disk of {}...", state.clone_of)));
        let work = begin(cx)?;
        let args = [
            "clonemedium".as_ref(),
            "disk".as_ref(),
            source.as_os_str(),
            to.as_os_str(),
            "--format".as_ref(),
            "VDI".as_ref(),
        ];
        manage.change_slowly(turn, &args).await?;
        remove_file(&work)?;
    }
    Ok(Media { disk: to, dvd: write_seed(cx, state, cidr)? })
}

/// The disk of the machine that is to be copied, as that machine uses it now.
///
/// # Errors
/// Where that machine is on or gone, or has no disk.
pub(super) async fn clone_source(
    manage: &VBoxManage,
    state: &VirtualboxState,
) -> Result<PathBuf, DriverError> {
    let missing = |what: &str| {
        DriverError::new(ErrorKind::NotFound, format!("the machine \"{}\" {what}", state.clone_of))
    };
    let vm = vm::show(manage, &state.clone_of_uuid).await?.ok_or_else(|| missing("is not in VirtualBox"))?;
    if vm.state() != State::Stopped {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the machine \"{}\" is not off ({})", state.clone_of, vm.word()),
        )
        .with_hint("stop it first: the disk of a machine that runs changes while it is copied"));
    }
    vm.disk().ok_or_else(|| missing("has no disk"))
}

/// Makes the files of a boot2docker machine: a copy of the CD that it boots, and a disk that says that it may be formatted, with the key.
///
/// # Errors
/// Where the CD can't be had, there is no key, or the disk can't be written.
pub(super) async fn boot2docker(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    state: &VirtualboxState,
) -> Result<Media, DriverError> {
    let iso = boot2docker::iso_for(cx, &state.boot2docker_url).await?;
    let to = cx.machine_dir.join(DISK);
    if !is_whole(manage, turn, cx, &to).await? {
        let seed = cx.seed.ok_or_else(|| {
            DriverError::new(ErrorKind::Other, "there is no SSH key to put into the boot2docker machine")
        })?;
        let work = begin(cx)?;
        let raw = cx.machine_dir.join("disk.raw");
        let mut head = boot2docker::disk_head(&seed.authorized_key);
        head.resize(usize::try_from(SMALL).unwrap_or(head.len()), 0);
        fs::write(&raw, head).map_err(|error| unwritten(&raw, error))?;
        let convert =
            ["convertfromraw".as_ref(), raw.as_os_str(), to.as_os_str(), "--format".as_ref(), "VDI".as_ref()];
        manage.change_slowly(turn, &convert).await?;
        remove_file(&raw)?;
        grow(manage, turn, &to, state.disk_size).await?;
        remove_file(&work)?;
    }
    Ok(Media { disk: to, dvd: Some(iso) })
}

/// Makes a disk larger.
///
/// # Errors
/// What VirtualBox refused.
pub(super) async fn grow(manage: &VBoxManage, turn: &Turn, file: &Path, mib: u64) -> Result<(), DriverError> {
    let size = mib.to_string();
    let args =
        ["modifymedium".as_ref(), "disk".as_ref(), file.as_os_str(), "--resize".as_ref(), size.as_ref()];
    manage.change_slowly(turn, &args).await?;
    Ok(())
}

fn begin(cx: &Cx<'_>) -> Result<PathBuf, DriverError> {
    let work = cx.machine_dir.join(UNFINISHED);
    fs::write(&work, "").map_err(|error| unwritten(&work, error))?;
    Ok(work)
}

/// Whether the disk is there as a whole; what is half of one is removed.
async fn is_whole(manage: &VBoxManage, turn: &Turn, cx: &Cx<'_>, disk: &Path) -> Result<bool, DriverError> {
    if !cx.machine_dir.join(UNFINISHED).exists() {
        return Ok(disk.exists());
    }
    forget(manage, turn, disk).await?;
    remove_file(disk)?;
    Ok(false)
}

/// Makes VirtualBox forget a disk that no machine has, if it knows it.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn forget(manage: &VBoxManage, turn: &Turn, disk: &Path) -> Result<(), DriverError> {
    let known = manage.ask(&["list", "hdds"]).await?;
    let is_known = known
        .lines()
        .any(|line| line.strip_prefix("Location:").is_some_and(|path| Path::new(path.trim()) == disk));
    if is_known {
        manage.change(turn, &["closemedium".as_ref(), "disk".as_ref(), disk.as_os_str()]).await?;
    }
    Ok(())
}

/// Removes all files that were made for the machine.
///
/// # Errors
/// Which one could not be removed, and why.
pub(super) fn remove(cx: &Cx<'_>, state: &VirtualboxState) -> Result<(), DriverError> {
    for file in FILES {
        remove_file(&cx.machine_dir.join(file))?;
    }
    if state.base.machine_name.is_empty() {
        return Ok(());
    }
    let folder = cx.machine_dir.join(&state.base.machine_name);
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(&folder, error)),
        _ => Ok(()),
    }
}

/// Removes VirtualBox's folder of a machine that it does not know: a create that was cut off left it.
///
/// # Errors
/// Where it can't be removed.
pub(super) fn remove_settings(cx: &Cx<'_>) -> Result<(), DriverError> {
    let folder = cx.machine_dir.join(cx.name.as_str());
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(&folder, error)),
        _ => Ok(()),
    }
}

fn write_seed(cx: &Cx<'_>, state: &VirtualboxState, cidr: Cidr) -> Result<Option<PathBuf>, DriverError> {
    let Some(Seed { user_data, .. }) = cx.seed else { return Ok(None) };
    let config = network::config(state, cidr);
    let bytes = seed::iso(&NoCloud {
        instance_id: &state.uuid,
        hostname: cx.name.as_str(),
        user_data,
        network_config: Some(&config),
    });
    let file = cx.machine_dir.join(SEED);
    private(&file).and_then(|mut to| to.write_all(&bytes)).map_err(|error| unwritten(&file, error))?;
    Ok(Some(file))
}

/// A new file that only its owner can read: there are private keys in it.
fn private(file: &Path) -> io::Result<fs::File> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file)
}

fn remove_file(file: &Path) -> Result<(), DriverError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(file, error)),
        _ => Ok(()),
    }
}

fn unwritten(file: &Path, error: io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Other,
    };
    DriverError::new(kind, format!("{} could not be written: {error}", file.display())).with_source(error)
}
