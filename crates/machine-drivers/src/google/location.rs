//! Names and paths of things at Google, as flags give them and as requests want them.

use machine_core::{DriverError, ErrorKind};

use super::state::GoogleState;

/// What stands before a path in an absolute address.
const PREFIXES: [&str; 4] = [
    "https://www.googleapis.com/compute/v1/",
    "https://compute.googleapis.com/compute/v1/",
    "https://www.googleapis.com/compute/beta/",
    "//compute.googleapis.com/",
];

/// A zone that may be taken.
pub(super) const ALLOW: &str = "ALLOW";
/// A zone that is to be taken before others. There is no such thing at Google.
pub(super) const PREFERRED: &str = "PREFERRED";

fn wrong(text: String) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

/// Checks a word that becomes a part of a path, e.g. a zone. `example.com:project` is a project too.
pub(super) fn check_path_word(flag: &str, word: &str) -> Result<(), DriverError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if word.is_empty() || !word.bytes().all(good) || word.bytes().all(|b| b == b'.') {
        return Err(wrong(format!("--{flag}: {word:?} is no name"))
            .with_hint("give the short name, e.g. us-central1-a, e2-medium, pd-balanced"));
    }
    Ok(())
}

/// The last part of a path or address.
pub(super) fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// A path without the address of the API before it.
fn bare(path: &str) -> &str {
    PREFIXES.iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path).trim_matches('/')
}

/// An image as the state keeps it, `PROJECT/global/images/[family/]NAME`: from that, with `projects/` or an address
/// before it, from `global/images/…` of the own project, and from `PROJECT/FAMILY`.
pub(super) fn image(given: &str, project: &str) -> Result<String, DriverError> {
    let path = bare(given);
    let path = path.strip_prefix("projects/").unwrap_or(path);
    let words: Vec<&str> = path.split('/').collect();
    let image = match words.as_slice() {
        [_, "global", "images", _] | [_, "global", "images", "family", _] => path.to_owned(),
        ["global", "images", ..] if words.len() < 5 => format!("{project}/{path}"),
        [from, family] => format!("{from}/global/images/family/{family}"),
        _ => String::new(),
    };
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.:/".contains(&b);
    if image.is_empty() || image.contains("//") || image.ends_with('/') || !image.bytes().all(good) {
        return Err(wrong(format!("--google-machine-image: {given:?} is no image"))
            .with_hint("give PROJECT/global/images/NAME or PROJECT/global/images/family/FAMILY; `gcloud compute images list` shows some"));
    }
    Ok(image)
}

/// Number and protocol of a port as `--google-open-port` has it: `8080`, `8080/udp`, `8000-8100/tcp`.
pub(super) fn port(given: &str) -> Result<(String, String), DriverError> {
    let (ports, protocol) = given.split_once('/').unwrap_or((given, "tcp"));
    let numbers: Option<Vec<u16>> =
        ports.split('-').map(|port| port.parse().ok().filter(|p| *p > 0)).collect();
    let in_order = numbers.is_some_and(|n| n.len() == 1 || n.len() == 2 && n[0] <= n[1]);
    if !in_order || !["tcp", "udp", "sctp"].contains(&protocol) {
        return Err(wrong(format!("--google-open-port: {given:?} is no port"))
            .with_hint("give one like 8080, 53/udp or 8000-8100/tcp"));
    }
    Ok((ports.to_owned(), protocol.to_owned()))
}

/// Zone and preference of `--google-location-zone`.
pub(super) fn zone_preference(given: &str, region: &str) -> Result<(String, String), DriverError> {
    let (zone, preference) = given.split_once(':').unwrap_or((given, ALLOW));
    if zone.trim().is_empty() {
        return Err(wrong(format!(
            "--google-location-zone entry {given:?} has an empty zone (expected zone[:PREFERENCE])"
        )));
    }
    check_path_word("google-location-zone", zone)?;
    let preference = preference.to_uppercase();
    if ![ALLOW, PREFERRED, "DENY"].contains(&preference.as_str()) {
        return Err(wrong(format!(
            "--google-location-zone: {given:?}: the preference is none of ALLOW, PREFERRED and DENY"
        )));
    }
    if zone.rsplit_once('-').is_none_or(|(of, _)| of != region) {
        return Err(wrong(format!("--google-location-zone: {zone:?} is no zone of the region {region}")));
    }
    Ok((zone.to_owned(), preference))
}

/// The network's path.
pub(super) fn network(state: &GoogleState) -> String {
    if state.network.contains("/networks/") {
        return bare(&state.network).to_owned();
    }
    format!("projects/{}/global/networks/{}", state.project, state.network)
}

/// The subnetwork's path; `None` for the network's own.
pub(super) fn subnetwork(state: &GoogleState) -> Option<String> {
    if state.subnetwork.is_empty() {
        return None;
    }
    if state.subnetwork.contains("/subnetworks/") {
        return Some(bare(&state.subnetwork).to_owned());
    }
    Some(format!("projects/{}/regions/{}/subnetworks/{}", state.project, state.region(), state.subnetwork))
}

/// Whether two paths or addresses lead to the same thing.
pub(super) fn same(one: &str, other: &str) -> bool {
    bare_of_project(one) == bare_of_project(other)
}

/// From `projects/` on, whatever endpoint stands before it.
fn bare_of_project(path: &str) -> &str {
    path.find("projects/").map_or(path, |at| &path[at..])
}

/// The path of a network from its address.
pub(super) fn network_path(address: &str, project: &str) -> String {
    let path = bare_of_project(address);
    if path.starts_with("projects/") {
        path.to_owned()
    } else {
        format!("projects/{project}/global/networks/{}", last(address))
    }
}
