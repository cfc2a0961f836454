//! Files that are whole or not there, whatever happens while they are written.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use crate::{StoreError, platform};

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// 0600: keys, records.
    Private,
    /// 0644: certificates.
    Public,
}

impl Mode {
    fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// How the names of half-written files begin. What a crash leaves of them is swept by the next save or remove.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// Puts bytes into a file such that a reader, and the disk after a crash, has either the old content or the new one:
/// a temporary file in the same folder, written, on disk, renamed, the folder on disk. The file is never wider open
/// than `mode`. The folder must exist.
///
/// # Errors
/// [`StoreError::Io`]; the old file is then as it was, and nothing is left over.
pub fn write_file(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    write_unsynced(path, bytes, mode)?;
    platform::sync_dir(folder).map_err(StoreError::io("sync", folder))
}

/// [`write_file`] without the last step, for several files of one folder.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    // Made 0600 and removed when dropped.
    let mut file =
        tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder).map_err(|error| {
            StoreError::Io { action: "open", path: path.to_owned(), source: without_path(error) }
        })?;
    platform::set_mode(file.as_file(), mode.bits()).map_err(StoreError::io("chmod", path))?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.as_file().sync_all().map_err(StoreError::io("write", path))?;
    file.persist(path).map(drop).map_err(|error| StoreError::io("rename", path)(error.error))
}

/// `tempfile` wraps the system's error to add a path, which our own error has already.
fn without_path(error: std::io::Error) -> std::io::Error {
    let source = error.get_ref().and_then(std::error::Error::source);
    match source
        .and_then(|source| source.downcast_ref::<std::io::Error>())
        .and_then(std::io::Error::raw_os_error)
    {
        Some(code) => std::io::Error::from_raw_os_error(code),
        None => error,
    }
}

/// Puts bytes into a file that must not exist yet; true when this call made it.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn write_new_file(path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file =
        tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(folder).map_err(|error| {
            StoreError::Io { action: "open", path: path.to_owned(), source: without_path(error) }
        })?;
    file.write_all(bytes).map_err(StoreError::io("write", path))?;
    file.as_file().sync_all().map_err(StoreError::io("write", path))?;
    match file.persist_noclobber(path) {
        Ok(_) => platform::sync_dir(folder).map_err(StoreError::io("sync", folder)).map(|()| true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::io("rename", path)(error.error)),
    }
}

/// Removes what a crash left of half-written files. Only for a folder whose lock the caller holds.
pub(crate) fn sweep_temporary_files(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            match fs::remove_file(entry.path()) {
                Ok(()) => tracing::debug!(path = %entry.path().display(), "removed a half-written file"),
                Err(error) => {
                    tracing::debug!(path = %entry.path().display(), %error, "a half-written file stays");
                }
            }
        }
    }
}

/// Makes sure that a folder is on disk under its name.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    platform::sync_dir(parent).map_err(StoreError::io("sync", parent))
}

/// Reads a whole file as Go names the failure: `open PATH: …`.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    use std::io::Read;
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut bytes = Vec::with_capacity(4096);
    file.read_to_end(&mut bytes).map_err(StoreError::io("read", path))?;
    Ok(bytes)
}
