//! `/etc/docker/daemon.json`: what it says that our command line says too.
//!
//! dockerd does not start when a setting stands in both places. Source: `findConfigurationConflicts` in
//! `daemon/config/config.go` of moby/moby: a flag conflicts with the key of its name; flags that can be given several times have the
//! plural as their key.

use serde_json::{Map, Value};

use crate::{HostFacts, PlanError};

/// Flags whose key in daemon.json is not simply their name.
const KEYS: [(&str, &str); 15] = [
    ("H", "hosts"),
    ("host", "hosts"),
    ("s", "storage-driver"),
    ("label", "labels"),
    ("insecure-registry", "insecure-registries"),
    ("registry-mirror", "registry-mirrors"),
    ("log-opt", "log-opts"),
    ("storage-opt", "storage-opts"),
    ("exec-opt", "exec-opts"),
    ("dns-opt", "dns-opts"),
    ("default-ulimit", "default-ulimits"),
    ("authorization-plugin", "authorization-plugins"),
    ("node-generic-resource", "node-generic-resources"),
    ("default-address-pool", "default-address-pools"),
    ("g", "data-root"),
];

/// Fails where dockerd would not start with these arguments and the host's daemon.json.
pub fn check(facts: &HostFacts, arguments: &[String]) -> Result<(), PlanError> {
    let Some(settings) = settings(facts)? else { return Ok(()) };
    let mut keys: Vec<&str> = Vec::new();
    for argument in arguments {
        let Some(flag) = argument.strip_prefix("--").or_else(|| argument.strip_prefix('-')) else { continue };
        let name = flag.split('=').next().unwrap_or(flag);
        let key = KEYS.iter().find(|(known, _)| *known == name).map_or(name, |(_, key)| key);
        if settings.contains_key(key) && !keys.contains(&key) {
            keys.push(key);
        }
    }
    if keys.is_empty() { Ok(()) } else { Err(PlanError::DaemonJsonConflict { keys: keys.join(", ") }) }
}

/// A text that daemon.json sets.
pub fn string(facts: &HostFacts, key: &str) -> Option<String> {
    let settings = settings(facts).ok()??;
    settings.get(key)?.as_str().map(str::to_owned)
}

fn settings(facts: &HostFacts) -> Result<Option<Map<String, Value>>, PlanError> {
    let Some(text) = facts.engine.daemon_json.as_deref() else { return Ok(None) };
    // dockerd takes an empty file for an empty object.
    if text.trim().is_empty() {
        return Ok(None);
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(settings)) => Ok(Some(settings)),
        Ok(_) => Err(PlanError::DaemonJsonInvalid { why: "it is not a JSON object".to_owned() }),
        Err(error) => Err(PlanError::DaemonJsonInvalid { why: error.to_string() }),
    }
}
