//! What is wanted on the host.

use machine_core::{EngineOptions, MachineName, Secret};

/// Where the reference program gets the script that installs the engine.
pub const DEFAULT_INSTALL_URL: &str = "https://get.docker.com";

/// The engine that is wanted on a host.
#[derive(Clone, Debug)]
pub struct EngineWish {
    /// The machine's name; it becomes the host's name where [`EngineWish::set_hostname`] allows it.
    pub machine: MachineName,
    /// Whether the host may be renamed to the machine's name, as the reference program always does.
    pub set_hostname: bool,
    /// `EngineOptions` of the record: labels, registries, mirrors, environment, storage driver, further flags.
    pub engine: EngineOptions,
    /// The driver's name, for the label `provider=NAME`.
    pub provider: String,
    /// The TCP port on which the engine is to listen, 2376 by default.
    pub port: u16,
    /// What the engine shows to clients, and whom it believes.
    pub certificates: Certificates,
    /// How an engine gets there if there is none.
    pub install: InstallMethod,
    /// Certificate authorities of private registries.
    pub registry_cas: Vec<RegistryCa>,
    /// Proxy variables (`HTTP_PROXY`, …) as name and value: for the engine, and for what is run to install it.
    pub proxies: Vec<(String, Secret)>,
}

/// The engine's side of mutual TLS, as PEM.
#[derive(Clone, Debug)]
pub struct Certificates {
    /// The certificate authority whose clients the engine believes.
    pub ca_pem: String,
    /// The engine's certificate.
    pub server_cert_pem: String,
    /// The engine's private key.
    pub server_key_pem: Secret,
}

/// How an engine gets to a host that has none. An engine that is already there is kept in any case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallMethod {
    /// By a shell script from this address. Where it is [`DEFAULT_INSTALL_URL`] and the distribution is one that that
    /// script does not know, the distribution's own package is taken, as the reference program does for SUSE and Arch.
    Url(String),
    /// By the distribution's own package.
    Distro,
    /// Not at all: a host without an engine is an error.
    None,
}

impl Default for InstallMethod {
    fn default() -> Self {
        Self::Url(DEFAULT_INSTALL_URL.to_owned())
    }
}

/// The certificate authority of a private registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCa {
    /// `host` or `host:port`, as it stands in image names. `None` puts the authority into the host's own trust store, so that
    /// the engine (and everything else there) believes it for every registry.
    pub registry: Option<String>,
    /// The certificate, PEM.
    pub pem: String,
}
