//! The flags of `create`, and the wish that they make.

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues};
use machine_image::Arch;

use super::accel::Accel;
use super::mount;
use super::network::Network;
use super::publish::Publish;
use super::state::{self, KEY_FILE, LOOPBACK, QemuState};
use crate::base::Base;

/// Less than this does not boot a system with an engine, MiB.
pub(super) const MIN_MEMORY: i64 = 128;

/// The flags. Where the plugin `docker-machine-driver-qemu` has one for the same thing, it has the same name.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::int(
        "qemu-cpu-count",
        "QEMU_CPU_COUNT",
        2,
        "Number of CPUs for the machine (-1 to use the number of CPUs available)",
    ),
    FlagSpec::int("qemu-memory", "QEMU_MEMORY_SIZE", 2048, "Size of memory for host in MiB"),
    FlagSpec::int("qemu-disk-size", "QEMU_DISK_SIZE", 20_000, "Size of disk for host in MiB"),
    FlagSpec::str(
        "qemu-image",
        "QEMU_IMAGE",
        "",
        "Image of the system: a name of `image ls --available`, URL or path (default: the newest image built here, else Debian's)",
    ),
    FlagSpec::str("qemu-ssh-user", "QEMU_SSH_USER", "docker", "User that is made in the machine, for SSH"),
    FlagSpec::int(
        "qemu-engine-port",
        "QEMU_ENGINE_PORT",
        0,
        "Port on 127.0.0.1 for the engine (0: any that is free)",
    ),
    FlagSpec::int("qemu-ssh-port", "QEMU_SSH_PORT", 0, "Port on 127.0.0.1 for SSH (0: any that is free)"),
    FlagSpec::list(
        "qemu-publish",
        "QEMU_PUBLISH",
        "Forward a further port to the machine: [HOSTIP:]HOSTPORT:GUESTPORT[/udp]",
    ),
    FlagSpec::str(
        "qemu-network",
        "QEMU_NETWORK",
        "user",
        "Network: user, or a second one besides: bridge=NAME, socket=OPTIONS (e.g. socket=mcast=230.0.0.1:1234)",
    ),
    FlagSpec::str("qemu-network-bridge", "QEMU_NETWORK_BRIDGE", "br0", "Bridge for --qemu-network bridge"),
    FlagSpec::list("qemu-mount", "QEMU_MOUNT", "Mount a folder of this computer: HOST[:GUEST][:ro]"),
    FlagSpec::list("qemu-arg", "QEMU_ARG", "A further argument for QEMU"),
    FlagSpec::bool("qemu-display", "QEMU_DISPLAY", "Show the machine's screen"),
    FlagSpec::str(
        "qemu-display-type",
        "QEMU_DISPLAY_TYPE",
        "",
        "Kind of display, in QEMU's words (e.g. gtk, sdl, cocoa, vnc=127.0.0.1:1)",
    ),
    FlagSpec::str(
        "qemu-firmware",
        "QEMU_FIRMWARE",
        "",
        "Firmware: bios, uefi or the path of a file (default: bios for x86_64, uefi for aarch64)",
    ),
    FlagSpec::str("qemu-accel", "QEMU_ACCEL", "auto", "Accelerator: auto, kvm, hvf, whpx, tcg"),
    FlagSpec::str(
        "qemu-arch",
        "QEMU_ARCH",
        "",
        "Processor of the machine: x86_64, aarch64 (default: this computer's)",
    ),
    FlagSpec::str("qemu-program", "QEMU_PROGRAM", "", "Name or path of QEMU (default: qemu-system-ARCH)"),
    FlagSpec::str(
        "qemu-cache-mode",
        "QEMU_CACHE_MODE",
        "default",
        "Disk cache mode: default, none, writethrough, writeback, directsync, unsafe",
    ),
    FlagSpec::int(
        "qemu-stop-timeout",
        "QEMU_STOP_TIMEOUT",
        0,
        "Seconds until a machine that does not stop is turned off (0: 90, emulated machines 240)",
    ),
    FlagSpec::bool("qemu-virtio-drives", "QEMU_VIRTIO_DRIVES", "Always so: accepted for older scripts"),
    FlagSpec::bool(
        "qemu-nographic",
        "QEMU_NOGRAPHIC",
        "Always so without --qemu-display: accepted for older scripts",
    ),
];

/// A mode of the disk's cache.
pub(super) struct CacheMode {
    /// Its name.
    name: &'static str,
    /// Whether this computer's own cache is left out.
    pub(super) direct: bool,
    /// Whether the guest's wish to have things on disk is not heard.
    pub(super) no_flush: bool,
    /// Whether every write waits until it is on disk.
    pub(super) write_through: bool,
}

impl CacheMode {
    const fn new(name: &'static str, direct: bool, no_flush: bool, write_through: bool) -> Self {
        Self { name, direct, no_flush, write_through }
    }

    /// The mode of this name; the default for one that nobody knows.
    pub(super) fn of_name(name: &str) -> &'static Self {
        CACHE_MODES.iter().find(|mode| mode.name == name).unwrap_or(&CACHE_MODES[0])
    }
}

const CACHE_MODES: &[CacheMode] = &[
    CacheMode::new("default", false, false, false),
    CacheMode::new("none", true, false, false),
    CacheMode::new("writethrough", false, false, true),
    CacheMode::new("writeback", false, false, false),
    CacheMode::new("directsync", true, false, true),
    CacheMode::new("unsafe", false, true, false),
];

