//! Networks: the NAT adapter with the forwarded SSH port, and the host-only network in which the machine has its address.
//!
//! A host-only network is shared by all machines and stays when the last of them goes, as with the reference program.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use tokio::time::{Instant, sleep};

use super::cidr::Cidr;
use super::host::Version;
use super::state::{LOOPBACK, VirtualboxState};
use super::vboxmanage::{Trouble, VBoxManage, after};
use crate::hypervisor_lock::Turn;

/// The host-only network of the reference program.
pub(super) const CLASSIC: &str = "192.168.99.1/24";
/// What VirtualBox allows where nobody said otherwise.
const ALLOWED: &str = "192.168.56.0/21";
/// Where somebody says otherwise.
const NETWORKS_CONF: &str = "/etc/vbox/networks.conf";
/// A mask that VirtualBox prints of adapters of Windows that it just made.
const NOT_YET: Ipv4Addr = Ipv4Addr::new(15, 0, 0, 0);
/// How long a new adapter may take until it is in the list.
const APPEARS: Duration = Duration::from_secs(15);
/// How VirtualBox's global data is called in which addresses are reserved; then the address.
const RESERVED: &str = "docker-machine/address/";

/// A host-only adapter or network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Net {
    /// Its name, e.g. `vboxnet0`.
    pub name: String,
    /// This computer's address in it, and its size; `None` where it has none yet.
    pub cidr: Option<Cidr>,
    /// What its DHCP server is found by, e.g. `HostInterfaceNetworking-vboxnet0`.
    network: String,
    up: bool,
}

/// Reads `list hostonlyifs`, `list bridgedifs` (key `IPAddress`) and `list hostonlynets` (key `LowerIP`, which is this computer's address there).
/// Each begins with `Name` and ends with `VBoxNetworkName` (`VBoxManageList.cpp`).
fn read(said: &str) -> Vec<Net> {
    let (mut all, mut address, mut mask): (Vec<Net>, Option<Ipv4Addr>, Option<Ipv4Addr>) =
        (Vec::new(), None, None);
    for line in said.lines() {
        if let Some(name) = after(line, "Name") {
            (address, mask) = (None, None);
            all.push(Net { name: name.to_owned(), cidr: None, network: String::new(), up: true });
        }
        let Some(net) = all.last_mut() else { continue };
        if let Some(value) = after(line, "IPAddress").or_else(|| after(line, "LowerIP")) {
            address = value.parse().ok();
        } else if let Some(value) = after(line, "NetworkMask") {
            mask = value.parse().ok();
        } else if let Some(value) = after(line, "Status").or_else(|| after(line, "State")) {
            net.up = ["up", "enabled"].contains(&value.to_ascii_lowercase().as_str());
        } else if let Some(value) = after(line, "VBoxNetworkName") {
            value.clone_into(&mut net.network);
        }
        net.cidr = address.filter(|address| !address.is_unspecified()).zip(mask).map(|(address, mask)| {
            // The size is said wrongly, the address is right.
            Cidr::of(address, if mask == NOT_YET { Ipv4Addr::new(255, 255, 255, 0) } else { mask })
        });
    }
    all
}

/// How this VirtualBox makes host-only networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Adapters of this computer: `hostonlyif`.
    Adapters,
    /// Networks of macOS: `hostonlynet`, since 7.0 there.
    Networks,
}

impl Kind {
    pub(super) fn of(version: Version) -> Self {
        let networks = cfg!(target_os = "macos") && version >= Version::NETWORKS;
        if networks { Self::Networks } else { Self::Adapters }
    }

    fn list(self) -> [&'static str; 2] {
        ["list", if self == Self::Networks { "hostonlynets" } else { "hostonlyifs" }]
    }

    /// What `modifyvm` gets to attach the second card.
    pub(super) fn attach(self, name: &str) -> [String; 4] {
        let (nic, flag) = match self {
            Self::Adapters => ("hostonly", "--hostonlyadapter2"),
            Self::Networks => ("hostonlynet", "--host-only-net2"),
        };
        ["--nic2", nic, flag, name].map(str::to_owned)
    }
}

