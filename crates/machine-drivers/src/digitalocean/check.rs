//! What is looked at before anything is made.

use machine_core::{Cx, DriverError, ErrorKind, Event};

use super::api::{Cloud, Region};
use super::flags::{DEFAULT_IMAGE, FINGERPRINT_FLAG, KEY_PATH_FLAG, USER_DATA_FLAG, VPC_FLAG};
use super::mark::{self, Mark};
use super::state::DigitalOceanState;
use super::trouble::explain;
use crate::cloud;
use crate::source_key::SourceKey;

/// The most user data that a droplet takes, bytes.
pub(super) const MOST_USER_DATA: usize = 64 * 1024;

fn unmet(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Precreate, text)
}

/// # Errors
/// Whatever stands in the way of a droplet.
pub(super) async fn check(
    cx: &Cx<'_>,
    cloud: &Cloud<'_>,
    wish: &DigitalOceanState,
) -> Result<(), DriverError> {
    name(cx)?;
    files(wish)?;
    if wish.private_networking && wish.vpc_uuid.is_empty() {
        cx.report.report(Event::Warning(format!(
            "--digitalocean-private-networking changes nothing any more: every droplet is in the region's default VPC; --{VPC_FLAG} \
             names another"
        )));
    }
    let (place, image, key, vpc) =
        tokio::join!(place(cloud, wish), image(cloud, wish), key(cloud, wish), vpc(cloud, wish));
    place.and(image).and(key).and(vpc)
}

/// What the provider refuses as a droplet's name, which becomes the host's.
fn name(cx: &Cx<'_>) -> Result<(), DriverError> {
    let name = cx.name.as_str();
    if name.ends_with(['-', '.']) {
        return Err(unmet(format!("{name:?} can't be the name of a droplet"))
            .with_hint("end it with a letter or a digit"));
    }
    if !mark::fits(&Mark::of(cx)) {
        return Err(unmet(format!("{name:?} is too long for a tag of DigitalOcean"))
            .with_hint("take a name of at most 60 characters"));
    }
    Ok(())
}

fn files(wish: &DigitalOceanState) -> Result<(), DriverError> {
    if let Some(key) = SourceKey::new(KEY_PATH_FLAG, &wish.ssh_key) {
        if wish.ssh_key_fingerprint.is_empty() {
            return Err(unmet(format!("ssh-key-fingerprint needs to be provided for {:?}", wish.ssh_key))
                .with_hint(format!("add the key to your account and name it by --{FINGERPRINT_FLAG}")));
        }
        key.check()?;
    }
    let file = &wish.user_data_file;
    if !file.is_empty() && !std::path::Path::new(file).exists() {
        return Err(unmet(format!("user-data file {file} could not be found")));
    }
    let data = cloud::user_data(USER_DATA_FLAG, file)?;
    user_data_fits(data.as_ref().map_or(0, |data| data.expose().len()))
}

/// # Errors
/// [`ErrorKind::Precreate`] where it is too much.
pub(super) fn user_data_fits(bytes: usize) -> Result<(), DriverError> {
    if bytes <= MOST_USER_DATA {
        return Ok(());
    }
    Err(unmet(format!("user data of {bytes} bytes is more than the {MOST_USER_DATA} that a droplet takes"))
        .with_hint(format!("make the file of --{USER_DATA_FLAG} smaller; it can fetch what it needs")))
}

/// The region, and the size in it: DigitalOcean says with each region which sizes can be had there.
async fn place(cloud: &Cloud<'_>, wish: &DigitalOceanState) -> Result<(), DriverError> {
    let regions = cloud.regions().await;
    let regions = regions.map_err(|error| explain("the regions can't be listed", &error))?;
    let Some(region) = regions.iter().find(|region| region.slug == wish.region) else {
        let known: Vec<_> = regions.iter().map(|region| region.slug.as_str()).collect();
        return Err(unmet("digitalocean requires a valid region").with_hint(format!(
            "there is no region {:?}; there are {}",
            wish.region,
            known.join(", ")
        )));
    };
    if region.sizes.contains(&wish.size) {
        return Ok(());
    }
    if !region.available {
        return Err(unmet(format!("region {:?} takes no new droplets now", region.slug))
            .with_hint("take another --digitalocean-region"));
    }
    Err(no_size(&regions, region, &wish.size))
}

fn no_size(regions: &[Region], region: &Region, size: &str) -> DriverError {
    let elsewhere: Vec<_> = regions
        .iter()
        .filter(|other| other.sizes.iter().any(|one| one == size))
        .map(|other| other.slug.as_str())
        .collect();
    let hint = if elsewhere.is_empty() {
        format!("in region {:?} there are {}", region.slug, region.sizes.join(", "))
    } else {
        format!("this size can be had in {}", elsewhere.join(", "))
    };
    unmet(format!("there is no size {size:?} in region {:?}", region.slug)).with_hint(hint)
}

/// An image that the user named: is it there, and in the region? Ours is not asked for.
async fn image(cloud: &Cloud<'_>, wish: &DigitalOceanState) -> Result<(), DriverError> {
    if wish.image == DEFAULT_IMAGE {
        return Ok(());
    }
    let image = cloud.image(&wish.image).await;
    let Some(image) = image.map_err(|error| explain("the image can't be looked up", &error))? else {
        return Err(unmet(format!("there is no image {:?}", wish.image)).with_hint(
            "`doctl compute image list --public` lists the slugs; an image of yours has a number",
        ));
    };
    if matches!(image.status.as_str(), "deleted" | "retired") {
        return Err(unmet(format!("the image {:?} is {}", wish.image, image.status)));
    }
    if !image.regions.contains(&wish.region) {
        return Err(unmet(format!("the image {:?} is not in region {:?}", wish.image, wish.region))
            .with_hint(format!("it is in {}", image.regions.join(", "))));
    }
    Ok(())
}

async fn key(cloud: &Cloud<'_>, wish: &DigitalOceanState) -> Result<(), DriverError> {
    let named = &wish.ssh_key_fingerprint;
    if named.is_empty() {
        return Ok(());
    }
    match cloud.key(named).await.map_err(|error| explain("the SSH key can't be looked up", &error))? {
        Some(_) => Ok(()),
        None => Err(unmet(format!("Digital Ocean SSH key with fingerprint {named} doesn't exist"))
            .with_hint("`doctl compute ssh-key list` lists the keys of the account: name one by number or MD5 fingerprint")),
    }
}

async fn vpc(cloud: &Cloud<'_>, wish: &DigitalOceanState) -> Result<(), DriverError> {
    if wish.vpc_uuid.is_empty() {
        return Ok(());
    }
    let vpc = cloud.vpc(&wish.vpc_uuid).await;
    match vpc.map_err(|error| explain("the VPC can't be looked up", &error))? {
        None => {
            Err(unmet(format!("there is no VPC {}", wish.vpc_uuid)).with_hint("`doctl vpcs list` lists them"))
        }
        Some(vpc) if vpc.region != wish.region => {
            Err(unmet(format!("the VPC {} is in region {:?}", wish.vpc_uuid, vpc.region))
                .with_hint(format!("give --digitalocean-region {}", vpc.region)))
        }
        Some(_) => Ok(()),
    }
}
