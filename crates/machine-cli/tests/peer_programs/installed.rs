//! Where the programs are that `cargo xtask setup` installs under `target/peers`, and how they find ours.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use machine_testkit::skip;

use crate::common::{Place, text};

/// The folder with what `tests/data/peers/install.sh` has installed.
pub struct Peers(PathBuf);

impl Peers {
    /// `None`, with the reason printed, where they were not installed.
    pub fn new() -> Option<Self> {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let folder = target.join("peers");
        if !folder.join("complete").exists() {
            skip::because("the programs that drive ours are not installed; `cargo xtask setup` does it");
            return None;
        }
        Some(Self(folder))
    }

    pub fn python(&self, program: &str) -> PathBuf {
        self.0.join("python/bin").join(program)
    }

    pub fn collections(&self) -> PathBuf {
        self.0.join("collections")
    }

    pub fn node_modules(&self) -> PathBuf {
        self.0.join("node/node_modules")
    }
}

/// `PATH` with a folder before it that has our binary and nothing else.
pub fn path(place: &Place) -> String {
    let bin = place.root().join("bin");
    if !bin.exists() {
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(binary(), bin.join("docker-machine")).unwrap();
    }
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

pub fn binary() -> &'static str {
    env!("CARGO_BIN_EXE_docker-machine")
}

/// A program that finds ours first in `PATH`, and has nothing else in its environment than a person's home.
pub fn program(place: &Place, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let path = path(place);
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path)
        .env("HOME", place.root().join("home"))
        .env("USER", "tester")
        .env("SHELL", "/bin/bash")
        .env("LC_ALL", "C.UTF-8")
        .env("MACHINE_STORAGE_PATH", place.store())
        .current_dir(place.root())
        .stdin(std::process::Stdio::null());
    command
}

/// The stdout of a program that must succeed.
#[track_caller]
pub fn ok(output: &Output) -> String {
    assert!(output.status.success(), "{}\n{}\n{}", output.status, text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
