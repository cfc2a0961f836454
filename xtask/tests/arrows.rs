//! The borders between the rooms, from `cargo metadata`: who may know whom.

use std::{collections::BTreeMap, path::Path, process::Command};

use serde_json::Value;

/// Each room and the rooms that it may depend on. A room that is not here is not known yet: decide, then add it.
const ARROWS: &[(&str, &[&str])] = &[
    ("machine-core", &[]),
    ("machine-tls", &[]),
    ("machine-ssh", &[]),
    ("machine-engine", &[]),
    ("machine-http", &[]),
    ("machine-store", &["machine-core"]),
    ("machine-provision", &["machine-core"]),
    ("machine-process", &[]),
    ("machine-image", &["machine-core", "machine-http", "machine-process"]),
    ("machine-drivers", &["machine-core", "machine-http", "machine-image", "machine-process"]),
    ("machine-plugin", &["machine-core"]),
    (
        "machine-lifecycle",
        &[
            "machine-core",
            "machine-store",
            "machine-tls",
            "machine-ssh",
            "machine-provision",
            "machine-engine",
        ],
    ),
    ("machine-testkit", &["machine-core"]),
    (
        "machine-cli",
        &[
            "machine-core",
            "machine-store",
            "machine-tls",
            "machine-ssh",
            "machine-provision",
            "machine-engine",
            "machine-lifecycle",
            "machine-drivers",
            "machine-image",
            "machine-plugin",
        ],
    ),
    ("xtask", &["machine-testkit", "machine-image"]),
];

/// The rooms and the rooms each depends on. What only tests need (`dev-dependencies`) is free.
fn rooms() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1", "--manifest-path"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("metadata is JSON");
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = list(&metadata["packages"]);
    let names: Vec<String> = packages.iter().map(|p| text(&p["name"])).collect();
    let known = |package: &Value| {
        let wanted = list(&package["dependencies"]).into_iter().filter(|d| d["kind"] != "dev");
        wanted.map(|d| text(&d["name"])).filter(|n| names.contains(n)).collect()
    };
    packages.iter().map(|p| (text(&p["name"]), known(p))).collect()
}

#[test]
fn rooms_know_only_whom_they_may() {
    let rooms = rooms();
    assert!(rooms.len() > 10, "cargo metadata lists the workspace: {rooms:?}");
    let mut wrong = Vec::new();
    for (room, known) in rooms {
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            wrong.push(format!("{room} is not in the list of rooms"));
            continue;
        };
        wrong.extend(
            known.iter().filter(|k| !allowed.contains(&k.as_str())).map(|k| format!("{room} -> {k}")),
        );
    }
    assert!(wrong.is_empty(), "arrows that must not be: {}", wrong.join(", "));
}
