//! Who we are to an engine, and whom we trust.

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use zeroize::Zeroizing;

use crate::certificate::Authority;
use crate::{CertificateProblem, EngineError};

/// The three files that a client needs, as PEM. The key is cleared from memory when dropped and never printed.
#[derive(Clone)]
pub struct Identity {
    /// The CA that signs engines' certificates: `ca.pem`. More than one is allowed.
    pub ca_pem: Vec<u8>,
    /// The client's certificate: `cert.pem`.
    pub cert_pem: Vec<u8>,
    /// Its private key: `key.pem` (PKCS#1, PKCS#8 or SEC1).
    pub key_pem: Zeroizing<Vec<u8>>,
}

impl Identity {
    /// Takes the three files' contents.
    #[must_use]
    pub fn new(
        ca_pem: impl Into<Vec<u8>>,
        cert_pem: impl Into<Vec<u8>>,
        key_pem: impl Into<Vec<u8>>,
    ) -> Self {
        Self { ca_pem: ca_pem.into(), cert_pem: cert_pem.into(), key_pem: Zeroizing::new(key_pem.into()) }
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("key_pem", &"<redacted>").finish_non_exhaustive()
    }
}

/// An [`Identity`] ready for use. To be made once and shared (`clone` is a pointer's copy): it holds the parsed CA
/// and key, which would otherwise be parsed again for every engine.
///
/// Sessions are not resumed: each connection checks both certificates.
#[derive(Clone)]
pub struct TlsConfig {
    pub(crate) client: Arc<ClientConfig>,
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsConfig").finish_non_exhaustive()
    }
}

impl TlsConfig {
    /// Reads the certificates and the key.
    ///
    /// # Errors
    /// [`EngineError::Identity`] naming which of the three is no PEM, not what it should be, or does not fit the
    /// others.
    pub fn new(identity: &Identity) -> Result<Self, EngineError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Verifier::new(&identity.ca_pem, Arc::clone(&provider))?;
        let chain = certificates("the client certificate (cert.pem)", &identity.cert_pem)?;
        let key = PrivateKeyDer::from_pem_slice(&identity.key_pem)
            .map_err(|error| unusable("the client's private key (key.pem)", error))?;
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| unusable("the TLS library", error))?
            // Stricter than rustls' own, and says why.
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| unusable("the client certificate with its key (cert.pem, key.pem)", error))?;
        client.resumption = Resumption::disabled();
        client.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Self { client: Arc::new(client) })
    }
}

fn unusable(what: &'static str, reason: impl fmt::Display) -> EngineError {
    EngineError::Identity { what, reason: reason.to_string() }
}

fn certificates(what: &'static str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, EngineError> {
    let found: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(|e| unusable(what, e))?;
    if found.is_empty() {
        return Err(unusable(what, "there is no certificate in it"));
    }
    Ok(found)
}

/// rustls' own verifier. It refuses what that refuses, and CAs that have expired, and says why in full, with the
/// certificate's names and dates.
#[derive(Debug)]
struct Verifier {
    webpki: Arc<WebPkiServerVerifier>,
    authorities: Vec<Authority>,
}

impl Verifier {
    fn new(ca_pem: &[u8], provider: Arc<CryptoProvider>) -> Result<Self, EngineError> {
        const WHAT: &str = "the CA certificate (ca.pem)";
        let found = certificates(WHAT, ca_pem)?;
        let authorities = found.iter().filter_map(Authority::read).collect();
        let mut roots = RootCertStore::empty();
        // As Go does: what can't be read among several CAs is passed over.
        if roots.add_parsable_certificates(found).0 == 0 {
            return Err(unusable(WHAT, "it is no certificate"));
        }
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| unusable(WHAT, error))?;
        Ok(Self { webpki, authorities })
    }
}

fn refused(problem: CertificateProblem) -> rustls::Error {
    CertificateError::Other(OtherError(Arc::new(problem))).into()
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self
            .webpki
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            .map_err(|error| match error {
                rustls::Error::InvalidCertificate(reason) => {
                    refused(CertificateProblem::new(&reason, end_entity, server_name, now))
                }
                other => other,
            })?;
        let topmost = intermediates.last().unwrap_or(end_entity);
        match Authority::expired(&self.authorities, topmost, now) {
            Some(problem) => Err(refused(problem)),
            None => Ok(verified),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.webpki.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}