/// All host-only networks.
///
/// # Errors
/// In the reference program's words where two have the same address: nobody knows which one a machine would get.
pub(super) async fn list(manage: &VBoxManage, kind: Kind) -> Result<Vec<Net>, DriverError> {
    let all = read(&manage.ask(&kind.list()).await?);
    let mut seen = BTreeSet::new();
    for net in &all {
        if let Some(cidr) = net.cidr.filter(|cidr| !seen.insert(cidr.host)) {
            return Err(DriverError::new(
                ErrorKind::Precreate,
                format!(
                    "VirtualBox is configured with multiple host-only adapters with the same IP \"{}\". Please remove one",
                    cidr.host
                ),
            )
            .with_hint(format!("e.g. `VBoxManage hostonlyif remove \"{}\"`", net.name)));
        }
    }
    Ok(all)
}

/// The networks that VirtualBox allows for host-only adapters.
#[derive(Debug)]
pub(super) struct Rules(Option<Vec<Cidr>>);

impl Rules {
    /// Reads those of this computer.
    pub(super) fn of(version: Version) -> Self {
        if cfg!(windows) || version < Version::RESTRICTED || Kind::of(version) == Kind::Networks {
            return Self(None);
        }
        Self::read(fs::read_to_string(Path::new(NETWORKS_CONF)).ok().as_deref())
    }

    /// Lines `* 192.168.99.0/24 10.0.0.0/8`; others are comments (VirtualBox's manual, "Host-Only Networking").
    fn read(file: Option<&str>) -> Self {
        let lines = file
            .map(|text| text.lines().filter_map(|line| line.trim().strip_prefix('*')).collect::<Vec<_>>());
        let words = lines.unwrap_or_else(|| vec![ALLOWED]);
        let networks = words.iter().flat_map(|line| line.split_whitespace());
        Self(Some(networks.filter_map(network).collect()))
    }

    fn allow(&self, cidr: Cidr) -> bool {
        self.0.as_ref().is_none_or(|allowed| allowed.iter().any(|net| net.contains(cidr.host)))
    }
}

/// A network's address and size, in which the host's part is zero.
fn network(text: &str) -> Option<Cidr> {
    let (address, prefix) = text.split_once('/')?;
    let prefix = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    Some(Cidr { host: address.parse().ok()?, prefix })
}

/// Chooses the host-only network: the one that was asked for, else the reference program's where it is there or may be made, else one that VirtualBox
/// allows and that nothing on this computer uses.
///
/// # Errors
/// [`ErrorKind::Config`] and [`ErrorKind::Precreate`] where that can't be had.
pub(super) async fn choose(manage: &VBoxManage, version: Version, asked: &str) -> Result<Cidr, DriverError> {
    let there = list(manage, Kind::of(version)).await?;
    // A computer without a card that could be bridged is no trouble.
    let others = manage.ask(&["list", "bridgedifs"]).await.unwrap_or_default();
    pick(&there, &read(&others), &Rules::of(version), asked)
}

fn pick(there: &[Net], others: &[Net], rules: &Rules, asked: &str) -> Result<Cidr, DriverError> {
    let is_there = |cidr: Cidr| there.iter().any(|net| net.cidr == Some(cidr));
    let ours: BTreeSet<&str> = there.iter().map(|net| net.name.as_str()).collect();
    let others: Vec<Cidr> = others
        .iter()
        .filter(|net| net.up && !ours.contains(net.name.as_str()))
        .filter_map(|net| net.cidr)
        .collect();
    let collides = |cidr: Cidr| others.iter().any(|other| other.overlaps(cidr));
    let is_free = |cidr: Cidr| {
        !collides(cidr) && !there.iter().filter_map(|net| net.cidr).any(|net| net.overlaps(cidr))
    };
    if !asked.is_empty() {
        let cidr = Cidr::parse(asked)?;
        if collides(cidr) {
            return Err(DriverError::new(
                ErrorKind::Precreate,
                "host-only cidr conflicts with the network address of a host interface",
            )
            .with_hint("choose another network with --virtualbox-hostonly-cidr"));
        }
        return if is_there(cidr) || rules.allow(cidr) { Ok(cidr) } else { Err(refused(cidr)) };
    }
    let classic = Cidr::parse(CLASSIC)?;
    if !collides(classic) && (is_there(classic) || rules.allow(classic)) {
        return Ok(classic);
    }
    let allowed = (56..64).map(|net| Cidr { host: Ipv4Addr::new(192, 168, net, 1), prefix: 24 });
    let found = allowed
        .filter(|cidr| rules.allow(*cidr))
        .find(|cidr| (is_there(*cidr) && !collides(*cidr)) || is_free(*cidr));
    found.ok_or_else(|| {
        DriverError::new(ErrorKind::Precreate, "no network is free for the host-only adapter")
            .with_hint(format!("name one with --virtualbox-hostonly-cidr, and allow it in {NETWORKS_CONF}"))
    })
}

