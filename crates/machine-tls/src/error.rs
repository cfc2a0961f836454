//! What can go wrong with certificates.

use time::OffsetDateTime;

/// Why a certificate could not be made, read or used. No text holds a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A text is not a PEM certificate.
    #[error("this is not a certificate in PEM form: {why}")]
    NotACertificate {
        /// What is wrong with it.
        why: String,
    },
    /// A text is not a PEM private key of a kind that can be used.
    #[error("this is not a private key that can be used: {why}")]
    NotAKey {
        /// What is wrong with it; never the text.
        why: &'static str,
    },
    /// A certificate's key and a private key are not of one pair.
    #[error("the CA's certificate ({subject}) and private key don't belong together")]
    KeyMismatch {
        /// The certificate's subject.
        subject: String,
    },
    /// A certificate that was given as a CA is none.
    #[error("the certificate of {subject} is not a CA's: it says that it must not sign others")]
    NotAnAuthority {
        /// The certificate's subject.
        subject: String,
    },
    /// A CA is not valid any more: what it signed now would be refused.
    #[error("the CA's certificate ({subject}) expired on {not_after}; it is now {now}")]
    Expired {
        /// The certificate's subject.
        subject: String,
        /// Its end.
        not_after: OffsetDateTime,
        /// This computer's clock.
        now: OffsetDateTime,
    },
    /// A CA is not valid yet: this computer's clock is behind, or was ahead when the CA was made.
    #[error(
        "the CA's certificate ({subject}) is not valid before {not_before}; it is now {now} by this clock"
    )]
    NotYetValid {
        /// The certificate's subject.
        subject: String,
        /// Its begin.
        not_before: OffsetDateTime,
        /// This computer's clock.
        now: OffsetDateTime,
    },
    /// A CA that somebody else signed: only they can renew it.
    #[error("the CA's certificate ({subject}) was issued by {issuer}, who must renew it")]
    NotSelfSigned {
        /// The certificate's subject.
        subject: String,
        /// Who signed it.
        issuer: String,
    },
    /// A name or address can't stand in a certificate.
    #[error("invalid value {value:?} for --tls-san: {why}")]
    BadSan {
        /// The value.
        value: String,
        /// What is wrong with it, and what would be right.
        why: &'static str,
    },
    /// The moment is so far off that no certificate can say it.
    #[error("this computer's clock ({now}) is out of the range of certificates")]
    ClockOutOfRange {
        /// This computer's clock.
        now: OffsetDateTime,
    },
    /// The library for cryptography could not do it.
    #[error("{what}: {why}")]
    Crypto {
        /// What was tried.
        what: &'static str,
        /// Its words.
        why: String,
    },
}

impl TlsError {
    /// What the user can do about it, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Expired { .. } => Some(
                "\"docker-machine regenerate-certs --client-certs\" renews it with its key kept, so that machines \
                 stay reachable.",
            ),
            Self::NotYetValid { .. } | Self::ClockOutOfRange { .. } => Some(
                "Set this computer's clock right. If it is right, the CA was made while it was ahead: \
                 \"docker-machine regenerate-certs --client-certs\" renews it with its key kept.",
            ),
            Self::KeyMismatch { .. } | Self::NotAnAuthority { .. } => Some(
                "Give the certificate and the key of one CA with --tls-ca-cert and --tls-ca-key, or restore both \
                 from a backup.",
            ),
            _ => None,
        }
    }

    /// For `map_err`: an error of a library.
    pub(crate) fn crypto<E: std::fmt::Display>(what: &'static str) -> impl Fn(E) -> Self {
        move |error| Self::Crypto { what, why: error.to_string() }
    }
}
