//! Who we are: the places where Amazon's own programs look for credentials, in their order.
//!
//! Keys of the machine or the environment, a web identity, a profile of the shared files (keys, roles, programs, single
//! sign-on), the container's role, the instance's role.

mod environment;
mod process;
mod profile;
mod remote;
mod sso;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use machine_core::{DriverError, ErrorKind, Reporter, Secret};
use machine_http::Client;

pub(super) use environment::Environment;
use profile::Profiles;

use super::flags::DEFAULT_REGION;
use super::trouble::CREDENTIALS;

/// How long before their end credentials are no longer used.
const MARGIN: Duration = Duration::from_secs(300);
/// The reference program's text.
const MISSING: &str = "amazonec2 driver requires AWS credentials configured with the --amazonec2-access-key and --amazonec2-secret-key \
     options, environment variables, ~/.aws/credentials, or an instance role";

/// What the machine says about who we are.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted<'a> {
    pub(super) access_key: &'a str,
    pub(super) secret_key: Option<&'a Secret>,
    pub(super) session_token: Option<&'a Secret>,
    pub(super) profile: &'a str,
    pub(super) region: &'a str,
}

/// Who we are, and where.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) credentials: Credentials,
    pub(super) region: String,
}

/// Logins that were made, so that a wait does not log in at each look.
#[derive(Debug, Default)]
pub(super) struct Logins(Mutex<BTreeMap<[String; 2], Login>>);

impl Logins {
    /// The login that the machine's record and the environment lead to.
    ///
    /// # Errors
    /// [`ErrorKind::Credentials`] where there is none.
    pub(super) async fn get(
        &self,
        wanted: &Wanted<'_>,
        environment: &Environment,
        client: &Client,
        report: &dyn Reporter,
    ) -> Result<Login, DriverError> {
        if !wanted.access_key.is_empty() {
            // Nobody is asked for these.
            return Chain::new(environment, client, report, wanted)?.login(wanted).await;
        }
        let key = [wanted.profile, wanted.region].map(str::to_owned);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        if let Some(login) = known.filter(|login| is_fresh(&login.credentials)) {
            return Ok(login);
        }
        let login = Chain::new(environment, client, report, wanted)?.login(wanted).await?;
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key, login.clone());
        Ok(login)
    }
}

fn is_fresh(credentials: &Credentials) -> bool {
    credentials.expiry().is_none_or(|end| end > SystemTime::now() + MARGIN)
}

/// Credentials in whose place others are to be had, or an error that names the place.
fn no_access(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Credentials, text).with_hint(CREDENTIALS)
}

/// The places.
pub(super) struct Chain<'a> {
    environment: &'a Environment,
    client: &'a Client,
    report: &'a dyn Reporter,
    profiles: Profiles,
    profile: String,
    /// The region of who asks for other credentials.
    region: String,
}

impl<'a> Chain<'a> {
    pub(super) fn new(
        environment: &'a Environment,
        client: &'a Client,
        report: &'a dyn Reporter,
        wanted: &Wanted<'_>,
    ) -> Result<Self, DriverError> {
        let profiles = Profiles::read(environment)?;
        let chosen = [wanted.profile, environment.get("AWS_PROFILE"), environment.get("AWS_DEFAULT_PROFILE")];
        let profile = chosen.into_iter().find(|name| !name.is_empty()).unwrap_or("default").to_owned();
        let regions = [
            wanted.region,
            environment.get("AWS_REGION"),
            environment.get("AWS_DEFAULT_REGION"),
            profiles.value(&profile, "region"),
        ];
        let region = regions.into_iter().find(|name| !name.is_empty()).unwrap_or(DEFAULT_REGION).to_owned();
        Ok(Self { environment, client, report, profiles, profile, region })
    }

    pub(super) async fn login(&self, wanted: &Wanted<'_>) -> Result<Login, DriverError> {
        let credentials = self.credentials(wanted).await?;
        Ok(Login { credentials, region: self.region.clone() })
    }

    async fn credentials(&self, wanted: &Wanted<'_>) -> Result<Credentials, DriverError> {
        if let Some(own) = self.own(wanted) {
            return Ok(own);
        }
        if wanted.profile.is_empty() {
            if let Some(given) = self.given() {
                return Ok(given);
            }
            if let Some(found) = self.web_identity_of_environment().await? {
                return Ok(found);
            }
        }
        let named = !wanted.profile.is_empty() || !self.environment.get("AWS_PROFILE").is_empty();
        if let Some(found) = self.of_profile(&self.profile).await? {
            return Ok(found);
        }
        if named {
            return Err(no_access(format!(
                "the profile {:?} has no credentials in {}",
                self.profile,
                self.profiles.places()
            )));
        }
        if let Some(found) = self.of_container().await? {
            return Ok(found);
        }
        match self.of_instance().await? {
            Some(found) => Ok(found),
            None => Err(no_access(MISSING)),
        }
    }