fn refused(cidr: Cidr) -> DriverError {
    DriverError::new(
        ErrorKind::Precreate,
        format!("VirtualBox does not allow the host-only network {cidr}: only {ALLOWED}, or what {NETWORKS_CONF} says"),
    )
    .with_hint(format!(
        "leave --virtualbox-hostonly-cidr out, or: `sudo mkdir -p /etc/vbox; echo '* {}/{}' | sudo tee -a {NETWORKS_CONF}`",
        cidr.network(),
        cidr.prefix
    ))
}

/// A part of this computer that the machine's second card is attached to; it is made where it is missing.
///
/// # Errors
/// What VirtualBox refused.
pub(super) async fn ensure(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    kind: Kind,
    cidr: Cidr,
) -> Result<Net, DriverError> {
    let before = list(manage, kind).await?;
    if let Some(net) = before.iter().find(|net| net.cidr == Some(cidr)) {
        return Ok(net.clone());
    }
    cx.report.report(Event::DriverLine(format!("Creating a host-only network {cidr}...")));
    if kind == Kind::Networks {
        return add_network(manage, turn, cidr).await;
    }
    let made = manage.change(turn, &["hostonlyif", "create"]).await;
    // VirtualBox may say that it failed although there is a new one (https://www.virtualbox.org/ticket/14040).
    let old: BTreeSet<&str> = before.iter().map(|net| net.name.as_str()).collect();
    let new = match (appears(manage, &old, made.is_ok()).await?, made) {
        (Some(net), _) => net,
        (None, Err(failure)) => return Err(failure.into()),
        (None, Ok(_)) => {
            return Err(DriverError::new(
                ErrorKind::Other,
                "The host-only adapter we just created is not visible. This is a well known VirtualBox bug. You might want to uninstall it and \
                 reinstall at least version 5.0.12 that is is supposed to fix this issue",
            ));
        }
    };
    let (host, mask) = (cidr.host.to_string(), cidr.mask().to_string());
    let set = ["hostonlyif", "ipconfig", &new.name, "--ip", &host, "--netmask", &mask];
    if let Err(failure) = manage.change(turn, &set).await {
        // Else each try would leave one more behind.
        let _ = manage.change(turn, &["hostonlyif", "remove", &new.name]).await;
        return Err(if failure.trouble == Trouble::Denied { refused(cidr) } else { failure.into() });
    }
    Ok(Net { cidr: Some(cidr), ..new })
}

