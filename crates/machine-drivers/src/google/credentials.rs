//! Who we are: application default credentials, in the order and the formats of Google's own libraries (AIP-4110).

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use std::{collections::HashMap, sync::Mutex};

use async_trait::async_trait;
use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_core::{DriverError, ErrorKind, Secret};
use machine_http::api::{Access, ApiError, Outgoing};
use machine_http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use machine_http::{Client, Settings};
use serde::Deserialize;
use tokio::time::Instant;

use super::state::GoogleState;
use super::surroundings::Surroundings;
use super::{token, trouble};

/// A token is renewed so long before its end.
const MARGIN: Duration = Duration::from_secs(60);
/// How long a metadata server may take to answer: it is on the same computer, or there is none.
const METADATA_LIMIT: Duration = Duration::from_secs(3);

/// Credentials of one of the kinds that Google has.
pub(super) enum Source {
    /// What stands in a file or flag.
    Key(Box<Key>),
    /// The machine that we run on says who we are: host and port of its metadata server.
    Metadata(String),
}

/// The JSON of credentials.
#[derive(Clone, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Key {
    /// A key of a service account.
    ServiceAccount(ServiceAccount),
    /// A person, by `gcloud auth application-default login`.
    AuthorizedUser(AuthorizedUser),
    /// Somebody whom another provider vouches for: workload identity federation.
    ExternalAccount(Box<ExternalAccount>),
    /// Somebody who acts as a service account.
    ImpersonatedServiceAccount(ImpersonatedServiceAccount),
}

