//! Can `create` succeed? What can be asked is asked at once.

use machine_core::{Cx, DriverError, ErrorKind, Event};
use serde::Deserialize;
use tokio::try_join;

use super::api::{Compute, Disk};
use super::create::{existing, is_address_name, no_subnetwork, reserved};
use super::state::GoogleState;
use super::{firewall, flags, instance, location, observe};
use crate::cloud::{self, STORE_KEY};

/// A machine type, as far as it matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct MachineType {
    architecture: String,
}

/// An image, likewise.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Image {
    name: String,
    architecture: String,
    disk_size_gb: String,
    deprecated: Deprecation,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Deprecation {
    state: String,
}

fn unmet(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Precreate, text)
}

/// What can be seen without asking anybody.
pub(super) fn locally(cx: &Cx<'_>, state: &GoogleState) -> Result<(), DriverError> {
    if !instance::is_name(state.name()) {
        return Err(unmet(format!("{:?} is no name that Google takes for a machine", state.name()))
            .with_hint(
                "small letters, digits and dashes, at most 63, a letter first and no dash last (RFC 1035)",
            ));
    }
    firewall::reachable(cx.allow_from)?;
    if !cx.allow_from.is_empty() && state.skip_firewall {
        return Err(unmet(
            "--allow-from needs firewall rules, and --google-skip-firewall-create forbids them",
        ));
    }
    instance::given_metadata(state)?;
    cloud::user_data("google-userdata", &state.userdata)?;
    Ok(())
}

/// What the provider must say.
pub(super) async fn remotely(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    state: &GoogleState,
) -> Result<(), DriverError> {
    if state.use_existing {
        if !state.unheeded_flags.is_empty() {
            cx.report.report(Event::Warning(format!(
                "--google-use-existing takes the instance as it is; these do nothing: --{}",
                state.unheeded_flags.join(", --")
            )));
        }
        return existing(compute, state).await.map(drop);
    }
    let ((), (), architecture, image, (), ()) = try_join!(
        name_is_free(compute, state),
        disk_is_free(compute, cx, state),
        machine_type(compute, state),
        image(compute, state),
        address(compute, state),
        subnetwork(compute, state),
    )?;
    image.map_or(Ok(()), |image| fits(cx, state, &image, &architecture))
}

async fn name_is_free(compute: &Compute<'_>, state: &GoogleState) -> Result<(), DriverError> {
    match observe::find(compute, state).await? {
        None => Ok(()),
        Some(there) => {
            let (name, zone) = (state.name(), location::last(&there.zone));
            let zone = if zone.is_empty() { state.zone.as_str() } else { zone };
            Err(unmet(format!("instance {name:?} already exists in zone {zone:?}"))
                .with_hint("take another name, or take the instance over with --google-use-existing"))
        }
    }
}

/// An instance may be gone and have left its disk, which the Go driver would start the machine from.
async fn disk_is_free(compute: &Compute<'_>, cx: &Cx<'_>, state: &GoogleState) -> Result<(), DriverError> {
    let Some(zone) = state.zone() else { return Ok(()) };
    let name = state.disk();
    let path = compute.own(&format!("zones/{zone}/disks/{name}"));
    let found = compute.get("the disk can't be looked up", &path, "name,labels,users").await?;
    let Some(disk): Option<Disk> = found else { return Ok(()) };
    let error = unmet(format!("a disk of the name {name:?} is in zone {zone:?} already"));
    if let Some(user) = disk.users.first().map(|user| location::last(user)) {
        if user == state.name() {
            // The instance itself is there: that is said instead.
            return Ok(());
        }
        return Err(error.with_hint(format!("it is the disk of the instance {user:?}: take another name")));
    }
    let ours = disk.labels.get(STORE_KEY).is_some_and(|store| store == cx.store_id);
    let remove = match ours {
        true => "`docker-machine gc --yes`".to_owned(),
        false => format!("`gcloud compute disks delete {name} --zone {zone}`"),
    };
    Err(error.with_hint(format!("take another name; or, if nothing on it is needed, {remove} removes it")))
}

