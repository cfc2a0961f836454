//! Tests of what is pure.

use serde_json::json;

use super::{instance, location};

#[test]
fn images_in_all_their_forms() {
    let image = |given: &str| location::image(given, "mine").ok();
    for (given, want) in [
        ("debian-cloud/global/images/debian-12-v1", "debian-cloud/global/images/debian-12-v1"),
        ("debian-cloud/global/images/family/debian-12", "debian-cloud/global/images/family/debian-12"),
        ("debian-cloud/debian-12", "debian-cloud/global/images/family/debian-12"),
        ("global/images/own", "mine/global/images/own"),
        ("global/images/family/own", "mine/global/images/family/own"),
        ("projects/p/global/images/x", "p/global/images/x"),
        ("https://www.googleapis.com/compute/v1/projects/p/global/images/x", "p/global/images/x"),
        (
            "https://compute.googleapis.com/compute/v1/projects/p/global/images/family/x",
            "p/global/images/family/x",
        ),
        ("example.com:p/global/images/x", "example.com:p/global/images/x"),
    ] {
        assert_eq!(image(given).as_deref(), Some(want), "{given}");
    }
    for bad in
        ["", "debian", "a/b/c", "p/global/images/", "p/global/images/../x?y", "p/global/disks/x", "//x"]
    {
        assert_eq!(image(bad), None, "{bad}");
    }
}

#[test]
fn ports_and_zones() {
    let port = |given: &str| location::port(given).ok();
    assert_eq!(port("80"), Some(("80".into(), "tcp".into())));
    assert_eq!(port("53/udp"), Some(("53".into(), "udp".into())));
    assert_eq!(port("8000-8100/tcp"), Some(("8000-8100".into(), "tcp".into())));
    for bad in ["", "0", "65536", "80/http", "9-8", "1-2-3", "-1"] {
        assert_eq!(port(bad), None, "{bad}");
    }
    let zone = |given: &str| location::zone_preference(given, "europe-west1").ok();
    assert_eq!(zone("europe-west1-b"), Some(("europe-west1-b".into(), "ALLOW".into())));
    assert_eq!(zone("europe-west1-b:deny"), Some(("europe-west1-b".into(), "DENY".into())));
    for bad in ["", ":ALLOW", "europe-west10-b", "europe-west1-b:never", "us-central1-a"] {
        assert_eq!(zone(bad), None, "{bad}");
    }
}

#[test]
fn machine_types_have_their_ways() {
    for (name, arm, hyperdisk) in [
        ("e2-medium", false, false),
        ("t2a-standard-1", true, false),
        ("c4a-standard-1", true, true),
        ("n4-standard-2", false, true),
        ("n2-custom-2-4096", false, false),
        ("custom-2-4096", false, false),
    ] {
        assert_eq!(
            (instance::is_arm(name), instance::takes_hyperdisk_only(name)),
            (arm, hyperdisk),
            "{name}"
        );
    }
}

#[test]
fn names_labels_and_gpus() {
    for good in ["a", "dev-1", &"a".repeat(63)] {
        assert!(instance::is_name(good), "{good}");
    }
    for bad in ["", "1a", "-a", "a-", "A", "a_b", "a.b", "é", &"a".repeat(64)] {
        assert!(!instance::is_name(bad), "{bad}");
    }
    let label = |pair: &str| instance::labels(&[pair.to_owned()]).ok();
    for good in ["a:b", "team : blue-green_2", "équipe:bleue", "empty", "empty:"] {
        assert!(label(good).is_some(), "{good}");
    }
    for bad in ["", ":b", "1a:b", "A:b", "a:B", "a:b.c", "docker-machine-name:x"] {
        assert!(label(bad).is_none(), "{bad}");
    }
    assert_eq!(instance::accelerator("count=2,type=nvidia-l4").unwrap(), Some((2, "nvidia-l4")));
    assert_eq!(instance::accelerator("type=nvidia-l4").unwrap(), Some((1, "nvidia-l4")));
    assert_eq!(instance::accelerator("").unwrap(), None);
    for bad in ["count=2", "count=x,type=a", "type=a,count=0", "nvidia-l4", "type=a/b"] {
        assert!(instance::accelerator(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_key_is_added_once() {
    let line = "docker-user:ssh-ed25519 AAAA docker-user";
    let there =
        json!({ "kind": "compute#metadata", "fingerprint": "f", "items": [{ "key": "a", "value": "b" }] });
    let with = instance::with_key(&there, line).unwrap();
    let keys = json!({ "key": "ssh-keys", "value": line });
    let no_login = json!({ "key": "enable-oslogin", "value": "FALSE" });
    assert_eq!(with, json!({ "fingerprint": "f", "items": [{ "key": "a", "value": "b" }, keys, no_login] }));
    assert_eq!(instance::with_key(&with, line), None);
    let none = instance::with_key(&json!(null), line).unwrap();
    assert_eq!(none, json!({ "items": [keys, no_login] }));
    let half = instance::with_key(&json!({ "items": [keys] }), line).unwrap();
    assert_eq!(half, json!({ "items": [keys, no_login] }));
    let login = |value: &str| json!({ "items": [{ "key": "enable-oslogin", "value": value }] });
    assert!(instance::has_os_login(&login("TRUE")) && instance::has_os_login(&login("true")));
    assert!(!instance::has_os_login(&login("FALSE")) && !instance::has_os_login(&json!(null)));
}

#[test]
fn paths_are_compared_from_the_project_on() {
    let address = "https://www.googleapis.com/compute/v1/projects/p/global/networks/n";
    assert!(location::same(address, "projects/p/global/networks/n"));
    assert!(!location::same(address, "projects/p/global/networks/m"));
    assert_eq!(location::network_path(address, "p"), "projects/p/global/networks/n");
    assert_eq!(location::last(address), "n");
}
