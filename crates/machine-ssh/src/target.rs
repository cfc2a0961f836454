//! Who is meant: user, host and port.

use std::fmt;
use std::net::Ipv6Addr;

/// The account on the host that a session is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Name or address (an IPv6 address without brackets).
    pub host: String,
    /// TCP port, 22 unless told otherwise.
    pub port: u16,
    /// Login name.
    pub user: String,
}

impl Target {
    /// A target; brackets around an IPv6 address are taken off.
    pub fn new(host: impl Into<String>, port: u16, user: impl Into<String>) -> Self {
        let host = host.into();
        let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(inner) => inner.to_owned(),
            None => host,
        };
        Self { host, port, user: user.into() }
    }

    /// `host:port`, an IPv6 address in brackets: for messages and for programs that want this form.
    pub fn address(&self) -> String {
        if self.is_ipv6() {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Is the host an IPv6 address (a zone such as `%eth0` counts)?
    pub fn is_ipv6(&self) -> bool {
        let address = self.host.split('%').next().unwrap_or_default();
        address.parse::<Ipv6Addr>().is_ok()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.user, self.address())
    }
}

#[cfg(test)]
mod tests {
    use super::Target;

    #[test]
    fn brackets_belong_to_the_written_form_only() {
        let target = Target::new("[fe80::1%eth0]", 2222, "root");
        assert_eq!(target.host, "fe80::1%eth0");
        assert_eq!(target.to_string(), "root@[fe80::1%eth0]:2222");
        assert_eq!(Target::new("example.org", 22, "a").to_string(), "a@example.org:22");
    }
}
