//! The CA.

use rcgen::{CertificateParams, Issuer, KeyIdMethod, SigningKey};
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;

use crate::key::{Pair, to_pem};
use crate::profile::{self, Role};
use crate::{KeyAlgorithm, PrivateKeyPem, TlsError, der, info, san};

/// A certificate with its private key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate_pem: String,
    /// Its private key: PKCS#1 for RSA, else PKCS#8.
    pub key_pem: PrivateKeyPem,
}

/// A CA: it signs the certificates of engines and clients.
pub struct Authority {
    key: Pair,
    certificate: Vec<u8>,
    subject: Subject,
    key_pem: PrivateKeyPem,
    certificate_pem: String,
}

/// What is read from the CA's certificate once.
struct Subject {
    /// The subject's name, byte for byte.
    raw: Vec<u8>,
    /// For people.
    text: String,
    organizations: Vec<String>,
    key_id: Option<Vec<u8>>,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Authority({})", self.subject.text)
    }
}

impl Authority {
    /// Makes a CA that is good from now on. The reference program's organization is the user's login name.
    ///
    /// # Errors
    /// [`TlsError::Crypto`], [`TlsError::ClockOutOfRange`].
    pub fn generate(algorithm: KeyAlgorithm, organization: &str) -> Result<Self, TlsError> {
        Self::generate_at(algorithm, organization, OffsetDateTime::now_utc())
    }

    /// [`Authority::generate`] at another moment.
    ///
    /// # Errors
    /// As [`Authority::generate`].
    pub fn generate_at(
        algorithm: KeyAlgorithm,
        organization: &str,
        now: OffsetDateTime,
    ) -> Result<Self, TlsError> {
        let key = Pair::generate(algorithm)?;
        let certificate = profile::authority(algorithm, organization, now)?
            .self_signed(&*key)
            .map_err(TlsError::crypto("signing the CA's certificate failed"))?;
        let key_pem = key.to_pem()?;
        Self::new(certificate.der().to_vec(), key, key_pem)
    }

    /// The CA of a certificate and its private key in PEM form, made by whomever. That it has expired is no error
    /// here: see [`Authority::renew`].
    ///
    /// # Errors
    /// [`TlsError::NotACertificate`], [`TlsError::NotAKey`], [`TlsError::NotAnAuthority`],
    /// [`TlsError::KeyMismatch`].
    pub fn from_pem(certificate_pem: &str, key_pem: &str) -> Result<Self, TlsError> {
        let certificate = info::first_certificate(certificate_pem)?;
        let key = Pair::from_pem(key_pem)?;
        let kept = PrivateKeyPem::new(key_pem);
        let mut authority = Self::new(certificate.to_vec(), key, kept)?;
        // A chain behind the first certificate stays.
        certificate_pem.clone_into(&mut authority.certificate_pem);
        Ok(authority)
    }

