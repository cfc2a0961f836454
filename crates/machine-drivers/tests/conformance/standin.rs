//! Programs that stand in for those of hypervisors which can't be had here, found in the PATH as the real ones are.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use machine_testkit::skip;
use tempfile::TempDir;

/// Where a stand-in keeps what it has.
const DIR: &str = "STANDIN_DIR";

/// Runs a test with stand-ins in its PATH, and a home of its own. The environment is a process's, so that the test runs
/// in another one: this calls its own program again for the test of this name.
pub fn with(test: &str, programs: &[&str], further: &[&str], run: impl FnOnce(&Path)) {
    if let Some(dir) = env::var_os(DIR) {
        return run(Path::new(&dir));
    }
    if !skip::require(&[&["python3"], further].concat()) {
        return;
    }
    let dir = TempDir::new().unwrap();
    let bin = dir.path().join("bin");
    fs::create_dir(&bin).unwrap();
    for program in programs {
        let real = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/standins").join(program);
        std::os::unix::fs::symlink(real, bin.join(program)).unwrap();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin).chain(env::split_paths(&path));
    let status = Command::new(env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env("PATH", env::join_paths(folders).unwrap())
        .env("HOME", dir.path())
        .env(DIR, dir.path())
        .status()
        .unwrap();
    assert!(status.success(), "{test} failed with the stand-ins in the PATH ({status})");
}

/// A disk image of a few MiB.
pub fn image(dir: &Path) -> PathBuf {
    let file = dir.join("image.qcow2");
    if !file.exists() {
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(&file)
            .arg("4M")
            .status()
            .unwrap();
        assert!(made.success(), "qemu-img failed");
    }
    file
}

/// Makes a stand-in have a fault: the operation, what happens, and how often (-1: until healed).
pub fn fault(dir: &Path, operation: &str, kind: &str, times: i32) {
    fs::write(dir.join("faults"), format!("{operation} {kind} {times}\n")).unwrap();
}

/// Ends all faults.
pub fn heal(dir: &Path) {
    let _ = fs::remove_file(dir.join("faults"));
}
