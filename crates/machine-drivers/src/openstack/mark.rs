//! Whose something is, where OpenStack has no tags for it: in a description or in a name.

use std::collections::BTreeMap;

use crate::cloud::{MACHINE_KEY, Mark, STORE_KEY};

/// The mark as a description: of security groups and floating IPs.
pub(super) fn description(mark: &Mark) -> String {
    format!("{STORE_KEY}={} {MACHINE_KEY}={}", mark.store, mark.machine)
}

/// The mark that a description is.
pub(super) fn of_description(text: &str) -> Option<Mark> {
    let (store, machine) = text.split_once(' ')?;
    let value = |pair: &str, key: &str| Some(pair.strip_prefix(key)?.strip_prefix('=')?.to_owned());
    Some(Mark { store: value(store, STORE_KEY)?, machine: value(machine, MACHINE_KEY)? })
}

/// The mark among metadata: of servers and volumes.
pub(super) fn of_metadata(metadata: &BTreeMap<String, String>) -> Option<Mark> {
    let get = |key: &str| metadata.get(key).cloned();
    Some(Mark { store: get(STORE_KEY)?, machine: get(MACHINE_KEY).unwrap_or_default() })
}

/// The name of a machine's key pair: the machine's and the store's id, as the reference program has a random number. Key
/// pairs may have no dots in their names; machines may have no underscores.
pub(super) fn key_pair_name(mark: &Mark) -> String {
    format!("{}-{}", mark.machine.replace('.', "_"), mark.store)
}

/// The machine that a key pair of a store is of.
pub(super) fn machine_of_key_pair(name: &str, store: &str) -> Option<String> {
    let machine = name.strip_suffix(store)?.strip_suffix('-')?;
    (!machine.is_empty()).then(|| machine.replace('_', "."))
}

/// The name of a machine's security group.
pub(super) fn security_group_name(mark: &Mark) -> String {
    format!("docker-machine-{}", mark.machine)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_found_again() {
        let mark = Mark { store: "0123abcd".into(), machine: "a.b-c".into() };
        assert_eq!(of_description(&description(&mark)), Some(mark.clone()));
        assert_eq!(of_metadata(&mark.pairs()), Some(mark.clone()));
        assert_eq!(key_pair_name(&mark), "a_b-c-0123abcd");
        assert_eq!(machine_of_key_pair("a_b-c-0123abcd", "0123abcd").as_deref(), Some("a.b-c"));
        for other in ["-0123abcd", "0123abcd", "x-0123abce", "mine"] {
            assert_eq!(machine_of_key_pair(other, "0123abcd"), None);
        }
        assert_eq!(of_description("web servers"), None);
    }
}
