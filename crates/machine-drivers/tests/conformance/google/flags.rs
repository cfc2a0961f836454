//! Every flag gets where it should; what makes no sense is refused, and what can't be had is seen before.

use super::*;

fn list(values: &[&str]) -> FlagValue {
    FlagValue::List(values.iter().map(|value| (*value).to_owned()).collect())
}

pub fn bad(project: &Project) -> Vec<(&'static str, FlagValues)> {
    let yes = FlagValue::Bool(true);
    let bulk = ("google-bulk-insert", yes.clone());
    let region = ("google-region", text("us-central1"));
    let one = |name: &'static str, value: FlagValue| project.flags(&[(name, value)]);
    vec![
        ("no project", one("google-project", text(""))),
        ("a path as zone", one("google-zone", text("../zones/x"))),
        ("no disk", one("google-disk-size", FlagValue::Int(0))),
        ("negative IOPS", one("google-provisioned-iops", FlagValue::Int(-1))),
        ("negative throughput", one("google-provisioned-throughput", FlagValue::Int(-1))),
        ("no image", one("google-machine-image", text("a/b/c"))),
        ("no login name", one("google-username", text("a:b"))),
        ("no GPU", one("google-accelerator", text("count=0,type=nvidia-tesla-t4"))),
        ("no policy", one("google-maintenance-policy", text("SLEEP"))),
        ("no tag", one("google-tags", text("web,Big"))),
        ("no port", one("google-open-port", list(&["80808"]))),
        ("no protocol", one("google-open-port", list(&["80/http"]))),
        ("no label", one("google-label", list(&["Team:blue"]))),
        ("our own mark", one("google-label", list(&["docker-machine-store:x"]))),
        ("metadata without a value", one("google-metadata", list(&["serial-port-enable"]))),
        ("no factor", one("google-operation-backoff-multipler", text("much"))),
        ("a factor without end", one("google-operation-backoff-multipler", text("1e20"))),
        (
            "moving what can't be moved",
            project.flags(&[
                ("google-machine-type", text("g2-standard-4")),
                ("google-maintenance-policy", text("MIGRATE")),
            ]),
        ),
        (
            "two kinds of processors",
            project.flags(&[
                bulk.clone(),
                region.clone(),
                ("google-flex-machine-type", list(&["c4a-standard-1", "n2-standard-2"])),
            ]),
        ),
        ("a negative interval", one("google-operation-backoff-max-interval", FlagValue::Int(-1))),
        ("no endpoint", one("google-endpoint", text("ftp://x"))),
        ("a prefix that can't be", one("google-external-firewall-rule-prefix", text("Prod"))),
        (
            "an address of a machine that has none",
            project.flags(&[("google-address", text("front")), ("google-use-internal-ip-only", yes.clone())]),
        ),
        (
            "preemptible and spot",
            project.flags(&[("google-preemptible", yes.clone()), ("google-spot", yes.clone())]),
        ),
        (
            "user data twice",
            project.flags(&[
                ("google-userdata", text("/x")),
                ("google-metadata", list(&["user-data=#cloud-config"])),
            ]),
        ),
        ("bulk without region", project.flags(std::slice::from_ref(&bulk))),
        (
            "bulk with a zone",
            project.flags(&[bulk.clone(), region.clone(), ("google-zone", text("us-central1-b"))]),
        ),
        (
            "bulk with an address",
            project.flags(&[bulk.clone(), region.clone(), ("google-address", text("x"))]),
        ),
        (
            "bulk with what exists",
            project.flags(&[bulk.clone(), region.clone(), ("google-use-existing", yes)]),
        ),
        (
            "a zone of another region",
            project.flags(&[
                bulk.clone(),
                region.clone(),
                ("google-location-zone", list(&["europe-west1-b"])),
            ]),
        ),
        (
            "no preference",
            project.flags(&[bulk, region, ("google-location-zone", list(&["us-central1-b:MAYBE"]))]),
        ),
        ("types without bulk", one("google-flex-machine-type", list(&["e2-medium"]))),
        ("zones without bulk", one("google-location-zone", list(&["us-central1-b"]))),
    ]
}

