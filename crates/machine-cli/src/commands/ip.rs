//! `ip`: where machines are, as their records say; the driver is asked about those whose record has no address.

use serde_json::json;

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{output, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "ip",
    about: "Get the IP address of a machine",
    description: "Argument(s) are one or more machine names; without one it is the machine \"default\".",
    arguments: Arguments::Machines,
    flags: &[super::JSON],
    examples: &[("docker-machine ip web1 web2", "the addresses of two machines, a line each")],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let names = invocation.names(lifecycle.store())?;
    // As in the reference program, nothing is printed where one machine can't be read.
    let mut found = Vec::new();
    let mut errors = Vec::new();
    for name in &names {
        match lifecycle.store().load(name) {
            Ok(machine) => found.push((name, machine)),
            Err(error) => errors.push(error.into()),
        }
    }
    if let Some(error) = CliError::all(errors) {
        return Err(error);
    }
    let (mut lines, mut rows, mut errors) = (String::new(), Vec::new(), Vec::new());
    for (name, machine) in found {
        let machine = runtime::with_address(&lifecycle, machine)?;
        match lifecycle.known(&machine) {
            // A machine that is only a URL may have no address, and the reference program prints an empty line.
            Ok(known) if !known.ip.is_empty() || known.ssh.is_none() && !known.url.is_empty() => {
                rows.push(json!({ "Name": name, "IP": known.ip }));
                lines.push_str(&known.ip);
                lines.push('\n');
            }
            Ok(_) => errors.push(CliError::new(format!(
                "Error getting IP address: machine {name:?} has none yet: its host was not made, or is not running"
            ))),
            Err(error) => errors.push(CliError::from(error).context("Error getting IP address")),
        }
    }
    if invocation.json() {
        output::print_json(&rows)?
    } else {
        output::print(&lines)?
    }
    CliError::all(errors).map_or(Ok(()), Err)
}
