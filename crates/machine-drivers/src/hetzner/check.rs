//! From flags to a wish, and whether it can come true.

use std::borrow::Cow;

use machine_core::{ConfigureContext, Cx, DriverError, DriverState, ErrorKind, FlagValues, Secret};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::api::{Named, Offer, Project};
use super::create::{AUTO_SPREAD, find, primary_ip, same_key};
use super::flags::{self, DEFAULT_IMAGE};
use super::state::HetznerState;
use super::{KEY_FILE, config, exclusive, is_label_value, labels, number, seconds, wrong};
use crate::base::Base;
use crate::cloud;
use crate::source_key::SourceKey;

/// Reads the flags.
///
/// # Errors
/// [`ErrorKind::Config`], in the plugin's words where it has some.
pub(super) fn configure(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
    let text = |flag: &str| flags.str(flag).to_owned();
    if flags.str(flags::TOKEN).trim().is_empty() {
        return Err(config(format!("hetzner requires --{} to be set", flags::TOKEN))
            .with_hint("or set HETZNER_API_TOKEN"));
    }
    cloud::endpoint(flags::ENDPOINT, flags.str(flags::ENDPOINT), super::api::ENDPOINT)?;
    let no_public = flags.bool(flags::NO_PUBLIC);
    let (user_data, user_data_file) = user_data_flags(flags)?;
    let key_id = number(flags, flags::KEY_ID)?;
    let mut state = HetznerState {
        base: base(cx, flags)?,
        access_token: Secret::new(flags.str(flags::TOKEN).trim()),
        image: text(flags::IMAGE),
        image_id: number(flags, flags::IMAGE_ID)?,
        image_arch: text(flags::IMAGE_ARCH),
        server_type: text(flags::TYPE),
        location: text(flags::LOCATION),
        key_id,
        is_existing_key: key_id != 0,
        volumes: flags.list(flags::VOLUMES).to_vec(),
        networks: flags.list(flags::NETWORKS).to_vec(),
        use_private_network: flags.bool(flags::PRIVATE) || no_public,
        disable_public4: no_public || flags.bool(flags::NO_PUBLIC_IPV4) || flags.bool(flags::NO_PUBLIC_4),
        disable_public6: no_public || flags.bool(flags::NO_PUBLIC_IPV6) || flags.bool(flags::NO_PUBLIC_6),
        primary_ipv4: text(flags::PRIMARY_IPV4),
        primary_ipv6: text(flags::PRIMARY_IPV6),
        firewalls: flags.list(flags::FIREWALLS).to_vec(),
        server_labels: labels(flags, flags::SERVER_LABEL, "server")?,
        additional_keys: flags.list(flags::MORE_KEYS).to_vec(),
        wait_on_error: seconds(flags, flags::WAIT_ON_ERROR)?,
        wait_on_polling: seconds(flags, flags::WAIT_ON_POLLING)?,
        wait_for_running_timeout: seconds(flags, flags::WAIT_FOR_RUNNING)?,
        endpoint: text(flags::ENDPOINT),
        ca_cert: text(flags::CA_CERT),
        original_key: text(flags::KEY_PATH),
        user_data,
        user_data_file,
        key_labels: labels(flags, flags::KEY_LABEL, "key")?,
        placement_group: placement_group(flags)?,
        ..HetznerState::default()
    };
    image(&mut state)?;
    networks(&state)?;
    if state.is_existing_key && state.original_key.is_empty() {
        return Err(config(format!("--{} requires --{}", flags::KEY_ID, flags::KEY_PATH))
            .with_hint("the private key that belongs to it must be at hand"));
    }
    DriverState::from_typed(&state)
}

