//! Disks that are full or can't be written, with the real ones of the kernel: a tmpfs of 64 KiB, and read-only.
#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use machine_store::{Journal, Mode, Store, StoreError, write_file};
use support::{LIMIT, machine, names_in};

/// A small tmpfs, unmounted when dropped; `None` (with a printed reason) where it can't be mounted.
struct Tmpfs {
    dir: tempfile::TempDir,
}

fn mount(args: &[&str], on: &Path) -> bool {
    Command::new("mount").args(args).arg(on).output().is_ok_and(|output| output.status.success())
}

impl Tmpfs {
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        if mount(&["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs"], dir.path()) {
            return Some(Self { dir });
        }
        assert!(std::env::var_os("MACHINE_TEST_REQUIRE_ALL").is_none(), "a tmpfs can't be mounted");
        println!("skipped: a tmpfs can't be mounted (not root?)");
        None
    }

    fn store(&self) -> Store {
        Store::new(self.dir.path())
    }

    fn fill(&self) {
        let path = self.dir.path().join("filling");
        let mut size = 64 * 1024;
        while size > 0 {
            let mut text = fs::read(&path).unwrap_or_default();
            text.extend(vec![0; size]);
            if fs::write(&path, &text).is_err() {
                fs::write(&path, &text[..text.len() - size]).unwrap();
                size /= 2;
            }
        }
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.dir.path()).status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "{} stays mounted",
            self.dir.path().display()
        );
    }
}

#[test]
fn a_full_disk_leaves_the_old_record_and_nothing_else() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let store = tmpfs.store();
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    let old = machine("foo");
    store.create(&lock, &old, &Journal::default()).unwrap();
    let other = store.lock_machine("new", LIMIT).unwrap();
    tmpfs.fill();

    let mut new = old.clone();
    new.driver.0.insert("Filling".to_owned(), "x".repeat(9000).into());
    let config = store.machine_dir("foo").join("config.json");
    let error = store.save(&lock, &new).unwrap_err();
    assert_eq!(error.to_string(), format!("write {}: no space left on device", config.display()));
    assert!(error.hint().unwrap().contains("nothing was changed"));
    assert_eq!(store.load("foo").unwrap(), old);
    assert_eq!(names_in(&store.machine_dir("foo")), ["config.json", "state.json"]);

    let mut journal = Journal::default();
    journal.extra.insert("filling".to_owned(), "x".repeat(9000).into());
    store.save_journal(&lock, &journal).unwrap_err();
    assert_eq!(store.load_journal("foo").unwrap().unwrap().extra.len(), 0);

    let error = store.create(&other, &machine("new"), &Journal::default()).unwrap_err();
    assert!(error.to_string().ends_with("no space left on device"), "{error}");
    assert_eq!(names_in(&store.machines_dir()), ["foo"]);

    // A record can be removed to make room.
    store.remove(&lock).unwrap();
    assert_eq!(names_in(&store.machines_dir()), Vec::<String>::new());
    store.create(&other, &machine("new"), &Journal::default()).unwrap();
}

#[test]
fn a_read_only_store_can_be_read() {
    let Some(tmpfs) = Tmpfs::mount() else { return };
    let store = tmpfs.store();
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    store.create(&lock, &machine("foo"), &Journal::default()).unwrap();
    drop(lock);
    let old = include_str!("data/198-before.json");
    support::put_config(&store, "v1", old);
    assert!(mount(&["-o", "remount,ro"], store.root()));

    assert_eq!(store.machine_names().unwrap(), ["foo", "v1"]);
    assert_eq!(store.load("foo").unwrap(), machine("foo"));
    assert_eq!(store.load("v1").unwrap().config_version, 3);
    assert!(store.load_journal("foo").unwrap().is_some());
    assert!(!store.is_locked("foo"));
    assert_eq!(fs::read_to_string(store.machine_dir("v1").join("config.json")).unwrap(), old);
    for error in [
        store.lock_machine("foo", LIMIT).map(drop).unwrap_err(),
        store.lock_store(LIMIT).map(drop).unwrap_err(),
        store.store_id().map(drop).unwrap_err(),
        write_file(&store.certs_dir().join("ca.pem"), b"x", Mode::Public).unwrap_err(),
    ] {
        assert!(error.to_string().ends_with(": read-only file system"), "{error}");
        assert!(error.hint().unwrap().contains("--storage-path"));
    }
}

#[test]
fn a_store_in_a_place_that_can_not_be_is_a_clear_error() {
    // /proc takes no folders, from root neither.
    let store = Store::new("/proc/docker-machine-test");
    assert_eq!(store.machine_names().unwrap(), Vec::<String>::new());
    let error = store.create_layout().unwrap_err();
    assert_eq!(error.to_string(), "mkdir /proc/docker-machine-test/certs: no such file or directory");
    let error = store.lock_machine("foo", LIMIT).map(drop).unwrap_err();
    assert!(matches!(error, StoreError::Io { action: "mkdir", .. }), "{error}");
    let file = tempfile::NamedTempFile::new().unwrap();
    let error = Store::new(file.path()).machine_names().unwrap_err();
    assert_eq!(error.to_string(), format!("open {}/machines: not a directory", file.path().display()));
}
