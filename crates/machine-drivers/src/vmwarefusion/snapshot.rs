//! Snapshots.

use std::path::Path;

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Snapshot};

use super::programs::Programs;
use super::run;
use super::state::VmwareFusionState;
use super::vmx::Vmx;

/// More snapshots than this are not looked at for times.
const MAX: usize = 1000;

fn good_name(name: &str) -> Result<(), DriverError> {
    // vmrun takes a slash for a path in the tree of snapshots.
    if name.is_empty()
        || name.starts_with('-')
        || name.contains(['/', '\\'])
        || name.chars().any(char::is_control)
    {
        return Err(DriverError::new(ErrorKind::Config, format!("a snapshot can't be called {name:?}"))
            .with_hint("use letters, digits, dots and dashes"));
    }
    Ok(())
}

fn missing(name: &str) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}"))
}

/// The machine's snapshots, oldest first.
pub(super) async fn list(cx: &Cx<'_>, state: &VmwareFusionState) -> Result<Vec<Snapshot>, DriverError> {
    let path = state.vmx(cx);
    let names = Programs::find()?.snapshots(&path).await?;
    let known = described(&path);
    let find = |name: &String| known.iter().find(|one| one.name == *name).cloned();
    let mut all: Vec<Snapshot> = names
        .iter()
        .map(|name| find(name).unwrap_or_else(|| Snapshot { name: name.clone(), ..Snapshot::default() }))
        .collect();
    all.sort_by_key(|one| one.taken_s);
    Ok(all)
}

/// What VMware's own list (`NAME.vmsd`) says of the snapshots: `vmrun` tells the names only. The time stands there in
/// microseconds since 1970, in two halves.
fn described(vmx: &Path) -> Vec<Snapshot> {
    let Ok(list) = Vmx::read(&vmx.with_extension("vmsd")) else { return Vec::new() };
    let mut found = Vec::new();
    for number in 0..MAX {
        let get = |key: &str| list.get(&format!("snapshot{number}.{key}"));
        let Some(name) = get("displayName") else {
            if number > 0 {
                break;
            }
            continue;
        };
        let half = |key: &str| get(key).and_then(|text| text.parse::<i64>().ok()).unwrap_or(0);
        let micros = (half("createTimeHigh") << 32) | (half("createTimeLow") & 0xffff_ffff);
        let memory = get("filename").map(|file| vmx.with_file_name(file).with_extension("vmem"));
        found.push(Snapshot {
            name,
            taken_s: u64::try_from(micros / 1_000_000).unwrap_or(0),
            bytes: None,
            with_memory: memory.is_some_and(|file| file.is_file()),
        });
    }
    found
}

/// Takes one.
pub(super) async fn take(cx: &Cx<'_>, state: &VmwareFusionState, name: &str) -> Result<(), DriverError> {
    good_name(name)?;
    let (programs, path) = (Programs::find()?, state.vmx(cx));
    let _turn = run::turn(cx).await?;
    if programs.snapshots(&path).await?.iter().any(|one| one == name) {
        return Err(DriverError::new(
            ErrorKind::AlreadyDone,
            format!("there is a snapshot {name:?} already"),
        ));
    }
    programs.take_snapshot(&path, name).await
}

/// Goes back to one. A machine that ran when it was taken runs afterwards.
pub(super) async fn restore(
    cx: &Cx<'_>,
    mut state: VmwareFusionState,
    name: &str,
) -> Result<DriverState, DriverError> {
    let (programs, path) = (Programs::find()?, state.vmx(cx));
    let turn = run::turn(cx).await?;
    if !programs.snapshots(&path).await?.iter().any(|one| one == name) {
        return Err(missing(name));
    }
    programs.restore_snapshot(&path, name).await?;
    state.paused = false;
    // A snapshot with memory is gone back to as a machine that is suspended.
    if Vmx::read(&path).is_ok_and(|vmx| vmx.is_suspended()) {
        programs.start(&path).await?;
        drop(turn);
        state.base.ip_address = run::wait_for_address(&programs, cx, &state).await?;
    }
    DriverState::from_typed(&state)
}

/// Forgets one.
pub(super) async fn remove(cx: &Cx<'_>, state: &VmwareFusionState, name: &str) -> Result<(), DriverError> {
    let (programs, path) = (Programs::find()?, state.vmx(cx));
    let _turn = run::turn(cx).await?;
    if !programs.snapshots(&path).await?.iter().any(|one| one == name) {
        return Err(missing(name));
    }
    programs.remove_snapshot(&path, name).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vmwares_list_of_snapshots() {
        let dir = tempfile::tempdir().unwrap();
        let vmx = dir.path().join("dev.vmx");
        let text = ".encoding = \"UTF-8\"\nsnapshot.numSnapshots = \"2\"\nsnapshot0.uid = \"1\"\n\
                    snapshot0.filename = \"dev-Snapshot1.vmsn\"\nsnapshot0.displayName = \"clean |22x|22\"\n\
                    snapshot0.createTimeHigh = \"412345\"\nsnapshot0.createTimeLow = \"-1055488291\"\n\
                    snapshot1.filename = \"dev-Snapshot2.vmsn\"\nsnapshot1.displayName = \"warm\"\n";
        std::fs::write(dir.path().join("dev.vmsd"), text).unwrap();
        std::fs::write(dir.path().join("dev-Snapshot2.vmem"), "").unwrap();
        let all = described(&vmx);
        assert_eq!((all[0].name.as_str(), all[0].with_memory), ("clean \"x\"", false));
        assert_eq!(all[0].taken_s, ((412_345_i64 << 32) | 3_239_479_005) as u64 / 1_000_000);
        assert_eq!((all[1].name.as_str(), all[1].with_memory, all[1].taken_s), ("warm", true, 0));
        assert_eq!(all.len(), 2);
    }

    #[test]
    fn names_that_vmrun_would_read_otherwise() {
        for name in ["", "a/b", "-x", "a\nb"] {
            assert!(good_name(name).is_err(), "{name:?}");
        }
        assert!(good_name("before update 2").is_ok());
    }
}