fn base(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<Base, DriverError> {
    let mut base = Base::new(cx);
    base.set_swarm(flags);
    base.ssh_user = flags.str(flags::SSH_USER).to_owned();
    base.ssh_port = flags.port(flags::SSH_PORT).map_err(|error| wrong(&error))?;
    let own = cx.store_path.join("machines").join(cx.name.as_str()).join(KEY_FILE);
    let key = SourceKey::new(flags::KEY_PATH, flags.str(flags::KEY_PATH));
    let key = key.as_ref().map_or(Cow::Owned(own), |key| Cow::Borrowed(key.path()));
    base.ssh_key_path = key.to_string_lossy().into_owned();
    Ok(base)
}

fn user_data_flags(flags: &FlagValues) -> Result<(Secret, String), DriverError> {
    let (text, file) = (flags.str(flags::USER_DATA), flags.str(flags::USER_DATA_FILE));
    match (flags.bool(flags::USER_DATA_FROM_FILE), text, file) {
        (true, _, "") => Ok((Secret::default(), text.to_owned())),
        (true, ..) => Err(exclusive(flags::USER_DATA_FILE, flags::USER_DATA_FROM_FILE)),
        (false, "", _) | (false, _, "") => Ok((Secret::new(text), file.to_owned())),
        (false, ..) => Err(exclusive(flags::USER_DATA, flags::USER_DATA_FILE)),
    }
}

fn placement_group(flags: &FlagValues) -> Result<String, DriverError> {
    let given = flags.str(flags::GROUP);
    match (flags.bool(flags::AUTO_SPREAD), given) {
        (true, "") => Ok(AUTO_SPREAD.to_owned()),
        (true, _) => {
            Err(config(format!("{} and {} are mutually exclusive", flags::AUTO_SPREAD, flags::GROUP)))
        }
        (false, given) => Ok(given.to_owned()),
    }
}

fn image(state: &mut HetznerState) -> Result<(), DriverError> {
    if !matches!(state.image_arch.as_str(), "" | "x86" | "arm") {
        return Err(config(format!("unknown architecture {}", state.image_arch)));
    }
    match (state.image_id, state.image.as_str(), state.image_arch.as_str()) {
        (0, "", _) => DEFAULT_IMAGE.clone_into(&mut state.image),
        (0, ..) | (_, "", "") => {}
        // Once the plugin's defaults, which it takes beside a number as if nobody had given them.
        (_, "ubuntu-20.04" | "ubuntu-18.04" | "ubuntu-16.04" | "debian-9", "") => state.image.clear(),
        (_, "", _) => return Err(exclusive(flags::IMAGE_ARCH, flags::IMAGE_ID)),
        _ => return Err(exclusive(flags::IMAGE, flags::IMAGE_ID)),
    }
    Ok(())
}

fn networks(state: &HetznerState) -> Result<(), DriverError> {
    if state.disable_public4 && state.disable_public6 && !state.use_private_network {
        return Err(config(format!(
            "--{} must be used if public networking is disabled (hint: implicitly set by --{})",
            flags::PRIVATE,
            flags::NO_PUBLIC
        )));
    }
    if state.disable_public4 && !state.primary_ipv4.is_empty() {
        return Err(exclusive(flags::PRIMARY_IPV4, flags::NO_PUBLIC_IPV4));
    }
    if state.disable_public6 && !state.primary_ipv6.is_empty() {
        return Err(exclusive(flags::PRIMARY_IPV6, flags::NO_PUBLIC_IPV6));
    }
    if state.use_private_network && state.networks.is_empty() {
        return Err(config("no private network attached")
            .with_hint(format!("name one with --{}: the machine is to be reached by it", flags::NETWORKS)));
    }
    Ok(())
}

/// The user's user data.
///
/// # Errors
/// [`ErrorKind::Precreate`] where the file can't be read.
pub(super) fn user_data(wish: &HetznerState) -> Result<Option<Secret>, DriverError> {
    if !wish.user_data.is_empty() {
        return Ok(Some(wish.user_data.clone()));
    }
    cloud::user_data(flags::USER_DATA_FILE, &wish.user_data_file)
}

/// Rules of the user's own firewalls can't be narrowed: whatever one of them lets in comes in.
pub(super) fn firewalls_of_others(state: &HetznerState) -> Result<(), DriverError> {
    if state.firewalls.is_empty() {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Unsupported,
        format!(
            "who may connect is said by the firewalls of --{}: nothing that they let in can be kept out by another",
            flags::FIREWALLS
        ),
    )
    .with_hint("leave one of the two away, --allow-from or the firewalls"))
}

/// Looks at everything that the flags name, all at once.
///
/// # Errors
/// What is missing.
pub(super) async fn precreate(
    cx: &Cx<'_>,
    project: &Project<'_>,
    wish: &HetznerState,
) -> Result<(), DriverError> {
    if !cx.allow_from.is_empty() {
        firewalls_of_others(wish)?;
    }
    name(cx)?;
    user_data(wish)?;
    if let Some(key) = SourceKey::new(flags::KEY_PATH, &wish.original_key) {
        key.check()?;
    }
    tokio::try_join!(
        machine(project, wish),
        location(project, wish),
        free_name(project, wish),
        own_key(project, wish),
        each(project, "networks", &wish.networks, flags::NETWORKS),
        each(project, "firewalls", &wish.firewalls, flags::FIREWALLS),
        each(project, "volumes", &wish.volumes, flags::VOLUMES),
        primary_ip(project, &wish.primary_ipv4, flags::PRIMARY_IPV4),
        primary_ip(project, &wish.primary_ipv6, flags::PRIMARY_IPV6),
    )?;
    Ok(())
}

