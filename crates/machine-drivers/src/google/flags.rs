//! The flags of `create`, and the wish that they make.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::{ConfigureContext, DriverError, ErrorKind, FlagSpec, FlagValues, Secret};

use super::state::{Backoff, GoogleState, pairs_of_commas};
use super::{instance, location};
use crate::base::Base;
use crate::cloud;

/// The zone where none is named.
const ZONE: &str = "us-central1-a";
/// The machine type where none is named: as much memory as the Go driver's n1-standard-1, two shared processors, about
/// two thirds of its price, and there in every zone; n1 is not.
pub(super) const MACHINE_TYPE: &str = "e2-medium";
/// The image where none is named. On ARM it is the family's sister.
pub(super) const IMAGE: &str = "ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64";
/// That sister.
const IMAGE_ARM: &str = "ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-arm64";
/// The disk where none is named: the Go driver's pd-standard of 10 GB does 8 operations a second.
pub(super) const DISK_TYPE: &str = "pd-balanced";
/// The disk of machine types that take no other.
pub(super) const HYPERDISK: &str = "hyperdisk-balanced";
/// The network where none is named.
pub(super) const NETWORK: &str = "default";
/// By what pauses grow at most.
const MAX_FACTOR: f64 = 1000.0;
const SCOPES: &str = "https://www.googleapis.com/auth/devstorage.read_only,https://www.googleapis.com/auth/logging.write,https://www.googleapis.com/auth/monitoring.write";

/// The flags that say what a new instance is to be.
const NOT_FOR_EXISTING: [&str; 21] = [
    "google-machine-type",
    "google-machine-image",
    "google-disk-size",
    "google-disk-type",
    "google-provisioned-iops",
    "google-provisioned-throughput",
    "google-min-cpu-platform",
    "google-accelerator",
    "google-maintenance-policy",
    "google-preemptible",
    "google-spot",
    "google-network",
    "google-subnetwork",
    "google-address",
    "google-service-account",
    "google-scopes",
    "google-label",
    "google-vm-labels",
    "google-metadata",
    "google-metadata-from-file",
    "google-userdata",
];

