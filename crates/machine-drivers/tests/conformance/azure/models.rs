//! Every request is checked against the models of Microsoft's own SDK, by its Python packages: keys, types, what is
//! required, values of enumerations, what may only be read.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use machine_testkit::double::Exchange;
use machine_testkit::skip;
use serde_json::{Value, json};

/// Where `cargo xtask setup` puts the packages; `None` where they are not there.
fn python() -> Option<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target =
        target.unwrap_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target")));
    let python = target.join("azure-models/bin/python");
    python.is_file().then_some(python)
}

/// Checks all requests to the Resource Manager.
///
/// # Panics
/// Where one is not as Microsoft describes it.
pub fn check(exchanges: &[Exchange]) {
    let Some(python) = python() else {
        skip::because("no models of Microsoft's SDK here; `cargo xtask setup` installs them");
        return;
    };
    let complaints = complaints(&python, exchanges);
    assert!(complaints.is_empty(), "not as Microsoft's models have it:\n{complaints}");
}

fn complaints(python: &PathBuf, exchanges: &[Exchange]) -> String {
    let mut lines = String::new();
    for exchange in exchanges {
        let request = &exchange.request;
        let body = if request.body.is_empty() { Value::Null } else { request.json() };
        let one = json!({
            "method": request.method, "path": request.path, "query": request.query, "body": body,
            "status": exchange.reply.status,
        });
        writeln!(lines, "{one}").unwrap();
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/azure/validate.py");
    let mut child = Command::new(python)
        .arg(script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || input.write_all(lines.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let (said, trouble) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() || !said.is_empty(), "the validator failed: {trouble}");
    said.into_owned()
}

#[test]
fn the_models_see_what_is_wrong() {
    let Some(python) = python() else {
        skip::because("no models of Microsoft's SDK here; `cargo xtask setup` installs them");
        return;
    };
    let exchange = |body: Value, query: &str| {
        let path = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/m";
        let request = machine_testkit::double::Request {
            method: "PUT".into(),
            path: path.into(),
            query: query.into(),
            body: body.to_string().into_bytes(),
            ..Default::default()
        };
        Exchange { request, reply: machine_testkit::double::Reply::empty(201) }
    };
    let good = json!({ "location": "westus", "properties": { "priority": "Spot" } });
    assert_eq!(complaints(&python, &[exchange(good.clone(), "api-version=2024-11-01")]), "");
    for (bad, what) in [
        (json!({ "properties": {} }), "location"),
        (json!({ "location": "x", "properties": { "hardwareProfil": {} } }), "hardwareProfil"),
        (json!({ "location": "x", "properties": { "priority": "Cheap" } }), "Cheap"),
        (json!({ "location": "x", "zones": "1" }), "zones"),
        (json!({ "location": "x", "properties": { "vmId": "x" } }), "read"),
    ] {
        let said = complaints(&python, &[exchange(bad, "api-version=2024-11-01")]);
        assert!(said.contains(what), "{what}: {said}");
    }
    assert!(complaints(&python, &[exchange(good, "")]).contains("api-version"));
}
