//! `active`: which machine `DOCKER_HOST` means. One look at the records; nobody is asked.

use machine_core::Machine;
use machine_lifecycle::Lifecycle;
use machine_store::Store;
use serde_json::json;

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{machines, output};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "active",
    about: "Print which machine is active",
    description: "The active machine is the one that DOCKER_HOST points to.",
    arguments: Arguments::None,
    flags: &[
        Flag::int("timeout", 10, "Timeout in seconds; accepted and not needed: no machine is asked")
            .short('t'),
        super::JSON,
    ],
    examples: &[("eval $(docker-machine env web1); docker-machine active", "prints web1")],
    group: Group::Look,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    if !invocation.args.words().is_empty() {
        return Err(CliError::new("Error: Too many arguments given"));
    }
    invocation.args.seconds("timeout")?;
    let none = || CliError::new("No active host found");
    let wanted = std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty()).ok_or_else(none)?;
    let lifecycle = invocation.lifecycle();
    let names = lifecycle.store().machine_names()?;
    // Nearly always the host of DOCKER_HOST stands in the record as it is, and few records have to be understood.
    let (likely, rest): (Vec<String>, Vec<String>) =
        names.into_iter().partition(|name| mentions(lifecycle.store(), name, &wanted));
    let active = find(&lifecycle, likely, &wanted).or_else(|| find(&lifecycle, rest, &wanted));
    let name = active.ok_or_else(none)?;
    if invocation.json() { output::print_json(&json!({ "Name": name })) } else { output::print_line(&name) }
}

/// Whether the text of a machine's record has the host of a `DOCKER_HOST` in it.
fn mentions(store: &Store, name: &str, docker_host: &str) -> bool {
    let host = docker_host.split_once("://").map_or(docker_host, |(_, rest)| rest);
    let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
    std::fs::read_to_string(store.machine_dir(name).join("config.json")).is_ok_and(|text| text.contains(host))
}

/// The machine that `DOCKER_HOST` means; the first in the order of `ls`, where several mean the same engine.
fn find(lifecycle: &Lifecycle, names: Vec<String>, wanted: &str) -> Option<String> {
    let is_it = |name: &String| {
        let machine = lifecycle.store().load(name);
        machine.is_ok_and(|machine| is_active(lifecycle, &machine, wanted) != Active::No)
    };
    names.into_iter().filter(is_it).min_by(|a, b| machines::natural(a, b))
}

/// Whether `DOCKER_HOST` means a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Active {
    /// It does not.
    No,
    /// Its engine.
    Host,
    /// Its Swarm.
    Swarm,
}

fn is_active(lifecycle: &Lifecycle, machine: &Machine, wanted: &str) -> Active {
    let Ok(known) = lifecycle.known(machine) else { return Active::No };
    let swarm = &machine.host_options.swarm_options;
    active(&known.url, swarm.master, &swarm.host, wanted)
}

/// Whether a `DOCKER_HOST` means an engine's URL, or the Swarm that its machine is the master of.
pub fn active(url: &str, master: bool, swarm_host: &str, docker_host: &str) -> Active {
    let port = |url: &str| url.rsplit(':').next().unwrap_or_default().to_owned();
    if url.is_empty() || docker_host.is_empty() {
        Active::No
    } else if url == docker_host {
        Active::Host
    } else if master
        && url.replacen(&format!(":{}", port(url)), &format!(":{}", port(swarm_host)), 1) == docker_host
    {
        Active::Swarm
    } else {
        Active::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_and_swarms() {
        let url = "tcp://1.2.3.4:2376";
        assert_eq!(active(url, false, "", url), Active::Host);
        assert_eq!(active(url, true, "tcp://0.0.0.0:3376", "tcp://1.2.3.4:3376"), Active::Swarm);
        assert_eq!(active(url, false, "tcp://0.0.0.0:3376", "tcp://1.2.3.4:3376"), Active::No);
        assert_eq!(active("", false, "", ""), Active::No);
    }
}