/// The adapter that was not there before. Where it was not made, one look is enough.
async fn appears(manage: &VBoxManage, old: &BTreeSet<&str>, made: bool) -> Result<Option<Net>, DriverError> {
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(100));
    loop {
        let all = read(&manage.ask(&Kind::Adapters.list()).await?);
        let new = all.into_iter().find(|net| !old.contains(net.name.as_str()));
        if new.is_some() || !made || begin.elapsed() >= APPEARS {
            return Ok(new);
        }
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn add_network(manage: &VBoxManage, turn: &Turn, cidr: Cidr) -> Result<Net, DriverError> {
    let name = format!("docker-machine-{}", cidr.network());
    let args = [
        "hostonlynet".to_owned(),
        "add".to_owned(),
        format!("--name={name}"),
        format!("--netmask={}", cidr.mask()),
        // macOS gives the first address to this computer.
        format!("--lower-ip={}", cidr.host),
        format!("--upper-ip={}", cidr.plan().leased.1),
        "--enable".to_owned(),
    ];
    manage.change(turn, &args).await?;
    Ok(Net { network: format!("hostonly-{name}"), name, cidr: Some(cidr), up: true })
}

/// A DHCP server of VirtualBox.
#[derive(Debug, Default, PartialEq, Eq)]
struct Dhcp {
    network: String,
    server: Option<Ipv4Addr>,
    leased: (Option<Ipv4Addr>, Option<Ipv4Addr>),
    enabled: bool,
}

/// Reads `list dhcpservers`: up to 6.0 with `IP`, `lowerIPAddress` and `upperIPAddress`, then with `Dhcpd IP`, `LowerIPAddress` and `UpperIPAddress`, and
/// with options below that are indented.
fn read_dhcp(said: &str) -> Vec<Dhcp> {
    let mut all: Vec<Dhcp> = Vec::new();
    for line in said.lines().filter(|line| !line.starts_with(char::is_whitespace)) {
        if let Some(name) = after(line, "NetworkName") {
            all.push(Dhcp { network: name.to_owned(), ..Dhcp::default() });
        }
        let Some(dhcp) = all.last_mut() else { continue };
        if let Some(value) = after(line, "IP").or_else(|| after(line, "Dhcpd IP")) {
            dhcp.server = value.parse().ok();
        } else if let Some(value) = after(line, "lowerIPAddress") {
            dhcp.leased.0 = value.parse().ok();
        } else if let Some(value) = after(line, "upperIPAddress") {
            dhcp.leased.1 = value.parse().ok();
        } else if let Some(value) = after(line, "Enabled") {
            dhcp.enabled = value.eq_ignore_ascii_case("yes");
        }
    }
    all
}

/// Sees to it that the network has a DHCP server, or none where that is wished: for machines that choose no address themselves.
///
/// # Errors
/// What VirtualBox refused.
pub(super) async fn ensure_dhcp(
    manage: &VBoxManage,
    turn: &Turn,
    net: &Net,
    cidr: Cidr,
    enabled: bool,
) -> Result<(), DriverError> {
    if net.network.is_empty() || net.network.starts_with("hostonly-") {
        // macOS has one of its own.
        return Ok(());
    }
    let all = read_dhcp(&manage.ask(&["list", "dhcpservers"]).await?);
    let there = all.iter().find(|dhcp| dhcp.network == net.network);
    if there.is_some_and(|dhcp| fits(dhcp, cidr, enabled)) || (there.is_none() && !enabled) {
        return Ok(());
    }
    let plan = cidr.plan();
    let values = [plan.server, cidr.mask(), plan.leased.0, plan.leased.1].map(|address| address.to_string());
    let [server, mask, lower, upper] = &values;
    let args = [
        "dhcpserver",
        if there.is_some() { "modify" } else { "add" },
        "--netname",
        &net.network,
        "--ip",
        server,
        "--netmask",
        mask,
        "--lowerip",
        lower,
        "--upperip",
        upper,
        if enabled { "--enable" } else { "--disable" },
    ];
    manage.change(turn, &args).await?;
    Ok(())
}

/// Whether a server is as wished: others may have chosen other addresses, as long as they are none that we give.
fn fits(dhcp: &Dhcp, cidr: Cidr, enabled: bool) -> bool {
    if dhcp.enabled != enabled {
        return false;
    }
    let (Some(server), (Some(lower), Some(upper))) = (dhcp.server, dhcp.leased) else { return false };
    let (first, last) = cidr.plan().fixed;
    cidr.contains(server) && cidr.contains(lower) && cidr.contains(upper) && (upper < first || lower > last)
}

/// The addresses that machines of ours have, each with the machine's id.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn reserved(manage: &VBoxManage) -> Result<Vec<(Ipv4Addr, String)>, DriverError> {
    let data = read_reserved(&manage.ask(&["getextradata", "global", "enumerate"]).await?);
    if data.is_empty() {
        return Ok(data);
    }
    // What a machine had that somebody removed behind our back is free again.
    let vms = manage.ask(&["list", "vms"]).await?;
    Ok(data.into_iter().filter(|(_, uuid)| vms.contains(uuid.as_str())).collect())
}

/// Reads lines `Key: docker-machine/address/192.168.56.30, Value: ID` (`VBoxManageMisc.cpp`: `handleGetExtraData`).
fn read_reserved(said: &str) -> Vec<(Ipv4Addr, String)> {
    let pairs = said.lines().filter_map(|line| line.strip_prefix("Key: ")?.split_once(", Value: "));
    pairs
        .filter_map(|(key, value)| Some((key.strip_prefix(RESERVED)?.parse().ok()?, value.trim().to_owned())))
        .collect()
}

