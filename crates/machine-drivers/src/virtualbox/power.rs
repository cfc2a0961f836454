//! Turning machines on and off, other sizes, and their end.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Event, Observed, Power, Resize, State};
use tokio::time::{Instant, sleep};

use super::cidr::Cidr;
use super::create::{self, CONSOLE};
use super::host::{self, Version};
use super::network::{self, Kind};
use super::state::VirtualboxState;
use super::vboxmanage::{Failure, Trouble, VBoxManage};
use super::vm::{self, Vm};
use super::{disk, snapshot};
use crate::hypervisor_lock::{self, Turn};

/// How long a guest may take to shut down before it is turned off.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(120);
/// How often it is asked again: one that boots does not hear it.
const ASK_AGAIN: Duration = Duration::from_secs(10);
/// How long VirtualBox may take to turn a machine off.
const OFF_LIMIT: Duration = Duration::from_secs(60);
/// How long a boot2docker may take until it has an address.
const ADDRESS_LIMIT: Duration = Duration::from_secs(300);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How much of the end of a log is read, bytes.
const TAIL: u64 = 64 * 1024;

async fn turn(cx: &Cx<'_>) -> Result<Turn, DriverError> {
    hypervisor_lock::turn(super::NAME, cx.report).await
}

/// Looks at a machine.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it is gone.
pub(super) async fn observe(cx: &Cx<'_>, mut state: VirtualboxState) -> Result<Observed, DriverError> {
    let manage = VBoxManage::find()?;
    let vm = vm::must(&manage, cx.machine_dir, &state).await?;
    let now = vm.state();
    let mut changed = None;
    if now == State::Running && state.is_boot2docker(cx.machine_dir) {
        let found = address_of(&manage, &vm).await?.map(|address| address.to_string());
        if let Some(address) = found.filter(|address| *address != state.base.ip_address) {
            state.base.ip_address = address;
            changed = Some(DriverState::from_typed(&state)?);
        }
    }
    let console =
        if now == State::Running { last_line(&cx.machine_dir.join(CONSOLE)) } else { String::new() };
    let last_sign = if console.is_empty() { format!("VirtualBox: {}", vm.word()) } else { console };
    Ok(Observed { state: now, changed, last_sign })
}

/// Looks at many machines: one call.
pub(super) async fn observe_many(
    hosts: &[(&Path, Result<VirtualboxState, DriverError>)],
) -> Vec<Result<Observed, DriverError>> {
    let all = match VBoxManage::find() {
        Ok(manage) => vm::list(&manage).await,
        Err(error) => Err(error),
    };
    let one = |(machine_dir, state): &(&Path, Result<VirtualboxState, DriverError>)| {
        let state = state.as_ref().map_err(DriverError::again)?;
        let all = all.as_ref().map_err(DriverError::again)?;
        let found = all.iter().find(|vm| vm.is(machine_dir, state));
        let now = found.map(|vm| vm.state).ok_or_else(|| vm::gone(&state.base.machine_name))?;
        Ok(Observed { state: now, ..Observed::default() })
    };
    hosts.iter().map(one).collect()
}

async fn address_of(manage: &VBoxManage, vm: &Vm) -> Result<Option<Ipv4Addr>, DriverError> {
    network::address(manage, vm.uuid(), vm.get("macaddress2"), vm.get("hostonlyadapter2")).await
}

/// Waits until the guest has an address.
///
/// # Errors
/// [`ErrorKind::Unavailable`] after [`ADDRESS_LIMIT`].
pub(super) async fn wait_for_address(
    manage: &VBoxManage,
    cx: &Cx<'_>,
    state: &VirtualboxState,
) -> Result<Ipv4Addr, DriverError> {
    cx.report.report(Event::DriverLine("Waiting for an IP...".to_owned()));
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(250));
    loop {
        let vm = vm::must(manage, cx.machine_dir, state).await?;
        if let Some(address) = address_of(manage, &vm).await? {
            return Ok(address);
        }
        let waited = begin.elapsed();
        let last = format!("VirtualBox: {}", vm.word());
        if waited >= ADDRESS_LIMIT || !matches!(vm.state(), State::Running | State::Starting) {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!("the machine has no address in the host-only network after {} s; {last}", waited.as_secs()),
            )
            .with_hint("look at its screen in VirtualBox; does the network have a DHCP server (`VBoxManage list dhcpservers`)?"));
        }
        waiting(cx, "an address of the machine", waited, ADDRESS_LIMIT, last);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn waiting(cx: &Cx<'_>, what: &str, waited: Duration, limit: Duration, last: String) {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    cx.report.report(Event::Waiting {
        what: what.to_owned(),
        for_ms: millis(waited),
        limit_ms: millis(limit),
        last,
    });
}

