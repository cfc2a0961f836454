//! What `generic` keeps of a machine: the keys of the Go driver, in its order.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::Base;

/// The engine's port where a record has none.
const DEFAULT_ENGINE_PORT: u16 = 2376;

/// `Driver` of config.json.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct GenericState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// `--generic-engine-port`.
    #[serde(rename = "EnginePort")]
    pub engine_port: u16,
    /// `--generic-ssh-key`: the user's file, as given. The copy in the machine's folder is `SSHKeyPath`.
    #[serde(rename = "SSHKey", deserialize_with = "crate::base::zero_if_null")]
    pub ssh_key: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl Default for GenericState {
    fn default() -> Self {
        Self {
            base: Base::default(),
            engine_port: DEFAULT_ENGINE_PORT,
            ssh_key: String::new(),
            extra: Map::new(),
        }
    }
}
