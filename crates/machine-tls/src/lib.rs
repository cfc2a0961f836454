//! The CA, server and client certificates.
//!
//! In: PEM text, names, a moment. Out: PEM text, or what a certificate says. No files, no network; private keys come
//! out in a [`PrivateKeyPem`], which does not show itself and clears its memory.
//!
//! What is made looks as what docker/machine 0.16.2 makes (libmachine/cert), and what that program made is used as it
//! is.
#![forbid(unsafe_code)]

mod algorithm;
mod authority;
mod der;
mod error;
mod info;
mod key;
mod profile;
mod san;

pub use algorithm::{KeyAlgorithm, UnknownAlgorithm};
pub use authority::{Authority, Issued};
pub use error::TlsError;
pub use info::{CertificateInfo, have_same_key};
pub use key::{PrivateKeyPem, key_fits};
pub use profile::LIFETIME_DAYS;
