//! What the Go drivers of all clouds keep of a machine, in their order and under their names.

use std::path::PathBuf;

use machine_core::{ConfigureContext, FlagValues, SshEndpoint};
use serde::{Deserialize, Deserializer, Serialize};

/// The login where a record has none.
pub const DEFAULT_SSH_USER: &str = "root";
/// The SSH port where a record has none.
pub const DEFAULT_SSH_PORT: u16 = 22;

/// The keys that every Go driver's state begins with. A driver's own state embeds it with `#[serde(flatten)]` as its
/// first field and ends with a flattened map for keys that it does not know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Base {
    /// Host name or address; empty until known.
    #[serde(rename = "IPAddress", deserialize_with = "zero_if_null")]
    pub ip_address: String,
    /// The machine's name.
    #[serde(deserialize_with = "zero_if_null")]
    pub machine_name: String,
    /// Login name.
    #[serde(rename = "SSHUser", deserialize_with = "zero_if_null")]
    pub ssh_user: String,
    /// TCP port; 0 means the default.
    #[serde(rename = "SSHPort", deserialize_with = "zero_if_null")]
    pub ssh_port: u16,
    /// Private key file; empty for none of the machine's own.
    #[serde(rename = "SSHKeyPath", deserialize_with = "zero_if_null")]
    pub ssh_key_path: String,
    /// The store's root folder.
    #[serde(deserialize_with = "zero_if_null")]
    pub store_path: String,
    /// `--swarm-master`, for the drivers that record it.
    #[serde(deserialize_with = "zero_if_null")]
    pub swarm_master: bool,
    /// `--swarm-host`, likewise.
    #[serde(deserialize_with = "zero_if_null")]
    pub swarm_host: String,
    /// `--swarm-discovery`, likewise.
    #[serde(deserialize_with = "zero_if_null")]
    pub swarm_discovery: String,
}

impl Base {
    /// The state of a machine that has no host yet.
    #[must_use]
    pub fn new(cx: &ConfigureContext<'_>) -> Self {
        Self {
            machine_name: cx.name.to_string(),
            store_path: cx.store_path.to_string_lossy().into_owned(),
            ..Self::default()
        }
    }

    /// Records the Swarm flags, as most Go drivers do (`generic` and `none` do not).
    pub fn set_swarm(&mut self, flags: &FlagValues) {
        self.swarm_master = flags.bool("swarm-master");
        self.swarm_host = flags.str("swarm-host").to_owned();
        self.swarm_discovery = flags.str("swarm-discovery").to_owned();
    }

    /// How to reach the host by SSH; `None` while it has no address.
    #[must_use]
    pub fn ssh(&self) -> Option<SshEndpoint> {
        if self.ip_address.is_empty() {
            return None;
        }
        Some(SshEndpoint {
            host: bare_host(&self.ip_address).to_owned(),
            port: if self.ssh_port == 0 { DEFAULT_SSH_PORT } else { self.ssh_port },
            user: if self.ssh_user.is_empty() { DEFAULT_SSH_USER.to_owned() } else { self.ssh_user.clone() },
            key: (!self.ssh_key_path.is_empty()).then(|| PathBuf::from(&self.ssh_key_path)),
        })
    }

    /// The ports that somebody who may use the machine must reach: SSH, the engine's, and that of the retired Swarm's manager
    /// where there is one.
    #[must_use]
    pub fn ports(&self, engine: u16) -> Vec<u16> {
        let ssh = if self.ssh_port == 0 { DEFAULT_SSH_PORT } else { self.ssh_port };
        let swarm = self.swarm_host.rsplit(':').next().and_then(|port| port.parse().ok());
        let swarm = swarm.filter(|_| self.swarm_master);
        [ssh, engine].into_iter().chain(swarm).collect()
    }

    /// The engine's URL at this host; empty while it has no address.
    #[must_use]
    pub fn engine_url(&self, port: u16) -> String {
        if self.ip_address.is_empty() {
            String::new()
        } else {
            format!("tcp://{}", join(bare_host(&self.ip_address), port))
        }
    }
}

/// Joins host and port; IPv6 addresses get brackets.
#[must_use]
pub fn join(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// A host without the brackets that people put around IPv6 addresses.
#[must_use]
pub fn bare_host(host: &str) -> &str {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host)
}

/// Go's decoder leaves a field at its zero where the text has `null`.
///
/// # Errors
/// Where the value is neither `null` nor of its type.
pub fn zero_if_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_stand_in_the_order_of_the_go_program() {
        assert_eq!(
            serde_json::to_string(&Base::default()).unwrap(),
            concat!(
                r#"{"IPAddress":"","MachineName":"","SSHUser":"","SSHPort":0,"SSHKeyPath":"","StorePath":"","#,
                r#""SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":""}"#
            )
        );
    }

    #[test]
    fn an_address_of_any_kind_makes_an_endpoint() {
        let mut base = Base { ip_address: "2001:db8::1".into(), ..Base::default() };
        assert_eq!(base.engine_url(2376), "tcp://[2001:db8::1]:2376");
        let ssh = base.ssh().unwrap();
        assert_eq!(
            (ssh.host.as_str(), ssh.port, ssh.user.as_str(), ssh.key),
            ("2001:db8::1", 22, "root", None)
        );
        base.ip_address = "[2001:db8::1]".into();
        assert_eq!(base.ssh().unwrap().host, "2001:db8::1");
        base.ip_address.clear();
        assert_eq!((base.ssh(), base.engine_url(1).as_str()), (None, ""));
    }
}
