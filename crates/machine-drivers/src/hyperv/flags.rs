//! The flags of `create`, and the wish that they make.

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues};

use super::state::{HypervState, SSH_USER};
use crate::base::Base;

/// The flags: the Go driver's, and three of our own at the end.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(
        "hyperv-boot2docker-url",
        "HYPERV_BOOT2DOCKER_URL",
        "",
        "URL of the boot2docker ISO. Defaults to the latest available version.",
    ),
    FlagSpec::str(
        "hyperv-virtual-switch",
        "HYPERV_VIRTUAL_SWITCH",
        "",
        "Virtual switch name. Defaults to first found.",
    ),
    FlagSpec::int(
        "hyperv-disk-size",
        "HYPERV_DISK_SIZE",
        20_000,
        "Maximum size of dynamically expanding disk in MB.",
    ),
    FlagSpec::int("hyperv-memory", "HYPERV_MEMORY", 1024, "Memory size for host in MB."),
    FlagSpec::int("hyperv-cpu-count", "HYPERV_CPU_COUNT", 1, "number of CPUs for the machine"),
    FlagSpec::str(
        "hyperv-static-macaddress",
        "HYPERV_STATIC_MACADDRESS",
        "",
        "Hyper-V network adapter's static MAC address.",
    ),
    FlagSpec::int("hyperv-vlan-id", "HYPERV_VLAN_ID", 0, "Hyper-V network adapter's VLAN ID if any"),
    FlagSpec::bool(
        "hyperv-disable-dynamic-memory",
        "HYPERV_DISABLE_DYNAMIC_MEMORY",
        "Disable dynamic memory management setting",
    ),
    FlagSpec::str(
        "hyperv-image",
        "HYPERV_IMAGE",
        "",
        "Image of the system where no boot2docker ISO is given: a name of `image ls --available`, URL or path (default: the \
         newest image built here, else Debian's)",
    ),
    FlagSpec::int(
        "hyperv-generation",
        "HYPERV_GENERATION",
        0,
        "Generation of the virtual machine: 1 (BIOS) or 2 (UEFI) (0: 1, on ARM 2)",
    ),
    FlagSpec::bool(
        "hyperv-secure-boot",
        "HYPERV_SECURE_BOOT",
        "Let the firmware of generation 2 start signed systems only (Microsoft's UEFI certificate authority)",
    ),
];

/// Makes the wish.
///
/// # Errors
/// [`ErrorKind::Config`] with the flag and what would be right.
pub(super) fn wish(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<HypervState, DriverError> {
    let mut base = Base::new(cx);
    base.set_swarm(flags);
    base.ssh_user = SSH_USER.to_owned();
    let mut state = HypervState {
        base,
        boot2docker_url: text(flags, "hyperv-boot2docker-url")?,
        switch: text(flags, "hyperv-virtual-switch")?,
        disk_size: number(flags, "hyperv-disk-size", 1..=64 * 1024 * 1024)?,
        mem_size: number(flags, "hyperv-memory", 32..=12 * 1024 * 1024)?,
        cpu: number(flags, "hyperv-cpu-count", 1..=2048)?,
        mac_addr: mac(flags)?,
        vlan_id: number(flags, "hyperv-vlan-id", 0..=4094)?,
        disable_dynamic_memory: flags.bool("hyperv-disable-dynamic-memory"),
        image: text(flags, "hyperv-image")?,
        generation: number(flags, "hyperv-generation", 0..=2)?,
        secure_boot: flags.bool("hyperv-secure-boot"),
        ..HypervState::default()
    };
    state.base.ssh_key_path = state.key_path().to_string_lossy().into_owned();
    contradictions(&state)?;
    Ok(state)
}

fn contradictions(state: &HypervState) -> Result<(), DriverError> {
    let error = |text: &str, hint: &str| Err(DriverError::new(ErrorKind::Config, text).with_hint(hint));
    if state.is_boot2docker() && !state.image.is_empty() {
        return error(
            "--hyperv-boot2docker-url and --hyperv-image can't both be given",
            "a machine boots either the ISO or a cloud image",
        );
    }
    if state.is_boot2docker() && state.generation == 2 {
        return error(
            "--hyperv-generation 2 can't boot a boot2docker ISO",
            "its loader is for BIOS; leave --hyperv-generation out",
        );
    }
    if state.secure_boot && state.generation() != 2 {
        return error("--hyperv-secure-boot needs generation 2", "give --hyperv-generation 2, too");
    }
    Ok(())
}

/// The error for a value of a flag.
fn invalid(flag: &str, value: impl std::fmt::Debug, expected: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Config,
        format!("invalid value {value:?} for flag --{flag}: expected {expected}"),
    )
}

fn text(flags: &FlagValues, flag: &str) -> Result<String, DriverError> {
    let text = flags.str(flag);
    if text.chars().any(char::is_control) {
        return Err(invalid(flag, text, "a text of one line"));
    }
    Ok(text.to_owned())
}

fn number<T: TryFrom<i64>>(
    flags: &FlagValues,
    flag: &str,
    range: std::ops::RangeInclusive<i64>,
) -> Result<T, DriverError> {
    let number = flags.int(flag);
    let good = range.contains(&number).then(|| T::try_from(number).ok()).flatten();
    good.ok_or_else(|| invalid(flag, number, &format!("a number from {} to {}", range.start(), range.end())))
}

/// An address of a network card, as given: Hyper-V takes it with colons, dashes or nothing between.
fn mac(flags: &FlagValues) -> Result<String, DriverError> {
    let mac = flags.str("hyperv-static-macaddress");
    let digits: String = mac.chars().filter(|c| !matches!(c, ':' | '-')).collect();
    let good = mac.is_empty()
        || (digits.len() == 12
            && digits.bytes().all(|b| b.is_ascii_hexdigit())
            // The lowest bit of the first byte is for groups.
            && u8::from_str_radix(&digits[..2], 16).is_ok_and(|first| first & 1 == 0));
    if good {
        Ok(mac.to_owned())
    } else {
        Err(invalid("hyperv-static-macaddress", mac, "an address such as 00:15:5d:01:02:03"))
    }
}
