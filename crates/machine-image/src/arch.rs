//! Processors.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ImageError;

/// A processor architecture of guests, written as `uname -m` has it on Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Arch {
    /// `x86_64`, which Debian and Docker call `amd64`.
    #[serde(rename = "x86_64", alias = "amd64")]
    X86_64,
    /// `aarch64`, which Debian and Docker call `arm64`.
    #[serde(rename = "aarch64", alias = "arm64")]
    Aarch64,
}

impl Arch {
    /// Both.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// That of this computer; `x86_64` where it is neither of the two.
    #[must_use]
    pub fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Aarch64 } else { Self::X86_64 }
    }

    /// As `uname -m` has it: `x86_64`, `aarch64`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// As Debian and Docker have it: `amd64`, `arm64`.
    #[must_use]
    pub fn debian(self) -> &'static str {
        match self {
            Self::X86_64 => "amd64",
            Self::Aarch64 => "arm64",
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Arch {
    type Err = ImageError;

    /// Reads either name.
    fn from_str(text: &str) -> Result<Self, ImageError> {
        Self::ALL
            .into_iter()
            .find(|arch| [arch.as_str(), arch.debian()].contains(&text))
            .ok_or_else(|| ImageError::UnknownArch { name: text.to_owned() })
    }
}
