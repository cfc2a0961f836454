//! What `create` is asked for.

use std::path::PathBuf;

use machine_core::{EngineOptions, FlagValues, MachineName, SwarmOptions};
use machine_tls::KeyAlgorithm;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;

/// All that argv and the environment say of a machine to be.
pub struct CreateRequest {
    /// Its name.
    pub name: MachineName,
    /// The driver's name.
    pub driver: String,
    /// The driver's flags, and the common ones that drivers store.
    pub flags: FlagValues,
    /// `--engine-*`.
    pub engine: EngineOptions,
    /// `--swarm*`.
    pub swarm: SwarmOptions,
    /// `--tls-san`.
    pub tls_sans: Vec<String>,
    /// What keys the certificates get.
    pub key_algorithm: KeyAlgorithm,
    /// Where the engine comes from if the host has none.
    pub install: InstallMethod,
    /// CAs of registries that the engine should trust.
    pub registry_cas: Vec<RegistryCa>,
    /// Jump hosts on the way, nearest first: `user@host:port`.
    pub ssh_jumps: Vec<String>,
    /// Whether a failed create is removed again.
    pub rollback: bool,
}

/// Where the engine comes from if the host has none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum InstallMethod {
    /// The script at `--engine-install-url`.
    #[default]
    Url,
    /// The distribution's own package.
    Distro,
    /// Nowhere: an engine must be there.
    None,
}

/// A CA for a registry (`--engine-registry-ca FILE[=host:port]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCa {
    /// The PEM file.
    pub file: PathBuf,
    /// The registry; `None` means every registry: the host's own trust store.
    pub registry: Option<String>,
}

/// What a create was asked for that config.json has no place for. It lives in the side file, so that `create --resume`
/// and `provision` do the same again.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Extras {
    pub install: InstallMethod,
    pub registry_cas: Vec<RegistryCaText>,
}

/// A registry's CA as text: the file may be gone when it is needed again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RegistryCaText {
    pub registry: Option<String>,
    pub pem: String,
}

const EXTRAS_KEY: &str = "wish";

impl Extras {
    /// Reads what the request names.
    pub(crate) fn of(request: &CreateRequest) -> Result<Self, Error> {
        let registry_cas = request.registry_cas.iter().map(RegistryCaText::read).collect::<Result<_, _>>()?;
        Ok(Self { install: request.install, registry_cas })
    }

    /// Reads the side file's part; the defaults where it has none, as for a machine of the reference program.
    pub(crate) fn load(extra: &Map<String, Value>) -> Result<Self, serde_json::Error> {
        extra.get(EXTRAS_KEY).map_or_else(|| Ok(Self::default()), Self::deserialize)
    }

    pub(crate) fn store(&self, extra: &mut Map<String, Value>) {
        if let Ok(value) = serde_json::to_value(self) {
            extra.insert(EXTRAS_KEY.to_owned(), value);
        }
    }
}

impl RegistryCaText {
    fn read(ca: &RegistryCa) -> Result<Self, Error> {
        let bad = |why: String| Error::BadFile { flag: "--engine-registry-ca", path: ca.file.clone(), why };
        let pem = std::fs::read_to_string(&ca.file).map_err(|error| bad(error.to_string()))?;
        machine_tls::CertificateInfo::from_pem(&pem).map_err(|error| bad(error.to_string()))?;
        Ok(Self { registry: ca.registry.clone(), pem })
    }
}