/// The flags: the Go driver's, GitLab's, Rancher's, and ours at the end.
pub(super) const FLAGS: &[FlagSpec] = &[
    FlagSpec::str("google-zone", "GOOGLE_ZONE", ZONE, "GCE Zone"),
    FlagSpec::str("google-machine-type", "GOOGLE_MACHINE_TYPE", MACHINE_TYPE, "GCE Machine Type"),
    FlagSpec::str(
        "google-machine-image",
        "GOOGLE_MACHINE_IMAGE",
        IMAGE,
        "GCE Machine Image: PROJECT/global/images/NAME, PROJECT/global/images/family/FAMILY, or an absolute URL",
    ),
    FlagSpec::str("google-username", "GOOGLE_USERNAME", "docker-user", "GCE User Name"),
    FlagSpec::str("google-project", "GOOGLE_PROJECT", "", "GCE Project"),
    FlagSpec::str(
        "google-service-account",
        "GOOGLE_SERVICE_ACCOUNT",
        "default",
        "GCE Service Account for the VM (email address)",
    ),
    FlagSpec::str(
        "google-scopes",
        "GOOGLE_SCOPES",
        SCOPES,
        "GCE Scopes (comma-separated if multiple scopes)",
    ),
    FlagSpec::int("google-disk-size", "GOOGLE_DISK_SIZE", 10, "GCE Instance Disk Size (in GB)"),
    FlagSpec::str("google-disk-type", "GOOGLE_DISK_TYPE", DISK_TYPE, "GCE Instance Disk type"),
    FlagSpec::str("google-network", "GOOGLE_NETWORK", NETWORK, "Specify network in which to provision vm"),
    FlagSpec::str(
        "google-subnetwork",
        "GOOGLE_SUBNETWORK",
        "",
        "Specify subnetwork in which to provision vm",
    ),
    FlagSpec::str("google-address", "GOOGLE_ADDRESS", "", "GCE Instance External IP"),
    FlagSpec::bool("google-preemptible", "GOOGLE_PREEMPTIBLE", "GCE Instance Preemptibility"),
    FlagSpec::str("google-tags", "GOOGLE_TAGS", "", "GCE Instance Tags (comma-separated)"),
    FlagSpec::bool(
        "google-use-internal-ip",
        "GOOGLE_USE_INTERNAL_IP",
        "Use internal GCE Instance IP rather than public one",
    ),
    FlagSpec::bool(
        "google-use-internal-ip-only",
        "GOOGLE_USE_INTERNAL_IP_ONLY",
        "Configure GCE instance to not have an external IP address",
    ),
    FlagSpec::bool(
        "google-use-existing",
        "GOOGLE_USE_EXISTING",
        "Don't create a new VM, use an existing one",
    ),
    FlagSpec::list(
        "google-open-port",
        "",
        "Make the specified port number accessible from the Internet, e.g, 8080/tcp",
    ),
    FlagSpec::str(
        "google-min-cpu-platform",
        "GOOGLE_MIN_CPU_PLATFORM",
        "",
        "The oldest processor that will do, by its friendly name, e.g. \"Intel Ice Lake\"",
    ),
    FlagSpec::int(
        "google-provisioned-iops",
        "GOOGLE_PROVISIONED_IOPS",
        0,
        "Operations a second of a Hyperdisk (0: its default)",
    ),
    FlagSpec::int(
        "google-provisioned-throughput",
        "GOOGLE_PROVISIONED_THROUGHPUT",
        0,
        "MiB a second of a Hyperdisk (0: its default)",
    ),
    FlagSpec::int(
        "google-operation-backoff-initial-interval",
        "",
        1,
        "Seconds of the first pause between two looks at an operation",
    ),
    FlagSpec::str(
        "google-operation-backoff-randomization-factor",
        "",
        "0.5",
        "How much of such a pause is left to chance, 0 to 1",
    ),
    FlagSpec::str("google-operation-backoff-multipler", "", "2", "By what such pauses grow"),
    FlagSpec::int("google-operation-backoff-max-interval", "", 30, "Seconds of the longest such pause"),
    FlagSpec::int(
        "google-operation-backoff-max-elapsed-time",
        "",
        300,
        "Seconds after which an operation is no longer waited for",
    ),
    FlagSpec::list("google-label", "", "Label of the VM and its disk, key:value (may be repeated)"),
    FlagSpec::list("google-metadata", "", "Metadata of the VM, key=value (may be repeated)"),
    FlagSpec::list(
        "google-metadata-from-file",
        "",
        "Metadata of the VM whose value is the content of a file, key=path (may be repeated)",
    ),
    FlagSpec::str(
        "google-accelerator",
        "GOOGLE_ACCELERATOR",
        "",
        "GPUs of the VM, count=N,type=TYPE, e.g. count=1,type=nvidia-tesla-t4",
    ),
    FlagSpec::str(
        "google-maintenance-policy",
        "GOOGLE_MAINTENANCE_POLICY",
        "",
        "What happens to the VM when its host is maintained: MIGRATE or TERMINATE",
    ),
    FlagSpec::bool(
        "google-skip-firewall-create",
        "GOOGLE_SKIP_FIREWALL_CREATE",
        "Make no firewall rules: the network's own let the machine be reached",
    ),
    FlagSpec::bool(
        "google-bulk-insert",
        "GOOGLE_BULK_INSERT",
        "Let Google choose the zone in --google-region, and one of --google-flex-machine-type, by what has room",
    ),
    FlagSpec::str("google-region", "GOOGLE_REGION", "", "Region for --google-bulk-insert"),
    FlagSpec::list(
        "google-flex-machine-type",
        "GOOGLE_FLEX_MACHINE_TYPE",
        "Machine type for --google-bulk-insert, best first (may be repeated)",
    ),
    FlagSpec::list(
        "google-location-zone",
        "GOOGLE_LOCATION_ZONE",
        "Zone for --google-bulk-insert, ZONE[:ALLOW|PREFERRED|DENY] (may be repeated; default: any of the region)",
    ),
    FlagSpec::str(
        "google-auth-encoded-json",
        "GOOGLE_AUTH_ENCODED_JSON",
        "",
        "Credentials: the JSON of a key, base64 or as it is (default: application default credentials)",
    )
    .secret(),
    FlagSpec::str(
        "google-external-firewall-rule-prefix",
        "GOOGLE_EXTERNAL_FIREWALL_RULE_PREFIX",
        "",
        "What the name of the firewall rule for the Internet begins with (default: the rule docker-machines)",
    ),
    FlagSpec::str(
        "google-internal-firewall-rule-prefix",
        "GOOGLE_INTERNAL_FIREWALL_RULE_PREFIX",
        "",
        "Make a firewall rule for cluster traffic between machines; its name begins with this",
    ),
    FlagSpec::str("google-userdata", "GOOGLE_USERDATA", "", "File with user data for cloud-init"),
    FlagSpec::str(
        "google-vm-labels",
        "GOOGLE_VM_LABELS",
        "",
        "Labels of the VM and its disk: key1,value1,key2,value2",
    ),
    FlagSpec::bool(
        "google-spot",
        "GOOGLE_SPOT",
        "Spot VM: cheaper, and stopped when Google needs the room (--google-preemptible also ends it after 24 h)",
    ),
    FlagSpec::str(
        "google-application-credentials",
        "GOOGLE_APPLICATION_CREDENTIALS",
        "",
        "File with credentials (default: gcloud's application default credentials, else the metadata server)",
    ),
    FlagSpec::str(
        "google-endpoint",
        "GOOGLE_ENDPOINT",
        "",
        "Address of the Compute Engine API (default: https://compute.googleapis.com)",
    ),
    FlagSpec::str(
        "google-ca-cert",
        "GOOGLE_CA_CERT",
        "",
        "File with root certificates (PEM) that are trusted besides the system's",
    ),
];

