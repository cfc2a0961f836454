//! What the environment says.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// The variables that count beside those that are flags. They are Amazon's own.
const VARIABLES: [&str; 24] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_CONFIG_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_DISABLED",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_EC2",
    "AWS_ENDPOINT_URL_SSM",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL_SSO",
    "AWS_ENDPOINT_URL_SSO_OIDC",
];

/// The variables' values.
#[derive(Clone, Default)]
pub(in super::super) struct Environment {
    values: BTreeMap<String, String>,
    home: Option<PathBuf>,
}

/// Says which variables there are: some of their values are secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.values.keys()).finish()
    }
}

impl Environment {
    /// This process's.
    pub(in super::super) fn of_process() -> Self {
        let value = |name: &&str| Some(((*name).to_owned(), std::env::var(name).ok()?));
        Self { values: VARIABLES.iter().filter_map(value).collect(), home: std::env::home_dir() }
    }

    /// A test's.
    #[cfg(test)]
    pub(in super::super) fn of(home: &std::path::Path, values: &[(&str, &str)]) -> Self {
        for (name, _) in values {
            assert!(VARIABLES.contains(name), "{name} is never read");
        }
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Self { values: values.collect(), home: Some(home.to_owned()) }
    }

    /// A variable; empty where it is not set.
    pub(in super::super) fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// A file below `.aws` in the home folder, or where a variable says.
    pub(super) fn file(&self, variable: &str, below: &str) -> Option<PathBuf> {
        match self.get(variable) {
            "" => Some(self.home.as_ref()?.join(".aws").join(below)),
            named => Some(self.expanded(named)),
        }
    }

    /// A path in which `~/` is the home folder.
    pub(super) fn expanded(&self, path: &str) -> PathBuf {
        match path.strip_prefix("~/").zip(self.home.as_ref()) {
            Some((rest, home)) => home.join(rest),
            None => PathBuf::from(path),
        }
    }

    /// The address of a service: a variable's (as Amazon's programs have them), else the service's own.
    pub(in super::super) fn endpoint(&self, service: &str, usual: String) -> String {
        let own = format!("AWS_ENDPOINT_URL_{}", service.to_uppercase());
        let given = [self.get(&own), self.get("AWS_ENDPOINT_URL")].into_iter().find(|url| !url.is_empty());
        given.map_or(usual, |url| url.trim_end_matches('/').to_owned())
    }
}