/// Does a power operation.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where the machine is already so.
pub(super) async fn power(
    cx: &Cx<'_>,
    mut state: VirtualboxState,
    op: Power,
) -> Result<VirtualboxState, DriverError> {
    let manage = VBoxManage::find()?;
    let vm = vm::must(&manage, cx.machine_dir, &state).await?;
    match (op, vm.state()) {
        (Power::Start | Power::Resume, State::Running) => Err(already("running")),
        (Power::Stop, State::Stopped | State::Saved) | (Power::Kill, State::Stopped) => {
            Err(already("stopped"))
        }
        (Power::Pause, State::Paused) => Err(already("paused")),
        (Power::Start, State::Paused) | (Power::Resume, State::Paused) => {
            control(cx, &manage, &vm, "resume").await?;
            Ok(state)
        }
        (Power::Pause, State::Running) => {
            control(cx, &manage, &vm, "pause").await?;
            Ok(state)
        }
        (Power::Pause | Power::Resume, _) => Err(DriverError::new(
            ErrorKind::Other,
            format!("the machine is neither running nor paused ({})", vm.word()),
        )
        .with_hint("`docker-machine start` turns it on")),
        (Power::Start, _) | (Power::Restart, State::Stopped | State::Saved) => {
            start(&manage, cx, &mut state).await?;
            Ok(state)
        }
        (Power::Restart, _) => {
            stop(&manage, cx, &state, &vm).await?;
            start(&manage, cx, &mut state).await?;
            Ok(state)
        }
        (Power::Stop, _) => {
            stop(&manage, cx, &state, &vm).await?;
            Ok(state)
        }
        (Power::Kill, State::Saved) => {
            let turn = turn(cx).await?;
            manage.change(&turn, &["discardstate", vm.uuid()]).await?;
            Ok(state)
        }
        (Power::Kill, _) => {
            turn_off(&manage, cx, &state, &vm).await?;
            Ok(state)
        }
    }
}

fn already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the machine is already {what}"))
}

async fn control(cx: &Cx<'_>, manage: &VBoxManage, vm: &Vm, what: &str) -> Result<(), DriverError> {
    let turn = turn(cx).await?;
    manage.change(&turn, &["controlvm", vm.uuid(), what]).await?;
    Ok(())
}

async fn start(manage: &VBoxManage, cx: &Cx<'_>, state: &mut VirtualboxState) -> Result<(), DriverError> {
    let version = host::version(manage).await?;
    {
        let turn = turn(cx).await?;
        start_in(manage, &turn, cx, version, state).await?;
    }
    if state.is_boot2docker(cx.machine_dir) {
        state.base.ip_address = wait_for_address(manage, cx, state).await?.to_string();
    }
    Ok(())
}

/// Turns a machine on that is off or saved: network and port are looked after first.
///
/// # Errors
/// What VirtualBox refused, with the last line of the machine's log.
pub(super) async fn start_in(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    version: Version,
    state: &mut VirtualboxState,
) -> Result<(), DriverError> {
    let vm = vm::must(manage, cx.machine_dir, state).await?;
    let handle = vm.uuid();
    if vm.state() != State::Saved {
        // A saved machine can't be changed; it has what it had.
        connect(manage, turn, cx, version, state, handle).await?;
        forward(manage, turn, &vm, state).await?;
    }
    let ui = if state.ui_type.is_empty() { "headless" } else { &state.ui_type };
    if let Err(failure) = manage.change_slowly(turn, &["startvm", handle, "--type", ui]).await {
        // It may have been somebody else, or the answer got lost.
        let now = vm::must(manage, cx.machine_dir, state).await?;
        if now.state() != State::Running {
            return Err(unstarted(failure, &now, state.no_vtx_check));
        }
    }
    Ok(())
}

