//! What `google` keeps of a machine: the Go driver's keys in its order, then those that its forks added (GitLab's and
//! Rancher's, under their names), and after them our own. Keys that the Go driver does not have stand there only where
//! they say something.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::Secret;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;
/// What a machine's request is for, in [`GoogleState::requests`].
pub(super) const INSTANCE: &str = "instance";

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GoogleState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// The zone, e.g. `us-central1-a`; meaningless where [`Self::bulk_insert`] let the provider choose one.
    #[serde(deserialize_with = "zero_if_null")]
    pub zone: String,
    /// The machine type, e.g. `e2-medium`.
    #[serde(deserialize_with = "zero_if_null")]
    pub machine_type: String,
    /// The image, e.g. `ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64`.
    #[serde(deserialize_with = "zero_if_null")]
    pub machine_image: String,
    /// The disk's type.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk_type: String,
    /// A static external address or its name; empty for any.
    #[serde(deserialize_with = "zero_if_null")]
    pub address: String,
    /// The network's name or path.
    #[serde(deserialize_with = "zero_if_null")]
    pub network: String,
    /// The subnetwork's name or path; empty for the network's own.
    #[serde(deserialize_with = "zero_if_null")]
    pub subnetwork: String,
    /// Whether the provider may take the machine away, after a day at the latest.
    #[serde(deserialize_with = "zero_if_null")]
    pub preemptible: bool,
    /// Whether the machine is reached at its internal address.
    #[serde(rename = "UseInternalIP", deserialize_with = "zero_if_null")]
    pub use_internal_ip: bool,
    /// Whether it has no other.
    #[serde(rename = "UseInternalIPOnly", deserialize_with = "zero_if_null")]
    pub use_internal_ip_only: bool,
    /// As whom the machine itself may use Google's services; empty for nobody.
    #[serde(deserialize_with = "zero_if_null")]
    pub service_account: String,
    /// Which of them, comma-separated.
    #[serde(deserialize_with = "zero_if_null")]
    pub scopes: String,
    /// GB.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk_size: i64,
    /// The project's id.
    #[serde(deserialize_with = "zero_if_null")]
    pub project: String,
    /// Network tags, comma-separated.
    #[serde(deserialize_with = "zero_if_null")]
    pub tags: String,
    /// Whether the instance was there before.
    #[serde(deserialize_with = "zero_if_null")]
    pub use_existing: bool,
    /// Ports for everybody, `8080` or `8080/udp`.
    #[serde(deserialize_with = "zero_if_null")]
    pub open_ports: Vec<String>,

    /// GitLab: the oldest processor that will do.
    #[serde(
        rename = "MinCPUPlatform",
        deserialize_with = "zero_if_null",
        skip_serializing_if = "String::is_empty"
    )]
    pub min_cpu_platform: String,
    /// GitLab: operations a second of a Hyperdisk; 0 for its default.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "is_zero")]
    pub provisioned_iops: i64,
    /// GitLab: MiB a second of a Hyperdisk; 0 for its default.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "is_zero")]
    pub provisioned_throughput: i64,
    /// GitLab: labels, `key:value`. Rancher's text `key,value,…` is read too.
    #[serde(deserialize_with = "labels", skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// GitLab: metadata.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    /// GitLab: metadata that stand in files.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata_from_file: BTreeMap<String, String>,
    /// GitLab: `count=N,type=TYPE`; empty for none.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub accelerator: String,
    /// GitLab: `MIGRATE` or `TERMINATE`; empty for the machine type's own.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub maintenance_policy: String,
    /// GitLab: whether no firewall rules are made.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "is_false")]
    pub skip_firewall: bool,
    /// GitLab: whether the provider chooses the zone and one of several machine types.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "is_false")]
    pub bulk_insert: bool,
    /// GitLab: the region in which it chooses.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub region: String,
    /// GitLab: the machine types, best first.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "Vec::is_empty")]
    pub flex_machine_types: Vec<String>,
    /// GitLab: `zone[:ALLOW|PREFERRED|DENY]`.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "Vec::is_empty")]
    pub location_zones: Vec<String>,
    /// GitLab: the zone that was chosen; empty until known.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub resolved_zone: String,
    /// GitLab: the machine type that was chosen; empty until known.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub resolved_machine_type: String,
    /// GitLab: how operations are waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation_backoff_factory: Option<Backoff>,

    /// Rancher: credentials, base64 of their JSON.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "Secret::is_empty")]
    pub auth: Secret,
    /// Rancher: what the name of the shared firewall rule begins with; empty for the usual one.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub external_firewall_rule_prefix: String,
    /// Rancher: likewise of the rule between machines; empty for none.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub internal_firewall_rule_prefix: String,
    /// Rancher: file with user data.
    #[serde(deserialize_with = "zero_if_null", skip_serializing_if = "String::is_empty")]
    pub userdata: String,

    /// Whether the provider may take the machine away when it needs the room.
    #[serde(skip_serializing_if = "is_false")]
    pub spot: bool,
    /// File with credentials; empty for what is found.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub application_credentials: String,
    /// Address of the API; empty for Google's.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// File with further root certificates; empty for none.
    #[serde(rename = "CACert", skip_serializing_if = "String::is_empty")]
    pub ca_cert: String,
    /// The id of the store that made it, as in its labels.
    #[serde(rename = "StoreID", skip_serializing_if = "String::is_empty")]
    pub store_id: String,
    /// The instance's number; empty until known.
    #[serde(rename = "InstanceID", skip_serializing_if = "String::is_empty")]
    pub instance_id: String,
    /// Names of firewall rules that it shares with other machines.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shared_rules: Vec<String>,
    /// What the names of its own firewall rules begin with, and its network tag; empty where it has none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub own_rules: String,
    /// From which networks it may be reached, where it has rules of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<String>,
    /// Ids by which the provider knows our requests again, by what they make. `None` in what the Go driver wrote.
    #[serde(rename = "RequestIDs", skip_serializing_if = "Option::is_none")]
    pub requests: Option<BTreeMap<String, String>>,
    /// Flags that come to nothing for an instance that is there; empty once that is said.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unheeded_flags: Vec<String>,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// How operations are waited for, as GitLab's driver keeps it: times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Backoff {
    /// The first pause.
    pub initial_interval: u64,
    /// How much of a pause is left to chance, 0 to 1.
    pub randomization_factor: f64,
    /// By what pauses grow.
    pub multiplier: f64,
    /// The longest pause.
    pub max_interval: u64,
    /// How long is waited in all.
    pub max_elapsed_time: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        let seconds = |s| Duration::from_secs(s).as_nanos().try_into().unwrap_or(u64::MAX);
        Self {
            initial_interval: seconds(1),
            randomization_factor: 0.5,
            multiplier: 2.0,
            max_interval: seconds(30),
            max_elapsed_time: seconds(300),
        }
    }
}

