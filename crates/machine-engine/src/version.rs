//! API versions and their negotiation.

use std::fmt;
use std::str::FromStr;

/// A version of the Engine API, e.g. 1.47.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ApiVersion {
    /// The part before the dot.
    pub major: u32,
    /// The part after it.
    pub minor: u32,
}

/// A text that is no API version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not an API version such as \"1.47\"")]
pub struct InvalidApiVersion(String);

impl ApiVersion {
    /// The newest version that this client speaks: what it uses of the API has the same shape up to here
    /// (engine 28).
    pub const NEWEST: Self = Self { major: 1, minor: 51 };
    /// The oldest one, and what is spoken to an engine that does not say which it speaks. Engines before API 1.24
    /// (1.12, 2016) did not say.
    pub const OLDEST: Self = Self { major: 1, minor: 24 };

    /// The version to speak with an engine whose newest is `engine`; `None` means that the engine did not say.
    ///
    /// It is never newer than either side's newest. An engine's oldest is not in the answer to a ping; where that
    /// is newer than [`ApiVersion::NEWEST`], the first call says so.
    #[must_use]
    pub fn negotiate(engine: Option<Self>) -> Self {
        engine.unwrap_or(Self::OLDEST).min(Self::NEWEST)
    }
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl FromStr for ApiVersion {
    type Err = InvalidApiVersion;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidApiVersion(text.to_owned());
        let (major, minor) = text.trim().split_once('.').ok_or_else(invalid)?;
        let number = |part: &str| -> Result<u32, InvalidApiVersion> {
            // `u32::from_str` takes a leading plus sign
            if !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(invalid());
            }
            part.parse().map_err(|_| invalid())
        };
        Ok(Self { major: number(major)?, minor: number(minor)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        let v = |text: &str| text.parse::<ApiVersion>().unwrap();
        assert!(v("1.9") < v("1.24"));
        assert_eq!(v("1.47").to_string(), "1.47");
        for bad in ["", "1", "1.", ".1", "+1.2", "1.2.3", "v1.2", "1.-2"] {
            assert!(bad.parse::<ApiVersion>().is_err(), "{bad}");
        }
    }

    #[test]
    fn neither_side_gets_a_version_that_it_does_not_know() {
        let v = |text: &str| text.parse::<ApiVersion>().ok();
        assert_eq!(ApiVersion::negotiate(v("1.30")), v("1.30").unwrap());
        assert_eq!(ApiVersion::negotiate(v("1.99")), ApiVersion::NEWEST);
        assert_eq!(ApiVersion::negotiate(None), ApiVersion::OLDEST);
    }
}
