//! What the driver reads of the environment beside its flags.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// Where gcloud keeps the application default credentials, below its folder.
const WELL_KNOWN: &str = "application_default_credentials.json";

/// Variables and folders of the user's environment.
#[derive(Clone, Debug, Default)]
pub(super) enum Surroundings {
    /// Those of this process.
    #[default]
    Process,
    /// Those that somebody gave; others are not set.
    Given(BTreeMap<String, String>),
}

impl Surroundings {
    fn variable(&self, name: &str) -> String {
        match self {
            Self::Process => std::env::var(name).unwrap_or_default(),
            Self::Given(variables) => variables.get(name).cloned().unwrap_or_default(),
        }
    }

    /// The file that `GOOGLE_APPLICATION_CREDENTIALS` names; empty for none.
    pub(super) fn credentials(&self) -> String {
        self.variable("GOOGLE_APPLICATION_CREDENTIALS")
    }

    /// Where gcloud keeps application default credentials, whether they are there or not.
    pub(super) fn well_known(&self) -> Option<PathBuf> {
        let config = self.variable("CLOUDSDK_CONFIG");
        if !config.is_empty() {
            return Some(PathBuf::from(config).join(WELL_KNOWN));
        }
        let folder = if cfg!(windows) {
            PathBuf::from(Some(self.variable("APPDATA")).filter(|folder| !folder.is_empty())?)
        } else {
            let home = match self {
                Self::Process => std::env::home_dir()?,
                Self::Given(_) => PathBuf::from(Some(self.variable("HOME")).filter(|home| !home.is_empty())?),
            };
            home.join(".config")
        };
        Some(folder.join("gcloud").join(WELL_KNOWN))
    }

    /// Host and port of the metadata server; `None` where nobody is to look for one.
    pub(super) fn metadata_host(&self) -> Option<String> {
        let given = self.variable("GCE_METADATA_HOST");
        if !given.is_empty() {
            return Some(given);
        }
        let never = self.variable("NO_GCE_CHECK");
        (!never.eq_ignore_ascii_case("true")).then(|| "169.254.169.254".to_owned())
    }
}
