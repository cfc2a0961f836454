//! What a driver says of itself, and what it makes of flags: no host is made here.

use std::collections::BTreeSet;

use machine_core::{Driver, DriverState, ErrorKind, FlagSpec, PowerSupport};
use serde_json::json;

use super::Subject;
use super::bench::{Bench, full_text};

/// Words in a flag's name that mean that its value is a secret, unless it is the name of a file or a switch.
const SECRET_WORDS: [&str; 6] = ["token", "password", "secret", "passphrase", "api-key", "access-key"];
/// Ends of names of flags that only point at a secret or name one, or say whether one is needed.
const NOT_SECRET: [&str; 7] =
    ["-path", "-file", "-id", "-name", "-profile", "-metadata-token", "-http-tokens"];

/// The declaration makes sense: names and variables are unique, begin with the driver's name, have help, and what
/// sounds secret is marked so.
///
/// # Panics
/// Where it does not.
pub fn spec_is_sane(driver: &dyn Driver, subject: &dyn Subject) {
    let spec = driver.spec();
    assert!(!spec.name.is_empty() && !spec.summary.is_empty(), "a driver needs a name and a summary");
    let (mut names, mut variables) = (BTreeSet::new(), BTreeSet::new());
    for flag in spec.flags.iter() {
        let name = flag.name.as_ref();
        flag_is_sane(&spec.name, flag, subject);
        assert!(names.insert(name), "--{name} is declared twice");
        assert!(
            flag.env.is_empty() || variables.insert(flag.env.as_ref()),
            "--{name}: the variable {} stands for another flag already",
            flag.env
        );
    }
    for support in [
        &spec.capabilities.start,
        &spec.capabilities.stop,
        &spec.capabilities.restart,
        &spec.capabilities.kill,
    ] {
        if let PowerSupport::No(text) = support {
            assert!(!text.is_empty(), "an operation that can't be done needs a text that says so");
        }
        assert!(
            spec.capabilities.ssh || !matches!(support, PowerSupport::OverSsh),
            "an operation over SSH on hosts that have no SSH"
        );
    }
}

fn flag_is_sane(driver: &str, flag: &FlagSpec, subject: &dyn Subject) {
    let name = flag.name.as_ref();
    let listed = subject.flag_name_exceptions().contains(&name);
    assert!(
        listed || name.strip_prefix(driver).is_some_and(|rest| rest.starts_with('-')),
        "--{name} does not begin with --{driver}- and is no listed exception"
    );
    assert!(
        name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'),
        "--{name}: lower-case letters, digits and dashes only"
    );
    assert!(!flag.help.trim().is_empty(), "--{name} has no help");
    assert!(!flag.help.contains('\n'), "--{name}: help is one line");
    assert!(
        flag.env.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_'),
        "--{name}: {} is no name of a variable",
        flag.env
    );
    let sounds_secret = SECRET_WORDS.iter().any(|word| name.contains(word))
        && !NOT_SECRET.iter().any(|end| name.ends_with(end));
    let is_text =
        matches!(flag.default_value(), machine_core::FlagValue::Str(_) | machine_core::FlagValue::List(_));
    assert!(!(sounds_secret && is_text) || flag.secret, "--{name} sounds secret and is not marked so");
}

/// The same flags give the same state, nothing is read or written, and the state says the machine's name.
///
/// # Panics
/// Where it is otherwise.
pub fn configuring_is_pure(driver: &dyn Driver, subject: &dyn Subject) {
    let (bench, before) = (Bench::new(), subject.resources());
    let first = bench.wish(driver, &subject.good_flags());
    let second = bench.wish(driver, &subject.good_flags());
    assert!(first == second, "configure gave two states for the same flags");
    assert_eq!(
        first.str("MachineName"),
        bench.cx().name.as_str(),
        "the state does not say the machine's name"
    );
    let left = std::fs::read_dir(bench.cx().machine_dir).expect("the machine's folder").count();
    assert_eq!(left, 0, "configure wrote into the machine's folder");
    assert_eq!(subject.resources(), before, "configure made something");
}

/// Flags that make no sense are refused, as such.
///
/// # Panics
/// Where they are taken, or refused as something else.
pub fn bad_flags_are_refused(driver: &dyn Driver, subject: &dyn Subject) {
    let bench = Bench::new();
    let sets = subject.bad_flags();
    assert!(
        !sets.is_empty() || driver.spec().flags.is_empty(),
        "the subject must know flags that make no sense"
    );
    for (what, flags) in sets {
        match driver.configure(&bench.configure_context(), &flags) {
            Ok(_) => panic!("configure took flags with this defect: {what}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Config, "{what}: {}", full_text(&error)),
        }
    }
}

/// The state survives the record: written, read, and with keys that the driver does not know; `known` is pure.
///
/// # Panics
/// Where something is lost.
pub fn state_round_trips(driver: &dyn Driver, subject: &dyn Subject) {
    let bench = Bench::new();
    let state = with_unknown(bench.wish(driver, &subject.good_flags()));
    let text = serde_json::to_string(&state).expect("a state is JSON");
    let again: DriverState = serde_json::from_str(&text).expect("and reads as such");
    assert!(again == state, "the state changed on its way through the record");
    let known = driver.known(&state).unwrap_or_else(|error| panic!("known: {}", full_text(&error)));
    assert_eq!(driver.known(&again).ok().as_ref(), Some(&known), "known gave two answers for the same state");
    if !driver.spec().capabilities.ssh {
        assert_eq!(known.ssh, None, "a driver without SSH gave an SSH endpoint");
    }
    let empty = DriverState::default();
    if let Err(error) = driver.known(&empty) {
        assert_eq!(error.kind(), ErrorKind::Config, "an empty record: {}", full_text(&error));
    }
    let mut nonsense = state;
    nonsense.0.insert("IPAddress".to_owned(), json!([1]));
    match driver.known(&nonsense) {
        Ok(_) => panic!("known took a record whose IPAddress is a list"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::Config, "a broken record: {}", full_text(&error)),
    }
}

/// Puts a key into the state that no driver knows.
pub(super) fn with_unknown(mut state: DriverState) -> DriverState {
    state.0.insert("KeyOfALaterVersion".to_owned(), json!({"a": [1, null]}));
    state
}

/// Checks that it is still there.
pub(super) fn unknown_is_kept(state: &DriverState, by: &str) {
    assert_eq!(
        state.0.get("KeyOfALaterVersion"),
        Some(&json!({"a": [1, null]})),
        "{by} dropped a key that it does not know"
    );
}
