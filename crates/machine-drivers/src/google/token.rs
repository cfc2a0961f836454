//! Tokens, from whoever gives them for the credentials that we have.

use std::time::Duration;

use machine_core::Secret;
use machine_http::api::{Access, Anonymous, Api, ApiError, Call, Retries, Token as Bearer};
use machine_http::header::{HeaderName, HeaderValue};
use machine_http::{Client, Url};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::credentials::{ExternalAccount, ImpersonatedServiceAccount, Key, Token};
use super::{jwt, trouble};

/// What the driver does at Google.
const COMPUTE: &str = "https://www.googleapis.com/auth/compute";
/// What somebody who is to act as a service account must be allowed.
const PLATFORM: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long a token of impersonation is asked for.
const LIFETIME: Duration = Duration::from_secs(3600);
/// The longest that a token is believed to live, seconds.
const DAY: u64 = 86_400;
/// How often a metadata server is asked: there may be none.
const METADATA_TRIES: u32 = 2;

/// What a token endpoint answers (RFC 6749, 5.1).
#[derive(Deserialize)]
struct Grant {
    access_token: Secret,
    #[serde(default)]
    expires_in: u64,
}

impl Grant {
    /// The token. Some servers have numbers without end for tokens without one: it is asked for again each day.
    fn token(&self) -> Result<Token, ApiError> {
        token(&self.access_token, Duration::from_secs(self.expires_in.clamp(1, DAY)))
    }
}

/// What impersonation answers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Impersonation {
    access_token: Secret,
}

fn no(why: impl Into<String>) -> ApiError {
    ApiError::NoAccess { why: why.into() }
}

fn url(text: &str) -> Result<Url, ApiError> {
    Url::parse(text).map_err(|_| no("the credentials name an address that is none"))
}

fn token(secret: &Secret, lives: Duration) -> Result<Token, ApiError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", secret.expose().trim()))
        .map_err(|_| no("the token has characters in it that no token has"))?;
    value.set_sensitive(true);
    Ok(Token { value, until: Instant::now() + lives })
}

async fn send(
    client: &Client,
    access: &dyn Access,
    call: Call,
) -> Result<machine_http::api::Answer, ApiError> {
    Api::new(client.clone(), trouble::dialect, access).send(&call.repeatable()).await
}

async fn granted(client: &Client, call: Call) -> Result<Token, ApiError> {
    let answer = send(client, &Anonymous, call).await?;
    // The answer's own words would have the token in them.
    let grant: Grant = answer.json().map_err(|_| no("the token endpoint answered without a token"))?;
    grant.token()
}

/// A token for what stands in a file or flag.
pub(super) async fn of_key(client: &Client, key: &Key) -> Result<Token, ApiError> {
    of_key_for(client, key, COMPUTE).await
}

async fn of_key_for(client: &Client, key: &Key, scope: &str) -> Result<Token, ApiError> {
    match key {
        Key::ServiceAccount(account) => {
            let assertion = jwt::assertion(
                &account.client_email,
                scope,
                &account.token_uri,
                &account.private_key_id,
                account.private_key.expose(),
            )
            .map_err(|why| no(format!("the key of {}: {why}", account.client_email)))?;
            let form = [
                ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
                ("assertion", assertion.as_str()),
            ];
            granted(client, Call::post(url(&account.token_uri)?).form(form)).await
        }
        Key::AuthorizedUser(user) => {
            let form = [
                ("grant_type", "refresh_token"),
                ("client_id", user.client_id.as_str()),
                ("client_secret", user.client_secret.expose()),
                ("refresh_token", user.refresh_token.expose()),
            ];
            granted(client, Call::post(url(&user.token_uri)?).form(form)).await
        }
        Key::ExternalAccount(account) => of_external(client, account, scope).await,
        Key::ImpersonatedServiceAccount(account) => of_impersonated(client, account, scope).await,
    }
}

