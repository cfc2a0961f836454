//! Templates of `--format`: text or an error, never a panic, and no end that does not come.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::json;

fuzz_target!(|template: &str| {
    let value = json!({
        "Name": "web1",
        "Driver": { "IPAddress": "203.0.113.7", "SSHPort": 22, "Zones": ["a", "b"], "None": null },
        "HostOptions": { "EngineOptions": { "Labels": ["a=b"], "TlsVerify": true } },
    });
    let _ = machine_cli::render_template(template, &value);
});