pub fn unmet(project: &Project) -> Vec<(&'static str, FlagValues)> {
    let one = |name: &'static str, value: FlagValue| project.flags(&[(name, value)]);
    project.double.provider().addresses.insert(
        "busy".into(),
        json!({ "address": "198.51.100.9", "status": "IN_USE", "users": ["…/instances/other"] }),
    );
    let image = |name: &str| text(format!("ubuntu-os-cloud/global/images/{name}"));
    vec![
        ("the project", one("google-project", text("no-such-project"))),
        ("the zone", one("google-zone", text("us-central1-z"))),
        ("the machine type", one("google-machine-type", text("e2-gigantic"))),
        ("the image", one("google-machine-image", image("no-such-image"))),
        ("the family", one("google-machine-image", image("family/no-such-family"))),
        ("an image that is not obsolete", one("google-machine-image", image("ubuntu-1604-xenial-v20170721"))),
        (
            "an image of this architecture",
            one("google-machine-image", image("family/ubuntu-2404-lts-arm64-x")),
        ),
        ("a disk that is large enough", one("google-machine-image", image("ubuntu-large"))),
        ("the address", one("google-address", text("nowhere"))),
        ("an address that is free", one("google-address", text("busy"))),
        ("the subnetwork", one("google-subnetwork", text("nowhere"))),
        ("the user data", one("google-userdata", text("/no/such/file"))),
        ("the metadata's file", one("google-metadata-from-file", list(&["startup-script=/no/such/file"]))),
        ("the instance to take over", one("google-use-existing", FlagValue::Bool(true))),
        ("credentials", one("google-auth-encoded-json", text("bm8gY3JlZGVudGlhbHM="))),
    ]
}

/// Makes a machine of these flags and gives its instance as the double has it.
fn instance_of(more: &[(&str, FlagValue)]) -> Value {
    let project = Project::new();
    project
        .double
        .provider()
        .addresses
        .insert("front".into(), json!({ "address": "198.51.100.7", "status": "RESERVED" }));
    block(async {
        let made = ok(Made::of(&project.flags(more)).await);
        let vm = project.double.provider().vm(NAME).clone();
        let sent = project.double.take_exchanges();
        discovery::check(&sent);
        let request = sent.iter().find(|exchange| making(&exchange.request)).unwrap().request.json();
        made.remove().await;
        assert_eq!(project.resources(), 0);
        json!({ "made": vm, "asked": request })
    })
}

/// A value at a path.
fn at<'a>(value: &'a Value, path: &str) -> &'a Value {
    value.pointer(path).unwrap_or(&Value::Null)
}

#[test]
fn defaults_are_of_today() {
    let vm = instance_of(&[]);
    let disk = "/asked/disks/0/initializeParams";
    let zone = format!("projects/{PROJECT}/zones/{ZONE}");
    for (path, want) in [
        ("/asked/name", json!(NAME)),
        ("/asked/machineType", json!(format!("{zone}/machineTypes/e2-medium"))),
        ("/asked/disks/0/autoDelete", json!(true)),
        (&format!("{disk}/diskName"), json!("conformance-disk")),
        (&format!("{disk}/diskSizeGb"), json!("10")),
        (&format!("{disk}/diskType"), json!(format!("{zone}/diskTypes/pd-balanced"))),
        (
            &format!("{disk}/sourceImage"),
            json!("projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-amd64"),
        ),
        ("/asked/networkInterfaces/0/network", json!(format!("projects/{PROJECT}/global/networks/default"))),
        ("/asked/networkInterfaces/0/accessConfigs/0/type", json!("ONE_TO_ONE_NAT")),
        ("/asked/tags/items", json!(["docker-machine"])),
        ("/asked/serviceAccounts/0/email", json!("default")),
        ("/asked/labels/docker-machine-name", json!(NAME)),
        ("/asked/labels/docker-machine-store", json!(machine_testkit::conformance::STORE_ID)),
        (&format!("{disk}/labels/docker-machine-name"), json!(NAME)),
        ("/asked/scheduling", json!({})),
    ] {
        assert_eq!(at(&vm, path), &want, "{path}");
    }
    let metadata = metadata(&vm["asked"]);
    let key = machine_testkit::conformance::AUTHORIZED_KEY.rsplit_once(' ').unwrap().0;
    assert_eq!(metadata["ssh-keys"], format!("docker-user:{key} docker-user"));
    assert_eq!(metadata["user-data"], "#cloud-config\nssh_pwauth: false\n");
    assert_eq!((&*metadata["enable-oslogin"], &*metadata["block-project-ssh-keys"]), ("FALSE", "TRUE"));
}