/// Attaches the second card to the host-only network, which may have to be made again.
async fn connect(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    version: Version,
    state: &VirtualboxState,
    handle: &str,
) -> Result<(), DriverError> {
    let asked = if state.host_only_cidr.is_empty() { network::CLASSIC } else { &state.host_only_cidr };
    let (kind, cidr) = (Kind::of(version), Cidr::parse(asked)?);
    let net = network::ensure(manage, turn, cx, kind, cidr).await?;
    if state.is_boot2docker(cx.machine_dir) {
        network::ensure_dhcp(manage, turn, &net, cidr, !state.host_only_no_dhcp).await?;
    }
    let mut args: Vec<String> = vec!["modifyvm".into(), handle.to_owned()];
    args.extend(kind.attach(&net.name));
    for (flag, value) in
        [("--nictype2", &state.host_only_nic_type), ("--nicpromisc2", &state.host_only_promisc_mode)]
    {
        if !value.is_empty() {
            args.extend([flag.to_owned(), value.clone()]);
        }
    }
    args.extend(["--cableconnected2".to_owned(), "on".to_owned()]);
    manage.change(turn, &args).await?;
    Ok(())
}

/// Forwards a port of this computer to the guest's SSH server; one that somebody else has by now is exchanged for another.
async fn forward(
    manage: &VBoxManage,
    turn: &Turn,
    vm: &Vm,
    state: &mut VirtualboxState,
) -> Result<(), DriverError> {
    let has = vm.forwarded("ssh");
    if state.base.ssh_port == 0 || !network::is_free(state.base.ssh_port) {
        state.base.ssh_port = network::free_port()?;
    }
    let port = state.base.ssh_port;
    if has == Some(port) {
        return Ok(());
    }
    if has.is_some() {
        manage.change(turn, &["modifyvm", vm.uuid(), "--natpf1", "delete", "ssh"]).await?;
    }
    let rule = format!("ssh,tcp,127.0.0.1,{port},,22");
    manage.unless(turn, &[Trouble::Exists], &["modifyvm", vm.uuid(), "--natpf1", &rule]).await?;
    Ok(())
}

/// Lets a machine go on that is there and not off.
///
/// # Errors
/// What VirtualBox refused.
pub(super) async fn go_on(
    manage: &VBoxManage,
    turn: &Turn,
    state: &VirtualboxState,
) -> Result<(), DriverError> {
    let vm = vm::show(manage, state.handle()).await?;
    if let Some(vm) = vm.filter(|vm| vm.state() == State::Paused) {
        manage.change(turn, &["controlvm", vm.uuid(), "resume"]).await?;
    }
    Ok(())
}

/// Why it did not start.
fn unstarted(failure: Failure, vm: &Vm, no_vtx_check: bool) -> DriverError {
    let log = vm.settings().and_then(|file| Some(file.parent()?.join("Logs").join("VBox.log")));
    let text = log.map(|log| tail(&log)).unwrap_or_default();
    if !no_vtx_check && (lacks_virtualisation(&text) || lacks_virtualisation(failure.said())) {
        return DriverError::new(
            ErrorKind::Other,
            "This computer doesn't have VT-X/AMD-v enabled. Enabling it in the BIOS is mandatory",
        )
        .with_hint("does another hypervisor use it at this moment, e.g. KVM or Hyper-V?");
    }
    let error = DriverError::from(failure);
    let mut message = format!("Unable to start the VM: {error}");
    if let Some(line) = text.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        message.push_str(&format!("; the last line of its log: {line}"));
    }
    let made = DriverError::new(error.kind(), message);
    match error.hint() {
        Some(hint) => made.with_hint(hint),
        None => {
            made.with_hint("`VBoxManage startvm NAME` in a terminal, or VirtualBox's window, may say more")
        }
    }
}

/// What VirtualBox writes where the processor's virtualisation is off or in use (errors of its hypervisor: `VERR_VMX_…`, `VERR_SVM_…`).
fn lacks_virtualisation(text: &str) -> bool {
    let raw_mode = "Falling back to raw-mode: VT-x is disabled in the BIOS for all CPU modes";
    text.lines().any(|line| {
        (line.contains("VT-x is disabled") && !line.contains(raw_mode))
            || line.contains("the host CPU does NOT support HW virtualization")
            || line.contains("VERR_VMX_UNABLE_TO_START_VM")
            || line.contains("VERR_VMX_NO_VMX")
            || line.contains("VERR_VMX_MSR_ALL_VMX_DISABLED")
            || line.contains("VERR_SVM_DISABLED")
            || line.contains("VERR_SVM_NO_SVM")
    })
}

