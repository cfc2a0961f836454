//! Windows. Not compiled where this program is built and tested; kept small and in step with `unix.rs`.
//! A folder in the user's profile is private by its access list, so that there are no modes to set.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

/// Whether the name of an open, locked file can be removed. Here it would stay until the last handle is closed and
/// make the next open fail, so lock files stay.
pub(crate) const LOCKED_FILES_CAN_BE_REMOVED: bool = false;

/// Makes a folder, and those above it.
pub(crate) fn create_private_dirs(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// Makes one folder.
pub(crate) fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::create_dir(path)
}

/// Options for a file which only its owner may read.
pub(crate) fn private_file() -> OpenOptions {
    OpenOptions::new()
}

/// Does nothing: the folder's access list holds.
pub(crate) fn set_mode(_file: &File, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Does nothing: NTFS journals names itself, and a folder can't be flushed.
pub(crate) fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Always true: see [`LOCKED_FILES_CAN_BE_REMOVED`].
pub(crate) fn is_same_file(_path: &Path, _file: &File) -> io::Result<bool> {
    Ok(true)
}

/// The name of this computer.
pub(crate) fn host_name() -> String {
    std::env::var("COMPUTERNAME").unwrap_or_default()
}

/// Environment variables that may name the user, first found first used.
pub(crate) const USER_VARIABLES: [&str; 1] = ["USERNAME"];
