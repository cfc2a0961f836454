//! What VirtualBox says of machines.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind, State};

use super::state::VirtualboxState;
use super::vboxmanage::{Trouble, VBoxManage};

/// What `showvminfo --machinereadable` says of a machine: lines `key="value"`, `key=value` and `"key"="value"`. In values backslash and quotation
/// mark have a backslash before them since 7.0 (`VBoxManageInfo.cpp`: `outputMachineReadableString`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Vm {
    values: BTreeMap<String, String>,
    /// Whether backslashes are written twice.
    escaped: bool,
}

impl Vm {
    /// Reads it. `escaped` is whether this VirtualBox escapes values.
    pub(super) fn read(said: &str) -> Self {
        let pairs = said.lines().filter_map(split);
        let values: BTreeMap<String, String> =
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        // A path of Windows has `\\` then, and has none before 7.0 but at its beginning.
        let escaped =
            values.get("CfgFile").is_some_and(|path| path.get(2..).is_some_and(|rest| rest.contains(r"\\")));
        Self { values, escaped }
    }

    /// A value; empty where there is none.
    pub(super) fn get(&self, key: &str) -> &str {
        self.values.get(key).map_or("", String::as_str)
    }

    /// A value that is a path.
    fn path(&self, key: &str) -> Option<PathBuf> {
        let text = self
            .values
            .get(key)
            .filter(|text| !text.is_empty() && *text != "none" && *text != "emptydrive")?;
        Some(PathBuf::from(if self.escaped { text.replace(r"\\", r"\") } else { text.clone() }))
    }

    /// VirtualBox's id of it.
    pub(super) fn uuid(&self) -> &str {
        self.get("UUID")
    }

    /// Its settings' file.
    pub(super) fn settings(&self) -> Option<PathBuf> {
        self.path("CfgFile")
    }

    /// Whether its settings can't be read, e.g. because their folder is gone.
    pub(super) fn is_inaccessible(&self) -> bool {
        self.get("name") == "<inaccessible>"
    }

    /// What it does.
    pub(super) fn state(&self) -> State {
        state(self.get("VMState"))
    }

    /// The word by which VirtualBox says what it does.
    pub(super) fn word(&self) -> &str {
        self.get("VMState")
    }

    /// The name of the controller and the file that is attached to it at this port.
    pub(super) fn attached(&self, controller: &str, port: usize) -> Option<PathBuf> {
        self.path(&format!("{controller}-{port}-0"))
    }

    /// Whether it has a controller of this name.
    pub(super) fn has_controller(&self, name: &str) -> bool {
        self.values.iter().any(|(key, value)| key.starts_with("storagecontrollername") && value == name)
    }

    /// The first hard disk: the file that is written to now.
    pub(super) fn disk(&self) -> Option<PathBuf> {
        let is_disk = |path: &Path| {
            let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
            ["vdi", "vmdk", "vhd"].iter().any(|known| extension == *known)
        };
        let names = self.values.iter().filter(|(key, _)| key.starts_with("storagecontrollername"));
        names
            .flat_map(|(_, name)| (0..4).filter_map(move |port| self.attached(name, port)))
            .find(|path| is_disk(path))
    }

    /// Whether it has a shared folder of this name.
    pub(super) fn has_share(&self, name: &str) -> bool {
        self.values.iter().any(|(key, value)| key.starts_with("SharedFolderName") && value == name)
    }

    /// The port of this computer that leads to a port of the guest, by the rule's name: `Forwarding(0)="ssh,tcp,127.0.0.1,50001,,22"`.
    pub(super) fn forwarded(&self, rule: &str) -> Option<u16> {
        let rules = self.values.iter().filter(|(key, _)| key.starts_with("Forwarding("));
        rules
            .map(|(_, value)| value.split(',').collect::<Vec<_>>())
            .find(|parts| parts.first() == Some(&rule))
            .and_then(|parts| parts.get(3)?.parse().ok())
    }

    /// Whether it is in one of these folders.
    pub(super) fn is_in(&self, folders: &[PathBuf]) -> bool {
        let Some(file) = self.settings() else { return false };
        let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let file = real(&file);
        folders.iter().any(|folder| file.starts_with(real(folder)) || file.starts_with(folder))
    }
}

/// Takes a line of `--machinereadable` apart.
pub(super) fn split(line: &str) -> Option<(&str, &str)> {
    let line = line.trim_end();
    let (key, value) = match line.strip_prefix('"') {
        Some(rest) => rest.split_once("\"=")?,
        None => line.split_once('=')?,
    };
    let bare = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some((key, bare))
}

/// The state for VirtualBox's word (`machineStateToName` of `VBoxManageInfo.cpp`: short in `--machinereadable`, long in `list --long`).
pub(super) fn state(word: &str) -> State {
    match word {
        "running"
        | "livesnapshotting"
        | "live snapshotting"
        | "deletingsnapshotlive"
        | "deleting snapshot live"
        | "onlinesnapshotting"
        | "online snapshotting"
        | "teleporting" => State::Running,
        "paused" | "deletingsnapshotlivepaused" | "deleting snapshot live paused" => State::Paused,
        "saved" => State::Saved,
        "poweroff" | "powered off" | "aborted" | "aborted-saved" | "teleported" => State::Stopped,
        "starting" | "restoring" | "settingup" | "setting up" | "teleportingin" => State::Starting,
        "stopping" | "saving" => State::Stopping,
        "gurumeditation" | "guru meditation" => State::Error,
        // Nothing of it runs while these are done.
        "snapshotting"
        | "offline snapshotting"
        | "restoringsnapshot"
        | "restoring snapshot"
        | "deletingsnapshot"
        | "deleting snapshot" => State::Stopped,
        _ => State::None,
    }
}

/// The error for a machine that is gone.
pub(super) fn gone(name: &str) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("VirtualBox has no machine \"{name}\" of ours (any more)"))
}

/// Looks at a machine by name or id; `None` where there is none.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn show(manage: &VBoxManage, handle: &str) -> Result<Option<Vm>, DriverError> {
    match manage.ask(&["showvminfo", handle, "--machinereadable"]).await {
        Ok(said) => Ok(Some(Vm::read(&said))),
        Err(failure) if failure.trouble == Trouble::NoMachine => Ok(None),
        Err(failure) => Err(failure.into()),
    }
}

/// Looks at the machine of a record; `None` where it is gone. One of the same name that is somebody else's is not it.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn find(
    manage: &VBoxManage,
    machine_dir: &Path,
    state: &VirtualboxState,
) -> Result<Option<Vm>, DriverError> {
    let found = show(manage, state.handle()).await?;
    let folders = [machine_dir.to_owned(), state.folder()];
    Ok(found.filter(|vm| !state.uuid.is_empty() || vm.is_in(&folders)))
}

