//! One lock per machine and one per store, held by the kernel: when a process ends, however it ends, its locks are
//! free. The lock files themselves mean nothing.

use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::{Store, StoreError, platform};

/// Who holds a lock, as they wrote it into the lock file: information for people, nothing is decided by it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Holder {
    /// The process.
    pub pid: Option<u32>,
    /// What it does, e.g. `docker-machine create`. Never a whole command line: those hold secrets.
    pub command: String,
    /// Since when: RFC 3339, UTC.
    pub since: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.pid {
            Some(pid) => write!(f, "{} (process {pid}, since {})", self.command, self.since),
            None => f.write_str("another process"),
        }
    }
}

impl Holder {
    fn this_process(command: &str) -> Self {
        Self {
            pid: Some(std::process::id()),
            command: command.to_owned(),
            since: crate::journal::now_rfc3339(),
        }
    }

    /// Who wrote the lock file last; nobody where it can't be read.
    fn read(path: &Path) -> Self {
        let text = fs::read(path).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }
}

/// A lock file, locked. Dropping it frees the lock.
#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
}

impl Drop for Held {
    fn drop(&mut self) {
        // Not left to closing the file: a process that is being started elsewhere in this program may have a copy of
        // the handle for a moment.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(path = %self.path.display(), %error, "unlock");
        }
    }
}

/// The right to change one machine. Held by one process at a time; freed when dropped.
#[derive(Debug)]
pub struct MachineLock {
    name: String,
    store: Store,
    held: Held,
}

impl MachineLock {
    /// The machine.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The machine's folder, which need not exist yet.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.store.machine_dir(&self.name)
    }
}

impl Drop for MachineLock {
    fn drop(&mut self) {
        // The lock file of a machine that is gone, or never came to be, goes with it. This happens under the lock;
        // whoever waits for it will see that the name now means another file, or none.
        if platform::LOCKED_FILES_CAN_BE_REMOVED
            && matches!(fs::symlink_metadata(self.dir()), Err(error) if error.kind() == io::ErrorKind::NotFound)
            && let Err(error) = fs::remove_file(&self.held.path)
        {
            tracing::debug!(path = %self.held.path.display(), %error, "a lock file stays");
        }
    }
}

/// The right to change what all machines of a store share: the CA, the client certificate. Freed when dropped.
#[derive(Debug)]
pub struct StoreLock {
    #[expect(dead_code, reason = "held, not read: dropping it frees the lock")]
    held: Held,
}

impl StoreLock {
    pub(crate) fn acquire(store: &Store, wait: Wait) -> Result<Self, StoreError> {
        let what = format!("the store {}", store.root().display());
        let path = store.locks_dir().join(".store.lock");
        wait_for(&Wanted { path, what, store, wait }, || Ok(())).map(|held| Self { held })
    }
}

impl MachineLock {
    /// Takes the lock; `give_up` is asked before each try and ends the waiting with its error.
    pub(crate) fn acquire(
        store: &Store,
        name: &str,
        wait: Wait,
        give_up: impl FnMut() -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let wanted = Wanted { path: path_of(store, name), what: format!("machine {name:?}"), store, wait };
        let held = wait_for(&wanted, give_up)?;
        Ok(Self { name: name.to_owned(), store: store.clone(), held })
    }
}

/// Whether somebody holds a machine's lock. Makes no file; a machine without a lock file is free.
pub(crate) fn is_locked(store: &Store, name: &str) -> bool {
    let Ok(file) = File::open(path_of(store, name)) else { return false };
    // Shared, so that two who ask don't take each other for a holder.
    match file.try_lock_shared() {
        Ok(()) => {
            drop(file.unlock());
            false
        }
        Err(TryLockError::WouldBlock) => true,
        Err(TryLockError::Error(_)) => false,
    }
}

fn path_of(store: &Store, name: &str) -> PathBuf {
    store.locks_dir().join(format!("{}.lock", stem(name)))
}

/// A name of bounded length for a machine: file names end at 255 bytes, and so do machines' names. Two long names with
/// the same stem would share a lock, which is slow but right. The stem of a stem is the stem.
pub(crate) fn stem(name: &str) -> String {
    const PLAIN: usize = 220;
    const CUT: usize = 200;
    if name.len() <= PLAIN {
        return name.to_owned();
    }
    // FNV-1a: the same in every build, unlike the standard library's hashes.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let cut = (0..=CUT).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}~{hash:016x}", &name[..cut])
}

/// How long to wait for whoever holds a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wait {
    /// Not at all: the thread has other things to do.
    Never,
    /// Asleep, for this time.
    Asleep(Duration),
}

/// A lock to be taken.
struct Wanted<'a> {
    path: PathBuf,
    what: String,
    store: &'a Store,
    wait: Wait,
}

/// However small the limit, somebody who only asks whether the lock is held must not make the taking fail.
const SHORTEST_LIMIT: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

