//! A machine's disk and seed: made once, whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use machine_core::{Cx, DriverError, ErrorKind, Event, Seed};
use machine_image::seed::NoCloud;
use machine_image::{Cache, CachedImage, Origin, disk, seed};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::network;
use super::process;
use super::state::{Direct, Files, QemuState};

/// How much is copied at once, bytes. What is all zeros in it becomes a hole.
const CHUNK: usize = 1 << 20;

/// What `Files` names `NAME.new` while it is being made.
fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

fn io_error(what: &Path) -> impl FnOnce(io::Error) -> DriverError + '_ {
    move |error| {
        let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let made =
            DriverError::new(ErrorKind::Other, format!("{} can't be written: {error}", what.display()));
        let made = made.with_source(error);
        if full {
            made.with_hint("make room, e.g. by `docker-machine image prune`, and try again")
        } else {
            made
        }
    }
}

/// The images for a machine. One that mounts folders needs a kernel with 9p, which the default image for clouds has not.
pub(super) fn cache(cx: &Cx<'_>, state: &QemuState) -> Cache {
    let cache = Cache::of_store(cx.store_path);
    if state.mounts.is_empty() { cache } else { cache.for_hardware() }
}

/// Gets the image; the state says which it is.
///
/// # Errors
/// What stood in the way.
pub(super) async fn image(cx: &Cx<'_>, state: &mut QemuState) -> Result<CachedImage, DriverError> {
    let image = cache(cx, state).fetch(&state.image, state.arch()?, cx.report).await?;
    state.image_id.clone_from(&image.id);
    state.direct_boot = image.boot.as_ref().map(|boot| Direct {
        kernel: boot.kernel.clone(),
        initrd: boot.initrd.clone(),
        cmdline: boot.cmdline.clone(),
    });
    warn_of_mounts(cx, state, &image);
    Ok(image)
}

/// The kernels of Debian's images for clouds can't mount folders over 9p (`CONFIG_NET_9P` is not set).
fn warn_of_mounts(cx: &Cx<'_>, state: &QemuState, image: &CachedImage) {
    let from = match &image.origin {
        Origin::Downloaded { url } => url.as_str(),
        Origin::Built | Origin::Local => &image.name,
    };
    if !state.mounts.is_empty() && image.facts.is_none() && from.contains("genericcloud") {
        cx.report.report(Event::Warning(
            "The kernel of this image can't mount folders of this computer (--qemu-mount): use an image built here \
             (`docker-machine image build`), or --qemu-image debian-13-generic"
                .to_owned(),
        ));
    }
}

/// Makes the disk as an overlay on the image.
///
/// # Errors
/// What stood in the way.
pub(super) async fn overlay(
    cx: &Cx<'_>,
    state: &mut QemuState,
    files: &Files,
    image: &CachedImage,
) -> Result<(), DriverError> {
    // First the mark, so that nobody removes the image meanwhile.
    Cache::of_store(cx.store_path).used_by(image, cx.machine_dir)?;
    let (target, new) = (files.disk(), unfinished(&files.disk()));
    remove(&new)?;
    disk::overlay(&image.file, image.format, &new, Some(state.disk_size)).await?;
    grown(cx, state, &new).await?;
    fs::rename(&new, &target).map_err(io_error(&target))
}

/// Notes the size that the disk has where that is more than was asked for: an image can't be made smaller.
async fn grown(cx: &Cx<'_>, state: &mut QemuState, file: &Path) -> Result<(), DriverError> {
    let has = disk::info(file, Some(disk::Format::Qcow2)).await?.virtual_bytes.div_ceil(1 << 20);
    if has > state.disk_size {
        if state.disk_size > 0 {
            cx.report.report(Event::Notice(format!("The disk has {has} MiB, because the image has")));
        }
        state.disk_size = has;
    }
    Ok(())
}

/// Whether the machine of which this one is a copy is off.
///
/// # Errors
/// Where it is not, or has no disk.
pub(super) fn source_is_off(source: &Path) -> Result<PathBuf, DriverError> {
    let files = Files::new(source);
    let name = source.file_name().unwrap_or_default().to_string_lossy();
    if process::find(&files.pid())?.is_some() {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the machine {name:?} is running: its disk can't be copied"),
        )
        .with_hint(format!("stop it first: docker-machine stop {name}")));
    }
    let disk = files.disk();
    if disk.is_file() {
        return Ok(disk);
    }
    Err(DriverError::new(
        ErrorKind::NotFound,
        format!("the machine {name:?} has no disk that could be copied"),
    ))
}

