//! The client: one engine, one connection.

use std::time::Duration;

use hyper::Method;
use hyper::header::HeaderName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OnceCell;

use crate::connection::{Answer, Call, Connection};
use crate::endpoint::Endpoint;
use crate::{ApiVersion, EngineError, TlsConfig};

/// Asks one engine, over one connection that is opened when first needed.
///
/// The API version is negotiated once: the engine says in its answer to a ping which one it speaks at most.
pub struct Client {
    pub(crate) connection: Connection,
    pub(crate) limit: Duration,
    api: OnceCell<ApiVersion>,
}

/// What an engine is: the answer to `GET /version`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Version {
    /// The engine's version, e.g. `20.10.24+dfsg1`.
    pub version: String,
    /// The newest API version that it speaks.
    #[serde(default)]
    pub api_version: String,
    /// The oldest one; empty where the engine does not say.
    #[serde(default, rename = "MinAPIVersion")]
    pub min_api_version: String,
    /// The operating system, e.g. `linux`.
    #[serde(default)]
    pub os: String,
    /// The processor, as Go calls it, e.g. `amd64`.
    #[serde(default)]
    pub arch: String,
}

/// How an engine is set up: a part of the answer to `GET /info`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Info {
    /// The engine's id, which stays the same over restarts.
    #[serde(rename = "ID")]
    pub id: String,
    /// The host's name.
    pub name: String,
    /// The engine's version.
    pub server_version: String,
    /// The storage driver, e.g. `overlay2`.
    pub driver: String,
    /// What `/etc/os-release` calls the host's system.
    pub operating_system: String,
    /// The processor, as the kernel calls it, e.g. `x86_64`.
    pub architecture: String,
    /// The engine's data folder.
    pub docker_root_dir: String,
    /// The engine's labels, `KEY=VALUE`.
    #[serde(deserialize_with = "empty_if_null")]
    pub labels: Vec<String>,
    /// Containers, running or not.
    pub containers: u64,
    /// Processors that the engine sees.
    #[serde(rename = "NCPU")]
    pub cpus: u64,
    /// Memory that it sees, in bytes.
    pub mem_total: u64,
}

fn empty_if_null<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The header in which an engine says its newest API version.
static API_VERSION: HeaderName = HeaderName::from_static("api-version");

impl Client {
    /// A client of the engine at `url` (`tcp://`, `https://`, `http://`, `unix://`, or `HOST[:PORT]`). `limit` is for
    /// each call, connecting included. Nothing is sent yet.
    ///
    /// With an identity, `tcp://` means TLS.
    ///
    /// # Errors
    /// [`EngineError::InvalidUrl`], quoting the URL.
    pub fn new(url: &str, tls: Option<&TlsConfig>, limit: Duration) -> Result<Self, EngineError> {
        let endpoint = Endpoint::parse(url, tls.is_some())?;
        Ok(Self { connection: Connection::new(endpoint, tls.cloned()), limit, api: OnceCell::new() })
    }

    /// Does the engine answer? Gives the API version that will be spoken.
    ///
    /// # Errors
    /// Why it does not.
    pub async fn ping(&self) -> Result<ApiVersion, EngineError> {
        let answer = self.ask(Method::GET, "/_ping", Vec::new()).await?;
        // What stands before an engine (a Swarm manager, a proxy) may not know the ping.
        if !answer.status.is_success() && answer.status != hyper::StatusCode::NOT_FOUND {
            answer.ok(ApiVersion::NEWEST)?;
            return Err(self.connection.protocol("the answer to a ping makes no sense"));
        }
        let newest = answer.header(&API_VERSION).and_then(|text| text.parse().ok());
        Ok(ApiVersion::negotiate(newest))
    }

    /// The API version spoken with this engine; asked for once.
    ///
    /// # Errors
    /// Those of [`Client::ping`].
    pub async fn api_version(&self) -> Result<ApiVersion, EngineError> {
        self.api.get_or_try_init(|| self.ping()).await.copied()
    }

    /// What the engine is.
    ///
    /// # Errors
    /// Why it can't be asked.
    pub async fn version(&self) -> Result<Version, EngineError> {
        self.get("/version").await
    }

    /// How the engine is set up.
    ///
    /// # Errors
    /// Why it can't be asked.
    pub async fn info(&self) -> Result<Info, EngineError> {
        self.get("/info").await
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, EngineError> {
        let answer = self.versioned(Method::GET, path, Vec::new()).await?;
        self.read(path, &answer)
    }

    pub(crate) fn read<T: DeserializeOwned>(&self, path: &str, answer: &Answer) -> Result<T, EngineError> {
        serde_json::from_slice(&answer.body)
            .map_err(|error| self.connection.protocol(format!("the answer to {path} can't be read: {error}")))
    }

    /// Sends a request in the negotiated API version; an error status is an error.
    pub(crate) async fn versioned(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Answer, EngineError> {
        let api = self.api_version().await?;
        self.ask(method, &format!("/v{api}{path}"), body).await?.ok(api)
    }

    async fn ask(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answer, EngineError> {
        self.connection.call(Call { method, path, body, limit: self.limit }).await
    }
}
