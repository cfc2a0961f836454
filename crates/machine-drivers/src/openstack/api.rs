//! What nova, neutron, glance and cinder answer: the fields that are used, and no others.

use std::collections::BTreeMap;

use machine_core::State;
use serde::Deserialize;

use crate::base::zero_if_null;

/// A server of nova's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Server {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) status: String,
    #[serde(rename = "OS-EXT-STS:task_state", deserialize_with = "zero_if_null")]
    task_state: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) addresses: BTreeMap<String, Vec<Address>>,
    #[serde(rename = "OS-SRV-USG:launched_at")]
    launched_at: Option<String>,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) fault: Fault,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// An address of a server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Address {
    pub(super) addr: String,
    pub(super) version: u8,
    #[serde(rename = "OS-EXT-IPS:type", deserialize_with = "zero_if_null")]
    pub(super) kind: String,
}

/// Why a server could not be built.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Fault {
    pub(super) message: String,
}

impl Server {
    /// What it is doing, in the reference program's words and some more.
    pub(super) fn state(&self) -> State {
        match (self.status.as_str(), self.task_state.as_str()) {
            ("ACTIVE" | "RESCUE", "powering-off" | "deleting" | "soft-deleting" | "shelving") => {
                State::Stopping
            }
            ("SHUTOFF", "powering-on") => State::Starting,
            ("ACTIVE" | "PASSWORD" | "RESIZE" | "VERIFY_RESIZE" | "MIGRATING" | "RESCUE", _) => {
                State::Running
            }
            ("PAUSED", _) => State::Paused,
            ("SUSPENDED", _) => State::Saved,
            ("SHUTOFF" | "SHELVED" | "SHELVED_OFFLOADED", _) => State::Stopped,
            ("BUILD" | "BUILDING" | "REBOOT" | "HARD_REBOOT" | "REBUILD" | "REVERT_RESIZE", _) => {
                State::Starting
            }
            ("ERROR", _) => State::Error,
            ("DELETED" | "SOFT_DELETED", _) => State::NotFound,
            _ => State::None,
        }
    }

    /// Whether it failed before it ever ran.
    pub(super) fn is_unbuildable(&self) -> bool {
        self.status == "ERROR" && self.launched_at.is_none()
    }

    /// Whether it is gone, or is kept for a while only so that an operator can bring it back.
    pub(super) fn is_deleted(&self) -> bool {
        matches!(self.status.as_str(), "DELETED" | "SOFT_DELETED")
    }

    /// Its addresses of an IP version, fixed or floating.
    pub(super) fn addresses(&self, version: u8, floating: bool) -> Vec<&str> {
        let kind = if floating { "floating" } else { "fixed" };
        let all = self.addresses.values().flatten();
        // Clouds that do not say the kind have fixed ones only.
        let fits =
            |a: &&Address| a.version == version && (a.kind == kind || (a.kind.is_empty() && !floating));
        all.filter(fits).map(|address| address.addr.as_str()).collect()
    }
}

/// `{"server": …}` and the like.
#[derive(Debug, Deserialize)]
pub(super) struct One<T> {
    #[serde(
        alias = "server",
        alias = "flavor",
        alias = "keypair",
        alias = "network",
        alias = "floatingip",
        alias = "floating_ip",
        alias = "security_group",
        alias = "security_group_rule",
        alias = "volume",
        alias = "volumeAttachment"
    )]
    pub(super) it: T,
}

/// Something with an id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Id {
    pub(super) id: String,
}

/// Something with an id and a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct IdName {
    pub(super) id: String,
    #[serde(default, deserialize_with = "zero_if_null")]
    pub(super) name: String,
}

/// A flavor.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Flavor {
    pub(super) id: String,
    pub(super) name: String,
    /// MiB.
    pub(super) ram: i64,
    /// GiB.
    pub(super) disk: i64,
}

/// An image.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image {
    pub(super) id: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) name: String,
    pub(super) status: String,
    /// MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) min_ram: i64,
    /// GiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) min_disk: i64,
}

/// A network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Network {
    pub(super) id: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) name: String,
    #[serde(rename = "router:external", deserialize_with = "zero_if_null")]
    pub(super) external: bool,
}

/// A key pair.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct KeyPair {
    pub(super) name: String,
    pub(super) public_key: String,
}

/// A key pair in a list.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ListedKeyPair {
    pub(super) keypair: KeyPair,
}

/// A network card.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Port {
    pub(super) id: String,
    pub(super) fixed_ips: Vec<FixedIp>,
}

/// An address of a network card.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FixedIp {
    pub(super) ip_address: String,
}

/// A floating IP of neutron's.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct FloatingIp {
    pub(super) id: String,
    pub(super) floating_ip_address: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) port_id: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) description: String,
    pub(super) revision_number: Option<u64>,
}

/// A floating IP of nova's own network services.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct NovaFloatingIp {
    #[serde(deserialize_with = "text_or_number")]
    pub(super) id: String,
    pub(super) ip: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) pool: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) instance_id: String,
}

/// Ids of nova-network are numbers, its proxies' are texts.
fn text_or_number<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u64),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text,
        Either::Number(number) => number.to_string(),
    })
}

/// A security group.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct SecurityGroup {
    pub(super) id: String,
    pub(super) name: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) description: String,
}

/// A rule of one.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) direction: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) protocol: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) port_range_min: u16,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) port_range_max: u16,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) remote_ip_prefix: String,
}

/// A volume.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Volume {
    pub(super) id: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) name: String,
    pub(super) status: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) attachments: Vec<Attachment>,
}

/// Where a volume is attached, and as what.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attachment {
    pub(super) server_id: String,
    #[serde(deserialize_with = "zero_if_null")]
    pub(super) device: String,
}

/// An availability zone.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Zone {
    #[serde(rename = "zoneName")]
    pub(super) name: String,
    #[serde(rename = "zoneState", default)]
    pub(super) state: ZoneState,
}

/// Whether a zone takes servers.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ZoneState {
    pub(super) available: bool,
}
