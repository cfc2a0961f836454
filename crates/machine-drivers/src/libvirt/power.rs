//! Turning domains on and off.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event, Power, Resize, State};
use tokio::time::{Instant, sleep};

use super::domain::with_ports;
use super::network::{self, millis};
use super::state::LibvirtState;
use super::trouble::Trouble;
use super::virsh::Virsh;
use super::{host, observe, storage};

/// How often a guest is asked again to shut down: one that boots does not hear it.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How often a start chooses other ports.
const PORT_TRIES: usize = 3;

/// Does it.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where the machine is already so.
pub(super) async fn power(
    virsh: &Virsh,
    cx: &Cx<'_>,
    state: LibvirtState,
    op: Power,
) -> Result<LibvirtState, DriverError> {
    let now = observe::look(virsh, &state.uuid).await?.state;
    match (op, now) {
        (Power::Start, State::Running) => Err(already("running")),
        (Power::Start | Power::Resume, State::Paused) => resume(virsh, state).await,
        (Power::Start, _) | (Power::Restart, State::Stopped | State::Saved) => start(virsh, cx, state).await,
        (Power::Restart, _) => {
            stop(virsh, cx, &state, now).await?;
            start(virsh, cx, state).await
        }
        (Power::Stop, State::Stopped | State::Saved) | (Power::Kill, State::Stopped) => {
            Err(already("stopped"))
        }
        (Power::Stop, _) => stop(virsh, cx, &state, now).await.map(|()| state),
        (Power::Kill, State::Saved) => {
            virsh.run(&["managedsave-remove", "--domain", &state.uuid]).await?;
            Ok(state)
        }
        (Power::Kill, _) => kill(virsh, &state).await.map(|()| state),
        (Power::Pause, State::Paused) => Err(already("paused")),
        (Power::Pause, State::Running) => {
            virsh.run(&["suspend", "--domain", &state.uuid]).await?;
            Ok(state)
        }
        (Power::Resume, State::Running) => Err(already("running")),
        (Power::Pause | Power::Resume, _) => Err(DriverError::new(
            ErrorKind::Other,
            format!("the machine is {now}, neither running nor paused"),
        )
        .with_hint("`docker-machine start` turns it on")),
    }
}

fn already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the machine is already {what}"))
}

async fn resume(virsh: &Virsh, state: LibvirtState) -> Result<LibvirtState, DriverError> {
    virsh.unless(&[Trouble::AlreadyActive], &["resume", "--domain", &state.uuid]).await?;
    Ok(state)
}

