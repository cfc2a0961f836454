//! What an instance is to be: the bodies of the requests that make one.

use std::collections::BTreeMap;

use machine_core::{Cx, DriverError, ErrorKind};
use serde_json::{Map, Value, json};

use super::state::GoogleState;
use super::{flags, location};
use crate::cloud::{MACHINE_KEY, Mark, STORE_KEY};

/// The longest name that Google gives, characters (RFC 1035).
pub(super) const LONGEST_NAME: usize = 63;
/// The key of the metadata that cloud-init reads.
pub(super) const USER_DATA: &str = "user-data";
/// The longest value of an instance's metadata, bytes.
pub(super) const MAX_VALUE: usize = 256 * 1024;
/// The key of the metadata with the keys that may log in.
const SSH_KEYS: &str = "ssh-keys";
/// The key of the metadata by which Google's accounts log in, and keys of the metadata count for nothing.
const OS_LOGIN: &str = "enable-oslogin";
/// The longest value of metadata, bytes (Compute Engine, "Set VM metadata", limitations).
const LONGEST_VALUE: usize = 256 << 10;
/// The longest metadata in all, bytes.
const LONGEST_METADATA: usize = 512 << 10;
/// The boot disk's device, where it must have a name.
const BOOT_DEVICE: &str = "boot";
/// What the Go driver describes its machines as.
const DESCRIPTION: &str = "docker host vm";

/// Machine series with ARM processors.
const ARM: [&str; 4] = ["t2a", "c4a", "n4a", "a4x"];
/// Machine series that take no persistent disks but Hyperdisks.
const HYPERDISK_ONLY: [&str; 12] =
    ["c4", "c4a", "c4d", "n4", "n4a", "n4d", "a4", "a4x", "x4", "m4", "h4d", "g4"];

/// Machine series that can't be moved to another host while they run: with GPUs built in, or for RDMA (Compute Engine,
/// "Live migration process", limitations).
const NO_MIGRATION: [&str; 7] = ["a2", "a3", "a4", "a4x", "g2", "g4", "h4d"];

fn series(machine_type: &str) -> &str {
    machine_type.split('-').next().unwrap_or_default()
}

/// Whether machines of this type have ARM processors.
pub(super) fn is_arm(machine_type: &str) -> bool {
    ARM.contains(&series(machine_type))
}

/// Whether machines of this type take Hyperdisks only.
pub(super) fn takes_hyperdisk_only(machine_type: &str) -> bool {
    HYPERDISK_ONLY.contains(&series(machine_type))
}

/// Whether machines of this type only stop when their host is maintained: those above, TPUs, and bare metal.
fn is_unmovable(machine_type: &str) -> bool {
    let series = series(machine_type);
    let is_tpu = series.starts_with("ct") || series.starts_with("tpu");
    NO_MIGRATION.contains(&series) || is_tpu || machine_type.ends_with("-metal")
}

/// The machine types that the machine may be of.
pub(super) fn machine_types(state: &GoogleState) -> impl Iterator<Item = &String> {
    let only = std::iter::once(&state.machine_type).filter(|_| state.flex_machine_types.is_empty());
    only.chain(&state.flex_machine_types)
}

/// Why the machine can't be moved to another host while it runs, if it can't: its GPUs, or its type.
pub(super) fn unmovable(state: &GoogleState) -> Option<&str> {
    let given = Some(state.accelerator.as_str()).filter(|given| !given.is_empty());
    given.or_else(|| machine_types(state).map(String::as_str).find(|of| is_unmovable(of)))
}

/// Whether a text is a name as Google has them: RFC 1035, small letters.
pub(super) fn is_name(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase());
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    begins && text.len() <= LONGEST_NAME && text.bytes().all(good) && !text.ends_with('-')
}

fn wrong(text: String) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

/// Number and type of `count=N,type=TYPE`; `None` for none.
pub(super) fn accelerator(given: &str) -> Result<Option<(u32, &str)>, DriverError> {
    if given.is_empty() {
        return Ok(None);
    }
    let (mut count, mut kind) = (Some(1), "");
    for part in given.split(',') {
        match part.split_once('=').map(|(key, value)| (key.trim(), value.trim())) {
            Some(("count", number)) => count = number.parse().ok().filter(|count| *count > 0),
            Some(("type", name)) => kind = name,
            _ => count = None,
        }
    }
    match (count, location::check_path_word("google-accelerator", kind)) {
        (Some(count), Ok(())) => Ok(Some((count, kind))),
        _ => Err(wrong(format!(
            "--google-accelerator: {given:?} is not of the form count=N,type=TYPE, e.g. count=1,type=nvidia-tesla-t4"
        ))),
    }
}

