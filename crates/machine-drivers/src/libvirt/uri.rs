//! Connections to libvirt: <https://libvirt.org/uri.html>.

use machine_core::{DriverError, ErrorKind};

/// The system's own daemon.
pub(super) const SYSTEM: &str = "qemu:///system";
/// A daemon for this user alone.
pub(super) const SESSION: &str = "qemu:///session";

/// Whether the hypervisor is this computer: no host is named.
pub(super) fn is_local(uri: &str) -> bool {
    uri.split_once("://").is_none_or(|(_, rest)| rest.starts_with('/'))
}

/// Whether it is a daemon for one user.
pub(super) fn is_session(uri: &str) -> bool {
    let path = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    path.split(['?', '#']).next().unwrap_or_default().ends_with("/session")
}

/// Checks what the user gave. Empty is good: a connection is looked for then.
///
/// # Errors
/// [`ErrorKind::Config`].
pub(super) fn check(uri: &str) -> Result<(), DriverError> {
    let invalid = |why: &str| {
        DriverError::new(ErrorKind::Config, format!("invalid value {uri:?} for flag --libvirt-uri: {why}"))
            .with_hint("e.g. qemu:///system, qemu:///session or qemu+ssh://user@host/system")
    };
    if uri.is_empty() {
        return Ok(());
    }
    if uri.starts_with('-') || uri.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("not a connection URI"));
    }
    let Some((scheme, rest)) = uri.split_once("://") else {
        return Err(invalid("it has no scheme; aliases of libvirt.conf are not read"));
    };
    let driver = scheme.split('+').next().unwrap_or_default();
    if !["qemu", "test"].contains(&driver) {
        return Err(invalid("this driver makes domains of qemu only"));
    }
    // libvirt takes a password nowhere in it; one that stands there would be shown by ps and in errors.
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err(DriverError::new(
            ErrorKind::Config,
            "invalid value for flag --libvirt-uri: it has a password in it",
        )
        .with_hint("libvirt reads passwords from auth.conf; SSH takes keys"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_hypervisor_is() {
        for local in [SYSTEM, SESSION, "qemu+unix:///system?socket=/run/x", "test:///default"] {
            assert!(is_local(local), "{local}");
        }
        for remote in
            ["qemu+ssh://root@example.com/system", "qemu://example.com/system", "qemu+tls://h:1/session"]
        {
            assert!(!is_local(remote), "{remote}");
        }
        for session in [SESSION, "qemu+unix:///session?socket=/run/user/1/x", "qemu+ssh://h/session"] {
            assert!(is_session(session), "{session}");
        }
        for system in [SYSTEM, "qemu+unix:///system?socket=/home/u/session"] {
            assert!(!is_session(system), "{system}");
        }
    }

    #[test]
    fn what_is_no_connection() {
        for good in
            ["", SYSTEM, SESSION, "qemu+ssh://u@[2001:db8::1]:22/system?keyfile=/k", "test:///default"]
        {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in
            ["-x", "system", "qemu:///a b", "qemu:///s\n", "xen:///system", "qemu+tcp://u:hunter2@h/system"]
        {
            let error = check(bad).expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(!error.to_string().contains("hunter2"));
        }
    }
}
