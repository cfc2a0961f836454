//! Disk images, by `qemu-img`.
//!
//! Formats are always named: what probes a raw image is deceived by what a guest writes there. Limits are wide,
//! because a slow disk is no reason to stop.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Event, Reporter, Snapshot};
use machine_process::{ProcessError, Program};
use serde::{Deserialize, Serialize};

use crate::ImageError;
use crate::content::{self, Content};

/// A format of disk images.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// QEMU's.
    Qcow2,
    /// The disk's bytes as they are.
    Raw,
    /// VirtualBox's.
    Vdi,
    /// VMware's.
    Vmdk,
    /// Hyper-V's.
    Vhdx,
    /// Hyper-V's older one; `qemu-img` calls it `vpc`.
    Vhd,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Qcow2, Self::Raw, Self::Vdi, Self::Vmdk, Self::Vhdx, Self::Vhd];

    /// What `qemu-img` and QEMU call it.
    #[must_use]
    pub fn qemu(self) -> &'static str {
        match self {
            Self::Qcow2 => "qcow2",
            Self::Raw => "raw",
            Self::Vdi => "vdi",
            Self::Vmdk => "vmdk",
            Self::Vhdx => "vhdx",
            Self::Vhd => "vpc",
        }
    }

    /// How names of such files end, without a dot.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Vhd => "vhd",
            other => other.qemu(),
        }
    }
}

/// What is known of a disk image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Info {
    /// Its format.
    pub format: Format,
    /// The size of the disk that a machine sees, bytes.
    pub virtual_bytes: u64,
    /// What it takes on this computer's disk, bytes.
    pub actual_bytes: u64,
    /// The image that it is an overlay on.
    pub backing: Option<PathBuf>,
}

/// How long what only touches an image's own tables may take.
const SHORT: Duration = Duration::from_secs(120);
/// How long what reads or writes all of a disk may take.
const LONG: Duration = Duration::from_secs(2 * 3600);
/// How often a conversion is spoken of.
const TICK: Duration = Duration::from_millis(250);
const MIB: u64 = 1024 * 1024;

/// Makes a qcow2 overlay on an image: as large as that, or of `size_mib` where that is larger. `to` must not exist.
///
/// # Errors
/// [`ImageError::Exists`], [`ImageError::DiskFull`]; where `qemu-img` is not there or fails.
pub async fn overlay(
    backing: &Path,
    backing_format: Format,
    to: &Path,
    size_mib: Option<u64>,
) -> Result<(), ImageError> {
    if to.symlink_metadata().is_ok() {
        return Err(ImageError::Exists { path: to.to_owned() });
    }
    let backing = absolute(backing)?;
    let has = info(&backing, Some(backing_format)).await?.virtual_bytes;
    let bytes = size_mib.unwrap_or(0).saturating_mul(MIB).max(has);
    let args: [OsString; 10] = [
        "create".into(),
        "-q".into(),
        "-f".into(),
        Format::Qcow2.qemu().into(),
        "-F".into(),
        backing_format.qemu().into(),
        "-b".into(),
        backing.into(),
        absolute(to)?.into(),
        bytes.to_string().into(),
    ];
    run(&args, SHORT, to).await.map(drop).inspect_err(|_| drop(fs::remove_file(to)))
}

/// Writes an image (with all that its backing files have) in another format; a file at `to` appears when it is
/// whole, and replaces what was there. How far it is is reported as bytes written; how many there will be nobody
/// knows before the end.
///
/// # Errors
/// [`ImageError::DiskFull`]; where `qemu-img` is not there or fails. Nothing new is left at `to`.
pub async fn convert(
    from: &Path,
    from_format: Format,
    to: &Path,
    to_format: Format,
    report: &dyn Reporter,
) -> Result<(), ImageError> {
    let mut part = absolute(to)?.into_os_string();
    part.push(".part");
    let part = PathBuf::from(part);
    // Removed too where this future is dropped.
    let guard = Removed(&part);
    let mut args: Vec<OsString> =
        ["convert", "-q", "-f", from_format.qemu(), "-O", to_format.qemu()].map(Into::into).into();
    if to_format == Format::Vhd {
        // Else the size is rounded up to what old disks could have had.
        args.extend(["-o".into(), "subformat=dynamic,force_size=on".into()]);
    }
    args.extend([absolute(from)?.into(), part.clone().into()]);
    let what = to.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let work = run(&args, LONG, to);
    tokio::pin!(work);
    loop {
        let done = fs::metadata(&part).map_or(0, |meta| meta.len());
        tokio::select! {
            ended = &mut work => break drop(ended?),
            () = tokio::time::sleep(TICK) => {
                report.report(Event::Transfer { what: what.clone(), done, total: None });
            }
        };
    }
    let done = fs::metadata(&part).map_or(0, |meta| meta.len());
    fs::rename(&part, to).map_err(ImageError::io("written", to))?;
    std::mem::forget(guard);
    report.report(Event::Transfer { what, done, total: Some(done) });
    Ok(())
}

