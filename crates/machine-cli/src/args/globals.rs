//! Flags that stand before any command, and their environment variables.

use std::path::PathBuf;

use machine_core::FlagSpec;

use super::argv::Given;
use super::declare::Flag;
use super::values::Args;
use crate::error::CliError;

/// The global flags of the reference program.
pub const GLOBAL_FLAGS: &[Flag] = &[
    Flag::new(FlagSpec::bool("debug", "MACHINE_DEBUG", "Enable debug mode")).short('D'),
    Flag::text(
        "storage-path",
        "MACHINE_STORAGE_PATH",
        "",
        "Configures storage path (default: ~/.docker/machine)",
    )
    .short('s')
    .value("DIR"),
    Flag::text("tls-ca-cert", "MACHINE_TLS_CA_CERT", "", "CA to verify remotes against").value("FILE"),
    Flag::text("tls-ca-key", "MACHINE_TLS_CA_KEY", "", "Private key to generate certificates").value("FILE"),
    Flag::text("tls-client-cert", "MACHINE_TLS_CLIENT_CERT", "", "Client cert to use for TLS").value("FILE"),
    Flag::text("tls-client-key", "MACHINE_TLS_CLIENT_KEY", "", "Private key used in client TLS auth")
        .value("FILE"),
    Flag::new(
        FlagSpec::str(
            "github-api-token",
            "MACHINE_GITHUB_API_TOKEN",
            "",
            "Token to use for requests to the Github API",
        )
        .secret(),
    )
    .value("TOKEN"),
    Flag::new(FlagSpec::bool(
        "native-ssh",
        "MACHINE_NATIVE_SSH",
        "Use the built-in SSH for everything, also where the system's ssh would be used",
    )),
    Flag::new(
        FlagSpec::str(
            "bugsnag-api-token",
            "MACHINE_BUGSNAG_API_TOKEN",
            "",
            "Accepted and unused: crash reports stay in the store",
        )
        .secret(),
    )
    .value("TOKEN"),
];

/// The values of the global flags.
#[derive(Clone)]
pub struct Globals {
    /// `--debug`.
    pub debug: bool,
    /// `--storage-path`: the store's root folder, absolute.
    pub store_path: PathBuf,
    /// `--native-ssh`.
    pub native_ssh: bool,
    /// `--tls-ca-cert`, where given.
    pub tls_ca_cert: Option<PathBuf>,
    /// `--tls-ca-key`, where given.
    pub tls_ca_key: Option<PathBuf>,
    /// `--tls-client-cert`, where given.
    pub tls_client_cert: Option<PathBuf>,
    /// `--tls-client-key`, where given.
    pub tls_client_key: Option<PathBuf>,
}

impl Globals {
    /// Reads them from what was given and the environment.
    ///
    /// # Errors
    /// A value that is not of its flag's type, or no home folder and no `--storage-path`.
    pub fn read(given: &[Given]) -> Result<Self, CliError> {
        let values = Args::read(GLOBAL_FLAGS, given, Vec::new())?;
        for flag in GLOBAL_FLAGS.iter().filter(|flag| flag.spec.secret) {
            crate::debug::hide(values.str(&flag.spec.name));
        }
        // They go into records, which are read from other folders, too.
        let path = |name: &str| -> Result<Option<PathBuf>, CliError> {
            let text = values.str(name);
            if text.is_empty() {
                return Ok(None);
            }
            let absolute = std::path::absolute(text);
            absolute.map(Some).map_err(|error| CliError::new(format!("--{name} {text}: {error}")))
        };
        let store_path = match path("storage-path")? {
            Some(path) => path,
            None => default_store_path()?,
        };
        Ok(Self {
            debug: values.bool("debug"),
            store_path,
            native_ssh: values.bool("native-ssh"),
            tls_ca_cert: path("tls-ca-cert")?,
            tls_ca_key: path("tls-ca-key")?,
            tls_client_cert: path("tls-client-cert")?,
            tls_client_key: path("tls-client-key")?,
        })
    }
}

/// `.docker/machine` in the home folder (`HOME`; on Windows `USERPROFILE`).
///
/// # Errors
/// Where no home folder is known.
pub fn default_store_path() -> Result<PathBuf, CliError> {
    let variable = if cfg!(windows) { "USERPROFILE" } else { "HOME" };
    match std::env::var_os(variable) {
        Some(home) if !home.is_empty() => Ok(PathBuf::from(home).join(".docker").join("machine")),
        _ => Err(CliError::new(format!("The store's folder is not known: {variable} is not set"))
            .with_hint("Set it, or name the folder with --storage-path or MACHINE_STORAGE_PATH.")),
    }
}
