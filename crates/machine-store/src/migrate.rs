//! From config.json of versions 0, 1 and 2 to version 3, as docker/machine 0.16.2 (libmachine/host) does it.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::config::{ConfigError, kind_of};
use crate::go_json::sorted_map;

/// Keys that versions 0 and 1 kept at the top.
const FLAT_KEYS: [&str; 10] = [
    "StorePath",
    "CaCertPath",
    "PrivateKeyPath",
    "ServerCertPath",
    "ServerKeyPath",
    "ClientCertPath",
    "ClientKeyPath",
    "SwarmHost",
    "SwarmMaster",
    "SwarmDiscovery",
];

/// Brings a record of an older version to version 3. Keys that no version knows stay.
pub(crate) fn to_v3(top: &mut Map<String, Value>, version: u32) -> Result<(), ConfigError> {
    // StorePath of versions 0 and 1 is the machine's folder; the store's root is two levels up.
    let machine_dir = text(top, "StorePath");
    let root = parent(&parent(&machine_dir));
    // A file without a version that has the nested options is one of version 1 in all but name; the reference program
    // reads only the flat keys and loses every path.
    let nested =
        top.get("HostOptions").and_then(|options| options.get("AuthOptions")).is_some_and(Value::is_object);
    if version == 0 && !nested {
        nest_options(top);
    }
    if version <= 1 {
        rename_auth_options(top, &root)?;
    }
    let driver_root = if version == 2 { root_of_v2(top).unwrap_or(root) } else { root };
    tell_driver_its_store(top, driver_root)?;
    if version <= 1 {
        for key in FLAT_KEYS {
            top.shift_remove(key);
        }
    }
    Ok(())
}

/// 0 to 1: the flat keys become HostOptions.
fn nest_options(top: &mut Map<String, Value>) {
    let flat = |key: &str| top.get(key).cloned().unwrap_or(Value::Null);
    let options = json!({
        "EngineOptions": { "TlsVerify": true, "InstallURL": "https://get.docker.com" },
        "SwarmOptions": {
            "Discovery": flat("SwarmDiscovery"),
            "Host": flat("SwarmHost"),
            "Master": flat("SwarmMaster"),
        },
        "AuthOptions": {
            "CaCertPath": flat("CaCertPath"),
            "PrivateKeyPath": flat("PrivateKeyPath"),
            "ServerCertPath": flat("ServerCertPath"),
            "ServerKeyPath": flat("ServerKeyPath"),
            "ClientKeyPath": flat("ClientKeyPath"),
            "ClientCertPath": flat("ClientCertPath"),
        },
    });
    top.insert("HostOptions".to_owned(), options);
}

/// 1 to 2: AuthOptions get the store's root and the certificates' folder, and PrivateKeyPath a clearer name.
fn rename_auth_options(top: &mut Map<String, Value>, root: &str) -> Result<(), ConfigError> {
    let options = child(top, "HostOptions")?;
    let auth = child(options, "AuthOptions")?;
    let key = auth.shift_remove("PrivateKeyPath").unwrap_or(Value::Null);
    auth.insert("CaPrivateKeyPath".to_owned(), key);
    auth.insert("CertDir".to_owned(), Value::from(join(root, "certs")));
    auth.insert("StorePath".to_owned(), Value::from(root));
    Ok(())
}

/// 2 to 3: the driver is told the store's root; its keys are in order from then on.
fn tell_driver_its_store(top: &mut Map<String, Value>, root: String) -> Result<(), ConfigError> {
    let driver = child(top, "Driver")?;
    driver.insert("StorePath".to_owned(), Value::from(root));
    *driver = sorted_map(driver);
    Ok(())
}

/// The store's root as a record of version 2 has it. The reference program looks for it where version 2 never had it,
/// and writes ".", which sends drivers to the current folder for their keys.
fn root_of_v2(top: &Map<String, Value>) -> Option<String> {
    let driver = top.get("Driver").and_then(|driver| driver.get("StorePath"));
    let auth = top.get("HostOptions").and_then(|options| options.get("AuthOptions")?.get("StorePath"));
    [driver, auth]
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .find(|path| !path.is_empty())
        .map(str::to_owned)
}

/// An object inside another; made where it is missing or `null`.
fn child<'a>(of: &'a mut Map<String, Value>, key: &str) -> Result<&'a mut Map<String, Value>, ConfigError> {
    let value = of.entry(key).or_insert(Value::Null);
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => Ok(map),
        other => {
            Err(ConfigError::Shape(format!("{key} of config.json is {}, not an object", kind_of(other))))
        }
    }
}

fn text(of: &Map<String, Value>, key: &str) -> String {
    of.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// As Go's `filepath.Dir`: the folder around a path, "." where there is none.
fn parent(path: &str) -> String {
    let path = Path::new(path);
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => ".".to_owned(),
        Some(parent) => parent.to_string_lossy().into_owned(),
        None if path.has_root() => path.to_string_lossy().into_owned(),
        None => ".".to_owned(),
    }
}

/// As Go's `filepath.Join` for a clean path and a name.
fn join(folder: &str, name: &str) -> String {
    if folder == "." { name.to_owned() } else { Path::new(folder).join(name).to_string_lossy().into_owned() }
}
