//! Snapshots, with the memory of a machine that runs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use machine_core::{Cx, DriverError, ErrorKind, Snapshot, State};
use roxmltree::Document;

use super::power;
use super::state::VirtualboxState;
use super::vboxmanage::{Trouble, VBoxManage};
use super::{host, vm};
use crate::hypervisor_lock;

/// A snapshot and VirtualBox's id of it.
struct Found {
    uuid: String,
    snapshot: Snapshot,
}

/// All snapshots, oldest first.
///
/// # Errors
/// [`ErrorKind::NotFound`] where the machine is gone.
pub(super) async fn list(
    manage: &VBoxManage,
    cx: &Cx<'_>,
    state: &VirtualboxState,
) -> Result<Vec<Snapshot>, DriverError> {
    Ok(find(manage, cx, state).await?.into_iter().map(|found| found.snapshot).collect())
}

async fn find(manage: &VBoxManage, cx: &Cx<'_>, state: &VirtualboxState) -> Result<Vec<Found>, DriverError> {
    let vm = vm::must(manage, cx.machine_dir, state).await?;
    let said = match manage.ask(&["snapshot", vm.uuid(), "list", "--machinereadable"]).await {
        Ok(said) => said,
        // "This machine does not have any snapshots" is a failure.
        Err(failure) if failure.trouble == Trouble::NoSnapshot => return Ok(Vec::new()),
        Err(failure) => return Err(failure.into()),
    };
    let settings = vm.settings().map(|file| details(&file)).unwrap_or_default();
    let mut all: Vec<Found> = read(&said)
        .into_iter()
        .map(|(uuid, name)| {
            let (taken_s, with_memory) = settings.get(&uuid).copied().unwrap_or_default();
            Found { snapshot: Snapshot { name, taken_s, bytes: None, with_memory }, uuid }
        })
        .collect();
    all.sort_by_key(|found| found.snapshot.taken_s);
    Ok(all)
}

/// Reads `snapshot list --machinereadable`: `SnapshotName-1-2="…"`, `SnapshotUUID-1-2="…"`, a number for each child (`VBoxManageInfo.cpp`:
/// `showSnapshots`). The second of each pair is the id.
fn read(said: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    let mut last = None;
    for (key, value) in said.lines().filter_map(vm::split) {
        if key.starts_with("SnapshotName") {
            last = Some(value.to_owned());
        } else if key.starts_with("SnapshotUUID")
            && let Some(name) = last.take()
        {
            all.push((value.to_owned(), name));
        }
    }
    all
}

/// What `snapshot list` does not say: when each was taken, and whether the memory is part of it. Read from the machine's settings, in
/// which `<Snapshot uuid="{…}" name="…" timeStamp="2021-03-01T10:00:00Z" stateFile="…">` are nested (`VirtualBox-settings.xsd`).
fn details(settings: &Path) -> BTreeMap<String, (u64, bool)> {
    let Ok(text) = fs::read_to_string(settings) else { return BTreeMap::new() };
    let Ok(document) = Document::parse(&text) else { return BTreeMap::new() };
    let all = document.descendants().filter(|node| node.tag_name().name() == "Snapshot");
    all.filter_map(|node| {
        let uuid = node.attribute("uuid")?.trim_matches(['{', '}']).to_owned();
        let taken = node.attribute("timeStamp").and_then(seconds).unwrap_or_default();
        Some((uuid, (taken, node.attribute("stateFile").is_some_and(|file| !file.is_empty()))))
    })
    .collect()
}

/// Seconds since 1970 of a time in UTC as XML has it (`2021-03-01T10:00:00Z`).
fn seconds(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let numbers = |text: &str, at: char| -> Option<Vec<u64>> {
        text.split(at).map(|part| part.split('.').next()?.parse().ok()).collect()
    };
    let (date, time) = (numbers(date, '-')?, numbers(time, ':')?);
    let (&[year, month, day], &[hour, minute, second]) = (date.as_slice(), time.as_slice()) else {
        return None;
    };
    // Days since 1970-01-01, with years that begin in March (Howard Hinnant's `days_from_civil`).
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day.checked_sub(1)?;
    let days = (year * 365 + year / 4 - year / 100 + year / 400 + day_of_year).checked_sub(719_468)?;
    Some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

fn missing(name: &str) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("there is no snapshot {name:?}"))
}

