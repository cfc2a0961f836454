//! What `openstack` keeps of a machine: the Go driver's keys, then those that Rancher's fork added, then ours.

use machine_core::{DriverError, DriverState, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct OpenstackState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// Keystone's address.
    #[serde(deserialize_with = "zero_if_null")]
    pub auth_url: String,
    /// How long a new server may take to be active, seconds.
    #[serde(deserialize_with = "zero_if_null")]
    pub active_timeout: u64,
    /// Whether servers are believed whatever their certificates say.
    #[serde(deserialize_with = "zero_if_null")]
    pub insecure: bool,
    /// A file with certificates to trust, PEM.
    #[serde(deserialize_with = "zero_if_null")]
    pub ca_cert: String,
    /// The domain of user and project; Rancher's fork writes `DomainId`.
    #[serde(rename = "DomainID", alias = "DomainId", deserialize_with = "zero_if_null")]
    pub domain_id: String,
    /// The same by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub domain_name: String,
    /// The user, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub username: String,
    /// The user's password.
    #[serde(deserialize_with = "zero_if_null")]
    pub password: Secret,
    /// The project, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub tenant_name: String,
    /// The project, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub tenant_id: String,
    /// The region.
    #[serde(deserialize_with = "zero_if_null")]
    pub region: String,
    /// The availability zone.
    #[serde(deserialize_with = "zero_if_null")]
    pub availability_zone: String,
    /// `publicURL`, `internalURL`, `adminURL`, or empty for the first.
    #[serde(deserialize_with = "zero_if_null")]
    pub endpoint_type: String,
    /// The server's id; empty until it is made.
    #[serde(deserialize_with = "zero_if_null")]
    pub machine_id: String,
    /// The flavor, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub flavor_name: String,
    /// The flavor, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub flavor_id: String,
    /// The image, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub image_name: String,
    /// The image, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub image_id: String,
    /// The key pair; chosen and saved before it is made.
    #[serde(deserialize_with = "zero_if_null")]
    pub key_pair_name: String,
    /// The network, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub network_name: String,
    /// The network, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub network_id: String,
    /// The user's own user data as the Go program keeps it, Base64; we keep the file's name instead.
    pub user_data: Option<String>,
    /// The user's private key, for a key pair that is there already.
    #[serde(deserialize_with = "zero_if_null")]
    pub private_key_file: String,
    /// Security groups that the user named.
    pub security_groups: Option<Vec<String>>,
    /// The network of floating IPs, by name or id.
    #[serde(deserialize_with = "zero_if_null")]
    pub floating_ip_pool: String,
    /// Whether nova's own network services are used.
    #[serde(deserialize_with = "zero_if_null")]
    pub compute_network: bool,
    /// The network of floating IPs, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub floating_ip_pool_id: String,
    /// 4 or 6: which of the server's addresses is the machine's.
    #[serde(deserialize_with = "zero_if_null")]
    pub ip_version: u8,
    /// Whether the server gets a config drive.
    #[serde(deserialize_with = "zero_if_null")]
    pub config_drive: bool,
    /// Whether the key pair is the user's, and stays.
    #[serde(deserialize_with = "zero_if_null")]
    pub existing_key: bool,

    /// The user, by id. This and the next are keys of Rancher's fork.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_id: String,
    /// The project's domain, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub tenant_domain_name: String,
    /// The same by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub tenant_domain_id: String,
    /// The user's domain, by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_domain_name: String,
    /// The same by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_domain_id: String,
    /// An application credential, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub application_credential_id: String,
    /// The same by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub application_credential_name: String,
    /// Its secret.
    #[serde(deserialize_with = "zero_if_null")]
    pub application_credential_secret: Secret,
    /// Whether the root disk is a volume.
    #[serde(deserialize_with = "zero_if_null")]
    pub boot_from_volume: bool,
    /// The volume's name.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_name: String,
    /// As what device the volume is attached.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_device_path: String,
    /// The volume; the user's unless [`Self::own_volume`].
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_id: String,
    /// Its type.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_type: String,
    /// Its size, GiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_size: u64,
    /// A server group, by id.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_group_id: String,
    /// The same by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub server_group_name: String,

    /// The store that makes the machine; saved before anything is made, empty for machines of other programs. This and
    /// the next are our own keys.
    #[serde(deserialize_with = "zero_if_null")]
    pub store_id: String,
    /// The entry of clouds.yaml.
    #[serde(deserialize_with = "zero_if_null")]
    pub cloud: String,
    /// Where clouds.yaml is; empty for the usual places.
    #[serde(deserialize_with = "zero_if_null")]
    pub client_config_file: String,
    /// A token of keystone's.
    #[serde(deserialize_with = "zero_if_null")]
    pub token: Secret,
    /// `--openstack-metadata`, as given.
    #[serde(deserialize_with = "zero_if_null")]
    pub metadata: String,
    /// `--openstack-user-data-file`, as given.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_data_file: String,
    /// The floating IP's id; empty until it is made.
    #[serde(deserialize_with = "zero_if_null")]
    pub floating_ip_id: String,
    /// Whether the floating IP was there before: it is left when the machine goes.
    #[serde(deserialize_with = "zero_if_null")]
    pub existing_floating_ip: bool,
    /// From which networks the machine may be reached; empty where its security groups are the user's.
    #[serde(deserialize_with = "zero_if_null")]
    pub allow_from: Vec<String>,
    /// The machine's own security group; empty until it is made.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_id: String,
    /// Whether the volume was made for the machine, and goes with it.
    #[serde(deserialize_with = "zero_if_null")]
    pub own_volume: bool,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl OpenstackState {
    /// Reads it.
    ///
    /// # Errors
    /// [`machine_core::ErrorKind::Config`].
    pub fn read(state: &DriverState) -> Result<Self, DriverError> {
        state.typed()
    }

    /// Writes it.
    ///
    /// # Errors
    /// A mistake of ours only.
    pub fn write(&self) -> Result<DriverState, DriverError> {
        DriverState::from_typed(self)
    }

    /// Whether a create of ours began to make things.
    pub(super) fn is_begun(&self) -> bool {
        !self.store_id.is_empty()
    }

    /// Whether a volume is to be made: the root disk or a further one.
    pub(super) fn makes_volume(&self) -> bool {
        self.own_volume || (self.volume_id.is_empty() && (self.boot_from_volume || self.volume_size > 0))
    }
}