/// An error of the flags.
fn wrong(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

/// The wish.
pub(super) fn wish(cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<GoogleState, DriverError> {
    let project = flags.str("google-project");
    if project.is_empty() {
        return Err(wrong("no Google Cloud Project name specified (--google-project)")
            .with_hint("give the project's id; `gcloud projects list` shows yours"));
    }
    let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa");
    let mut state = GoogleState {
        base: Base { ssh_port: 22, ssh_key_path: key.to_string_lossy().into_owned(), ..Base::new(cx) },
        project: project.to_owned(),
        zone: flags.str("google-zone").to_owned(),
        use_existing: flags.bool("google-use-existing"),
        auth: Secret::new(flags.str("google-auth-encoded-json")),
        application_credentials: flags.str("google-application-credentials").to_owned(),
        endpoint: flags.str("google-endpoint").to_owned(),
        ca_cert: flags.str("google-ca-cert").to_owned(),
        operation_backoff_factory: Some(backoff(flags)?),
        requests: Some(BTreeMap::new()),
        ..GoogleState::default()
    };
    user(flags.str("google-username"))?.clone_into(&mut state.base.ssh_user);
    state.base.set_swarm(flags);
    location::check_path_word("google-project", &state.project)?;
    location::check_path_word("google-zone", &state.zone)?;
    if !state.endpoint.is_empty() {
        cloud::endpoint("google-endpoint", &state.endpoint, "")?;
    }
    firewall(flags, &mut state)?;
    reach(flags, &mut state)?;
    if state.use_existing {
        let given = NOT_FOR_EXISTING.iter().filter(|flag| flags.is_set(flag));
        state.unheeded_flags = given.map(|flag| (*flag).to_owned()).collect();
    } else {
        machine(flags, &mut state)?;
        network(flags, &mut state)?;
        guest(flags, &mut state)?;
    }
    bulk(flags, &mut state)?;
    if let Some(what) = instance::unmovable(&state).filter(|_| state.maintenance_policy == "MIGRATE") {
        return Err(wrong(format!(
            "--google-maintenance-policy: a machine of {what} can't be moved to another host, only stopped"
        ))
        .with_hint("leave it out, or give TERMINATE"));
    }
    Ok(state)
}

/// The login name stands before the key in the metadata, separated by a colon.
fn user(name: &str) -> Result<&str, DriverError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    let begins = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    if !begins || !name.bytes().all(good) || name.len() > 32 {
        return Err(wrong(format!("--google-username: {name:?} is no login name")));
    }
    Ok(name)
}

fn machine(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.machine_type = flags.str("google-machine-type").to_owned();
    location::check_path_word("google-machine-type", &state.machine_type)?;
    state.machine_image = location::image(flags.str("google-machine-image"), &state.project)?;
    // Of several types it is said in `bulk`.
    let alone = flags.list("google-flex-machine-type").is_empty();
    if state.machine_image == IMAGE && alone && instance::is_arm(&state.machine_type) {
        IMAGE_ARM.clone_into(&mut state.machine_image);
    }
    state.disk_size = flags.int("google-disk-size");
    if !(1..=65_536).contains(&state.disk_size) {
        return Err(wrong(format!("--google-disk-size: {} is no size from 1 to 65536 GB", state.disk_size)));
    }
    state.disk_type = flags.str("google-disk-type").to_owned();
    location::check_path_word("google-disk-type", &state.disk_type)?;
    if state.disk_type == DISK_TYPE && alone && instance::takes_hyperdisk_only(&state.machine_type) {
        HYPERDISK.clone_into(&mut state.disk_type);
    }
    for (flag, into) in [
        ("google-provisioned-iops", &mut state.provisioned_iops),
        ("google-provisioned-throughput", &mut state.provisioned_throughput),
    ] {
        *into = flags.int(flag);
        if *into < 0 {
            return Err(wrong(format!("{flag} must be >= 0, got {into}")));
        }
    }
    state.min_cpu_platform = flags.str("google-min-cpu-platform").to_owned();
    state.accelerator = flags.str("google-accelerator").to_owned();
    instance::accelerator(&state.accelerator)?;
    state.maintenance_policy = flags.str("google-maintenance-policy").to_uppercase();
    if !["", "MIGRATE", "TERMINATE"].contains(&state.maintenance_policy.as_str()) {
        return Err(wrong(format!(
            "--google-maintenance-policy: {:?} is neither MIGRATE nor TERMINATE",
            state.maintenance_policy
        )));
    }
    state.preemptible = flags.bool("google-preemptible");
    state.spot = flags.bool("google-spot");
    if state.preemptible && state.spot {
        return Err(wrong(
            "--google-preemptible and --google-spot are two kinds of machines: give one of them",
        ));
    }
    Ok(())
}

fn network(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.network = flags.str("google-network").to_owned();
    state.subnetwork = flags.str("google-subnetwork").to_owned();
    for (flag, text) in [("google-network", &state.network), ("google-subnetwork", &state.subnetwork)] {
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(wrong(format!("--{flag}: {text:?} is no name and no path")));
        }
    }
    state.address = flags.str("google-address").to_owned();
    if !state.address.is_empty() && state.use_internal_ip_only {
        return Err(wrong(
            "--google-address gives the machine an external address, --google-use-internal-ip-only none: give one of them",
        ));
    }
    Ok(())
}

