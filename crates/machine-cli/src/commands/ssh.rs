//! `ssh`: a shell or a command on a machine.
//!
//! Our own connection does what most need. Options for `ssh` itself (`-L`, `-A`, `-o` …) behind the machine's name are
//! for the system's program, which gets the same key and the same pins.

use std::ffi::OsString;

use machine_lifecycle::ConnectOptions;
use machine_ssh::ShellRequest;

use crate::args::{Arguments, Command, Flag, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::{runtime, system_client};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "ssh",
    about: "Log into or run a command on a machine with SSH.",
    description: "Arguments are [machine-name] [command]. Everything behind the machine's name belongs to the command; \
                  options of ssh before the command are for the system's ssh.",
    arguments: Arguments::MachineThenRaw,
    flags: &[Flag::switch(
        "accept-new-host-key",
        "Accept the host key that the host shows now, and pin it instead of the one that is known",
    )
    .added()],
    examples: &[
        ("docker-machine ssh web1", "a shell on web1"),
        ("docker-machine ssh web1 journalctl -u docker -n 50", "a command there; its exit status is ours"),
        ("docker-machine ssh web1 -L 8080:localhost:80", "with an option of ssh: forward a port"),
    ],
    group: Group::Use,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let (name, rest) = match invocation.args.words() {
        [] => (invocation.one_name(lifecycle.store())?, &[][..]),
        [name, rest @ ..] => (name.clone(), rest),
    };
    lifecycle.store().load(&name)?;
    let options =
        ConnectOptions { accept_new_host_key: invocation.args.bool("accept-new-host-key"), user: None };
    let asked = Asked::read(rest);
    if !asked.options.is_empty() {
        if invocation.globals.native_ssh {
            return Err(CliError::new(format!("{} is an option of the system's ssh", asked.options[0]))
                .with_hint("leave --native-ssh (MACHINE_NATIVE_SSH) away to use it"));
        }
        let client = system_client::prepare(invocation, &lifecycle, &name, &options)?;
        let words = |words: &[String]| words.iter().map(OsString::from).collect::<Vec<_>>();
        // The host's name stands behind `--`; what follows it is the command, dashes and all.
        let mut argv = client.ssh(&words(&asked.options), &[]);
        argv.extend(words(&asked.command));
        return Err(system_client::become_program(&argv));
    }
    let command = (!asked.command.is_empty()).then(|| asked.command.join(" "));
    let request = ShellRequest { command, pty: asked.pty, ..ShellRequest::default() };
    let report = progress::reporter(&name, To::Stderr, View::Lines);
    let status = runtime::look(async {
        let session = lifecycle.connect(&name, &options, &*report).await?;
        let status = session
            .shell(&request)
            .await
            .map_err(|error| CliError::new(format!("machine {name:?}: {error}")))?;
        session.close().await;
        Ok(status)
    })?;
    match u8::try_from(status) {
        Ok(0) => Ok(()),
        Ok(status) => Err(CliError::Exit(status)),
        Err(_) => Err(CliError::Exit(255)),
    }
}

/// Options of OpenSSH's `ssh` that take a value (ssh.c).
const WITH_VALUE: &str = "BbcDEeFIiJLlmOoPpQRSWw";

/// What stands behind the machine's name.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Options for the system's ssh.
    options: Vec<String>,
    /// `-t` and `-T`, which need no other program.
    pty: Option<bool>,
    /// The words of the command.
    command: Vec<String>,
}

impl Asked {
    /// Reads as ssh does: options up to the first word that is none.
    fn read(words: &[String]) -> Self {
        let mut asked = Self::default();
        let mut at = 0;
        while let Some(word) = words.get(at) {
            at += 1;
            match word.as_str() {
                "--" => break,
                "-t" | "-tt" => asked.pty = Some(true),
                "-T" => asked.pty = Some(false),
                option if option.len() > 1 && option.starts_with('-') => {
                    asked.options.push(option.to_owned());
                    if takes_next(option)
                        && let Some(value) = words.get(at)
                    {
                        asked.options.push(value.clone());
                        at += 1;
                    }
                }
                _ => {
                    at -= 1;
                    break;
                }
            }
        }
        asked.command = words[at.min(words.len())..].to_vec();
        if !asked.options.is_empty()
            && let Some(pty) = asked.pty.take()
        {
            asked.options.insert(0, if pty { "-t" } else { "-T" }.to_owned());
        }
        asked
    }
}

/// Whether the value of the last letter of a cluster is the next word.
fn takes_next(cluster: &str) -> bool {
    let letters = &cluster[1..];
    letters.find(|letter| WITH_VALUE.contains(letter)).is_some_and(|at| at + 1 == letters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_ssh_end_at_the_command() {
        let read = |line: &str| {
            let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let asked = Asked::read(&words);
            (asked.options.join(" "), asked.pty, asked.command.join(" "))
        };
        let all = |options: &str, pty, command: &str| (options.to_owned(), pty, command.to_owned());
        assert_eq!(read(""), all("", None, ""));
        assert_eq!(read("ls -la --color"), all("", None, "ls -la --color"));
        assert_eq!(read("-t top"), all("", Some(true), "top"));
        assert_eq!(read("-- -x"), all("", None, "-x"));
        assert_eq!(read("-L 80:a:80 -N"), all("-L 80:a:80 -N", None, ""));
        assert_eq!(read("-AL 80:a:80 -oX=y -t cmd -t"), all("-t -AL 80:a:80 -oX=y", None, "cmd -t"));
        assert_eq!(read("-p2222 -o"), all("-p2222 -o", None, ""));
    }
}
