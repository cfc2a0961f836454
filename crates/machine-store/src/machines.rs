//! Changing machines: everything here asks for the machine's lock.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{CONFIG_VERSION, Machine};

use crate::atomic::{sync_parent, write_unsynced};
use crate::lock::stem;
use crate::{Journal, MachineLock, Mode, Store, StoreError, config, go_json, platform, write_file};

/// How the hidden folders of machines that are being removed begin.
const REMOVED: &str = ".removed-";
/// How the hidden folders of machines that are being made begin; the lock's stem follows.
const NEW: &str = ".new-";

impl Store {
    /// Makes a machine's folder with its record and its journal. A reader sees neither or both. What crashes left of
    /// other machines that were being made or removed is removed.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`]; [`StoreError::Io`], and then nothing is left.
    pub fn create(&self, lock: &MachineLock, machine: &Machine, journal: &Journal) -> Result<(), StoreError> {
        let name = lock.name();
        if self.exists(name) {
            return Err(StoreError::AlreadyExists { name: name.to_owned() });
        }
        self.make_folder(lock, &[("config.json", record(lock, machine)), ("state.json", state(journal))])?;
        // The machine is made; that others' leftovers stay is no reason to fail.
        if let Err(error) = self.sweep_removed() {
            tracing::debug!(%error, "a removed machine's folder stays");
        }
        self.sweep_new(lock);
        Ok(())
    }

    /// Saves a machine's record; makes its folder where there is none.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old record is then as it was.
    pub fn save(&self, lock: &MachineLock, machine: &Machine) -> Result<(), StoreError> {
        let text = record(lock, machine);
        if !lock.dir().is_dir() {
            return self.make_folder(lock, &[("config.json", text)]);
        }
        let path = self.config_path(lock.name());
        keep_old_version(&path)?;
        write_file(&path, text.as_bytes(), Mode::Private)
    }

    /// Saves a machine's journal, and notes the time in it. The machine's folder must exist: see [`Store::create`].
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old journal is then as it was.
    pub fn save_journal(&self, lock: &MachineLock, journal: &Journal) -> Result<(), StoreError> {
        let path = self.journal_path(lock.name());
        write_file(&path, state(journal).as_bytes(), Mode::Private)
    }

    /// Puts a file into the machine's folder, e.g. a key or certificate.
    ///
    /// # Errors
    /// [`StoreError::UnsafeName`] where the name is not one visible file; [`StoreError::Io`].
    pub fn write_machine_file(
        &self,
        lock: &MachineLock,
        file: &str,
        bytes: &[u8],
        mode: Mode,
    ) -> Result<PathBuf, StoreError> {
        crate::store::check_plain(file)?;
        let path = lock.dir().join(file);
        write_file(&path, bytes, mode)?;
        Ok(path)
    }