/// Looks at the machine of a record, which must be there.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it is gone.
pub(super) async fn must(
    manage: &VBoxManage,
    machine_dir: &Path,
    state: &VirtualboxState,
) -> Result<Vm, DriverError> {
    find(manage, machine_dir, state).await?.ok_or_else(|| gone(&state.base.machine_name))
}

/// What is seen of one of many machines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub name: String,
    pub uuid: String,
    pub settings: PathBuf,
    pub state: State,
}

impl Listed {
    /// Whether it is the machine of a record.
    pub(super) fn is(&self, machine_dir: &Path, state: &VirtualboxState) -> bool {
        if !state.uuid.is_empty() {
            return self.uuid.eq_ignore_ascii_case(&state.uuid);
        }
        let folders = [machine_dir, &state.folder()];
        self.name == state.base.machine_name && folders.iter().any(|folder| self.settings.starts_with(folder))
    }
}

/// All machines: one call for any number of them.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn list(manage: &VBoxManage) -> Result<Vec<Listed>, DriverError> {
    Ok(read_list(&manage.ask(&["list", "--long", "vms"]).await?))
}

/// Reads `list --long vms`: for each machine `showvminfo`'s text for people, in which name, folder and id come before the state
/// (`VBoxManageInfo.cpp`: `showVMInfo`).
fn read_list(said: &str) -> Vec<Listed> {
    let mut all: Vec<Listed> = Vec::new();
    for line in said.lines() {
        // What belongs to a part of a machine is indented, or its key is another one.
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key {
            // Shared folders have a `Name: 'home', Host path: …`.
            "Name" if !value.starts_with('\'') => {
                all.push(Listed { name: value.to_owned(), ..Listed::default() });
            }
            "UUID" | "Config file" | "State" => {
                let Some(last) = all.last_mut() else { continue };
                match key {
                    "UUID" if last.uuid.is_empty() => value.clone_into(&mut last.uuid),
                    "Config file" => last.settings = PathBuf::from(value),
                    "State" if last.state == State::None => {
                        last.state = state(value.split(" (").next().unwrap_or_default());
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
    all.retain(|vm| !vm.uuid.is_empty());
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines of a machine made by docker-machine 0.16 on VirtualBox 6.1, as `showvminfo --machinereadable` prints them; formats as in
    /// `VBoxManageInfo.cpp`.
    const SHOWN: &str = "name=\"dev\"\ngroups=\"/\"\nostype=\"Linux 2.6 / 3.x / 4.x (64-bit)\"\n\
        UUID=\"5fc461ec-da7a-40a8-a168-03134d7cdf5c\"\nCfgFile=\"/home/me/.docker/machine/machines/dev/dev/dev.vbox\"\n\
        memory=1024\ncpus=1\nVMState=\"running\"\nVMStateChangeTime=\"2021-03-01T10:00:00.000000000\"\n\
        storagecontrollername0=\"SATA\"\nstoragecontrollertype0=\"IntelAhci\"\n\
        \"SATA-0-0\"=\"/home/me/.docker/machine/machines/dev/boot2docker.iso\"\n\"SATA-ImageUUID-0-0\"=\"8d5c\"\n\
        \"SATA-IsEjected\"=\"off\"\n\"SATA-1-0\"=\"/home/me/.docker/machine/machines/dev/disk.vmdk\"\n\"SATA-2-0\"=\"none\"\n\
        natnet1=\"nat\"\nmacaddress1=\"080027AABBCC\"\nForwarding(0)=\"ssh,tcp,127.0.0.1,50001,,22\"\nnic2=\"hostonly\"\n\
        hostonlyadapter2=\"vboxnet0\"\nmacaddress2=\"0800271234AB\"\nSharedFolderNameMachineMapping1=\"hosthome\"\n\
        SharedFolderPathMachineMapping1=\"/home\"\nGuestMemoryBalloon=0\n";

    #[test]
    fn a_machine_as_it_is_shown() {
        let vm = Vm::read(SHOWN);
        assert_eq!((vm.state(), vm.uuid()), (State::Running, "5fc461ec-da7a-40a8-a168-03134d7cdf5c"));
        assert_eq!(vm.forwarded("ssh"), Some(50001));
        assert_eq!(vm.forwarded("http"), None);
        let home = Path::new("/home/me/.docker/machine/machines/dev");
        assert_eq!(vm.disk().unwrap(), home.join("disk.vmdk"));
        assert_eq!(vm.attached("SATA", 0).unwrap(), home.join("boot2docker.iso"));
        assert_eq!(vm.attached("SATA", 2), None);
        assert!(vm.has_controller("SATA") && !vm.has_controller("IDE") && vm.has_share("hosthome"));
        assert!(vm.is_in(&[home.to_owned()]) && !vm.is_in(&[PathBuf::from("/home/me/VirtualBox VMs")]));
    }

    #[test]
    fn paths_of_windows_before_and_since_7() {
        for (said, want) in [
            (r#"CfgFile="C:\\Users\\me\\dev.vbox""#, r"C:\Users\me\dev.vbox"),
            (r#"CfgFile="C:\Users\me\dev.vbox""#, r"C:\Users\me\dev.vbox"),
        ] {
            assert_eq!(Vm::read(said).settings().unwrap(), PathBuf::from(want));
        }
    }

    #[test]
    fn every_word_is_a_state() {
        for (word, want) in [
            ("poweroff", State::Stopped),
            ("aborted", State::Stopped),
            ("saved", State::Saved),
            ("paused", State::Paused),
            ("powered off", State::Stopped),
            ("stopping", State::Stopping),
            ("starting", State::Starting),
            ("gurumeditation", State::Error),
            ("something new", State::None),
        ] {
            assert_eq!(state(word), want, "{word}");
        }
    }

    /// As in `VBoxManageInfo.cpp` of 6.1; the older program pads with fewer spaces.
    #[test]
    fn many_machines_in_one_answer() {
        let said = "Name:                        one\nGroups:                      /\nGuest OS:                    Linux 2.6 (64-bit)\n\
            UUID:                        5fc461ec-da7a-40a8-a168-03134d7cdf5c\nConfig file:                 /m/one/one/one.vbox\n\
            Hardware UUID:               5fc461ec-da7a-40a8-a168-03134d7cdf5c\n\
            State:                       powered off (since 2021-03-01T10:00:00.000000000)\nShared folders:\n\n\
            Name: 'hosthome', Host path: '/home' (machine mapping), writable, auto-mount\n\n\
            Name:            two\nUUID:            857c1b8d-4fd6-4044-9d2c-c6e465b3cdd4\nConfig file:     /m/two/two/two.vbox\n\
            State:           running (since 2021-03-01T10:00:00.000000000)\n";
        let all = read_list(said);
        let seen: Vec<_> = all.iter().map(|vm| (vm.name.as_str(), vm.state)).collect();
        assert_eq!(seen, [("one", State::Stopped), ("two", State::Running)]);
        let mut record = VirtualboxState::default();
        record.base.machine_name = "two".into();
        assert!(all[1].is(Path::new("/m/two"), &record) && !all[1].is(Path::new("/other/two"), &record));
        record.uuid = "5FC461EC-da7a-40a8-a168-03134d7cdf5c".into();
        assert!(all[0].is(Path::new("/x"), &record));
    }
}