fn wait_for(
    wanted: &Wanted<'_>,
    mut give_up: impl FnMut() -> Result<(), StoreError>,
) -> Result<Held, StoreError> {
    let begun = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut tries = 0;
    loop {
        tries += 1;
        give_up()?;
        if let Some(held) = try_once(wanted)? {
            // What give_up looks at may have changed just before the lock became free.
            give_up()?;
            return Ok(held);
        }
        let waited = begun.elapsed();
        let over = match wanted.wait {
            // The second try is for a file that was removed between its opening and its locking.
            Wait::Never => tries >= 2,
            Wait::Asleep(limit) => waited >= limit.max(SHORTEST_LIMIT),
        };
        if over {
            let holder = Box::new(Holder::read(&wanted.path));
            return Err(StoreError::Locked { what: wanted.what.clone(), holder, waited });
        }
        if let Wait::Asleep(_) = wanted.wait {
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// One try: the lock, or nothing where somebody holds it.
fn try_once(wanted: &Wanted<'_>) -> Result<Option<Held>, StoreError> {
    let Some(held) = lock_open_file(open(wanted)?, &wanted.path)? else { return Ok(None) };
    if let Err(error) = sign(&held.file, wanted.store.command()) {
        tracing::debug!(path = %wanted.path.display(), %error, "the lock file does not say who holds it");
    }
    Ok(Some(held))
}

/// Locks a file that was opened by this path, if it is free and the path still names it.
fn lock_open_file(file: File, path: &Path) -> Result<Option<Held>, StoreError> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(StoreError::io("lock", path)(error)),
    }
    let held = Held { file, path: path.to_owned() };
    // Between the opening and the locking the holder may have removed the file with its machine: then this is a lock
    // on nothing, and the next try opens the file that stands there now.
    let same = platform::is_same_file(path, &held.file).map_err(StoreError::io("stat", path))?;
    Ok(same.then_some(held))
}

fn open(wanted: &Wanted<'_>) -> Result<File, StoreError> {
    let mut options = platform::private_file();
    options.read(true).write(true).create(true).truncate(false);
    match options.open(&wanted.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            wanted.store.create_layout()?;
            options.open(&wanted.path)
        }
        other => other,
    }
    .map_err(StoreError::io("open", &wanted.path))
}

/// Writes into the lock file who holds it.
fn sign(mut file: &File, command: &str) -> io::Result<()> {
    let text = serde_json::to_vec(&Holder::this_process(command))?;
    file.rewind()?;
    file.write_all(&text)?;
    file.set_len(text.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The moments between opening and locking are too short to be met by processes that race.
    #[cfg(unix)]
    #[test]
    fn a_file_that_was_removed_after_it_was_opened_is_no_lock() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("foo.lock");
        let open = || File::options().write(true).create(true).truncate(false).open(&path).unwrap();
        assert!(lock_open_file(open(), &path).unwrap().is_some());
        let removed = open();
        fs::remove_file(&path).unwrap();
        assert!(lock_open_file(removed, &path).unwrap().is_none());
        let replaced = open();
        fs::remove_file(&path).unwrap();
        let held = lock_open_file(open(), &path).unwrap();
        assert!(held.is_some());
        assert!(lock_open_file(replaced, &path).unwrap().is_none());
        assert!(lock_open_file(open(), &path).unwrap().is_none(), "somebody holds it");
    }

    #[test]
    fn what_happened_before_the_lock_was_free_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let mut asked = 0;
        let error = MachineLock::acquire(&store, "foo", Wait::Asleep(Duration::ZERO), || {
            asked += 1;
            if asked == 1 { Ok(()) } else { Err(StoreError::AlreadyExists { name: "foo".to_owned() }) }
        });
        assert!(matches!(error, Err(StoreError::AlreadyExists { .. })), "{error:?}");
        assert!(!is_locked(&store, "foo"));
    }

    #[test]
    fn who_only_tries_does_not_sleep() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::new(dir.path());
        let _held = store.lock_machine("foo", Duration::ZERO).unwrap();
        let _certificates = store.lock_store(Duration::ZERO).unwrap();
        let name = machine_core::MachineName::new("foo").unwrap();
        let begun = Instant::now();
        for _ in 0..50 {
            assert!(matches!(store.try_lock_machine("foo"), Err(StoreError::Locked { .. })));
            assert!(matches!(store.try_reserve(&name), Err(StoreError::Locked { .. })));
            assert!(matches!(store.try_lock_store(), Err(StoreError::Locked { .. })));
        }
        // Asleep it would be 150 times 20 ms at the least.
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
        drop(store.try_lock_machine("bar").unwrap());
    }

    #[test]
    fn long_names_have_lock_files_of_their_own() {
        let (one, other) = ("a".repeat(255), format!("{}b", "a".repeat(254)));
        assert_eq!(stem("foo"), "foo");
        assert_eq!(stem(&"a".repeat(220)), "a".repeat(220));
        assert_ne!(stem(&one), stem(&other));
        for name in [one, other, "é".repeat(127)] {
            assert!(stem(&name).len() <= 220);
            assert_eq!(stem(&stem(&name)), stem(&name));
            let dir = tempfile::tempdir().unwrap();
            MachineLock::acquire(&Store::new(dir.path()), &name, Wait::Never, || Ok(())).unwrap();
        }
    }
}
