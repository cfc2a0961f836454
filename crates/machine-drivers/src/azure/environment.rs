//! Azure's clouds: each has its own addresses.
//!
//! Source: `az cloud list`, and Microsoft's page "Azure Government developer guide" / "Azure China developer guide".

use machine_core::{DriverError, ErrorKind};

/// A cloud.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Environment {
    /// Its name, as `--azure-environment` has it.
    pub(super) name: &'static str,
    /// Where the Resource Manager is.
    pub(super) manager: &'static str,
    /// Where Entra ID is.
    pub(super) authority: &'static str,
}

const CLOUDS: [Environment; 3] = [
    Environment {
        name: "AzurePublicCloud",
        manager: "https://management.azure.com",
        authority: "https://login.microsoftonline.com",
    },
    Environment {
        name: "AzureUSGovernmentCloud",
        manager: "https://management.usgovcloudapi.net",
        authority: "https://login.microsoftonline.us",
    },
    Environment {
        name: "AzureChinaCloud",
        manager: "https://management.chinacloudapi.cn",
        authority: "https://login.chinacloudapi.cn",
    },
];

/// The cloud of this name, which may be written as in docker/machine or as in Azure's command line (`AzureCloud`,
/// `AzureUSGovernment`).
///
/// # Errors
/// [`ErrorKind::Config`] where there is none, or none any more.
pub(super) fn named(name: &str) -> Result<&'static Environment, DriverError> {
    let wrong = |text: String, hint: &str| Err(DriverError::new(ErrorKind::Config, text).with_hint(hint));
    let known = match name.to_ascii_lowercase().as_str() {
        "azurepubliccloud" | "azurecloud" => &CLOUDS[0],
        "azureusgovernmentcloud" | "azureusgovernment" => &CLOUDS[1],
        "azurechinacloud" => &CLOUDS[2],
        "azuregermancloud" => {
            return wrong(
                format!("Invalid Azure environment: {name:?}: Azure Germany was closed on 29 October 2021"),
                "Germany is a region of the public cloud now: --azure-location germanywestcentral",
            );
        }
        _ => {
            let names: Vec<&str> = CLOUDS.iter().map(|cloud| cloud.name).collect();
            return wrong(
                format!("Invalid Azure environment: {name:?}, supported values: {}", names.join(", ")),
                "for a cloud of your own give --azure-endpoint",
            );
        }
    };
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clouds_have_names_of_both_programs() {
        assert_eq!(named("AzurePublicCloud").unwrap(), named("AzureCloud").unwrap());
        assert_eq!(named("AzureUSGovernment").unwrap().authority, "https://login.microsoftonline.us");
        assert!(named("AzureGermanCloud").unwrap_err().to_string().contains("closed"));
        assert!(
            named("Nimbus").unwrap_err().to_string().starts_with("Invalid Azure environment: \"Nimbus\"")
        );
    }
}
