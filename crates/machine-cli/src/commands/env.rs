//! `env`: what a shell has to evaluate so that `docker` means a machine.

use machine_core::Machine;
use machine_lifecycle::Lifecycle;
use serde_json::{Map, Value};

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::shell::{self, Syntax};
use crate::progress::{self, To, View};
use crate::{output, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "env",
    about: "Display the commands to set up the environment for the Docker client",
    description: "Argument is a machine name; without one it is the machine \"default\".",
    arguments: Arguments::Machine,
    flags: &[
        Flag::switch("swarm", "Display the Swarm config instead of the Docker daemon"),
        Flag::text(
            "shell",
            "",
            "",
            "Force environment to be configured for a specified shell: [bash, sh, zsh, fish, cmd, powershell, tcsh, \
             emacs], default is auto-detect",
        )
        .value("SHELL"),
        Flag::switch("unset", "Unset variables instead of setting them").short('u'),
        Flag::switch("no-proxy", "Add machine IP to NO_PROXY environment variable"),
        super::JSON,
    ],
    examples: &[
        ("eval $(docker-machine env web1)", "let docker talk to web1"),
        ("docker-machine env --shell fish web1 | source", "the same in fish"),
        ("eval $(docker-machine env -u)", "let docker talk to its default engine again"),
    ],
    group: Group::Use,
    run,
};

/// The variables that `env` sets, in the order in which it prints them.
const VARIABLES: [&str; 4] = ["DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME"];

fn run(invocation: &Invocation) -> Result<(), CliError> {
    if invocation.args.bool("unset") { unset(invocation) } else { set(invocation) }
}

fn unset(invocation: &Invocation) -> Result<(), CliError> {
    if !invocation.args.words().is_empty() {
        return Err(CliError::new("Error: Expected no machine name when the -u flag is present"));
    }
    let mut names: Vec<&str> = VARIABLES.to_vec();
    if invocation.args.bool("no-proxy") {
        names.push(no_proxy().0);
    }
    if invocation.json() {
        return output::print_json(
            &names.iter().map(|name| ((*name).to_owned(), Value::Null)).collect::<Map<_, _>>(),
        );
    }
    let syntax = syntax(invocation)?;
    let lines: String = names.iter().map(|name| syntax.unset(name)).collect();
    output::print(&(lines + &syntax.hint(&invocation.program.words)))
}

fn set(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let machine = invocation.one_machine(lifecycle.store())?;
    let swarm = invocation.args.bool("swarm");
    let (machine, connection) = runtime::look(async {
        let report = progress::reporter(&machine.name.clone(), To::Stderr, View::Lines);
        let checked = lifecycle.connection(machine, swarm, &*report).await;
        checked.map_err(|error| CliError::from(error).context("Error checking TLS connection"))
    })?;
    // Emacs evaluates what comes on stderr, too.
    if invocation.args.str("shell") != "emacs" {
        connection.warnings.iter().for_each(|warning| output::note(&format!("WARNING: {warning}")));
    }
    let dir = lifecycle.store().machine_dir(&machine.name).to_string_lossy().into_owned();
    let values = ["1".to_owned(), connection.url, dir, machine.name.clone()];
    let mut variables: Vec<(&str, String)> = VARIABLES.into_iter().zip(values).collect();
    if cfg!(windows) {
        variables.push(("COMPOSE_CONVERT_WINDOWS_PATHS", "true".to_owned()));
    }
    if invocation.args.bool("no-proxy") {
        variables.push(with_machine(&lifecycle, &machine)?);
    }
    if invocation.json() {
        let map: Map<String, Value> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return output::print_json(&map);
    }
    let syntax = syntax(invocation)?;
    let mut text = String::new();
    for (name, value) in &variables {
        text.push_str(&syntax.set(name, value)?);
    }
    output::print(&(text + &syntax.hint(&invocation.program.words)))
}

fn syntax(invocation: &Invocation) -> Result<Syntax, CliError> {
    let named = invocation.args.str("shell");
    if !named.is_empty() {
        return Ok(Syntax::of(named));
    }
    match shell::detect() {
        Some(shell) => Ok(Syntax::of(&shell)),
        None => {
            output::print(
                "The default lines below are for a sh/bash shell, you can specify the shell you're using, with the --shell flag.\n\n",
            )?;
            Err(CliError::new("Error: Unknown shell")
                .with_hint("SHELL is not set; name your shell, e.g. --shell sh"))
        }
    }
}

/// The variable of hosts that no proxy is used for, and its value: the lower-case one where it is set.
fn no_proxy() -> (&'static str, String) {
    let value = |name: &str| std::env::var(name).unwrap_or_default();
    match value("no_proxy") {
        lower if !lower.is_empty() => ("no_proxy", lower),
        _ => ("NO_PROXY", value("NO_PROXY")),
    }
}

fn with_machine(lifecycle: &Lifecycle, machine: &Machine) -> Result<(&'static str, String), CliError> {
    let ip =
        lifecycle.known(machine).map_err(|error| CliError::from(error).context("Error getting host IP"))?.ip;
    let (name, value) = no_proxy();
    Ok((name, add(&value, &ip)))
}

/// A list of hosts with one more, unless it is there.
fn add(list: &str, host: &str) -> String {
    if list.is_empty() {
        host.to_owned()
    } else if list.split(',').any(|item| item.trim() == host) {
        list.to_owned()
    } else {
        format!("{list},{host}")
    }
}

#[cfg(test)]
mod tests {
    use super::add;

    #[test]
    fn a_host_is_added_once() {
        assert_eq!(add("", "1.2.3.4"), "1.2.3.4");
        assert_eq!(add("localhost", "1.2.3.4"), "localhost,1.2.3.4");
        assert_eq!(add("1.2.3.4, localhost", "1.2.3.4"), "1.2.3.4, localhost");
        // The reference program takes 11.2.3.4 for 1.2.3.4 and leaves it out.
        assert_eq!(add("11.2.3.4", "1.2.3.4"), "11.2.3.4,1.2.3.4");
    }
}
