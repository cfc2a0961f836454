//! What Hyper-V has: machines as the script `list` tells them, which of them is ours, and where it can be reached.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use machine_core::State;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The identifier of the switch that Windows 10 and later bring along; its name is translated.
const DEFAULT_SWITCH: &str = "C08CB7B8-9B3C-408E-8E30-5E16A3AEB444";

/// What `check` answers.
#[derive(Debug, Deserialize)]
pub(super) struct Check {
    /// A value that was given, as PowerShell saw it.
    pub(super) given: String,
    /// Whether the module is installed.
    pub(super) module: bool,
    /// Whether the user is an administrator, with the rights of one now.
    pub(super) administrator: bool,
    /// Whether the user is in the group of Hyper-V's administrators.
    pub(super) member: bool,
    #[serde(deserialize_with = "many")]
    pub(super) switches: Vec<Switch>,
}

/// A virtual switch.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Switch {
    pub(super) id: String,
    pub(super) name: String,
    /// `External`, `Internal` or `Private`.
    #[serde(rename = "type")]
    pub(super) kind: String,
}

impl Switch {
    /// Whether it is the one that Windows brings along: with DHCP, a way out, and this computer in it.
    fn is_default(&self) -> bool {
        self.id.trim_matches(['{', '}']).eq_ignore_ascii_case(DEFAULT_SWITCH)
    }

    fn is_external(&self) -> bool {
        self.kind == "External"
    }
}

/// The switch for a machine for which the user chose none. The reference program takes the first external one. Guests
/// that tell no address are found by this computer's neighbours only, which is certain on the default switch alone; so
/// that comes first where the guest is one of those.
pub(super) fn choose(switches: &[Switch], talkative: bool) -> Option<&Switch> {
    let external = switches.iter().find(|switch| switch.is_external());
    let default = switches.iter().find(|switch| switch.is_default());
    if talkative { external.or(default) } else { default.or(external) }
}

/// What `list` answers.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Listing {
    #[serde(deserialize_with = "many")]
    pub(super) machines: Vec<Vm>,
    #[serde(default, deserialize_with = "many")]
    pub(super) neighbours: Vec<Neighbour>,
}

/// A virtual machine.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default)]
pub(super) struct Vm {
    pub(super) id: String,
    pub(super) name: String,
    /// Hyper-V's word for what it does.
    pub(super) state: String,
    /// Where its files are.
    pub(super) path: String,
    pub(super) generation: u8,
    #[serde(deserialize_with = "many")]
    pub(super) disks: Vec<String>,
    #[serde(deserialize_with = "many")]
    pub(super) macs: Vec<String>,
    /// What the guest tells.
    #[serde(deserialize_with = "many")]
    pub(super) addresses: Vec<String>,
}

/// Somebody in one of this computer's networks.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(super) struct Neighbour {
    pub(super) address: String,
    pub(super) mac: String,
    pub(super) state: String,
}

/// PowerShell's JSON has a list of one element as that element, one of none as nothing, and some lists as an object with
/// their count, depending on where the list came from.
pub(super) fn many<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned,
{
    let items = match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items,
        Value::Object(mut object) if object.contains_key("value") && object.contains_key("Count") => {
            match object.remove("value") {
                Some(Value::Array(items)) => items,
                other => other.into_iter().collect(),
            }
        }
        one => vec![one],
    };
    items.into_iter().map(|item| serde_json::from_value(item).map_err(D::Error::custom)).collect()
}

impl Listing {
    /// The machines that were made for a record: those with the record's identifier, else those of the name whose files
    /// lie in the machine's folder. Hyper-V lets many machines have the same name, and others' are not ours to touch.
    pub(super) fn ours(&self, id: &str, name: &str, folders: &[PathBuf]) -> Vec<&Vm> {
        let by_id: Vec<_> =
            self.machines.iter().filter(|vm| !id.is_empty() && vm.id.eq_ignore_ascii_case(id)).collect();
        if !by_id.is_empty() {
            return by_id;
        }
        let mine = |vm: &&Vm| {
            vm.has_name(name) && folders.iter().any(|folder| vm.files().any(|file| is_in(file, folder)))
        };
        self.machines.iter().filter(mine).collect()
    }

    /// Where a machine can be reached: what its guest tells, else what this computer has seen of it in the network.
    pub(super) fn address(&self, vm: &Vm) -> Option<String> {
        let told = || vm.addresses.iter().filter_map(|text| text.parse::<IpAddr>().ok());
        let four = told().find(|address| matches!(address, IpAddr::V4(four) if is_usable(*four)));
        four.or_else(|| self.seen(vm).map(IpAddr::V4))
            .or_else(|| told().find(|address| matches!(address, IpAddr::V6(six) if !is_local(*six))))
            .map(|address| address.to_string())
    }

    fn seen(&self, vm: &Vm) -> Option<Ipv4Addr> {
        let macs: Vec<String> = vm.macs.iter().map(|mac| digits(mac)).filter(|mac| is_set(mac)).collect();
        let known = self.neighbours.iter().filter(|one| macs.contains(&digits(&one.mac)));
        let good = known.filter_map(|one| {
            let address = one.address.parse().ok().filter(|address| is_usable(*address))?;
            rank(&one.state).map(|rank| (rank, address))
        });
        good.min_by_key(|(rank, _)| *rank).map(|(_, address)| address)
    }
}

impl Vm {
    pub(super) fn has_name(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    fn files(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.path.as_str()).chain(self.disks.iter().map(String::as_str))
    }