#[test]
fn every_flag_reaches_the_wire() {
    let dir = tempfile::TempDir::new().unwrap();
    let script = dir.path().join("script");
    std::fs::write(&script, "#!/bin/sh\ntrue\n").unwrap();
    let file = format!("startup-script={}", script.display());
    let yes = || FlagValue::Bool(true);
    let zone = |zone: &str, rest: &str| json!(format!("projects/{PROJECT}/zones/{zone}/{rest}"));
    let disk = "/asked/disks/0/initializeParams";
    let cases: Vec<(&str, FlagValue, String, Value)> = vec![
        (
            "google-zone",
            text("us-central1-f"),
            "/asked/machineType".into(),
            zone("us-central1-f", "machineTypes/e2-medium"),
        ),
        (
            "google-machine-type",
            text("n1-standard-1"),
            "/asked/machineType".into(),
            zone(ZONE, "machineTypes/n1-standard-1"),
        ),
        (
            "google-machine-image",
            text(
                "https://www.googleapis.com/compute/v1/projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-v20260101",
            ),
            format!("{disk}/sourceImage"),
            json!("projects/ubuntu-os-cloud/global/images/ubuntu-2404-noble-v20260101"),
        ),
        (
            "google-machine-image",
            text("ubuntu-os-cloud/ubuntu-minimal-2204-lts"),
            format!("{disk}/sourceImage"),
            json!("projects/ubuntu-os-cloud/global/images/family/ubuntu-minimal-2204-lts"),
        ),
        (
            "google-service-account",
            text("vm@acme.iam.gserviceaccount.com"),
            "/asked/serviceAccounts/0/email".into(),
            json!("vm@acme.iam.gserviceaccount.com"),
        ),
        ("google-service-account", text(""), "/asked/serviceAccounts".into(), Value::Null),
        (
            "google-scopes",
            text("https://www.googleapis.com/auth/a,https://www.googleapis.com/auth/b"),
            "/asked/serviceAccounts/0/scopes".into(),
            json!(["https://www.googleapis.com/auth/a", "https://www.googleapis.com/auth/b"]),
        ),
        ("google-disk-size", FlagValue::Int(42), format!("{disk}/diskSizeGb"), json!("42")),
        ("google-disk-type", text("pd-ssd"), format!("{disk}/diskType"), zone(ZONE, "diskTypes/pd-ssd")),
        (
            "google-machine-type",
            text("n4-standard-2"),
            format!("{disk}/diskType"),
            zone(ZONE, "diskTypes/hyperdisk-balanced"),
        ),
        (
            "google-machine-type",
            text("t2a-standard-1"),
            format!("{disk}/sourceImage"),
            json!("projects/ubuntu-os-cloud/global/images/family/ubuntu-2404-lts-arm64"),
        ),
        (
            "google-network",
            text("lab"),
            "/asked/networkInterfaces/0/network".into(),
            json!(format!("projects/{PROJECT}/global/networks/lab")),
        ),
        (
            "google-network",
            text("projects/host-project/global/networks/lab"),
            "/asked/networkInterfaces/0/network".into(),
            json!("projects/host-project/global/networks/lab"),
        ),
        (
            "google-subnetwork",
            text("shared-runners"),
            "/asked/networkInterfaces/0/subnetwork".into(),
            json!(format!("projects/{PROJECT}/regions/us-central1/subnetworks/shared-runners")),
        ),
        (
            "google-subnetwork",
            text("shared-runners"),
            "/asked/networkInterfaces/0/network".into(),
            Value::Null,
        ),
        (
            "google-address",
            text("198.51.100.20"),
            "/asked/networkInterfaces/0/accessConfigs/0/natIP".into(),
            json!("198.51.100.20"),
        ),
        (
            "google-address",
            text("front"),
            "/asked/networkInterfaces/0/accessConfigs/0/natIP".into(),
            json!("198.51.100.7"),
        ),
        (
            "google-preemptible",
            yes(),
            "/asked/scheduling".into(),
            json!({ "preemptible": true, "automaticRestart": false }),
        ),
        (
            "google-spot",
            yes(),
            "/asked/scheduling".into(),
            json!({ "provisioningModel": "SPOT", "instanceTerminationAction": "STOP", "automaticRestart": false }),
        ),
        ("google-tags", text("web,db"), "/asked/tags/items".into(), json!(["docker-machine", "web", "db"])),
        (
            "google-use-internal-ip-only",
            yes(),
            "/asked/networkInterfaces/0/accessConfigs".into(),
            Value::Null,
        ),
        (
            "google-min-cpu-platform",
            text("Intel Ice Lake"),
            "/asked/minCpuPlatform".into(),
            json!("Intel Ice Lake"),
        ),
        ("google-provisioned-iops", FlagValue::Int(3000), format!("{disk}/provisionedIops"), json!("3000")),
        (
            "google-provisioned-throughput",
            FlagValue::Int(140),
            format!("{disk}/provisionedThroughput"),
            json!("140"),
        ),
        ("google-label", list(&["team:blue"]), "/asked/labels/team".into(), json!("blue")),
        ("google-label", list(&["team:blue"]), format!("{disk}/labels/team"), json!("blue")),
        ("google-vm-labels", text("team,blue,tier,dev"), "/asked/labels/tier".into(), json!("dev")),
        (
            "google-accelerator",
            text("count=2,type=nvidia-tesla-t4"),
            "/asked/guestAccelerators/0".into(),
            json!({ "acceleratorCount": 2,
                "acceleratorType": format!("projects/{PROJECT}/zones/{ZONE}/acceleratorTypes/nvidia-tesla-t4") }),
        ),
        (
            "google-accelerator",
            text("count=2,type=nvidia-tesla-t4"),
            "/asked/scheduling/onHostMaintenance".into(),
            json!("TERMINATE"),
        ),
        (
            "google-machine-type",
            text("g2-standard-4"),
            "/asked/scheduling/onHostMaintenance".into(),
            json!("TERMINATE"),
        ),
        (
            "google-machine-type",
            text("c4-standard-96-lssd-metal"),
            "/asked/scheduling/onHostMaintenance".into(),
            json!("TERMINATE"),
        ),
        (
            "google-maintenance-policy",
            text("migrate"),
            "/asked/scheduling/onHostMaintenance".into(),
            json!("MIGRATE"),
        ),
    ];
    for (flag, value, path, want) in cases {
        let vm = instance_of(&[(flag, value)]);
        assert_eq!(at(&vm, &path), &want, "--{flag}");
    }
    let vm = instance_of(&[
        ("google-metadata", list(&["serial-port-enable=TRUE", "ssh-keys=eve:ssh-rsa AAAA eve"])),
        ("google-metadata-from-file", list(&[&file])),
        ("google-username", text("core")),
    ]);
    let metadata = metadata(&vm["asked"]);
    assert_eq!(metadata["serial-port-enable"], "TRUE");
    assert_eq!(metadata["startup-script"], "#!/bin/sh\ntrue\n");
    assert!(metadata["ssh-keys"].starts_with("eve:ssh-rsa AAAA eve\ncore:ssh-ed25519 "));
}

