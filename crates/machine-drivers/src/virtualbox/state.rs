//! What `virtualbox` keeps of a machine: the keys of the Go driver, in its order, and then ours, without which the Go driver can go on.

use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind, Known, SshEndpoint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::{Base, zero_if_null};
use crate::boot2docker;

/// The engine's port.
pub(super) const ENGINE_PORT: u16 = 2376;
/// The address at which the ports of the NAT adapter are forwarded.
pub(super) const LOOPBACK: &str = "127.0.0.1";
/// What people call a network card that every guest of the reference program has a driver for.
pub(super) const E1000: &str = "82540EM";

/// `Driver` of config.json.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct VirtualboxState {
    /// The keys of all drivers. The address is that in the host-only network; `SSHPort` is forwarded on 127.0.0.1.
    #[serde(flatten)]
    pub base: Base,
    /// Always an empty object: the Go driver writes it.
    #[serde(rename = "VBoxManager", deserialize_with = "zero_if_null")]
    pub vbox_manager: Map<String, Value>,
    /// Always an empty object: the Go driver writes it.
    #[serde(deserialize_with = "zero_if_null")]
    pub host_interfaces: Map<String, Value>,
    /// `--virtualbox-cpu-count`; below 1 stands for as many as there are.
    #[serde(rename = "CPU", deserialize_with = "zero_if_null")]
    pub cpu: i64,
    /// `--virtualbox-memory`, MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub memory: u64,
    /// `--virtualbox-disk-size`, MiB.
    #[serde(deserialize_with = "zero_if_null")]
    pub disk_size: u64,
    /// `--virtualbox-nat-nictype`.
    #[serde(deserialize_with = "zero_if_null")]
    pub nat_nic_type: String,
    /// `--virtualbox-boot2docker-url`; empty for a machine of a cloud image, and in records of the Go driver.
    #[serde(rename = "Boot2DockerURL", deserialize_with = "zero_if_null")]
    pub boot2docker_url: String,
    /// `--virtualbox-import-boot2docker-vm`; only in records of the Go driver.
    #[serde(rename = "Boot2DockerImportVM", deserialize_with = "zero_if_null")]
    pub boot2docker_import_vm: String,
    /// `--virtualbox-host-dns-resolver`.
    #[serde(rename = "HostDNSResolver", deserialize_with = "zero_if_null")]
    pub host_dns_resolver: bool,
    /// `--virtualbox-hostonly-cidr`; empty until one was chosen.
    #[serde(rename = "HostOnlyCIDR", deserialize_with = "zero_if_null")]
    pub host_only_cidr: String,
    /// `--virtualbox-hostonly-nictype`.
    #[serde(deserialize_with = "zero_if_null")]
    pub host_only_nic_type: String,
    /// `--virtualbox-hostonly-nicpromisc`.
    #[serde(deserialize_with = "zero_if_null")]
    pub host_only_promisc_mode: String,
    /// `--virtualbox-ui-type`.
    #[serde(rename = "UIType", deserialize_with = "zero_if_null")]
    pub ui_type: String,
    /// `--virtualbox-hostonly-no-dhcp`.
    #[serde(rename = "HostOnlyNoDHCP", deserialize_with = "zero_if_null")]
    pub host_only_no_dhcp: bool,
    /// `--virtualbox-no-share`.
    #[serde(deserialize_with = "zero_if_null")]
    pub no_share: bool,
    /// Whether VirtualBox answers the guest's DNS requests: not `--virtualbox-no-dns-proxy`.
    #[serde(rename = "DNSProxy", deserialize_with = "zero_if_null")]
    pub dns_proxy: bool,
    /// `--virtualbox-no-vtx-check`.
    #[serde(rename = "NoVTXCheck", deserialize_with = "zero_if_null")]
    pub no_vtx_check: bool,
    /// `--virtualbox-share-folder`.
    #[serde(deserialize_with = "zero_if_null")]
    pub share_folder: String,
    /// `--virtualbox-image`.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub image: String,
    /// VirtualBox's id of the machine, chosen by us before it is made; empty in records of the Go driver.
    #[serde(rename = "VMUUID", skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub uuid: String,
    /// The machine whose disk this one's begins as a copy of, and its folder.
    #[serde(skip_serializing_if = "String::is_empty", deserialize_with = "zero_if_null")]
    pub clone_of: String,
    /// The id of that machine.
    #[serde(
        rename = "CloneOfVMUUID",
        skip_serializing_if = "String::is_empty",
        deserialize_with = "zero_if_null"
    )]
    pub clone_of_uuid: String,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl VirtualboxState {
    /// Whether the machine boots boot2docker: its image was named, or, in a record of the Go driver, is in the machine's folder.
    pub(super) fn is_boot2docker(&self, machine_dir: &Path) -> bool {
        !self.boot2docker_url.is_empty() || machine_dir.join(boot2docker::ISO).is_file()
    }

    /// The machine's folder as the record has it: VirtualBox's own files are in a folder of the machine's name in it.
    pub(super) fn folder(&self) -> PathBuf {
        PathBuf::from(&self.base.store_path).join("machines").join(&self.base.machine_name)
    }

    /// What the machine is called in VBoxManage: its id, or its name where the record has none.
    pub(super) fn handle(&self) -> &str {
        if self.uuid.is_empty() { &self.base.machine_name } else { &self.uuid }
    }

    /// The hardware address of a network card (1: NAT, 2: host-only), twelve hexadecimal digits as VBoxManage wants them: VirtualBox's prefix and
    /// a part of the machine's id.
    pub(super) fn mac(&self, card: usize) -> String {
        let hex: String =
            self.uuid.chars().filter(char::is_ascii_hexdigit).collect::<String>().to_uppercase();
        let from = (card - 1) * 6;
        format!("080027{}", hex.get(from..from + 6).unwrap_or("000000"))
    }

    /// What the record says without asking anybody.
    pub(super) fn known(&self) -> Known {
        let user = if self.base.ssh_user.is_empty() { "docker" } else { &self.base.ssh_user };
        let key = (!self.base.ssh_key_path.is_empty()).then(|| PathBuf::from(&self.base.ssh_key_path));
        let forwarded = self.base.ssh_port != 0;
        Known {
            ip: self.base.ip_address.clone(),
            url: self.base.engine_url(ENGINE_PORT),
            ssh: forwarded.then(|| SshEndpoint {
                host: LOOPBACK.to_owned(),
                port: self.base.ssh_port,
                user: user.to_owned(),
                key,
            }),
            engine_port: None,
        }
    }

    /// Refuses a record that would be taken for options of VBoxManage.
    pub(super) fn checked(self) -> Result<Self, DriverError> {
        let wrong = [&self.uuid, &self.clone_of_uuid].into_iter().find(|id| !id.is_empty() && !is_uuid(id));
        let wrong = wrong.or_else(|| Some(&self.base.machine_name).filter(|name| name.starts_with('-')));
        match wrong {
            None => Ok(self),
            Some(text) => Err(DriverError::new(
                ErrorKind::Config,
                format!("the Driver part of config.json can't be read: {text:?} names no machine"),
            )),
        }
    }
}

/// Whether a text is an id as VirtualBox writes it.
pub(super) fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12])
        && groups.iter().all(|group| group.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

/// A new id: 122 random bits (RFC 9562, version 4).
///
/// # Errors
/// Where the system has no randomness.
pub(super) fn new_uuid() -> Result<String, DriverError> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("the system gives no random numbers: {error}"))
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}
