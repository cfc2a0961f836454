//! The flags: those of the reference program, in its order and words, with today's defaults, and ours.

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues, Secret};

use super::api;
use super::state::DigitalOceanState;
use crate::base::Base;
use crate::source_key::SourceKey;

pub(super) const TOKEN_FLAG: &str = "digitalocean-access-token";
pub(super) const KEY_PATH_FLAG: &str = "digitalocean-ssh-key-path";
pub(super) const FINGERPRINT_FLAG: &str = "digitalocean-ssh-key-fingerprint";
pub(super) const USER_DATA_FLAG: &str = "digitalocean-userdata";
pub(super) const VPC_FLAG: &str = "digitalocean-vpc-uuid";
pub(super) const ENDPOINT_FLAG: &str = "digitalocean-endpoint";
pub(super) const CA_FLAG: &str = "digitalocean-ca-cert";
const AGENT_FLAG: &str = "digitalocean-droplet-agent";

/// The image where nobody names one. The reference program's, ubuntu-16-04-x64, is gone.
pub(super) const DEFAULT_IMAGE: &str = "ubuntu-24-04-x64";

pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(TOKEN_FLAG, "DIGITALOCEAN_ACCESS_TOKEN", "", "Digital Ocean access token").secret(),
    FlagSpec::str("digitalocean-ssh-user", "DIGITALOCEAN_SSH_USER", "root", "SSH username"),
    FlagSpec::str(FINGERPRINT_FLAG, "DIGITALOCEAN_SSH_KEY_FINGERPRINT", "", "SSH key fingerprint"),
    FlagSpec::str(KEY_PATH_FLAG, "DIGITALOCEAN_SSH_KEY_PATH", "", "SSH private key path "),
    FlagSpec::int("digitalocean-ssh-port", "DIGITALOCEAN_SSH_PORT", 22, "SSH port"),
    FlagSpec::str("digitalocean-image", "DIGITALOCEAN_IMAGE", DEFAULT_IMAGE, "Digital Ocean Image"),
    FlagSpec::str("digitalocean-region", "DIGITALOCEAN_REGION", "nyc3", "Digital Ocean region"),
    FlagSpec::str("digitalocean-size", "DIGITALOCEAN_SIZE", "s-1vcpu-1gb", "Digital Ocean size"),
    FlagSpec::bool("digitalocean-ipv6", "DIGITALOCEAN_IPV6", "enable ipv6 for droplet"),
    FlagSpec::bool(
        "digitalocean-private-networking",
        "DIGITALOCEAN_PRIVATE_NETWORKING",
        "enable private networking for droplet",
    ),
    FlagSpec::bool("digitalocean-backups", "DIGITALOCEAN_BACKUPS", "enable backups for droplet"),
    FlagSpec::str(USER_DATA_FLAG, "DIGITALOCEAN_USERDATA", "", "path to file with cloud-init user-data"),
    FlagSpec::bool("digitalocean-monitoring", "DIGITALOCEAN_MONITORING", "enable monitoring for droplet"),
    FlagSpec::str(
        "digitalocean-tags",
        "DIGITALOCEAN_TAGS",
        "",
        "comma-separated list of tags to apply to the Droplet",
    ),
    FlagSpec::str(
        VPC_FLAG,
        "DIGITALOCEAN_VPC_UUID",
        "",
        "UUID of the VPC network (default: the region's default one)",
    ),
    FlagSpec::str(
        AGENT_FLAG,
        "DIGITALOCEAN_DROPLET_AGENT",
        "",
        "agent for the control panel's console: true (must work), false (none) (default: where the image takes it)",
    ),
    FlagSpec::str(
        ENDPOINT_FLAG,
        "DIGITALOCEAN_ENDPOINT",
        "",
        "address of the API (default: https://api.digitalocean.com)",
    ),
    FlagSpec::str(
        CA_FLAG,
        "DIGITALOCEAN_CA_CERT",
        "",
        "PEM file with certificates to trust besides the system's",
    ),
];

