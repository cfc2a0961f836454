//! Can a machine be made? What Azure tells before anything is made: names, sizes, images, quota.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use machine_core::{Cx, DriverError, ErrorKind, Event};
use serde_json::Value;

use super::arm::Arm;
use super::create::{self, MAX_CUSTOM_DATA};
use super::firewall;
use super::flags::CUSTOM_DATA;
use super::image::{self, Image, is_arm};
use super::model::{Plain, Resource, SecurityGroup, Sku, Usage};
use super::names::{Names, same};
use super::state::AzureState;
use crate::cloud;

fn unmet(text: String, hint: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Precreate, text).with_hint(hint)
}

/// Looks at what needs nobody: files.
pub(super) fn files(state: &AzureState) -> Result<(), DriverError> {
    let path = &state.custom_data_file;
    if !path.is_empty() && !std::path::Path::new(path).exists() {
        return Err(unmet(
            format!("custom-data file {path} could not be found"),
            format!("--{CUSTOM_DATA} takes the path of a file for cloud-init"),
        ));
    }
    let size = cloud::user_data(CUSTOM_DATA, path)?.map_or(0, |data| data.expose().len());
    if size > MAX_CUSTOM_DATA {
        return Err(unmet(
            format!("--{CUSTOM_DATA}: {path}: {size} bytes, and Azure takes {MAX_CUSTOM_DATA}"),
            "make it smaller, or have it fetch the rest",
        ));
    }
    Ok(())
}

/// What was found free a moment ago, by the id of the machine to be: whether its resource group is there. A create that
/// follows at once need not look again.
#[derive(Debug, Default)]
pub(super) struct Looked(Mutex<BTreeMap<String, (Instant, bool)>>);

impl Looked {
    /// Keeps what a look has found.
    pub(super) fn keep(&self, vm: &str, group: bool) {
        self.lock().insert(vm.to_owned(), (Instant::now(), group));
    }