/// How the machine is reached, whoever made it.
fn reach(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.use_internal_ip_only = flags.bool("google-use-internal-ip-only");
    state.use_internal_ip = flags.bool("google-use-internal-ip") || state.use_internal_ip_only;
    state.tags = flags.str("google-tags").to_owned();
    for tag in state.tags.split(',').filter(|tag| !tag.is_empty()) {
        if !instance::is_name(tag) {
            return Err(wrong(format!("--google-tags: {tag:?} is no network tag"))
                .with_hint("small letters, digits and dashes, at most 63, a letter first"));
        }
    }
    Ok(())
}

fn firewall(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.open_ports = flags.list("google-open-port").to_vec();
    for port in &state.open_ports {
        location::port(port)?;
    }
    state.skip_firewall = flags.bool("google-skip-firewall-create");
    for (flag, into) in [
        ("google-external-firewall-rule-prefix", &mut state.external_firewall_rule_prefix),
        ("google-internal-firewall-rule-prefix", &mut state.internal_firewall_rule_prefix),
    ] {
        flags.str(flag).clone_into(into);
        if !into.is_empty() && !instance::is_name(into) {
            return Err(wrong(format!("--{flag}: no name of a firewall rule can begin with {into:?}"))
                .with_hint("small letters, digits and dashes, a letter first"));
        }
    }
    Ok(())
}

/// What the machine is told and called.
fn guest(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.service_account = flags.str("google-service-account").to_owned();
    state.scopes = flags.str("google-scopes").to_owned();
    state.labels = flags.list("google-label").to_vec();
    state.labels.extend(pairs_of_commas(flags.str("google-vm-labels")));
    instance::labels(&state.labels)?;
    state.metadata = metadata("google-metadata", flags)?;
    state.metadata_from_file = metadata("google-metadata-from-file", flags)?;
    state.userdata = flags.str("google-userdata").to_owned();
    let user_data = |of: &BTreeMap<String, String>| usize::from(of.contains_key(instance::USER_DATA));
    let given = user_data(&state.metadata)
        + user_data(&state.metadata_from_file)
        + usize::from(!state.userdata.is_empty());
    if given > 1 {
        return Err(wrong(
            "user data is given twice: by --google-userdata, and as metadata of the name user-data",
        ));
    }
    if let Some(key) = state.metadata.keys().find(|key| state.metadata_from_file.contains_key(*key)) {
        return Err(wrong(format!("the metadata {key:?} is given as a value and as a file")));
    }
    Ok(())
}

