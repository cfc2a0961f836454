//! Files that are whole or not there, whatever happens while they are written.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

use tempfile::NamedTempFile;

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
    write_unsynced(path, bytes, mode)?;
    sync_parent(path)
}

/// [`write_file`] without the last step, for several files of one folder.
pub(crate) fn write_unsynced(path: &Path, bytes: &[u8], mode: Mode) -> Result<(), StoreError> {
    let file = temporary(path, bytes, mode)?;
    file.persist(path).map(drop).map_err(|error| StoreError::io("rename", path)(error.error))
}

/// Puts bytes into a file that must not exist yet; true when this call made it.
///
/// # Errors
/// [`StoreError::Io`].
pub(crate) fn write_new_file(path: &Path, bytes: &[u8]) -> Result<bool, StoreError> {
    let file = temporary(path, bytes, Mode::Private)?;
    match file.persist_noclobber(path) {
        Ok(_) => sync_parent(path).map(|()| true),
        Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(StoreError::io("rename", path)(error.error)),
    }
}

/// A new file next to `path`, with these bytes on disk, removed when dropped.
fn temporary(path: &Path, bytes: &[u8], mode: Mode) -> Result<NamedTempFile, StoreError> {
    let mut file = tempfile::Builder::new()
        .prefix(TEMPORARY_PREFIX)
        .make_in(folder_of(path), |name| platform::private_file().write(true).create_new(true).open(name))
        .map_err(StoreError::io("open", path))?;
    // The file itself: the wrapper's errors name the temporary file, too.
    let inner = file.as_file_mut();
    platform::set_mode(inner, mode.bits()).map_err(StoreError::io("chmod", path))?;
    inner.write_all(bytes).and_then(|()| inner.sync_all()).map_err(StoreError::io("write", path))?;
    Ok(file)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes sure that a file or folder is on disk under its name.
pub(crate) fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let folder = folder_of(path);
    platform::sync_dir(folder).map_err(StoreError::io("sync", folder))
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

/// Reads a whole file as Go names the failure: `open PATH: …`.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>, StoreError> {
    // Records are small: one read gets them and one finds the end. `Read::read_to_end` asks the system for the size
    // and the position first, which a thousand machines feel.
    const AT_ONCE: usize = 8 * 1024;
    let mut file = File::open(path).map_err(StoreError::io("open", path))?;
    let mut bytes = vec![0; AT_ONCE];
    let mut len = 0;
    loop {
        match file.read(&mut bytes[len..]) {
            Ok(0) => break,
            Ok(read) => len += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(StoreError::io("read", path)(error)),
        }
        if len == bytes.len() {
            bytes.resize(len * 2, 0);
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}
