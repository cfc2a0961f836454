//! Which images there are.

use std::path::Path;

use machine_core::{DriverError, DriverState, ErrorKind, Reporter};
use serde::Deserialize;

use super::Azure;
use super::arm::Arm;
use super::state::AzureState;

/// The publishers of systems on which an engine runs. All publishers have a hundred thousand images.
pub const PUBLISHERS: [&str; 8] =
    ["almalinux", "Canonical", "Debian", "kinvolk", "MicrosoftCBLMariner", "Oracle", "RedHat", "SUSE"];
/// How many lists are asked for at the same time.
const LANES: usize = 6;

/// An image that a region has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MarketplaceImage {
    /// Who makes it, e.g. `Canonical`.
    pub publisher: String,
    /// What it is, e.g. `ubuntu-24_04-lts`.
    pub offer: String,
    /// Which of these, e.g. `server`.
    pub sku: String,
}

impl MarketplaceImage {
    /// As `--azure-image` takes it, the newest version.
    #[must_use]
    pub fn urn(&self) -> String {
        format!("{}:{}:{}:latest", self.publisher, self.offer, self.sku)
    }
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

/// Lists the images of publishers in a region. The state is what [`machine_core::Driver::configure`] makes of flags: it
/// has the subscription, the credentials and the region.
///
/// # Errors
/// [`ErrorKind::Precreate`] where there is no such region or publisher; what Azure says.
pub async fn images(
    state: &DriverState,
    publishers: &[String],
    store: &Path,
    report: &dyn Reporter,
) -> Result<Vec<MarketplaceImage>, DriverError> {
    let state = AzureState::of_machine(state)?;
    let azure = Azure::new();
    let arm = azure.arm(&state, store, report, true).await?;
    let publishers_id =
        format!("{}/providers/Microsoft.Compute/locations/{}/publishers", arm.subscription, state.location);
    let mut offers = Vec::new();
    for publisher in publishers {
        let id = format!("{publishers_id}/{publisher}/artifacttypes/vmimage/offers");
        for offer in names(&arm, &id).await? {
            offers.push((publisher.clone(), offer));
        }
    }
    if offers.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("no images of {} are to be had in {:?}", publishers.join(", "), state.location),
        )
        .with_hint("`az vm image list-publishers --location REGION -o table` shows all publishers"));
    }
    let lane = |number: usize| lane(&arm, &publishers_id, &offers, number);
    let (a, b, c, d, e, f) = tokio::join!(lane(0), lane(1), lane(2), lane(3), lane(4), lane(5));
    let mut images = [a?, b?, c?, d?, e?, f?].concat();
    images.sort();
    Ok(images)
}

/// Every sixth offer's images.
async fn lane(
    arm: &Arm<'_>,
    publishers: &str,
    offers: &[(String, String)],
    number: usize,
) -> Result<Vec<MarketplaceImage>, DriverError> {
    let mut images = Vec::new();
    for (publisher, offer) in offers.iter().skip(number).step_by(LANES) {
        let id = format!("{publishers}/{publisher}/artifacttypes/vmimage/offers/{offer}/skus");
        for sku in names(arm, &id).await? {
            images.push(MarketplaceImage { publisher: publisher.clone(), offer: offer.clone(), sku });
        }
    }
    Ok(images)
}

async fn names(arm: &Arm<'_>, id: &str) -> Result<Vec<String>, DriverError> {
    let named: Option<Vec<Named>> = arm.get("the images can't be listed", id, &[]).await?;
    Ok(named.unwrap_or_default().into_iter().map(|one| one.name).collect())
}