/// `key=value` pairs. The value may be a secret: errors do not show it.
fn metadata(flag: &str, flags: &FlagValues) -> Result<BTreeMap<String, String>, DriverError> {
    let mut pairs = BTreeMap::new();
    for given in flags.list(flag) {
        let (key, value) = given
            .split_once('=')
            .ok_or_else(|| wrong(format!("--{flag}: a value has no = between key and value")))?;
        let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
        if key.is_empty() || key.len() > 128 || !key.bytes().all(good) {
            return Err(wrong(format!("--{flag}: {key:?} is no key of metadata"))
                .with_hint("letters, digits, dashes and underscores, at most 128"));
        }
        pairs.insert(key.to_owned(), value.to_owned());
    }
    Ok(pairs)
}

fn bulk(flags: &FlagValues, state: &mut GoogleState) -> Result<(), DriverError> {
    state.bulk_insert = flags.bool("google-bulk-insert");
    state.region = flags.str("google-region").to_owned();
    state.flex_machine_types = flags.list("google-flex-machine-type").to_vec();
    state.location_zones = flags.list("google-location-zone").to_vec();
    if !state.bulk_insert {
        return match (state.flex_machine_types.is_empty(), state.location_zones.is_empty()) {
            (false, _) => Err(wrong("--google-flex-machine-type requires --google-bulk-insert")),
            (_, false) => Err(wrong("--google-location-zone requires --google-bulk-insert")),
            _ => Ok(()),
        };
    }
    if state.use_existing {
        return Err(wrong(
            "--google-bulk-insert and --google-use-existing are mutually exclusive: bulkInsert provisions a new VM",
        ));
    }
    if state.region.is_empty() {
        return Err(wrong("--google-bulk-insert requires --google-region"));
    }
    location::check_path_word("google-region", &state.region)?;
    if state.zone != ZONE {
        return Err(wrong(
            "--google-bulk-insert and --google-zone are mutually exclusive: bulkInsert picks the zone from --google-location-zone",
        ));
    }
    if !state.address.is_empty() {
        return Err(wrong(
            "--google-address is not supported with --google-bulk-insert: bulkInsert does not accept custom external IPs",
        ));
    }
    for machine_type in &state.flex_machine_types {
        if machine_type.trim().is_empty() {
            return Err(wrong("--google-flex-machine-type entries must be non-empty machine-type names"));
        }
        location::check_path_word("google-flex-machine-type", machine_type)?;
    }
    for entry in &state.location_zones {
        location::zone_preference(entry, &state.region)?;
    }
    let types = || instance::machine_types(state);
    let arm = types().all(|of| instance::is_arm(of));
    if !arm && types().any(|of| instance::is_arm(of)) {
        return Err(wrong(
            "--google-flex-machine-type: no image is for both ARM and x86 processors: name types of one of them",
        ));
    }
    let hyperdisk = types().all(|of| instance::takes_hyperdisk_only(of));
    if state.machine_image == IMAGE && arm {
        IMAGE_ARM.clone_into(&mut state.machine_image);
    }
    if state.disk_type == DISK_TYPE && hyperdisk {
        HYPERDISK.clone_into(&mut state.disk_type);
    }
    Ok(())
}

fn backoff(flags: &FlagValues) -> Result<Backoff, DriverError> {
    let seconds = |flag: &str| {
        let value = flags.int(flag);
        u64::try_from(value)
            .ok()
            .and_then(|seconds| u64::try_from(Duration::from_secs(seconds).as_nanos()).ok())
            .ok_or_else(|| wrong(format!("--{flag}: {value} is no number of seconds")))
    };
    let factor = |name: &str| {
        let flag = format!("google-operation-backoff-{name}");
        let text = flags.str(&flag);
        text.parse().ok().filter(|factor: &f64| (0.0..=MAX_FACTOR).contains(factor)).ok_or_else(|| {
            wrong(format!("error while parsing {flag} value: {text:?} is no number from 0 to {MAX_FACTOR}"))
        })
    };
    Ok(Backoff {
        initial_interval: seconds("google-operation-backoff-initial-interval")?,
        randomization_factor: factor("randomization-factor")?,
        multiplier: factor("multipler")?,
        max_interval: seconds("google-operation-backoff-max-interval")?,
        max_elapsed_time: seconds("google-operation-backoff-max-elapsed-time")?,
    })
}

/// Whether an image is the one where none is named.
pub(super) fn is_default_image(image: &str) -> bool {
    [IMAGE, IMAGE_ARM].contains(&image)
}