fn wrong(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

/// A text that can be a slug, a number or a fingerprint: what stands in a path must not mean something else there.
fn word(flags: &FlagValues, flag: &str, more: &str) -> Result<String, DriverError> {
    let text = flags.str(flag).trim();
    let allowed = |c: char| c.is_ascii_alphanumeric() || more.contains(c);
    if text.chars().all(allowed) {
        return Ok(text.to_owned());
    }
    Err(wrong(format!("invalid value {text:?} for flag --{flag}: expected letters, digits and {more:?}")))
}

/// The same where it can't be empty; the default stands for an empty text.
fn slug(flags: &FlagValues, flag: &str, more: &str) -> Result<String, DriverError> {
    match word(flags, flag, more)? {
        text if text.is_empty() => {
            Err(wrong(format!("--{flag} is empty")).with_hint("leave it out for the default"))
        }
        text => Ok(text),
    }
}

fn tags(flags: &FlagValues) -> Result<String, DriverError> {
    let text = flags.str("digitalocean-tags");
    for tag in text.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
        if tag.len() > 255 || !tag.chars().all(allowed) {
            return Err(wrong(format!("--digitalocean-tags: {tag:?} can't be a tag"))
                .with_hint("tags have up to 255 letters, digits, colons, dashes and underscores"));
        }
    }
    Ok(text.to_owned())
}

fn agent(flags: &FlagValues) -> Result<String, DriverError> {
    match flags.str(AGENT_FLAG) {
        text @ ("" | "true" | "false") => Ok(text.to_owned()),
        other => {
            Err(wrong(format!("invalid value {other:?} for flag --{AGENT_FLAG}: expected true or false")))
        }
    }
}

/// Turns flags into the wish for a machine.
///
/// # Errors
/// [`ErrorKind::Config`] for what makes no sense.
pub(super) fn configure(
    cx: &ConfigureContext<'_>,
    flags: &FlagValues,
) -> Result<DigitalOceanState, DriverError> {
    let access_token = Secret::new(flags.str(TOKEN_FLAG).trim());
    if access_token.is_empty() {
        return Err(wrong("digitalocean driver requires the --digitalocean-access-token option")
            .with_hint("https://cloud.digitalocean.com/account/api/tokens makes one"));
    }
    let mut base = Base::new(cx);
    base.set_swarm(flags);
    base.ssh_user = flags.str("digitalocean-ssh-user").to_owned();
    base.ssh_port = flags.port("digitalocean-ssh-port").map_err(|error| wrong(error.to_string()))?;
    let state = DigitalOceanState {
        access_token,
        image: slug(flags, "digitalocean-image", "-_.")?,
        region: slug(flags, "digitalocean-region", "-")?,
        size: slug(flags, "digitalocean-size", "-_.")?,
        ssh_key_fingerprint: word(flags, FINGERPRINT_FLAG, ":")?,
        ssh_key: flags.str(KEY_PATH_FLAG).to_owned(),
        ipv6: flags.bool("digitalocean-ipv6"),
        backups: flags.bool("digitalocean-backups"),
        private_networking: flags.bool("digitalocean-private-networking"),
        user_data_file: flags.str(USER_DATA_FLAG).to_owned(),
        monitoring: flags.bool("digitalocean-monitoring"),
        tags: tags(flags)?,
        vpc_uuid: word(flags, VPC_FLAG, "-")?,
        droplet_agent: agent(flags)?,
        endpoint: flags.str(ENDPOINT_FLAG).to_owned(),
        ca_cert: flags.str(CA_FLAG).to_owned(),
        base: Base { ssh_key_path: key_path(cx, flags), ..base },
        ..DigitalOceanState::default()
    };
    api::check_endpoint(&state)?;
    Ok(state)
}

/// Where the private key is: the user's file until `create` copies it; the user's usual key where a key of the account is
/// named and no file; else the machine's own.
fn key_path(cx: &ConfigureContext<'_>, flags: &FlagValues) -> String {
    if let Some(own) = SourceKey::new(KEY_PATH_FLAG, flags.str(KEY_PATH_FLAG)) {
        return own.path().to_string_lossy().into_owned();
    }
    if !flags.str(FINGERPRINT_FLAG).trim().is_empty() {
        return String::new();
    }
    cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa").to_string_lossy().into_owned()
}