/// Makes the disk as a copy of another machine's, without its snapshots: they have its memory.
///
/// # Errors
/// What stood in the way.
pub(super) async fn copy(cx: &Cx<'_>, state: &QemuState, files: &Files) -> Result<(), DriverError> {
    let source = source_is_off(Path::new(&state.clone_of))?;
    let cache = Cache::of_store(cx.store_path);
    if !state.image_id.is_empty()
        && let Some(image) = cache.list()?.into_iter().find(|image| image.id == state.image_id)
    {
        cache.used_by(&image, cx.machine_dir)?;
    }
    let (target, new) = (files.disk(), unfinished(&files.disk()));
    remove(&new)?;
    if !reflink(&source, &new) {
        copy_bytes(cx, &source, &new).await.map_err(io_error(&new))?;
    }
    for snapshot in disk::snapshots(&new).await? {
        disk::remove_snapshot(&new, &snapshot.name).await?;
    }
    fs::rename(&new, &target).map_err(io_error(&target))
}

/// Shares the blocks of the copy with the original, where the file system can.
fn reflink(from: &Path, to: &Path) -> bool {
    #[cfg(target_os = "linux")]
    {
        let cloned = File::open(from).and_then(|from| Ok(rustix::fs::ioctl_ficlone(private(to)?, from)?));
        if cloned.is_err() {
            let _ = fs::remove_file(to);
        }
        cloned.is_ok()
    }
    #[cfg(target_os = "macos")]
    {
        // On APFS this is a clone; on others it is a copy all the same.
        fs::copy(from, to).is_ok()
    }
    #[cfg(not(any(target_os = "linux", target_os = "macos")))]
    {
        let _ = (from, to);
        false
    }
}

async fn copy_bytes(cx: &Cx<'_>, from: &Path, to: &Path) -> io::Result<()> {
    let mut source = tokio::fs::File::open(from).await?;
    let total = source.metadata().await?.len();
    let mut target = tokio::fs::File::from_std(private(to)?);
    let what = format!("disk of {}", cx.name);
    let mut done = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let read = source.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        done += read as u64;
        if buffer[..read].iter().all(|byte| *byte == 0) {
            target.seek(io::SeekFrom::Start(done)).await?;
        } else {
            target.write_all(&buffer[..read]).await?;
        }
        cx.report.report(Event::Transfer { what: what.clone(), done, total: Some(total.max(done)) });
    }
    target.set_len(done).await?;
    target.sync_all().await
}

/// Writes what cloud-init reads at the first boot. It may have private keys in it: nobody else can read it.
///
/// # Errors
/// Where it can't be written.
pub(super) fn seed(cx: &Cx<'_>, state: &QemuState, files: &Files, given: &Seed) -> Result<(), DriverError> {
    let network = network::config(state)?;
    let image = seed::iso(&NoCloud {
        instance_id: &state.uuid,
        hostname: cx.name.as_str(),
        user_data: &given.user_data,
        network_config: network.as_deref(),
    });
    let (target, new) = (files.seed(), unfinished(&files.seed()));
    remove(&new)?;
    private(&new)
        .and_then(|mut file| {
            file.write_all(&image)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&new, &target))
        .map_err(io_error(&target))
}

/// Makes a file of mode 0600 that is not there yet. Windows gives it the folder's permissions.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Removes a file, or what stands for it; that there is none is well.
///
/// # Errors
/// Where it can't be removed.
pub(super) fn remove(file: &Path) -> Result<(), DriverError> {
    match fs::remove_file(file) {
        Err(error)
            if error.kind() != io::ErrorKind::NotFound && error.kind() != io::ErrorKind::NotADirectory =>
        {
            Err(DriverError::new(ErrorKind::Other, format!("{} can't be removed: {error}", file.display()))
                .with_source(error))
        }
        _ => Ok(()),
    }
}
