//! What stands in the certificates: docker/machine 0.16.2's (libmachine/cert/cert.go) names, times and usages.

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose, SanType, SerialNumber,
};
use time::{Duration, OffsetDateTime};

use crate::{KeyAlgorithm, TlsError};

/// How long every certificate is good for, in days, from five minutes before it is made.
pub const LIFETIME_DAYS: i64 = 1080;

/// Clocks of hosts are a little behind: certificates begin in the past.
const HEAD_START: Duration = Duration::minutes(5);

/// A certificate without usages, good from now on.
fn begin(now: OffsetDateTime) -> Result<CertificateParams, TlsError> {
    let out_of_range = || TlsError::ClockOutOfRange { now };
    // X.509 has whole seconds and the years 1950 to 9999.
    let not_before = now
        .to_offset(time::UtcOffset::UTC)
        .replace_nanosecond(0)
        .ok()
        .and_then(|now| now.checked_sub(HEAD_START))
        .ok_or_else(out_of_range)?;
    let not_after = not_before.checked_add(Duration::days(LIFETIME_DAYS)).ok_or_else(out_of_range)?;
    if not_before.year() < 1950 || not_after.year() > 9999 {
        return Err(out_of_range());
    }
    let mut params = CertificateParams::default();
    params.not_before = not_before;
    params.not_after = not_after;
    params.serial_number = Some(random_serial()?);
    params.distinguished_name = DistinguishedName::new();
    Ok(params)
}

/// 128 random bits, positive and not zero (RFC 5280, 4.1.2.2).
fn random_serial() -> Result<SerialNumber, TlsError> {
    let mut bytes = [0_u8; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(TlsError::crypto("no random numbers"))?;
    bytes[15] |= 1;
    Ok(SerialNumber::from_slice(&bytes))
}

/// The usages of a key. Encryption and key agreement are for the keys that can do it (RFC 8410, RFC 9295); the
/// reference program knows RSA only, which has all of them.
fn key_usages(algorithm: KeyAlgorithm) -> Vec<KeyUsagePurpose> {
    let mut usages = vec![KeyUsagePurpose::DigitalSignature];
    if algorithm == KeyAlgorithm::Rsa2048 {
        usages.push(KeyUsagePurpose::KeyEncipherment);
    }
    if algorithm != KeyAlgorithm::Ed25519 {
        usages.push(KeyUsagePurpose::KeyAgreement);
    }
    usages
}

/// A CA's certificate.
pub(crate) fn authority(
    algorithm: KeyAlgorithm,
    organization: &str,
    now: OffsetDateTime,
) -> Result<CertificateParams, TlsError> {
    let mut params = begin(now)?;
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = key_usages(algorithm);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    Ok(params)
}

/// Times and serial number for a CA's certificate that is renewed.
pub(crate) fn renewal(now: OffsetDateTime) -> Result<CertificateParams, TlsError> {
    begin(now)
}

/// Whose certificate it is.
pub(crate) enum Role {
    /// Connects to engines.
    Client,
    /// An engine.
    Server(Vec<SanType>),
    /// An engine with a standalone Swarm manager, which connects to other engines.
    SwarmMaster(Vec<SanType>),
}

impl Role {
    fn name(&self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server(_) | Self::SwarmMaster(_) => "server",
        }
    }
}

/// A client's or server's certificate. `authorities` are the organizations in the CA's subject.
pub(crate) fn leaf(
    algorithm: KeyAlgorithm,
    organization: &str,
    role: Role,
    authorities: &[String],
    now: OffsetDateTime,
) -> Result<CertificateParams, TlsError> {
    let mut params = begin(now)?;
    params.distinguished_name.push(DnType::OrganizationName, organization);
    // Subject and issuer must differ: OpenSSL and webpki (rustls) take a certificate in which they are equal for a
    // self-signed one, look for no CA above it, and refuse it. User "a" with machine "b" and the CA of user "a.b" are
    // such a case.
    if authorities.iter().any(|authority| authority == organization) {
        params.distinguished_name.push(DnType::OrganizationalUnitName, role.name());
    }
    params.is_ca = IsCa::ExplicitNoCa;
    match role {
        Role::Client => {
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        }
        Role::Server(sans) => {
            params.key_usages = key_usages(algorithm);
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
            params.subject_alt_names = sans;
        }
        Role::SwarmMaster(sans) => {
            params.key_usages = key_usages(algorithm);
            params.extended_key_usages =
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names = sans;
        }
    }
    Ok(params)
}
