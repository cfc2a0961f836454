//! What `create` is asked for.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use machine_core::{EngineOptions, FlagValues, MachineName, SwarmOptions};
use machine_tls::KeyAlgorithm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// All that argv and the environment say of a machine to be.
pub struct CreateRequest {
    /// Its name.
    pub name: MachineName,
    /// The driver's name.
    pub driver: String,
    /// The driver's flags, and the common ones that drivers store.
    pub flags: FlagValues,
    /// `--engine-*`.
    pub engine: EngineOptions,
    /// `--swarm*`.
    pub swarm: SwarmOptions,
    /// `--tls-san`.
    pub tls_sans: Vec<String>,
    /// What keys the certificates get.
    pub key_algorithm: KeyAlgorithm,
    /// Where the engine comes from if the host has none.
    pub install: InstallMethod,
    /// CAs of registries that the engine should trust.
    pub registry_cas: Vec<RegistryCa>,
    /// Jump hosts on the way, nearest first: `user@host:port`.
    pub ssh_jumps: Vec<String>,
    /// From where the host may be reached by SSH and at its engine's port; empty for everywhere.
    pub allow_from: Vec<AllowFrom>,
    /// Whether a failed create is removed again.
    pub rollback: bool,
}

/// Where the engine comes from if the host has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallMethod {
    /// The script at `--engine-install-url`.
    #[default]
    Url,
    /// The distribution's own package.
    Distro,
    /// Nowhere: an engine must be there.
    None,
}

/// A CA for a registry (`--engine-registry-ca FILE[=host:port]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCa {
    /// The PEM file.
    pub file: PathBuf,
    /// The registry; `None` means every registry: the host's own trust store.
    pub registry: Option<String>,
}

/// From where a host may be reached (`--allow-from`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AllowFrom {
    /// From the address that the host sees this computer come from. It is known once the host was reached.
    Me,
    /// From a network in CIDR notation with no bit set past its prefix, e.g. `198.51.100.0/24`.
    Network(String),
}

impl AllowFrom {
    /// Reads `me`, an address, or a network in CIDR notation, of either family.
    ///
    /// # Errors
    /// [`Error::BadAllowFrom`], which says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        if text == "me" {
            return Ok(Self::Me);
        }
        let bad = |why| Error::BadAllowFrom { value: text.to_owned(), why };
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address
            .parse()
            .map_err(|_| bad("neither \"me\" nor an address nor a network like 198.51.100.0/24"))?;
        let longest: u8 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => longest,
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits
                .parse()
                .ok()
                .filter(|prefix| *prefix <= longest)
                .ok_or_else(|| bad("the prefix is longer than the address"))?,
            Some(_) => return Err(bad("a number of bits stands after the slash")),
        };
        Ok(Self::Network(format!("{}/{prefix}", masked(address, prefix))))
    }
}

/// The address with only its first `prefix` bits.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    let prefix = u32::from(prefix);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
            Ipv4Addr::from(u32::from(address) & mask).into()
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(128 - prefix).unwrap_or(0);
            Ipv6Addr::from(u128::from(address) & mask).into()
        }
    }
}

/// What a create was asked for that config.json has no place for. It lives in the side file, so that `create --resume`
/// and `provision` do the same again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extras {
    pub install: InstallMethod,
    pub registry_cas: Vec<RegistryCaText>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<AllowFrom>,
}

/// A registry's CA as text: the file may be gone when it is needed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegistryCaText {
    pub registry: Option<String>,
    pub pem: String,
}

const EXTRAS_KEY: &str = "wish";

impl Extras {
    /// Reads what the request names.
    pub(crate) fn of(request: &CreateRequest) -> Result<Self, Error> {
        let registry_cas = request.registry_cas.iter().map(RegistryCaText::read).collect::<Result<_, _>>()?;
        let allow_from = request.allow_from.clone();
        Ok(Self { install: request.install, registry_cas, allow_from })
    }

    /// Reads the side file's part; the defaults where it has none, as for a machine of the reference program.
    pub(crate) fn load(extra: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        extra.get(EXTRAS_KEY).map_or_else(|| Ok(Self::default()), Self::deserialize)
    }

    pub(crate) fn store(&self, extra: &mut Map<String, Value>) {
        if let Ok(value) = serde_json::to_value(self) {
            extra.insert(EXTRAS_KEY.to_owned(), value);
        }
    }
}

impl RegistryCaText {
    fn read(ca: &RegistryCa) -> Result<Self, Error> {
        let bad = |why: String| Error::BadFile { flag: "--engine-registry-ca", path: ca.file.clone(), why };
        let pem = std::fs::read_to_string(&ca.file).map_err(|error| bad(error.to_string()))?;
        machine_tls::CertificateInfo::from_pem(&pem).map_err(|error| bad(error.to_string()))?;
        Ok(Self { registry: ca.registry.clone(), pem })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn where_from() {
        assert_eq!(AllowFrom::parse("me").unwrap(), AllowFrom::Me);
        for (text, network) in [
            ("198.51.100.7", "198.51.100.7/32"),
            ("198.51.100.7/24", "198.51.100.0/24"),
            ("198.51.100.7/31", "198.51.100.6/31"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("2001:DB8:0:0::7/32", "2001:db8::/32"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(AllowFrom::parse(text).unwrap(), AllowFrom::Network(network.into()), "{text}");
        }
        for bad in [
            "",
            "Me",
            "host",
            "1.2.3",
            "1.2.3.4/33",
            "1.2.3.4/",
            "1.2.3.4/+8",
            "1.2.3.4/255.0.0.0",
            "::/129",
            "[::1]",
            "fe80::1%eth0",
            " 1.2.3.4",
            "1.2.3.4,5.6.7.8",
            "1.2.3.4/8/8",
            "1.2.3.4/1000",
        ] {
            let error = AllowFrom::parse(bad).unwrap_err();
            assert!(matches!(error, Error::BadAllowFrom { .. }), "{bad:?}");
            assert!(error.to_string().contains(&format!("{bad:?}")));
        }
    }

    proptest! {
        /// What was read is read again as the same.
        #[test]
        fn a_network_is_normal(bits: u128, four: bool, prefix in 0_u8..=128) {
            let address: IpAddr = match four {
                true => Ipv4Addr::from((bits & u128::from(u32::MAX)) as u32).into(),
                false => Ipv6Addr::from(bits).into(),
            };
            let prefix = if four { prefix / 4 } else { prefix };
            let AllowFrom::Network(once) = AllowFrom::parse(&format!("{address}/{prefix}")).unwrap() else { unreachable!() };
            prop_assert_eq!(AllowFrom::parse(&once).unwrap(), AllowFrom::Network(once));
        }
    }
}