/// Takes one.
///
/// # Errors
/// [`ErrorKind::AlreadyDone`] where there is one of this name: VirtualBox itself would take a second one.
pub(super) async fn take(cx: &Cx<'_>, state: &VirtualboxState, name: &str) -> Result<(), DriverError> {
    let manage = VBoxManage::find()?;
    let turn = hypervisor_lock::turn(super::NAME, cx.report).await?;
    if find(&manage, cx, state).await?.iter().any(|found| found.snapshot.name == name) {
        return Err(DriverError::new(
            ErrorKind::AlreadyDone,
            format!("there is a snapshot {name:?} already"),
        ));
    }
    let vm = vm::must(&manage, cx.machine_dir, state).await?;
    manage.change_slowly(&turn, &["snapshot", vm.uuid(), "take", name]).await?;
    Ok(())
}

/// Goes back to one. A machine that ran when it was taken, runs again.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn restore(
    cx: &Cx<'_>,
    mut state: VirtualboxState,
    name: &str,
) -> Result<VirtualboxState, DriverError> {
    let manage = VBoxManage::find()?;
    let version = host::version(&manage).await?;
    let turn = hypervisor_lock::turn(super::NAME, cx.report).await?;
    let all = find(&manage, cx, &state).await?;
    let found = all.iter().find(|found| found.snapshot.name == name).ok_or_else(|| missing(name))?;
    let vm = vm::must(&manage, cx.machine_dir, &state).await?;
    if !matches!(vm.state(), State::Stopped | State::Saved) {
        power::turn_off_in(&manage, &turn, cx, &state, &vm).await?;
    }
    manage.change_slowly(&turn, &["snapshot", vm.uuid(), "restore", &found.uuid]).await?;
    let vm = vm::must(&manage, cx.machine_dir, &state).await?;
    if vm.state() == State::Saved {
        power::start_in(&manage, &turn, cx, version, &mut state).await?;
    }
    Ok(state)
}

/// Forgets one.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none of this name.
pub(super) async fn remove(cx: &Cx<'_>, state: &VirtualboxState, name: &str) -> Result<(), DriverError> {
    let manage = VBoxManage::find()?;
    let turn = hypervisor_lock::turn(super::NAME, cx.report).await?;
    let all = find(&manage, cx, state).await?;
    let found = all.iter().find(|found| found.snapshot.name == name).ok_or_else(|| missing(name))?;
    let vm = vm::must(&manage, cx.machine_dir, state).await?;
    manage.change_slowly(&turn, &["snapshot", vm.uuid(), "delete", &found.uuid]).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As people quote `snapshot list --machinereadable`.
    #[test]
    fn a_tree_of_snapshots() {
        let said = "SnapshotName=\"ROOT\"\nSnapshotUUID=\"86b38fc9-9d68-4e4b-a033-4075002ab570\"\nSnapshotDescription=\"the first\"\n\
            SnapshotName-1=\"Snapshot 1\"\nSnapshotUUID-1=\"e383e702-fee3-4e0b-b1e0-f3b869dbcaea\"\n\
            CurrentSnapshotName=\"Snapshot 1\"\nCurrentSnapshotUUID=\"e383e702-fee3-4e0b-b1e0-f3b869dbcaea\"\n\
            CurrentSnapshotNode=\"SnapshotName-1\"\n";
        let all = read(said);
        assert_eq!(all.iter().map(|(_, name)| name.as_str()).collect::<Vec<_>>(), ["ROOT", "Snapshot 1"]);
        assert_eq!(all[1].0, "e383e702-fee3-4e0b-b1e0-f3b869dbcaea");
    }

    #[test]
    fn what_the_settings_say_of_snapshots() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("dev.vbox");
        let xml = "<?xml version=\"1.0\"?>\n<VirtualBox xmlns=\"http://www.virtualbox.org/\" version=\"1.16-linux\">\n\
            <Machine uuid=\"{5fc461ec-da7a-40a8-a168-03134d7cdf5c}\" name=\"dev\">\n\
            <Snapshot uuid=\"{86b38fc9-9d68-4e4b-a033-4075002ab570}\" name=\"ROOT\" timeStamp=\"2021-03-01T10:00:00Z\" stateFile=\"Snapshots/x.sav\">\n\
            <Snapshots><Snapshot uuid=\"{e383e702-fee3-4e0b-b1e0-f3b869dbcaea}\" name=\"Snapshot 1\" timeStamp=\"2024-02-29T23:59:59Z\"/></Snapshots>\n\
            </Snapshot></Machine></VirtualBox>";
        fs::write(&file, xml).unwrap();
        let all = details(&file);
        assert_eq!(all["86b38fc9-9d68-4e4b-a033-4075002ab570"], (1_614_592_800, true));
        assert_eq!(all["e383e702-fee3-4e0b-b1e0-f3b869dbcaea"], (1_709_251_199, false));
        assert!(details(&dir.path().join("none")).is_empty());
        assert_eq!((seconds("1970-01-01T00:00:00Z"), seconds("yesterday")), (Some(0), None));
    }
}
