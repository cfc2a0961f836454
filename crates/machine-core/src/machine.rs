//! The record of a machine: the content of its config.json in the reference program's version 3.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::DriverState;

/// The version of config.json that is written.
pub const CONFIG_VERSION: u32 = 3;

/// A list as Go writes it: `null` and `[]` are different texts and both are kept.
pub type StringList = Option<Vec<String>>;

/// The record of a machine. Its fields, their order and names are those of config.json, version 3. Keys that this
/// program does not know are kept, at the end of the object in which they stood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Machine {
    /// Always [`CONFIG_VERSION`] once loaded.
    pub config_version: u32,
    /// What the driver keeps.
    pub driver: DriverState,
    /// Which driver keeps it.
    pub driver_name: String,
    /// How the engine, Swarm and certificates are set up.
    pub host_options: HostOptions,
    /// The name.
    pub name: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `HostOptions` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HostOptions {
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub driver: String,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub memory: i64,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk: i64,
    /// The engine's options.
    #[serde(deserialize_with = "zero_if_null")]
    pub engine_options: EngineOptions,
    /// Standalone Swarm's options.
    #[serde(deserialize_with = "zero_if_null")]
    pub swarm_options: SwarmOptions,
    /// Where the certificates are.
    #[serde(deserialize_with = "zero_if_null")]
    pub auth_options: AuthOptions,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `EngineOptions` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct EngineOptions {
    /// `--engine-opt`: flags of dockerd without the two dashes, e.g. `dns=8.8.8.8`.
    pub arbitrary_flags: StringList,
    /// Unused by the reference program; kept.
    pub dns: StringList,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub graph_dir: String,
    /// `--engine-env`: `NAME=VALUE` for the engine's process.
    pub env: StringList,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub ipv6: bool,
    /// `--engine-insecure-registry`.
    pub insecure_registry: StringList,
    /// `--engine-label`: `KEY=VALUE`.
    pub labels: StringList,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub log_level: String,
    /// `--engine-storage-driver`.
    #[serde(deserialize_with = "zero_if_null")]
    pub storage_driver: String,
    /// Set by provisioners of SELinux systems.
    #[serde(deserialize_with = "zero_if_null")]
    pub selinux_enabled: bool,
    /// Always true for machines made by `create`.
    #[serde(deserialize_with = "zero_if_null")]
    pub tls_verify: bool,
    /// `--engine-registry-mirror`.
    pub registry_mirror: StringList,
    /// `--engine-install-url`.
    #[serde(rename = "InstallURL", deserialize_with = "zero_if_null")]
    pub install_url: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `SwarmOptions` of config.json (the retired standalone Swarm, not `docker swarm`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct SwarmOptions {
    /// `--swarm`.
    #[serde(deserialize_with = "zero_if_null")]
    pub is_swarm: bool,
    /// `--swarm-addr`.
    #[serde(deserialize_with = "zero_if_null")]
    pub address: String,
    /// `--swarm-discovery`.
    #[serde(deserialize_with = "zero_if_null")]
    pub discovery: String,
    /// Whether an agent runs here: `--swarm` with `--swarm-discovery`.
    #[serde(deserialize_with = "zero_if_null")]
    pub agent: bool,
    /// `--swarm-master`.
    #[serde(deserialize_with = "zero_if_null")]
    pub master: bool,
    /// `--swarm-host`.
    #[serde(deserialize_with = "zero_if_null")]
    pub host: String,
    /// `--swarm-image`.
    #[serde(deserialize_with = "zero_if_null")]
    pub image: String,
    /// `--swarm-strategy`.
    #[serde(deserialize_with = "zero_if_null")]
    pub strategy: String,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub heartbeat: i64,
    /// Unused by the reference program; kept.
    #[serde(deserialize_with = "zero_if_null")]
    pub overcommit: f64_as_go::GoFloat,
    /// `--swarm-opt`.
    pub arbitrary_flags: StringList,
    /// `--swarm-join-opt`.
    pub arbitrary_join_flags: StringList,
    /// Unused by the reference program; kept.
    pub env: StringList,
    /// `--swarm-experimental`.
    #[serde(deserialize_with = "zero_if_null")]
    pub is_experimental: bool,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// `AuthOptions` of config.json: paths on this computer and on the host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct AuthOptions {
    /// Folder of the CA and client certificate.
    #[serde(deserialize_with = "zero_if_null")]
    pub cert_dir: String,
    /// The CA's certificate.
    #[serde(deserialize_with = "zero_if_null")]
    pub ca_cert_path: String,
    /// The CA's private key.
    #[serde(deserialize_with = "zero_if_null")]
    pub ca_private_key_path: String,
    /// The CA's certificate on the host.
    #[serde(deserialize_with = "zero_if_null")]
    pub ca_cert_remote_path: String,
    /// The engine's certificate, here.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_cert_path: String,
    /// The engine's private key, here.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_key_path: String,
    /// The client's private key.
    #[serde(deserialize_with = "zero_if_null")]
    pub client_key_path: String,
    /// The engine's certificate on the host.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_cert_remote_path: String,
    /// The engine's private key on the host.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_key_remote_path: String,
    /// The client's certificate.
    #[serde(deserialize_with = "zero_if_null")]
    pub client_cert_path: String,
    /// `--tls-san`.
    #[serde(rename = "ServerCertSANs")]
    pub server_cert_sans: StringList,
    /// The machine's folder, where callers find ca.pem, cert.pem and key.pem.
    #[serde(deserialize_with = "zero_if_null")]
    pub store_path: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// Go's decoder leaves a field at its zero where the text has `null`.
fn zero_if_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Numbers that Go writes without a fraction where there is none.
pub mod f64_as_go {
    use serde::{Deserialize, Serialize, Serializer};

    /// A 64-bit float that serialises as `0`, not `0.0`.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
    #[serde(transparent)]
    pub struct GoFloat(pub f64);

    impl Serialize for GoFloat {
        #[allow(clippy::cast_possible_truncation)] // the fraction was looked at
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            if self.0.fract() == 0.0 && self.0.abs() < 1e15 {
                serializer.serialize_i64(self.0 as i64)
            } else {
                serializer.serialize_f64(self.0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_nulls_and_order_survive() {
        let text = concat!(
            r#"{"ConfigVersion":3,"Driver":{"Z":1,"A":"x"},"DriverName":"none","HostOptions":{"Driver":null,"#,
            r#""EngineOptions":{"ArbitraryFlags":[],"Dns":null,"Later":true}},"Name":"a","Future":{"k":[1]}}"#
        );
        let machine: Machine = serde_json::from_str(text).unwrap();
        let again = serde_json::to_string(&machine).unwrap();
        assert!(again.starts_with(r#"{"ConfigVersion":3,"Driver":{"Z":1,"A":"x"},"DriverName":"none","#));
        assert!(again.contains(r#""ArbitraryFlags":[],"Dns":null"#));
        assert!(again.contains(r#""InstallURL":"","Later":true}"#));
        assert!(again.contains(r#""Overcommit":0,"#));
        assert!(again.ends_with(r#""Name":"a","Future":{"k":[1]}}"#));
        assert_eq!(serde_json::from_str::<Machine>(&again).unwrap(), machine);
    }
}
