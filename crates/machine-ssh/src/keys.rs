//! Key pairs, public keys and fingerprints.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use russh::keys::key::safe_rng;
use russh::keys::ssh_key::LineEnding;
use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};
use zeroize::Zeroizing;

use crate::credentials::{read_key_file, without_newline};
use crate::error::{Error, Result};

/// A public key: a host's, or one that may log in. Two keys are equal when their key data are; comments do not count.
#[derive(Clone)]
pub struct PublicKey(russh::keys::PublicKey);

impl PublicKey {
    /// Reads `TYPE BASE64 [COMMENT]`, as in a `.pub` file.
    pub fn parse(line: &str) -> Result<Self> {
        russh::keys::PublicKey::from_openssh(line.trim())
            .map(Self)
            .map_err(|e| Error::NotAPublicKey { line: shorten(line), why: e.to_string() })
    }

    /// `TYPE BASE64`, without the comment: what a pin or a known_hosts line holds.
    pub fn to_line(&self) -> String {
        let mut bare = self.0.clone();
        bare.set_comment("");
        // Encoding a decoded key can't fail; an empty line matches no key if it ever does.
        bare.to_openssh().unwrap_or_default().trim_end().to_owned()
    }

    /// `ssh-ed25519`, `ecdsa-sha2-nistp256`, `ssh-rsa`, …
    pub fn algorithm(&self) -> String {
        self.0.algorithm().to_string()
    }

    /// `SHA256:…`, as OpenSSH prints it.
    pub fn fingerprint(&self) -> String {
        self.0.fingerprint(HashAlg::Sha256).to_string()
    }

    /// The comment, empty where there is none.
    pub fn comment(&self) -> String {
        String::from_utf8_lossy(self.0.comment().as_bytes()).into_owned()
    }

    pub(crate) fn inner(&self) -> &russh::keys::PublicKey {
        &self.0
    }

    /// Would a host with this key use `algorithm`? One RSA key signs with either SHA-2 hash.
    pub(crate) fn has_algorithm(&self, algorithm: &Algorithm) -> bool {
        match (self.0.algorithm(), algorithm) {
            (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
            (own, other) => own == *other,
        }
    }
}

impl From<russh::keys::PublicKey> for PublicKey {
    fn from(key: russh::keys::PublicKey) -> Self {
        Self(key)
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key_data() == other.0.key_data()
    }
}

impl Eq for PublicKey {}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(line: &str) -> Result<Self> {
        Self::parse(line)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_line())
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({} {})", self.algorithm(), self.fingerprint())
    }
}

/// What kind of key pair to generate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// Ed25519, written in OpenSSH's own format.
    Ed25519,
    /// RSA with 2048 bits, written as PKCS#1 PEM (`BEGIN RSA PRIVATE KEY`), which every SSH library ever made reads.
    Rsa2048,
}

/// A generated key pair. The private part is wiped from memory when dropped and never shown by `Debug`.
pub struct KeyPair {
    /// Text of the private key file.
    pub private_pem: Zeroizing<String>,
    /// The public key.
    pub public: PublicKey,
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyPair").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Generates a key pair; `comment` ends up in the public key line ([`public_key_line`]) and, for Ed25519, in the
/// private file. Takes some 0.1 s of computing for RSA.
pub fn generate(kind: KeyKind, comment: &str) -> Result<KeyPair> {
    match kind {
        KeyKind::Ed25519 => generate_ed25519(comment),
        KeyKind::Rsa2048 => generate_rsa2048(comment),
    }
}

fn generate_ed25519(comment: &str) -> Result<KeyPair> {
    let fail = |e: russh::keys::ssh_key::Error| Error::KeyGeneration(e.to_string());
    let mut key = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).map_err(fail)?;
    key.set_comment(comment);
    let private_pem = key.to_openssh(LineEnding::LF).map_err(fail)?;
    Ok(KeyPair { private_pem, public: PublicKey(key.public_key().clone()) })
}

fn generate_rsa2048(comment: &str) -> Result<KeyPair> {
    let pair = aws_lc_rs::rsa::KeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048)
        .map_err(|e| Error::KeyGeneration(e.to_string()))?;
    let pkcs8: Pkcs8V1Der<'_> = pair.as_der().map_err(|e| Error::KeyGeneration(e.to_string()))?;
    let pkcs1 =
        pkcs1_inside(pkcs8.as_ref()).ok_or_else(|| Error::KeyGeneration("unexpected PKCS#8 form".into()))?;
    let private_pem = Zeroizing::new(pem("RSA PRIVATE KEY", pkcs1));
    let key = decode_secret_key(&private_pem, None).map_err(|e| Error::KeyGeneration(e.to_string()))?;
    let mut public = key.public_key().clone();
    public.set_comment(comment);
    Ok(KeyPair { private_pem, public: PublicKey(public) })
}

/// PEM (RFC 7468) with 64 characters a line.
fn pem(label: &str, der: &[u8]) -> String {
    use russh::keys::ssh_encoding::base64::{Base64, Encoding};
    let encoded = Zeroizing::new(Base64::encode_string(der));
    let mut text = String::with_capacity(encoded.len() + encoded.len() / 64 + 2 * label.len() + 40);
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().copied().map(char::from));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The PKCS#1 structure inside a PKCS#8 one: `SEQUENCE { version INTEGER, algorithm SEQUENCE, key OCTET STRING }`
/// (RFC 5208 §5).
fn pkcs1_inside(pkcs8: &[u8]) -> Option<&[u8]> {
    let (outer, _) = der_value(pkcs8, 0x30)?;
    let (_, rest) = der_value(outer, 0x02)?;
    let (_, rest) = der_value(rest, 0x30)?;
    der_value(rest, 0x04).map(|(key, _)| key)
}

/// Splits a DER element with this tag off the front: its content and what follows.
fn der_value(input: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = input.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        (bytes.iter().fold(0usize, |n, &b| (n << 8) | usize::from(b)), rest)
    };
    (found == tag).then_some(())?;
    rest.split_at_checked(length)
}

/// The line for `authorized_keys` and `.pub` files, with the comment and without a line end.
pub fn public_key_line(key: &PublicKey) -> String {
    let comment = key.comment();
    if comment.is_empty() { key.to_line() } else { format!("{} {comment}", key.to_line()) }
}

/// Reads the public key out of a private key file (OpenSSH, PKCS#1, PKCS#8 or SEC1 PEM). An OpenSSH file tells its
/// public key even when it is encrypted; the other formats do not, and give [`Error::KeyFile`].
pub fn public_key_of_file(path: &Path) -> Result<PublicKey> {
    let text = read_key_file(path)?;
    if let Ok(key) = PrivateKey::from_openssh(without_newline(&text)) {
        return Ok(PublicKey(key.public_key().clone()));
    }
    let key = crate::credentials::decode_key(path, &text, None)?;
    Ok(PublicKey(key.public_key().clone()))
}

fn shorten(line: &str) -> String {
    let line = line.trim();
    match line.char_indices().nth(60) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}
