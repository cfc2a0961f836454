//! A store, a home and the binary, for tests of whole command lines.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A fresh store and home.
pub struct Place {
    root: tempfile::TempDir,
}

#[allow(dead_code)] // each test binary uses its part
impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("home")).unwrap();
        Self { root }
    }

    pub fn root(&self) -> PathBuf {
        self.root.path().to_owned()
    }

    pub fn store(&self) -> PathBuf {
        self.root.path().join("store")
    }

    /// The program with nothing but this place in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-machine"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.path().join("home"))
            .env("SHELL", "/bin/bash")
            .env("MACHINE_STORAGE_PATH", self.store())
            .current_dir(self.root.path())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Stdout of a command line that has to succeed.
    pub fn answer(&self, args: &[&str]) -> String {
        let run = self.run(args);
        assert!(run.status.success(), "{args:?}: {}", text(&run.stderr));
        text(&run.stdout)
    }

    /// A machine that is only a URL.
    pub fn create_none(&self, name: &str, more: &[&str]) {
        let mut args = vec!["create", "-d", "none", "--url", "tcp://127.0.0.1:1"];
        args.extend_from_slice(more);
        args.push(name);
        self.answer(&args);
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
