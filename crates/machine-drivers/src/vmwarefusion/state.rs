//! What `vmwarefusion` keeps of a machine: the Go driver's keys in its order, and after them our own.

use std::path::{Path, PathBuf};

use machine_core::{Cx, Secret};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// The engine's port in the guest.
pub(super) const ENGINE_PORT: u16 = 2376;
/// The user in the guest where no other is named, as in the Go driver.
pub(super) const SSH_USER: &str = "docker";
/// The machine's private key, in its folder, as in the Go driver.
const KEY_FILE: &str = "id_rsa";

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VmwareFusionState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub memory: u64,
    /// MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk_size: u64,
    /// Number of virtual processors.
    #[serde(rename = "CPU", deserialize_with = "zero_if_null")]
    pub cpu: u32,
    /// Where the machine's boot2docker ISO is.
    #[serde(rename = "ISO", deserialize_with = "zero_if_null")]
    pub iso: String,
    /// `--vmwarefusion-boot2docker-url`; empty for a cloud image.
    #[serde(rename = "Boot2DockerURL", deserialize_with = "zero_if_null")]
    pub boot2docker_url: String,
    /// `--vmwarefusion-ssh-password`. The Go driver puts the key into the guest with it; it is kept for that program.
    #[serde(rename = "SSHPassword")]
    pub ssh_password: Secret,
    /// Where the machine's configuration drive is.
    #[serde(rename = "ConfigDriveISO", deserialize_with = "zero_if_null")]
    pub config_drive_iso: String,
    /// `--vmwarefusion-configdrive-url`; empty for none.
    #[serde(rename = "ConfigDriveURL", deserialize_with = "zero_if_null")]
    pub config_drive_url: String,
    /// Whether the folder of the users' homes is not shared.
    #[serde(deserialize_with = "zero_if_null")]
    pub no_share: bool,
    /// `--vmwarefusion-image`, as given.
    pub image: String,
    /// `--vmwarefusion-dhcp-leases`, as given.
    #[serde(rename = "DHCPLeases")]
    pub dhcp_leases: String,
    /// Whether we paused the machine: `vmrun` does not tell.
    pub paused: bool,
    /// The configuration of the machine of which the disk is a copy; empty for none.
    #[serde(rename = "CloneOfVMX")]
    pub clone_of_vmx: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl VmwareFusionState {
    /// Whether the machine boots the user's boot2docker ISO instead of a cloud image.
    pub(super) fn is_boot2docker(&self) -> bool {
        !self.boot2docker_url.is_empty()
    }

    /// The machine's folder as the record has it: where the program that made the machine put its files.
    pub(super) fn folder(&self) -> PathBuf {
        Path::new(&self.base.store_path).join("machines").join(&self.base.machine_name)
    }

    /// Where the machine's private key is: the Go driver records it only once it was asked for.
    pub(super) fn key_path(&self) -> PathBuf {
        if self.base.ssh_key_path.is_empty() {
            self.folder().join(KEY_FILE)
        } else {
            PathBuf::from(&self.base.ssh_key_path)
        }
    }

    /// The machine's configuration: in its folder, or, where the store was moved, in the folder of the record.
    pub(super) fn vmx(&self, cx: &Cx<'_>) -> PathBuf {
        let name = format!("{}.vmx", cx.name);
        let here = cx.machine_dir.join(&name);
        let there = self.folder().join(&name);
        if !here.exists() && there.exists() { there } else { here }
    }
}
