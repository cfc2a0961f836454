//! What `digitalocean` keeps of a machine: the keys of the Go driver, in its order, and then ours, without which the Go
//! driver can go on.

use machine_core::{Known, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::mark::Mark;
use crate::base::{Base, zero_if_null};

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DigitalOceanState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// `--digitalocean-access-token`.
    pub access_token: Secret,
    /// The droplet; 0 until it is known.
    #[serde(rename = "DropletID", deserialize_with = "zero_if_null")]
    pub droplet_id: u64,
    /// Empty: the Go driver writes it and never sets it.
    #[serde(deserialize_with = "zero_if_null")]
    pub droplet_name: String,
    /// `--digitalocean-image`: a slug, or the number of an image.
    #[serde(deserialize_with = "zero_if_null")]
    pub image: String,
    /// `--digitalocean-region`.
    #[serde(deserialize_with = "zero_if_null")]
    pub region: String,
    /// The machine's key at DigitalOcean; 0 until it is known. `rm` deletes it, unless `SSHKeyFingerprint` is set.
    #[serde(rename = "SSHKeyID", deserialize_with = "zero_if_null")]
    pub ssh_key_id: u64,
    /// `--digitalocean-ssh-key-fingerprint`: a key that is the user's and stays.
    #[serde(rename = "SSHKeyFingerprint", deserialize_with = "zero_if_null")]
    pub ssh_key_fingerprint: String,
    /// `--digitalocean-ssh-key-path`: the user's file, as given. The copy in the machine's folder is `SSHKeyPath`.
    #[serde(rename = "SSHKey", deserialize_with = "zero_if_null")]
    pub ssh_key: String,
    /// `--digitalocean-size`.
    #[serde(deserialize_with = "zero_if_null")]
    pub size: String,
    /// `--digitalocean-ipv6`.
    #[serde(rename = "IPv6", deserialize_with = "zero_if_null")]
    pub ipv6: bool,
    /// `--digitalocean-backups`.
    #[serde(deserialize_with = "zero_if_null")]
    pub backups: bool,
    /// `--digitalocean-private-networking`.
    #[serde(deserialize_with = "zero_if_null")]
    pub private_networking: bool,
    /// `--digitalocean-userdata`.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_data_file: String,
    /// `--digitalocean-monitoring`.
    #[serde(deserialize_with = "zero_if_null")]
    pub monitoring: bool,
    /// `--digitalocean-tags`.
    #[serde(deserialize_with = "zero_if_null")]
    pub tags: String,
    /// The address in the VPC; empty until known.
    #[serde(
        rename = "PrivateIPAddress",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "zero_if_null"
    )]
    pub private_ip_address: String,
    /// `--digitalocean-vpc-uuid`.
    #[serde(rename = "VPCUUID", skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub vpc_uuid: String,
    /// `--digitalocean-droplet-agent`: `true`, `false`, or empty.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub droplet_agent: String,
    /// `--digitalocean-endpoint`; empty for DigitalOcean's own.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub endpoint: String,
    /// `--digitalocean-ca-cert`.
    #[serde(rename = "CACert", skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub ca_cert: String,
    /// The store's id in the mark of what was made.
    #[serde(
        rename = "MarkedStoreID",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "zero_if_null"
    )]
    pub marked_store: String,
    /// The MD5 fingerprint of the machine's key, from when it is about to be uploaded.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub own_key_fingerprint: String,
    /// The machine's own firewall; empty where it has none.
    #[serde(
        rename = "FirewallID",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "zero_if_null"
    )]
    pub firewall_id: String,
    /// When the key, the firewall and the droplet were asked for, seconds since 1970; 0 where they were not, and once
    /// their id is known.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "zero_if_null")]
    pub key_asked_at: u64,
    /// The same of the firewall, and of the tag by which it finds the droplet.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "zero_if_null")]
    pub firewall_asked_at: u64,
    /// The same of the droplet.
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "zero_if_null")]
    pub droplet_asked_at: u64,
    /// The action that makes the droplet; 0 once the droplet was seen.
    #[serde(rename = "CreateActionID", skip_serializing_if = "is_zero", deserialize_with = "zero_if_null")]
    pub create_action_id: u64,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

// serde asks for a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl DigitalOceanState {
    /// What is known without asking.
    pub(super) fn known(self) -> Known {
        Known {
            url: self.base.engine_url(ENGINE_PORT),
            ssh: self.base.ssh(),
            ip: self.base.ip_address,
            engine_port: None,
        }
    }

    /// Whose everything of this machine is.
    pub(super) fn mark(&self) -> Mark {
        Mark { store: self.marked_store.clone(), machine: self.base.machine_name.clone() }
    }

    /// The tags that the user wants.
    pub(super) fn own_tags(&self) -> impl Iterator<Item = &str> {
        self.tags.split(',').map(str::trim).filter(|tag| !tag.is_empty())
    }
}
