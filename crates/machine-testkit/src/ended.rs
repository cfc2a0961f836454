//! How a command ended, for tests that say what must have come of it.

use std::fmt;
use std::os::unix::process::ExitStatusExt;
use std::process::Output;

/// How a command ended.
#[derive(Clone, Debug)]
pub struct Ended {
    /// The exit code, or 128 and the signal, as a shell has it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
    /// What was run, for messages.
    pub line: String,
}

impl Ended {
    /// Of a command that has run.
    #[must_use]
    pub fn of(line: impl Into<String>, output: &Output) -> Self {
        let status = output.status;
        Self {
            code: status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            line: line.into(),
        }
    }

    /// Its stdout.
    ///
    /// # Panics
    /// Where it failed.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, 0, "{self}");
        &self.stdout
    }

    /// Its stderr.
    ///
    /// # Panics
    /// Where it ended with another code.
    #[track_caller]
    pub fn fails(&self, code: i32) -> &str {
        assert_eq!(self.code, code, "{self}");
        &self.stderr
    }

    /// Asserts that it ended with this code and has all these texts on stderr.
    ///
    /// # Panics
    /// Where it did not.
    #[track_caller]
    pub fn fails_saying(&self, code: i32, texts: &[&str]) {
        self.fails(code);
        for text in texts {
            assert!(self.stderr.contains(text), "stderr lacks {text:?}\n{self}");
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, stdout, stderr, line } = self;
        write!(f, "`{line}` ended with {code}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}