#[derive(Clone, Deserialize)]
pub(super) struct ServiceAccount {
    pub(super) client_email: String,
    pub(super) private_key: Secret,
    #[serde(default)]
    pub(super) private_key_id: String,
    #[serde(default = "token_uri")]
    pub(super) token_uri: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct AuthorizedUser {
    pub(super) client_id: String,
    pub(super) client_secret: Secret,
    pub(super) refresh_token: Secret,
    #[serde(default = "token_uri")]
    pub(super) token_uri: String,
    #[serde(default)]
    quota_project_id: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct ExternalAccount {
    pub(super) audience: String,
    pub(super) subject_token_type: String,
    #[serde(default = "sts")]
    pub(super) token_url: String,
    #[serde(default)]
    pub(super) service_account_impersonation_url: String,
    #[serde(default)]
    pub(super) workforce_pool_user_project: String,
    pub(super) credential_source: SubjectSource,
}

/// Where the other provider's token stands.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SubjectSource {
    pub(super) file: String,
    pub(super) url: String,
    pub(super) headers: HashMap<String, Secret>,
    pub(super) format: SubjectFormat,
    executable: Option<serde_json::Value>,
    environment_id: String,
}

/// How it stands there.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct SubjectFormat {
    pub(super) r#type: String,
    pub(super) subject_token_field_name: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct ImpersonatedServiceAccount {
    pub(super) service_account_impersonation_url: String,
    pub(super) source_credentials: Box<Key>,
    #[serde(default)]
    pub(super) delegates: Vec<String>,
}

fn token_uri() -> String {
    "https://oauth2.googleapis.com/token".to_owned()
}

fn sts() -> String {
    "https://sts.googleapis.com/v1/token".to_owned()
}

fn wrong(text: String) -> DriverError {
    DriverError::new(ErrorKind::Credentials, text).with_hint(trouble::CREDENTIALS)
}

/// Reads the JSON. `of` says where it stands, for errors; what is in it is shown to nobody.
fn parse(json: &str, of: &str) -> Result<Key, DriverError> {
    let key: Key = serde_json::from_str(json).map_err(|error| {
        let at = (error.line(), error.column());
        let kind = serde_json::from_str::<serde_json::Value>(json).ok();
        let kind = kind.as_ref().and_then(|value| value["type"].as_str()).unwrap_or_default().to_owned();
        let known =
            ["service_account", "authorized_user", "external_account", "impersonated_service_account"];
        if !kind.is_empty() && !known.contains(&kind.as_str()) {
            return wrong(format!("{of}: credentials of the type {kind:?} are not known here"));
        }
        wrong(format!("{of}: these are no credentials: wrong at line {}, column {}", at.0, at.1))
    })?;
    if let Key::ExternalAccount(account) = &key {
        let source = &account.credential_source;
        if !source.environment_id.is_empty() || source.executable.is_some() {
            return Err(wrong(format!(
                "{of}: workload identity federation works here with a file or an address, not with AWS or a program"
            )));
        }
    }
    Ok(key)
}

/// The credentials of a state, as far as they stand in flags and files.
fn find(state: &GoogleState, around: &Surroundings) -> Result<(Source, String), DriverError> {
    if !state.auth.is_empty() {
        let text = state.auth.expose().trim();
        // Go's decoder takes the line breaks that `base64` puts in.
        let packed: String = text.split_ascii_whitespace().collect();
        let json = STANDARD.decode(packed).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let json = json.unwrap_or_else(|| text.to_owned());
        let key = parse(&json, "--google-auth-encoded-json")?;
        return Ok((Source::Key(Box::new(key)), json));
    }
    let variable = around.credentials();
    for (path, of) in [
        (state.application_credentials.as_str(), "--google-application-credentials"),
        (variable.as_str(), "GOOGLE_APPLICATION_CREDENTIALS"),
    ] {
        // What a record names may be gone by now; what the environment names counts then.
        let other = of.starts_with("--") && !variable.is_empty() && variable != path;
        if path.is_empty() || (other && !Path::new(path).exists()) {
            continue;
        }
        let of = format!("{of}: {path}");
        let json = std::fs::read_to_string(path).map_err(|error| wrong(format!("{of}: {error}")))?;
        return Ok((Source::Key(Box::new(parse(&json, &of)?)), json));
    }
    if let Some(path) = around.well_known().filter(|path| path.is_file()) {
        let of = path.display().to_string();
        let json = std::fs::read_to_string(&path).map_err(|error| wrong(format!("{of}: {error}")))?;
        return Ok((Source::Key(Box::new(parse(&json, &of)?)), json));
    }
    match around.metadata_host() {
        Some(host) => Ok((Source::Metadata(host.clone()), host)),
        None => Err(wrong("there are no credentials for Google Cloud".to_owned())),
    }
}

/// The tokens of a driver, by credentials, for as long as it lives.
#[derive(Default)]
pub(super) struct Tokens(Mutex<HashMap<Vec<u8>, Arc<Slot>>>);

/// The token of some credentials. Whoever wants one waits for whoever is getting it.
type Slot = tokio::sync::Mutex<Option<Token>>;

/// Proves who we are, until some time.
#[derive(Clone)]
pub(super) struct Token {
    /// What stands in the header.
    pub(super) value: HeaderValue,
    /// Until when.
    pub(super) until: Instant,
}

/// Credentials at work.
pub(super) struct Session {
    source: Source,
    slot: Arc<Slot>,
    client: Client,
    /// For a metadata server, which no proxy leads to.
    near: Client,
    /// The token that was used last.
    used: Mutex<Option<HeaderValue>>,
}

impl Tokens {
    /// The credentials of a state. Files are read; nobody is asked yet.
    pub(super) fn session(
        &self,
        state: &GoogleState,
        around: &Surroundings,
        client: Client,
    ) -> Result<Session, DriverError> {
        let (source, json) = find(state, around)?;
        let name = digest(&SHA256, json.as_bytes()).as_ref().to_vec();
        let slot = Arc::clone(self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default());
        let near = match &source {
            Source::Metadata(_) => Client::new(&Settings {
                connect: METADATA_LIMIT,
                silence: METADATA_LIMIT,
                proxies: false,
                redirects: false,
                ..Settings::default()
            })
            .map_err(|error| DriverError::new(ErrorKind::Other, error.to_string()))?,
            Source::Key(_) => client.clone(),
        };
        Ok(Session { source, slot, client, near, used: Mutex::default() })
    }
}

impl Session {
    async fn token(&self) -> Result<HeaderValue, ApiError> {
        let mut slot = self.slot.lock().await;
        if let Some(token) = slot.as_ref().filter(|token| token.until > Instant::now() + MARGIN) {
            return Ok(token.value.clone());
        }
        let token = match &self.source {
            Source::Key(key) => token::of_key(&self.client, key).await?,
            Source::Metadata(host) => token::of_metadata(&self.near, host).await?,
        };
        let value = token.value.clone();
        *slot = Some(token);
        Ok(value)
    }
}

#[async_trait]
impl Access for Session {
    async fn grant(&self, request: &mut Outgoing<'_>) -> Result<(), ApiError> {
        let value = self.token().await?;
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(value.clone());
        request.headers.insert(AUTHORIZATION, value);
        if let Source::Key(key) = &self.source
            && let Key::AuthorizedUser(user) = key.as_ref()
            && let Ok(project) = HeaderValue::from_str(&user.quota_project_id)
            && !project.is_empty()
        {
            // A person's calls are counted where the person says (AIP-4111).
            request.headers.insert(HeaderName::from_static("x-goog-user-project"), project);
        }
        Ok(())
    }

    async fn renew(&self) -> bool {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut slot = self.slot.lock().await;
        // Somebody else may have a new one by now.
        if slot.as_ref().map(|token| &token.value) == used.as_ref() {
            *slot = None;
        }
        true
    }
}
