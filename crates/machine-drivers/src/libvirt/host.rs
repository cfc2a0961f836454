//! The computer that domains run on: which connection leads there, what its processor can do.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_image::Arch;
use tokio::time::{Instant, sleep};

use super::network::millis;
use super::observe::{self, Work};
use super::state::LibvirtState;
use super::trouble::Trouble;
use super::virsh::Virsh;
use super::{network, uri};

/// How long a connection may take. Where polkit wants a password, virsh waits for an agent that there is not.
const CONNECT_LIMIT: Duration = Duration::from_secs(60);
/// How long a guest may do nothing at the disks before its processor is taken for one that does not work.
const STALL_LIMIT: Duration = Duration::from_secs(20);
/// How long a guest is watched at all.
const WATCH_LIMIT: Duration = Duration::from_secs(90);

/// Connects. Where the user named no connection, it is the system's if we may use it, else the user's own; the choice goes into the state, and so
/// does the network where none was named: the system has one with addresses, a user's own libvirt can only forward ports.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn connect(cx: &Cx<'_>, state: &mut LibvirtState) -> Result<Virsh, DriverError> {
    let virsh = if state.uri.is_empty() { choose(cx).await? } else { Virsh::new(&state.uri)? };
    state.uri = virsh.uri().to_owned();
    if state.network.is_empty() {
        let network = if uri::is_session(&state.uri) { network::USER } else { network::DEFAULT };
        state.network = network.to_owned();
    }
    if state.is_forwarded() && state.base.ip_address.is_empty() {
        state.base.ip_address = network::LOOPBACK.to_owned();
    }
    Ok(virsh)
}

async fn choose(cx: &Cx<'_>) -> Result<Virsh, DriverError> {
    let system = Virsh::new(uri::SYSTEM)?;
    let refused = match system.ask(&["uri"], &[], CONNECT_LIMIT).await {
        Ok(Ok(_)) => return Ok(system),
        Ok(Err(failure)) => DriverError::from(failure),
        Err(error) => error,
    };
    let session = Virsh::new(uri::SESSION)?;
    match session.ask(&["uri"], &[], CONNECT_LIMIT).await {
        Ok(Ok(_)) => {
            cx.report.report(Event::Debug(refused.to_string()));
            cx.report.report(Event::DriverLine(format!(
                "{} can't be used from here; using {}",
                uri::SYSTEM,
                uri::SESSION
            )));
            Ok(session)
        }
        _ => Err(refused),
    }
}

/// What the computer can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Host {
    pub arch: Arch,
    /// Whether libvirt offers hardware virtualisation for guests of this architecture.
    pub kvm: bool,
}

impl Host {
    /// Asks libvirt.
    ///
    /// # Errors
    /// Where it does not answer, or runs no domains of QEMU.
    pub(super) async fn ask(virsh: &Virsh) -> Result<Self, DriverError> {
        let xml = virsh.run(&["capabilities"]).await?;
        Self::read(&xml)?.ok_or_else(|| {
            DriverError::new(
                ErrorKind::Precreate,
                format!("libvirt ({}) can run no virtual machine of its own architecture", virsh.uri()),
            )
            .with_hint(
                "install QEMU there: qemu-system-x86 or qemu-system-arm (Debian, Ubuntu), qemu-kvm (Fedora)",
            )
        })
    }

    /// Reads <https://libvirt.org/formatcaps.html>.
    fn read(xml: &str) -> Result<Option<Self>, DriverError> {
        let document = super::parse(xml, "capabilities")?;
        let root = document.root_element();
        let is = |name: &'static str| move |node: &roxmltree::Node<'_, '_>| node.tag_name().name() == name;
        let host = root.children().find(is("host"));
        let arch = host.and_then(|host| host.descendants().find(is("arch"))).and_then(|node| node.text());
        let Some(arch) = arch.and_then(|text| text.parse::<Arch>().ok()) else { return Ok(None) };
        let guests =
            root.children().filter(is("guest")).flat_map(|guest| guest.children().filter(is("arch")));
        let mut own = guests.filter(|node| node.attribute("name") == Some(arch.as_str()));
        let kinds = own.next().map(|node| node.children().filter(is("domain")));
        Ok(kinds.map(|mut kinds| Self { arch, kvm: kinds.any(|kind| kind.attribute("type") == Some("kvm")) }))
    }

    /// Whether the machine is to have hardware virtualisation.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] where the user wants what there is not.
    pub(super) fn accelerate(self, cx: &Cx<'_>, state: &LibvirtState) -> Result<bool, DriverError> {
        match state.domain_type.as_str() {
            "qemu" => Ok(false),
            "kvm" if !self.kvm => Err(DriverError::new(
                ErrorKind::Precreate,
                format!(
                    "libvirt ({}) has no hardware virtualisation to offer (--libvirt-type kvm)",
                    state.uri
                ),
            )
            .with_hint("is there /dev/kvm? --libvirt-type qemu does without, slowly")),
            "kvm" => Ok(true),
            _ => Ok(self.kvm && !is_remembered(cx, &state.uri)),
        }
    }
}