/// A file that is removed when this is dropped.
struct Removed<'a>(&'a Path);

impl Drop for Removed<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.0);
    }
}

/// Makes the disk larger; one that already has that size stays. Only for qcow2 and raw images: `qemu-img` can't do
/// it with the others (make an overlay of the size, and convert that).
///
/// # Errors
/// [`ImageError::Shrink`] where the disk is larger already; where `qemu-img` is not there or fails.
pub async fn resize(file: &Path, format: Format, size_mib: u64) -> Result<(), ImageError> {
    let has = info(file, Some(format)).await?.virtual_bytes;
    let wanted = size_mib.saturating_mul(MIB);
    if wanted == has {
        return Ok(());
    }
    if wanted < has {
        return Err(ImageError::Shrink {
            file: file.to_owned(),
            has_mib: has.div_ceil(MIB),
            wanted_mib: size_mib,
        });
    }
    let args: [OsString; 6] = [
        "resize".into(),
        "-q".into(),
        "-f".into(),
        format.qemu().into(),
        absolute(file)?.into(),
        wanted.to_string().into(),
    ];
    run(&args, SHORT, file).await.map(drop)
}

/// Looks at an image, even while a machine runs on it. Without a format it is found out by the content.
///
/// # Errors
/// [`ImageError::NotADisk`]; where `qemu-img` is not there or fails.
pub async fn info(file: &Path, format: Option<Format>) -> Result<Info, ImageError> {
    let format = match format {
        Some(format) => format,
        None => format_of(file)?,
    };
    let said = look(file, format).await?;
    Ok(Info {
        format,
        virtual_bytes: said.virtual_size,
        actual_bytes: said.actual_size,
        backing: said.full_backing_filename.or(said.backing_filename).map(PathBuf::from),
    })
}

/// The format of a disk image, by its content; no program is asked.
///
/// # Errors
/// [`ImageError::NotADisk`]; where the file can't be read.
pub fn format_of(file: &Path) -> Result<Format, ImageError> {
    match content::of_file(file).map_err(ImageError::io("read", file))? {
        Content::Disk { format, .. } => Ok(format),
        Content::Other { what, hint } => {
            Err(ImageError::NotADisk { what: file.display().to_string(), is: what, hint })
        }
    }
}

/// The snapshots inside a qcow2 image, oldest first.
///
/// # Errors
/// Where `qemu-img` is not there or fails.
pub async fn snapshots(file: &Path) -> Result<Vec<Snapshot>, ImageError> {
    let mut all = look(file, Format::Qcow2).await?.snapshots;
    all.sort_by_key(|one| (one.date_sec, one.date_nsec));
    Ok(all
        .into_iter()
        .map(|one| Snapshot {
            name: one.name,
            taken_s: one.date_sec,
            // What a snapshot of a disk takes is not known: its clusters are shared.
            bytes: Some(one.vm_state_size).filter(|bytes| *bytes > 0),
            with_memory: one.vm_state_size > 0,
        })
        .collect())
}

/// Takes a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// [`ImageError::SnapshotExists`]; where `qemu-img` is not there or fails.
pub async fn take_snapshot(file: &Path, name: &str) -> Result<(), ImageError> {
    if find_snapshot(file, name).await?.is_some() {
        return Err(ImageError::SnapshotExists { name: name.to_owned() });
    }
    snapshot(file, "-c", name).await
}

/// Goes back to a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// [`ImageError::NoSnapshot`]; where `qemu-img` is not there or fails.
pub async fn restore_snapshot(file: &Path, name: &str) -> Result<(), ImageError> {
    // By its id: qemu-img looks for one with that id first, and a name may look like another's id.
    let id = find_snapshot(file, name).await?.ok_or_else(|| ImageError::NoSnapshot { name: name.to_owned() });
    snapshot(file, "-a", &id?).await
}

