//! How an image gets its folder in the cache.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use super::record::{Boot, Record};
use super::{Cache, CachedImage, DirectBoot, NewImage, Origin, files};
use crate::{ImageError, checksum};

impl Cache {
    /// Puts a built image into the cache: whole or not at all. Its checksum is made on the way.
    ///
    /// # Errors
    /// [`ImageError::BadName`]; where files can't be moved or written.
    pub fn add(&self, new: NewImage) -> Result<CachedImage, ImageError> {
        let taken = self.catalogue.iter().any(|entry| entry.is(&new.name));
        if taken || files::safe_name(&new.name) != new.name {
            return Err(ImageError::BadName { name: new.name });
        }
        let disk = disk_file(&new);
        let mut record = Record::new(new.name, new.arch, Origin::Built, disk, new.format);
        record.sha256 = checksum::of_file(&new.file).map_err(ImageError::io("read", &new.file))?;
        record.facts = new.facts;
        self.publish(record, &new.file, new.boot)
    }

    /// Moves an image into its folder. The record has its SHA-256; where that content is here under that name
    /// already, it takes its place, which heals a damaged one.
    pub(super) fn publish(
        &self,
        mut record: Record,
        file: &Path,
        boot: Option<DirectBoot>,
    ) -> Result<CachedImage, ImageError> {
        to_disk(file)?;
        let _lock = files::Locked::folder(&self.folder)?;
        self.sweep();
        let folder = self.folder.join(record.id());
        let there = folder.is_dir();
        let into = if there { folder.clone() } else { files::new_folder(&self.folder, files::NEW)? };
        if let Some(old) = Record::read(&folder) {
            record.catalogue = record.catalogue.or(old.catalogue);
            record.facts = record.facts.or(old.facts);
            record.boot = old.boot;
        }
        let filled = fill(&into, record, file, boot);
        if filled.is_err() && !there {
            // The error that stood in the way counts.
            let _ = fs::remove_dir_all(&into);
        }
        let record = filled?;
        if !there {
            open_to_readers(&into)?;
            fs::rename(&into, &folder).map_err(ImageError::io("made", &folder))?;
        }
        files::sync(&self.folder).map_err(ImageError::io("written", &self.folder))?;
        Ok(record.image(&folder))
    }
}

impl Cache {
    /// Removes what a crash left, with the lock held. What stays is swept by the next.
    fn sweep(&self) {
        for folder in files::left_over(&self.folder).unwrap_or_default() {
            let _ = files::remove_tree(&folder);
        }
    }
}

/// Moves an image's files into its folder, the record last.
fn fill(
    folder: &Path,
    mut record: Record,
    file: &Path,
    boot: Option<DirectBoot>,
) -> Result<Record, ImageError> {
    if let Some(boot) = boot {
        for (from, name) in [(&boot.kernel, "kernel"), (&boot.initrd, "initrd")] {
            to_disk(from)?;
            files::shift(from, &folder.join(name))?;
        }
        let (kernel, initrd) = ("kernel".into(), "initrd".into());
        record.boot = Some(Boot { kernel, initrd, cmdline: boot.cmdline });
    }
    let to = folder.join(&record.file);
    files::shift(file, &to)?;
    read_only(&to)?;
    let record = record.stamped(&to);
    record.write(folder)?;
    Ok(record)
}

fn disk_file(new: &NewImage) -> PathBuf {
    PathBuf::from(format!("disk.{}", new.format.extension()))
}

/// Makes sure that a file's content survives a crash before its name says that it is whole.
fn to_disk(file: &Path) -> Result<(), ImageError> {
    // Not opened for reading: some systems flush only what may be written.
    File::options()
        .append(true)
        .open(file)
        .and_then(|file| file.sync_all())
        .map_err(ImageError::io("written", file))
}

/// Machines have overlays on it: one byte changed breaks them all.
#[cfg(unix)]
fn read_only(file: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(file, fs::Permissions::from_mode(0o444)).map_err(ImageError::io("changed", file))
}

/// Elsewhere a read-only file can't be removed.
#[cfg(not(unix))]
fn read_only(_file: &Path) -> Result<(), ImageError> {
    Ok(())
}

/// Temporary folders are their owner's alone; hypervisors may run as another user.
#[cfg(unix)]
fn open_to_readers(folder: &Path) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).map_err(ImageError::io("changed", folder))
}

#[cfg(not(unix))]
fn open_to_readers(_folder: &Path) -> Result<(), ImageError> {
    Ok(())
}