/// Looks for a free address for the machine.
///
/// # Errors
/// [`ErrorKind::Quota`] where there is none.
pub(super) async fn free_address(
    manage: &VBoxManage,
    cidr: Cidr,
    uuid: &str,
) -> Result<Ipv4Addr, DriverError> {
    let taken: BTreeSet<Ipv4Addr> = reserved(manage).await?.into_iter().map(|(address, _)| address).collect();
    cidr.plan().free(&taken, uuid).ok_or_else(|| {
        DriverError::new(ErrorKind::Quota, format!("the host-only network {cidr} has no free address"))
            .with_hint("remove a machine, or choose another network with --virtualbox-hostonly-cidr")
    })
}

/// Reserves the machine's address. Once it is registered in VirtualBox, the reservation lasts as long as the machine.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where another was given the address in the meantime.
pub(super) async fn reserve(
    manage: &VBoxManage,
    turn: &Turn,
    state: &VirtualboxState,
) -> Result<(), DriverError> {
    let all = reserved(manage).await?;
    let address = &state.base.ip_address;
    match all.iter().find(|(taken, _)| taken.to_string() == *address) {
        Some((_, uuid)) if *uuid == state.uuid => Ok(()),
        Some(_) => Err(DriverError::new(
            ErrorKind::Unavailable,
            format!("the address {address} was given to another machine in this moment"),
        )
        .with_hint("remove the machine with `docker-machine rm` and create it again")),
        None => {
            manage
                .change(turn, &["setextradata", "global", &format!("{RESERVED}{address}"), &state.uuid])
                .await?;
            Ok(())
        }
    }
}

/// Gives the address back, if it is the machine's.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn release(
    manage: &VBoxManage,
    turn: &Turn,
    state: &VirtualboxState,
) -> Result<(), DriverError> {
    if state.uuid.is_empty() {
        return Ok(());
    }
    let data = read_reserved(&manage.ask(&["getextradata", "global", "enumerate"]).await?);
    for (address, _) in data.iter().filter(|(_, uuid)| *uuid == state.uuid) {
        // Without a value the key is removed.
        manage.change(turn, &["setextradata", "global", &format!("{RESERVED}{address}")]).await?;
    }
    Ok(())
}

/// The address that VirtualBox knows of a guest: what its guest additions say of the second card, else what the DHCP server gave it.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn address(
    manage: &VBoxManage,
    handle: &str,
    card: &str,
    adapter: &str,
) -> Result<Option<Ipv4Addr>, DriverError> {
    let said = manage.ask(&["guestproperty", "get", handle, "/VirtualBox/GuestInfo/Net/1/V4/IP"]).await?;
    let known = said.lines().find_map(|line| after(line, "Value")).and_then(|value| value.parse().ok());
    if known.is_some() || adapter.is_empty() {
        return Ok(known);
    }
    // Only since 6.1; that there is no lease yet is an error too.
    let ask =
        ["dhcpserver", "findlease", &format!("--interface={adapter}"), &format!("--mac-address={card}")];
    let said = manage.ask(&ask).await.unwrap_or_default();
    Ok(said.lines().find_map(|line| after(line, "IP Address")).and_then(|value| value.parse().ok()))
}

/// A free port on the loopback address. It may be taken until it is used; a start then chooses another.
///
/// # Errors
/// [`ErrorKind::Unavailable`] where there is none.
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

/// What cloud-init is told of the two cards: the first gets everything from VirtualBox's NAT, the second has the address that we chose
/// (cloud-init's documentation, "Networking config Version 2").
pub(super) fn config(state: &VirtualboxState, cidr: Cidr) -> String {
    let colons = |mac: String| {
        let pairs: Vec<String> = mac
            .to_lowercase()
            .as_bytes()
            .chunks(2)
            .map(|pair| String::from_utf8_lossy(pair).into_owned())
            .collect();
        pairs.join(":")
    };
    let (nat, hostonly) = (colons(state.mac(1)), colons(state.mac(2)));
    let address = format!("{}/{}", state.base.ip_address, cidr.prefix);
    format!(
        "version: 2\nethernets:\n  nat:\n    match:\n      macaddress: \"{nat}\"\n    dhcp4: true\n  hostonly:\n    match:\n      \
         macaddress: \"{hostonly}\"\n    dhcp4: false\n    addresses:\n      - \"{address}\"\n"
    )
}

