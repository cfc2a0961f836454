//! `url`: where a machine's engine is, as its record says; its driver is asked where the record has no address.

use serde_json::json;

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{output, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "url",
    about: "Get the URL of a machine",
    description: "Argument is a machine name; without one it is the machine \"default\".",
    arguments: Arguments::Machine,
    flags: &[super::JSON],
    examples: &[("docker-machine url web1", "where the engine is, e.g. tcp://203.0.113.7:2376")],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let machine = invocation.one_machine(lifecycle.store())?;
    let machine = runtime::with_address(&lifecycle, machine)?;
    let url = lifecycle.known(&machine)?.url;
    if url.is_empty() {
        return Err(CliError::new("Host is not running").with_hint(format!(
            "machine {:?} has no address yet; `docker-machine ls` shows what is known of it",
            machine.name
        )));
    }
    if invocation.json() {
        return output::print_json(&json!({ "Name": machine.name, "URL": url }));
    }
    output::print_line(&url)
}
