//! Declarations of driver flags. One declaration gives the command-line argument, the help text, the environment
//! variable, completion, the reference page, redaction, and what a plugin sends over the wire.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// One flag of `create` that a driver understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlagSpec {
    /// Long name without dashes, e.g. `generic-ssh-port`.
    pub name: Cow<'static, str>,
    /// Environment variable that gives the value where the flag is absent; empty for none.
    pub env: Cow<'static, str>,
    /// What the flag is for, in one line.
    pub help: Cow<'static, str>,
    /// Type and default.
    pub kind: FlagKind,
    /// Whether the value must never be printed, logged or put into an error.
    pub secret: bool,
}

/// The type of a flag, with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FlagKind {
    /// A text.
    Str(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A switch.
    Bool(bool),
    /// A text that may be given more than once. The environment variable splits it at commas.
    List(Cow<'static, [Cow<'static, str>]>),
}

impl FlagSpec {
    /// Declares a flag that takes a text.
    #[must_use]
    pub const fn str(
        name: &'static str,
        env: &'static str,
        default: &'static str,
        help: &'static str,
    ) -> Self {
        Self::declare(name, env, help, FlagKind::Str(Cow::Borrowed(default)))
    }

    /// Declares a flag that takes a whole number.
    #[must_use]
    pub const fn int(name: &'static str, env: &'static str, default: i64, help: &'static str) -> Self {
        Self::declare(name, env, help, FlagKind::Int(default))
    }

    /// Declares a switch that is off unless given.
    #[must_use]
    pub const fn bool(name: &'static str, env: &'static str, help: &'static str) -> Self {
        Self::declare(name, env, help, FlagKind::Bool(false))
    }

    /// Declares a flag that may be repeated.
    #[must_use]
    pub const fn list(name: &'static str, env: &'static str, help: &'static str) -> Self {
        Self::declare(name, env, help, FlagKind::List(Cow::Borrowed(&[])))
    }

    const fn declare(name: &'static str, env: &'static str, help: &'static str, kind: FlagKind) -> Self {
        Self {
            name: Cow::Borrowed(name),
            env: Cow::Borrowed(env),
            help: Cow::Borrowed(help),
            kind,
            secret: false,
        }
    }

    /// Marks the flag as a secret.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// The value where neither the flag nor its environment variable is given.
    #[must_use]
    pub fn default_value(&self) -> FlagValue {
        match &self.kind {
            FlagKind::Str(text) => FlagValue::Str(text.to_string()),
            FlagKind::Int(number) => FlagValue::Int(*number),
            FlagKind::Bool(on) => FlagValue::Bool(*on),
            FlagKind::List(items) => FlagValue::List(items.iter().map(ToString::to_string).collect()),
        }
    }

    /// Reads a value as text (from an argument or the environment) in the type of this flag.
    ///
    /// # Errors
    /// [`FlagError::Invalid`] where the text is not of that type. A secret's text is not repeated.
    pub fn parse(&self, text: &str) -> Result<FlagValue, FlagError> {
        let invalid = |expected| FlagError::Invalid {
            flag: self.name.to_string(),
            value: if self.secret { crate::Secret::REDACTED.to_owned() } else { text.to_owned() },
            expected,
        };
        match self.kind {
            FlagKind::Str(_) => Ok(FlagValue::Str(text.to_owned())),
            FlagKind::Int(_) => {
                text.trim().parse().map(FlagValue::Int).map_err(|_| invalid("a whole number"))
            }
            FlagKind::Bool(_) => match text {
                "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(FlagValue::Bool(true)),
                "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(FlagValue::Bool(false)),
                _ => Err(invalid("true or false")),
            },
            FlagKind::List(_) => Ok(FlagValue::List(
                text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            )),
        }
    }
}

/// A flag's value.
#[derive(Clone, PartialEq, Eq)]
pub enum FlagValue {
    /// A text.
    Str(String),
    /// A whole number.
    Int(i64),
    /// A switch.
    Bool(bool),
    /// Texts in the order given.
    List(Vec<String>),
}

