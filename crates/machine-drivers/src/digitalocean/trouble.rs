//! What DigitalOcean's refusals mean.

use machine_core::{DriverError, ErrorKind};
use machine_http::api::{ApiError, Refusal};

use crate::cloud::{self, Reading, hint};

const CREDENTIALS: &str = "give a token by --digitalocean-access-token or DIGITALOCEAN_ACCESS_TOKEN; \
     https://cloud.digitalocean.com/account/api/tokens makes one. For a machine that is there already, \
     put the new token into AccessToken of its config.json";
const SCOPES: &str = "the token may not do this: it needs the scopes that docs/drivers/digitalocean.md lists, or full access; \
     an account that is locked or not paid for is refused in the same way: look at https://cloud.digitalocean.com";

const READING: Reading = Reading { credentials: CREDENTIALS, refine };

/// An error for a call that failed while something was done, e.g. `the droplet can't be made`.
pub(super) fn explain(doing: &str, error: &ApiError) -> DriverError {
    cloud::trouble(&READING, doing, error)
}

/// DigitalOcean has one code for everything that it can't do (`unprocessable_entity`); its words tell them apart.
fn refine(refusal: &Refusal) -> Option<(ErrorKind, &'static str)> {
    let said = refusal.message.to_lowercase();
    let says = |words: &[&str]| words.iter().all(|word| said.contains(word));
    if refusal.status == 403 {
        return Some((ErrorKind::Credentials, SCOPES));
    }
    if says(&["droplet limit"]) || says(&["limit", "exceed"]) {
        return Some((ErrorKind::Quota, hint::QUOTA));
    }
    if refusal.status != 422 && refusal.status != 400 {
        return None;
    }
    if is_busy(refusal) {
        return Some((
            ErrorKind::Unavailable,
            "something else is being done to the droplet: try again in a minute",
        ));
    }
    if says(&["not available"]) || says(&["unavailable"]) || says(&["capacity"]) {
        return Some((
            ErrorKind::Quota,
            "there is no room for this now: take another --digitalocean-region or --digitalocean-size",
        ));
    }
    let config = |words: &[&str], hint| says(words).then_some((ErrorKind::Config, hint));
    config(&["size"], "`doctl compute size list` lists the sizes for --digitalocean-size")
        .or_else(|| config(&["region"], "`doctl compute region list` lists the regions for --digitalocean-region"))
        .or_else(|| config(&["image"], "`doctl compute image list --public` lists the images for --digitalocean-image"))
        .or_else(|| config(&["key"], "`doctl compute ssh-key list` lists the keys for --digitalocean-ssh-key-fingerprint"))
        .or_else(|| config(&["vpc"], "`doctl vpcs list` lists the networks for --digitalocean-vpc-uuid; it must be in the same region"))
}

/// Whether the droplet takes nothing because something is being done to it.
pub(super) fn is_busy(refusal: &Refusal) -> bool {
    refusal.status == 422 && refusal.message.to_lowercase().contains("pending event")
}
