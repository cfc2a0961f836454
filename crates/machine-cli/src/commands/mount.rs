//! `mount`: a folder of a machine here, by sshfs.

use std::ffi::OsStr;

use machine_lifecycle::ConnectOptions;

use crate::args::{Arguments, Command, Flag, Group, help_of, single};
use crate::error::CliError;
use crate::invocation::{DEFAULT_MACHINE, Invocation};
use crate::location::Location;
use crate::system_client;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "mount",
    about: "Mount or unmount a directory from a machine with SSHFS.",
    description: "Arguments are [machine:][path] [mountpoint]",
    arguments: Arguments::Locations,
    flags: &[Flag::switch("unmount", "Unmount instead of mount").short('u')],
    examples: &[
        ("docker-machine mount web1:/srv/app ./app", "see /srv/app of web1 in ./app"),
        ("docker-machine mount -u web1:/srv/app ./app", "take it away again"),
    ],
    group: Group::Use,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let (from, to) = match invocation.args.words() {
        [from] => (from, None),
        [from, to] => (from, Some(to.clone())),
        _ => return Err(CliError::usage("Improper number of arguments", help_of(single(&COMMAND, &[])))),
    };
    let (user, name, path) = match Location::read(from) {
        Location::Machine { user, name, path } => (user, name, path),
        Location::Local(path) => (None, DEFAULT_MACHINE.to_owned(), path),
    };
    let mountpoint = to.unwrap_or_else(|| path.clone());
    let lifecycle = invocation.lifecycle();
    lifecycle
        .store()
        .load(&name)
        .map_err(|error| CliError::from(error).context("Error loading host").context("Error loading host"))?;
    if invocation.args.bool("unmount") {
        return Err(system_client::become_program(&unmount(&mountpoint)?));
    }
    if !system_client::is_installed("sshfs") {
        return Err(CliError::new(
            "You must have a copy of the sshfs binary locally to use the mount feature",
        )
        .with_hint("install it, e.g. `apt-get install sshfs`"));
    }
    let options = ConnectOptions { user, ..ConnectOptions::default() };
    let client = system_client::prepare(invocation, &lifecycle, &name, &options)?;
    Err(system_client::become_program(&client.sshfs(OsStr::new(&path), OsStr::new(&mountpoint), &[])))
}

/// What takes a mount away: FUSE's own program on Linux, by its new or old name; `umount` elsewhere.
fn unmount(mountpoint: &str) -> Result<Vec<std::ffi::OsString>, CliError> {
    let programs: &[&[&str]] = if cfg!(target_os = "linux") {
        &[&["fusermount3", "-u"], &["fusermount", "-u"]]
    } else {
        &[&["umount"]]
    };
    let program = programs.iter().find(|words| system_client::is_installed(words[0])).ok_or_else(|| {
        CliError::new("You must have a copy of the fusermount binary locally to use the unmount option")
    })?;
    Ok(program.iter().copied().chain(["--", mountpoint]).map(Into::into).collect())
}
