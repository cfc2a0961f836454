//! The flags of `create`, and the wish that they make.

use std::thread::available_parallelism;

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues, Secret};

use super::state::VmwareFusionState;
use crate::base::{Base, DEFAULT_SSH_PORT};
use crate::boot2docker;

/// The configuration drive's name in the machine's folder, as in the Go driver.
pub(super) const CONFIG_DRIVE: &str = "configdrive.iso";
/// As many processors as the Go driver takes at most: virtual hardware of version 10 has no more.
const MAX_CPUS: u32 = 16;

/// The flags: the Go driver's, and two of our own at the end.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(
        "vmwarefusion-boot2docker-url",
        "FUSION_BOOT2DOCKER_URL",
        "",
        "Fusion URL for boot2docker image",
    ),
    FlagSpec::str(
        "vmwarefusion-configdrive-url",
        "FUSION_CONFIGDRIVE_URL",
        "",
        "Fusion URL for cloud-init configdrive",
    ),
    FlagSpec::int(
        "vmwarefusion-cpu-count",
        "FUSION_CPU_COUNT",
        1,
        "number of CPUs for the machine (-1 to use the number of CPUs available)",
    ),
    FlagSpec::int(
        "vmwarefusion-memory-size",
        "FUSION_MEMORY_SIZE",
        1024,
        "Fusion size of memory for host VM (in MB)",
    ),
    FlagSpec::int(
        "vmwarefusion-disk-size",
        "FUSION_DISK_SIZE",
        20_000,
        "Fusion size of disk for host VM (in MB)",
    ),
    FlagSpec::str("vmwarefusion-ssh-user", "FUSION_SSH_USER", "docker", "SSH user"),
    FlagSpec::str("vmwarefusion-ssh-password", "FUSION_SSH_PASSWORD", "tcuser", "SSH password").secret(),
    FlagSpec::bool("vmwarefusion-no-share", "FUSION_NO_SHARE", "Disable the mount of your home directory"),
    FlagSpec::str(
        "vmwarefusion-image",
        "FUSION_IMAGE",
        "",
        "Image of the system where no boot2docker ISO is given: a name of `image ls --available`, URL or path (default: the \
         newest image built here, else Debian's)",
    ),
    FlagSpec::str(
        "vmwarefusion-dhcp-leases",
        "FUSION_DHCP_LEASES",
        "",
        "File with the leases of VMware's DHCP server, where it is not in its usual place",
    ),
];

/// Makes the wish.
///
/// # Errors
/// [`ErrorKind::Config`] with the flag and what would be right.
pub(super) fn wish(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<VmwareFusionState, DriverError> {
    let mut base = Base::new(cx);
    base.set_swarm(flags);
    base.ssh_user = user(flags)?;
    base.ssh_port = DEFAULT_SSH_PORT;
    let mut state = VmwareFusionState {
        base,
        memory: number(flags, "vmwarefusion-memory-size", 32)?,
        disk_size: number(flags, "vmwarefusion-disk-size", 1)?,
        cpu: cpus(flags)?,
        boot2docker_url: text(flags, "vmwarefusion-boot2docker-url")?,
        ssh_password: Secret::new(flags.str("vmwarefusion-ssh-password")),
        config_drive_url: text(flags, "vmwarefusion-configdrive-url")?,
        no_share: flags.bool("vmwarefusion-no-share"),
        image: text(flags, "vmwarefusion-image")?,
        dhcp_leases: text(flags, "vmwarefusion-dhcp-leases")?,
        ..VmwareFusionState::default()
    };
    places(&mut state);
    if state.is_boot2docker() && !state.image.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            "--vmwarefusion-boot2docker-url and --vmwarefusion-image can't both be given",
        )
        .with_hint("a machine boots either the ISO or a cloud image"));
    }
    Ok(state)
}

/// Sets the paths of what is in the machine's folder.
pub(super) fn places(state: &mut VmwareFusionState) {
    let place = |file: &str| state.folder().join(file).to_string_lossy().into_owned();
    (state.iso, state.config_drive_iso) = (place(boot2docker::ISO), place(CONFIG_DRIVE));
    state.base.ssh_key_path = state.key_path().to_string_lossy().into_owned();
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

fn user(flags: &FlagValues) -> Result<String, DriverError> {
    let user = flags.str("vmwarefusion-ssh-user");
    // What useradd takes without being forced to, and no option of a program.
    let good = user.len() <= 32
        && user.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && user.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
    if good {
        Ok(user.to_owned())
    } else {
        Err(invalid("vmwarefusion-ssh-user", user, "a login name such as docker"))
    }
}

fn number(flags: &FlagValues, flag: &str, least: u64) -> Result<u64, DriverError> {
    let number = flags.int(flag);
    // 2 TiB, in MiB: more than any of it is a mistake.
    let good = u64::try_from(number).ok().filter(|number| (least..=64 * 1024 * 1024).contains(number));
    good.ok_or_else(|| invalid(flag, number, &format!("{least} or more")))
}

fn cpus(flags: &FlagValues) -> Result<u32, DriverError> {
    match flags.int("vmwarefusion-cpu-count") {
        // As in the Go driver: what is no number of processors means all of them, and too many are cut.
        count if count < 1 => {
            Ok(available_parallelism().map_or(1, |all| u32::try_from(all.get()).unwrap_or(1)).min(MAX_CPUS))
        }
        count => Ok(u32::try_from(count).unwrap_or(MAX_CPUS).min(MAX_CPUS)),
    }
}