    /// The machine's own keys. Temporary ones give way to fresh ones of the environment: they end after hours, and the
    /// machine must be removable after that.
    fn own(&self, wanted: &Wanted<'_>) -> Option<Credentials> {
        let secret =
            wanted.secret_key.filter(|secret| !secret.is_empty() && !wanted.access_key.is_empty())?;
        let token = wanted.session_token.filter(|token| !token.is_empty());
        let other = token.and_then(|_| self.given());
        let token = token.map(|token| token.expose().to_owned());
        Some(
            other.unwrap_or_else(|| {
                Credentials::new(wanted.access_key, secret.expose(), token, None, "machine")
            }),
        )
    }

    /// The keys in the environment.
    fn given(&self) -> Option<Credentials> {
        let [key, secret, token] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]
            .map(|name| self.environment.get(name));
        let token = Some(token.to_owned()).filter(|token| !token.is_empty());
        (!key.is_empty() && !secret.is_empty())
            .then(|| Credentials::new(key, secret, token, None, "environment"))
    }

    async fn web_identity_of_environment(&self) -> Result<Option<Credentials>, DriverError> {
        let file = self.environment.get("AWS_WEB_IDENTITY_TOKEN_FILE");
        let role = self.environment.get("AWS_ROLE_ARN");
        if file.is_empty() || role.is_empty() {
            return Ok(None);
        }
        let session = self.environment.get("AWS_ROLE_SESSION_NAME");
        self.assume_by_web_identity(role, session, file).await.map(Some)
    }

    /// The credentials of a profile, and of those that it leads to.
    async fn of_profile(&self, name: &str) -> Result<Option<Credentials>, DriverError> {
        let mut roles: Vec<&str> = Vec::new();
        let mut at = name;
        let mut found = loop {
            let value = |key: &str| self.profiles.value(at, key);
            let own_keys = !value("aws_access_key_id").is_empty();
            let role = value("role_arn");
            // A profile may be its own source: its keys then are what the role is assumed with.
            if role.is_empty() || (roles.contains(&at) && own_keys) {
                break self.base_of_profile(at).await?;
            }
            if roles.contains(&at) {
                return Err(no_access(format!("the profiles {} lead to each other", roles.join(", "))));
            }
            if !value("web_identity_token_file").is_empty() {
                let token = value("web_identity_token_file");
                break Some(self.assume_by_web_identity(role, value("role_session_name"), token).await?);
            }
            roles.push(at);
            match (value("source_profile"), value("credential_source")) {
                ("", "") => {
                    return Err(no_access(format!(
                        "the profile {at:?} has a role_arn, but neither source_profile nor credential_source"
                    )));
                }
                ("", source) => break self.of_source(at, source).await?,
                (next, _) => at = next,
            }
        };
        if found.is_none() && !roles.is_empty() {
            return Err(no_access(format!("the profile {at:?} has no credentials to assume a role with")));
        }
        for profile in roles.into_iter().rev() {
            if let Some(base) = found {
                found = Some(self.assume(profile, base).await?);
            }
        }
        Ok(found)
    }

    async fn base_of_profile(&self, name: &str) -> Result<Option<Credentials>, DriverError> {
        let value = |key: &str| self.profiles.value(name, key);
        let (key, secret) = (value("aws_access_key_id"), value("aws_secret_access_key"));
        if !key.is_empty() && !secret.is_empty() {
            let token = Some(value("aws_session_token").to_owned()).filter(|token| !token.is_empty());
            return Ok(Some(Credentials::new(key, secret, token, None, "profile")));
        }
        if !value("sso_account_id").is_empty() {
            return self.of_sso(name).await.map(Some);
        }
        match value("credential_process") {
            "" => Ok(None),
            command => process::run(name, command).await.map(Some),
        }
    }

    async fn of_source(&self, profile: &str, source: &str) -> Result<Option<Credentials>, DriverError> {
        match source {
            "Environment" => Ok(self.given()),
            "Ec2InstanceMetadata" => self.of_instance().await,
            "EcsContainer" => self.of_container().await,
            _ => Err(no_access(format!("the profile {profile:?} has a credential_source {source:?}"))
                .with_hint("there are Environment, Ec2InstanceMetadata and EcsContainer")),
        }
    }
}
