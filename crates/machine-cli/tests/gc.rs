//! `gc` as a command line: what it takes, and that it makes nothing. What it finds is tested in `machine-lifecycle` against a
//! made-up provider.

mod common;

use common::{Place, text};
use serde_json::{Value, json};

#[test]
fn a_store_without_marked_machines_has_nothing_to_look_into() {
    let place = Place::new();
    let run = place.run(&["gc"]);
    assert_eq!((run.status.code(), text(&run.stdout).as_str()), (Some(0), ""));
    assert!(text(&run.stderr).contains("There is no account to look into"), "{}", text(&run.stderr));
    assert!(!place.store().exists(), "nothing is made by looking");
    place.create_none("web1", &[]);
    for args in [&["gc", "--json"][..], &["gc", "--yes", "--json"], &["gc", "-y", "-json"]] {
        let answer: Value = serde_json::from_str(&place.answer(args)).unwrap();
        let nothing = json!({ "Accounts": [], "Resources": [], "Records": [], "Unreadable": [] });
        assert_eq!(answer, nothing, "{args:?}");
    }
    assert_eq!(place.answer(&["ls", "-q"]), "web1\n");
}

#[test]
fn a_record_that_cannot_be_read_is_told_of() {
    let place = Place::new();
    let torn = place.store().join("machines/torn");
    std::fs::create_dir_all(&torn).unwrap();
    std::fs::write(torn.join("config.json"), "{").unwrap();
    let run = place.run(&["gc", "--yes"]);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("The account of machine \"torn\" can't be told: "), "{said}");
    assert!(torn.exists());
}

#[test]
fn what_can_not_be_asked_for() {
    let place = Place::new();
    for (args, words) in [
        (&["gc", "web1"][..], "Found extra arguments [web1]"),
        (&["gc", "-d", "none"], "the driver \"none\" can't find what it made"),
        (&["gc", "-d", "nosuch"], "Driver \"nosuch\" not found"),
        (&["gc", "--generic-ssh-user", "x"], "flag provided but not defined: -generic-ssh-user"),
    ] {
        let run = place.run(args);
        assert_eq!(run.status.code(), Some(1), "{args:?}");
        assert!(text(&run.stderr).contains(words), "{args:?}: {}", text(&run.stderr));
    }
    // The driver's flags name the account.
    assert!(place.answer(&["gc", "-d", "generic", "--help"]).contains("--generic-ssh-user"));
    assert!(!place.answer(&["gc", "--help"]).contains("--generic-ssh-user"));
}
