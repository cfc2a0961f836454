//! The signed statement by which a service account gets a token (RFC 7523; Google, "Using OAuth 2.0 for Server to Server
//! Applications").

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// For how long the statement is valid, seconds; the token lives as long.
const VALID: u64 = 3600;
/// By how much a clock may be ahead, seconds; as in the library of the Go driver (golang.org/x/oauth2/jws).
const SKEW: u64 = 10;

/// The statement that `email` wants to use `scope`, for the token endpoint `audience`, signed with the private key.
///
/// # Errors
/// Why the key can't sign; the text has nothing of the key in it.
pub(super) fn assertion(
    email: &str,
    scope: &str,
    audience: &str,
    key_id: &str,
    private_key: &str,
) -> Result<String, String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock stands before 1970")?;
    // A clock that is a little ahead of Google's would say something of the future, which is refused.
    let now = now.as_secs().saturating_sub(SKEW);
    let mut header = json!({ "alg": "RS256", "typ": "JWT" });
    if !key_id.is_empty() {
        header["kid"] = json!(key_id);
    }
    let claims = json!({ "iss": email, "scope": scope, "aud": audience, "iat": now, "exp": now + VALID });
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&header), part(&claims));
    let pair = pair(private_key)?;
    let mut signature = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| "the private key can't sign")?;
    Ok(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

/// Reads a private key in PEM: PKCS #8 as Google hands them out, or PKCS #1.
fn pair(pem: &str) -> Result<RsaKeyPair, String> {
    let body: String =
        pem.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect::<Vec<_>>().concat();
    let der = STANDARD.decode(body).map_err(|_| "the private key is no PEM".to_owned())?;
    let pair = if pem.contains("RSA PRIVATE KEY") {
        RsaKeyPair::from_der(&der)
    } else {
        RsaKeyPair::from_pkcs8(&der)
    };
    pair.map_err(|_| "the private key is no RSA key".to_owned())
}