#[test]
fn flags_of_bulk_reach_the_wire() {
    let project = Project::new();
    project.double.provider().full_zones.push("us-central1-b");
    let flags = project.flags(&[
        ("google-bulk-insert", FlagValue::Bool(true)),
        ("google-region", text("us-central1")),
        ("google-flex-machine-type", list(&["n2-standard-2", "e2-medium"])),
        ("google-location-zone", list(&["us-central1-a:deny", "us-central1-f:preferred", "us-central1-b"])),
    ]);
    block(async {
        let made = ok(Made::of(&flags).await);
        let sent = project.double.take_exchanges();
        discovery::check(&sent);
        let asked = sent.iter().find(|exchange| making(&exchange.request)).unwrap().request.json();
        let selections = &asked["instanceFlexibilityPolicy"]["instanceSelections"];
        assert_eq!(selections["rank-0"], json!({ "machineTypes": ["n2-standard-2"], "rank": "0" }));
        assert_eq!(selections["rank-1"]["machineTypes"], json!(["e2-medium"]));
        let zones = &asked["locationPolicy"]["locations"];
        assert_eq!(zones["zones/us-central1-a"]["preference"], "DENY");
        assert_eq!(zones["zones/us-central1-f"]["preference"], "ALLOW", "the API has no PREFERRED");
        assert!(made.bench.heard.text().contains("PREFERRED"), "and that is said");
        assert_eq!(zones["zones/us-central1-b"]["preference"], "ALLOW");
        assert_eq!(asked["perInstanceProperties"], json!({ NAME: {} }));
        assert_eq!(asked["instanceProperties"]["disks"][0]["initializeParams"]["diskType"], "pd-balanced");
        assert_eq!(made.state.str("ResolvedZone"), "us-central1-f");
        assert_eq!(made.state.str("ResolvedMachineType"), "n2-standard-2");
        // What GitLab's runner reads.
        assert_eq!(made.state.str("Zone"), ZONE);
        made.remove().await;
    });
    assert_eq!(project.resources(), 0);
}

