//! What `qemu` keeps of a machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use machine_core::{ConfigureContext, DriverError, ErrorKind, SshEndpoint};
use machine_image::Arch;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::accel::Accel;
use crate::base::Base;

/// The port on which the engine listens in the guest.
pub(super) const ENGINE_PORT: u16 = 2376;
/// The address of this computer on which guests' ports are.
pub(super) const LOOPBACK: &str = "127.0.0.1";
/// The machine's private key, in its folder.
pub(super) const KEY_FILE: &str = "id_ed25519";

/// `Driver` of config.json. Sizes and ports have the names and types that the plugin `docker-machine-driver-qemu` gave them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct QemuState {
    /// The keys of all drivers. `SSHPort` is the port of this computer; 0 until it is chosen.
    #[serde(flatten)]
    pub base: Base,
    /// The port of this computer behind which the engine is; 0 until it is chosen.
    pub engine_port: u16,
    /// `--qemu-ssh-port`; 0 for any.
    #[serde(rename = "SSHPortWanted")]
    pub ssh_port_wanted: u16,
    /// `--qemu-engine-port`; 0 for any.
    pub engine_port_wanted: u16,
    /// The ports of the monitors, where the system has no sockets in folders; 0 elsewhere.
    pub monitor_ports: [u16; 2],
    /// Virtual processors; -1 for as many as this computer has.
    #[serde(rename = "CPU")]
    pub cpu: i64,
    /// Memory, MiB.
    pub memory: u64,
    /// The size of the disk, MiB; at least the image's.
    pub disk_size: u64,
    /// `--qemu-image`: a name, an address or a path; empty for the default.
    pub image: String,
    /// The image in the cache that the disk is an overlay on; empty until it is there, and for a file of the user's own.
    #[serde(rename = "ImageID")]
    pub image_id: String,
    /// The processor architecture of the guest, as `uname -m` has it.
    pub arch: String,
    /// `--qemu-accel`.
    pub accel: String,
    /// The accelerator with which the machine was started last.
    pub accel_used: String,
    /// `--qemu-program`; empty for the one of the architecture.
    pub program: String,
    /// `--qemu-firmware`: `bios`, `uefi` or a path; empty for the architecture's.
    pub firmware: String,
    /// QEMU's name of the display; `none` for headless.
    pub display_type: String,
    /// `--qemu-network`.
    pub network: String,
    /// `--qemu-publish`, each as given.
    pub publish: Vec<String>,
    /// `--qemu-mount`, each as given.
    pub mounts: Vec<String>,
    /// `--qemu-arg`.
    pub args: Vec<String>,
    /// `--qemu-cache-mode`.
    pub cache_mode: String,
    /// `--qemu-stop-timeout`, seconds; 0 for what fits the accelerator.
    pub stop_timeout: u64,
    /// What tells this machine from all others, also for cloud-init; empty until the host is made.
    #[serde(rename = "UUID")]
    pub uuid: String,
    /// The folder of the machine of which the disk is a copy; empty where it is an image's overlay.
    pub clone_of: String,
    /// How the image can be booted without firmware and boot loader, where it says so.
    pub direct_boot: Option<Direct>,
    /// Whether the machine was turned on last by [`Self::direct_boot`]: only the first time, because later its disk may have another kernel.
    pub booted_directly: bool,
    /// With what the machine ran when a snapshot of its memory was taken.
    pub snapshots: BTreeMap<String, Hardware>,
    /// Keys that only somebody else knows.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

/// A kernel that QEMU loads itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Direct {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: PathBuf,
    /// The kernel's command line.
    pub cmdline: String,
}

/// What memory that was kept needs in order to be loaded again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Hardware {
    /// Virtual processors.
    #[serde(rename = "CPU")]
    pub cpu: i64,
    /// Memory, MiB.
    pub memory: u64,
    /// The accelerator.
    pub accel: String,
    /// Whether a kernel was loaded by QEMU.
    pub booted_directly: bool,
}

impl QemuState {
    /// The processor architecture of the guest.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] where the record has an unknown one.
    pub(super) fn arch(&self) -> Result<Arch, DriverError> {
        if self.arch.is_empty() { Ok(Arch::host()) } else { Ok(self.arch.parse()?) }
    }

    /// How many processors the guest has.
    pub(super) fn cpus(&self) -> i64 {
        if self.cpu > 0 { self.cpu } else { host_cpus() }
    }

    /// The accelerator with which it was started last.
    pub(super) fn accel_used(&self) -> Option<Accel> {
        Accel::of_name(&self.accel_used)
    }

    /// What the machine runs with now.
    pub(super) fn hardware(&self) -> Hardware {
        Hardware {
            cpu: self.cpus(),
            memory: self.memory,
            accel: self.accel_used.clone(),
            booted_directly: self.booted_directly,
        }
    }

    /// How to reach it by SSH. The port is 0 until it is chosen: nobody shall talk to this computer's own server by mistake.
    pub(super) fn ssh(&self) -> Option<SshEndpoint> {
        self.base.ssh().map(|ssh| SshEndpoint { port: self.base.ssh_port, ..ssh })
    }

