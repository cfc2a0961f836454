//! The HTTP client: TLS with the system's roots, proxies from the environment, redirects, typed errors; and calls of
//! providers' APIs ([`api`]): credentials, retries within a budget, polling.
//!
//! In: [`Settings`], an address, maybe from which byte on. Out: a [`Response`] whose body comes piece by piece, or
//! an [`HttpError`] which names the address without credentials and query, says what happened, and whether trying
//! again may help.
//!
//! Building a [`Client`] reads the system's root certificates (milliseconds): it is for those who are about to use
//! it.
//!
//! This room depends on no other room.
#![forbid(unsafe_code)]

pub mod api;
mod client;
mod error;
mod response;
mod tls;

pub use bytes::Bytes;
pub use client::{Client, EXTRA_CA, Resume, Settings};
pub use error::HttpError;
pub use reqwest::Method;
pub use reqwest::header;
pub use response::Response;
pub use url::Url;

/// An address as people may see it: without credentials, query and fragment, in which secrets stand.
#[must_use]
pub fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail only for addresses that have neither.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    let query = url.query().is_some();
    url.set_query(None);
    format!("{url}{}", if query { "?…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_secrets() {
        for (url, want) in [
            ("https://me:secret@example.com/a/b.img?token=1#sha256=2", "https://example.com/a/b.img?…"),
            ("http://example.com:8080", "http://example.com:8080/"),
        ] {
            assert_eq!(shown(&Url::parse(url).expect("an address")), want);
        }
    }
}