/// The disk and the policy that are asked for where Google may choose among these types.
fn of_types(types: &[&str]) -> Value {
    let project = Project::new();
    let flags = project.flags(&[
        ("google-bulk-insert", FlagValue::Bool(true)),
        ("google-region", text("us-central1")),
        ("google-flex-machine-type", list(types)),
        // It does not count beside those.
        ("google-machine-type", text("c4a-standard-1")),
    ]);
    block(async {
        let made = ok(Made::of(&flags).await);
        made.remove().await;
    });
    let sent = project.double.take_exchanges();
    discovery::check(&sent);
    sent.iter().find(|exchange| making(&exchange.request)).unwrap().request.json()
}

#[test]
fn disks_and_policies_are_those_of_all_flexible_types() {
    let disk = "/instanceProperties/disks/0/initializeParams/diskType";
    let selection = "/instanceFlexibilityPolicy/instanceSelections/rank-";
    let other = |rank: u8| format!("{selection}{rank}/disks/0/initializeParams/diskType");
    let image = "/instanceProperties/disks/0/initializeParams/sourceImage";
    let policy = "/instanceProperties/scheduling/onHostMaintenance";

    let all = of_types(&["n4-standard-4", "c4-standard-4"]);
    assert_eq!(at(&all, disk), "hyperdisk-balanced");
    assert_eq!(at(&all, &other(0)), &Value::Null);
    assert_eq!(at(&all, policy), &Value::Null);

    let some = of_types(&["n2-standard-2", "n4-standard-2", "g2-standard-4"]);
    assert_eq!(at(&some, disk), "pd-balanced");
    assert_eq!(at(&some, &other(0)), &Value::Null);
    assert_eq!(at(&some, &other(1)), "hyperdisk-balanced");
    let of_it = |value: &Value| value["deviceName"].as_str().map(str::to_owned);
    let device = of_it(at(&some, "/instanceProperties/disks/0"));
    assert!(device.is_some(), "by that the one stands in for the other");
    assert_eq!(of_it(at(&some, &format!("{selection}1/disks/0"))), device);
    assert_eq!(at(&some, policy), "TERMINATE", "any of them may be taken");

    let arm = of_types(&["c4a-standard-1", "t2a-standard-1"]);
    assert!(at(&arm, image).as_str().unwrap().ends_with("ubuntu-2404-lts-arm64"), "{arm}");
    assert_eq!((at(&arm, disk), at(&arm, &other(0))), (&json!("pd-balanced"), &json!("hyperdisk-balanced")));
}

#[test]
fn user_data_of_the_user_is_handed_on() {
    let dir = tempfile::TempDir::new().unwrap();
    let file = dir.path().join("user-data");
    std::fs::write(&file, "#cloud-config\npackages: [jq]\n").unwrap();
    let path = file.to_str().unwrap();
    let project = Project::new();
    let keyed = format!("user-data={path}");
    for flags in [
        project.flags(&[("google-userdata", text(path))]),
        project.flags(&[("google-metadata-from-file", list(&[&keyed]))]),
        project.flags(&[("google-metadata", list(&["user-data=#cloud-config\npackages: [jq]\n"]))]),
    ] {
        let (driver, bench) = (Google::new(), Bench::new());
        let prospect = ok(block(driver.prospect(&bench.cx(), &bench.wish(&driver, &flags))));
        assert_eq!(prospect.user_data.unwrap().expose(), "#cloud-config\npackages: [jq]\n");
        assert_eq!(prospect.image.unwrap().arch, "x86_64");
    }
    let other = project.flags(&[("google-machine-image", text("debian-cloud/debian-12"))]);
    let (driver, bench) = (Google::new(), Bench::new());
    assert!(ok(block(driver.prospect(&bench.cx(), &bench.wish(&driver, &other)))).image.is_none());
}

#[test]
fn metadata_that_is_too_large_is_seen_before() {
    let project = Project::new();
    let large = format!("big={}", "x".repeat((256 << 10) + 1));
    let made = block(Made::of(&project.flags(&[("google-metadata", list(&[&large]))])));
    let said = why(made.map(|made| made.state));
    assert!(said.contains("\"big\" has 262145 bytes") && said.contains("Precreate"), "{said}");
    assert!(project.calls().is_empty());
}
