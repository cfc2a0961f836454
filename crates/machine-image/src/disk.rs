//! Disk images, by `qemu-img`.

use std::path::{Path, PathBuf};

use machine_core::{Reporter, Snapshot};
use serde::{Deserialize, Serialize};

use crate::ImageError;

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

/// Makes a qcow2 overlay on an image: as large as that, or of `size_mib` where that is larger. `to` must not exist.
///
/// # Errors
/// Where `qemu-img` is not there or fails.
pub async fn overlay(
    _backing: &Path,
    _backing_format: Format,
    _to: &Path,
    _size_mib: Option<u64>,
) -> Result<(), ImageError> {
    todo!()
}

/// Writes an image (with all that its backing files have) in another format; a file at `to` appears when it is whole.
///
/// # Errors
/// Where `qemu-img` is not there or fails; nothing is left at `to`.
pub async fn convert(
    _from: &Path,
    _from_format: Format,
    _to: &Path,
    _to_format: Format,
    _report: &dyn Reporter,
) -> Result<(), ImageError> {
    todo!()
}

/// Makes the disk larger; what already has that size stays.
///
/// # Errors
/// Where the disk is larger already, `qemu-img` is not there or fails.
pub async fn resize(_file: &Path, _format: Format, _size_mib: u64) -> Result<(), ImageError> {
    todo!()
}

/// Looks at an image, even while a machine runs on it. Without a format it is found out by the content.
///
/// # Errors
/// Where the file is no disk image, `qemu-img` is not there or fails.
pub async fn info(_file: &Path, _format: Option<Format>) -> Result<Info, ImageError> {
    todo!()
}

/// The snapshots inside a qcow2 image, oldest first.
///
/// # Errors
/// Where `qemu-img` is not there or fails.
pub async fn snapshots(_file: &Path) -> Result<Vec<Snapshot>, ImageError> {
    todo!()
}

/// Takes a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// Where there is one of this name, `qemu-img` is not there or fails.
pub async fn take_snapshot(_file: &Path, _name: &str) -> Result<(), ImageError> {
    todo!()
}

/// Goes back to a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// Where there is none of this name, `qemu-img` is not there or fails.
pub async fn restore_snapshot(_file: &Path, _name: &str) -> Result<(), ImageError> {
    todo!()
}

/// Forgets a snapshot inside a qcow2 image of a machine that is off.
///
/// # Errors
/// Where there is none of this name, `qemu-img` is not there or fails.
pub async fn remove_snapshot(_file: &Path, _name: &str) -> Result<(), ImageError> {
    todo!()
}
