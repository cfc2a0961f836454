//! `--qemu-network`: the second network of a machine. The first is always the one whose ports this computer forwards.

use machine_core::DriverError;

use super::flags::invalid;
use super::state::QemuState;

/// What a machine's second network card is connected with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Network {
    /// There is no second card.
    User,
    /// A bridge of this computer.
    Bridge(String),
    /// Other QEMUs: options of `-netdev socket`.
    Socket(String),
}

impl Network {
    /// Reads `user`, `bridge=NAME` or `socket=OPTIONS`.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let wrong = || invalid("qemu-network", text, "user, bridge=NAME or socket=OPTIONS");
        match text.split_once('=') {
            None if text.is_empty() || text == "user" => Ok(Self::User),
            // The kernel's limit is 15.
            Some(("bridge", name))
                if (1..=15).contains(&name.len()) && is_word(name) && !name.starts_with('.') =>
            {
                Ok(Self::Bridge(name.to_owned()))
            }
            Some(("socket", options))
                if ["listen=", "connect=", "mcast=", "udp="].iter().any(|kind| options.starts_with(kind))
                    && options.bytes().all(|b| b.is_ascii_graphic()) =>
            {
                Ok(Self::Socket(options.to_owned()))
            }
            _ => Err(wrong()),
        }
    }

    /// The value of `-netdev` for the second card; `None` where there is none.
    pub(super) fn netdev(&self) -> Option<String> {
        match self {
            Self::User => None,
            Self::Bridge(name) => Some(format!("bridge,id=net1,br={name}")),
            Self::Socket(options) => Some(format!("socket,id=net1,{options}")),
        }
    }
}

fn is_word(name: &str) -> bool {
    name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}

/// The guest's network configuration (cloud-init, version 2), where it has a second card: without it only one would be used. The way
/// out remains the first.
///
/// # Errors
/// Where the record has no good network.
pub(super) fn config(state: &QemuState) -> Result<Option<String>, DriverError> {
    if Network::parse(&state.network)? == Network::User {
        return Ok(None);
    }
    Ok(Some(format!(
        "version: 2\nethernets:\n  user:\n    match: {{macaddress: \"{}\"}}\n    dhcp4: true\n    dhcp4-overrides: {{route-metric: 100}}\n  \
         more:\n    match: {{macaddress: \"{}\"}}\n    dhcp4: true\n    dhcp4-overrides: {{route-metric: 200}}\n    optional: true\n",
        state.mac(0),
        state.mac(1)
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_of_all_forms() {
        assert_eq!(Network::parse("user").unwrap().netdev(), None);
        assert_eq!(Network::parse("bridge=virbr0").unwrap().netdev().unwrap(), "bridge,id=net1,br=virbr0");
        assert_eq!(
            Network::parse("socket=mcast=230.0.0.1:1234").unwrap().netdev().unwrap(),
            "socket,id=net1,mcast=230.0.0.1:1234"
        );
        for text in [
            "tap",
            "bridge=",
            "bridge=a,helper=/x",
            "bridge=a/b",
            "bridge=0123456789abcdef",
            "socket=",
            "socket=fd=3",
            "socket=listen=a b",
        ] {
            assert!(Network::parse(text).is_err(), "{text}");
        }
    }
}
