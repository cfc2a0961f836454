//! `active`: which machine `DOCKER_HOST` means. One look at the records; nobody is asked.

use std::string::FromUtf8Error;

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
    let records = records(lifecycle.store())?;
    // Nearly always the host of DOCKER_HOST stands in the record as it is, and few records have to be understood.
    let host = host(&wanted);
    let (likely, rest): (Vec<Record>, Vec<Record>) =
        records.into_iter().partition(|record| record.text.contains(host));
    let active = find(&lifecycle, likely, &wanted).or_else(|| find(&lifecycle, rest, &wanted));
    let name = active.ok_or_else(none)?;
    if invocation.json() { output::print_json(&json!({ "Name": name })) } else { output::print_line(&name) }
}

/// A machine's config.json as it stands on disk. Kept, because opening a file costs as much as understanding it.
struct Record {
    name: String,
    text: String,
}

/// All records that can be read, each read once.
fn records(store: &Store) -> Result<Vec<Record>, CliError> {
    let read = |name: String| {
        let bytes = std::fs::read(store.machine_dir(&name).join("config.json")).ok()?;
        // What is no UTF-8 is read as Go reads it.
        let lossy = |error: FromUtf8Error| String::from_utf8_lossy(error.as_bytes()).into_owned();
        Some(Record { name, text: String::from_utf8(bytes).unwrap_or_else(lossy) })
    };
    Ok(store.machine_names()?.into_iter().filter_map(read).collect())
}

/// The host of a `DOCKER_HOST`.
fn host(docker_host: &str) -> &str {
    let host = docker_host.split_once("://").map_or(docker_host, |(_, rest)| rest);
    host.rsplit_once(':').map_or(host, |(host, _)| host)
}

/// The machine that `DOCKER_HOST` means; the first in the order of `ls`, where several mean the same engine.
fn find(lifecycle: &Lifecycle, records: Vec<Record>, wanted: &str) -> Option<String> {
    let is_it = |record: &Record| {
        let machine = machine_store::parse_config(record.text.as_bytes());
        machine.is_ok_and(|machine| is_active(lifecycle, &machine, wanted) != Active::No)
    };
    let names = records.into_iter().filter(is_it).map(|record| record.name);
    names.min_by(|a, b| machines::natural(a, b))
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
