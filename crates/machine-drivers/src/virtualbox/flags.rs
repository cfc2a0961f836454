//! The flags: those of the reference program, in its order and words, and one of ours.

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues};

use super::cidr::Cidr;
use super::create;
use super::network;
use super::state::{E1000, VirtualboxState};

/// The card that every image for virtual machines has a driver for; kernels that are made for clouds have no other.
const VIRTIO: &str = "virtio";

pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::int("virtualbox-memory", "VIRTUALBOX_MEMORY_SIZE", 1024, "Size of memory for host in MB"),
    FlagSpec::int(
        "virtualbox-cpu-count",
        "VIRTUALBOX_CPU_COUNT",
        1,
        "number of CPUs for the machine (-1 to use the number of CPUs available)",
    ),
    FlagSpec::int("virtualbox-disk-size", "VIRTUALBOX_DISK_SIZE", 20_000, "Size of disk for host in MB"),
    FlagSpec::str(
        "virtualbox-boot2docker-url",
        "VIRTUALBOX_BOOT2DOCKER_URL",
        "",
        "The URL of the boot2docker image. Defaults to the latest available version",
    ),
    FlagSpec::str(
        "virtualbox-import-boot2docker-vm",
        "VIRTUALBOX_BOOT2DOCKER_IMPORT_VM",
        "",
        "The name of a Boot2Docker VM to import",
    ),
    FlagSpec::bool(
        "virtualbox-host-dns-resolver",
        "VIRTUALBOX_HOST_DNS_RESOLVER",
        "Use the host DNS resolver",
    ),
    FlagSpec::str(
        "virtualbox-nat-nictype",
        "VIRTUALBOX_NAT_NICTYPE",
        E1000,
        "Specify the Network Adapter Type",
    ),
    FlagSpec::str(
        "virtualbox-hostonly-cidr",
        "VIRTUALBOX_HOSTONLY_CIDR",
        network::CLASSIC,
        "Specify the Host Only CIDR",
    ),
    FlagSpec::str(
        "virtualbox-hostonly-nictype",
        "VIRTUALBOX_HOSTONLY_NIC_TYPE",
        E1000,
        "Specify the Host Only Network Adapter Type",
    ),
    FlagSpec::str(
        "virtualbox-hostonly-nicpromisc",
        "VIRTUALBOX_HOSTONLY_NIC_PROMISC",
        "deny",
        "Specify the Host Only Network Adapter Promiscuous Mode",
    ),
    FlagSpec::str(
        "virtualbox-ui-type",
        "VIRTUALBOX_UI_TYPE",
        "headless",
        "Specify the UI Type: (gui|sdl|headless|separate)",
    ),
    FlagSpec::bool(
        "virtualbox-hostonly-no-dhcp",
        "VIRTUALBOX_HOSTONLY_NO_DHCP",
        "Disable the Host Only DHCP Server",
    ),
    FlagSpec::bool("virtualbox-no-share", "VIRTUALBOX_NO_SHARE", "Disable the mount of your home directory"),
    FlagSpec::bool(
        "virtualbox-no-dns-proxy",
        "VIRTUALBOX_NO_DNS_PROXY",
        "Disable proxying all DNS requests to the host",
    ),
    FlagSpec::bool(
        "virtualbox-no-vtx-check",
        "VIRTUALBOX_NO_VTX_CHECK",
        "Disable checking for the availability of hardware virtualization before the vm is started",
    ),
    FlagSpec::str(
        "virtualbox-share-folder",
        "VIRTUALBOX_SHARE_FOLDER",
        "",
        "Mount the specified directory instead of the default home location. Format: dir:name",
    ),
    FlagSpec::str(
        "virtualbox-image",
        "VIRTUALBOX_IMAGE",
        "",
        "Cloud image: a name of `docker-machine image ls`, a URL or a path",
    ),
];

/// What VirtualBox calls the kinds of a card's promiscuous mode, and the ways to show a machine.
const PROMISCUOUS: [&str; 3] = ["deny", "allow-vms", "allow-all"];
const UI: [&str; 4] = ["gui", "sdl", "headless", "separate"];

