//! A machine that is there: what it does, turning it on and off, other sizes, and its end.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Event, Observed, Power, Resize, State};
use tokio::time::{Instant, sleep};

use super::programs::{self, Programs};
use super::state::VmwareFusionState;
use super::vmx::{CONSOLE, Vmx};
use super::{disk, leases};
use crate::hypervisor_lock::{self, Turn};

/// How long a guest may take until it has an address.
const ADDRESS_LIMIT: Duration = Duration::from_secs(300);
/// The longest pause between two looks.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// As many bytes of the console's end as have its last line.
const CONSOLE_END: u64 = 4096;
/// The longest last line that is shown, characters.
const SIGN_MAX: usize = 160;

/// Waits until no other process changes anything in VMware.
pub(super) async fn turn(cx: &Cx<'_>) -> Result<Turn, DriverError> {
    hypervisor_lock::turn(super::NAME, cx.report).await
}

/// Whether a configuration is one of these, whatever links lead to it.
pub(super) fn is_among(vmx: &Path, running: &[PathBuf]) -> bool {
    let real = |path: &Path| {
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        // The file systems of Windows and macOS don't tell capitals from small letters.
        if cfg!(any(windows, target_os = "macos")) {
            PathBuf::from(path.to_string_lossy().to_lowercase())
        } else {
            path
        }
    };
    let wanted = real(vmx);
    running.iter().any(|one| real(one) == wanted)
}

/// A machine's configuration, which must be there.
fn configuration(cx: &Cx<'_>, state: &VmwareFusionState) -> Result<(PathBuf, Vmx), DriverError> {
    let path = state.vmx(cx);
    match Vmx::read(&path) {
        Ok(vmx) => Ok((path, vmx)),
        Err(error) => {
            let kind = if path.exists() { ErrorKind::Other } else { ErrorKind::NotFound };
            Err(DriverError::new(kind, format!("{} can't be read: {error}", path.display()))
                .with_source(error))
        }
    }
}

/// What a machine does, and where it can be reached.
struct Look {
    doing: State,
    address: Option<Ipv4Addr>,
}

async fn look(
    programs: &Programs,
    path: &Path,
    vmx: &Vmx,
    running: &[PathBuf],
    state: &VmwareFusionState,
) -> Look {
    if !is_among(path, running) {
        let doing = if vmx.is_suspended() { State::Saved } else { State::Stopped };
        return Look { doing, address: None };
    }
    if state.paused {
        return Look { doing: State::Paused, address: None };
    }
    Look { doing: State::Running, address: address(programs, path, vmx, state).await }
}

/// Where the machine can be reached: what VMware's own DHCP server gave it, else what the tools in the guest tell.
async fn address(programs: &Programs, path: &Path, vmx: &Vmx, state: &VmwareFusionState) -> Option<Ipv4Addr> {
    let leased = vmx.mac().and_then(|mac| leases::find(&mac, &state.dhcp_leases));
    if leased.is_some() {
        return leased;
    }
    let told = programs.guest_address(path).await.ok()?;
    told.parse().ok().filter(|address: &Ipv4Addr| !address.is_unspecified() && !address.is_link_local())
}

/// The last line that the guest wrote to its console.
fn last_sign(machine_dir: &Path) -> String {
    let read = || {
        let mut file = File::open(machine_dir.join(CONSOLE))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(CONSOLE_END)))?;
        let mut bytes = Vec::new();
        file.take(CONSOLE_END).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    let Ok(bytes) = read() else { return String::new() };
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines = text.lines().rev().map(readable);
    lines.into_iter().find(|line| !line.is_empty()).unwrap_or_default()
}

