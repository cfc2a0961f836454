//! state.json.

mod support;

use std::fs;

use machine_store::{Journal, Operation, Phase, Status, StoreError};
use proptest::prelude::*;
use serde_json::{Value, json};
use support::{LIMIT, machine, store};

#[test]
fn a_journal_comes_back_as_it_was_saved() {
    let (_dir, store) = store();
    assert_eq!(store.load_journal("foo").unwrap(), None);
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    let mut journal = Journal::begin(Operation::Create, "0.17.0");
    let error = store.save_journal(&lock, &journal).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "there is no folder yet: {error}");
    store.create(&lock, &machine("foo"), &journal).unwrap();
    journal.phase = Phase::Provision;
    journal.status = Status::Failed { message: "no\nroute".to_owned(), hint: Some("look".to_owned()) };
    journal.timings.insert(Phase::Host, 1200);
    journal.timings.insert(Phase::Other("later".to_owned()), 1);
    journal.host_keys.push("ssh-ed25519 AAAA".to_owned());
    journal.jump_hosts.push("me@bastion".to_owned());
    journal.key_algorithm = "ed25519".to_owned();
    journal.extra.insert("step".to_owned(), json!("install engine"));
    store.save_journal(&lock, &journal).unwrap();

    let mut again = store.load_journal("foo").unwrap().unwrap();
    assert!(again.updated >= journal.updated && again.started == journal.started);
    assert_eq!((again.actor.pid, again.actor.program.as_str()), (std::process::id(), "0.17.0"));
    again.updated.clone_from(&journal.updated);
    assert_eq!(again, journal);
    assert_eq!(store.incomplete("foo", &again).unwrap(), "creating failed in phase provision: no route");

    let text = fs::read_to_string(store.machine_dir("foo").join("state.json")).unwrap();
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["status"], json!({ "state": "failed", "message": "no\nroute", "hint": "look" }));
    assert_eq!(value["timings"], json!({ "host": 1200, "later": 1 }));
    assert_eq!((&value["operation"], &value["phase"]), (&json!("create"), &json!("provision")));
    assert!(value["started"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn another_operation_keeps_what_belongs_to_the_machine() {
    let mut journal = Journal::begin(Operation::Create, "1");
    journal.host_keys.push("ssh-ed25519 AAAA".to_owned());
    journal.timings.insert(Phase::Host, 1);
    journal.status = Status::Done;
    journal.restart(Operation::Remove, "2");
    assert_eq!(
        (journal.operation, journal.phase, journal.status),
        (Operation::Remove, Phase::Reserve, Status::Running)
    );
    assert_eq!((journal.host_keys.len(), journal.timings.len()), (1, 0));
}

#[test]
fn what_a_newer_program_wrote_is_kept() {
    let (_dir, store) = store();
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    store.save(&lock, &machine("foo")).unwrap();
    let text = json!({
        "version": 7, "operation": "teleport", "phase": "beam", "status": { "state": "wobbling", "by": 3 },
        "actor": { "pid": 1, "mood": "good" }, "hostKeys": ["ssh-ed25519 A"], "warp": { "b": 1, "a": [2] },
    });
    let path = store.machine_dir("foo").join("state.json");
    fs::write(&path, text.to_string()).unwrap();
    let journal = store.load_journal("foo").unwrap().unwrap();
    assert_eq!(journal.operation, Operation::Other("teleport".to_owned()));
    assert_eq!((journal.phase.as_str(), &journal.status), ("beam", &Status::Unknown));
    assert_eq!(store.incomplete("foo", &journal), None);
    store.save_journal(&lock, &journal).unwrap();
    let again: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    assert_eq!(
        (&again["warp"], &again["phase"], &again["version"]),
        (&text["warp"], &text["phase"], &json!(7))
    );
    assert_eq!(again["hostKeys"], text["hostKeys"]);
}

#[test]
fn a_torn_journal_is_an_error_because_it_holds_the_hosts_keys() {
    let (_dir, store) = store();
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    store.save(&lock, &machine("foo")).unwrap();
    let path = store.machine_dir("foo").join("state.json");
    fs::write(&path, "{\"version\":1,").unwrap();
    let error = store.load_journal("foo").unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
    assert!(error.hint().unwrap().contains("host keys"));
    assert!(store.load("foo").is_ok());
}

#[test]
fn why_a_machine_is_incomplete() {
    let (_dir, store) = store();
    let mut journal = Journal::begin(Operation::Create, "1");
    let mut reason = |phase: Phase| {
        journal.phase = phase;
        store.incomplete("foo", &journal).unwrap()
    };
    assert_eq!(reason(Phase::Record), "creating, interrupted before any resource was made");
    assert_eq!(reason(Phase::Reach), "creating, interrupted in phase reach");
    assert_eq!(store.incomplete("foo", &Journal::default()), None);
}

proptest! {
    /// Texts of other versions, other programs and crashes: an error or a journal, and that is kept as it was read.
    #[test]
    fn any_text_is_an_error_or_comes_back(
        phase in "[a-z]{0,9}", state in "running|done|failed|[a-z]{0,6}", key in "[a-zA-Z]{1,8}",
        message in ".{0,20}", pid in any::<i64>(), cut in 0_usize..400,
    ) {
        let whole = json!({
            "version": 1, "phase": phase, "status": { "state": state, "message": message },
            "actor": { "pid": pid, "user": message }, "timings": { phase.clone(): 1 }, key: [message],
        })
        .to_string();
        let torn = whole.char_indices().nth(cut).map_or(whole.as_str(), |(at, _)| &whole[..at]);
        for text in [whole.as_str(), torn] {
            if let Ok(journal) = serde_json::from_str::<Journal>(text) {
                let written = serde_json::to_string(&journal).unwrap();
                prop_assert_eq!(serde_json::from_str::<Journal>(&written).unwrap(), journal);
            }
        }
    }
}