/// `key:value` pairs as labels.
pub(super) fn labels(pairs: &[String]) -> Result<BTreeMap<String, String>, DriverError> {
    let good = |c: char| c.is_numeric() || c.is_alphabetic() && !c.is_uppercase() || "-_".contains(c);
    let mut labels = BTreeMap::new();
    for pair in pairs {
        let (key, value) = pair.split_once(':').unwrap_or((pair, ""));
        let (key, value) = (key.trim(), value.trim());
        let begins = key.chars().next().is_some_and(|c| c.is_alphabetic());
        let fits = key.chars().count() <= LONGEST_NAME && value.chars().count() <= LONGEST_NAME;
        if !begins || !fits || !key.chars().chain(value.chars()).all(good) {
            return Err(wrong(format!("{pair:?} is no label")).with_hint(
                "key:value of small letters, digits, dashes and underscores, at most 63 each, the key with a letter first",
            ));
        }
        if [STORE_KEY, MACHINE_KEY].contains(&key) {
            return Err(wrong(format!("the label {key:?} is this program's own mark")));
        }
        labels.insert(key.to_owned(), value.to_owned());
    }
    Ok(labels)
}

/// What else a request for an instance needs, looked up before.
pub(super) struct Place {
    /// The network's path; empty where the subnetwork says it.
    pub(super) network: String,
    /// The external address; empty for any.
    pub(super) address: String,
    /// Network tags.
    pub(super) tags: Vec<String>,
}

/// The labels of the instance and its disk: the user's and our mark.
fn marked(cx: &Cx<'_>, state: &GoogleState) -> Result<BTreeMap<String, String>, DriverError> {
    let mut all = labels(&state.labels)?;
    all.extend(Mark { store: state.store_id.clone(), machine: cx.name.to_string() }.pairs());
    Ok(all)
}

/// The line of the metadata `ssh-keys` by which the machine's key may log in.
pub(super) fn key_line(cx: &Cx<'_>, state: &GoogleState) -> Result<String, DriverError> {
    let key = cx
        .seed
        .map(|seed| seed.authorized_key.trim())
        .filter(|key| !key.is_empty())
        .ok_or_else(|| DriverError::new(ErrorKind::Other, "there is no public key for the machine"))?;
    // The comment is left away: Google's agent reads `google-ssh` in it as a key of another kind.
    let words: Vec<&str> = key.split_whitespace().take(2).collect();
    let user = &state.base.ssh_user;
    Ok(format!("{user}:{} {user}", words.join(" ")))
}

/// The content of a file with metadata.
fn content(key: &str, path: &str) -> Result<String, DriverError> {
    std::fs::read_to_string(path).map_err(|error| {
        DriverError::new(ErrorKind::Precreate, format!("--google-metadata-from-file {key}: {path}: {error}"))
            .with_hint("give key=PATH of a text file that can be read")
    })
}

/// The user's metadata; what stands in files is read.
pub(super) fn given_metadata(state: &GoogleState) -> Result<BTreeMap<String, String>, DriverError> {
    let mut items = state.metadata.clone();
    for (key, path) in &state.metadata_from_file {
        items.insert(key.clone(), content(key, path)?);
    }
    check_sizes(&items)?;
    Ok(items)
}

/// Checks that the provider takes metadata of these sizes.
fn check_sizes(items: &BTreeMap<String, String>) -> Result<(), DriverError> {
    let too_large = |what: String, bytes: usize, limit: usize| {
        DriverError::new(
            ErrorKind::Precreate,
            format!("{what} has {bytes} bytes, more than the {limit} that Google takes"),
        )
        .with_hint("make it smaller; let a large script be fetched by a small one")
    };
    if let Some((key, value)) = items.iter().find(|(_, value)| value.len() > LONGEST_VALUE) {
        return Err(too_large(format!("the metadata {key:?}"), value.len(), LONGEST_VALUE));
    }
    let total = items.iter().map(|(key, value)| key.len() + value.len()).sum();
    if total > LONGEST_METADATA {
        return Err(too_large("the metadata in all".to_owned(), total, LONGEST_METADATA));
    }
    Ok(())
}

