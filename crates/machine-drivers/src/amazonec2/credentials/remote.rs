//! Credentials that a service gives: STS for roles, the container's agent, the instance's metadata.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use machine_core::DriverError;
use machine_http::api::{Access, Anonymous, Answer, ApiError, Call, Retries};
use machine_http::header::{AUTHORIZATION, HeaderName, HeaderValue};
use machine_http::{Client, Settings, Url};
use roxmltree::Document;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::endpoint;
use super::super::sign::Signer;
use super::super::trouble::{dialect, trouble};
use super::{Chain, no_access};
use crate::cloud;

/// Where an instance asks about itself.
const METADATA: &str = "http://169.254.169.254";
/// Where a container of ECS asks about itself.
const CONTAINER: &str = "http://169.254.170.2";
/// Hosts that may be asked for a container's credentials without TLS: nobody listens on the way there.
const CONTAINER_HOSTS: [&str; 6] =
    ["127.0.0.1", "localhost", "[::1]", "169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"];
const TOKEN_TTL: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token-ttl-seconds");
const TOKEN: HeaderName = HeaderName::from_static("x-aws-ec2-metadata-token");

impl Chain<'_> {
    /// A profile's role, assumed with other credentials.
    pub(super) async fn assume(&self, profile: &str, with: Credentials) -> Result<Credentials, DriverError> {
        let value = |key: &str| self.profiles.value(profile, key);
        if !value("mfa_serial").is_empty() {
            return Err(no_access(format!("the profile {profile:?} wants a code of a device (mfa_serial)")).with_hint(
                "log in first, e.g. with `aws configure export-credentials --profile NAME --format env`, and give what it prints",
            ));
        }
        let region = Some(value("region")).filter(|region| !region.is_empty()).unwrap_or(&self.region);
        let mut form = session("AssumeRole", value("role_arn"), value("role_session_name"));
        for (parameter, key) in [("ExternalId", "external_id"), ("DurationSeconds", "duration_seconds")] {
            if !value(key).is_empty() {
                form.push((parameter, value(key).to_owned()));
            }
        }
        let signer = Signer { credentials: with, region: region.to_owned(), service: "sts" };
        self.ask_sts(region, &signer, form, &format!("the role of the profile {profile:?} can't be assumed"))
            .await
    }

    /// A role, assumed with a token that somebody else signed.
    pub(super) async fn assume_by_web_identity(
        &self,
        role: &str,
        name: &str,
        file: &str,
    ) -> Result<Credentials, DriverError> {
        let path = self.environment.expanded(file);
        let token = std::fs::read_to_string(&path)
            .map_err(|error| no_access(format!("the web identity's token: {}: {error}", path.display())))?;
        let mut form = session("AssumeRoleWithWebIdentity", role, name);
        form.push(("WebIdentityToken", token.trim().to_owned()));
        self.ask_sts(&self.region, &Anonymous, form, &format!("the role {role} can't be assumed")).await
    }

    async fn ask_sts(
        &self,
        region: &str,
        access: &dyn Access,
        form: Vec<(&'static str, String)>,
        doing: &str,
    ) -> Result<Credentials, DriverError> {
        let url = self.environment.endpoint("STS", endpoint::of("sts", region));
        let api = cloud::api(self.client.clone(), dialect, access, self.report);
        let action = if form[0].1 == "AssumeRole" { "AssumeRole" } else { "AssumeRoleWithWebIdentity" };
        // Roles can be assumed as often as one likes.
        let call = Call::post(cloud::url(&url, &[""], &[])?).form(form).named(action).repeatable();
        let answer = api.send(&call).await.map_err(|error| trouble(doing, &error))?;
        from_sts(&answer).map_err(|error| trouble(doing, &error))
    }

    /// The role of the container that we run in.
    pub(super) async fn of_container(&self) -> Result<Option<Credentials>, DriverError> {
        let relative = self.environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
        let full = self.environment.get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
        let address = match (relative, full) {
            ("", "") => return Ok(None),
            ("", full) => full.to_owned(),
            (relative, _) => format!("{CONTAINER}{relative}"),
        };
        let wrong = |why: &str| {
            no_access(format!("the container's credentials can't be had from {address:?}: {why}"))
        };
        let url = Url::parse(&address).map_err(|_| wrong("it is no address"))?;
        let host = url.host_str().unwrap_or_default();
        if url.scheme() != "https" && !CONTAINER_HOSTS.contains(&host) {
            return Err(wrong("without TLS only this computer and the container's agent are asked"));
        }
        let mut call = Call::get(url);
        if let Some(token) = self.container_token()? {
            let mut token = HeaderValue::from_str(&token).map_err(|_| wrong("its token is no token"))?;
            token.set_sensitive(true);
            call = call.header(AUTHORIZATION, token);
        }
        let api = cloud::api(near()?, dialect, &Anonymous, self.report).retrying(few());
        let answer = api.send(&call).await.map_err(|error| wrong(&error.to_string()))?;
        let body: Value = answer.json().map_err(|error| wrong(&error.to_string()))?;
        let names = ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
        from_json(&body, names, "container").map(Some).ok_or_else(|| wrong("there are none in the answer"))
    }

    fn container_token(&self) -> Result<Option<String>, DriverError> {
        let file = self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
        if !file.is_empty() {
            let read = std::fs::read_to_string(file);
            let read = read.map_err(|error| no_access(format!("the container's token: {file}: {error}")))?;
            return Ok(Some(read.trim().to_owned()));
        }
        let token = self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
        Ok(Some(token.to_owned()).filter(|token| !token.is_empty()))
    }

    /// The role of the instance that we run on (IMDSv2); `None` where we run on none, or it has none.
    pub(super) async fn of_instance(&self) -> Result<Option<Credentials>, DriverError> {
        if self.environment.get("AWS_EC2_METADATA_DISABLED").eq_ignore_ascii_case("true") {
            return Ok(None);
        }
        let given = self.environment.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").trim_end_matches('/');
        let base = if given.is_empty() { METADATA } else { given };
        let api = cloud::api(near()?, dialect, &Anonymous, self.report).retrying(few());
        let path = ["latest", "meta-data", "iam", "security-credentials", ""];
        let ttl = HeaderValue::from_static("300");
        let ask = Call::put(cloud::url(base, &["latest", "api", "token"], &[])?).header(TOKEN_TTL, ttl);
        let Ok(token) = api.send(&ask).await else {
            return Ok(None);
        };
        let wrong = |why: &str| no_access(format!("the instance's role gives no credentials: {why}"));
        let mut token =
            HeaderValue::from_str(token.text().trim()).map_err(|_| wrong("its token is no token"))?;
        token.set_sensitive(true);
        let roles = Call::get(cloud::url(base, &path, &[])?).header(TOKEN, token.clone());
        let role = match api.send(&roles).await {
            Ok(answer) => answer.text().lines().next().unwrap_or_default().trim().to_owned(),
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(wrong(&error.to_string())),
        };
        if role.is_empty() {
            return Ok(None);
        }
        let ask = Call::get(cloud::url(base, &[path[0], path[1], path[2], path[3], &role], &[])?);
        let answer = api.send(&ask.header(TOKEN, token)).await.map_err(|error| wrong(&error.to_string()))?;
        let body: Value = answer.json().map_err(|error| wrong(&error.to_string()))?;
        let names = ["AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
        from_json(&body, names, "instance").map(Some).ok_or_else(|| wrong("there are none in the answer"))
    }
}

/// What every request for a role has.
fn session(action: &str, role: &str, name: &str) -> Vec<(&'static str, String)> {
    let name = if name.is_empty() { "docker-machine" } else { name };
    vec![
        ("Action", action.to_owned()),
        ("Version", "2011-06-15".to_owned()),
        ("RoleArn", role.to_owned()),
        ("RoleSessionName", name.to_owned()),
    ]
}

/// A client for what is on or beside this computer: no proxy is between, and who is not there does not answer.
fn near() -> Result<Client, DriverError> {
    let settings = Settings {
        connect: Duration::from_secs(1),
        silence: Duration::from_secs(5),
        proxies: false,
        redirects: false,
        ..Settings::default()
    };
    Client::new(&settings).map_err(|error| no_access(error.to_string()))
}

fn few() -> Retries {
    Retries { tries: 2, budget: Duration::from_secs(10), ..Retries::default() }
}

fn from_sts(answer: &Answer) -> Result<Credentials, ApiError> {
    let text = answer.text();
    let document = Document::parse(&text).map_err(|error| answer.unreadable(&error.to_string()))?;
    let word = |name: &str| {
        let found = document.descendants().find(|node| node.is_element() && node.tag_name().name() == name);
        found.and_then(|node| node.text()).unwrap_or_default().trim().to_owned()
    };
    let (key, secret) = (word("AccessKeyId"), word("SecretAccessKey"));
    if key.is_empty() || secret.is_empty() {
        return Err(answer.unreadable("it has no credentials in it"));
    }
    Ok(Credentials::new(key, secret, Some(word("SessionToken")), moment(&word("Expiration")), "role"))
}

/// Credentials of a JSON object: the names of key, secret, token and end.
pub(super) fn from_json(body: &Value, names: [&str; 4], from: &'static str) -> Option<Credentials> {
    let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let [key, secret, token, end] = names;
    let end = body.get(end).and_then(|end| match end {
        Value::Number(ms) => Some(SystemTime::UNIX_EPOCH + Duration::from_millis(ms.as_u64()?)),
        Value::String(text) => moment(text),
        _ => None,
    });
    Some(Credentials::new(text(key)?, text(secret)?, text(token).map(str::to_owned), end, from))
}

/// A moment as RFC 3339 writes it.
pub(super) fn moment(text: &str) -> Option<SystemTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().map(SystemTime::from)
}
