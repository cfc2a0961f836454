//! Completion: a shell asks this program what may stand at the cursor.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ValueHint};
use clap_complete::engine::{
    ArgValueCandidates, ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter,
};
use clap_complete::env::{CompleteEnv, Shells};

use machine_core::Silent;
use machine_lifecycle::{Lifecycle, Settings};
use machine_store::Store;

use crate::args::{Arguments, Command, WordKind, command_tree, default_store_path};
use crate::commands::{self, COMMANDS, FAMILIES};
use crate::error::CliError;
use crate::{invocation, runtime};

/// The variable by which a shell's script asks.
const VARIABLE: &str = "DOCKER_MACHINE_COMPLETE";

/// Answers a shell that asks, and ends the program. Costs one look at the environment where nobody asks.
pub fn answer_shell() {
    if std::env::var_os(VARIABLE).is_some() {
        CompleteEnv::with_factory(tree).var(VARIABLE).bin("docker-machine").complete();
    }
}

/// bash's script: clap's own takes bash's pieces of words for words, so that `--driver=g` has no candidates.
const BASH: &str = include_str!("complete.bash");

/// The script that makes a shell ask.
///
/// # Errors
/// A shell that is not known.
pub fn script(shell: &str) -> Result<String, CliError> {
    if shell == "bash" {
        return Ok(BASH.to_owned());
    }
    let shells = Shells::builtins();
    let completer = shells
        .completer(shell)
        .ok_or_else(|| CliError::new(format!("There is no completion for {shell:?}")))?;
    let mut script = Vec::new();
    completer
        .write_registration(VARIABLE, "docker_machine", "docker-machine", "docker-machine", &mut script)
        .map_err(|error| CliError::new(format!("The script can't be made: {error}")))?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// The words of the command line so far, without the program's name.
fn line() -> Vec<String> {
    std::env::args().skip_while(|word| word != "--").skip(2).collect()
}

/// All commands, with candidates for names, drivers, shells and filters. Commands that take a driver's flags have those of
/// the driver that stands on the line so far.
fn tree() -> clap::Command {
    let line = line();
    let more = |command: &Command| commands::driver_flags(command.name, &line).unwrap_or_default();
    command_tree(COMMANDS, FAMILIES, more).mut_subcommands(|subcommand| {
        let name = subcommand.get_name().to_owned();
        if let Some(command) = COMMANDS.iter().find(|command| command.name == name) {
            return subcommand.mut_args(|arg| with_candidates(arg, command.arguments));
        }
        subcommand.mut_subcommands(|member| {
            let name = format!("{name} {}", member.get_name());
            let Some(command) = COMMANDS.iter().find(|command| command.name == name) else { return member };
            member.mut_args(|arg| with_candidates(arg, command.arguments))
        })
    })
}

fn with_candidates(arg: Arg, arguments: Arguments) -> Arg {
    let id = arg.get_id().as_str().to_owned();
    match (id.as_str(), arguments) {
        (id, Arguments::Each(words)) if id.starts_with("arg") => {
            let at: usize = id.trim_start_matches("arg").parse().unwrap_or_default();
            words.get(at).map_or_else(|| arg.clone(), |word| with_word(arg.clone(), word.is))
        }
        ("arg", Arguments::Locations) => arg.hide(false).add(ArgValueCompleter::new(locations)),
        ("arg", Arguments::Command) => arg.hide(false).add(ArgValueCandidates::new(command_names)),
        ("arg", Arguments::Words(words)) => arg
            .hide(false)
            .add(ArgValueCandidates::new(move || words.iter().map(CompletionCandidate::new).collect())),
        ("arg", arguments) if arguments.are_machines() => {
            arg.hide(false).add(ArgValueCandidates::new(machines))
        }
        ("driver", _) => arg.add(ArgValueCandidates::new(drivers)),
        ("filter", _) => arg.add(ArgValueCandidates::new(filters)),
        ("shell", _) => arg.add(ArgValueCandidates::new(|| {
            ["bash", "sh", "zsh", "fish", "cmd", "powershell", "tcsh", "emacs"]
                .map(CompletionCandidate::new)
                .into()
        })),
        // Any other value may be a file, as shells assume of every word.
        _ if !id.starts_with("arg") && arg.get_action().takes_values() => arg.value_hint(ValueHint::AnyPath),
        _ => arg,
    }
}

fn with_word(arg: Arg, is: WordKind) -> Arg {
    let arg = arg.hide(false);
    match is {
        WordKind::Machine => arg.add(ArgValueCandidates::new(machines)),
        WordKind::Snapshot => arg.add(ArgValueCandidates::new(snapshots)),
        WordKind::Image => arg.add(ArgValueCandidates::new(images)),
        WordKind::New => arg,
    }
}

/// The store's root folder, as far as the environment knows it.
fn root() -> Option<PathBuf> {
    match std::env::var_os("MACHINE_STORAGE_PATH").filter(|path| !path.is_empty()) {
        Some(path) => Some(path.into()),
        None => default_store_path().ok(),
    }
}

fn names() -> Vec<String> {
    root().and_then(|root| Store::new(root).machine_names().ok()).unwrap_or_default()
}

/// How long a driver may take to list snapshots while somebody waits at the prompt.
const SNAPSHOTS_LIMIT: Duration = Duration::from_secs(3);

/// The snapshots of the machine that stands on the line.
fn snapshots() -> Vec<CompletionCandidate> {
    let line = line();
    let mut plain = line.iter().filter(|word| !word.starts_with('-')).skip_while(|word| *word != "snapshot");
    let (Some(name), Some(root)) = (plain.nth(2), root()) else { return Vec::new() };
    let settings = Settings::for_store(&root);
    let lifecycle = Lifecycle::new(Store::new(root), invocation::drivers(), settings);
    let found = runtime::look(async {
        let asked = lifecycle.snapshots(name, &Silent);
        Ok(tokio::time::timeout(SNAPSHOTS_LIMIT, asked).await.ok().and_then(Result::ok))
    });
    let found = found.ok().flatten().unwrap_or_default();
    found.into_iter().map(|snapshot| CompletionCandidate::new(snapshot.name)).collect()
}

/// The images that are here, and those that have a name.
fn images() -> Vec<CompletionCandidate> {
    let here = root().and_then(|root| machine_image::Cache::of_store(&root).list().ok()).unwrap_or_default();
    let mut names: BTreeSet<String> = here.into_iter().map(|image| image.name).collect();
    names.extend(machine_image::catalogue::entries().into_iter().map(|entry| entry.name.into_owned()));
    names.into_iter().map(CompletionCandidate::new).collect()
}

fn machines() -> Vec<CompletionCandidate> {
    names().into_iter().map(CompletionCandidate::new).collect()
}

/// `MACHINE:` and the files here. What is on a machine is not looked at.
fn locations(typed: &OsStr) -> Vec<CompletionCandidate> {
    let known = names().into_iter().map(|name| format!("{name}:"));
    let fitting = known.filter(|name| typed.to_str().is_some_and(|typed| name.starts_with(typed)));
    fitting.map(CompletionCandidate::new).chain(PathCompleter::any().complete(typed)).collect()
}

fn command_names() -> Vec<CompletionCandidate> {
    let alone = COMMANDS.iter().filter(|command| command.family().is_none()).map(|command| command.name);
    alone.chain(FAMILIES.iter().map(|family| family.name)).map(CompletionCandidate::new).collect()
}

fn drivers() -> Vec<CompletionCandidate> {
    invocation::drivers().names().into_iter().map(CompletionCandidate::new).collect()
}

fn filters() -> Vec<CompletionCandidate> {
    let mut all: Vec<String> = ["name=", "label=", "swarm="].map(str::to_owned).into();
    all.extend(invocation::drivers().names().into_iter().map(|name| format!("driver={name}")));
    all.extend(
        machine_core::State::ALL
            .iter()
            .map(|state| format!("state={state}"))
            .filter(|text| !text.ends_with('=')),
    );
    all.into_iter().map(CompletionCandidate::new).collect()
}
