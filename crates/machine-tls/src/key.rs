//! Private keys.

use std::fmt;

use rcgen::{KeyPair, PublicKeyData};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use zeroize::{Zeroize, Zeroizing};

use crate::{KeyAlgorithm, TlsError, der, info};

/// A private key as PEM text. `Debug` shows nothing of it, and its memory is cleared when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct PrivateKeyPem(Zeroizing<String>);

impl PrivateKeyPem {
    pub(crate) fn new(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text itself, for the one place that stores or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PrivateKeyPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrivateKeyPem(<redacted>)")
    }
}

/// A key pair whose memory is cleared when dropped.
pub(crate) struct Pair(KeyPair);

impl Drop for Pair {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl std::ops::Deref for Pair {
    type Target = KeyPair;

    fn deref(&self) -> &KeyPair {
        &self.0
    }
}

impl Pair {
    /// Makes a new key.
    pub(crate) fn generate(algorithm: KeyAlgorithm) -> Result<Self, TlsError> {
        // rcgen makes RSA keys of 2048 bits.
        KeyPair::generate_for(algorithm.signature())
            .map(Self)
            .map_err(TlsError::crypto("making a key failed"))
    }

    /// Reads the first private key of a PEM text: PKCS#1, SEC 1 or PKCS#8.
    pub(crate) fn from_pem(text: &str) -> Result<Self, TlsError> {
        if text.contains("ENCRYPTED") {
            return Err(TlsError::NotAKey {
                why: "it is encrypted with a passphrase; decrypt it with \"openssl pkey\"",
            });
        }
        let key = PrivateKeyDer::from_pem_slice(text.as_bytes())
            .map_err(|_| TlsError::NotAKey { why: "there is no PEM block of a private key in it" })?;
        KeyPair::try_from(&key).map(Self).map_err(|_| TlsError::NotAKey {
            why: "it is damaged, or neither RSA, ECDSA (P-256, P-384, P-521) nor Ed25519",
        })
    }

    /// The key as PEM text: RSA as PKCS#1, which the reference program writes and everything reads; others as PKCS#8.
    pub(crate) fn to_pem(&self) -> Result<PrivateKeyPem, TlsError> {
        let odd = || TlsError::NotAKey { why: "the library wrote it in a form that is not PKCS#8" };
        let whole = self.0.serialized_der();
        let parts = der::elements(whole).ok_or_else(odd)?;
        let [_version, algorithm, key, ..] = parts.as_slice() else { return Err(odd()) };
        let (label, bytes) = if self.0.is_compatible(&rcgen::PKCS_RSA_SHA256) {
            let inner = der::content(key, der::OCTET_STRING).ok_or_else(odd)?;
            ("RSA PRIVATE KEY", Zeroizing::new(inner.to_vec()))
        } else {
            // Version 1 of PKCS#8, without the public key behind the private one: OpenSSL reads no other.
            let bytes = der::element(der::SEQUENCE, &[&der::ZERO, algorithm, key]);
            ("PRIVATE KEY", Zeroizing::new(bytes))
        };
        Ok(PrivateKeyPem(Zeroizing::new(to_pem(label, &bytes))))
    }

    /// Whether a certificate is of this key.
    pub(crate) fn is_of(&self, public_key: &[u8]) -> bool {
        self.0.der_bytes() == public_key
    }
}

/// A PEM block with line feeds on every system.
pub(crate) fn to_pem(label: &str, bytes: &[u8]) -> String {
    let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    let mut block = pem::Pem::new(label, bytes);
    let text = pem::encode_config(&block, config);
    // The block has a copy of a key.
    let mut copy = std::mem::replace(&mut block, pem::Pem::new("", [])).into_contents();
    copy.zeroize();
    text
}

/// Whether a private key is that of a certificate; false, too, where one of them can't be read.
#[must_use]
pub fn key_fits(certificate_pem: &str, key_pem: &str) -> bool {
    let (Ok(pair), Ok(der)) = (Pair::from_pem(key_pem), info::first_certificate(certificate_pem)) else {
        return false;
    };
    info::parse(&der).is_ok_and(|certificate| pair.is_of(&certificate.public_key().subject_public_key.data))
}
