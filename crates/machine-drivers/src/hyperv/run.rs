//! A machine that is there: what it does, turning it on and off, other sizes, and its end.

use std::path::PathBuf;
use std::time::Duration;

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Event, Observed, Power, Resize, State};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::disk::{self, MIB};
use super::powershell::{Operation, PowerShell};
use super::state::HypervState;
use super::vm::{Listing, Vm};
use crate::hypervisor_lock::{self, Turn};

/// How long a guest may take until it has an address.
const ADDRESS_LIMIT: Duration = Duration::from_secs(300);
/// How long a guest may take to shut down before it is turned off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);
/// How long Hyper-V may take to turn a machine off.
const OFF_LIMIT: Duration = Duration::from_secs(60);
/// The longest pause between two looks: each starts a PowerShell.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Waits until no other process changes anything in Hyper-V.
pub(super) async fn turn(cx: &Cx<'_>) -> Result<Turn, DriverError> {
    hypervisor_lock::turn(super::NAME, cx.report).await
}

/// Where to look for a machine.
pub(super) struct Host<'a> {
    pub(super) shell: &'a PowerShell,
    id: String,
    name: String,
    folders: Vec<PathBuf>,
}

impl<'a> Host<'a> {
    pub(super) fn new(shell: &'a PowerShell, cx: &Cx<'_>, state: &HypervState) -> Self {
        let name = if state.base.machine_name.is_empty() {
            cx.name.to_string()
        } else {
            state.base.machine_name.clone()
        };
        let mut folders = vec![cx.machine_dir.to_owned()];
        if !state.base.store_path.is_empty() {
            folders.push(state.folder());
        }
        Self { shell, id: state.vm_id.clone(), name, folders }
    }

    /// All that Hyper-V has, and the machine in it; `None` where it is gone.
    pub(super) async fn look(&self) -> Result<(Listing, Option<Vm>), DriverError> {
        let listing: Listing = self.shell.ask(Operation::LIST, &[]).await?;
        let vm = self.find(&listing).into_iter().next().cloned();
        Ok((listing, vm))
    }

    fn find<'l>(&self, listing: &'l Listing) -> Vec<&'l Vm> {
        listing.ours(&self.id, &self.name, &self.folders)
    }

    /// The machine, which must be there.
    pub(super) async fn must(&self) -> Result<(Listing, Vm), DriverError> {
        let (listing, vm) = self.look().await?;
        vm.map(|vm| (listing, vm)).ok_or_else(|| self.gone())
    }

    fn gone(&self) -> DriverError {
        DriverError::new(ErrorKind::NotFound, format!("Hyper-V has no machine \"{}\" of ours", self.name))
    }

    /// Waits until the machine is in one of these states; what it did last where it is not in time.
    async fn becomes(&self, wanted: &[State], limit: Duration, cx: &Cx<'_>) -> Result<Vm, DriverError> {
        let (begin, mut pause) = (Instant::now(), Duration::from_millis(100));
        loop {
            let (_, vm) = self.must().await?;
            if wanted.contains(&vm.state()) || begin.elapsed() >= limit {
                return Ok(vm);
            }
            waiting(cx, "the machine to change its state", begin, limit, &vm.state);
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }
}

fn waiting(cx: &Cx<'_>, what: &str, since: Instant, limit: Duration, last: &str) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    cx.report.report(Event::Waiting {
        what: what.to_owned(),
        for_ms: millis(since.elapsed()),
        limit_ms: millis(limit),
        last: last.to_owned(),
    });
}

/// Waits until the machine can be reached; its address.
///
/// # Errors
/// [`ErrorKind::Unavailable`] with what was seen last.
pub(super) async fn wait_for_address(
    shell: &PowerShell,
    cx: &Cx<'_>,
    state: &HypervState,
) -> Result<String, DriverError> {
    cx.report.report(Event::DriverLine("Waiting for host to start...".to_owned()));
    let host = Host::new(shell, cx, state);
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(250));
    loop {
        let (listing, vm) = host.must().await?;
        if let Some(address) = listing.address(&vm) {
            return Ok(address);
        }
        if matches!(vm.state(), State::Stopped | State::Error) {
            return Err(DriverError::new(
                ErrorKind::Other,
                format!("the machine went off while it booted ({})", vm.state),
            )
            .with_hint(
                "the Hyper-V Manager shows its screen; an image may want the other --hyperv-generation",
            ));
        }
        if begin.elapsed() >= ADDRESS_LIMIT {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!(
                    "the machine got no address within {} s; it is {}, and neither its guest nor this computer's \
                     neighbours tell one",
                    ADDRESS_LIMIT.as_secs(),
                    vm.state
                ),
            )
            .with_hint(
                "look at its screen in the Hyper-V Manager; without --hyperv-virtual-switch the Default Switch is used, \
                 on which every guest is seen",
            ));
        }
        waiting(cx, "an address of the machine", begin, ADDRESS_LIMIT, &vm.state);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Turns a machine on or off, once.
