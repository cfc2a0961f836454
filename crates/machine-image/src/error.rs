//! What can go wrong with images.

use machine_core::{DriverError, ErrorKind};

/// Why an image could not be had or made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// No such architecture.
    #[error("unknown architecture {name:?}")]
    UnknownArch {
        /// What was given.
        name: String,
    },
}

impl ImageError {
    /// What to do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownArch { .. } => Some("use x86_64 (amd64) or aarch64 (arm64)".to_owned()),
        }
    }

    fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownArch { .. } => ErrorKind::Config,
        }
    }
}

/// For drivers: the text, the hint, and a fitting kind.
impl From<ImageError> for DriverError {
    fn from(error: ImageError) -> Self {
        let made = Self::new(error.kind(), error.to_string());
        match error.hint() {
            Some(hint) => made.with_hint(hint),
            None => made,
        }
    }
}