/// The architecture of the machine type; empty where nobody knows. The driver's own is in every zone. Where the provider is to choose the zone, it is asked
/// for in the first that is wished for.
async fn machine_type(compute: &Compute<'_>, state: &GoogleState) -> Result<String, DriverError> {
    let wished = state.location_zones.iter().find(|zone| !zone.to_uppercase().ends_with(":DENY"));
    let wished = wished.and_then(|zone| zone.split(':').next());
    let Some(zone) = state.zone().or(wished) else { return Ok(String::new()) };
    let name = state.flex_machine_types.first().unwrap_or(&state.machine_type);
    if name == flags::MACHINE_TYPE {
        return Ok("X86_64".to_owned());
    }
    let path = compute.own(&format!("zones/{zone}/machineTypes/{name}"));
    let found: Option<MachineType> =
        compute.get("the machine type can't be looked up", &path, "architecture").await?;
    match found {
        Some(found) => Ok(found.architecture),
        None if state.flex_machine_types.len() > 1 => Ok(String::new()),
        None => Err(unmet(format!("there is no machine type {name:?} in zone {zone:?}")).with_hint(
            "`gcloud compute machine-types list --zones ZONE` shows what there is; take it with --google-machine-type",
        )),
    }
}

/// The image that the user named. The driver's own is not asked for: it is there.
async fn image(compute: &Compute<'_>, state: &GoogleState) -> Result<Option<Image>, DriverError> {
    if flags::is_default_image(&state.machine_image) {
        return Ok(None);
    }
    let path = format!("projects/{}", state.machine_image);
    let fields = "name,architecture,diskSizeGb,deprecated/state";
    let found = compute.get("the image can't be looked up", &path, fields).await?;
    found.map(Some).ok_or_else(|| {
        unmet(format!("--google-machine-image: there is no image {:?}", state.machine_image))
            .with_hint("`gcloud compute images list` shows what there is; old images go, families stay: PROJECT/global/images/family/FAMILY")
    })
}

/// Whether the image goes with the machine type and the disk.
fn fits(cx: &Cx<'_>, state: &GoogleState, image: &Image, architecture: &str) -> Result<(), DriverError> {
    let known = !image.architecture.is_empty() && !architecture.is_empty();
    if known && image.architecture != architecture {
        let text = format!(
            "the image {:?} is for {}, machines of the type {:?} are {architecture}",
            image.name, image.architecture, state.machine_type
        );
        return Err(
            unmet(text).with_hint("take an image of the machine's architecture, e.g. one ending with -arm64")
        );
    }
    let least: i64 = image.disk_size_gb.parse().unwrap_or(0);
    if least > state.disk_size {
        let text = format!(
            "the image {:?} needs a disk of {least} GB, --google-disk-size is {}",
            image.name, state.disk_size
        );
        return Err(unmet(text).with_hint(format!("give --google-disk-size {least} or more")));
    }
    match image.deprecated.state.as_str() {
        "DEPRECATED" => cx.report.report(Event::Warning(format!(
            "the image {:?} is deprecated: it works, and will go some day",
            image.name
        ))),
        "OBSOLETE" | "DELETED" => {
            return Err(unmet(format!("the image {:?} is {}", image.name, image.deprecated.state))
                .with_hint("take a newer one, best by its family: PROJECT/global/images/family/FAMILY"));
        }
        _ => {}
    }
    Ok(())
}

async fn address(compute: &Compute<'_>, state: &GoogleState) -> Result<(), DriverError> {
    if state.address.is_empty() || !is_address_name(&state.address) {
        return Ok(());
    }
    let found = reserved(compute, state).await?;
    if found.status == "IN_USE" {
        let user = found.users.first().map_or("something else", |user| location::last(user));
        return Err(unmet(format!("--google-address: {:?} is in use by {user}", state.address))
            .with_hint("give one that is free; `gcloud compute addresses list` shows them"));
    }
    Ok(())
}

async fn subnetwork(compute: &Compute<'_>, state: &GoogleState) -> Result<(), DriverError> {
    let Some(path) = location::subnetwork(state) else { return Ok(()) };
    let found: Option<serde_json::Value> =
        compute.get("the subnetwork can't be looked up", &path, "network").await?;
    found.map(drop).ok_or_else(|| no_subnetwork(state))
}
