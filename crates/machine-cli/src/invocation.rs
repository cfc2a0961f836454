//! One run of a command: what was said, and what a command may use.

use std::io::IsTerminal;
use std::sync::Arc;

use machine_core::{DriverSource, Machine};
use machine_lifecycle::{CertPaths, Lifecycle, Settings};
use machine_store::Store;

use crate::args::{Args, Flag, GLOBAL_FLAGS, Globals};
use crate::error::CliError;
use crate::{output, plugin};

/// The machine that is meant where none is named.
pub const DEFAULT_MACHINE: &str = "default";

/// How the program was called.
#[derive(Clone, Debug)]
pub struct Program {
    /// The words before the command's own: `docker-machine`, or `docker machine`.
    pub name: Vec<String>,
    /// The command line as the user wrote it, without secrets: it is shown.
    pub words: Vec<String>,
}

impl Program {
    /// Reads it from argv.
    pub fn of(argv: &[String]) -> Self {
        let args = argv.get(1..).unwrap_or_default();
        if plugin::is_plugin(args) && args.iter().any(|word| word == plugin::NAME) {
            let words = std::iter::once("docker".to_owned()).chain(without_secrets(args)).collect();
            return Self { name: vec!["docker".to_owned(), plugin::NAME.to_owned()], words };
        }
        let name = argv.first().cloned().unwrap_or_else(|| "docker-machine".to_owned());
        let words = std::iter::once(name.clone()).chain(without_secrets(args)).collect();
        Self { name: vec![name], words }
    }

    /// A text that names command lines of ours, as this user types them.
    pub fn in_its_words(&self, text: &str) -> String {
        if self.name.len() == 1 {
            return text.to_owned();
        }
        text.replace("docker-machine ", &format!("{} ", self.called()))
    }

    /// How the user would call this program again.
    pub fn called(&self) -> String {
        self.name.join(" ")
    }
}

/// The words without the global flags that are secret and their values, in all forms: `--x v`, `-x v`, `--x=v`.
fn without_secrets(args: &[String]) -> Vec<String> {
    let secret = |name: &str| GLOBAL_FLAGS.iter().any(|flag| flag.spec.secret && flag.spec.name == name);
    let mut shown = Vec::new();
    let mut words = args.iter();
    while let Some(word) = words.next() {
        let dashes = word.len() - word.trim_start_matches('-').len();
        let (name, value) = match word[dashes..].split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (&word[dashes..], None),
        };
        if !(1..=2).contains(&dashes) || !secret(name) {
            shown.push(word.clone());
        } else if value.is_none() {
            words.next();
        }
    }
    shown
}

/// One run of a command.
pub struct Invocation {
    /// The command's name.
    pub command: &'static str,
    /// Its flags and words.
    pub args: Args,
    /// The global flags.
    pub globals: Globals,
    /// How the program was called.
    pub program: Program,
    /// The flags of the driver, for `create`.
    pub driver_flags: Vec<Flag>,
}

/// All drivers that this program has.
pub fn drivers() -> Arc<dyn DriverSource> {
    Arc::new(machine_drivers::Builtin)
}

impl Invocation {
    /// The store.
    pub fn store(&self) -> Store {
        // Not the whole command line: it goes into lock files and messages, and may hold a driver's secrets.
        Store::new(&self.globals.store_path).with_command(format!("docker-machine {}", self.command))
    }

    /// The rooms put together. No I/O.
    pub fn lifecycle(&self) -> Lifecycle {
        Lifecycle::new(self.store(), drivers(), self.settings())
    }

