//! The mark on what is made, in the places that DigitalOcean has for it: tags of droplets, names of keys and firewalls.

use crate::cloud::{MACHINE_KEY, STORE_KEY};

/// How long a tag may be.
const LONGEST_TAG: usize = 255;
/// What names of keys and firewalls begin with.
const PREFIX: &str = "docker-machine";

pub(super) use crate::cloud::Mark;

/// The tag that everything of a store has.
pub(super) fn store_tag(store: &str) -> String {
    format!("{STORE_KEY}:{store}")
}

/// The tag of one machine. It has the store's id too: tags belong to the account, and `rm` deletes this one.
pub(super) fn machine_tag(mark: &Mark) -> String {
    format!("{MACHINE_KEY}:{}:{}", encoded(&mark.machine), mark.store)
}

/// Whether a machine's tag is short enough.
pub(super) fn fits(mark: &Mark) -> bool {
    machine_tag(mark).len() <= LONGEST_TAG
}

/// The machine of a tag of this store; `None` where it is another tag.
pub(super) fn machine_of_tag(tag: &str, store: &str) -> Option<String> {
    let rest = tag.strip_prefix(MACHINE_KEY)?.strip_prefix(':')?;
    decoded(rest.strip_suffix(store)?.strip_suffix(':')?)
}

/// The name of a machine's key.
pub(super) fn key_name(mark: &Mark) -> String {
    format!("{PREFIX} {} {}", mark.machine, mark.store)
}

/// The machine of a key with this name; `None` where it is not of this store.
pub(super) fn machine_of_key(name: &str, store: &str) -> Option<String> {
    let machine = name.strip_prefix(PREFIX)?.strip_prefix(' ')?.strip_suffix(store)?.strip_suffix(' ')?;
    (!machine.is_empty()).then(|| machine.to_owned())
}

/// The name of a machine's firewall: letters, digits, dots and dashes.
pub(super) fn firewall_name(mark: &Mark) -> String {
    format!("{PREFIX}-{}-{}", mark.machine, mark.store)
}

/// The machine of a firewall with this name; `None` where it is not of this store.
pub(super) fn machine_of_firewall(name: &str, store: &str) -> Option<String> {
    let machine = name.strip_prefix(PREFIX)?.strip_prefix('-')?.strip_suffix(store)?.strip_suffix('-')?;
    (!machine.is_empty()).then(|| machine.to_owned())
}

/// A machine's name in the characters of a tag. Tags are the same tag whatever the case of their letters, and take no
/// dots: capitals and dots stand as `_` and two hexadecimal digits. Names have no `_`.
fn encoded(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => text.push(char::from(byte)),
            other => text.push_str(&format!("_{other:02x}")),
        }
    }
    text
}

fn decoded(text: &str) -> Option<String> {
    let mut name = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first == '_' {
            let byte = u8::from_str_radix(rest.get(1..3)?, 16).ok()?;
            name.push(char::from(byte));
            rest = &rest[3..];
        } else {
            name.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STORE: &str = "0123456789abcdef0123456789abcdef";

    fn mark(machine: &str) -> Mark {
        Mark { store: STORE.to_owned(), machine: machine.to_owned() }
    }

    #[test]
    fn tags_tell_machines_apart_whatever_the_case() {
        let tag = machine_tag(&mark("Web.1-a"));
        assert_eq!(tag, format!("docker-machine-name:_57eb_2e1-a:{STORE}"));
        assert_ne!(tag.to_lowercase(), machine_tag(&mark("web.1-a")).to_lowercase());
        assert_eq!(machine_of_tag(&tag, "another"), None);
        assert_eq!(machine_of_tag("web", STORE), None);
    }

    proptest! {
        #[test]
        fn names_come_back(name in "[a-zA-Z0-9][a-zA-Z0-9.-]{0,60}") {
            let mark = mark(&name);
            let tag = machine_tag(&mark);
            let taggable = |c: char| c.is_ascii_alphanumeric() || "_-:".contains(c);
            prop_assert!(tag.chars().all(taggable), "{}", tag);
            prop_assert_eq!(machine_of_tag(&tag, STORE), Some(name.clone()));
            prop_assert_eq!(machine_of_key(&key_name(&mark), STORE), Some(name.clone()));
            prop_assert_eq!(machine_of_firewall(&firewall_name(&mark), STORE), Some(name));
        }
    }
}
