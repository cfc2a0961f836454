//! What a certificate says.

use std::fmt::Write;
use std::net::IpAddr;

use aws_lc_rs::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::x509::X509Name;

use crate::TlsError;

/// What a certificate says: the first one of a PEM text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateInfo {
    /// The subject's organization (O); empty where it has none.
    pub organization: String,
    /// The names and addresses that it is good for, in their order: `localhost`, `203.0.113.7`, `2001:db8::1`.
    pub names: Vec<String>,
    /// Valid from then on.
    pub not_before: OffsetDateTime,
    /// Valid until then.
    pub not_after: OffsetDateTime,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// The SHA-256 of the certificate: 32 hexadecimal pairs with colons, in upper case, as `openssl x509
    /// -fingerprint -sha256` prints them.
    pub fingerprint: String,
    der: Vec<u8>,
}

impl CertificateInfo {
    /// Reads the first certificate of a PEM text.
    ///
    /// # Errors
    /// [`TlsError::NotACertificate`].
    pub fn from_pem(pem: &str) -> Result<Self, TlsError> {
        let der = first_certificate(pem)?;
        let certificate = parse(&der)?;
        Ok(Self {
            organization: organizations(certificate.subject()).into_iter().next().unwrap_or_default(),
            names: names(&certificate),
            not_before: certificate.validity().not_before.to_datetime(),
            not_after: certificate.validity().not_after.to_datetime(),
            is_ca: certificate.is_ca(),
            fingerprint: fingerprint(&der),
            der: der.to_vec(),
        })
    }

    /// Whole days until it ends; negative once it has ended.
    #[must_use]
    pub fn days_left(&self, now: OffsetDateTime) -> i64 {
        let seconds = (self.not_after - now).whole_seconds();
        seconds.div_euclid(24 * 60 * 60)
    }

    /// Whether it is valid at a moment.
    #[must_use]
    pub fn is_valid_at(&self, now: OffsetDateTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// Whether a CA made it: the names fit and the signature is right. Says nothing of times. False, too, where
    /// `ca_pem` can't be read or is not a CA's.
    #[must_use]
    pub fn is_signed_by(&self, ca_pem: &str) -> bool {
        let Ok(ca_der) = first_certificate(ca_pem) else { return false };
        let (Ok(certificate), Ok(ca)) = (parse(&self.der), parse(&ca_der)) else { return false };
        ca.is_ca()
            && certificate.issuer().as_raw() == ca.subject().as_raw()
            && certificate.verify_signature(Some(ca.public_key())).is_ok()
    }
}

/// Whether two certificates are of one key, as a CA's before and after it was renewed.
///
/// # Errors
/// [`TlsError::NotACertificate`].
pub fn have_same_key(one_pem: &str, other_pem: &str) -> Result<bool, TlsError> {
    let (one, other) = (first_certificate(one_pem)?, first_certificate(other_pem)?);
    Ok(parse(&one)?.public_key().raw == parse(&other)?.public_key().raw)
}

/// The first certificate of a PEM text, as DER.
pub(crate) fn first_certificate(pem: &str) -> Result<CertificateDer<'static>, TlsError> {
    CertificateDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| TlsError::NotACertificate { why: error.to_string() })
}

/// Reads a certificate.
pub(crate) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, TlsError> {
    match x509_parser::parse_x509_certificate(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) => Err(TlsError::NotACertificate { why: "there is something behind its end".to_owned() }),
        Err(error) => Err(TlsError::NotACertificate { why: error.to_string() }),
    }
}

/// The organizations of a name.
pub(crate) fn organizations(name: &X509Name<'_>) -> Vec<String> {
    name.iter_organization().filter_map(|value| value.as_str().ok()).map(str::to_owned).collect()
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(name).collect()
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let v6 = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            v4.or(v6).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

fn fingerprint(der: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, der);
    let mut text = String::with_capacity(95);
    for byte in hash.as_ref() {
        let separator = if text.is_empty() { "" } else { ":" };
        // Writing into a String does not fail.
        let _ = write!(text, "{separator}{byte:02X}");
    }
    text
}