    /// What it does, in our words.
    pub(super) fn state(&self) -> State {
        match self.state.as_str() {
            "Running" | "Reset" => State::Running,
            "Off" => State::Stopped,
            "Paused" => State::Paused,
            "Saved" | "FastSaved" | "Hibernated" => State::Saved,
            "Starting" | "Resuming" | "FastSavedStarting" => State::Starting,
            "Stopping" | "Saving" | "FastSaving" | "Pausing" | "ForceShutdown" => State::Stopping,
            // Its storage or network went away.
            critical if critical.ends_with("Critical") => State::Error,
            _ => State::None,
        }
    }
}

/// How much a neighbour's entry is worth, best first; `None` for one that nobody answers at.
fn rank(state: &str) -> Option<u8> {
    match state {
        "Reachable" => Some(0),
        "Delay" | "Probe" => Some(1),
        "Permanent" => Some(2),
        "Stale" => Some(3),
        _ => None,
    }
}

fn is_usable(address: Ipv4Addr) -> bool {
    !(address.is_link_local()
        || address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_broadcast())
}

fn is_local(address: std::net::Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.is_loopback() || address.is_unspecified()
}

/// The digits of an address of a network card, whatever stands between them.
fn digits(mac: &str) -> String {
    mac.chars().filter(char::is_ascii_hexdigit).map(|c| c.to_ascii_uppercase()).collect()
}

/// A card has the address of all zeros until its machine is started for the first time.
fn is_set(mac: &str) -> bool {
    mac.len() == 12 && mac.bytes().any(|b| b != b'0')
}

/// Whether a file is in a folder, as Windows compares paths.
fn is_in(file: &str, folder: &Path) -> bool {
    let plain = |path: &str| path.replace('/', "\\").trim_end_matches('\\').to_lowercase();
    let (file, folder) = (plain(file), plain(&folder.to_string_lossy()));
    !folder.is_empty()
        && (file == folder || file.strip_prefix(&folder).is_some_and(|rest| rest.starts_with('\\')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listing(text: &str) -> Listing {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn lists_of_one_and_of_none() {
        let one = listing(r#"{"machines":{"id":"1","name":"a","addresses":"10.0.0.2"},"neighbours":null}"#);
        assert_eq!((one.machines.len(), one.machines[0].addresses.len()), (1, 1));
        let counted = listing(r#"{"machines":{"value":[{"id":"1"},{"id":"2"}],"Count":2}}"#);
        assert_eq!(counted.machines.len(), 2);
        assert!(listing(r#"{"machines":[]}"#).machines.is_empty());
    }

    #[test]
    fn ours_are_those_in_our_folder() {
        let all = listing(
            r#"{"machines":[
                {"id":"1","name":"dev","path":"D:\\VMs\\dev"},
                {"id":"2","name":"DEV","path":"c:\\users\\U\\.docker\\machine\\machines\\dev\\dev"},
                {"id":"3","name":"dev","path":"D:\\x","disks":["C:/Users/u/.docker/machine/machines/dev/disk.vhd"]},
                {"id":"4","name":"dev","path":"C:\\Users\\u\\.docker\\machine\\machines\\dev2\\dev"}
            ]}"#,
        );
        let folder = [PathBuf::from(r"C:\Users\u\.docker\machine\machines\dev")];
        let ids = |found: Vec<&Vm>| found.iter().map(|vm| vm.id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(all.ours("", "dev", &folder)), ["2", "3"]);
        assert_eq!(ids(all.ours("1", "dev", &folder)), ["1"]);
        assert_eq!(ids(all.ours("9", "dev", &folder)), ["2", "3"]);
        assert!(all.ours("", "dev", &[PathBuf::new()]).is_empty());
    }

    #[test]
    fn an_address_is_told_by_the_guest_or_seen_in_the_network() {
        let all = listing(
            r#"{"machines":[
                {"id":"told","macs":"00155D010203","addresses":["fe80::1","169.254.7.7","172.20.1.2","fd00::5"]},
                {"id":"seen","macs":["00155d0a0b0c"]},
                {"id":"new","macs":["000000000000"]},
                {"id":"six","macs":[],"addresses":["fe80::1","fd00::5"]}
              ],"neighbours":[
                {"address":"172.20.1.9","mac":"00-15-5D-0A-0B-0C","state":"Stale"},
                {"address":"172.20.1.8","mac":"00-15-5D-0A-0B-0C","state":"Unreachable"},
                {"address":"172.20.1.7","mac":"00155D0A0B0C","state":"Reachable"},
                {"address":"172.20.1.1","mac":"00-00-00-00-00-00","state":"Permanent"}
            ]}"#,
        );
        let at = |index: usize| all.address(&all.machines[index]);
        assert_eq!(at(0).as_deref(), Some("172.20.1.2"));
        assert_eq!(at(1).as_deref(), Some("172.20.1.7"));
        assert_eq!(at(2), None);
        assert_eq!(at(3).as_deref(), Some("fd00::5"));
    }

    #[test]
    fn the_default_switch_is_known_by_its_identifier() {
        let switch =
            |id: &str, name: &str, kind: &str| Switch { id: id.into(), name: name.into(), kind: kind.into() };
        let all = [
            switch("1", "Extern", "External"),
            switch("c08cb7b8-9b3c-408e-8e30-5e16a3aeb444", "Standardswitch", "Internal"),
        ];
        assert_eq!(choose(&all, true).map(|s| s.name.as_str()), Some("Extern"));
        assert_eq!(choose(&all, false).map(|s| s.name.as_str()), Some("Standardswitch"));
        assert_eq!(choose(&[switch("2", "p", "Private")], false), None);
    }

    #[test]
    fn states() {
        let state = |word: &str| Vm { state: word.into(), ..Vm::default() }.state();
        assert_eq!(state("Off"), State::Stopped);
        assert_eq!(state("Saved"), State::Saved);
        assert_eq!(state("RunningCritical"), State::Error);
        assert_eq!(state("Other"), State::None);
    }
}
