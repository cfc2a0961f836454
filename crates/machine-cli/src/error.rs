//! How a command ends when it does not end well.

use std::fmt::Write as _;

/// Why a command ended. Everything that the user reads about a failure goes through here.
#[derive(Debug)]
pub enum CliError {
    /// Something failed; said on stderr.
    Failed(Box<Failure>),
    /// Nobody reads our output any more. Quiet.
    BrokenPipe,
    /// All was said; only the exit code is left, e.g. that of a remote command.
    Exit(u8),
}

/// What failed, why, and what to do.
#[derive(Debug)]
pub struct Failure {
    message: String,
    hint: Option<String>,
    usage: Option<String>,
    code: u8,
}

/// The exit code after Ctrl-C, as shells count it.
pub const INTERRUPTED: u8 = 130;
/// The exit code when nobody reads our output, as shells count a program that SIGPIPE ended.
pub const BROKEN_PIPE: u8 = 141;

impl CliError {
    /// A failure with exit code 1.
    pub fn new(message: impl Into<String>) -> Self {
        Self::Failed(Box::new(Failure { message: message.into(), hint: None, usage: None, code: 1 }))
    }

    /// Wrong use of a command: its help is printed on stdout, as the reference program does.
    pub fn usage(message: impl Into<String>, help: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        if let Self::Failed(failure) = &mut error {
            failure.usage = Some(help.into());
        }
        error
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hint = Some(hint.into());
        }
        self
    }

    /// Adds what to do about it, where there is something.
    #[must_use]
    pub fn with_hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.with_hint(hint),
            None => self,
        }
    }

    /// Adds a line to what there is to do about it.
    #[must_use]
    pub fn and_hint(mut self, more: &str) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.hint = Some(match failure.hint.take() {
                Some(hint) => format!("{hint}\n{more}"),
                None => more.to_owned(),
            });
        }
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub fn with_code(mut self, exit: u8) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.code = exit;
        }
        self
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(mut self, doing: &str) -> Self {
        if let Self::Failed(failure) = &mut self {
            failure.message = format!("{doing}: {}", failure.message);
        }
        self
    }

    /// Several failures as one: their texts, a line each.
    pub fn all(errors: Vec<Self>) -> Option<Self> {
        let mut errors = errors.into_iter();
        let first = errors.next()?;
        Some(errors.fold(first, |sum, error| match (sum, error) {
            (Self::Failed(mut sum), Self::Failed(error)) => {
                let _ = write!(sum.message, "\n{}", error.message);
                sum.code = sum.code.min(error.code);
                sum.hint = match (sum.hint.take(), error.hint) {
                    (Some(a), Some(b)) if a != b => Some(format!("{a}\n{b}")),
                    (a, b) => a.or(b),
                };
                Self::Failed(sum)
            }
            (Self::Failed(sum), _) => Self::Failed(sum),
            (_, other) => other,
        }))
    }

    /// What is printed on stdout before the message.
    pub fn usage_text(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => failure.usage.as_deref(),
            Self::BrokenPipe | Self::Exit(_) => None,
        }
    }

    /// The message alone, without hint: the first thing on stderr.
    pub fn message(&self) -> &str {
        match self {
            Self::Failed(failure) => &failure.message,
            Self::BrokenPipe | Self::Exit(_) => "",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::Failed(failure) => failure.hint.as_deref(),
            Self::BrokenPipe | Self::Exit(_) => None,
        }
    }

    /// What the program returns.
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(failure) => failure.code,
            Self::BrokenPipe => BROKEN_PIPE,
            Self::Exit(code) => *code,
        }
    }
}

/// An error with its causes in one line, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            let _ = write!(text, ": {next}");
        }
        cause = error.source();
    }
    text
}

impl From<std::io::Error> for CliError {
    /// For writing to stdout; errors of files get their own text where they happen.
    fn from(error: std::io::Error) -> Self {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::new(format!("The output can't be written: {error}"))
        }
    }
}
