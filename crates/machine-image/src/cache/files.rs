//! Files and folders of the cache: locks, names, whole or not at all.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::ImageError;

/// The name of lock files.
pub const LOCK: &str = ".lock";
/// How names of workshops begin.
pub const WORK: &str = ".work-";
/// How names of folders begin that become images.
pub const NEW: &str = ".new-";
/// How names of folders begin that were images.
const REMOVED: &str = ".removed-";

/// The lock of the cache's folder. It is held for moments only.
pub struct Locked(File);

impl Locked {
    /// Waits for it.
    pub fn folder(folder: &Path) -> Result<Self, ImageError> {
        fs::create_dir_all(folder).map_err(ImageError::io("made", folder))?;
        let path = folder.join(LOCK);
        let file = open_lock(&path).map_err(ImageError::io("opened", &path))?;
        file.lock().map_err(ImageError::io("locked", &path))?;
        Ok(Self(file))
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Not left to closing the file: a process that is being started may have a copy of the handle for a moment.
        let _ = self.0.unlock();
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(path)
}

/// Takes a lock that nobody else can have, e.g. in a new folder.
pub fn lock_now(path: &Path) -> Result<File, ImageError> {
    try_lock(path)?.ok_or_else(|| ImageError::io("locked", path)(io::ErrorKind::WouldBlock.into()))
}

/// Takes a lock if nobody has it; its folder must be there. Whoever holds it may remove the file, so it is looked
/// whether the file that was locked is the one that is there.
pub fn try_lock(path: &Path) -> Result<Option<File>, ImageError> {
    loop {
        let file = open_lock(path).map_err(ImageError::io("opened", path))?;
        match file.try_lock() {
            Ok(()) if is_there(&file, path) => return Ok(Some(file)),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(ImageError::io("locked", path)(error)),
        }
    }
}

#[cfg(unix)]
fn is_there(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
    file.metadata().and_then(|ours| Ok(same(ours, path.metadata()?))).unwrap_or(false)
}

/// Elsewhere a file that is open can't be removed.
#[cfg(not(unix))]
fn is_there(_file: &File, _path: &Path) -> bool {
    true
}

/// A new folder in this one; its name begins so.
pub fn new_folder(folder: &Path, prefix: &str) -> Result<PathBuf, ImageError> {
    let made = tempfile::Builder::new().prefix(prefix).tempdir_in(folder);
    Ok(made.map_err(ImageError::io("made", folder))?.keep())
}

/// Takes an image's folder out of sight, for removal. To be called with the lock held.
pub fn set_aside(cache: &Path, folder: &Path) -> Result<PathBuf, ImageError> {
    let aside = new_folder(cache, REMOVED)?;
    let to = aside.join("image");
    fs::rename(folder, &to).map_err(ImageError::io("removed", folder))?;
    Ok(aside)
}

/// Removes a folder with all that is in it. Another process may be doing the same.
pub fn remove_tree(folder: &Path) -> Result<(), ImageError> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ImageError::io("removed", folder)(error))
        }
        _ => Ok(()),
    }
}

/// What crashes left. To be called with the lock held.
pub fn left_over(cache: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let mut found = Vec::new();
    for path in entries(cache)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let left =
            name.starts_with(NEW) || name.starts_with(REMOVED) || name.starts_with(WORK) && is_left(&path)?;
        if left && path.is_dir() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Whether nobody works in this workshop: its lock is free, or it is just being removed.
fn is_left(workshop: &Path) -> Result<bool, ImageError> {
    let lock = workshop.join(LOCK);
    match try_lock(&lock) {
        Ok(lock) => Ok(lock.is_some()),
        Err(ImageError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// What is in a folder; nothing where there is no folder.
pub fn entries(folder: &Path) -> Result<Vec<PathBuf>, ImageError> {
    let read = match fs::read_dir(folder) {
        Ok(read) => read,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(ImageError::io("read", folder)(error)),
    };
    read.map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(ImageError::io("read", folder))
}

/// Whether a name begins with a dot.
pub fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().first() == Some(&b'.'))
}

/// How many bytes the files in a folder have.
pub fn bytes_under(folder: &Path) -> u64 {
    let Ok(all) = entries(folder) else { return 0 };
    all.iter()
        .map(|path| match path.symlink_metadata() {
            Ok(meta) if meta.is_dir() => bytes_under(path),
            Ok(meta) => meta.len(),
            Err(_) => 0,
        })
        .sum()
}

/// A file's length.
pub fn length(file: &Path) -> Option<u64> {
    file.metadata().ok().map(|meta| meta.len())
}

/// When a file was changed last, nanoseconds since 1970; 0 where that is not known.
pub fn changed_ns(file: &Path) -> u64 {
    let changed = file.metadata().and_then(|meta| meta.modified()).ok();
    let since = changed.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.and_then(|since| u64::try_from(since.as_nanos()).ok()).unwrap_or(0)
}

/// Writes a small file: whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), ImageError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync(folder)
    };
    write().map_err(ImageError::io("written", path))
}

/// Makes sure that a folder's names are on disk.
#[cfg(unix)]
pub fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Elsewhere a folder can't be opened for that.
#[cfg(not(unix))]
pub fn sync(_folder: &Path) -> io::Result<()> {
    Ok(())
}

/// Moves a file, also to another file system.
pub fn shift(from: &Path, to: &Path) -> Result<(), ImageError> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to).map_err(ImageError::io("written", to))?;
            fs::remove_file(from).map_err(ImageError::io("removed", from))
        }
        other => other.map_err(ImageError::io("moved", from)),
    }
}

/// What of a text can be part of a file's name everywhere; never empty, never hidden.
pub fn safe_name(text: &str) -> String {
    const LONGEST: usize = 80;
    let name: String = text
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '-' })
        .take(LONGEST)
        .collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "image".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_safe() {
        for (text, want) in [
            ("debian-13.qcow2", "debian-13.qcow2"),
            ("../../etc/passwd", "etc-passwd"),
            ("", "image"),
            ("..", "image"),
            ("-rf", "rf"),
            ("a b%20c\0ü", "a-b-20c"),
        ] {
            assert_eq!(safe_name(text), want);
        }
        assert_eq!(safe_name(&"x".repeat(300)).len(), 80);
    }

    #[test]
    fn a_lock_whose_file_was_removed_is_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        if cfg!(unix) {
            fs::remove_file(&path).unwrap();
            assert!(try_lock(&path).unwrap().is_some());
        }
        drop(held);
    }
}