/// The folder of this computer that the machine sees, and what it is called; `None` where there is none.
pub(super) fn share(state: &VirtualboxState) -> Option<(PathBuf, String)> {
    if state.no_share {
        return None;
    }
    let (folder, name) = if state.share_folder.is_empty() {
        usual_share()
    } else {
        let (folder, name) = state.share_folder.rsplit_once(':')?;
        (PathBuf::from(folder), name.to_owned())
    };
    if folder.as_os_str().is_empty() || !folder.exists() {
        return None;
    }
    let name =
        if name.is_empty() { folder.to_string_lossy().trim_start_matches('/').to_owned() } else { name };
    Some((folder, name))
}

/// What the reference program shares.
fn usual_share() -> (PathBuf, String) {
    match () {
        () if cfg!(windows) => (PathBuf::from(r"\\?\c:\Users"), "c/Users".to_owned()),
        () if cfg!(target_os = "macos") => (PathBuf::from("/Users"), "Users".to_owned()),
        () => (PathBuf::from("/home"), "hosthome".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// VirtualBox 5 on Linux, as in the reference program's tests and in reports of its users; 6.1 has a line `Wireless` besides.
    const ADAPTERS: &str = "\nName:            vboxnet0\nGUID:            786f6276-656e-4074-8000-0a0027000000\nDHCP:            Disabled\n\
        IPAddress:       192.168.99.1\nNetworkMask:     255.255.255.0\nIPV6Address:\nIPV6NetworkMaskPrefixLength: 0\n\
        HardwareAddress: 0a:00:27:00:00:00\nMediumType:      Ethernet\nWireless:        No\nStatus:          Up\n\
        VBoxNetworkName: HostInterfaceNetworking-vboxnet0\n\nName:            VirtualBox Host-Only Ethernet Adapter #3\n\
        GUID:            ac248e3d-2b1c-4c48-a96d-0599d856828a\nDHCP:            Disabled\nIPAddress:       0.0.0.0\n\
        NetworkMask:     15.0.0.0\nStatus:          Up\nVBoxNetworkName: HostInterfaceNetworking-VirtualBox Host-Only Ethernet Adapter #3\n";
    /// As `listHostOnlyNetworks` of 7.0 prints them, with its empty line in the middle.
    const NETWORKS: &str = "Name:            vagrantnet-vbox1\nGUID:            b8b5a8d4-7c4c-4a5e-8f5e-0d2d3b9c7c01\n\nState:           Enabled\n\
        NetworkMask:     255.255.255.0\nLowerIP:         192.168.56.1\nUpperIP:         192.168.56.254\n\
        VBoxNetworkName: hostonly-vagrantnet-vbox1\n";

    fn net(text: &str) -> Cidr {
        Cidr::parse(text).unwrap()
    }

    #[test]
    fn adapters_and_networks() {
        let adapters = read(ADAPTERS);
        assert_eq!(adapters[0].cidr, Some(net("192.168.99.1/24")));
        assert_eq!((adapters[0].name.as_str(), adapters[0].up), ("vboxnet0", true));
        assert_eq!(
            (adapters[1].name.as_str(), adapters[1].cidr),
            ("VirtualBox Host-Only Ethernet Adapter #3", None)
        );
        let networks = read(NETWORKS);
        assert_eq!(networks[0].cidr, Some(net("192.168.56.1/24")));
        assert_eq!(networks[0].network, "hostonly-vagrantnet-vbox1");
        assert_eq!(read(""), []);
    }

    #[test]
    fn the_network_is_what_is_there_and_allowed() {
        let (adapters, none) = (read(ADAPTERS), Vec::new());
        let (strict, free) = (Rules::read(None), Rules(None));
        let chosen = |there: &[Net], others: &[Net], rules: &Rules, asked: &str| {
            pick(there, others, rules, asked).map(|cidr| cidr.to_string()).map_err(|error| error.to_string())
        };
        assert_eq!(chosen(&adapters, &none, &strict, "").unwrap(), CLASSIC);
        assert_eq!(chosen(&none, &none, &free, "").unwrap(), CLASSIC);
        assert_eq!(chosen(&none, &none, &strict, "").unwrap(), "192.168.56.1/24");
        let lan = read("Name: eth0\nIPAddress: 192.168.56.77\nNetworkMask: 255.255.255.0\nStatus: Up\n");
        assert_eq!(chosen(&none, &lan, &strict, "").unwrap(), "192.168.57.1/24");
        let error = chosen(&none, &lan, &strict, "192.168.56.1/24").unwrap_err();
        assert_eq!(error, "host-only cidr conflicts with the network address of a host interface");
        let error = pick(&none, &none, &strict, "10.1.2.1/24").unwrap_err();
        assert!(error.hint().unwrap().contains("'* 10.1.2.0/24'"), "{error:?}");
        let allowed = Rules::read(Some("# ours\n* 10.0.0.0/8 192.168.99.0/24\n192.168.7.0/24\n"));
        assert_eq!(chosen(&none, &none, &allowed, "10.1.2.1/24").unwrap(), "10.1.2.1/24");
        assert_eq!(chosen(&none, &none, &allowed, "").unwrap(), CLASSIC);
        assert!(chosen(&none, &none, &allowed, "192.168.7.1/24").is_err());
    }

    /// Up to 6.0 as in the reference program's tests, and since 6.1.
    #[test]
    fn dhcp_servers() {
        let old = "\nNetworkName:    HostInterfaceNetworking-vboxnet0\nIP:             192.168.99.6\nNetworkMask:    255.255.255.0\n\
            lowerIPAddress: 192.168.99.100\nupperIPAddress: 192.168.99.254\nEnabled:        Yes\n";
        let new = "NetworkName:    HostInterfaceNetworking-vboxnet0\nDhcpd IP:       192.168.99.6\nLowerIPAddress: 192.168.99.100\n\
            UpperIPAddress: 192.168.99.254\nNetworkMask:    255.255.255.0\nEnabled:        Yes\nGlobal Configuration:\n    \
            minLeaseTime:     default\n    1/legacy: 255.255.255.0\nGroups:               None\nIndividual Configs:   None\n";
        for said in [old, new] {
            let all = read_dhcp(said);
            assert_eq!(all.len(), 1);
            assert!(fits(&all[0], net(CLASSIC), true), "{:?}", all[0]);
            assert!(!fits(&all[0], net(CLASSIC), false) && !fits(&all[0], net("192.168.56.1/24"), true));
        }
        let wide = new.replace("192.168.99.100", "192.168.99.3");
        assert!(!fits(&read_dhcp(&wide)[0], net(CLASSIC), true), "it gives away what we give");
    }

    #[test]
    fn reservations() {
        let said = "Key: GUI/LastWindowPosition, Value: 1,2\nKey: docker-machine/address/192.168.56.30, Value: 5fc461ec\n";
        assert_eq!(read_reserved(said), [([192, 168, 56, 30].into(), "5fc461ec".to_owned())]);
    }

    #[test]
    fn what_cloud_init_is_told() {
        let mut state =
            VirtualboxState { uuid: "5fc461ec-da7a-40a8-a168-03134d7cdf5c".into(), ..Default::default() };
        state.base.ip_address = "192.168.56.30".into();
        let text = config(&state, net("192.168.56.1/24"));
        assert!(
            text.contains("macaddress: \"08:00:27:5f:c4:61\"")
                && text.contains("macaddress: \"08:00:27:ec:da:7a\""),
            "{text}"
        );
        assert!(text.contains("- \"192.168.56.30/24\""), "{text}");
    }

    #[test]
    fn shared_folders() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap().to_owned();
        let with = |text: String| share(&VirtualboxState { share_folder: text, ..Default::default() });
        assert_eq!(with(format!("{path}:data")), Some((dir.path().to_owned(), "data".to_owned())));
        assert_eq!(
            with(format!("{path}:")),
            Some((dir.path().to_owned(), path.trim_start_matches('/').to_owned()))
        );
        assert_eq!(with(format!("{path}/no:x")), None);
        assert_eq!(share(&VirtualboxState { no_share: true, ..Default::default() }), None);
    }
}
