//! `status`: what a machine's host is doing.

use machine_core::Silent;
use serde_json::json;

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{output, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "status",
    about: "Get the status of a machine",
    description: "Argument is a machine name; without one it is the machine \"default\".",
    arguments: Arguments::Machine,
    flags: &[super::JSON],
    examples: &[("docker-machine status web1", "one word, e.g. Running or Stopped")],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let name = invocation.one_name(lifecycle.store())?;
    lifecycle.store().load(&name)?;
    let doing = format!("error getting state for host {name}");
    let state = runtime::look(async {
        lifecycle.status(&name, &Silent).await.map_err(|error| CliError::from(error).context(&doing))
    })?;
    if invocation.json() {
        return output::print_json(&json!({ "Name": name, "State": state.as_str() }));
    }
    output::print_line(state.as_str())
}