/// The metadata of a new instance.
///
/// The Go driver's key `sshKeys` kept the project's keys out; Google gave it up for `ssh-keys`, which lets them in. Both
/// that and OS Login, under which keys of the metadata count for nothing, are set off for this instance, unless the user
/// says something else.
fn metadata(cx: &Cx<'_>, state: &GoogleState) -> Result<Value, DriverError> {
    let mut items = given_metadata(state)?;
    items.remove(USER_DATA);
    let line = key_line(cx, state)?;
    let keys = items.entry(SSH_KEYS.to_owned()).or_default();
    *keys = if keys.trim().is_empty() { line } else { format!("{}\n{line}", keys.trim_end()) };
    for (key, value) in [("block-project-ssh-keys", "TRUE"), (OS_LOGIN, "FALSE")] {
        items.entry(key.to_owned()).or_insert_with(|| value.to_owned());
    }
    if let Some(seed) = cx.seed.filter(|seed| !seed.user_data.is_empty()) {
        items.insert(USER_DATA.to_owned(), seed.user_data.expose().to_owned());
    }
    check_sizes(&items)?;
    let items: Vec<Value> =
        items.into_iter().map(|(key, value)| json!({ "key": key, "value": value })).collect();
    Ok(json!({ "items": items }))
}

/// Whether an instance's own metadata turns OS Login on.
pub(super) fn has_os_login(metadata: &Value) -> bool {
    let mut items = metadata["items"].as_array().into_iter().flatten();
    let on = |item: &Value| item["value"].as_str().is_some_and(|value| value.eq_ignore_ascii_case("true"));
    items.any(|item| item["key"] == OS_LOGIN && on(item))
}

/// Metadata of an instance that is there already, with the machine's key added and OS Login off; `None` where it is so.
pub(super) fn with_key(metadata: &Value, line: &str) -> Option<Value> {
    let mut metadata = metadata.as_object().cloned().unwrap_or_default();
    let before = metadata.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut items = before.clone();
    match items.iter_mut().find(|item| item["key"] == SSH_KEYS) {
        Some(item) => {
            let keys = item["value"].as_str().unwrap_or_default().trim_end().to_owned();
            if !keys.lines().any(|there| there.trim() == line) {
                let all = if keys.is_empty() { line.to_owned() } else { format!("{keys}\n{line}") };
                item["value"] = json!(all);
            }
        }
        None => items.push(json!({ "key": SSH_KEYS, "value": line })),
    }
    // The project may have it on.
    if !items.iter().any(|item| item["key"] == OS_LOGIN) {
        items.push(json!({ "key": OS_LOGIN, "value": "FALSE" }));
    }
    if items == before {
        return None;
    }
    metadata.retain(|key, _| key == "fingerprint");
    metadata.insert("items".to_owned(), Value::Array(items));
    Some(Value::Object(metadata))
}

/// How and where the machine runs.
fn scheduling(state: &GoogleState) -> Value {
    let mut scheduling = Map::new();
    if state.preemptible {
        scheduling.insert("preemptible".to_owned(), json!(true));
    }
    if state.spot {
        scheduling.insert("provisioningModel".to_owned(), json!("SPOT"));
        scheduling.insert("instanceTerminationAction".to_owned(), json!("STOP"));
    }
    if state.preemptible || state.spot {
        scheduling.insert("automaticRestart".to_owned(), json!(false));
    }
    // Of those that can't be moved Google wants to hear it, or refuses them.
    let policy = match state.maintenance_policy.as_str() {
        "" if unmovable(state).is_some() => "TERMINATE",
        policy => policy,
    };
    if !policy.is_empty() {
        scheduling.insert("onHostMaintenance".to_owned(), json!(policy));
    }
    Value::Object(scheduling)
}

/// What a zonal and a regional request have in common. In a zone `zone` is its path with a slash at its end; in a region
/// it is empty, and short names stand alone.
fn properties(
    cx: &Cx<'_>,
    state: &GoogleState,
    place: &Place,
    zone: &str,
) -> Result<Map<String, Value>, DriverError> {
    let within = |kind: &str, name: &str| match zone {
        "" => name.to_owned(),
        zone => format!("{zone}{kind}/{name}"),
    };
    let labels = marked(cx, state)?;
    let mut properties = Map::new();
    let mut set = |key: &str, value: Value| properties.insert(key.to_owned(), value);
    set("description", json!(DESCRIPTION));
    set("machineType", json!(within("machineTypes", &state.machine_type)));
    set("disks", json!([disk(state, &labels, &within("diskTypes", &state.disk_type), zone)]));
    set("networkInterfaces", json!([interface(state, place)]));
    set("tags", json!({ "items": place.tags }));
    set("labels", json!(labels));
    set("metadata", metadata(cx, state)?);
    set("scheduling", scheduling(state));
    if !state.min_cpu_platform.is_empty() {
        set("minCpuPlatform", json!(state.min_cpu_platform));
    }
    if !state.service_account.is_empty() {
        let scopes: Vec<&str> = state.scopes.split(',').map(str::trim).filter(|s| !s.is_empty()).collect();
        set("serviceAccounts", json!([{ "email": state.service_account, "scopes": scopes }]));
    }
    if let Some((count, kind)) = accelerator(&state.accelerator)? {
        let kind = within("acceleratorTypes", kind);
        set("guestAccelerators", json!([{ "acceleratorCount": count, "acceleratorType": kind }]));
    }
    Ok(properties)
}