/// Turns it on. Forwarded ports that somebody else has by now are exchanged for others.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn start(
    virsh: &Virsh,
    cx: &Cx<'_>,
    mut state: LibvirtState,
) -> Result<LibvirtState, DriverError> {
    for _ in 0..PORT_TRIES {
        state = with_free_ports(virsh, cx, state).await?;
        match host::start(virsh, cx, &state).await {
            // Somebody was faster.
            Err(error) if error.kind() == ErrorKind::Unavailable && state.is_forwarded() => {
                cx.report.report(Event::Debug(error.to_string()));
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(state),
        }
    }
    host::start(virsh, cx, &state).await.map(|()| state)
}

async fn with_free_ports(
    virsh: &Virsh,
    cx: &Cx<'_>,
    state: LibvirtState,
) -> Result<LibvirtState, DriverError> {
    if !state.is_forwarded() {
        return Ok(state);
    }
    let mut new = state.clone();
    for port in [&mut new.base.ssh_port, &mut new.engine_port] {
        if !network::is_free(*port) {
            *port = network::free_port()?;
        }
    }
    if new == state {
        return Ok(state);
    }
    cx.report.report(Event::DriverLine(
        "Ports of the machine were taken by others; choosing other ones...".into(),
    ));
    let xml = virsh.run(&["dumpxml", "--domain", &state.uuid, "--inactive", "--security-info"]).await?;
    let moved = with_ports(&xml, &state, &new);
    virsh.feed(&["define", "--file", "/dev/stdin"], moved.as_bytes()).await?;
    Ok(new)
}

/// Turns it off: by asking, and by force when that did not help.
async fn stop(virsh: &Virsh, cx: &Cx<'_>, state: &LibvirtState, now: State) -> Result<(), DriverError> {
    if now == State::Paused {
        virsh.unless(&[Trouble::AlreadyActive], &["resume", "--domain", &state.uuid]).await?;
    }
    let limit = Duration::from_secs(state.stop_timeout);
    let begin = Instant::now();
    let mut asked: Option<Instant> = None;
    let mut pause = Duration::from_millis(100);
    loop {
        if asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            let ask = ["shutdown", "--domain", &state.uuid, "--mode", "acpi"];
            virsh.unless(&[Trouble::NotRunning], &ask).await?;
            asked = Some(Instant::now());
        }
        let seen = observe::look(virsh, &state.uuid).await?;
        if seen.state == State::Stopped {
            return Ok(());
        }
        if begin.elapsed() >= limit {
            break;
        }
        cx.report.report(Event::Waiting {
            what: "the machine to shut down".to_owned(),
            for_ms: millis(begin.elapsed()),
            limit_ms: millis(limit),
            last: seen.sign,
        });
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
    cx.report.report(Event::Warning(format!(
        "the machine did not shut down within {} s; turning it off",
        limit.as_secs()
    )));
    kill(virsh, state).await
}

async fn kill(virsh: &Virsh, state: &LibvirtState) -> Result<(), DriverError> {
    virsh.unless(&[Trouble::NotRunning], &["destroy", "--domain", &state.uuid]).await.map(drop)
}

/// Removes all that was made: domain, address, volumes.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn remove(virsh: &Virsh, cx: &Cx<'_>, state: &LibvirtState) -> Result<(), DriverError> {
    let off = [Trouble::NoDomain, Trouble::NotRunning];
    virsh.unless(&off, &["destroy", "--domain", &state.uuid]).await?;
    let all = ["--managed-save", "--snapshots-metadata", "--checkpoints-metadata", "--nvram"];
    let undefine = [&["undefine", "--domain", &state.uuid][..], &all].concat();
    virsh.unless(&[Trouble::NoDomain], &undefine).await?;
    if state.address_reserved {
        network::release(virsh, state).await?;
    }
    storage::remove(virsh, cx, state).await
}

/// Gives it other sizes.
///
/// # Errors
/// [`ErrorKind::Config`] for a smaller disk, [`ErrorKind::Other`] where it is not off.
pub(super) async fn resize(
    virsh: &Virsh,
    mut state: LibvirtState,
    to: Resize,
) -> Result<LibvirtState, DriverError> {
    if let Some(mib) = to.disk_mib.filter(|mib| *mib < state.disk_size) {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("a disk of {} MiB can't be made smaller, to {mib} MiB", state.disk_size),
        ));
    }
    let now = observe::look(virsh, &state.uuid).await?.state;
    if now != State::Stopped {
        return Err(DriverError::new(
            ErrorKind::Other,
            format!("the machine must be off for this; it is {now}"),
        )
        .with_hint("stop it with `docker-machine stop`"));
    }
    let uuid = state.uuid.clone();
    if let Some(cpus) = to.cpus {
        let count = cpus.to_string();
        let set = ["setvcpus", "--domain", &uuid, "--count", &count, "--config"];
        virsh.run(&[&set[..], &["--maximum"]].concat()).await?;
        virsh.run(&set).await?;
        state.cpu = cpus;
    }
    if let Some(mib) = to.memory_mib {
        let size = format!("{mib}MiB");
        virsh.run(&["setmaxmem", "--domain", &uuid, "--size", &size, "--config"]).await?;
        virsh.run(&["setmem", "--domain", &uuid, "--size", &size, "--config"]).await?;
        state.memory = mib;
    }
    if let Some(mib) = to.disk_mib.filter(|mib| *mib > state.disk_size) {
        storage::grow(virsh, &state, mib).await?;
        state.disk_size = mib;
    }
    Ok(state)
}
