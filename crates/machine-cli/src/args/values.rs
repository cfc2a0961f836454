//! The values of a command's flags, from the command line, else the environment, else the default.

use machine_core::{FlagKind, FlagSpec, FlagValue, FlagValues};

use super::argv::Given;
use super::declare::Flag;
use crate::error::CliError;

/// What was said to a command.
#[derive(Clone, Default)]
pub struct Args {
    values: FlagValues,
    words: Vec<String>,
    given: Vec<String>,
}

impl Args {
    /// Gives each flag its value.
    ///
    /// # Errors
    /// A value that is not of its flag's type; the text names the flag or the environment variable.
    pub fn read(flags: &[Flag], given: &[Given], words: Vec<String>) -> Result<Self, CliError> {
        let specs: Vec<FlagSpec> = flags.iter().map(|flag| flag.spec.clone()).collect();
        let mut values = FlagValues::defaults(&specs);
        for spec in &specs {
            let texts: Vec<&str> = given
                .iter()
                .filter(|(name, _)| *name == spec.name)
                .map(|(_, value)| value.as_str())
                .collect();
            if let Some(value) = chosen(spec, &texts)? {
                values.set(spec.name.to_string(), value);
            }
        }
        let given = given.iter().map(|(name, _)| name.clone()).collect();
        Ok(Self { values, words, given })
    }

    /// Whether a flag stands on the command line. One that has its value from the environment does not.
    pub fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given == name)
    }

    /// The words that are not flags.
    pub fn words(&self) -> &[String] {
        &self.words
    }

    /// All values, for a driver.
    pub fn values(&self) -> &FlagValues {
        &self.values
    }

    /// A text; empty where not given and without default.
    pub fn str(&self, name: &str) -> &str {
        self.values.str(name)
    }

    /// A switch.
    pub fn bool(&self, name: &str) -> bool {
        self.values.bool(name)
    }

    /// A number.
    pub fn int(&self, name: &str) -> i64 {
        self.values.int(name)
    }

    /// Repeated texts.
    pub fn list(&self, name: &str) -> &[String] {
        self.values.list(name)
    }

    /// A time in seconds that must not be negative.
    ///
    /// # Errors
    /// A number below zero.
    pub fn seconds(&self, name: &str) -> Result<std::time::Duration, CliError> {
        u64::try_from(self.int(name)).map(std::time::Duration::from_secs).map_err(|_| {
            CliError::new(format!(
                "invalid value \"{}\" for flag -{name}: expected seconds, 0 or more",
                self.int(name)
            ))
        })
    }
}

/// What the user chose for a flag: on the command line (the last one counts, or all of a list), else in the
/// environment, where an empty variable counts as none.
fn chosen(spec: &FlagSpec, texts: &[&str]) -> Result<Option<FlagValue>, CliError> {
    if let Some(last) = texts.last() {
        if matches!(spec.kind, FlagKind::List(_)) {
            return Ok(Some(FlagValue::List(texts.iter().map(|text| (*text).to_owned()).collect())));
        }
        return spec.parse(last).map(Some).map_err(|error| CliError::new(error.to_string()));
    }
    if spec.env.is_empty() {
        return Ok(None);
    }
    let Some(text) = std::env::var_os(spec.env.as_ref()).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let text =
        text.into_string().map_err(|_| CliError::new(format!("The value of {} is not UTF-8", spec.env)))?;
    spec.parse(&text).map(Some).map_err(|error| {
        CliError::new(format!("{error}"))
            .with_hint(format!("It comes from the environment variable {}.", spec.env))
    })
}
