//! What `hyperv` keeps of a machine: the Go driver's keys in its order, and after them our own.

use std::path::{Path, PathBuf};

use machine_image::Arch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};

/// The engine's port in the guest.
pub(super) const ENGINE_PORT: u16 = 2376;
/// The user in the guest, as in the Go driver.
pub(super) const SSH_USER: &str = "docker";
/// The machine's private key, in its folder, as in the Go driver.
const KEY_FILE: &str = "id_rsa";

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HypervState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// `--hyperv-boot2docker-url`; empty for a cloud image.
    #[serde(rename = "Boot2DockerURL", deserialize_with = "zero_if_null")]
    pub boot2docker_url: String,
    /// `--hyperv-virtual-switch`; empty for one that is found.
    #[serde(rename = "VSwitch", deserialize_with = "zero_if_null")]
    pub switch: String,
    /// MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk_size: u64,
    /// MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub mem_size: u64,
    /// Number of virtual processors.
    #[serde(rename = "CPU", deserialize_with = "zero_if_null")]
    pub cpu: u32,
    /// Static address of the network card; empty for one of Hyper-V's.
    #[serde(deserialize_with = "zero_if_null")]
    pub mac_addr: String,
    /// 0 for none.
    #[serde(rename = "VLanID", deserialize_with = "zero_if_null")]
    pub vlan_id: u32,
    /// Whether the memory is always all there.
    #[serde(deserialize_with = "zero_if_null")]
    pub disable_dynamic_memory: bool,
    /// `--hyperv-image`, as given.
    pub image: String,
    /// 1 or 2; 0 for what fits the image.
    pub generation: u8,
    /// Whether the firmware starts signed systems only.
    pub secure_boot: bool,
    /// Hyper-V's identifier of the machine; empty until there is one.
    #[serde(rename = "VMId")]
    pub vm_id: String,
    /// The machine of which the disk is a copy; empty for none.
    pub clone_of: String,
    /// The folder of that machine.
    pub clone_of_folder: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl HypervState {
    /// Whether the machine boots the user's boot2docker ISO instead of a cloud image.
    pub(super) fn is_boot2docker(&self) -> bool {
        !self.boot2docker_url.is_empty()
    }

    /// The generation of the virtual machine. The first is chosen where it can be had: it boots by BIOS, which the images
    /// made here, cloud images and boot2docker all know, and it is what Azure's first generation has, so that kernels
    /// made for clouds have its drivers (disk and network are Hyper-V's own devices; the DVD is an emulated IDE drive).
    /// On ARM there is only the second.
    pub(super) fn generation(&self) -> u8 {
        match self.generation {
            0 if Arch::host() == Arch::Aarch64 => 2,
            0 => 1,
            chosen => chosen,
        }
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
}
