//! Checkpoints, as Hyper-V calls snapshots.

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Snapshot, State};
use serde::Deserialize;
use serde_json::Value;

use super::powershell::{Operation, PowerShell};
use super::run::{self, Host};
use super::state::HypervState;
use super::vm::Vm;

#[derive(Deserialize)]
struct Checkpoints {
    #[serde(deserialize_with = "super::vm::many")]
    checkpoints: Vec<One>,
}

/// A checkpoint, as the script tells it.
#[derive(Deserialize)]
struct One {
    id: String,
    name: String,
    /// Seconds since 1970.
    taken: i64,
    /// What the machine did when it was taken; `Off` where its memory is not part of it.
    state: String,
    /// Bytes of the memory and the devices' state.
    size: u64,
}

impl One {
    fn has_memory(&self) -> bool {
        self.state != "Off"
    }
}

async fn all(shell: &PowerShell, vm: &Vm) -> Result<Vec<One>, DriverError> {
    let values = [("ID", vm.id.clone())];
    let mut found = shell.ask::<Checkpoints>(Operation::CHECKPOINTS, &values).await?.checkpoints;
    found.sort_by_key(|one| one.taken);
    Ok(found)
}

/// The machine's checkpoints, oldest first.
pub(super) async fn list(cx: &Cx<'_>, state: &HypervState) -> Result<Vec<Snapshot>, DriverError> {
    let shell = PowerShell::find()?;
    let (_, vm) = Host::new(&shell, cx, state).must().await?;
    let all = all(&shell, &vm).await?;
    Ok(all
        .into_iter()
        .map(|one| Snapshot {
            taken_s: u64::try_from(one.taken).unwrap_or(0),
            bytes: (one.size > 0).then_some(one.size),
            with_memory: one.has_memory(),
            name: one.name,
        })
        .collect())
}

/// Takes one.
pub(super) async fn take(cx: &Cx<'_>, state: &HypervState, name: &str) -> Result<(), DriverError> {
    let shell = PowerShell::find()?;
    let _turn = run::turn(cx).await?;
    let (_, vm) = Host::new(&shell, cx, state).must().await?;
    if all(&shell, &vm).await?.iter().any(|one| one.name == name) {
        return Err(DriverError::new(
            ErrorKind::AlreadyDone,
            format!("there is a snapshot {name:?} already"),
        ));
    }
    let values = [("ID", vm.id), ("DO", "take".to_owned()), ("CHECKPOINT", name.to_owned())];
    shell.ask::<Value>(Operation::CHECKPOINT, &values).await.map(drop)
}

async fn with(shell: &PowerShell, vm: &Vm, name: &str, what: &str) -> Result<One, DriverError> {
    let found = all(shell, vm)
        .await?
        .into_iter()
        .find(|one| one.name == name)
        .ok_or_else(|| DriverError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}")))?;
    let values = [("ID", vm.id.clone()), ("DO", what.to_owned()), ("CHECKPOINT_ID", found.id.clone())];
    shell.ask::<Value>(Operation::CHECKPOINT, &values).await?;
    Ok(found)
}

/// Goes back to one. A machine that ran when it was taken runs afterwards.
pub(super) async fn restore(
    cx: &Cx<'_>,
    mut state: HypervState,
    name: &str,
) -> Result<DriverState, DriverError> {
    let shell = PowerShell::find()?;
    let turn = run::turn(cx).await?;
    let host = Host::new(&shell, cx, &state);
    let (_, vm) = host.must().await?;
    let one = with(&shell, &vm, name, "restore").await?;
    let (_, now) = host.must().await?;
    if one.has_memory() && now.state() == State::Saved {
        run::change(&shell, &vm.id, "start").await?;
        drop(turn);
        state.base.ip_address = run::wait_for_address(&shell, cx, &state).await?;
    }
    DriverState::from_typed(&state)
}

/// Forgets one.
pub(super) async fn remove(cx: &Cx<'_>, state: &HypervState, name: &str) -> Result<(), DriverError> {
    let shell = PowerShell::find()?;
    let _turn = run::turn(cx).await?;
    let (_, vm) = Host::new(&shell, cx, state).must().await?;
    with(&shell, &vm, name, "remove").await.map(drop)
}
