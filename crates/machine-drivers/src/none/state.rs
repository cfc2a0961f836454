//! What `none` keeps of a machine: the keys of the Go driver, in its order.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NoneState {
    /// The keys of all drivers. `IPAddress` is host and port of the URL.
    #[serde(flatten)]
    pub base: Base,
    /// The engine's URL, as given.
    #[serde(rename = "URL", deserialize_with = "zero_if_null")]
    pub url: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Host and port of a URL, as Go's `net/url` has them in `Host`: empty where there is no `//`, without user and
/// password, brackets of IPv6 kept. Any text is taken: the reference program takes `not a url`.
pub(super) fn authority(url: &str) -> &str {
    let url = url.split('#').next().unwrap_or_default();
    let after_scheme = match url.split_once(':') {
        Some((scheme, rest)) if is_scheme(scheme) => rest,
        _ => url,
    };
    let Some(rest) = after_scheme.strip_prefix("//") else { return "" };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host)
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_what_go_takes_for_it() {
        for (url, host) in [
            ("tcp://127.0.0.1:2376", "127.0.0.1:2376"),
            ("tcp://[::1]:2376/x", "[::1]:2376"),
            ("https://user:secret@a.example:1?q=1", "a.example:1"),
            ("localhost", ""),
            ("localhost:2376", ""),
            ("not a url", ""),
            ("unix:///var/run/docker.sock", ""),
            ("//a.example", "a.example"),
        ] {
            assert_eq!(authority(url), host, "{url}");
        }
    }
}
