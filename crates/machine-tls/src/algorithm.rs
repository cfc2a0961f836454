//! What keys are made of.

use std::fmt;
use std::str::FromStr;

/// What the keys of certificates are made of.
///
/// All three are taken by dockerd 20.10 and newer, docker CLI 20.10 and 28, and by Go 1.13 and newer. RSA is the
/// default because everything that ever spoke to an engine takes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyAlgorithm {
    /// RSA with 2048 bits, as the reference program's.
    #[default]
    Rsa2048,
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// Ed25519.
    Ed25519,
}

impl KeyAlgorithm {
    /// All of them, the default first.
    pub const ALL: [Self; 3] = [Self::Rsa2048, Self::EcdsaP256, Self::Ed25519];

    /// The name that flags and the journal use.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rsa2048 => "rsa-2048",
            Self::EcdsaP256 => "ecdsa-p256",
            Self::Ed25519 => "ed25519",
        }
    }

    /// What rcgen calls it.
    pub(crate) fn signature(self) -> &'static rcgen::SignatureAlgorithm {
        match self {
            Self::Rsa2048 => &rcgen::PKCS_RSA_SHA256,
            Self::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            Self::Ed25519 => &rcgen::PKCS_ED25519,
        }
    }
}

impl fmt::Display for KeyAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that is no key algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown key algorithm {0:?}; known are rsa-2048, ecdsa-p256 and ed25519")]
pub struct UnknownAlgorithm(String);

impl FromStr for KeyAlgorithm {
    type Err = UnknownAlgorithm;

    /// Reads a name, upper or lower case; the short forms `rsa`, `ecdsa` and `p256` are taken, too.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.to_ascii_lowercase().as_str() {
            "rsa-2048" | "rsa2048" | "rsa" => Ok(Self::Rsa2048),
            "ecdsa-p256" | "ecdsap256" | "ecdsa" | "p256" | "p-256" => Ok(Self::EcdsaP256),
            "ed25519" => Ok(Self::Ed25519),
            _ => Err(UnknownAlgorithm(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for algorithm in KeyAlgorithm::ALL {
            assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
            assert_eq!(algorithm.as_str().to_uppercase().parse(), Ok(algorithm));
        }
        let error = "dsa".parse::<KeyAlgorithm>().unwrap_err().to_string();
        assert_eq!(error, "unknown key algorithm \"dsa\"; known are rsa-2048, ecdsa-p256 and ed25519");
    }
}
