//! `scp`: copies files between this computer and machines, and between machines.
//!
//! Our own connections do it, so that host keys are the pinned ones and nothing need be installed here; `--delta` needs
//! `rsync` at both ends.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use machine_lifecycle::{ConnectOptions, Lifecycle};
use machine_ssh::system::CopyPath;
use machine_ssh::{CopyOptions, CopyProgress, Endpoint, Session, copy_between};

use crate::args::{Arguments, Command, Flag, Group, help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::location::Location;
use crate::progress::{self, To, View};
use crate::{output, runtime, system_client};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "scp",
    about: "Copy files between machines",
    description: "Arguments are [[user@]machine:][path] [[user@]machine:][path].",
    arguments: Arguments::Locations,
    flags: &[
        Flag::switch("recursive", "Copy files recursively (required to copy directories)").short('r'),
        Flag::switch(
            "delta",
            "Reduce amount of data sent over network by sending only the differences (uses rsync)",
        )
        .short('d'),
        Flag::switch(
            "quiet",
            "Disables the progress meter as well as warning and diagnostic messages from ssh",
        )
        .short('q'),
    ],
    examples: &[
        ("docker-machine scp -r ./app web1:/srv/", "copy a folder to web1"),
        (
            "docker-machine scp web1:/etc/hosts admin@web2:/tmp/",
            "from one machine to another, as admin there",
        ),
    ],
    group: Group::Use,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let [from, to] = invocation.args.words() else {
        return Err(CliError::usage("Improper number of arguments", help_of(single(&COMMAND, &[]))));
    };
    let (from, to) = (Location::read(from), Location::read(to));
    if let (Location::Local(from), Location::Local(to)) = (&from, &to) {
        return Err(CliError::new(format!("Neither {from:?} nor {to:?} is on a machine")).with_hint(
            "name a place on a machine as MACHINE:PATH; for copies on this computer there is cp",
        ));
    }
    let lifecycle = invocation.lifecycle();
    for location in [&from, &to] {
        if let Location::Machine { name, .. } = location {
            let loaded = lifecycle.store().load(name);
            loaded.map_err(|error| CliError::from(error).context("Error loading host"))?;
        }
    }
    if invocation.args.bool("delta") {
        return delta(invocation, &lifecycle, &from, &to);
    }
    runtime::run(copy(invocation, &lifecycle, &from, &to), || {
        Some("What was copied until now is there; the file that was under way may be incomplete.".to_owned())
    })
}

async fn copy(
    invocation: &Invocation,
    lifecycle: &Lifecycle,
    from: &Location,
    to: &Location,
) -> Result<(), CliError> {
    let options = CopyOptions { recursive: invocation.args.bool("recursive"), ..CopyOptions::default() };
    let mut meter = Meter::new(invocation.args.bool("quiet"));
    let mut show = |progress: &CopyProgress<'_>| meter.show(progress);
    let copied = match (from, to) {
        (Location::Machine { path, .. }, Location::Local(local)) => {
            let session = connect(lifecycle, from).await?;
            session.download(OsStr::new(path), Path::new(local), &options, &mut show).await
        }
        (Location::Local(local), Location::Machine { path, .. }) => {
            let session = connect(lifecycle, to).await?;
            session.upload(Path::new(local), OsStr::new(path), &options, &mut show).await
        }
        (Location::Machine { path: from_path, .. }, Location::Machine { path: to_path, .. }) => {
            let (a, b) = (connect(lifecycle, from).await?, connect(lifecycle, to).await?);
            let from = Endpoint { session: &a, path: OsStr::new(from_path) };
            let to = Endpoint { session: &b, path: OsStr::new(to_path) };
            copy_between(from, to, &options, &mut show).await
        }
        (Location::Local(_), Location::Local(_)) => Ok(()),
    };
    meter.end();
    copied.map_err(|error| CliError::new(crate::error::chain(&error)))
}

async fn connect(lifecycle: &Lifecycle, location: &Location) -> Result<Session, CliError> {
    let Location::Machine { user, name, .. } = location else {
        return Err(CliError::new("a local path has no host"));
    };
    let options = ConnectOptions { user: user.clone(), ..ConnectOptions::default() };
    let report = progress::reporter(name, To::Stderr, View::Lines);
    Ok(lifecycle.connect(name, &options, &*report).await?)
}

fn delta(
    invocation: &Invocation,
    lifecycle: &Lifecycle,
    from: &Location,
    to: &Location,
) -> Result<(), CliError> {
    if !system_client::is_installed("rsync") {
        return Err(CliError::new(
            "You must have a copy of the rsync binary locally to use the --delta option",
        ));
    }
    let (machine, from_path, to_path) = match (from, to) {
        (Location::Machine { path, .. }, Location::Local(local)) => {
            (from, CopyPath::Remote(path.into()), CopyPath::Local(local.into()))
        }
        (Location::Local(local), Location::Machine { path, .. }) => {
            (to, CopyPath::Local(local.into()), CopyPath::Remote(path.into()))
        }
        _ => {
            return Err(CliError::new(
                "--delta can't copy from one machine to another: rsync has no way to do it",
            )
            .with_hint("leave --delta away, or copy to this computer first"));
        }
    };
    let Location::Machine { user, name, .. } = machine else { return Ok(()) };
    let options = ConnectOptions { user: user.clone(), ..ConnectOptions::default() };
    let client = system_client::prepare(invocation, lifecycle, name, &options)?;
    let mut flags: Vec<OsString> = Vec::new();
    if !invocation.args.bool("quiet") {
        flags.push("--progress".into());
    }
    if invocation.args.bool("recursive") {
        flags.push("-r".into());
    }
    Err(system_client::become_program(&client.rsync(&flags, &from_path, &to_path)))
}

/// The line that shows how far a copy is, on a terminal.
struct Meter {
    shown: bool,
    last: Option<Instant>,
}

impl Meter {
    fn new(quiet: bool) -> Self {
        Self { shown: !quiet && output::fancy_stderr(), last: None }
    }

    fn show(&mut self, progress: &CopyProgress<'_>) {
        let (done, size) = progress.file;
        let due = self.last.is_none_or(|last| last.elapsed() > Duration::from_millis(100));
        if !self.shown || !(due || done == size) {
            return;
        }
        self.last = Some(Instant::now());
        let percent = done.saturating_mul(100).checked_div(size).unwrap_or(100);
        let name = progress.path.file_name().unwrap_or_default().to_string_lossy();
        let line = format!("\r\x1b[K{percent:3} %  {name}  {} KiB in all", progress.total / 1024);
        let _ = write!(std::io::stderr().lock(), "{line}");
    }

    fn end(&mut self) {
        if self.last.take().is_some() {
            output::note("");
        }
    }
}