/// The other provider's token for one of Google's (RFC 8693), and that for one of a service account, where one is named.
async fn of_external(client: &Client, account: &ExternalAccount, scope: &str) -> Result<Token, ApiError> {
    let subject = subject(client, account).await?;
    let impersonate = &account.service_account_impersonation_url;
    let wanted = if impersonate.is_empty() { scope } else { PLATFORM };
    let options = json!({ "userProject": account.workforce_pool_user_project }).to_string();
    let mut form = vec![
        ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange"),
        ("requested_token_type", "urn:ietf:params:oauth:token-type:access_token"),
        ("audience", account.audience.as_str()),
        ("scope", wanted),
        ("subject_token_type", account.subject_token_type.as_str()),
        ("subject_token", subject.expose()),
    ];
    if !account.workforce_pool_user_project.is_empty() {
        form.push(("options", options.as_str()));
    }
    let first = granted(client, Call::post(url(&account.token_url)?).form(form)).await?;
    if impersonate.is_empty() {
        return Ok(first);
    }
    impersonate_with(client, &first, impersonate, &[], scope).await
}

async fn subject(client: &Client, account: &ExternalAccount) -> Result<Secret, ApiError> {
    let source = &account.credential_source;
    let text = if source.url.is_empty() {
        std::fs::read_to_string(&source.file)
            .map_err(|error| no(format!("the token of workload identity in {:?}: {error}", source.file)))?
    } else {
        let mut call = Call::get(url(&source.url)?);
        for (name, value) in &source.headers {
            let header =
                HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value.expose()).ok());
            let (name, mut value) =
                header.ok_or_else(|| no("the credentials have a header that can't be sent"))?;
            value.set_sensitive(true);
            call = call.header(name, value);
        }
        send(client, &Anonymous, call).await?.text()
    };
    if source.format.r#type != "json" {
        return Ok(Secret::new(text.trim()));
    }
    let body: Value =
        serde_json::from_str(&text).map_err(|_| no("the token of workload identity is no JSON"))?;
    let field = &source.format.subject_token_field_name;
    match body[field].as_str() {
        Some(found) => Ok(Secret::new(found)),
        None => Err(no(format!("the token of workload identity has no field {field:?}"))),
    }
}

async fn of_impersonated(
    client: &Client,
    account: &ImpersonatedServiceAccount,
    scope: &str,
) -> Result<Token, ApiError> {
    let first = Box::pin(of_key_for(client, &account.source_credentials, PLATFORM)).await?;
    let target = &account.service_account_impersonation_url;
    impersonate_with(client, &first, target, &account.delegates, scope).await
}

async fn impersonate_with(
    client: &Client,
    first: &Token,
    target: &str,
    delegates: &[String],
    scope: &str,
) -> Result<Token, ApiError> {
    let mut body = json!({ "scope": [scope], "lifetime": format!("{}s", LIFETIME.as_secs()) });
    if !delegates.is_empty() {
        body["delegates"] = json!(delegates);
    }
    let bearer = first.value.to_str().unwrap_or_default().trim_start_matches("Bearer ");
    let answer = send(client, &Bearer::bearer(bearer)?, Call::post(url(target)?).json(&body)).await?;
    let given: Impersonation =
        answer.json().map_err(|_| no("the service account's impersonation answered without a token"))?;
    token(&given.access_token, LIFETIME)
}

/// A token of the service account of the machine that we run on.
pub(super) async fn of_metadata(client: &Client, host: &str) -> Result<Token, ApiError> {
    let path = "computeMetadata/v1/instance/service-accounts/default/token";
    let flavor = (HeaderName::from_static("metadata-flavor"), HeaderValue::from_static("Google"));
    let call = Call::get(url(&format!("http://{host}/{path}"))?).header(flavor.0, flavor.1);
    let retries = Retries { tries: METADATA_TRIES, ..Retries::default() };
    let api = Api::new(client.clone(), trouble::dialect, &Anonymous).retrying(retries);
    let answer = api.send(&call).await.map_err(|error| match error {
        ApiError::Transport { .. } => no(format!(
            "there are no credentials for Google Cloud: no key is given, gcloud has none, and there is no metadata server at {host}"
        )),
        ApiError::Refused { refusal, .. } if refusal.status == 404 => {
            no("the machine that this runs on has no service account")
        }
        other => other,
    })?;
    let grant: Grant = answer.json().map_err(|_| no("the metadata server answered without a token"))?;
    grant.token()
}
