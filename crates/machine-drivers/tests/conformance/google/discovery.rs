//! Holds what was said to the double against Google's description of the API.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine_testkit::double::Exchange;
use machine_testkit::skip;
use serde_json::{Value, json};

/// The Python that has google-api-python-client; `None`, with a word, where there is none.
fn python() -> Option<PathBuf> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let python = target.join("peers/python/bin/python");
    let has_it = Command::new(&python).args(["-c", "import googleapiclient"]).output();
    if has_it.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let _ = skip::because("google-api-python-client is not installed; `cargo xtask setup` does it");
    None
}

fn body(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

/// Checks method, path, query and body of every request to the API, and the double's own answers.
pub fn check(exchanges: &[Exchange]) {
    let Some(python) = python() else { return };
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut count = 0;
    for Exchange { request, reply } in exchanges {
        // The image is not in the project; what is of no project is of no API of this name.
        if !request.path.starts_with("/compute/") {
            continue;
        }
        count += 1;
        let line = json!({
            "method": request.method, "path": request.path, "query": request.query, "body": body(&request.body),
            "status": reply.status, "reply": body(&reply.body),
        });
        writeln!(file, "{line}").unwrap();
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/google/discovery.py");
    let output = Command::new(python).arg(script).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let trouble = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(count > 0, "nothing was said to the API");
    assert_eq!(said.trim(), format!("{count} exchanges"), "{trouble}");
}