pub(super) async fn change(shell: &PowerShell, id: &str, what: &str) -> Result<(), DriverError> {
    let values = [("ID", id.to_owned()), ("DO", what.to_owned())];
    shell.ask::<Value>(Operation::POWER, &values).await.map(drop)
}

/// Looks at one machine.
pub(super) async fn observe(cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
    let shell = PowerShell::find()?;
    let typed = super::read(state)?;
    let host = Host::new(&shell, cx, &typed);
    let listing: Listing = shell.ask(Operation::LIST, &[]).await?;
    seen(&host, &listing, typed)
}

/// Looks at many machines, by one list.
pub(super) async fn observe_many(hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
    let asked = match PowerShell::find() {
        Ok(shell) => shell.ask::<Listing>(Operation::LIST, &[]).await.map(|listing| (shell, listing)),
        Err(error) => Err(error),
    };
    let one = |(cx, state): &(Cx<'_>, &DriverState)| {
        let (shell, listing) = asked.as_ref().map_err(DriverError::again)?;
        let typed = super::read(state)?;
        seen(&Host::new(shell, cx, &typed), listing, typed)
    };
    hosts.iter().map(one).collect()
}

fn seen(host: &Host<'_>, listing: &Listing, mut state: HypervState) -> Result<Observed, DriverError> {
    let vm = host.find(listing).into_iter().next().ok_or_else(|| host.gone())?;
    let doing = vm.state();
    let address = (doing == State::Running).then(|| listing.address(vm)).flatten();
    let is_new = address.as_ref().is_some_and(|address| *address != state.base.ip_address);
    let changed = if is_new {
        state.base.ip_address = address.unwrap_or_default();
        Some(DriverState::from_typed(&state)?)
    } else {
        None
    };
    Ok(Observed { state: doing, changed, last_sign: String::new() })
}

fn done_already(vm: &Vm) -> DriverError {
    DriverError::new(
        ErrorKind::AlreadyDone,
        format!("the machine is {} already", vm.state().as_str().to_lowercase()),
    )
}

/// Does a power operation.
pub(super) async fn power(
    cx: &Cx<'_>,
    mut state: HypervState,
    op: Power,
) -> Result<DriverState, DriverError> {
    let shell = PowerShell::find()?;
    let turn = turn(cx).await?;
    let host = Host::new(&shell, cx, &state);
    let (_, vm) = host.must().await?;
    let starts = match op {
        Power::Start | Power::Resume => {
            start(&shell, &vm, op).await?;
            true
        }
        Power::Stop => {
            off(&host, &vm, cx).await?;
            false
        }
        Power::Kill => {
            if matches!(vm.state(), State::Stopped | State::Saved) {
                return Err(done_already(&vm));
            }
            turn_off(&host, &vm, cx).await?;
            false
        }
        Power::Restart => {
            if !matches!(vm.state(), State::Stopped | State::Saved) {
                off(&host, &vm, cx).await?;
            }
            change(&shell, &vm.id, "start").await?;
            true
        }
        Power::Pause => {
            pause(&shell, &vm).await?;
            return DriverState::from_typed(&state);
        }
    };
    drop(turn);
    state.vm_id = vm.id.clone();
    state.base.ip_address = if starts { wait_for_address(&shell, cx, &state).await? } else { String::new() };
    DriverState::from_typed(&state)
}

async fn start(shell: &PowerShell, vm: &Vm, op: Power) -> Result<(), DriverError> {
    match (vm.state(), op) {
        (State::Running, _) => Err(done_already(vm)),
        (State::Paused, _) => change(shell, &vm.id, "resume").await,
        (State::Stopped, Power::Resume) => {
            Err(DriverError::new(ErrorKind::Other, "the machine is off, there is nothing to go on from")
                .with_hint("start it"))
        }
        _ => change(shell, &vm.id, "start").await,
    }
}

