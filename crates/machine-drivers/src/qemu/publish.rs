//! `--qemu-publish`: ports of this computer that are forwarded to the guest.

use std::net::Ipv4Addr;

use machine_core::DriverError;

use super::flags::invalid;
use super::state::QemuState;

/// A forwarded port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    /// The address of this computer on which it is.
    pub(super) host: Ipv4Addr,
    /// The port of this computer.
    pub(super) host_port: u16,
    /// The guest's port.
    pub(super) guest_port: u16,
    /// Whether it is UDP instead of TCP.
    pub(super) udp: bool,
}

impl Publish {
    /// Reads `[HOSTIP:]HOSTPORT:GUESTPORT[/udp]`; one port alone is the same on both sides. Without an address it is on 127.0.0.1.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let wrong = || {
            invalid(
                "qemu-publish",
                text,
                "[HOSTIP:]HOSTPORT:GUESTPORT[/udp], e.g. 8080:80 or 0.0.0.0:53:53/udp",
            )
        };
        let (ports, udp) = match text.rsplit_once('/') {
            Some((ports, "udp")) => (ports, true),
            Some((ports, "tcp")) => (ports, false),
            Some(_) => return Err(wrong()),
            None => (text, false),
        };
        let number = |text: &str| text.parse().ok().filter(|port: &u16| *port != 0 && !text.starts_with('+'));
        let words: Vec<&str> = ports.split(':').collect();
        let (host, host_port, guest_port) = match words[..] {
            [both] => (None, number(both), number(both)),
            [here, there] => (None, number(here), number(there)),
            [host, here, there] => (Some(host), number(here), number(there)),
            _ => return Err(wrong()),
        };
        let host = host.map_or(Ok(Ipv4Addr::LOCALHOST), |host| host.parse().map_err(|_| wrong()))?;
        match host_port.zip(guest_port) {
            Some((host_port, guest_port)) => Ok(Self { host, host_port, guest_port, udp }),
            None => Err(wrong()),
        }
    }

    /// All of a machine.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub(super) fn all(state: &QemuState) -> Result<Vec<Self>, DriverError> {
        state.publish.iter().map(|text| Self::parse(text)).collect()
    }

    /// Whether it would be in the way of a port on 127.0.0.1.
    pub(super) fn is_on_loopback(&self) -> bool {
        self.host == Ipv4Addr::LOCALHOST || self.host.is_unspecified()
    }

    /// As a value of QEMU's `hostfwd`.
    pub(super) fn rule(&self) -> String {
        let kind = if self.udp { "udp" } else { "tcp" };
        // An empty address is every address, also in QEMU.
        let host = if self.host.is_unspecified() { String::new() } else { self.host.to_string() };
        format!("{kind}:{host}:{}-:{}", self.host_port, self.guest_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_of_all_forms() {
        for (text, rule) in [
            ("8080:80", "tcp:127.0.0.1:8080-:80"),
            ("80", "tcp:127.0.0.1:80-:80"),
            ("0.0.0.0:53:53/udp", "udp::53-:53"),
            ("192.0.2.1:1:2/tcp", "tcp:192.0.2.1:1-:2"),
        ] {
            assert_eq!(Publish::parse(text).unwrap().rule(), rule);
        }
        for text in [
            "",
            "a",
            "0:80",
            "80:0",
            "1:2:3",
            "::1:80:80",
            "80:80/sctp",
            "70000:1",
            "80:80,hostfwd=tcp::1-:1",
            "+1:1",
            "1:2:3:4",
            "80:",
            " 80:80",
        ] {
            assert!(Publish::parse(text).is_err(), "{text}");
        }
    }
}
