//! `config`: the flags with which `docker` reaches a machine's engine, after a look whether it can be reached.

use std::path::Path;

use serde_json::json;

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::{self, go};
use crate::progress::{self, To, View};
use crate::runtime;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "config",
    about: "Print the connection config for machine",
    description: "Argument is a machine name; without one it is the machine \"default\".",
    arguments: Arguments::Machine,
    flags: &[Flag::switch("swarm", "Display the Swarm config instead of the Docker daemon"), super::JSON],
    examples: &[("docker $(docker-machine config web1) info", "run one docker command on web1")],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let machine = invocation.one_machine(lifecycle.store())?;
    let swarm = invocation.args.bool("swarm");
    let (machine, connection) = runtime::look(async {
        let report = progress::reporter(&machine.name.clone(), To::Stderr, View::Lines);
        let checked = lifecycle.connection(machine, swarm, &*report).await;
        checked.map_err(|error| CliError::from(error).context("Error running connection boilerplate"))
    })?;
    for warning in &connection.warnings {
        output::note(&format!("WARNING: {warning}"));
    }
    let dir = lifecycle.store().machine_dir(&machine.name);
    let path = |name: &str| Path::new(&dir).join(name).to_string_lossy().into_owned();
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    if invocation.json() {
        return output::print_json(&json!({
            "Name": machine.name, "Host": connection.url, "TLSVerify": true, "TLSCACert": ca, "TLSCert": cert, "TLSKey": key,
        }));
    }
    output::print(&format!(
        "--tlsverify\n--tlscacert={}\n--tlscert={}\n--tlskey={}\n-H={}\n",
        go::quote(&ca),
        go::quote(&cert),
        go::quote(&key),
        connection.url
    ))
}
