//! What `libvirt` keeps of a machine. There is no Go driver of this name; the keys follow the others' habits.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::Base;

/// The engine's port in the guest.
pub(super) const ENGINE_PORT: u16 = 2376;

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct LibvirtState {
    /// The keys of all drivers.
    #[serde(flatten)]
    pub base: Base,
    /// The connection; empty until one is chosen.
    #[serde(rename = "URI")]
    pub uri: String,
    /// The domain; made up and saved before it is defined.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The address of its network card.
    #[serde(rename = "MAC")]
    pub mac: String,
    /// Number of virtual processors.
    #[serde(rename = "CPU")]
    pub cpu: u32,
    /// MiB.
    pub memory: u64,
    /// MiB.
    pub disk_size: u64,
    /// `--libvirt-image`, as given.
    pub image: String,
    /// libvirt's network, or `user`; empty until one is chosen.
    pub network: String,
    /// What forwards ports in a `user` network: `slirp` or `passt`; empty until chosen.
    pub forwarder: String,
    /// Whether the address is reserved in libvirt's network.
    pub address_reserved: bool,
    /// The port on 127.0.0.1 that leads to the engine; 0 where none does.
    pub engine_port: u16,
    /// `--libvirt-publish`.
    pub publish: Vec<String>,
    /// The storage pool.
    pub pool: String,
    /// The volume with the image that the disk is an overlay on; empty for none.
    pub image_volume: String,
    /// The kernel's command line, where the image's kernel is booted without a boot loader; empty where it is not.
    pub boot_cmdline: String,
    /// The volume of the disk; saved before it is made.
    pub disk_volume: String,
    /// The volume with the seed; empty for none.
    pub seed_volume: String,
    /// The disk's cache mode; empty for the hypervisor's own.
    pub cache_mode: String,
    /// `auto`, `kvm` or `qemu`.
    pub domain_type: String,
    /// `bios`, `efi`, or empty for what the architecture has.
    pub firmware: String,
    /// `--libvirt-extra-xml`, as given.
    #[serde(rename = "ExtraXML")]
    pub extra_xml: String,
    /// Whether the domain starts with the computer.
    pub autostart: bool,
    /// How long a stop waits for the guest, seconds.
    pub stop_timeout: u64,
    /// The domain whose disk this one's begins as a copy of; empty for none.
    #[serde(rename = "CloneOfUUID")]
    pub clone_of_uuid: String,
    /// The volume of that disk.
    pub clone_of_volume: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl LibvirtState {
    /// Whether ports of this computer lead to the guest, instead of an address of its own.
    pub(super) fn is_forwarded(&self) -> bool {
        self.network == super::network::USER
    }
}