/// Says the type only: the value may be secret.
impl std::fmt::Debug for FlagValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Str(_) => "Str(..)",
            Self::Int(_) => "Int(..)",
            Self::Bool(_) => "Bool(..)",
            Self::List(_) => "List(..)",
        })
    }
}

/// A flag was used wrongly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlagError {
    /// The text is not of the flag's type.
    #[error("invalid value {value:?} for flag -{flag}: expected {expected}")]
    Invalid {
        /// The flag's name.
        flag: String,
        /// The text given.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
}

/// The values of a driver's flags, and of the few common flags that drivers store (`swarm-master`, `swarm-host`,
/// `swarm-discovery`). A driver asks for what it declared; asking for anything else is answered by the type's zero.
///
/// There is no `Debug`: some values are secret.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct FlagValues {
    values: BTreeMap<String, (FlagValue, bool)>,
}

impl FlagValues {
    /// The defaults of these declarations.
    #[must_use]
    pub fn defaults(specs: &[FlagSpec]) -> Self {
        let values = specs.iter().map(|s| (s.name.to_string(), (s.default_value(), false))).collect();
        Self { values }
    }

    /// Gives a flag a value that the user chose, on the command line or in the environment.
    pub fn set(&mut self, name: impl Into<String>, value: FlagValue) {
        self.values.insert(name.into(), (value, true));
    }

    /// Whether the user chose the value.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        self.values.get(name).is_some_and(|(_, chosen)| *chosen)
    }

    /// The text of a flag; empty where there is none.
    #[must_use]
    pub fn str(&self, name: &str) -> &str {
        match self.values.get(name) {
            Some((FlagValue::Str(text), _)) => text,
            _ => "",
        }
    }

    /// The number of a flag; 0 where there is none.
    #[must_use]
    pub fn int(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some((FlagValue::Int(number), _)) => *number,
            _ => 0,
        }
    }

    /// The number of a flag as a TCP port.
    ///
    /// # Errors
    /// [`FlagError::Invalid`] where it is not in 1–65535.
    pub fn port(&self, name: &str) -> Result<u16, FlagError> {
        let number = self.int(name);
        u16::try_from(number).ok().filter(|port| *port != 0).ok_or_else(|| FlagError::Invalid {
            flag: name.to_owned(),
            value: number.to_string(),
            expected: "a port from 1 to 65535",
        })
    }

    /// Whether a switch is on.
    #[must_use]
    pub fn bool(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some((FlagValue::Bool(true), _)))
    }

    /// The texts of a repeated flag.
    #[must_use]
    pub fn list(&self, name: &str) -> &[String] {
        match self.values.get(name) {
            Some((FlagValue::List(items), _)) => items,
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_in_the_type_of_the_flag() {
        let port = FlagSpec::int("x-port", "X_PORT", 22, "");
        assert_eq!(port.parse("2222"), Ok(FlagValue::Int(2222)));
        let error = port.parse("ssh").unwrap_err();
        assert_eq!(error.to_string(), "invalid value \"ssh\" for flag -x-port: expected a whole number");
        let list = FlagSpec::list("x-tag", "X_TAG", "");
        assert_eq!(list.parse("a, b,,c"), Ok(FlagValue::List(vec!["a".into(), "b".into(), "c".into()])));
    }

    #[test]
    fn a_secret_is_not_repeated_in_an_error() {
        let token = FlagSpec::int("x-pin", "X_PIN", 0, "").secret();
        assert!(!token.parse("hunter2").unwrap_err().to_string().contains("hunter2"));
    }

    #[test]
    fn defaults_are_not_choices() {
        let mut values = FlagValues::defaults(&[FlagSpec::int("port", "", 22, "")]);
        assert_eq!((values.int("port"), values.is_set("port")), (22, false));
        values.set("port", FlagValue::Int(22));
        assert!(values.is_set("port"));
        values.set("port", FlagValue::Int(70_000));
        assert!(values.port("port").is_err());
    }
}
