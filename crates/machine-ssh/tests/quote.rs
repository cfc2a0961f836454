//! Quoting, judged by real shells.

mod support;

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::process::Command;

use machine_ssh::{quote, quote_bytes, quote_words};
use proptest::prelude::*;
use support::have;

/// What each of these shells makes of a line of words: the words, each ended by a NUL.
fn words(shell: &str, line: &[u8]) -> Vec<u8> {
    let mut script = b"printf '%s\\0' ".to_vec();
    script.extend_from_slice(line);
    let output = Command::new(shell)
        .arg("-c")
        .arg(OsString::from_vec(script))
        .env("LC_ALL", "C")
        .output()
        .expect(shell);
    assert!(output.status.success(), "{shell}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn shells() -> Vec<&'static str> {
    ["/bin/sh", "/bin/dash", "/bin/bash"].into_iter().filter(|shell| have(&[shell])).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn any_bytes_but_nul_come_through(list in prop::collection::vec(prop::collection::vec(1u8.., 0..40), 1..20)) {
        let line: Vec<Vec<u8>> = list.iter().map(|word| quote_bytes(OsString::from_vec(word.clone()))).collect();
        let expected: Vec<u8> = list.iter().flat_map(|word| word.iter().copied().chain([0])).collect();
        for shell in shells() {
            prop_assert_eq!(words(shell, &line.join(&b' ')), expected.clone(), "{}", shell);
        }
    }

    #[test]
    fn any_text_comes_through(list in prop::collection::vec("[^\u{0}]{0,30}", 1..20)) {
        let expected: Vec<u8> = list.iter().flat_map(|word| word.bytes().chain([0])).collect();
        for shell in shells() {
            prop_assert_eq!(words(shell, quote_words(&list).as_bytes()), expected.clone(), "{}", shell);
        }
    }
}

#[test]
fn every_single_byte_and_every_word_that_means_something_comes_through() {
    let mut list: Vec<OsString> = (1..=255).map(|b| OsString::from_vec(vec![b])).collect();
    let special = [
        "", "~", "~root", "a=b", "-n", "--", "!!", "{a,b}", "$HOME", "$(id)", "`id`", "*", "#x", "if", "'",
        "a b",
    ];
    list.extend(special.map(OsString::from));
    let line: Vec<Vec<u8>> = list.iter().map(quote_bytes).collect();
    let expected: Vec<u8> = list.iter().flat_map(|word| word.as_bytes().iter().copied().chain([0])).collect();
    for shell in shells() {
        assert_eq!(words(shell, &line.join(&b' ')), expected, "{shell}");
    }
}

#[test]
fn what_needs_no_quotes_gets_none() {
    assert_eq!(quote("/etc/docker/daemon.json"), "/etc/docker/daemon.json");
    assert_eq!(quote(""), "''");
    assert_eq!(quote("it's"), r"'it'\''s'");
    assert_eq!(quote("a\0b"), "'ab'");
}
