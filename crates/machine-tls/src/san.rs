//! The names and addresses that a server's certificate is good for.

use std::net::IpAddr;

use rcgen::SanType;

use crate::TlsError;

/// Reads names and addresses, each once, in their order.
pub(crate) fn parse_all(values: &[String]) -> Result<Vec<SanType>, TlsError> {
    let mut sans: Vec<SanType> = Vec::new();
    for value in values {
        let san = parse(value)?;
        if !sans.contains(&san) {
            sans.push(san);
        }
    }
    Ok(sans)
}

fn parse(value: &str) -> Result<SanType, TlsError> {
    let bad = |why| TlsError::BadSan { value: value.to_owned(), why };
    if let Ok(ip) = value.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(ip));
    }
    // A name with the dot of the root is the same name; certificates have it without.
    let name = value.strip_suffix('.').unwrap_or(value);
    check_name(name).map_err(bad)?;
    name.try_into().map(SanType::DnsName).map_err(|_| bad("it is not a host name or IP address"))
}

/// Host names of RFC 1123, with `_` (which Go and rustls take) and one leading `*` label.
fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() {
        return Err("it is empty");
    }
    if name.contains("://") || name.contains('/') {
        return Err("give the host name or address only, without scheme and path");
    }
    if name.starts_with('[') || name.ends_with(']') {
        return Err("give an IPv6 address without brackets and port");
    }
    if name.contains('%') {
        return Err("an address with a zone can't stand in a certificate");
    }
    if name.contains(':') {
        return Err("give the host name or address without a port");
    }
    if !name.is_ascii() {
        return Err("write an international name in its ASCII form (xn--…)");
    }
    if name.len() > 253 {
        return Err("a host name has at most 253 characters");
    }
    let labels = name.strip_prefix("*.").unwrap_or(name);
    if labels.contains('*') {
        return Err("a wildcard stands for the whole first label, as in *.example.com");
    }
    if !labels.split('.').all(is_label) {
        return Err("it is not a host name or IP address");
    }
    if labels.rsplit('.').next().is_some_and(|last| last.bytes().all(|byte| byte.is_ascii_digit())) {
        return Err("it is not an IP address, and the last part of a host name is not a number");
    }
    Ok(())
}

fn is_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=63).contains(&label.len())
        && label.bytes().all(allowed)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_addresses() {
        for good in [
            "localhost",
            "a.example.com",
            "*.example.com",
            "my_host",
            "203.0.113.7",
            "2001:db8::1",
            "a.",
            "1.example",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for (bad, why) in [
            ("", "empty"),
            (" ", "not a host name"),
            ("a b", "not a host name"),
            ("https://a", "scheme"),
            ("a:2376", "port"),
            ("[::1]", "brackets"),
            ("fe80::1%eth0", "zone"),
            ("a.*.com", "wildcard"),
            ("*", "wildcard"),
            ("é.com", "xn--"),
            ("1.2.3.256", "not an IP address"),
            ("-a", "not a host name"),
            ("a..b", "not a host name"),
        ] {
            let error = parse(bad).unwrap_err().to_string();
            assert!(error.starts_with(&format!("invalid value {bad:?} for --tls-san: ")), "{error}");
            assert!(error.contains(why), "{bad}: {error}");
        }
    }

    #[test]
    fn each_name_stands_once() {
        let values = ["a", "::1", "a", "0:0::1", "localhost"].map(str::to_owned);
        assert_eq!(parse_all(&values).unwrap().len(), 3);
    }

    proptest! {
        #[test]
        fn never_panics(value in "\\PC{0,40}") {
            let _ = parse(&value);
        }
    }
}
