//! What `hetzner` keeps of a machine: the keys of docker-machine-driver-hetzner, in its order, then ours.

use std::collections::BTreeMap;

use machine_core::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HetznerState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// The project's token.
    pub access_token: Secret,
    /// The image's name; empty where it is meant by its number.
    pub image: String,
    /// The image's number; 0 for none.
    #[serde(rename = "ImageID")]
    pub image_id: i64,
    /// `x86`, `arm`, or empty for the server type's.
    pub image_arch: String,
    /// The server type.
    #[serde(rename = "Type")]
    pub server_type: String,
    /// The location; empty where Hetzner chooses.
    pub location: String,
    /// The machine's key in the project; 0 for none yet.
    #[serde(rename = "KeyID")]
    pub key_id: i64,
    /// Whether that key is the user's, and stays.
    pub is_existing_key: bool,
    /// The server; 0 for none yet.
    #[serde(rename = "ServerID")]
    pub server_id: i64,
    /// Volumes to attach, by number or name.
    #[serde(deserialize_with = "zero_if_null")]
    pub volumes: Vec<String>,
    /// Networks to attach, by number or name.
    #[serde(deserialize_with = "zero_if_null")]
    pub networks: Vec<String>,
    /// Whether the machine is reached by its private address.
    pub use_private_network: bool,
    /// No public IPv4 address.
    pub disable_public4: bool,
    /// No public IPv6 address.
    pub disable_public6: bool,
    /// The primary IPv4 to take, by number, name or address.
    #[serde(rename = "PrimaryIPv4")]
    pub primary_ipv4: String,
    /// The primary IPv6 to take.
    #[serde(rename = "PrimaryIPv6")]
    pub primary_ipv6: String,
    /// Firewalls to apply, by number or name.
    #[serde(deserialize_with = "zero_if_null")]
    pub firewalls: Vec<String>,
    /// The user's labels of the server.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_labels: BTreeMap<String, String>,
    /// Further public keys.
    #[serde(deserialize_with = "zero_if_null")]
    pub additional_keys: Vec<String>,
    /// Those of them that were made in the project for this machine.
    #[serde(rename = "AdditionalKeyIDs", deserialize_with = "zero_if_null")]
    pub additional_key_ids: Vec<i64>,
    /// Seconds.
    pub wait_on_error: u64,
    /// Seconds.
    pub wait_on_polling: u64,
    /// Seconds; 0 for the usual limit.
    pub wait_for_running_timeout: u64,

    /// The API's address, where it is not Hetzner's own.
    pub endpoint: String,
    /// A file with further certification authorities.
    #[serde(rename = "CACert")]
    pub ca_cert: String,
    /// The user's key file, as given.
    pub original_key: String,
    /// The user's user data, as given.
    pub user_data: Secret,
    /// The file that has it.
    pub user_data_file: String,
    /// The user's labels of the key.
    pub key_labels: BTreeMap<String, String>,
    /// The placement group as given: a number or a name.
    pub placement_group: String,
    /// Its number, once it is known.
    #[serde(rename = "PlacementGroupID")]
    pub placement_group_id: i64,
    /// The numbers of `AdditionalKeys` in the project, also of those that were there before.
    #[serde(rename = "AttachedKeyIDs", deserialize_with = "zero_if_null")]
    pub attached_key_ids: Vec<i64>,
    /// The firewall of the machine's own; 0 for none.
    #[serde(rename = "FirewallID")]
    pub firewall_id: i64,
    /// The store whose mark the server carries; empty for a server of the plugin.
    #[serde(rename = "StoreID")]
    pub store_id: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}