/// That the name can be a host's, and the value of a label.
fn name(cx: &Cx<'_>) -> Result<(), DriverError> {
    let name = cx.name.as_str();
    let fits = |label: &str| {
        label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if is_label_value(name) && name.split('.').all(fits) {
        return Ok(());
    }
    Err(DriverError::new(ErrorKind::Precreate, format!("{name:?} can't be the name of a server of Hetzner"))
        .with_hint(
            "take up to 63 letters, digits, `-` and `.`, with a letter or digit at the ends and around each `.`",
        ))
}

/// That the server type can be had in the location. Where Hetzner does not say where, it has to judge by itself.
fn offered(server_type: &Named, wish: &HetznerState) -> Result<(), DriverError> {
    let now = OffsetDateTime::now_utc();
    let is_over = |text: &str| OffsetDateTime::parse(text, &Rfc3339).is_ok_and(|end| end < now);
    let offers: Vec<&Offer> = server_type
        .locations
        .iter()
        .filter(|offer| !offer.deprecation.as_ref().is_some_and(|end| is_over(&end.unavailable_after)))
        .collect();
    let wanted = |offer: &&Offer| offer.name == wish.location || offer.id.to_string() == wish.location;
    if wish.location.is_empty() || server_type.locations.is_empty() || offers.iter().any(wanted) {
        return Ok(());
    }
    let text = format!("the server type {} can't be had in {}", server_type.name, wish.location);
    let names: Vec<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    let hint = if names.is_empty() {
        format!("it is not offered any more: take another --{}", flags::TYPE)
    } else {
        format!("it can be had in {}", names.join(", "))
    };
    Err(DriverError::new(ErrorKind::Precreate, text).with_hint(hint))
}

/// Server type and image, and that they fit each other and the location.
async fn machine(project: &Project<'_>, wish: &HetznerState) -> Result<(), DriverError> {
    let server_type = find(project, "server_types", &wish.server_type, flags::TYPE);
    let (server_type, images) = tokio::try_join!(server_type, images(project, wish))?;
    offered(&server_type, wish)?;
    let wanted = if wish.image_arch.is_empty() { &server_type.architecture } else { &wish.image_arch };
    if !wish.image_arch.is_empty() && wish.image_arch != server_type.architecture {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!(
                "the server type {} is {}, and the image is to be {}",
                wish.server_type, server_type.architecture, wish.image_arch
            ),
        )
        .with_hint(format!("leave --{} away, or take another --{}", flags::IMAGE_ARCH, flags::TYPE)));
    }
    if images.iter().any(|image| image.architecture == *wanted) {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Precreate,
        format!(
            "the image {} is not there for {wanted}, which the server type {} needs",
            named(wish),
            wish.server_type
        ),
    )
    .with_hint(format!("take another --{} or --{}", flags::IMAGE, flags::TYPE)))
}

fn named(wish: &HetznerState) -> String {
    if wish.image_id == 0 { format!("{:?}", wish.image) } else { wish.image_id.to_string() }
}

async fn images(project: &Project<'_>, wish: &HetznerState) -> Result<Vec<Named>, DriverError> {
    if wish.image_id != 0 {
        return Ok(vec![find(project, "images", &wish.image_id.to_string(), flags::IMAGE_ID).await?]);
    }
    let found: Vec<Named> = project.all("images", &[("name", &wish.image)]).await?;
    if found.is_empty() {
        return Err(DriverError::new(ErrorKind::Precreate, format!("there is no image {} at Hetzner", named(wish)))
            .with_hint("names are like ubuntu-24.04 and debian-13: `hcloud image list` shows them; snapshots go by --hetzner-image-id"));
    }
    Ok(found)
}

/// Hetzner is said to take whatever location it likes where it does not know the one that was named.
async fn location(project: &Project<'_>, wish: &HetznerState) -> Result<(), DriverError> {
    if wish.location.is_empty() {
        return Ok(());
    }
    find(project, "locations", &wish.location, flags::LOCATION).await.map(drop)
}

async fn free_name(project: &Project<'_>, wish: &HetznerState) -> Result<(), DriverError> {
    let name = wish.base.machine_name.as_str();
    let taken: Vec<Named> = project.all("servers", &[("name", name)]).await?;
    match taken.first() {
        None => Ok(()),
        Some(server) => Err(DriverError::new(
            ErrorKind::Precreate,
            format!("the project has a server {name:?} already (number {})", server.id),
        )
        .with_hint(
            "choose another name, or remove that server; `docker-machine gc` finds what was forgotten",
        )),
    }
}

/// The key of the project that is to be used is the one whose private half is at hand.
async fn own_key(project: &Project<'_>, wish: &HetznerState) -> Result<(), DriverError> {
    if !wish.is_existing_key {
        return Ok(());
    }
    let remote = find(project, "ssh_keys", &wish.key_id.to_string(), flags::KEY_ID).await?;
    let beside = format!("{}.pub", wish.base.ssh_key_path);
    match std::fs::read_to_string(&beside) {
        Ok(local) if same_key(&local, &remote.public_key) => Ok(()),
        Ok(_) => Err(DriverError::new(
            ErrorKind::Precreate,
            format!("{beside} is not the key {} of the project ({:?})", wish.key_id, remote.name),
        )
        .with_hint("give the number of the key that belongs to the file, or leave the number away")),
        // Without the file beside it, nothing can be compared before the server is there.
        Err(_) => Ok(()),
    }
}

async fn each(project: &Project<'_>, kind: &str, given: &[String], flag: &str) -> Result<(), DriverError> {
    for word in given {
        find(project, kind, word, flag).await?;
    }
    Ok(())
}