fn invalid(flag: &str, value: &str, expected: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Config,
        format!("invalid value {value:?} for flag --{flag}: expected {expected}"),
    )
}

fn number(flags: &FlagValues, flag: &str, least: u64) -> Result<u64, DriverError> {
    let (value, most) = (flags.int(flag), 1 << 30);
    u64::try_from(value)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| invalid(flag, &value.to_string(), &format!("a number of MB from {least} to {most}")))
}

fn choice(flags: &FlagValues, flag: &str, choices: &[&str]) -> Result<String, DriverError> {
    let text = flags.str(flag);
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    Err(invalid(flag, text, &format!("one of {}", choices.join(", "))))
}

/// The kind of a card. What nobody chose is the reference program's for boot2docker; images for clouds have no driver for that.
fn card(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    if !flags.is_set(flag) && flags.str("virtualbox-boot2docker-url").is_empty() {
        return Ok(VIRTIO.to_owned());
    }
    let text = flags.str(flag);
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(invalid(flag, text, "a kind of network card, e.g. virtio or 82540EM"));
    }
    Ok(text.to_owned())
}

/// A text that can stand in an argument: nothing that would be taken for an option, no line break.
fn plain(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    let text = flags.str(flag);
    if text.starts_with('-') || text.chars().any(char::is_control) {
        return Err(invalid(flag, text, "a text of one line that does not begin with a dash"));
    }
    Ok(text.to_owned())
}

fn share_folder(flags: &FlagValues) -> Result<String, DriverError> {
    let text = plain(flags, "virtualbox-share-folder")?;
    if !text.is_empty() && !text.contains(':') {
        return Err(invalid("virtualbox-share-folder", &text, "FOLDER:NAME"));
    }
    Ok(text)
}

/// Turns flags into the wish for a machine.
///
/// # Errors
/// [`ErrorKind::Config`] for what makes no sense.
pub(super) fn configure(
    cx: &ConfigureContext<'_>,
    flags: &FlagValues,
) -> Result<VirtualboxState, DriverError> {
    if !flags.str("virtualbox-import-boot2docker-vm").is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            "--virtualbox-import-boot2docker-vm: virtual machines of the program boot2docker, which is gone since 2015, can't be imported",
        )
        .with_hint("create a new machine; `docker save` and `docker load` bring its images along"));
    }
    let boot2docker_url = plain(flags, "virtualbox-boot2docker-url")?;
    let image = plain(flags, "virtualbox-image")?;
    if !boot2docker_url.is_empty() && !image.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            "--virtualbox-image and --virtualbox-boot2docker-url can't be given both",
        ));
    }
    let asked = flags.is_set("virtualbox-hostonly-cidr") && !flags.str("virtualbox-hostonly-cidr").is_empty();
    let host_only_cidr = if asked { flags.str("virtualbox-hostonly-cidr") } else { "" };
    if asked {
        Cidr::parse(host_only_cidr)?;
    }
    let mut base = create::base(cx);
    base.set_swarm(flags);
    Ok(VirtualboxState {
        base,
        cpu: flags.int("virtualbox-cpu-count"),
        memory: number(flags, "virtualbox-memory", 4)?,
        disk_size: number(flags, "virtualbox-disk-size", 8)?,
        nat_nic_type: card(flags, "virtualbox-nat-nictype")?,
        boot2docker_url,
        host_dns_resolver: flags.bool("virtualbox-host-dns-resolver"),
        host_only_cidr: host_only_cidr.to_owned(),
        host_only_nic_type: card(flags, "virtualbox-hostonly-nictype")?,
        host_only_promisc_mode: choice(flags, "virtualbox-hostonly-nicpromisc", &PROMISCUOUS)?,
        ui_type: choice(flags, "virtualbox-ui-type", &UI)?,
        host_only_no_dhcp: flags.bool("virtualbox-hostonly-no-dhcp"),
        no_share: flags.bool("virtualbox-no-share"),
        dns_proxy: !flags.bool("virtualbox-no-dns-proxy"),
        no_vtx_check: flags.bool("virtualbox-no-vtx-check"),
        share_folder: share_folder(flags)?,
        image,
        ..VirtualboxState::default()
    })
}
