//! Networks: libvirt's own, in which an address is reserved, or ports of this computer that are forwarded.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use roxmltree::Document;
use tokio::time::{Instant, sleep};

use super::state::{ENGINE_PORT, LibvirtState};
use super::trouble::Trouble;
use super::virsh::Virsh;
use super::xml::Element;

/// The network that is none of libvirt's: ports of this computer are forwarded.
pub(super) const USER: &str = "user";
/// The network that libvirt's packages make.
pub(super) const DEFAULT: &str = "default";
/// The address of forwarded ports.
pub(super) const LOOPBACK: &str = "127.0.0.1";

/// How long a guest may take until it has an address. Emulated ones are slow.
const LEASE_LIMIT: Duration = Duration::from_secs(420);

/// What libvirt's network says of itself, as far as addresses go.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Subnet {
    /// First and last address that the DHCP server gives away.
    range: Option<(Ipv4Addr, Ipv4Addr)>,
    /// Its own address, and those reserved.
    taken: BTreeSet<Ipv4Addr>,
}

impl Subnet {
    /// Reads `virsh net-dumpxml`.
    pub(super) fn read(xml: &str) -> Result<Self, DriverError> {
        let document = super::parse(xml, "network")?;
        let address = |node: roxmltree::Node<'_, '_>, name: &str| -> Option<Ipv4Addr> {
            node.attribute(name).and_then(|text| text.parse().ok())
        };
        let mut subnet = Self::default();
        for node in document.descendants() {
            match node.tag_name().name() {
                "ip" => subnet.taken.extend(address(node, "address")),
                "host" => subnet.taken.extend(address(node, "ip")),
                "range" if subnet.range.is_none() => {
                    subnet.range = address(node, "start").zip(address(node, "end"));
                }
                _ => {}
            }
        }
        Ok(subnet)
    }

    /// An address that nobody has; where the search begins is up to the machine, so that two at once hardly ever want the same.
    fn free(&self, leased: &BTreeSet<Ipv4Addr>, seed: &str) -> Option<Ipv4Addr> {
        let (first, last) = self.range.map(|(first, last)| (u32::from(first), u32::from(last)))?;
        let count = last.checked_sub(first)?.checked_add(1)?;
        let hash = seed
            .bytes()
            .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        (0..count)
            .map(|step| Ipv4Addr::from(first + (hash % count + step) % count))
            .find(|address| !self.taken.contains(address) && !leased.contains(address))
    }
}

/// All IPv4 addresses with a prefix length in a table of virsh.
fn addresses(table: &str) -> BTreeSet<Ipv4Addr> {
    let words = table.split_whitespace().filter_map(|word| word.split_once('/'));
    words.filter_map(|(address, _)| address.parse().ok()).collect()
}

/// Looks for a free address in the machine's network; `None` where its addresses are not libvirt's to give.
///
/// # Errors
/// Where the network can't be asked.
pub(super) async fn free_address(
    virsh: &Virsh,
    state: &LibvirtState,
) -> Result<Option<Ipv4Addr>, DriverError> {
    let subnet = Subnet::read(&virsh.run(&["net-dumpxml", "--network", &state.network]).await?)?;
    if subnet.range.is_none() {
        return Ok(None);
    }
    let leased = virsh.try_run(&["net-dhcp-leases", "--network", &state.network]).await?;
    Ok(subnet.free(&addresses(&leased.unwrap_or_default()), &state.uuid))
}

fn entry(state: &LibvirtState) -> String {
    Element::new("host").with("mac", &state.mac).with("ip", &state.base.ip_address).to_string()
}

/// Reserves the machine's address; what it reserved before stays.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where another was given the address in the meantime.
pub(super) async fn reserve(virsh: &Virsh, state: &LibvirtState) -> Result<(), DriverError> {
    let entry = entry(state);
    let args = ["net-update", "--network", &state.network, "--command", "add", "--section", "ip-dhcp-host"];
    let args = [&args[..], &["--xml", &entry, "--live", "--config"]].concat();
    if virsh.unless(&[Trouble::Exists], &args).await?.is_some() {
        return Ok(());
    }
    let xml = virsh.run(&["net-dumpxml", "--network", &state.network]).await?;
    if is_reserved(&xml, &state.mac, &state.base.ip_address)? {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Unavailable,
        format!(
            "the address {} of libvirt's network {:?} was given to another machine in this moment",
            state.base.ip_address, state.network
        ),
    )
    .with_hint("remove the machine with `docker-machine rm` and create it again"))
}

/// Whether only the computer of the network can reach its addresses.
///
/// # Errors
/// Where the XML is none.
pub(super) fn is_hidden(xml: &str) -> Result<bool, DriverError> {
    let document = super::parse(xml, "network")?;
    let forward = document.root_element().children().find(|node| node.tag_name().name() == "forward");
    // Without a mode it is NAT; without the element nothing is forwarded at all.
    Ok(forward.is_none_or(|node| node.attribute("mode").unwrap_or("nat") == "nat"))
}

