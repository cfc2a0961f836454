//! Can `create` succeed?

use std::path::Path;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_image::disk;

use super::network::Network;
use super::publish::Publish;
use super::state::{Files, QemuState};
use super::{launch, mount, platform, ports};

/// With less room than this no system boots, bytes.
const MIN_FREE: u64 = 512 << 20;

/// Looks at what `create` needs, and makes nothing.
///
/// # Errors
/// What is missing, with what to do.
pub(super) fn check(cx: &Cx<'_>, wish: &QemuState) -> Result<(), DriverError> {
    let program = launch::program(wish)?;
    launch::firmware(wish, &program)?;
    disk::program()?;
    network(wish)?;
    folders(wish)?;
    free_ports(wish)?;
    memory(cx, wish);
    room(cx, wish)?;
    if !wish.clone_of.is_empty() {
        return super::disk::source_is_off(Path::new(&wish.clone_of)).map(drop);
    }
    // Says so where it is neither here nor anything that could be got.
    super::disk::cache(cx, wish).check(&wish.image, wish.arch()?)?;
    Ok(())
}

fn missing(text: String, hint: &str) -> DriverError {
    DriverError::new(ErrorKind::Precreate, text).with_hint(hint)
}

fn network(wish: &QemuState) -> Result<(), DriverError> {
    let Network::Bridge(name) = Network::parse(&wish.network)? else { return Ok(()) };
    if platform::has_bridge(&name) == Some(false) {
        return Err(missing(
            format!("this computer has no bridge {name:?}"),
            "`ip link show type bridge` lists those that there are; libvirt's is virbr0",
        ));
    }
    if cfg!(target_os = "linux") && platform::bridge_helper().is_none() {
        return Err(missing(
            "QEMU's bridge helper (qemu-bridge-helper) is not installed".to_owned(),
            "it is part of your distribution's packages of QEMU (Debian: qemu-system-common)",
        ));
    }
    Ok(())
}

fn folders(wish: &QemuState) -> Result<(), DriverError> {
    for folder in mount::all(wish)? {
        if !folder.host.is_dir() {
            return Err(missing(
                format!("the folder {:?} of --qemu-mount does not exist", folder.host),
                "make it first, or name another",
            ));
        }
    }
    Ok(())
}

fn free_ports(wish: &QemuState) -> Result<(), DriverError> {
    for (flag, port) in
        [("qemu-ssh-port", wish.ssh_port_wanted), ("qemu-engine-port", wish.engine_port_wanted)]
    {
        if port != 0 && !ports::is_free(port) {
            return Err(missing(
                format!("the port {port} of --{flag} is in use on 127.0.0.1"),
                "leave the flag out to have a free one chosen, or end what uses it (`ss -ltnp` shows it)",
            ));
        }
    }
    for publish in Publish::all(wish)? {
        if !ports::can_publish(&publish) {
            return Err(missing(
                format!("the port {}:{} of --qemu-publish can't be had", publish.host, publish.host_port),
                "it is in use, the address is none of this computer's, or ports below 1024 are not yours to use",
            ));
        }
    }
    Ok(())
}

/// More memory than there is would only be noticed when the guest uses it.
fn memory(cx: &Cx<'_>, wish: &QemuState) {
    if let Some(has) = platform::memory_mib()
        && wish.memory > has
    {
        cx.report.report(Event::Warning(format!(
            "The machine gets {} MiB of memory, and this computer has {has}",
            wish.memory
        )));
    }
}

fn room(cx: &Cx<'_>, wish: &QemuState) -> Result<(), DriverError> {
    let Some(free) = platform::free_bytes(cx.machine_dir) else { return Ok(()) };
    let folder = Files::new(cx.machine_dir);
    if free < MIN_FREE {
        return Err(missing(
            format!("there are only {} MiB left on the disk of {}", free >> 20, folder.dir().display()),
            "make room, e.g. by `docker-machine image prune`",
        ));
    }
    if free >> 20 < wish.disk_size {
        cx.report.report(Event::Notice(format!(
            "The machine's disk may grow to {} MiB, and there are {} MiB left on this computer's",
            wish.disk_size,
            free >> 20
        )));
    }
    Ok(())
}
