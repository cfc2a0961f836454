//! `inspect`: a machine's record.

use machine_core::{DriverSource, Secret};
use machine_drivers::base::Base;
use machine_store::go_json;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::args::{Arguments, Command, Flag, Group, help_of, single};
use crate::error::CliError;
use crate::invocation::{self, Invocation};
use crate::output;
use crate::output::template::{self, Functions, Template};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "inspect",
    about: "Inspect information about a machine",
    description: "Argument is a machine name; without one it is the machine \"default\".",
    arguments: Arguments::Machine,
    flags: &[
        Flag::text("format", "", "", "Format the output using the given go template.")
            .short('f')
            .value("TEMPLATE"),
        Flag::switch("show-secrets", "Show passwords and tokens of the driver, too").added(),
        super::JSON,
    ],
    examples: &[
        ("docker-machine inspect web1", "the whole record, as JSON"),
        ("docker-machine inspect -f '{{.Driver.IPAddress}}' web1", "one value of it"),
        ("docker-machine inspect -f '{{prettyjson .HostOptions.EngineOptions}}' web1", "a part of it"),
    ],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    if invocation.args.words().len() > 1 {
        let help = help_of(single(&COMMAND, &[]));
        return Err(CliError::usage("Error: Expected one machine name as an argument", help));
    }
    let mut machine = invocation.one_machine(&invocation.store())?;
    complete(&mut machine);
    if !invocation.args.bool("show-secrets") {
        redact(&mut machine, &*invocation::drivers());
    }
    let format = invocation.args.str("format");
    if format.is_empty() {
        return output::print_line(&go_json::to_json(&machine));
    }
    let wrong = |problem: template::Problem| CliError::new(format!("template parsing error: {problem}"));
    let template = Template::parse(format, Functions::Json).map_err(wrong)?;
    let record = serde_json::to_value(&machine).map_err(|error| {
        CliError::new(format!("the record of {:?} can't be shown: {error}", machine.name))
    })?;
    let text =
        template.render(template::map(&record)).map_err(|problem| CliError::new(problem.to_string()))?;
    output::print_line(&text)
}

/// What every driver keeps, and the rest.
#[derive(Serialize, Deserialize)]
struct Common {
    #[serde(flatten)]
    base: Base,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Adds the keys that all drivers share where an old record lacks some: the reference program shows what its driver
/// makes of a record, and callers rely on these keys. A record that has them all is shown as it is.
fn complete(machine: &mut machine_core::Machine) {
    let whole = serde_json::from_value::<Common>(Value::Object(machine.driver.0.clone()))
        .and_then(serde_json::to_value)
        .unwrap_or(Value::Null);
    if let Value::Object(whole) = whole
        && whole.len() > machine.driver.0.len()
    {
        machine.driver.0 = whole;
    }
}

/// Takes the values of secret flags out of what the driver keeps. Callers compare the rest byte for byte, so nothing
/// else is touched: `generic` and `none` have no secrets and are shown as the reference program shows them. A driver
/// keeps a flag `DRIVER-access-token` under a key like `AccessToken`.
fn redact(machine: &mut machine_core::Machine, drivers: &dyn DriverSource) {
    let secrets = secret_flags(&machine.driver_name, drivers);
    redact_keys(&mut machine.driver.0, &secrets);
}

/// The texts of a record that must not be shown.
pub fn secrets_of(machine: &machine_core::Machine, drivers: &dyn DriverSource) -> Vec<String> {
    let flags = secret_flags(&machine.driver_name, drivers);
    let secret = machine.driver.0.iter().filter(|(key, _)| is_secret(key, &flags));
    secret.filter_map(|(_, value)| value.as_str().map(str::to_owned)).collect()
}

/// The names of a driver's secret flags, letters and digits only.
fn secret_flags(driver: &str, drivers: &dyn DriverSource) -> Vec<String> {
    let Ok(driver) = drivers.driver(driver) else { return Vec::new() };
    driver.spec().flags.iter().filter(|flag| flag.secret).map(|flag| letters(&flag.name)).collect()
}

fn is_secret(key: &str, flags: &[String]) -> bool {
    let key = letters(key);
    !key.is_empty() && flags.iter().any(|flag| flag.ends_with(&key))
}

fn redact_keys(state: &mut Map<String, Value>, secrets: &[String]) {
    for (key, value) in state {
        if is_secret(key, secrets) && !matches!(value, Value::Null) && value.as_str() != Some("") {
            *value = Secret::REDACTED.into();
        }
    }
}

fn letters(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_flags_are_found_under_their_keys() {
        let flags = ["digitalocean-access-token", "amazonec2-secret-key", "openstack-password"];
        let secrets: Vec<String> = flags.map(letters).into();
        let mut state: Map<String, Value> = serde_json::from_value(serde_json::json!({
            "IPAddress": "1.2.3.4", "AccessToken": "hunter2", "SecretKey": "", "Password": null, "SSHKeyPath": "/key",
            "secret_key": "hunter2",
        }))
        .unwrap();
        redact_keys(&mut state, &secrets);
        let want = serde_json::json!({
            "IPAddress": "1.2.3.4", "AccessToken": "<redacted>", "SecretKey": "", "Password": null,
            "SSHKeyPath": "/key", "secret_key": "<redacted>",
        });
        assert_eq!(Value::Object(state), want);
    }
}