/// Asks the guest to shut down, and turns it off where it does not.
async fn stop(manage: &VBoxManage, cx: &Cx<'_>, state: &VirtualboxState, vm: &Vm) -> Result<(), DriverError> {
    if vm.state() == State::Paused {
        control(cx, manage, vm, "resume").await?;
    }
    let (begin, mut pause, mut asked) = (Instant::now(), Duration::from_millis(100), None::<Instant>);
    loop {
        let now = vm::must(manage, cx.machine_dir, state).await?;
        if now.state() == State::Stopped {
            return Ok(());
        }
        let waited = begin.elapsed();
        if waited >= SHUTDOWN_LIMIT {
            break;
        }
        if now.state() == State::Running && asked.is_none_or(|asked| asked.elapsed() >= ASK_AGAIN) {
            let turn = turn(cx).await?;
            // One that is off by now is what is wished.
            manage
                .unless(&turn, &[Trouble::WrongState], &["controlvm", vm.uuid(), "acpipowerbutton"])
                .await?;
            asked = Some(Instant::now());
        }
        waiting(
            cx,
            "the machine to shut down",
            waited,
            SHUTDOWN_LIMIT,
            format!("VirtualBox: {}", now.word()),
        );
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    cx.report.report(Event::Warning(format!(
        "the machine did not shut down within {} s; turning it off",
        SHUTDOWN_LIMIT.as_secs()
    )));
    turn_off(manage, cx, state, vm).await
}

/// Turns it off at once.
async fn turn_off(
    manage: &VBoxManage,
    cx: &Cx<'_>,
    state: &VirtualboxState,
    vm: &Vm,
) -> Result<(), DriverError> {
    let turn = turn(cx).await?;
    turn_off_in(manage, &turn, cx, state, vm).await
}

/// [`turn_off`] in a turn that was taken before.
///
/// # Errors
/// What VirtualBox refused.
pub(super) async fn turn_off_in(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    state: &VirtualboxState,
    vm: &Vm,
) -> Result<(), DriverError> {
    manage.unless(turn, &[Trouble::WrongState], &["controlvm", vm.uuid(), "poweroff"]).await?;
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(50));
    loop {
        let Some(now) = vm::find(manage, cx.machine_dir, state).await? else { return Ok(()) };
        if matches!(now.state(), State::Stopped | State::Saved) {
            return Ok(());
        }
        if begin.elapsed() >= OFF_LIMIT {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!(
                    "VirtualBox did not turn the machine off within {} s: {}",
                    OFF_LIMIT.as_secs(),
                    now.word()
                ),
            )
            .with_hint("end its process (VBoxHeadless or VirtualBoxVM), and try again"));
        }
        waiting(
            cx,
            "the machine to be off",
            begin.elapsed(),
            OFF_LIMIT,
            format!("VirtualBox: {}", now.word()),
        );
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Gives a machine other sizes; it must be off.
///
/// # Errors
/// [`ErrorKind::Config`] for a disk that can't have that size, [`ErrorKind::Other`] where the machine is not off.
pub(super) async fn resize(
    cx: &Cx<'_>,
    mut state: VirtualboxState,
    to: Resize,
) -> Result<VirtualboxState, DriverError> {
    let manage = VBoxManage::find()?;
    let vm = vm::must(&manage, cx.machine_dir, &state).await?;
    if vm.state() != State::Stopped {
        return Err(DriverError::new(
            ErrorKind::Other,
            format!("the machine must be off for this; VirtualBox: {}", vm.word()),
        )
        .with_hint("stop it with `docker-machine stop`"));
    }
    let turn = turn(cx).await?;
    if let Some(mib) = to.disk_mib {
        let file = growable(&manage, cx, &state, &vm, mib).await?;
        if mib > state.disk_size {
            disk::grow(&manage, &turn, &file, mib).await?;
            state.disk_size = mib;
        }
    }
    let mut args: Vec<String> = vec!["modifyvm".into(), vm.uuid().to_owned()];
    if let Some(count) = to.cpus {
        args.extend(["--cpus".to_owned(), create::cpus(count.into()).to_string()]);
        state.cpu = count.into();
    }
    if let Some(mib) = to.memory_mib {
        args.extend(["--memory".to_owned(), mib.to_string()]);
        state.memory = mib;
    }
    if args.len() > 2 {
        manage.change(&turn, &args).await?;
    }
    Ok(state)
}