/// Where it is kept that the hardware virtualisation of a connection does not work.
fn memory(cx: &Cx<'_>) -> PathBuf {
    cx.store_path.join("cache").join("libvirt-without-kvm")
}

fn is_remembered(cx: &Cx<'_>, uri: &str) -> bool {
    fs::read_to_string(memory(cx)).is_ok_and(|text| text.lines().any(|line| line == uri))
}

/// Remembers that hardware virtualisation does not work at this connection. It only saves time the next time.
pub(super) fn remember(cx: &Cx<'_>, uri: &str) {
    let path = memory(cx);
    let known = fs::read_to_string(&path).unwrap_or_default();
    if let Some(folder) = path.parent() {
        let _ = fs::create_dir_all(folder);
    }
    let _ = fs::write(&path, format!("{known}{uri}\n"));
}

/// Whether a guest that was just started with hardware virtualisation gets anywhere. There are computers on which a virtual processor can be made
/// and then runs nothing (or no system's kernel): firmware and boot loader read the disk, and from then on nothing happens.
///
/// # Errors
/// Where libvirt can't be asked.
pub(super) async fn gets_anywhere(virsh: &Virsh, cx: &Cx<'_>, uuid: &str) -> Result<bool, DriverError> {
    let begin = Instant::now();
    let (mut last, mut changed) = (Work::default(), begin);
    while begin.elapsed() < WATCH_LIMIT {
        let seen = observe::look(virsh, uuid).await?;
        if is_up(seen.work) || seen.state != machine_core::State::Running {
            return Ok(true);
        }
        let at_disks = |work: Work| (work.read, work.written);
        if at_disks(seen.work) != at_disks(last) {
            (last, changed) = (seen.work, Instant::now());
        }
        if changed.elapsed() >= STALL_LIMIT {
            return Ok(false);
        }
        cx.report.report(Event::Waiting {
            what: "signs of life of the machine".to_owned(),
            for_ms: millis(begin.elapsed()),
            limit_ms: millis(WATCH_LIMIT),
            last: seen.sign,
        });
        sleep(Duration::from_millis(500)).await;
    }
    Ok(true)
}

/// A system that writes to its disks is up.
fn is_up(work: Work) -> bool {
    work.written > 0
}

/// The names of all domains, to see whether one is free.
///
/// # Errors
/// Where libvirt can't be asked.
pub(super) async fn check_name_is_free(virsh: &Virsh, name: &str) -> Result<(), DriverError> {
    let names = virsh.run(&["list", "--all", "--name"]).await?;
    if names.lines().all(|line| line.trim() != name) {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Precreate,
        format!("libvirt ({}) has a domain {name:?} already", virsh.uri()),
    )
    .with_hint(format!("choose another name, or remove it with `virsh -c {} undefine {name}`", virsh.uri())))
}

/// Runs a command that starts a domain; what is off and can be turned on is turned on, once.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn start(virsh: &Virsh, cx: &Cx<'_>, state: &LibvirtState) -> Result<(), DriverError> {
    const START: &str = "start";
    for _ in 0..2 {
        let Err(failure) = virsh.try_run(&[START, "--domain", &state.uuid]).await? else { return Ok(()) };
        match failure.trouble {
            Trouble::AlreadyActive => return Ok(()),
            Trouble::NetworkOff => network::ensure_on(virsh, cx, &state.network).await?,
            Trouble::PoolOff => super::storage::ensure_on(virsh, cx, &state.pool).await?,
            _ => return Err(failure.into()),
        }
    }
    virsh.run(&[START, "--domain", &state.uuid]).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_computer_can_do() {
        let xml = |arch: &str, kvm: &str| {
            format!(
                "<capabilities><host><cpu><arch>{arch}</arch></cpu></host>\
                 <guest><os_type>hvm</os_type><arch name='i686'><domain type='kvm'/></arch></guest>\
                 <guest><os_type>hvm</os_type><arch name='x86_64'><wordsize>64</wordsize><domain type='qemu'/>{kvm}</arch></guest>\
                 </capabilities>"
            )
        };
        let read = |arch, kvm| Host::read(&xml(arch, kvm)).unwrap();
        assert_eq!(read("x86_64", ""), Some(Host { arch: Arch::X86_64, kvm: false }));
        assert_eq!(read("x86_64", "<domain type='kvm'/>"), Some(Host { arch: Arch::X86_64, kvm: true }));
        assert_eq!(read("aarch64", ""), None);
        assert_eq!(read("riscv64", ""), None);
    }
}