    fn new(certificate: Vec<u8>, key: Pair, key_pem: PrivateKeyPem) -> Result<Self, TlsError> {
        let parsed = info::parse(&certificate)?;
        let text = parsed.subject().to_string();
        if !parsed.is_ca() {
            return Err(TlsError::NotAnAuthority { subject: text });
        }
        if !key.is_of(&parsed.public_key().subject_public_key.data) {
            return Err(TlsError::KeyMismatch { subject: text });
        }
        let subject = Subject {
            raw: parsed.subject().as_raw().to_vec(),
            text,
            organizations: info::organizations(parsed.subject()),
            key_id: parsed.iter_extensions().find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
                _ => None,
            }),
            not_before: parsed.validity().not_before.to_datetime(),
            not_after: parsed.validity().not_after.to_datetime(),
        };
        let certificate_pem = to_pem("CERTIFICATE", &certificate);
        Ok(Self { key, certificate, subject, key_pem, certificate_pem })
    }

    /// The CA's certificate.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, as it was read or made.
    #[must_use]
    pub fn key_pem(&self) -> &PrivateKeyPem {
        &self.key_pem
    }

    /// Whether the CA's certificate is valid at a moment.
    ///
    /// # Errors
    /// [`TlsError::Expired`], [`TlsError::NotYetValid`].
    pub fn check_validity(&self, now: OffsetDateTime) -> Result<(), TlsError> {
        let Subject { not_before, not_after, .. } = self.subject;
        let subject = || self.subject.text.clone();
        if now > not_after {
            return Err(TlsError::Expired { subject: subject(), not_after, now });
        }
        if now < not_before {
            return Err(TlsError::NotYetValid { subject: subject(), not_before, now });
        }
        Ok(())
    }

    /// A client's certificate.
    ///
    /// # Errors
    /// [`TlsError::Expired`] or [`TlsError::NotYetValid`] of the CA; [`TlsError::Crypto`];
    /// [`TlsError::ClockOutOfRange`].
    pub fn issue_client(&self, algorithm: KeyAlgorithm, organization: &str) -> Result<Issued, TlsError> {
        self.issue_client_at(algorithm, organization, OffsetDateTime::now_utc())
    }

    /// [`Authority::issue_client`] at another moment.
    ///
    /// # Errors
    /// As [`Authority::issue_client`].
    pub fn issue_client_at(
        &self,
        algorithm: KeyAlgorithm,
        organization: &str,
        now: OffsetDateTime,
    ) -> Result<Issued, TlsError> {
        self.issue(algorithm, organization, Role::Client, now)
    }

    /// An engine's certificate for these host names, wildcards and addresses.
    ///
    /// # Errors
    /// [`TlsError::BadSan`]; else as [`Authority::issue_client`].
    pub fn issue_server(
        &self,
        algorithm: KeyAlgorithm,
        organization: &str,
        sans: &[String],
    ) -> Result<Issued, TlsError> {
        let role = Role::Server(san::parse_all(sans)?);
        self.issue(algorithm, organization, role, OffsetDateTime::now_utc())
    }

    /// The certificate of an engine that is also a standalone Swarm's master: good as a client's, too.
    ///
    /// # Errors
    /// As [`Authority::issue_server`].
    pub fn issue_swarm_master(
        &self,
        algorithm: KeyAlgorithm,
        organization: &str,
        sans: &[String],
    ) -> Result<Issued, TlsError> {
        let role = Role::SwarmMaster(san::parse_all(sans)?);
        self.issue(algorithm, organization, role, OffsetDateTime::now_utc())
    }

    fn issue(
        &self,
        algorithm: KeyAlgorithm,
        organization: &str,
        role: Role,
        now: OffsetDateTime,
    ) -> Result<Issued, TlsError> {
        self.check_validity(now)?;
        let key = Pair::generate(algorithm)?;
        let mut params = profile::leaf(algorithm, organization, role, &self.subject.organizations, now)?;
        let mut issuer = CertificateParams::default();
        // The reference program's CAs have no key identifier; then there is none to point to.
        if let Some(id) = &self.subject.key_id {
            params.use_authority_key_identifier_extension = true;
            issuer.key_identifier_method = KeyIdMethod::PreSpecified(id.clone());
        }
        let draft = params
            .signed_by(&*key, &Issuer::from_params(&issuer, &*self.key))
            .map_err(TlsError::crypto("signing a certificate failed"))?;
        let fields = Fields::of(draft.der())?;
        // The issuer's name is the CA's subject byte for byte: verifiers compare the bytes, and a name that is taken
        // apart and written again may come out in another string type or without a part.
        let certificate = Fields { issuer: &self.subject.raw, ..fields }.sign(&self.key)?;
        Ok(Issued { certificate_pem: to_pem("CERTIFICATE", &certificate), key_pem: key.to_pem()? })
    }

    /// The same CA with a new certificate: same key, same subject, same extensions with the key identifier, so that
    /// certificates that it signed before still chain to it; only the times and the serial number are new.
    ///
    /// # Errors
    /// [`TlsError::NotSelfSigned`] where another CA signed it; [`TlsError::Crypto`]; [`TlsError::ClockOutOfRange`].
    pub fn renew(&self) -> Result<Self, TlsError> {
        self.renew_at(OffsetDateTime::now_utc())
    }

    /// [`Authority::renew`] at another moment.
    ///
    /// # Errors
    /// As [`Authority::renew`].
    pub fn renew_at(&self, now: OffsetDateTime) -> Result<Self, TlsError> {
        let old = info::parse(&self.certificate)?;
        if old.issuer().as_raw() != old.subject().as_raw() {
            return Err(TlsError::NotSelfSigned {
                subject: self.subject.text.clone(),
                issuer: old.issuer().to_string(),
            });
        }
        let draft = profile::renewal(now)?
            .self_signed(&*self.key)
            .map_err(TlsError::crypto("signing the CA's certificate failed"))?;
        let (draft, fields) = (Fields::of(draft.der())?, Fields::of(&self.certificate)?);
        // Some CAs (OpenSSL's "issuer:always") point to themselves by their serial number: there it must stay.
        let serial = if points_to_serial(&old) { fields.serial } else { draft.serial };
        let renewed = Fields { serial, algorithm: draft.algorithm, validity: draft.validity, ..fields };
        let certificate = renewed.sign(&self.key)?;
        Self::from_pem(&to_pem("CERTIFICATE", &certificate), self.key_pem.expose())
    }
}

fn points_to_serial(certificate: &x509_parser::certificate::X509Certificate<'_>) -> bool {
    certificate.iter_extensions().any(|extension| {
        matches!(extension.parsed_extension(),
            ParsedExtension::AuthorityKeyIdentifier(id) if id.authority_cert_serial.is_some())
    })
}

/// The fields of a certificate that is to be signed (RFC 5280, 4.1), each as it is encoded.
struct Fields<'a> {
    version: &'a [u8],
    serial: &'a [u8],
    algorithm: &'a [u8],
    issuer: &'a [u8],
    validity: &'a [u8],
    /// Subject, public key, extensions.
    rest: Vec<&'a [u8]>,
}

impl<'a> Fields<'a> {
    fn of(certificate: &'a [u8]) -> Result<Self, TlsError> {
        let odd =
            || TlsError::NotACertificate { why: "it is not an X.509 certificate of version 3".to_owned() };
        let outer = der::elements(certificate).ok_or_else(odd)?;
        let inner = outer.first().and_then(|tbs| der::elements(tbs)).ok_or_else(odd)?;
        match inner.as_slice() {
            [version @ [0xa0, ..], serial, algorithm, issuer, validity, rest @ ..] if rest.len() >= 2 => {
                Ok(Self { version, serial, algorithm, issuer, validity, rest: rest.to_vec() })
            }
            _ => Err(odd()),
        }
    }

    /// The certificate of these fields.
    fn sign(&self, key: &Pair) -> Result<Vec<u8>, TlsError> {
        let mut parts = vec![self.version, self.serial, self.algorithm, self.issuer, self.validity];
        parts.extend(&self.rest);
        let content = der::element(der::SEQUENCE, &parts);
        let signature = key.sign(&content).map_err(TlsError::crypto("signing a certificate failed"))?;
        // A bit string begins with the number of bits that its last byte does not use.
        let signature = der::element(der::BIT_STRING, &[&[0], &signature]);
        Ok(der::element(der::SEQUENCE, &[&content, self.algorithm, &signature]))
    }
}