/// A line without what moves a terminal's cursor or colours it.
fn readable(line: &str) -> String {
    let (mut text, mut escape) = (String::new(), false);
    for c in line.chars() {
        if c == '\u{1b}' {
            escape = true;
        } else if escape {
            escape = !c.is_ascii_alphabetic();
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text.trim().chars().take(SIGN_MAX).collect()
}

/// Waits until the machine can be reached; its address.
///
/// # Errors
/// [`ErrorKind::Unavailable`] with what was seen last.
pub(super) async fn wait_for_address(
    programs: &Programs,
    cx: &Cx<'_>,
    state: &VmwareFusionState,
) -> Result<String, DriverError> {
    cx.report.report(Event::DriverLine("Waiting for VM to come online...".to_owned()));
    let running = VmwareFusionState { paused: false, ..state.clone() };
    let (begin, mut pause) = (Instant::now(), Duration::from_millis(250));
    loop {
        let (path, vmx) = configuration(cx, state)?;
        let seen = look(programs, &path, &vmx, &programs.running().await?, &running).await;
        if let Some(address) = seen.address {
            return Ok(address.to_string());
        }
        let sign = last_sign(cx.machine_dir);
        if seen.doing != State::Running {
            return Err(DriverError::new(
                ErrorKind::Other,
                format!("the machine went off while it booted; last seen: {sign}"),
            )
            .with_hint("vmware.log in the machine's folder says why"));
        }
        if begin.elapsed() >= ADDRESS_LIMIT {
            return Err(DriverError::new(
                ErrorKind::Unavailable,
                format!(
                    "the machine got no address within {} s: neither VMware's DHCP server nor tools in the guest tell \
                     one; last seen: {sign}",
                    ADDRESS_LIMIT.as_secs()
                ),
            )
            .with_hint(
                "can the leases be read? (macOS: /var/db/vmware, Linux: /etc/vmware/vmnet8/dhcpd); \
                 --vmwarefusion-dhcp-leases names another file",
            ));
        }
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        cx.report.report(Event::Waiting {
            what: "an address of the machine".to_owned(),
            for_ms: millis(begin.elapsed()),
            limit_ms: millis(ADDRESS_LIMIT),
            last: sign,
        });
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Looks at one machine.
pub(super) async fn observe(cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
    let programs = Programs::find()?;
    let running = programs.running().await?;
    seen(&programs, cx, state, &running).await
}

/// Looks at many machines, by one list.
pub(super) async fn observe_many(hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
    let asked = match Programs::find() {
        Ok(programs) => programs.running().await.map(|running| (programs, running)),
        Err(error) => Err(error),
    };
    let mut answers = Vec::with_capacity(hosts.len());
    for (cx, state) in hosts {
        answers.push(match &asked {
            Ok((programs, running)) => seen(programs, cx, state, running).await,
            Err(error) => Err(error.again()),
        });
    }
    answers
}

async fn seen(
    programs: &Programs,
    cx: &Cx<'_>,
    state: &DriverState,
    running: &[PathBuf],
) -> Result<Observed, DriverError> {
    let mut state = super::read(state)?;
    let (path, vmx) = configuration(cx, &state)?;
    let now = look(programs, &path, &vmx, running, &state).await;
    let last_sign = if now.doing == State::Running { last_sign(cx.machine_dir) } else { String::new() };
    let address = now.address.map(|address| address.to_string());
    let changed = match address {
        Some(address) if address != state.base.ip_address => {
            state.base.ip_address = address;
            Some(DriverState::from_typed(&state)?)
        }
        _ => None,
    };
    Ok(Observed { state: now.doing, changed, last_sign })
}

fn done_already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the machine is {what} already"))
}

/// Does a power operation.
pub(super) async fn power(
    cx: &Cx<'_>,
    mut state: VmwareFusionState,
    op: Power,
) -> Result<DriverState, DriverError> {
    let programs = Programs::find()?;
    let turn = turn(cx).await?;
    let (path, vmx) = configuration(cx, &state)?;
    let is_on = is_among(&path, &programs.running().await?);
    let machine = Machine { programs: &programs, cx, path: &path, is_on, is_paused: is_on && state.paused };
    let starts = match op {
        Power::Start => {
            machine.start().await?;
            true
        }
        Power::Resume => {
            if !is_on && !vmx.is_suspended() {
                return Err(DriverError::new(
                    ErrorKind::Other,
                    "the machine is off, there is nothing to go on from",
                )
                .with_hint("start it"));
            }
            machine.start().await?;
            true
        }
        Power::Stop => {
            machine.stop().await?;
            false
        }
        Power::Kill => {
            machine.kill().await?;
            false
        }
        Power::Restart => {
            if is_on {
                machine.stop().await?;
            }
            programs.start(&path).await?;
            true
        }
        Power::Pause => {
            machine.pause().await?;
            state.paused = true;
            return DriverState::from_typed(&state);
        }
    };
    drop(turn);
    state.paused = false;
    state.base.ip_address =
        if starts { wait_for_address(&programs, cx, &state).await? } else { String::new() };
    DriverState::from_typed(&state)
}

struct Machine<'a> {
    programs: &'a Programs,
    cx: &'a Cx<'a>,
    path: &'a Path,
    is_on: bool,
    is_paused: bool,
}

impl Machine<'_> {
    async fn start(&self) -> Result<(), DriverError> {
        if self.is_paused {
            return self.programs.unpause(self.path).await;
        }
        if self.is_on {
            return Err(done_already("running"));
        }
        self.programs.start(self.path).await
    }

    async fn pause(&self) -> Result<(), DriverError> {
        if self.is_paused {
            return Err(done_already("paused"));
        }
        if !self.is_on {
            return Err(DriverError::new(
                ErrorKind::Other,
                "only a machine that runs can be paused; it is off",
            ));
        }
        self.programs.pause(self.path).await
    }

    /// Asks the guest to shut down, and turns the machine off where it does not.
    async fn stop(&self) -> Result<(), DriverError> {
        if !self.is_on {
            return Err(done_already("stopped"));
        }
        if self.is_paused {
            self.programs.unpause(self.path).await?;
        }
        let asked = self.programs.shut_down(self.path).await;
        if !is_among(self.path, &self.programs.running().await?) {
            return Ok(());
        }
        let why = asked.err().map_or_else(|| "it is still on".to_owned(), |error| error.to_string());
        self.cx.report.report(Event::Warning(format!(
            "The machine did not shut down ({why}); it is turned off. With open-vm-tools in the guest it can be asked."
        )));
        self.turn_off().await
    }

    async fn kill(&self) -> Result<(), DriverError> {
        if !self.is_on {
            return Err(done_already("stopped"));
        }
        if self.is_paused {
            // A paused machine does not take orders; that it can't go on is no reason not to turn it off.
            let _ = self.programs.unpause(self.path).await;
        }
        self.turn_off().await
    }

    /// Turns the machine off. Where the answer gets lost, what is on then counts.
    async fn turn_off(&self) -> Result<(), DriverError> {
        let asked = self.programs.turn_off(self.path).await;
        if is_among(self.path, &self.programs.running().await?) {
            asked?;
            return Err(DriverError::new(ErrorKind::Unavailable, "VMware did not turn the machine off"));
        }
        Ok(())
    }
}

/// Gives a machine that is off other sizes.
pub(super) async fn resize(
    cx: &Cx<'_>,
    mut state: VmwareFusionState,
    to: Resize,
) -> Result<DriverState, DriverError> {
    let programs = Programs::find()?;
    let _turn = turn(cx).await?;
    let (path, vmx) = configuration(cx, &state)?;
    if is_among(&path, &programs.running().await?) || vmx.is_suspended() {
        return Err(DriverError::new(ErrorKind::Other, "the machine must be off").with_hint("stop it first"));
    }
    if let Some(mib) = to.disk_mib.filter(|mib| *mib < state.disk_size) {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!("the disk has {} MiB already; it can't be made smaller ({mib} MiB)", state.disk_size),
        ));
    }
    if let Some(mib) = to.disk_mib.filter(|mib| *mib != state.disk_size) {
        let disk = vmx.disk().unwrap_or_default();
        programs::grow_disk(&path.with_file_name(disk), mib).await?;
        state.disk_size = mib;
    }
    let mut changes = Vec::new();
    if let Some(cpus) = to.cpus {
        changes.push(("numvcpus", cpus.to_string()));
        state.cpu = cpus;
    }
    if let Some(mib) = to.memory_mib {
        changes.push(("memsize", mib.to_string()));
        state.memory = mib;
    }
    if !changes.is_empty() {
        disk::replace(&path, vmx.with(&changes).as_bytes())?;
    }
    DriverState::from_typed(&state)
}

