//! Names of machines.

use std::fmt;
use std::str::FromStr;

/// The name of a machine: a letter or digit followed by letters, digits, `-` and `.`
/// (`^[a-zA-Z0-9][a-zA-Z0-9\-\.]*$`, as the reference program has it), at most 255 bytes because it is also
/// the name of a folder.
///
/// A value of this type can't be a path that leaves its folder, a hidden folder, or an option of a program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MachineName(String);

/// A string that can't be the name of a machine. Its text is the reference program's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -")]
pub struct InvalidName;

/// The longest file name that the common file systems take, in bytes.
const MAX_LEN: usize = 255;

impl MachineName {
    /// Checks a name.
    ///
    /// # Errors
    /// [`InvalidName`] where it is empty, too long, or has a character that is not allowed.
    pub fn new(name: impl Into<String>) -> Result<Self, InvalidName> {
        let name = name.into();
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
        let ok = name.len() <= MAX_LEN
            && name.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric)
            && name.bytes().all(allowed);
        if ok { Ok(Self(name)) } else { Err(InvalidName) }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MachineName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for MachineName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl FromStr for MachineName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Self::new(s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_reference() {
        for good in ["a", "a.b-c", "0", "A-", "a..b"] {
            assert!(MachineName::new(good).is_ok(), "{good}");
        }
        for bad in ["", "-bad", ".hidden", "..", "bad name", "a/b", "a\n", "é", "a_b"] {
            assert!(MachineName::new(bad).is_err(), "{bad:?}");
        }
        assert!(MachineName::new("a".repeat(255)).is_ok());
        assert!(MachineName::new("a".repeat(256)).is_err());
    }

    proptest! {
        #[test]
        fn a_name_is_never_a_path_or_an_option(text in ".{0,40}") {
            if let Ok(name) = MachineName::new(text) {
                prop_assert!(!name.as_str().contains(['/', '\\', '\0', '\n', ' ']));
                prop_assert!(!name.as_str().starts_with(['-', '.']));
            }
        }
    }
}