    /// Removes a machine's folder with all that is in it, at once for whoever looks. A machine that is not there is
    /// success. What crashes left of other machines that were being removed is removed, too.
    ///
    /// # Errors
    /// [`StoreError::Io`]. Where only the deleting failed, the machine is gone for everybody and the next call goes
    /// on with it.
    pub fn remove(&self, lock: &MachineLock) -> Result<(), StoreError> {
        let dir = lock.dir();
        match fs::symlink_metadata(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("lstat", &dir)(error)),
            Ok(_) => {
                let hidden = self.free_hidden_name()?;
                fs::rename(&dir, &hidden).map_err(StoreError::io("rename", &dir))?;
                sync_parent(&dir)?;
            }
        }
        self.sweep_removed()?;
        self.sweep_new(lock);
        Ok(())
    }

    fn make_folder(&self, lock: &MachineLock, files: &[(&str, String)]) -> Result<(), StoreError> {
        self.create_layout()?;
        let staged = self.machines_dir().join(format!("{NEW}{}", stem(lock.name())));
        // Of an earlier process that was killed here: the name's lock is ours, so nobody else is at work on it.
        delete(&staged)?;
        let filled =
            platform::create_private_dir(&staged).map_err(StoreError::io("mkdir", &staged)).and_then(|()| {
                for (file, text) in files {
                    write_unsynced(&staged.join(file), text.as_bytes(), Mode::Private)?;
                }
                platform::sync_dir(&staged).map_err(StoreError::io("sync", &staged))?;
                fs::rename(&staged, lock.dir()).map_err(StoreError::io("rename", &lock.dir()))
            });
        if let Err(error) = filled {
            drop(delete(&staged));
            return Err(error);
        }
        sync_parent(&lock.dir())
    }

    /// A hidden name in `machines/` that nothing has.
    fn free_hidden_name(&self) -> Result<PathBuf, StoreError> {
        let machines = self.machines_dir();
        let mut bytes = [0_u8; 8];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::io("name a folder in", &machines)(io::Error::other(error)))?;
        Ok(machines.join(format!("{REMOVED}{:016x}", u64::from_ne_bytes(bytes))))
    }

    /// Deletes the folders of removed machines. Nobody else needs them, so that no lock is asked for.
    fn sweep_removed(&self) -> Result<(), StoreError> {
        self.hidden_folders(REMOVED).iter().try_for_each(|(path, _)| delete(path))
    }

    /// Deletes what killed processes left of machines that they were making.
    fn sweep_new(&self, ours: &MachineLock) {
        for (path, stem) in self.hidden_folders(NEW) {
            if stem == crate::lock::stem(ours.name()) {
                drop(delete(&path));
                continue;
            }
            // A stem is its own stem: this is the lock of the machine that the folder was to become.
            let swept = self.lock_machine(&stem, Duration::ZERO).and_then(|_lock| delete(&path));
            if let Err(error) = swept {
                tracing::debug!(path = %path.display(), %error, "a half-made machine stays");
            }
        }
    }

    fn hidden_folders(&self, prefix: &str) -> Vec<(PathBuf, String)> {
        let Ok(entries) = fs::read_dir(self.machines_dir()) else { return Vec::new() };
        entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name().into_string().ok()?;
                Some((entry.path(), name.strip_prefix(prefix)?.to_owned()))
            })
            .collect()
    }
}

/// The text of config.json. The record is saved under the name whose lock is held.
fn record(lock: &MachineLock, machine: &Machine) -> String {
    if machine.name == lock.name() && machine.config_version == CONFIG_VERSION {
        return go_json::to_json(machine);
    }
    let mut machine = machine.clone();
    lock.name().clone_into(&mut machine.name);
    machine.config_version = CONFIG_VERSION;
    go_json::to_json(&machine)
}

/// The text of state.json.
fn state(journal: &Journal) -> String {
    let mut journal = journal.clone();
    journal.updated = crate::journal::now_rfc3339();
    go_json::to_string_indented(&journal)
}

/// Keeps a record of an older version as config.json.bak before it is overwritten.
fn keep_old_version(path: &Path) -> Result<(), StoreError> {
    let Ok(bytes) = fs::read(path) else { return Ok(()) };
    match config::parse(&bytes) {
        Ok(parsed) if parsed.version < CONFIG_VERSION => {
            write_file(&path.with_file_name("config.json.bak"), &bytes, Mode::Private)
        }
        _ => Ok(()),
    }
}

/// Deletes a folder (or whatever stands there) that others may be deleting as well.
fn delete(path: &Path) -> Result<(), StoreError> {
    const TRIES: usize = 3;
    let mut last = Ok(());
    for _ in 0..TRIES {
        last = match fs::symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(metadata) if !metadata.is_dir() => fs::remove_file(path),
            _ => fs::remove_dir_all(path),
        };
        match &last {
            Ok(()) => return Ok(()),
            // Somebody else was faster with a part of it.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            Err(_) => break,
        }
    }
    last.map_err(StoreError::io("remove", path))
}
