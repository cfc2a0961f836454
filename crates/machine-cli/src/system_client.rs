//! Handing over to the system's `ssh`, `rsync` and `sshfs`, with the same keys and pins as our own connections.

use std::ffi::OsString;
use std::process::Command;
use std::time::Duration;

use machine_lifecycle::{ConnectOptions, Lifecycle, SystemSsh};
use machine_ssh::system::{LogLevel, SystemClient, SystemHop};
use machine_store::Mode;

use crate::error::CliError;
use crate::invocation::Invocation;
use crate::progress::{self, To, View};
use crate::runtime;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What the system's programs need for a machine. Its host key is pinned first, where it is not yet.
///
/// # Errors
/// The machine can't be reached, or its folder can't be written.
pub fn prepare(
    invocation: &Invocation,
    lifecycle: &Lifecycle,
    name: &str,
    options: &ConnectOptions,
) -> Result<SystemClient, CliError> {
    let report = progress::reporter(name, To::Stderr, View::Lines);
    let found: SystemSsh = runtime::look(async { Ok(lifecycle.system_ssh(name, options, &*report).await?) })?;
    let jump = |(target, pins)| SystemHop { target, pins, key_files: Vec::new() };
    let client = SystemClient {
        host: SystemHop {
            target: found.target,
            pins: found.pins,
            key_files: found.key.into_iter().collect(),
        },
        jumps: found.jumps.into_iter().map(jump).collect(),
        known_hosts: found.known_hosts,
        log_level: if invocation.globals.debug { LogLevel::Debug } else { LogLevel::Error },
        connect_timeout: CONNECT_TIMEOUT,
    };
    let text = client.known_hosts_text();
    // Most of the time it is right already, and the store may be read-only.
    if std::fs::read_to_string(&client.known_hosts).ok().as_deref() != Some(&text) {
        machine_store::write_file(&client.known_hosts, text.as_bytes(), Mode::Private)?;
    }
    Ok(client)
}

/// Whether a program is on the PATH.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Becomes another program (where the system can do that; else waits for it). Returns only where that failed, or with
/// the program's exit status.
pub fn become_program(argv: &[OsString]) -> CliError {
    let Some((program, args)) = argv.split_first() else {
        return CliError::new("There is no program to run");
    };
    tracing::debug!(?argv, "handing over");
    let mut command = Command::new(program);
    command.args(args);
    let failed = |error: std::io::Error| {
        CliError::new(format!("{} can't be run: {error}", program.to_string_lossy()))
            .with_hint("Is it installed and on the PATH?")
    };
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        failed(command.exec())
    }
    #[cfg(not(unix))]
    match command.status() {
        Ok(status) => CliError::Exit(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)),
        Err(error) => failed(error),
    }
}