/// Forgets a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// [`ImageError::NoSnapshot`]; where `qemu-img` is not there or fails.
pub async fn remove_snapshot(file: &Path, name: &str) -> Result<(), ImageError> {
    if find_snapshot(file, name).await?.is_none() {
        return Err(ImageError::NoSnapshot { name: name.to_owned() });
    }
    snapshot(file, "-d", name).await
}

/// The id of the snapshot of this name.
async fn find_snapshot(file: &Path, name: &str) -> Result<Option<String>, ImageError> {
    let all = look(file, Format::Qcow2).await?.snapshots;
    Ok(all.into_iter().find(|one| one.name == name).map(|one| one.id))
}

async fn snapshot(file: &Path, what: &str, which: &str) -> Result<(), ImageError> {
    // This subcommand takes a format in no other way.
    let mut image = OsString::from("driver=qcow2,file.driver=file,file.filename=");
    image.push(without_commas(&absolute(file)?));
    let args: [OsString; 6] =
        ["snapshot".into(), "-q".into(), what.into(), which.into(), "--image-opts".into(), image];
    run(&args, LONG, file).await.map(drop)
}

/// A path as a value of QEMU's options: a comma is written twice.
#[cfg(unix)]
fn without_commas(path: &Path) -> OsString {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut bytes = Vec::new();
    for byte in path.as_os_str().as_bytes() {
        bytes.push(*byte);
        if *byte == b',' {
            bytes.push(b',');
        }
    }
    OsString::from_vec(bytes)
}

/// A path as a value of QEMU's options: a comma is written twice.
#[cfg(not(unix))]
fn without_commas(path: &Path) -> OsString {
    path.to_string_lossy().replace(',', ",,").into()
}

/// What `qemu-img info --output=json` says (`ImageInfo` of QEMU's qapi/block-core.json).
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Said {
    virtual_size: u64,
    #[serde(default)]
    actual_size: u64,
    backing_filename: Option<String>,
    full_backing_filename: Option<String>,
    #[serde(default)]
    snapshots: Vec<SaidSnapshot>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct SaidSnapshot {
    id: String,
    name: String,
    #[serde(default)]
    vm_state_size: u64,
    date_sec: u64,
    #[serde(default)]
    date_nsec: u64,
}

async fn look(file: &Path, format: Format) -> Result<Said, ImageError> {
    // -U: also while a machine has it.
    let args: [OsString; 6] = [
        "info".into(),
        "-U".into(),
        "--output=json".into(),
        "-f".into(),
        format.qemu().into(),
        absolute(file)?.into(),
    ];
    let said = run(&args, SHORT, file).await?;
    serde_json::from_str(&said)
        .map_err(|error| ImageError::Output { file: file.to_owned(), why: error.to_string() })
}

/// A path that is not taken for an option, nor for a protocol as `nbd:…`.
fn absolute(path: &Path) -> Result<PathBuf, ImageError> {
    std::path::absolute(path).map_err(ImageError::io("found", path))
}

/// Runs `qemu-img`; its output. `about` is what an error is about.
async fn run(args: &[OsString], limit: Duration, about: &Path) -> Result<String, ImageError> {
    let program = program()?;
    match program.run(args, limit).await {
        Ok(output) => Ok(output.stdout),
        // The text of the C library, untranslated.
        Err(ProcessError::Failed { said, .. }) if said.contains("No space left on device") => {
            Err(ImageError::DiskFull { path: about.to_owned() })
        }
        Err(error) => Err(ImageError::QemuImg(error)),
    }
}

/// Where `qemu-img` is: the PATH, then where installers of the systems put it.
///
/// # Errors
/// [`ImageError::NoQemuImg`].
pub fn program() -> Result<Program, ImageError> {
    let further: &[&Path] = &if cfg!(windows) {
        [Path::new(r"C:\Program Files\qemu"), Path::new(r"C:\Program Files (x86)\qemu")]
    } else {
        [Path::new("/opt/homebrew/bin"), Path::new("/usr/local/bin")]
    };
    match Program::find(&["qemu-img"], further) {
        Ok(program) => Ok(program.variable("LC_ALL", "C")),
        Err(_) => Err(ImageError::NoQemuImg),
    }
}