    /// What was found, once; `None` where nobody has looked, or not lately.
    pub(super) fn take(&self, vm: &str) -> Option<bool> {
        let (when, group) = self.lock().remove(vm)?;
        (when.elapsed() < LATELY).then_some(group)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, bool)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For how long a look holds.
const LATELY: Duration = Duration::from_secs(120);

/// Asks Azure, everything at the same time. Whether the resource group is there.
pub(super) async fn check(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<bool, DriverError> {
    firewall::networks(state, cx.allow_from, cx.report)?;
    if cx.narrowed_later {
        firewall::has_own_rules(state)?;
    }
    let names = Names::of(state, &arm.subscription);
    let (group, sku, image, usages, nsg) = tokio::join!(
        names_are_free(arm, state, &names),
        size(arm, cx, state),
        image(arm, cx, state),
        usages(arm, cx, state),
        nsg(arm, cx, state, &names),
    );
    let group = group?;
    let sku = sku?;
    image?;
    nsg?;
    if let Some((sku, usages)) = sku.zip(usages?) {
        quota(state, &sku, &usages)?;
    }
    Ok(group)
}

/// Nobody has the machine's names, not even with our mark: no record knows of it then. Whether the resource group is there.
/// Lists are minutes behind: what is new is not in them, so the machine is looked at itself; what is gone still is, so what
/// they show is looked at again.
async fn names_are_free(arm: &Arm<'_>, state: &AzureState, names: &Names) -> Result<bool, DriverError> {
    let doing = format!("the resource group {:?} can't be looked at", state.resource_group);
    let filter = format!("substringof('{}', name)", state.base.machine_name);
    let (inside, named) = (format!("{}/resources", names.group), [("$filter", filter.as_str())]);
    let (vm, alike) = tokio::join!(
        arm.get::<Resource<Plain>>(&doing, &names.vm, &[]),
        arm.list::<Resource<Plain>>(&doing, &inside, &named),
    );
    if vm?.is_some() {
        return Err(create::taken(state, names, &names.vm));
    }
    let Some(alike) = alike? else { return Ok(false) };
    let own = names.own(state);
    for thing in alike.iter().filter(|thing| own.iter().any(|id| same(id, &thing.id))) {
        if arm.get::<Resource<Plain>>(&doing, &thing.id, &[]).await?.is_some() {
            return Err(create::taken(state, names, &thing.id));
        }
    }
    Ok(true)
}

/// Only those who may read what lies outside of the resource group learn of it beforehand; the others when the machine is
/// made. `None` where it is not known.
pub(super) fn if_allowed<T>(cx: &Cx<'_>, asked: Result<T, DriverError>) -> Result<Option<T>, DriverError> {
    match asked {
        Err(error)
            if error.kind() == ErrorKind::Credentials
                && error.to_string().contains("AuthorizationFailed") =>
        {
            cx.report.report(Event::Debug(format!("azure: {error}")));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// The size, where the region sells it to this subscription.
async fn size(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<Option<Sku>, DriverError> {
    let id = format!("{}/providers/Microsoft.Compute/skus", arm.subscription);
    let filter = format!("location eq '{}'", state.location);
    let doing = format!("the sizes of the region {:?} can't be listed", state.location);
    let asked = arm.list::<Sku>(&doing, &id, &[("$filter", &filter)]).await;
    let Some(mut skus) = if_allowed(cx, asked)?.flatten() else { return Ok(None) };
    skus.retain(|sku| sku.resource_type.eq_ignore_ascii_case("virtualMachines"));
    if skus.is_empty() {
        return Err(unmet(
            format!(
                "there is no region {:?}, or none with virtual machines for this subscription",
                state.location
            ),
            "check --azure-location: `az account list-locations -o table` shows the regions",
        ));
    }
    let size = &state.size;
    match skus.iter().position(|sku| sku.name.eq_ignore_ascii_case(size)) {
        Some(at) => {
            let sku = skus.swap_remove(at);
            fits(state, &sku)?;
            Ok(Some(sku))
        }
        None => {
            let like = alike(&skus, size);
            Err(unmet(
                format!("there is no size {size:?} in the region {:?}", state.location),
                format!("take another --azure-size, e.g. {like}"),
            ))
        }
    }
}

/// A few sizes that can be had, those with a similar name first.
fn alike(skus: &[Sku], size: &str) -> String {
    let open = skus.iter().filter(|sku| sku.restrictions.is_empty());
    let mut names: Vec<&str> = open.map(|sku| sku.name.as_str()).collect();
    let common = |name: &str| {
        let pairs = name.bytes().zip(size.bytes());
        pairs.take_while(|(one, other)| one.eq_ignore_ascii_case(other)).count()
    };
    names.sort_by_key(|name| (std::cmp::Reverse(common(name)), name.len(), *name));
    names.truncate(4);
    names.join(", ")
}

/// Whether what is wished can be had of this size.
fn fits(state: &AzureState, sku: &Sku) -> Result<(), DriverError> {
    let (size, region, zone) = (&state.size, &state.location, &state.availability_zone);
    let elsewhere = "`az vm list-skus -l REGION --zone -o table` shows what can be had where";
    if sku.restrictions.iter().any(|restriction| restriction.kind == "Location") {
        return Err(DriverError::new(
            ErrorKind::Quota,
            format!("the size {size:?} is not to be had for this subscription in the region {region:?} (NotAvailableForSubscription)"),
        )
        .with_hint(format!("take another --azure-size or --azure-location; {elsewhere}")));
    }
    let barred = sku.restrictions.iter().any(|one| one.restriction_info.zones.contains(zone));
    let has = sku.location_info.iter().any(|info| info.zones.contains(zone));
    if !zone.is_empty() && (barred || !has) {
        return Err(unmet(
            format!("the size {size:?} is not to be had in zone {zone} of the region {region:?}"),
            format!("take another --azure-availability-zone; {elsewhere}"),
        ));
    }
    // A capability that is not told is there, as far as anybody knows.
    let lacks = |name: &str| sku.capability(name).eq_ignore_ascii_case("false");
    for (wished, capability, flag) in [
        (state.accelerated_networking, "AcceleratedNetworkingEnabled", "azure-accelerated-networking"),
        (state.encryption_at_host, "EncryptionAtHostSupported", "azure-encryption-at-host"),
        (state.spot, "LowPriorityCapable", "azure-spot"),
        (state.storage_type.starts_with("Premium"), "PremiumIO", "azure-storage-type"),
    ] {
        if wished && lacks(capability) {
            return Err(unmet(
                format!("--{flag}: the size {size:?} can't do that"),
                "take another --azure-size, or leave the flag away",
            ));
        }
    }
    if sku.capability("HyperVGenerations").eq_ignore_ascii_case("V1") && state.image == image::UBUNTU {
        return Err(unmet(
            format!(
                "the size {size:?} starts images of generation 1 only, and {:?} is of generation 2",
                state.image
            ),
            format!("give --azure-image {}, or another --azure-size", image::UBUNTU_GEN1),
        ));
    }
    if sku.capability("CpuArchitectureType") == "Arm64"
        && !is_arm(size)
        && image::facts(&state.image).is_some()
    {
        return Err(unmet(
            format!("the size {size:?} has ARM processors, and the image {:?} is for others", state.image),
            "give an --azure-image for arm64",
        ));
    }
    Ok(())
}

/// The image can be had in the region.
async fn image(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<(), DriverError> {
    let doing = format!("the image {:?} can't be looked up", state.image);
    let missing = || {
        unmet(
            format!("there is no image {:?} in the region {:?}", state.image, state.location),
            format!("`docker-machine azure vm image list --location {}` shows images", state.location),
        )
    };
    let found = match Image::parse(&state.image)? {
        Image::Urn([publisher, offer, sku, version]) => {
            let versions = format!(
                "{}/providers/Microsoft.Compute/locations/{}/publishers/{publisher}/artifacttypes/vmimage/offers/{offer}/skus/{sku}/versions",
                arm.subscription, state.location
            );
            if version.eq_ignore_ascii_case("latest") {
                let query = [("$top", "1"), ("$orderby", "name desc")];
                let versions = arm.get::<Vec<Value>>(&doing, &versions, &query).await;
                versions.map(|versions| versions.is_some_and(|versions| !versions.is_empty()))
            } else {
                let version = arm.get::<Value>(&doing, &format!("{versions}/{version}"), &[]).await;
                version.map(|version| version.is_some())
            }
        }
        Image::Id(id) => arm.get::<Value>(&doing, id, &[]).await.map(|image| image.is_some()),
        // Whether one may read what others share is not the same as whether one may use it.
        Image::Shared(_) | Image::Community(_) => return Ok(()),
    };
    match if_allowed(cx, found)? {
        Some(false) => Err(missing()),
        Some(true) | None => Ok(()),
    }
}

async fn nsg(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState, names: &Names) -> Result<(), DriverError> {
    if !state.nsg.starts_with('/') {
        return Ok(());
    }
    let doing = "the network security group can't be looked at";
    match if_allowed(cx, arm.get::<Resource<SecurityGroup>>(doing, &names.nsg, &[]).await)? {
        Some(None) => Err(create::no_such_group(&state.nsg)),
        Some(Some(_)) | None => Ok(()),
    }
}

async fn usages(arm: &Arm<'_>, cx: &Cx<'_>, state: &AzureState) -> Result<Option<Vec<Usage>>, DriverError> {
    let id = format!("{}/providers/Microsoft.Compute/locations/{}/usages", arm.subscription, state.location);
    Ok(if_allowed(cx, arm.list("the quota can't be looked at", &id, &[]).await)?.flatten())
}

/// Whether there is room for as many processors as the size has.
fn quota(state: &AzureState, sku: &Sku, usages: &[Usage]) -> Result<(), DriverError> {
    let Ok(wanted) = sku.capability("vCPUs").parse::<i64>() else { return Ok(()) };
    let kinds = if state.spot { vec!["lowPriorityCores"] } else { vec!["cores", sku.family.as_str()] };
    for usage in
        usages.iter().filter(|usage| kinds.iter().any(|kind| usage.name.value.eq_ignore_ascii_case(kind)))
    {
        if usage.current_value + wanted > usage.limit {
            return Err(DriverError::new(
                ErrorKind::Quota,
                format!(
                    "the size {:?} has {wanted} processors, and of {} in the region {:?} the subscription uses {} of {}",
                    state.size, usage.name.value, state.location, usage.current_value, usage.limit
                ),
            )
            .with_hint("take another --azure-size or --azure-location, remove what is not needed, or ask for more: Quotas in Azure's portal"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::azure::model::UsageName;

    #[test]
    fn similar_sizes_are_named() {
        let sku = |name: &str| Sku { name: name.into(), ..Sku::default() };
        let skus =
            [sku("Standard_E2s_v5"), sku("Standard_D2s_v6"), sku("Standard_D4s_v5"), sku("Standard_B1s")];
        assert!(alike(&skus, "Standard_D2s_v9").starts_with("Standard_D2s_v6, Standard_D4s_v5"));
    }

    #[test]
    fn quota_is_counted_in_processors() {
        let state = AzureState { size: "x".into(), ..AzureState::default() };
        let mut sku: Sku = serde_json::from_str(
            r#"{"family":"standardDSv5Family","capabilities":[{"name":"vCPUs","value":"2"}]}"#,
        )
        .unwrap();
        let usage = |name: &str, current_value, limit| Usage {
            name: UsageName { value: name.into() },
            current_value,
            limit,
        };
        quota(&state, &sku, &[usage("cores", 8, 10), usage("standardBSFamily", 10, 10)]).unwrap();
        let error = quota(&state, &sku, &[usage("StandardDSv5Family", 9, 10)]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota);
        sku.family.clear();
        quota(&state, &sku, &[usage("standardDSv5Family", 9, 10)]).unwrap();
    }
}