fn is_reserved(xml: &str, mac: &str, ip: &str) -> Result<bool, DriverError> {
    let document = super::parse(xml, "network")?;
    Ok(document.descendants().any(|node| {
        node.tag_name().name() == "host"
            && node.attribute("mac").is_some_and(|text| text.eq_ignore_ascii_case(mac))
            && node.attribute("ip") == Some(ip)
    }))
}

/// Gives the address back.
///
/// # Errors
/// Where libvirt refuses it.
pub(super) async fn release(virsh: &Virsh, state: &LibvirtState) -> Result<(), DriverError> {
    let entry = entry(state);
    for scope in [&["--live", "--config"][..], &["--config"]] {
        let args =
            ["net-update", "--network", &state.network, "--command", "delete", "--section", "ip-dhcp-host"];
        let args = [&args[..], &["--xml", &entry], scope].concat();
        // A network that is off can't be changed live.
        match virsh.try_run(&args).await? {
            Err(failure) if failure.trouble == Trouble::NetworkOff => {}
            Ok(_) => return Ok(()),
            Err(failure) if [Trouble::NoEntry, Trouble::NoNetwork].contains(&failure.trouble) => {
                return Ok(());
            }
            Err(failure) => return Err(failure.into()),
        }
    }
    Ok(())
}

/// Starts the network where it is off.
///
/// # Errors
/// Where there is none of this name, or it can't be started.
pub(super) async fn ensure_on(virsh: &Virsh, cx: &Cx<'_>, network: &str) -> Result<(), DriverError> {
    let info = virsh.run(&["net-info", "--network", network]).await?;
    if super::field(&info, "Active") == Some("yes") {
        return Ok(());
    }
    cx.report.report(Event::DriverLine(format!("Starting libvirt's network {network:?}...")));
    virsh.unless(&[Trouble::AlreadyActive], &["net-start", "--network", network]).await.map(drop)
}

/// The address that a running guest has, as far as libvirt knows.
///
/// # Errors
/// Where libvirt can't be asked.
pub(super) async fn address(virsh: &Virsh, uuid: &str) -> Result<Option<Ipv4Addr>, DriverError> {
    // Its own DHCP server knows best; for others' networks the kernel's table of neighbours may know.
    for source in ["lease", "arp"] {
        let said = virsh.try_run(&["domifaddr", "--domain", uuid, "--source", source]).await?;
        if let Some(found) = addresses(&said.unwrap_or_default()).into_iter().next() {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Waits until the guest has an address.
///
/// # Errors
/// [`ErrorKind::Unavailable`] after [`LEASE_LIMIT`].
pub(super) async fn wait_for_address(
    virsh: &Virsh,
    cx: &Cx<'_>,
    uuid: &str,
) -> Result<Ipv4Addr, DriverError> {
    let begin = Instant::now();
    let mut pause = Duration::from_millis(250);
    loop {
        if let Some(found) = address(virsh, uuid).await? {
            return Ok(found);
        }
        let waited = begin.elapsed();
        let last = super::observe::look(virsh, uuid).await.map(|seen| seen.sign).unwrap_or_default();
        if waited >= LEASE_LIMIT {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!("the machine got no address within {} s; last seen: {last}", LEASE_LIMIT.as_secs()),
            )
            .with_hint("`virsh console` shows what it does; does its network have a DHCP server that libvirt can ask?"));
        }
        cx.report.report(Event::Waiting {
            what: "an address of the machine".to_owned(),
            for_ms: millis(waited),
            limit_ms: millis(LEASE_LIMIT),
            last,
        });
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(2));
    }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What forwards ports on this libvirt: QEMU's own stack by its command line, which every libvirt can; passt where QEMU was built without, which
/// libvirt says since 10.10 (<https://libvirt.org/formatdomaincaps.html>).
pub(super) fn forwarder(domain_capabilities: &str) -> &'static str {
    let Ok(document) = Document::parse(domain_capabilities) else { return SLIRP };
    let backends = document.descendants().filter(|node| node.attribute("name") == Some("backendType"));
    let values: Vec<&str> =
        backends.flat_map(|node| node.children()).filter_map(|value| value.text()).collect();
    if values.contains(&PASST) && !values.contains(&"default") { PASST } else { SLIRP }
}

pub(super) const SLIRP: &str = "slirp";
pub(super) const PASST: &str = "passt";

/// A free port on the loopback address. It may be taken until it is used; `start` then chooses another.
///
/// # Errors
/// Where there is none.
pub(super) fn free_port() -> Result<u16, DriverError> {
    let bound = TcpListener::bind((LOOPBACK, 0)).and_then(|listener| listener.local_addr());
    bound.map(|address| address.port()).map_err(|error| {
        DriverError::new(ErrorKind::Unavailable, format!("no free port on {LOOPBACK}: {error}"))
            .with_source(error)
    })
}

