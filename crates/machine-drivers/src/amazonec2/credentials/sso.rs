//! Single sign-on: the token that `aws sso login` keeps, and what it is good for.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::digest;
use machine_core::{DriverError, Secret};
use machine_http::api::{Anonymous, Call};
use machine_http::header::{HeaderName, HeaderValue};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::endpoint;
use super::super::trouble::{dialect, trouble};
use super::{Chain, no_access, remote};
use crate::cloud;

const BEARER: HeaderName = HeaderName::from_static("x-amz-sso_bearer_token");
/// How long before its end a token is renewed.
const MARGIN: Duration = Duration::from_secs(60);

impl Chain<'_> {
    /// The credentials of a profile's account and role.
    pub(super) async fn of_sso(&self, profile: &str) -> Result<Credentials, DriverError> {
        let value = |key: &str| self.profiles.value(profile, key);
        let session = value("sso_session");
        let (start, region) = match session {
            "" => (value("sso_start_url"), value("sso_region")),
            session => {
                (self.profiles.sso(session, "sso_start_url"), self.profiles.sso(session, "sso_region"))
            }
        };
        let (account, role) = (value("sso_account_id"), value("sso_role_name"));
        if start.is_empty() || region.is_empty() || role.is_empty() {
            return Err(no_access(format!(
                "the profile {profile:?} lacks one of sso_start_url, sso_region and sso_role_name"
            ))
            .with_hint("`aws configure sso` writes such profiles"));
        }
        let token = self.sso_token(profile, if session.is_empty() { start } else { session }, region).await?;
        let doing = format!("single sign-on gives no credentials for the profile {profile:?}");
        let mut bearer = HeaderValue::from_str(token.expose()).map_err(|_| no_access(doing.clone()))?;
        bearer.set_sensitive(true);
        let base = self.environment.endpoint("SSO", endpoint::of("portal.sso", region));
        let query = [("account_id", account), ("role_name", role)];
        let call =
            Call::get(cloud::url(&base, &["federation", "credentials"], &query)?).header(BEARER, bearer);
        let api = cloud::api(self.client.clone(), dialect, &Anonymous, self.report);
        let answer = api.send(&call).await.map_err(|error| match error.status() {
            Some(401) => logged_out(profile),
            _ => trouble(&doing, &error),
        })?;
        let body: Value = answer.json().map_err(|error| trouble(&doing, &error))?;
        let names = ["accessKeyId", "secretAccessKey", "sessionToken", "expiration"];
        let found = body.get("roleCredentials").and_then(|found| remote::from_json(found, names, "sso"));
        found.ok_or_else(|| no_access(doing))
    }

    /// The kept token, renewed where it has ended and can be.
    async fn sso_token(&self, profile: &str, name: &str, region: &str) -> Result<Secret, DriverError> {
        let file = self.sso_file(name).ok_or_else(|| logged_out(profile))?;
        let text = std::fs::read_to_string(&file).map_err(|_| logged_out(profile))?;
        let mut kept: Value = serde_json::from_str(&text).map_err(|_| logged_out(profile))?;
        let end = kept.get("expiresAt").and_then(Value::as_str).and_then(remote::moment);
        if end.is_none_or(|end| end <= SystemTime::now() + MARGIN) {
            self.renew_sso(profile, region, &mut kept).await?;
            // The old refresh token may be of no use any more: the next program needs the new one.
            keep(&file, &kept).map_err(|error| no_access(format!("{}: {error}", file.display())))?;
        }
        let token = kept.get("accessToken").and_then(Value::as_str).ok_or_else(|| logged_out(profile))?;
        Ok(Secret::new(token))
    }

    /// Where `aws sso login` keeps the token: the file's name is the SHA-1 of the session's name or the address.
    fn sso_file(&self, name: &str) -> Option<PathBuf> {
        let sum = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, name.as_bytes());
        let hex: String = sum.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        self.environment.file("", &format!("sso/cache/{hex}.json"))
    }

    async fn renew_sso(&self, profile: &str, region: &str, kept: &mut Value) -> Result<(), DriverError> {
        let value = |key: &str| kept.get(key).and_then(Value::as_str).unwrap_or_default();
        let (id, secret, refresh) = (value("clientId"), value("clientSecret"), value("refreshToken"));
        if id.is_empty() || secret.is_empty() || refresh.is_empty() {
            return Err(logged_out(profile));
        }
        let wish = json!({
            "clientId": id, "clientSecret": secret, "grantType": "refresh_token", "refreshToken": refresh,
        });
        let base = self.environment.endpoint("SSO_OIDC", endpoint::of("oidc", region));
        let api = cloud::api(self.client.clone(), dialect, &Anonymous, self.report);
        let call = Call::post(cloud::url(&base, &["token"], &[])?).json(&wish);
        let answer = api.send(&call).await.map_err(|error| match error.status() {
            Some(400..=499) => logged_out(profile),
            _ => trouble("the login of single sign-on can't be renewed", &error),
        })?;
        let fresh: Value = answer.json().map_err(|_| logged_out(profile))?;
        let seconds = fresh.get("expiresIn").and_then(Value::as_u64).unwrap_or_default();
        let end = OffsetDateTime::now_utc() + Duration::from_secs(seconds);
        for key in ["accessToken", "refreshToken"] {
            if let Some(token) = fresh.get(key).filter(|token| token.is_string()) {
                kept[key] = token.clone();
            }
        }
        kept["expiresAt"] = Value::from(end.format(&Rfc3339).unwrap_or_default());
        Ok(())
    }
}

fn logged_out(profile: &str) -> DriverError {
    no_access(format!("the profile {profile:?} is logged out of single sign-on"))
        .with_hint(format!("log in with `aws sso login --profile {profile}`"))
}

/// Writes the file so that nobody sees half of it, and nobody else can read it.
fn keep(file: &Path, kept: &Value) -> std::io::Result<()> {
    let new = file.with_extension("json.new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut opened = options.open(&new)?;
    std::io::Write::write_all(&mut opened, kept.to_string().as_bytes())?;
    opened.sync_all()?;
    std::fs::rename(&new, file)
}
