//! Locks between processes, held by the kernel: they end with their holder.

use std::{
    fs::{File, OpenOptions},
    path::Path,
    time::Duration,
};

use rustix::fs::{FlockOperation, flock};

use super::{LabError, command::wait_for};

/// Held while the value lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

fn open(path: &Path) -> Result<File, LabError> {
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    options.open(path).map_err(|e| LabError::file("open", path, e))
}

/// Waits until nobody else holds the lock.
pub fn exclusive(path: &Path) -> Result<Lock, LabError> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive).map_err(|e| LabError::file("lock", path, e.into()))?;
    Ok(Lock(file))
}

/// The lock, or `None` where somebody holds it.
pub fn attempt(path: &Path) -> Result<Option<Lock>, LabError> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(e) => Err(LabError::file("lock", path, e.into())),
    }
}

/// The right to have one host up: there are only so many.
#[derive(Debug)]
pub struct Slot(#[expect(dead_code, reason = "the slot is the held lock")] Lock);

impl Slot {
    pub fn take(dir: &Path, slots: usize, limit: Duration) -> Result<Self, LabError> {
        let folder = dir.join("slots");
        std::fs::create_dir_all(&folder).map_err(|e| LabError::file("make", &folder, e))?;
        wait_for("a free place for a lab host", limit, || {
            for n in 0..slots {
                if let Ok(Some(lock)) = attempt(&folder.join(n.to_string())) {
                    return Ok(Self(lock));
                }
            }
            Err(format!("all {slots} are taken (MACHINE_LAB_SLOTS raises the number)"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_free_again_when_its_holder_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let first = Slot::take(dir.path(), 1, Duration::ZERO).unwrap();
        let error = Slot::take(dir.path(), 1, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("all 1 are taken"), "{error}");
        drop(first);
        Slot::take(dir.path(), 1, Duration::ZERO).unwrap();
    }
}