/// The disk, which goes when the instance goes.
fn disk(state: &GoogleState, labels: &BTreeMap<String, String>, kind: &str, zone: &str) -> Value {
    let mut make = json!({
        "sourceImage": format!("projects/{}", state.machine_image),
        "diskSizeGb": state.disk_size.to_string(),
        "diskType": kind,
        "labels": labels,
    });
    // In a region the provider names the disk as the instance.
    if !zone.is_empty() {
        make["diskName"] = json!(state.disk());
    }
    if state.provisioned_iops > 0 {
        make["provisionedIops"] = json!(state.provisioned_iops.to_string());
    }
    if state.provisioned_throughput > 0 {
        make["provisionedThroughput"] = json!(state.provisioned_throughput.to_string());
    }
    json!({
        "boot": true, "autoDelete": true, "type": "PERSISTENT", "mode": "READ_WRITE", "initializeParams": make,
    })
}

fn interface(state: &GoogleState, place: &Place) -> Value {
    let mut interface = json!({});
    if !place.network.is_empty() {
        interface["network"] = json!(place.network);
    }
    if let Some(subnetwork) = location::subnetwork(state) {
        interface["subnetwork"] = json!(subnetwork);
    }
    if !state.use_internal_ip_only {
        let mut access = json!({ "type": "ONE_TO_ONE_NAT", "name": "External NAT" });
        if !place.address.is_empty() {
            access["natIP"] = json!(place.address);
        }
        interface["accessConfigs"] = json!([access]);
    }
    interface
}

/// The body of `instances.insert`.
pub(super) fn body(cx: &Cx<'_>, state: &GoogleState, place: &Place) -> Result<Value, DriverError> {
    let zone = format!("projects/{}/zones/{}/", state.project, state.zone);
    let mut body = Map::from_iter([("name".to_owned(), json!(state.name()))]);
    body.extend(properties(cx, state, place, &zone)?);
    Ok(Value::Object(body))
}

/// The disk of those among several machine types that do not take the default one; `None` where all do, or where the user
/// chose it. It stands in for the other by its device's name.
fn other_disk(cx: &Cx<'_>, state: &GoogleState) -> Result<Option<Value>, DriverError> {
    if state.disk_type != flags::DISK_TYPE || !machine_types(state).any(|of| takes_hyperdisk_only(of)) {
        return Ok(None);
    }
    let mut disk = disk(state, &marked(cx, state)?, flags::HYPERDISK, "");
    disk["deviceName"] = json!(BOOT_DEVICE);
    Ok(Some(disk))
}

/// The body of `regionInstances.bulkInsert`.
pub(super) fn bulk_body(cx: &Cx<'_>, state: &GoogleState, place: &Place) -> Result<Value, DriverError> {
    let mut properties = properties(cx, state, place, "")?;
    let mut body = json!({
        "count": "1",
        "minCount": "1",
        "perInstanceProperties": { state.name(): {} },
    });
    if !state.flex_machine_types.is_empty() {
        properties.remove("machineType");
        let other_disk = other_disk(cx, state)?;
        let ranked = state.flex_machine_types.iter().enumerate().map(|(rank, machine_type)| {
            let mut selection = json!({ "machineTypes": [machine_type], "rank": rank.to_string() });
            if let Some(disk) = other_disk.as_ref().filter(|_| takes_hyperdisk_only(machine_type)) {
                selection["disks"] = json!([disk]);
            }
            (format!("rank-{rank}"), selection)
        });
        if other_disk.is_some() {
            properties["disks"][0]["deviceName"] = json!(BOOT_DEVICE);
        }
        body["instanceFlexibilityPolicy"] = json!({ "instanceSelections": Map::from_iter(ranked) });
    }
    body["instanceProperties"] = Value::Object(properties);
    if !state.location_zones.is_empty() {
        let mut zones = Map::new();
        for given in &state.location_zones {
            let (zone, preference) = location::zone_preference(given, &state.region)?;
            // GitLab's driver has PREFERRED; the API (v1) knows ALLOW and DENY.
            let preference = if preference == location::PREFERRED { location::ALLOW } else { &preference };
            zones.insert(format!("zones/{zone}"), json!({ "preference": preference }));
        }
        body["locationPolicy"] = json!({ "locations": zones });
    }
    Ok(body)
}
