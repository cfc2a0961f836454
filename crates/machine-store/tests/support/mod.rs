//! Stores in temporary folders, and processes of their own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use machine_core::Machine;
use machine_store::{Store, parse_config};

/// Long enough for every lock in these tests, and the end of a test that hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

pub fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("store"));
    (dir, store)
}

/// The record of the recorded case, with another name.
pub fn machine(name: &str) -> Machine {
    let mut machine = parse_config(include_bytes!("../data/108-inspect.json")).unwrap();
    name.clone_into(&mut machine.name);
    machine
}

/// Puts a text where a machine's config.json is.
pub fn put_config(store: &Store, name: &str, text: impl AsRef<[u8]>) {
    let dir = store.machine_dir(name);
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("config.json"), text).unwrap();
}

/// Starts the ignored test `name` of this test program as a process of its own, with a store and an argument.
pub fn spawn(name: &str, store: &Store, argument: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", name, "--nocapture", "--quiet"])
        .env("STORE_TEST_ROOT", store.root())
        .env("STORE_TEST_ARGUMENT", argument)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The store and the argument of a process started by [`spawn`]; `None` where somebody else runs its test.
pub fn role() -> Option<(Store, String)> {
    let root = std::env::var_os("STORE_TEST_ROOT")?;
    Some((
        Store::new(root).with_command("docker-machine test"),
        std::env::var("STORE_TEST_ARGUMENT").unwrap(),
    ))
}

/// The names of what is in a folder, in order.
pub fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
