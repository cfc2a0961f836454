//! The real openssl, and files for it.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A folder with PEM files for `openssl`; `None` (with a printed reason) where there is no openssl.
pub struct Openssl {
    dir: tempfile::TempDir,
}

impl Openssl {
    pub fn find() -> Option<Self> {
        if Command::new("openssl").arg("version").output().is_ok() {
            return Some(Self { dir: tempfile::tempdir().unwrap() });
        }
        assert!(std::env::var_os("MACHINE_TEST_REQUIRE_ALL").is_none(), "openssl is missing");
        println!("skipped: openssl is missing");
        None
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file and gives its path.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(name)).unwrap()
    }

    /// Runs openssl in the folder: whether it succeeded, and all that it printed.
    pub fn try_run(&self, args: &[&str]) -> (bool, String) {
        let output = Command::new("openssl").args(args).current_dir(self.dir.path()).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs openssl, which must succeed.
    pub fn run(&self, args: &[&str]) -> String {
        let (good, text) = self.try_run(args);
        assert!(good, "openssl {args:?}: {text}");
        text
    }

    /// `openssl verify` of a certificate against a CA for a purpose.
    pub fn verify(&self, ca: &str, certificate: &str, purpose: &str) -> Result<(), String> {
        self.verify_with(&[], ca, certificate, purpose)
    }

    /// [`Openssl::verify`] with all that RFC 5280 asks for.
    pub fn verify_strictly(&self, ca: &str, certificate: &str, purpose: &str) -> Result<(), String> {
        self.verify_with(&["-x509_strict"], ca, certificate, purpose)
    }

    fn verify_with(&self, more: &[&str], ca: &str, certificate: &str, purpose: &str) -> Result<(), String> {
        self.file("verify-ca.pem", ca);
        self.file("verify-cert.pem", certificate);
        let args = ["-purpose", purpose, "-CAfile", "verify-ca.pem", "verify-cert.pem"];
        match self.try_run(&[&["verify"], more, &args].concat()) {
            (true, _) => Ok(()),
            (false, text) => Err(text),
        }
    }

    /// `openssl x509 -text`.
    pub fn text(&self, certificate: &str) -> String {
        self.file("text.pem", certificate);
        self.run(&["x509", "-in", "text.pem", "-noout", "-text"])
    }
}