/// Makes the wish.
///
/// # Errors
/// [`ErrorKind::Config`] with the flag and what would be right.
pub(super) fn wish(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<QemuState, DriverError> {
    let mut base = Base::new(cx);
    base.set_swarm(flags);
    base.ip_address = LOOPBACK.to_owned();
    base.ssh_user = user(flags)?;
    base.ssh_key_path = state::machine_dir(cx).join(KEY_FILE).to_string_lossy().into_owned();
    let state = QemuState {
        base,
        ssh_port_wanted: port(flags, "qemu-ssh-port")?,
        engine_port_wanted: port(flags, "qemu-engine-port")?,
        cpu: cpus(flags)?,
        memory: memory(flags)?,
        disk_size: number(flags, "qemu-disk-size")?,
        image: flags.str("qemu-image").to_owned(),
        arch: arch(flags)?.as_str().to_owned(),
        accel: accel(flags)?,
        program: flags.str("qemu-program").to_owned(),
        firmware: flags.str("qemu-firmware").to_owned(),
        display_type: display(flags)?,
        network: network(flags)?,
        publish: flags.list("qemu-publish").to_vec(),
        mounts: flags.list("qemu-mount").to_vec(),
        args: flags.list("qemu-arg").to_vec(),
        cache_mode: cache_mode(flags)?,
        stop_timeout: number(flags, "qemu-stop-timeout")?,
        ..QemuState::default()
    };
    Publish::all(&state)?;
    mount::all(&state)?;
    distinct_ports(&state)?;
    Ok(state)
}

/// The error for a value of a flag.
pub(super) fn invalid(flag: &str, value: impl std::fmt::Debug, expected: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Config,
        format!("invalid value {value:?} for flag --{flag}: expected {expected}"),
    )
}

fn user(flags: &FlagValues) -> Result<String, DriverError> {
    let user = flags.str("qemu-ssh-user");
    // What Debian's useradd takes without being forced to, and no option of a program.
    let good = user.len() <= 32
        && user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && user.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if good {
        Ok(user.to_owned())
    } else {
        Err(invalid("qemu-ssh-user", user, "a login name such as docker"))
    }
}

fn port(flags: &FlagValues, flag: &str) -> Result<u16, DriverError> {
    let number = flags.int(flag);
    u16::try_from(number).map_err(|_| invalid(flag, number, "a port from 1 to 65535, or 0 for any"))
}

fn cpus(flags: &FlagValues) -> Result<i64, DriverError> {
    match flags.int("qemu-cpu-count") {
        count @ (-1 | 1..=1024) => Ok(count),
        count => Err(invalid("qemu-cpu-count", count, "a number from 1 to 1024, or -1")),
    }
}

fn memory(flags: &FlagValues) -> Result<u64, DriverError> {
    let mib = flags.int("qemu-memory");
    let good = u64::try_from(mib).ok().filter(|_| mib >= MIN_MEMORY);
    good.ok_or_else(|| invalid("qemu-memory", mib, &format!("{MIN_MEMORY} MiB or more")))
}

fn number(flags: &FlagValues, flag: &str) -> Result<u64, DriverError> {
    let number = flags.int(flag);
    u64::try_from(number).map_err(|_| invalid(flag, number, "a number that is not negative"))
}

fn arch(flags: &FlagValues) -> Result<Arch, DriverError> {
    match flags.str("qemu-arch") {
        "" => Ok(Arch::host()),
        name => name.parse().map_err(|_| invalid("qemu-arch", name, "x86_64 or aarch64")),
    }
}

fn accel(flags: &FlagValues) -> Result<String, DriverError> {
    match flags.str("qemu-accel") {
        "" | "auto" => Ok("auto".to_owned()),
        name if Accel::of_name(name).is_some() => Ok(name.to_owned()),
        name => Err(invalid("qemu-accel", name, "auto, kvm, hvf, whpx or tcg")),
    }
}

fn display(flags: &FlagValues) -> Result<String, DriverError> {
    let kind = flags.str("qemu-display-type");
    if kind.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err(invalid("qemu-display-type", kind, "e.g. gtk, sdl, cocoa or vnc=127.0.0.1:1"));
    }
    Ok(match (flags.bool("qemu-display"), kind) {
        (false, "") => "none",
        (true, "") => super::platform::DISPLAY,
        (_, kind) => kind,
    }
    .to_owned())
}

fn network(flags: &FlagValues) -> Result<String, DriverError> {
    let network = match flags.str("qemu-network") {
        "" => "user".to_owned(),
        "bridge" => format!("bridge={}", flags.str("qemu-network-bridge")),
        other => other.to_owned(),
    };
    Network::parse(&network)?;
    Ok(network)
}

fn cache_mode(flags: &FlagValues) -> Result<String, DriverError> {
    let mode = flags.str("qemu-cache-mode");
    if CACHE_MODES.iter().any(|known| known.name == mode) {
        return Ok(mode.to_owned());
    }
    Err(invalid("qemu-cache-mode", mode, "default, none, writethrough, writeback, directsync or unsafe"))
}

/// No port of this computer is asked for twice.
fn distinct_ports(state: &QemuState) -> Result<(), DriverError> {
    let mut tcp = vec![state.ssh_port_wanted, state.engine_port_wanted];
    tcp.retain(|port| *port != 0);
    tcp.extend(
        Publish::all(state)?.iter().filter(|one| !one.udp && one.is_on_loopback()).map(|one| one.host_port),
    );
    let mut seen = std::collections::BTreeSet::new();
    match tcp.iter().find(|port| !seen.insert(**port)) {
        Some(twice) => Err(DriverError::new(
            ErrorKind::Config,
            format!("the port {twice} of this computer is asked for twice"),
        )
        .with_hint("look at --qemu-engine-port, --qemu-ssh-port and --qemu-publish")),
        None => Ok(()),
    }
}