async fn pause(shell: &PowerShell, vm: &Vm) -> Result<(), DriverError> {
    match vm.state() {
        State::Paused => Err(done_already(vm)),
        State::Running => change(shell, &vm.id, "pause").await,
        _ => Err(DriverError::new(
            ErrorKind::Other,
            format!("only a machine that runs can be paused; it is {}", vm.state),
        )),
    }
}

/// Asks the guest to shut down, and turns the machine off where it does not.
async fn off(host: &Host<'_>, vm: &Vm, cx: &Cx<'_>) -> Result<(), DriverError> {
    if matches!(vm.state(), State::Stopped | State::Saved) {
        return Err(done_already(vm));
    }
    if vm.state() == State::Running {
        cx.report.report(Event::DriverLine("Waiting for host to stop...".to_owned()));
        let values = [("ID", vm.id.clone()), ("DO", "shutdown".to_owned())];
        // It ends when the guest is off.
        let asked = host.shell.once::<Value>(Operation::POWER, &values, SHUTDOWN_LIMIT).await;
        let (_, now) = host.must().await?;
        if now.state() == State::Stopped {
            return Ok(());
        }
        let why = asked.err().map_or_else(|| "it is still on".to_owned(), |error| error.to_string());
        cx.report.report(Event::Warning(format!("The machine did not shut down ({why}); it is turned off.")));
    }
    turn_off(host, vm, cx).await
}

async fn turn_off(host: &Host<'_>, vm: &Vm, cx: &Cx<'_>) -> Result<(), DriverError> {
    let asked = change(host.shell, &vm.id, "turnoff").await;
    let now = host.becomes(&[State::Stopped], OFF_LIMIT, cx).await?;
    if now.state() == State::Stopped {
        return Ok(());
    }
    asked?;
    Err(DriverError::new(
        ErrorKind::Unavailable,
        format!("Hyper-V did not turn the machine off within {} s; it is {}", OFF_LIMIT.as_secs(), now.state),
    ))
}

/// Gives a machine that is off other sizes.
pub(super) async fn resize(
    cx: &Cx<'_>,
    mut state: HypervState,
    to: Resize,
) -> Result<DriverState, DriverError> {
    let shell = PowerShell::find()?;
    let _turn = turn(cx).await?;
    let (_, vm) = Host::new(&shell, cx, &state).must().await?;
    if vm.state() != State::Stopped {
        return Err(DriverError::new(
            ErrorKind::Other,
            format!("the machine must be off; it is {}", vm.state),
        )
        .with_hint("stop it first"));
    }
    if let Some(mib) = to.disk_mib.filter(|mib| *mib < state.disk_size) {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("the disk has {} MiB already; it can't be made smaller ({mib} MiB)", state.disk_size),
        ));
    }
    let text = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let values = [
        ("ID", vm.id.clone()),
        ("CPUS", text(to.cpus.map(u64::from))),
        ("MEMORY_BYTES", text(to.memory_mib.map(|mib| mib * MIB))),
        ("DISK_BYTES", text(to.disk_mib.filter(|mib| *mib != state.disk_size).map(|mib| mib * MIB))),
    ];
    let _: Value = shell.ask(Operation::RESIZE, &values).await?;
    state.cpu = to.cpus.unwrap_or(state.cpu);
    state.mem_size = to.memory_mib.unwrap_or(state.mem_size);
    state.disk_size = to.disk_mib.unwrap_or(state.disk_size);
    DriverState::from_typed(&state)
}

/// Removes the machine and its files.
pub(super) async fn remove(cx: &Cx<'_>, state: &HypervState) -> Result<(), DriverError> {
    let shell = PowerShell::find()?;
    let _turn = turn(cx).await?;
    let host = Host::new(&shell, cx, state);
    let listing: Listing = shell.ask(Operation::LIST, &[]).await?;
    for vm in host.find(&listing) {
        if !matches!(vm.state(), State::Stopped | State::Saved) {
            turn_off(&host, vm, cx).await?;
        }
        forget(&shell, &vm.id).await?;
    }
    disk::remove(cx.machine_dir, &host.name).await
}

/// Removes a machine from Hyper-V. Where the answer gets lost, what Hyper-V has then counts.
async fn forget(shell: &PowerShell, id: &str) -> Result<(), DriverError> {
    let Err(error) = shell.ask::<Value>(Operation::REMOVE, &[("ID", id.to_owned())]).await else {
        return Ok(());
    };
    let listing: Listing = shell.ask(Operation::LIST, &[]).await?;
    if listing.machines.iter().any(|vm| vm.id.eq_ignore_ascii_case(id)) { Err(error) } else { Ok(()) }
}