/// Removes the machine and its files.
pub(super) async fn remove(cx: &Cx<'_>, state: &VmwareFusionState) -> Result<(), DriverError> {
    let path = state.vmx(cx);
    if path.exists() {
        let programs = Programs::find()?;
        let _turn = turn(cx).await?;
        let is_on = is_among(&path, &programs.running().await?);
        let machine =
            Machine { programs: &programs, cx, path: &path, is_on, is_paused: is_on && state.paused };
        if is_on {
            machine.kill().await?;
        }
        if let Err(error) = programs.delete(&path).await {
            // It is off, so its files can go; only VMware's own list may still have it.
            cx.report.report(Event::Debug(format!("{error}")));
        }
    }
    let folder = path.parent().unwrap_or(cx.machine_dir);
    disk::remove(folder, cx.name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_consoles_last_line_is_shown_as_text() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(last_sign(dir.path()), "");
        let text = "[    1.0] first\r\n\u{1b}[0;32m  OK  \u{1b}[0m Started \u{1b}[0;1;39mssh.service\u{1b}[0m.\r\n\r\n \u{1b}[H\n";
        fs::write(dir.path().join(CONSOLE), text).unwrap();
        assert_eq!(last_sign(dir.path()), "OK   Started ssh.service.");
    }

    #[test]
    fn a_machine_is_known_whatever_link_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::create_dir(&real).unwrap();
        fs::write(real.join("dev.vmx"), "").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&real, &link).unwrap();
        assert!(is_among(&link.join("dev.vmx"), &[real.join("dev.vmx")]));
        assert!(!is_among(&link.join("dev.vmx"), &[real.join("dev2.vmx")]));
    }
}
