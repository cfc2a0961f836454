//! From flags to what the lifecycle is asked for.

use std::path::PathBuf;

use machine_core::{EngineOptions, MachineName, SwarmOptions};
use machine_drivers::default::DefaultDriver;
use machine_lifecycle::{AllowFrom, CreateRequest, Error, InstallMethod, RegistryCa};

use crate::commands::regenerate_certs::key_algorithm;
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output;

/// The name of a machine to be.
///
/// # Errors
/// A name that can't be; in the reference program's words.
pub fn name(text: &str) -> Result<MachineName, CliError> {
    MachineName::new(text).map_err(|error| CliError::from(Error::BadName(error)))
}

/// What is decided once, and said to the user once, however many machines are made.
pub struct Choice {
    /// The driver's name.
    pub driver: String,
    /// From where hosts may be reached.
    pub allow_from: Vec<AllowFrom>,
}

/// Chooses the driver, and looks whether it can do what is asked for.
///
/// # Errors
/// As [`read`].
pub fn choose(invocation: &Invocation) -> Result<Choice, CliError> {
    let driver = driver(invocation);
    let allow_from = allow_from(invocation, &driver)?;
    Ok(Choice { driver, allow_from })
}

/// Reads the flags of `create`.
///
/// # Errors
/// A value that makes no sense; the text names the flag.
pub fn read(invocation: &Invocation, name: MachineName, choice: &Choice) -> Result<CreateRequest, CliError> {
    let args = &invocation.args;
    Ok(CreateRequest {
        name,
        driver: choice.driver.clone(),
        flags: args.values().clone(),
        engine: engine(invocation),
        swarm: swarm(invocation),
        tls_sans: args.list("tls-san").to_vec(),
        key_algorithm: key_algorithm(invocation)?,
        install: install_method(args.str("engine-install"))?,
        registry_cas: args
            .list("engine-registry-ca")
            .iter()
            .map(|text| registry_ca(text))
            .collect::<Result<_, _>>()?,
        ssh_jumps: args.list("ssh-jump").to_vec(),
        allow_from: choice.allow_from.clone(),
        rollback: args.bool("rollback"),
    })
}

/// The driver that was named, or the default one: then the user is told.
fn driver(invocation: &Invocation) -> String {
    let named = invocation.args.str("driver");
    if !named.is_empty() {
        return named.to_owned();
    }
    let default = DefaultDriver::look();
    output::note(&default.notice());
    default.name.to_owned()
}

/// Lists that nobody gave are `[]` in the record, as in the reference program.
fn engine(invocation: &Invocation) -> EngineOptions {
    let args = &invocation.args;
    let list = |name: &str| Some(args.list(name).to_vec());
    EngineOptions {
        arbitrary_flags: list("engine-opt"),
        env: list("engine-env"),
        insecure_registry: list("engine-insecure-registry"),
        labels: list("engine-label"),
        registry_mirror: list("engine-registry-mirror"),
        storage_driver: args.str("engine-storage-driver").to_owned(),
        tls_verify: true,
        install_url: args.str("engine-install-url").to_owned(),
        ..EngineOptions::default()
    }
}

fn swarm(invocation: &Invocation) -> SwarmOptions {
    let args = &invocation.args;
    let text = |name: &str| args.str(name).to_owned();
    let list = |name: &str| Some(args.list(name).to_vec());
    SwarmOptions {
        is_swarm: args.bool("swarm") || args.bool("swarm-master"),
        address: text("swarm-addr"),
        discovery: text("swarm-discovery"),
        agent: args.bool("swarm"),
        master: args.bool("swarm-master"),
        host: text("swarm-host"),
        image: text("swarm-image"),
        strategy: text("swarm-strategy"),
        arbitrary_flags: list("swarm-opt"),
        arbitrary_join_flags: list("swarm-join-opt"),
        is_experimental: args.bool("swarm-experimental"),
        ..SwarmOptions::default()
    }
}

/// From where a host may be reached. A driver that can't see to that must not be believed to: an error, but where it is only
/// the environment that says so for all machines.
fn allow_from(invocation: &Invocation, driver: &str) -> Result<Vec<AllowFrom>, CliError> {
    let words = invocation.args.list("allow-from").iter().flat_map(|text| text.split(','));
    let places = words.map(|word| AllowFrom::parse(word.trim())).collect::<Result<Vec<_>, _>>()?;
    if places.is_empty() {
        return Ok(places);
    }
    let driver = super::known_driver(driver)?;
    if driver.spec().capabilities.firewall {
        return Ok(places);
    }
    let cannot = driver.spec().cannot("narrow who may connect").to_string();
    if !invocation.args.is_given("allow-from") {
        output::note(&format!("WARNING: MACHINE_ALLOW_FROM does not count: {cannot}"));
        return Ok(Vec::new());
    }
    let drivers = crate::invocation::drivers();
    let narrows = |name: &String| drivers.driver(name).is_ok_and(|it| it.spec().capabilities.firewall);
    let able: Vec<String> = drivers.names().into_iter().filter(narrows).collect();
    let hint = (!able.is_empty()).then(|| format!("drivers that can: {}", able.join(", ")));
    Err(CliError::new(format!("--allow-from: {cannot}")).with_hint_if(hint))
}

fn install_method(text: &str) -> Result<InstallMethod, CliError> {
    match text {
        "url" => Ok(InstallMethod::Url),
        "distro" => Ok(InstallMethod::Distro),
        "none" => Ok(InstallMethod::None),
        other => Err(CliError::new(format!(
            "invalid value {other:?} for flag -engine-install: expected url, distro or none"
        ))),
    }
}

/// `FILE` or `FILE=HOST[:PORT]`. A file's name may hold `=`; a registry's can't.
fn registry_ca(text: &str) -> Result<RegistryCa, CliError> {
    let invalid =
        |why: &str| CliError::new(format!("invalid value {text:?} for flag -engine-registry-ca: {why}"));
    let (file, registry) = match text.rsplit_once('=') {
        Some((file, registry)) if !registry.contains('/') => (file, Some(registry)),
        _ => (text, None),
    };
    if file.is_empty() {
        return Err(invalid("expected FILE or FILE=HOST[:PORT]"));
    }
    if registry.is_some_and(str::is_empty) {
        return Err(invalid("the registry behind \"=\" is empty"));
    }
    Ok(RegistryCa { file: PathBuf::from(file), registry: registry.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_cas() {
        let read = |text: &str| registry_ca(text).map(|ca| (ca.file, ca.registry)).ok();
        assert_eq!(read("/ca.pem"), Some(("/ca.pem".into(), None)));
        assert_eq!(read("/ca.pem=r.example:5000"), Some(("/ca.pem".into(), Some("r.example:5000".into()))));
        assert_eq!(read("/a=b/ca.pem"), Some(("/a=b/ca.pem".into(), None)));
        assert_eq!(read("=r.example"), None);
        assert_eq!(read("/ca.pem="), None);
    }
}
