//! What may stand for a server's address and a login name. Both end up as arguments of other programs.

use std::net::{IpAddr, Ipv6Addr};

use machine_core::{DriverError, ErrorKind};

use crate::base::bare_host;

fn invalid(flag: &str, value: &str, why: &str, hint: &str) -> DriverError {
    DriverError::new(ErrorKind::Config, format!("invalid value {value:?} for flag --{flag}: {why}"))
        .with_hint(hint.to_owned())
}

/// Checks that a text is an IP address (IPv6 with or without brackets, with or without a zone) or a host name.
pub(super) fn check_host(text: &str) -> Result<(), DriverError> {
    let bare = bare_host(text);
    let bracketed = bare.len() != text.len();
    if is_ipv6(bare) || (!bracketed && (bare.parse::<IpAddr>().is_ok() || is_host_name(bare))) {
        return Ok(());
    }
    let hint = match text.rsplit_once(':') {
        _ if text.contains("://") => "give the address alone, without scheme and port",
        Some((_, port)) if port.bytes().all(|b| b.is_ascii_digit()) => {
            "give the SSH port with --generic-ssh-port, the engine's with --generic-engine-port"
        }
        _ if text.contains('@') => "give the login name with --generic-ssh-user",
        _ => "give an address such as 203.0.113.7 or 2001:db8::7, or a host name",
    };
    Err(invalid("generic-ip-address", text, "neither an IP address nor a host name", hint))
}

fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let zone_ok = !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    zone_ok && address.parse::<Ipv6Addr>().is_ok()
}

/// RFC 1123 with underscores, which some people's names have. A name whose last label is a number would be taken for
/// a mistyped address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label_ok = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last_is_number =
        name.rsplit('.').next().is_some_and(|label| label.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && !last_is_number && name.split('.').all(label_ok)
}

/// Checks a login name: whatever a system may call a user, but no option of a program and no line break.
pub(super) fn check_user(text: &str) -> Result<(), DriverError> {
    if text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace() || c == '@') {
        return Err(invalid(
            "generic-ssh-user",
            text,
            "not a login name",
            "give a name such as root or debian",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names() {
        for good in
            ["203.0.113.7", "::1", "[::1]", "fe80::1%eth0", "a", "a.example.", "my_host", "1a.2b", "A-1"]
        {
            assert!(check_host(good).is_ok(), "{good}");
        }
        for bad in [
            "999.1.1.1",
            "1.2.3",
            "http://a",
            "a:22",
            "u@a",
            "-oProxyCommand=x",
            "a b",
            "a..b",
            "[a]",
            "[1.2.3.4]",
            "fe80::1%",
            "fe80::1%a b",
            "a/b",
            "é.example",
            "a\n",
            ".",
            "",
        ] {
            assert!(check_host(bad).is_err(), "{bad:?}");
        }
        let error = check_host("a.example:2222").unwrap_err();
        assert!(error.to_string().contains("--generic-ip-address"), "{error}");
        assert!(error.hint().unwrap().contains("--generic-ssh-port"));
    }

    #[test]
    fn login_names() {
        for good in ["root", "ec2-user", "DOMAIN\\user", "user.name", ""] {
            assert!(check_user(good).is_ok(), "{good}");
        }
        for bad in ["-lroot", "a b", "a\nb", "a@b"] {
            assert!(check_user(bad).is_err(), "{bad:?}");
        }
    }
}
