//! What `config.json` keeps of a machine.

use std::time::Duration;

use machine_core::{DriverError, DriverState, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{session, settle};
use crate::base::{Base, zero_if_null};

/// The keys of the Go driver in their order, then those that GitLab's and Rancher's forks added, then ours, which the Go
/// programs drop.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Ec2State {
    /// What all Go drivers keep.
    #[serde(flatten)]
    pub base: Base,
    /// The Go driver's own id of the machine; nobody reads it.
    #[serde(deserialize_with = "zero_if_null")]
    pub id: String,
    /// Access key; empty where the credentials come from elsewhere.
    #[serde(deserialize_with = "zero_if_null")]
    pub access_key: Secret,
    /// Its secret.
    #[serde(deserialize_with = "zero_if_null")]
    pub secret_key: Secret,
    /// The session's token, where the key is a temporary one.
    #[serde(deserialize_with = "zero_if_null")]
    pub session_token: Secret,
    /// Region; empty until it is looked up.
    #[serde(deserialize_with = "zero_if_null")]
    pub region: String,
    /// Image; empty until it is looked up.
    #[serde(rename = "AMI", deserialize_with = "zero_if_null")]
    pub ami: String,
    /// Not used by the Go driver either.
    #[serde(rename = "SSHKeyID", deserialize_with = "zero_if_null")]
    pub ssh_key_id: i64,
    /// Whether the key pair is the user's: it is not deleted then.
    #[serde(deserialize_with = "zero_if_null")]
    pub existing_key: bool,
    /// Key pair.
    #[serde(deserialize_with = "zero_if_null")]
    pub key_name: String,
    /// Instance; empty until it is made.
    #[serde(deserialize_with = "zero_if_null")]
    pub instance_id: String,
    /// Its type, e.g. `t3.micro`.
    #[serde(deserialize_with = "zero_if_null")]
    pub instance_type: String,
    /// Its private IPv4 address.
    #[serde(rename = "PrivateIPAddress", deserialize_with = "zero_if_null")]
    pub private_ip_address: String,
    /// The one security group of records before 2016.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_id: String,
    /// Security groups that the instance is in.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_ids: Vec<String>,
    /// The one name of records before 2016.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_name: String,
    /// The names that were wished for.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_names: Vec<String>,
    /// Whether no rules are added to them.
    #[serde(deserialize_with = "zero_if_null")]
    pub security_group_read_only: bool,
    /// Further ports that are opened, `PORT[/PROTOCOL]`.
    #[serde(deserialize_with = "zero_if_null")]
    pub open_ports: Vec<String>,
    /// Tags, `key,value,key,value`.
    #[serde(deserialize_with = "zero_if_null")]
    pub tags: String,
    /// Not used by the Go driver either.
    #[serde(deserialize_with = "zero_if_null")]
    pub reservation_id: String,
    /// Root device; empty until the image is looked at.
    #[serde(deserialize_with = "zero_if_null")]
    pub device_name: String,
    /// Size of the root volume, GiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub root_size: i64,
    /// Its type, e.g. `gp3`.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_type: String,
    /// Instance profile by name.
    #[serde(deserialize_with = "zero_if_null")]
    pub iam_instance_profile: String,
    /// VPC; empty until the subnet is looked up.
    #[serde(deserialize_with = "zero_if_null")]
    pub vpc_id: String,
    /// Subnet; empty until it is looked up.
    #[serde(deserialize_with = "zero_if_null")]
    pub subnet_id: String,
    /// Zone: a letter, or the full name.
    #[serde(deserialize_with = "zero_if_null")]
    pub zone: String,
    /// Whether it is a spot instance.
    #[serde(deserialize_with = "zero_if_null")]
    pub request_spot_instance: bool,
    /// The highest price, dollars an hour; empty for the on-demand price.
    #[serde(deserialize_with = "zero_if_null")]
    pub spot_price: String,
    /// Without effect: AWS has withdrawn it.
    #[serde(deserialize_with = "zero_if_null")]
    pub block_duration_minutes: i64,
    /// Whether it gets no public address.
    #[serde(rename = "PrivateIPOnly", deserialize_with = "zero_if_null")]
    pub private_ip_only: bool,
    /// Whether it is reached by its private address.
    #[serde(rename = "UsePrivateIP", deserialize_with = "zero_if_null")]
    pub use_private_ip: bool,
    /// Whether its traffic to its volumes has a lane of its own.
    #[serde(deserialize_with = "zero_if_null")]
    pub use_ebs_optimized_instance: bool,
    /// Whether CloudWatch looks at it every minute.
    #[serde(deserialize_with = "zero_if_null")]
    pub monitoring: bool,
    /// The user's own private key.
    #[serde(rename = "SSHPrivateKeyPath", deserialize_with = "zero_if_null")]
    pub ssh_private_key_path: String,
    /// How often a request that failed is made again; -1 for never.
    #[serde(deserialize_with = "zero_if_null")]
    pub retry_count: i64,
    /// An address other than Amazon's.
    #[serde(deserialize_with = "zero_if_null")]
    pub endpoint: String,
    /// Whether that is reached without TLS.
    #[serde(rename = "DisableSSL", deserialize_with = "zero_if_null")]
    pub disable_ssl: bool,
    /// File with the user's own user data.
    #[serde(deserialize_with = "zero_if_null")]
    pub user_data_file: String,

    /// GitLab: whether the volumes are encrypted.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_encrypted: bool,
    /// GitLab: with which key.
    #[serde(deserialize_with = "zero_if_null")]
    pub volume_kms_key_id: String,
    /// GitLab: `required` or `optional`.
    #[serde(deserialize_with = "zero_if_null")]
    pub metadata_token_setting: String,
    /// GitLab: how many hops the metadata service's answers may go.
    #[serde(deserialize_with = "zero_if_null")]
    pub metadata_token_response_hop_limit: i64,

    /// Rancher: the same as `VolumeEncrypted`.
    #[serde(deserialize_with = "zero_if_null")]
    pub encrypt_ebs_volume: bool,
    /// Rancher: whether there is a metadata service, `enabled` or `disabled`.
    #[serde(deserialize_with = "zero_if_null")]
    pub http_endpoint: String,
    /// Rancher: the same as `MetadataTokenSetting`.
    #[serde(deserialize_with = "zero_if_null")]
    pub http_tokens: String,
    /// Rancher: the same as `MetadataTokenResponseHopLimit`.
    #[serde(deserialize_with = "zero_if_null")]
    pub http_put_response_hop_limit: i64,
    /// Rancher: whether it speaks IPv6.
    #[serde(deserialize_with = "zero_if_null")]
    pub http_protocol_ipv6: String,
    /// Rancher: whether the first IPv6 address is the primary one.
    #[serde(deserialize_with = "zero_if_null")]
    pub enable_primary_ipv6: bool,
    /// Rancher: how many IPv6 addresses it has.
    #[serde(deserialize_with = "zero_if_null")]
    pub ipv6_address_count: i64,
    /// Rancher: whether it has no IPv4 address.
    #[serde(deserialize_with = "zero_if_null")]
    pub ipv6_address_only: bool,
    /// Rancher: its IPv6 address.
    #[serde(rename = "IPv6Address", deserialize_with = "zero_if_null")]
    pub ipv6_address: String,

    /// Profile of the configuration files.
    #[serde(deserialize_with = "zero_if_null")]
    pub profile: String,
    /// File with further root certificates.
    #[serde(deserialize_with = "zero_if_null")]
    pub ca_cert: String,
    /// By which EC2 knows the request for the instance again; empty while none was made.
    #[serde(deserialize_with = "zero_if_null")]
    pub client_token: String,
    /// When EC2 was last asked for something that it may not know everywhere yet, seconds since 1970; 0 once it lists the
    /// instance.
    #[serde(deserialize_with = "zero_if_null")]
    pub asked_at: u64,
    /// The request for a spot instance.
    #[serde(deserialize_with = "zero_if_null")]
    pub spot_instance_request_id: String,
    /// Name of the security group that is the machine's own; empty for none.
    #[serde(deserialize_with = "zero_if_null")]
    pub own_security_group: String,
    /// From which networks it may be reached; empty for all.
    #[serde(deserialize_with = "zero_if_null")]
    pub allow_from: Vec<String>,
    /// Whether a key pair of this machine was or is about to be uploaded.
    #[serde(deserialize_with = "zero_if_null")]
    pub key_uploaded: bool,
    /// The account in which it was made, in Amazon's number; empty where it is not known yet.
    #[serde(deserialize_with = "zero_if_null")]
    pub owner_id: String,

    /// Keys that this driver does not know.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl Ec2State {
    /// Reads the record.
    ///
    /// # Errors
    /// [`machine_core::ErrorKind::Config`] where it is not one of this driver.
    pub(super) fn read(state: &DriverState) -> Result<Self, DriverError> {
        state.typed()
    }

    /// The record.
    pub(super) fn write(&self) -> Result<DriverState, DriverError> {
        DriverState::from_typed(self)
    }

    /// For how long what EC2 does not know may only be too new for it. `settling` is how long EC2 takes at most.
    pub(super) fn doubt(&self, settling: Duration) -> Duration {
        if self.asked_at == 0 {
            return Duration::ZERO;
        }
        // The last try of a request may be as late as this. Clocks can be set back; the doubt is no longer for that.
        let age = Duration::from_secs(settle::now().saturating_sub(self.asked_at));
        (session::BUDGET + settling).saturating_sub(age).min(settling)
    }

    /// The security groups' ids, those of old records too.
    pub(super) fn groups(&self) -> Vec<String> {
        let old = Some(&self.security_group_id).filter(|id| !id.is_empty());
        old.into_iter().chain(&self.security_group_ids).cloned().collect()
    }

    /// The names that are wished for.
    pub(super) fn group_names(&self) -> Vec<String> {
        let old = Some(&self.security_group_name).filter(|name| !name.is_empty());
        let mut names: Vec<String> = Vec::new();
        for name in old.into_iter().chain(&self.security_group_names) {
            if !name.is_empty() && !names.contains(name) {
                names.push(name.clone());
            }
        }
        names
    }

    /// The user's tags: every second text is a value. What has no partner is dropped, as the Go driver does.
    pub(super) fn user_tags(&self) -> Vec<(String, String)> {
        let texts: Vec<&str> = self.tags.split(',').collect();
        texts.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())).collect()
    }

    /// Whether a tag has no partner.
    pub(super) fn has_odd_tags(&self) -> bool {
        !self.tags.is_empty() && self.tags.split(',').count() % 2 == 1
    }
}
