//! Other programs: run with arguments that are data, with a limit, and with what they said at hand.
//!
//! In: a program's path or names, arguments, a limit. Out: its exit status and output, or an error which says what was
//! run and how it ended. Nothing is ever given to a shell, and no secret may stand in an argument: every user of a
//! computer can read those.
//!
//! This room depends on no other room.
#![forbid(unsafe_code)]

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How much of what a program said is repeated in an error, in bytes.
const SAID_MAX: usize = 2000;

/// A program.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    variables: Vec<(OsString, OsString)>,
    dir: Option<PathBuf>,
}

/// What a program that ended had to say.
#[derive(Clone, Debug)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// What it printed on standard error.
    pub stderr: String,
}

/// Why a program did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It is not on this computer.
    #[error("{name} is not installed, or is not in the PATH")]
    NotFound {
        /// The name that was looked for first.
        name: String,
    },
    /// It could not be started.
    #[error("{program} could not be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// It took longer than its limit, and was ended.
    #[error("`{line}` did not end within {} s", limit.as_secs())]
    TimedOut {
        /// What was run.
        line: String,
        /// The limit.
        limit: Duration,
    },
    /// It ended with a failure.
    #[error("`{line}` failed ({status}): {said}")]
    Failed {
        /// What was run.
        line: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        said: String,
    },
}

impl Program {
    /// The program at this path. Whether it exists is not looked at.
    #[must_use]
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), variables: Vec::new(), dir: None }
    }

    /// Looks for the first of these names in the folders of `PATH`, and then in those given.
    ///
    /// # Errors
    /// [`ProcessError::NotFound`] with the first name.
    pub fn find(names: &[&str], further: &[&Path]) -> Result<Self, ProcessError> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders: Vec<PathBuf> =
            std::env::split_paths(&path).chain(further.iter().map(|folder| folder.to_path_buf())).collect();
        let all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
        // Windows' programs are found without their extension; elsewhere a name is what it is.
        let mut files = all.flat_map(|file| {
            let exe = cfg!(windows).then(|| file.with_extension("exe"));
            std::iter::once(file).chain(exe)
        });
        files
            .find(|file| is_program(file))
            .map(Self::at)
            .ok_or_else(|| ProcessError::NotFound { name: names.first().unwrap_or(&"").to_string() })
    }

    /// With a variable of its environment set. Secrets may stand here: only its owner can read them.
    #[must_use]
    pub fn variable(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.variables.push((name.into(), value.into()));
        self
    }

    /// Run in this folder.
    #[must_use]
    pub fn dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.dir = Some(dir.into());
        self
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs it to its end. Dropping the future kills it.
    ///
    /// # Errors
    /// [`ProcessError::Start`], [`ProcessError::TimedOut`], or [`ProcessError::Failed`] where its exit status is not 0.
    pub async fn run<A: AsRef<OsStr>>(&self, args: &[A], limit: Duration) -> Result<Output, ProcessError> {
        let output = self.output(args, &[], limit).await?;
        if output.status.success() {
            return Ok(output);
        }
        Err(ProcessError::Failed { line: self.line(args), status: output.status, said: output.said() })
    }

    /// Runs it to its end with this on its standard input; how it ends is the caller's to judge.
    ///
    /// # Errors
    /// [`ProcessError::Start`] or [`ProcessError::TimedOut`].
    pub async fn output<A: AsRef<OsStr>>(
        &self,
        args: &[A],
        input: &[u8],
        limit: Duration,
    ) -> Result<Output, ProcessError> {
        let start = |source| ProcessError::Start { program: self.path.display().to_string(), source };
        let mut child = self.command(args).spawn().map_err(start)?;
        let stdin = child.stdin.take();
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that reads nothing closes its end: how it ends tells the rest.
                let _ = stdin.write_all(input).await;
            }
        };
        let both = async { tokio::join!(feed, child.wait_with_output()).1 };
        match tokio::time::timeout(limit, both).await {
            Ok(Ok(output)) => Ok(Output {
                status: output.status,
                stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
                stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            }),
            Ok(Err(source)) => Err(start(source)),
            Err(_) => Err(ProcessError::TimedOut { line: self.line(args), limit }),
        }
    }

    fn command<A: AsRef<OsStr>>(&self, args: &[A]) -> Command {
        let mut command = Command::new(&self.path);
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.kill_on_drop(true).envs(self.variables.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        // A Ctrl-C at the terminal is ours to answer: half an import is worse than one that is ended in order.
        #[cfg(unix)]
        command.process_group(0);
        command
    }

    /// What is run, for people to read.
    fn line<A: AsRef<OsStr>>(&self, args: &[A]) -> String {
        let mut line = self.path.file_name().unwrap_or(self.path.as_os_str()).to_string_lossy().into_owned();
        for arg in args {
            line.push(' ');
            line.push_str(&arg.as_ref().to_string_lossy());
        }
        line
    }
}

impl Output {
    /// The end of what it said, its errors if it said some; "it said nothing" where it did not.
    #[must_use]
    pub fn said(&self) -> String {
        let text = if self.stderr.trim().is_empty() { &self.stdout } else { &self.stderr };
        let text = text.trim();
        let mut from = text.len().saturating_sub(SAID_MAX);
        while !text.is_char_boundary(from) {
            from += 1;
        }
        if text.is_empty() { "it said nothing".to_owned() } else { text[from..].to_owned() }
    }
}

#[cfg(unix)]
fn is_program(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(file: &Path) -> bool {
    file.is_file()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn sh() -> Program {
        Program::find(&["no-such-shell", "sh"], &[]).expect("there is a shell")
    }

    #[tokio::test]
    async fn arguments_are_data() {
        let output = sh().run(&["-c", "printf %s \"$1\"", "sh", "$(id); `id` 'x"], LIMIT).await.unwrap();
        assert_eq!(output.stdout, "$(id); `id` 'x");
    }

    #[tokio::test]
    async fn a_failure_says_what_was_run_and_what_it_said() {
        let error = sh().run(&["-c", "echo no disk >&2; exit 3"], LIMIT).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh -c") && text.contains("exit status: 3") && text.contains("no disk"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn input_is_given_even_to_one_that_does_not_read_it() {
        let much = vec![b'x'; 1 << 20];
        let output = sh().output(&["-c", "exec <&-; echo done"], &much, LIMIT).await.unwrap();
        assert_eq!(output.stdout, "done\n");
        let output = sh().output(&["-c", "wc -c"], &much, LIMIT).await.unwrap();
        assert_eq!(output.stdout.trim(), "1048576");
    }

    #[tokio::test]
    async fn what_takes_too_long_is_ended() {
        let dir = tempfile::tempdir().unwrap();
        let program = sh().dir(dir.path());
        let limit = Duration::from_millis(100);
        let error = program.run(&["-c", "sleep 5; touch late"], limit).await.unwrap_err();
        assert!(matches!(error, ProcessError::TimedOut { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let Err(error) = Program::find(&["no-such-program"], &[]) else { panic!("there is no such program") };
        assert_eq!(error.to_string(), "no-such-program is not installed, or is not in the PATH");
        assert!(matches!(Program::at("/no/such").run(&["x"], LIMIT).await, Err(ProcessError::Start { .. })));
    }
}