/// The disk, if it can get this size.
async fn growable(
    manage: &VBoxManage,
    cx: &Cx<'_>,
    state: &VirtualboxState,
    vm: &Vm,
    mib: u64,
) -> Result<std::path::PathBuf, DriverError> {
    let refused = |text: String, hint: &str| DriverError::new(ErrorKind::Config, text).with_hint(hint);
    if mib < state.disk_size {
        let text = format!("a disk of {} MiB can't be made smaller, to {mib} MiB", state.disk_size);
        return Err(DriverError::new(ErrorKind::Config, text));
    }
    if state.is_boot2docker(cx.machine_dir) {
        let text = "boot2docker does not grow into a larger disk".to_owned();
        return Err(refused(text, "create a new machine with --virtualbox-disk-size"));
    }
    if !snapshot::list(manage, cx, state).await?.is_empty() {
        let text = "VirtualBox can't make the disk of a machine with snapshots larger".to_owned();
        return Err(refused(
            text,
            "remove them first: `docker-machine snapshot ls`, `docker-machine snapshot rm`",
        ));
    }
    vm.disk().ok_or_else(|| DriverError::new(ErrorKind::NotFound, "the machine has no disk"))
}

/// Removes a machine and all that was made for it; the host-only network stays.
///
/// # Errors
/// What could not be removed, and why.
pub(super) async fn remove(cx: &Cx<'_>, state: &VirtualboxState) -> Result<(), DriverError> {
    let manage = VBoxManage::find()?;
    let turn = turn(cx).await?;
    if let Some(vm) = vm::find(&manage, cx.machine_dir, state).await? {
        if vm.is_inaccessible() {
            manage.unless(&turn, &[Trouble::NoMachine], &["unregistervm", state.handle()]).await?;
        } else {
            if !matches!(vm.state(), State::Stopped | State::Saved) {
                turn_off_in(&manage, &turn, cx, state, &vm).await?;
            }
            // The disk goes with it, and its snapshots.
            let args = ["unregistervm", vm.uuid(), "--delete"];
            if let Err(failure) = manage.change_slowly(&turn, &args).await
                && failure.trouble != Trouble::NoMachine
            {
                return Err(failure.into());
            }
        }
    }
    disk::forget(&manage, &turn, &cx.machine_dir.join("disk.vdi")).await?;
    network::release(&manage, &turn, state).await?;
    disk::remove(cx, state)
}

/// The end of a log; empty where there is none.
fn tail(file: &Path) -> String {
    let read = || {
        let mut file = File::open(file)?;
        let from = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        std::io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_default()
}

/// The last line of a guest's serial console that says something, without what moves a terminal's cursor.
fn last_line(file: &Path) -> String {
    let text = tail(file);
    let mut shown = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            // ESC [ … letter
            '\u{1b}' => {
                if rest.next_if_eq(&'[').is_some() {
                    while rest.next_if(|c| !c.is_ascii_alphabetic()).is_some() {}
                }
                rest.next();
            }
            '\n' => shown.push('\n'),
            c if c.is_control() => {}
            c => shown.push(c),
        }
    }
    let line = shown.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn logs_of_machines_that_do_not_start() {
        for (line, want) in [
            ("VT-x is disabled", true),
            ("the host CPU does NOT support HW virtualization", true),
            ("00:00:00.318604 Power up failed (vrc=VERR_VMX_NO_VMX, rc=NS_ERROR_FAILURE (0X80004005))", true),
            ("HM: HMR3Init: Falling back to raw-mode: VT-x is disabled in the BIOS for all CPU modes", false),
            ("HM: HMR3Init: Falling back to raw-mode: VT-x is not available", false),
            ("", false),
        ] {
            assert_eq!(lacks_virtualisation(line), want, "{line}");
        }
    }

    #[test]
    fn the_last_line_of_a_console() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        assert_eq!(last_line(&file), "");
        fs::write(&file, "[    0.1] Linux\r\n\u{1b}[0;32m  OK  \u{1b}[0m Started ssh\r\n\u{1b}[K\r\n")
            .unwrap();
        assert_eq!(last_line(&file), "OK   Started ssh");
    }
}
