//! Where things are, and reading them.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use machine_core::{CONFIG_VERSION, Machine, MachineName};

use crate::atomic::{read_file, sweep_temporary_files, write_new_file};
use crate::config::{Parsed, parse};
use crate::lock::{Wait, is_locked};
use crate::{Journal, MachineLock, StoreError, StoreLock, platform};

/// A store: a folder with machines, certificates and images. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    root: PathBuf,
    command: String,
}

impl Store {
    /// The store in a folder, which need not exist. No I/O.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), command: "docker-machine".to_owned() }
    }

    /// Says what this process does, for those who have to wait for it: `docker-machine create`. Never a whole command
    /// line, which may hold secrets.
    #[must_use]
    pub fn with_command(mut self, command: impl Into<String>) -> Self {
        self.command = command.into();
        self
    }

    pub(crate) fn command(&self) -> &str {
        &self.command
    }

    /// The store's folder.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `ROOT/certs`: the CA and the client certificate.
    #[must_use]
    pub fn certs_dir(&self) -> PathBuf {
        self.root.join("certs")
    }

    /// `ROOT/machines`.
    #[must_use]
    pub fn machines_dir(&self) -> PathBuf {
        self.root.join("machines")
    }

    /// `ROOT/cache`: images.
    #[must_use]
    pub fn cache_dir(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// `ROOT/machines/NAME`.
    #[must_use]
    pub fn machine_dir(&self, name: &str) -> PathBuf {
        self.machines_dir().join(name)
    }

    pub(crate) fn locks_dir(&self) -> PathBuf {
        self.root.join("locks")
    }

    /// Makes the folders that are missing, 0700.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn create_layout(&self) -> Result<(), StoreError> {
        for dir in [self.certs_dir(), self.machines_dir(), self.cache_dir(), self.locks_dir()] {
            platform::create_private_dirs(&dir).map_err(StoreError::io("mkdir", &dir))?;
        }
        Ok(())
    }

    /// The names of all machines, in order: the folders of `machines/` that are not hidden, whatever is in them. One
    /// directory read. No `machines/` means no machines.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn machine_names(&self) -> Result<Vec<String>, StoreError> {
        let dir = self.machines_dir();
        let entries = match fs::read_dir(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(StoreError::io("open", &dir))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(StoreError::io("read", &dir))?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let name = entry.file_name();
            if is_dir && !name.as_encoded_bytes().starts_with(b".") {
                names.push(name.to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Whether there is anything in the place of a machine of this name, complete or not.
    #[must_use]
    pub fn exists(&self, name: &str) -> bool {
        is_plain(name) && fs::symlink_metadata(self.machine_dir(name)).is_ok()
    }

    /// Reads a machine's record. Takes no lock and never waits. A record of an older version is brought to version 3,
    /// also on disk (the old text is kept in config.json.bak) unless somebody is at work on the machine or the store
    /// can't be written.
    ///
    /// # Errors
    /// [`StoreError::NoSuchMachine`]; [`StoreError::Io`] where config.json is missing or can't be read;
    /// [`StoreError::Config`] where it can't be understood.
    pub fn load(&self, name: &str) -> Result<Machine, StoreError> {
        let parsed = self.read_config(name)?;
        if parsed.version < CONFIG_VERSION {
            self.keep_migrated(name);
        }
        Ok(parsed.machine)
    }

    pub(crate) fn config_path(&self, name: &str) -> PathBuf {
        self.machine_dir(name).join("config.json")
    }

    pub(crate) fn read_config(&self, name: &str) -> Result<Parsed, StoreError> {
        if !is_plain(name) {
            return Err(StoreError::NoSuchMachine { name: name.to_owned() });
        }
        let path = self.config_path(name);
        let bytes = match read_file(&path) {
            Err(StoreError::Io { source, .. })
                if source.kind() == io::ErrorKind::NotFound && !self.exists(name) =>
            {
                return Err(StoreError::NoSuchMachine { name: name.to_owned() });
            }
            other => other?,
        };
        let mut parsed = parse(&bytes).map_err(|source| StoreError::Config { path, source })?;
        // A machine is called as its folder is, as in the reference program.
        name.clone_into(&mut parsed.machine.name);
        Ok(parsed)
    }

    /// Puts a record that was brought to version 3 on disk. A failure only costs doing it again next time.
    fn keep_migrated(&self, name: &str) {
        let written = self.lock_machine(name, Duration::ZERO).and_then(|lock| {
            // Read again: it may have changed before the lock was ours.
            let parsed = self.read_config(name)?;
            if parsed.version < CONFIG_VERSION { self.save(&lock, &parsed.machine) } else { Ok(()) }
        });
        if let Err(error) = written {
            tracing::debug!(name, %error, "the record stays in its old version");
        }
    }

    /// Takes the right to change a machine, which need not exist. Waits for whoever has it, at most `limit`. What a
    /// crash left of half-written files in the machine's folder is removed.
    ///
    /// # Errors
    /// [`StoreError::Locked`] at the limit; [`StoreError::UnsafeName`]; [`StoreError::Io`].
    pub fn lock_machine(&self, name: &str, limit: Duration) -> Result<MachineLock, StoreError> {
        self.take_machine(name, Wait::Asleep(limit))
    }

    /// [`Store::lock_machine`] without waiting or sleeping, for whoever has other things to do meanwhile. Somebody who only asks
    /// whether the lock is held may be in the way for a moment: it is to be tried again.
    ///
    /// # Errors
    /// As [`Store::lock_machine`].
    pub fn try_lock_machine(&self, name: &str) -> Result<MachineLock, StoreError> {
        self.take_machine(name, Wait::Never)
    }

    fn take_machine(&self, name: &str, wait: Wait) -> Result<MachineLock, StoreError> {
        check_plain(name)?;
        let lock = MachineLock::acquire(self, name, wait, || Ok(()))?;
        sweep_temporary_files(&lock.dir());
        Ok(lock)
    }

    /// Takes the right to make a machine: its lock, and the certainty that the name is free. Of several processes that
    /// reserve the same name one gets it; the others get [`StoreError::AlreadyExists`] as soon as that one has saved
    /// its record.
    ///
    /// # Errors
    /// [`StoreError::AlreadyExists`]; [`StoreError::Locked`] where another process that reserved the name has not
    /// saved a record within `limit`; [`StoreError::Io`].
    pub fn reserve(&self, name: &MachineName, limit: Duration) -> Result<MachineLock, StoreError> {
        self.reserve_within(name, Wait::Asleep(limit))
    }

    /// [`Store::reserve`] without waiting or sleeping, as [`Store::try_lock_machine`].
    ///
    /// # Errors
    /// As [`Store::reserve`].
    pub fn try_reserve(&self, name: &MachineName) -> Result<MachineLock, StoreError> {
        self.reserve_within(name, Wait::Never)
    }

    fn reserve_within(&self, name: &MachineName, wait: Wait) -> Result<MachineLock, StoreError> {
        let name = name.as_str();
        MachineLock::acquire(self, name, wait, || {
            if self.exists(name) { Err(StoreError::AlreadyExists { name: name.to_owned() }) } else { Ok(()) }
        })
    }

    /// Whether somebody works on a machine at this moment. Only good for telling people.
    #[must_use]
    pub fn is_locked(&self, name: &str) -> bool {
        is_plain(name) && is_locked(self, name)
    }

    /// Takes the right to change what all machines share: the CA and the client certificate. Waits at most `limit`.
    /// What a crash left of half-written files in `certs/` is removed.
    ///
    /// # Errors
    /// [`StoreError::Locked`] at the limit; [`StoreError::Io`].
    pub fn lock_store(&self, limit: Duration) -> Result<StoreLock, StoreError> {
        self.take_store(Wait::Asleep(limit))
    }

    /// [`Store::lock_store`] without waiting or sleeping, as [`Store::try_lock_machine`].
    ///
    /// # Errors
    /// As [`Store::lock_store`].
    pub fn try_lock_store(&self) -> Result<StoreLock, StoreError> {
        self.take_store(Wait::Never)
    }

    fn take_store(&self, wait: Wait) -> Result<StoreLock, StoreError> {
        let lock = StoreLock::acquire(self, wait)?;
        sweep_temporary_files(&self.certs_dir());
        Ok(lock)
    }

    /// Reads a machine's journal; `None` where it has none, as machines of the reference program.
    ///
    /// # Errors
    /// [`StoreError::Journal`] where it can't be understood: it holds the host's keys, so that it can't be ignored;
    /// [`StoreError::Io`].
    pub fn load_journal(&self, name: &str) -> Result<Option<Journal>, StoreError> {
        if !is_plain(name) {
            return Ok(None);
        }
        let path = self.journal_path(name);
        let bytes = match read_file(&path) {
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            other => other?,
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| StoreError::Journal { path, source })
    }

    pub(crate) fn journal_path(&self, name: &str) -> PathBuf {
        self.machine_dir(name).join("state.json")
    }

    /// Why a machine is incomplete, as one line, where it is: an operation failed, or was begun by somebody who is
    /// not there any more.
    #[must_use]
    pub fn incomplete(&self, name: &str, journal: &Journal) -> Option<String> {
        let abandoned = journal.status == crate::Status::Running && !self.is_locked(name);
        journal.incomplete(abandoned)
    }

    /// The store's id: 32 hexadecimal digits, random, made once, for tags of cloud resources.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn store_id(&self) -> Result<String, StoreError> {
        let path = self.root.join(ID_FILE);
        if let Some(id) = read_id(&path)? {
            return Ok(id);
        }
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| StoreError::io("make an id for", &path)(io::Error::other(error)))?;
        platform::create_private_dirs(&self.root).map_err(StoreError::io("mkdir", &self.root))?;
        let id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        if write_new_file(&path, id.as_bytes())? {
            return Ok(id);
        }
        // Another process was first.
        Ok(read_id(&path)?.unwrap_or(id))
    }

    /// The store's id where it has one already.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn known_id(&self) -> Result<Option<String>, StoreError> {
        read_id(&self.root.join(ID_FILE))
    }
}

/// The file with the store's id.
const ID_FILE: &str = ".store-id";

fn read_id(path: &Path) -> Result<Option<String>, StoreError> {
    match read_file(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).trim().to_owned())),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a name is one visible folder of `machines/` and nothing else.
fn is_plain(name: &str) -> bool {
    let mut components = Path::new(name).components();
    let one = matches!((components.next(), components.next()), (Some(Component::Normal(only)), None) if only == name);
    one && !name.starts_with('.') && !name.contains('\0')
}

pub(crate) fn check_plain(name: &str) -> Result<(), StoreError> {
    if is_plain(name) { Ok(()) } else { Err(StoreError::UnsafeName { name: name.to_owned() }) }
}