    /// The Ethernet address of a network card: 0 is the one that this computer forwards ports to.
    pub(super) fn mac(&self, card: u8) -> String {
        let hash = fnv(&format!("{} {card}", self.uuid)).to_be_bytes();
        // The prefix that QEMU uses itself; it is locally administered.
        format!("52:54:00:{:02x}:{:02x}:{:02x}", hash[5], hash[6], hash[7])
    }

    /// Whether the record is one of the plugin `docker-machine-driver-qemu`, whose machines are made of an ISO.
    pub(super) fn is_of_the_plugin(&self) -> bool {
        self.extra.contains_key("Boot2DockerURL")
    }
}

/// The folder of a machine.
pub(super) fn machine_dir(cx: &ConfigureContext<'_>) -> PathBuf {
    cx.store_path.join("machines").join(cx.name.as_str())
}

/// How many processors this computer has.
pub(super) fn host_cpus() -> i64 {
    std::thread::available_parallelism().ok().and_then(|count| i64::try_from(count.get()).ok()).unwrap_or(1)
}

/// FNV-1a, 64 bits: for names, not for secrets.
fn fnv(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// A random UUID (RFC 9562, version 4).
///
/// # Errors
/// Where the system has no random numbers.
pub(super) fn new_uuid() -> Result<String, DriverError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("this computer gives no random numbers: {error}"))
    })?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]))
}

/// The files of a machine, in its folder.
#[derive(Clone, Debug)]
pub(super) struct Files {
    dir: PathBuf,
}

impl Files {
    /// The name of [`Self::log`].
    pub(super) const LOG: &str = "qemu.log";

    /// Those in this folder.
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()) }
    }

    /// The folder, absolute.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The disk.
    pub(super) fn disk(&self) -> PathBuf {
        self.dir.join("disk.qcow2")
    }

    /// What cloud-init reads. The machine keeps it: without it a later boot would be taken for another machine's first.
    pub(super) fn seed(&self) -> PathBuf {
        self.dir.join("seed.iso")
    }

    /// Locked by QEMU's process for as long as it lives.
    pub(super) fn pid(&self) -> PathBuf {
        self.dir.join("qemu.pid")
    }

    /// What QEMU says itself.
    pub(super) fn log(&self) -> PathBuf {
        self.dir.join(Self::LOG)
    }

    /// What the guest says on its serial line.
    pub(super) fn serial(&self) -> PathBuf {
        self.dir.join("serial.log")
    }

    /// What a start chose: see [`super::run`].
    pub(super) fn run(&self) -> PathBuf {
        self.dir.join("qemu.run.json")
    }

    /// All that the driver ever makes there, for its removal. Links are removed, not followed.
    pub(super) fn all(&self) -> Vec<PathBuf> {
        let mut all = vec![self.disk(), self.seed(), self.pid(), self.log(), self.serial(), self.run()];
        all.extend(
            ["disk.qcow2.new", "seed.iso.new", "qemu.run.json.new", "qemu.out"]
                .map(|name| self.dir.join(name)),
        );
        all.extend(super::monitor::Monitor::ALL.map(|monitor| self.dir.join(monitor.file())));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_differ_and_stay() {
        let one = QemuState { uuid: new_uuid().unwrap(), ..QemuState::default() };
        let other = QemuState { uuid: new_uuid().unwrap(), ..QemuState::default() };
        assert_eq!(one.uuid.len(), 36);
        assert_eq!(&one.uuid[14..15], "4");
        assert_eq!(one.mac(0), one.mac(0));
        assert_ne!(one.mac(0), one.mac(1));
        assert_ne!(one.mac(0), other.mac(0));
        assert!(one.mac(0).starts_with("52:54:00:") && one.mac(0).len() == 17);
    }

    #[test]
    fn a_machine_without_ports_is_reached_nowhere() {
        let mut state = QemuState::default();
        state.base.ip_address = LOOPBACK.into();
        assert_eq!(state.ssh().unwrap().port, 0);
        state.base.ssh_port = 2222;
        assert_eq!(state.ssh().unwrap().port, 2222);
    }

    #[test]
    fn a_record_of_the_plugin_can_be_read() {
        let text = r#"{"IPAddress":"127.0.0.1","MachineName":"a","SSHUser":"docker","SSHPort":22,"SSHKeyPath":"",
            "StorePath":"/s","SwarmMaster":false,"SwarmHost":"","SwarmDiscovery":"","EnginePort":2376,"FirstQuery":true,
            "Memory":1024,"DiskSize":20000,"CPU":1,"Program":"qemu-system-x86_64","Display":false,"DisplayType":"",
            "Nographic":false,"VirtioDrives":false,"Network":"user","PrivateNetwork":"","Boot2DockerURL":"",
            "CacheMode":"default","IOMode":"threads","DiskPath":"/s/machines/a/a.img"}"#;
        let state: QemuState = serde_json::from_str(text).unwrap();
        assert!(state.is_of_the_plugin());
        assert_eq!((state.memory, state.cpu, state.engine_port), (1024, 1, 2376));
    }
}