impl GoogleState {
    /// The zone that the instance is in; `None` while nobody has chosen one.
    pub(super) fn zone(&self) -> Option<&str> {
        match (self.resolved_zone.as_str(), self.bulk_insert) {
            ("", true) => None,
            ("", false) => Some(&self.zone),
            (resolved, _) => Some(resolved),
        }
    }

    /// The region that the instance is in.
    pub(super) fn region(&self) -> &str {
        match self.zone() {
            Some(zone) => zone.rsplit_once('-').map_or(zone, |(region, _)| region),
            None => &self.region,
        }
    }

    /// The instance's name.
    pub(super) fn name(&self) -> &str {
        &self.base.machine_name
    }

    /// The name of the machine's disk: the Go driver's, unless that would be longer than the provider takes, or the
    /// provider chose it.
    pub(super) fn disk(&self) -> String {
        let usual = format!("{}-disk", self.name());
        let too_long = usual.len() > super::instance::LONGEST_NAME;
        if self.bulk_insert || too_long { self.name().to_owned() } else { usual }
    }

    /// The id of a request, if it was made up already.
    pub(super) fn request(&self, what: &str) -> Option<&str> {
        self.requests.as_ref()?.get(what).map(String::as_str)
    }
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

fn is_false(yes: &bool) -> bool {
    !yes
}

/// GitLab's list, or Rancher's text.
fn labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Labels {
        List(Vec<String>),
        Text(String),
    }
    Ok(match Option::deserialize(deserializer)? {
        Some(Labels::List(list)) => list,
        Some(Labels::Text(text)) => pairs_of_commas(&text),
        None => Vec::new(),
    })
}

/// `key,value,key,value` as `key:value`. A key without a value is dropped, as in Rancher's driver.
pub(super) fn pairs_of_commas(text: &str) -> Vec<String> {
    let words: Vec<&str> = text.split(',').map(str::trim).collect();
    words.chunks_exact(2).map(|pair| format!("{}:{}", pair[0], pair[1])).collect()
}
