//! config.json, in all its versions, to a [`Machine`].

use machine_core::{CONFIG_VERSION, Machine};
use serde_json::{Map, Value};

use crate::go_syntax::syntax_error;
use crate::migrate;

/// Why the text of a config.json can't be read. The texts are the reference program's where callers may look for them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// It is not JSON (any more): torn, or edited by hand. In the words of Go's decoder.
    #[error("{0}")]
    Syntax(String),
    /// It is JSON, but not of a machine.
    #[error("{0}")]
    Shape(String),
    /// A newer program wrote it.
    #[error("config version is from the future -- you should upgrade your Docker Machine client")]
    FromTheFuture {
        /// Its version.
        version: u64,
    },
}

/// A config.json that was read.
pub(crate) struct Parsed {
    /// The record, brought to [`CONFIG_VERSION`].
    pub machine: Machine,
    /// The version that the text had.
    pub version: u32,
}

/// Reads the text of a config.json of version 0 to 3. Versions below 3 are brought to 3 as the reference program does.
/// Never panics, whatever the bytes.
///
/// # Errors
/// [`ConfigError`]: not JSON, not a machine, or from a newer program.
pub fn parse_config(bytes: &[u8]) -> Result<Machine, ConfigError> {
    parse(bytes).map(|parsed| parsed.machine)
}

pub(crate) fn parse(bytes: &[u8]) -> Result<Parsed, ConfigError> {
    // The common case is read in one go; everything unusual takes the long way.
    if let Ok(machine) = serde_json::from_slice::<Machine>(bytes)
        && machine.config_version == CONFIG_VERSION
    {
        return Ok(Parsed { machine, version: CONFIG_VERSION });
    }
    let mut top = object(bytes)?;
    let version = version_of(&top)?;
    if version < CONFIG_VERSION {
        migrate::to_v3(&mut top, version)?;
    }
    into_machine(top).map(|machine| Parsed { machine, version })
}

/// The text as a JSON object. Bytes that are not UTF-8 become U+FFFD, as in Go.
fn object(bytes: &[u8]) -> Result<Map<String, Value>, ConfigError> {
    match serde_json::from_str(&String::from_utf8_lossy(bytes)) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(ConfigError::Shape(format!("config.json holds {}, not an object", kind_of(&other)))),
        Err(error) => {
            Err(ConfigError::Syntax(syntax_error(bytes).unwrap_or_else(|| format!("invalid JSON: {error}"))))
        }
    }
}

/// The version that the text says it has; none is version 0.
fn version_of(top: &Map<String, Value>) -> Result<u32, ConfigError> {
    let version = match top.get("ConfigVersion") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_u64().ok_or_else(|| {
            ConfigError::Shape(format!("ConfigVersion of config.json is {}, not a version", kind_of(value)))
        })?,
    };
    match u32::try_from(version) {
        Ok(version) if version <= CONFIG_VERSION => Ok(version),
        _ => Err(ConfigError::FromTheFuture { version }),
    }
}

/// Fills what Go leaves at its zero where it is missing or `null`.
fn into_machine(mut top: Map<String, Value>) -> Result<Machine, ConfigError> {
    top.insert("ConfigVersion".to_owned(), Value::from(CONFIG_VERSION));
    for (key, zero) in [
        ("Driver", Value::Object(Map::new())),
        ("DriverName", Value::from("")),
        ("HostOptions", Value::Object(Map::new())),
        ("Name", Value::from("")),
    ] {
        let value = top.entry(key).or_insert(Value::Null);
        if value.is_null() {
            *value = zero;
        } else if std::mem::discriminant(value) != std::mem::discriminant(&zero) {
            return Err(ConfigError::Shape(format!(
                "{key} of config.json is {}, not {}",
                kind_of(value),
                kind_of(&zero)
            )));
        }
    }
    serde_json::from_value(Value::Object(top))
        .map_err(|error| ConfigError::Shape(format!("HostOptions of config.json: {error}")))
}

/// What a value is, for people. Never the value itself, which may be a secret.
pub(crate) fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
