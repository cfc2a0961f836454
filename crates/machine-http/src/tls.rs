//! Whom to trust.

use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use rustls_platform_verifier::Verifier;

use crate::HttpError;

/// How servers are judged.
pub struct Judge {
    /// The settings of connections.
    pub config: ClientConfig,
    /// Why nobody can be trusted, e.g. because the system has no root certificates. What needs no TLS works all the
    /// same.
    pub problem: Option<String>,
}

/// TLS by which servers are judged as the system does, with these further roots.
pub fn judge(extra_ca: Option<&Path>) -> Result<Judge, HttpError> {
    let setup = |error: rustls::Error| HttpError::Setup { why: error.to_string() };
    let extra = extra_ca.map(certificates).transpose()?.unwrap_or_default();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(setup)?;
    match Verifier::new_with_extra_roots(extra, provider) {
        Ok(verifier) => {
            // The library's word for a verifier that is not its own; this one is the system's.
            let builder = builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier));
            Ok(Judge { config: builder.with_no_client_auth(), problem: None })
        }
        Err(error) => {
            let nobody = builder.with_root_certificates(RootCertStore::empty());
            Ok(Judge { config: nobody.with_no_client_auth(), problem: Some(error.to_string()) })
        }
    }
}

/// TLS by which every server is believed to be who it says.
pub fn believe_anybody() -> Result<Judge, HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| HttpError::Setup { why: error.to_string() })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    Ok(Judge { config, problem: None })
}

/// Believes every certificate; the handshake itself must still be sound.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, HttpError> {
    let wrong = |why: String| HttpError::ExtraCa { path: path.to_owned(), why };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| wrong(error.to_string()))?;
    if found.is_empty() {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    Ok(found)
}
