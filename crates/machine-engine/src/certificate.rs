//! What can be wrong with an engine's certificate, in Go's words.

use std::net::IpAddr;

use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::time::ASN1Time;

/// Why an engine's certificate was not accepted. The texts are those of Go's `crypto/x509`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateProblem {
    /// It is too old, or the clock here is wrong.
    #[error("x509: certificate has expired or is not yet valid: current time {now} is after {not_after}")]
    Expired {
        /// The time here, RFC 3339, UTC.
        now: String,
        /// The end of its validity, RFC 3339, UTC.
        not_after: String,
    },
    /// The CA that signed it is too old. Go's clients refuse that; rustls alone would not.
    #[error(
        "x509: certificate has expired or is not yet valid: current time {now} is after {not_after} (the CA)"
    )]
    AuthorityExpired {
        /// The time here, RFC 3339, UTC.
        now: String,
        /// The end of its validity, RFC 3339, UTC.
        not_after: String,
    },
    /// It is not valid yet, or the clock here or there is wrong.
    #[error("x509: certificate has expired or is not yet valid: current time {now} is before {not_before}")]
    NotYetValid {
        /// The time here, RFC 3339, UTC.
        now: String,
        /// The beginning of its validity, RFC 3339, UTC.
        not_before: String,
    },
    /// It was made for other names or addresses, e.g. because the machine's address changed.
    #[error("{}", wrong_name(.expected, .names, .addresses))]
    WrongName {
        /// What the engine was called by: a host name or an address.
        expected: String,
        /// The names that it is valid for.
        names: Vec<String>,
        /// The addresses that it is valid for.
        addresses: Vec<String>,
    },
    /// Another CA signed it, or nobody.
    #[error("x509: certificate signed by unknown authority")]
    UnknownAuthority,
    /// It is not meant for servers.
    #[error("x509: certificate specifies an incompatible key usage")]
    WrongUsage,
    /// Something else.
    #[error("x509: {0}")]
    Other(String),
}

fn wrong_name(expected: &str, names: &[String], addresses: &[String]) -> String {
    let (valid_for, is_address) = match expected.parse::<IpAddr>() {
        Ok(_) => (addresses, true),
        Err(_) => (names, false),
    };
    match (valid_for.is_empty(), is_address) {
        (true, true) => {
            format!("x509: cannot validate certificate for {expected} because it doesn't contain any IP SANs")
        }
        (true, false) => {
            format!("x509: certificate is not valid for any names, but wanted to match {expected}")
        }
        (false, _) => format!("x509: certificate is valid for {}, not {expected}", valid_for.join(", ")),
    }
}

impl CertificateProblem {
    /// Says in Go's words what rustls found wrong with a certificate.
    pub(crate) fn new(
        error: &CertificateError,
        leaf: &CertificateDer<'_>,
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Self {
        let parsed = X509Certificate::from_der(leaf).ok().map(|(_, certificate)| certificate);
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired {
                now: rfc3339(seconds(now)),
                not_after: parsed.map(|c| rfc3339(c.validity().not_after.timestamp())).unwrap_or_default(),
            },
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid {
                    now: rfc3339(seconds(now)),
                    not_before: parsed
                        .map(|c| rfc3339(c.validity().not_before.timestamp()))
                        .unwrap_or_default(),
                }
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                let (names, addresses) = parsed.map(|c| subject_names(&c)).unwrap_or_default();
                Self::WrongName { expected: server_name.to_str().into_owned(), names, addresses }
            }
            // A CA made anew with the same name has another key: Go says the same of both.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownAuthority,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongUsage
            }
            other => Self::Other(other.to_string()),
        }
    }
}

/// A CA's name and the end of its validity: rustls looks at neither once it trusts the CA.
#[derive(Clone, Debug)]
pub(crate) struct Authority {
    subject: Vec<u8>,
    not_after: i64,
}

impl Authority {
    /// Reads a CA's certificate; `None` where it is none.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let not_after = parsed.validity().not_after.timestamp();
        Some(Self { subject: parsed.subject().as_raw().to_vec(), not_after })
    }

    /// Whether every CA that may have signed `topmost`, the last certificate of an accepted chain, is too old.
    pub(crate) fn expired(
        authorities: &[Self],
        topmost: &CertificateDer<'_>,
        now: UnixTime,
    ) -> Option<CertificateProblem> {
        let (_, topmost) = X509Certificate::from_der(topmost).ok()?;
        let not_after = authorities
            .iter()
            .filter(|authority| authority.subject == topmost.issuer().as_raw())
            .map(|authority| authority.not_after)
            .max()?;
        (not_after < seconds(now)).then(|| CertificateProblem::AuthorityExpired {
            now: rfc3339(seconds(now)),
            not_after: rfc3339(not_after),
        })
    }
}

/// What a certificate that was accepted says of itself: the end of its validity in seconds since 1970, names,
/// addresses.
pub(crate) fn describe(leaf: &CertificateDer<'_>) -> Option<(i64, Vec<String>, Vec<String>)> {
    let (_, certificate) = X509Certificate::from_der(leaf).ok()?;
    let (names, addresses) = subject_names(&certificate);
    Some((certificate.validity().not_after.timestamp(), names, addresses))
}

fn subject_names(certificate: &X509Certificate<'_>) -> (Vec<String>, Vec<String>) {
    let (mut names, mut addresses) = (Vec::new(), Vec::new());
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return (names, addresses);
    };
    for name in &extension.value.general_names {
        match name {
            GeneralName::DNSName(dns) => names.push((*dns).to_owned()),
            GeneralName::IPAddress(bytes) => {
                if let Ok(v4) = <[u8; 4]>::try_from(*bytes) {
                    addresses.push(IpAddr::from(v4).to_string());
                } else if let Ok(v6) = <[u8; 16]>::try_from(*bytes) {
                    addresses.push(IpAddr::from(v6).to_string());
                }
            }
            _ => {}
        }
    }
    (names, addresses)
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn rfc3339(timestamp: i64) -> String {
    match ASN1Time::from_timestamp(timestamp) {
        Ok(time) => {
            let t = time.to_datetime();
            format!(
                "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                t.year(),
                u8::from(t.month()),
                t.day(),
                t.hour(),
                t.minute(),
                t.second()
            )
        }
        Err(_) => format!("@{timestamp}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_go() {
        let wrong = |expected: &str, names: &[&str], addresses: &[&str]| {
            CertificateProblem::WrongName {
                expected: expected.into(),
                names: names.iter().map(ToString::to_string).collect(),
                addresses: addresses.iter().map(ToString::to_string).collect(),
            }
            .to_string()
        };
        assert_eq!(
            wrong("5.6.7.8", &["localhost"], &["1.2.3.4", "::1"]),
            "x509: certificate is valid for 1.2.3.4, ::1, not 5.6.7.8"
        );
        assert_eq!(
            wrong("5.6.7.8", &["localhost"], &[]),
            "x509: cannot validate certificate for 5.6.7.8 because it doesn't contain any IP SANs"
        );
        assert_eq!(wrong("b", &["a", "c"], &[]), "x509: certificate is valid for a, c, not b");
        assert_eq!(
            wrong("b", &[], &[]),
            "x509: certificate is not valid for any names, but wanted to match b"
        );
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
    }
}