    fn settings(&self) -> Settings {
        let globals = &self.globals;
        let mut settings = Settings::for_store(&globals.store_path);
        let own = &settings.cert_paths;
        settings.cert_paths = CertPaths {
            dir: own.dir.clone(),
            ca_cert: globals.tls_ca_cert.clone().unwrap_or_else(|| own.ca_cert.clone()),
            ca_key: globals.tls_ca_key.clone().unwrap_or_else(|| own.ca_key.clone()),
            client_cert: globals.tls_client_cert.clone().unwrap_or_else(|| own.client_cert.clone()),
            client_key: globals.tls_client_key.clone().unwrap_or_else(|| own.client_key.clone()),
        };
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        settings.user =
            variable(if cfg!(windows) { "USERNAME" } else { "USER" }).unwrap_or_else(|| "unknown".to_owned());
        settings.ssh_dir = std::env::home_dir().map(|home| home.join(".ssh"));
        settings
    }

    /// The one machine that the words name, or `default` where it exists.
    ///
    /// # Errors
    /// More than one word, or none and no machine `default`.
    pub fn one_name(&self, store: &Store) -> Result<String, CliError> {
        match self.args.words() {
            [] => default_machine(store),
            [name] => Ok(name.clone()),
            _ => Err(CliError::new("Error: Expected one machine name as an argument")),
        }
    }

    /// The machines that the words name, each once, or `default` where it exists.
    ///
    /// # Errors
    /// No words and no machine `default`.
    pub fn names(&self, store: &Store) -> Result<Vec<String>, CliError> {
        let mut names: Vec<String> = Vec::new();
        for name in self.args.words() {
            if !names.contains(name) {
                names.push(name.clone());
            }
        }
        if names.is_empty() { Ok(vec![default_machine(store)?]) } else { Ok(names) }
    }

    /// The record of the one machine that the words name.
    ///
    /// # Errors
    /// As [`Invocation::one_name`], and a record that can't be read.
    pub fn one_machine(&self, store: &Store) -> Result<Machine, CliError> {
        Ok(store.load(&self.one_name(store)?)?)
    }

    /// Whether the answer should be JSON.
    pub fn json(&self) -> bool {
        self.args.bool("json")
    }

    /// Asks a question on the terminal, in the reference program's form.
    ///
    /// # Errors
    /// `EOF` where there is nobody to answer.
    pub fn confirm(&self, question: &str) -> Result<bool, CliError> {
        output::print(&format!("{question} (y/n): "))?;
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        match read {
            Ok(0) => {
                // Nobody typed the end of this line.
                if std::io::stdin().is_terminal() {
                    output::print("\n")?;
                }
                Err(CliError::new("EOF"))
            }
            Ok(_) if answer.trim().is_empty() => Err(CliError::new("unexpected newline")),
            Ok(_) => Ok(answer.trim().to_lowercase().starts_with('y')),
            Err(error) => Err(CliError::new(format!("the answer can't be read: {error}"))),
        }
    }
}

fn default_machine(store: &Store) -> Result<String, CliError> {
    if store.exists(DEFAULT_MACHINE) {
        return Ok(DEFAULT_MACHINE.to_owned());
    }
    Err(CliError::new("Error: No machine name(s) specified and no \"default\" machine exists"))
}

impl From<machine_store::StoreError> for CliError {
    fn from(error: machine_store::StoreError) -> Self {
        let hint = error.hint();
        Self::new(error.to_string()).with_hint_if(hint)
    }
}

impl From<machine_lifecycle::Error> for CliError {
    fn from(error: machine_lifecycle::Error) -> Self {
        Self::from_lifecycle(&error)
    }
}

impl CliError {
    /// A failure of the lifecycle as the user reads it.
    pub fn from_lifecycle(error: &machine_lifecycle::Error) -> Self {
        Self::new(error.to_string()).with_code(error.exit_code()).with_hint_if(error.hint())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_again() {
        let argv = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let shown = |line: &str| Program::of(&argv(line)).words.join(" ");
        for given in ["--github-api-token s3cret", "--github-api-token=s3cret", "-bugsnag-api-token s3cret"] {
            assert_eq!(shown(&format!("dm -s /x {given} env m")), "dm -s /x env m");
        }
        assert_eq!(shown("dm env --shell fish m"), "dm env --shell fish m");
    }
}