/// Whether nobody has this port.
pub(super) fn is_free(port: u16) -> bool {
    TcpListener::bind((LOOPBACK, port)).is_ok()
}

/// A port of this computer that leads to one of the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Forward {
    pub protocol: &'static str,
    pub address: String,
    pub host: u16,
    pub guest: u16,
}

impl Forward {
    /// Reads `[ADDRESS:]HOST_PORT:GUEST_PORT[/tcp|/udp]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let protocol = ["tcp", "udp"].into_iter().find(|known| *known == protocol)?;
        let mut parts = ports.rsplitn(3, ':');
        let port =
            |part: Option<&str>| part.and_then(|text| text.parse().ok()).filter(|port: &u16| *port != 0);
        let guest = port(parts.next())?;
        let host = port(parts.next())?;
        let address = parts.next().unwrap_or(LOOPBACK).parse::<Ipv4Addr>().ok()?.to_string();
        Some(Self { protocol, address, host, guest })
    }

    /// The forwards of a machine: SSH, the engine, and what the user asked for.
    pub(super) fn all(state: &LibvirtState) -> Vec<Self> {
        let own = |host, guest| Self { protocol: "tcp", address: LOOPBACK.to_owned(), host, guest };
        let mut all = vec![own(state.base.ssh_port, 22), own(state.engine_port, ENGINE_PORT)];
        all.extend(state.publish.iter().filter_map(|text| Self::parse(text)));
        all
    }

    /// As QEMU's `-netdev user` has it.
    pub(super) fn rule(&self) -> String {
        format!("hostfwd={}:{}:{}-:{}", self.protocol, self.address, self.host, self.guest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = "<network><name>default</name><ip address='192.168.122.1' netmask='255.255.255.0'><dhcp>\
        <range start='192.168.122.2' end='192.168.122.5'/><host mac='52:54:00:AA:00:01' name='dev' ip='192.168.122.3'/>\
        </dhcp></ip><ip family='ipv6' address='fd00::1' prefix='64'/></network>";

    #[test]
    fn a_free_address_is_nobodys() {
        let subnet = Subnet::read(NETWORK).unwrap();
        let leases = " 2026-11-24 04:00:00   52:54:00:00:00:02   ipv4       192.168.122.4/24   x   ff:00\n";
        let leased = addresses(leases);
        assert_eq!(leased.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.168.122.4"]);
        let mut found = BTreeSet::new();
        for seed in 0..64 {
            found.insert(subnet.free(&leased, &seed.to_string()).unwrap().to_string());
        }
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["192.168.122.2", "192.168.122.5"]);
        let all = (1..=5).map(|last| Ipv4Addr::new(192, 168, 122, last)).collect();
        assert_eq!(subnet.free(&all, "x"), None);
        assert!(
            Subnet::read("<network><bridge name='br0'/></network>").unwrap().free(&leased, "x").is_none()
        );
    }

    #[test]
    fn a_reservation_is_recognised() {
        assert!(is_reserved(NETWORK, "52:54:00:aa:00:01", "192.168.122.3").unwrap());
        assert!(!is_reserved(NETWORK, "52:54:00:aa:00:02", "192.168.122.3").unwrap());
        assert!(Subnet::read("nonsense").is_err());
        assert!(is_hidden(NETWORK).unwrap() && is_hidden("<network><forward/></network>").unwrap());
        assert!(!is_hidden("<network><forward mode='bridge'/></network>").unwrap());
    }

    #[test]
    fn forwards_as_the_user_writes_them() {
        let read = |text| Forward::parse(text).map(|forward| forward.rule());
        assert_eq!(read("8080:80").as_deref(), Some("hostfwd=tcp:127.0.0.1:8080-:80"));
        assert_eq!(read("0.0.0.0:53:53/udp").as_deref(), Some("hostfwd=udp:0.0.0.0:53-:53"));
        for bad in
            ["", "80", "0:80", "a:80", "80:80/sctp", "80:80,x", "localhost:80:80", "1:2:3:4", "80:99999"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn passt_only_where_there_is_nothing_else() {
        let caps = |values: &str| {
            format!(
                "<domainCapabilities><devices><interface><enum name='backendType'>{values}</enum></interface></devices></domainCapabilities>"
            )
        };
        assert_eq!(forwarder("<domainCapabilities/>"), SLIRP);
        assert_eq!(forwarder(&caps("<value>default</value><value>passt</value>")), SLIRP);
        assert_eq!(forwarder(&caps("<value>passt</value>")), PASST);
        assert_eq!(forwarder("nonsense"), SLIRP);
    }
}
