//! Several processes on one store: locks, names that are taken once, readers during saves, processes that are killed.

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use machine_core::MachineName;
use machine_store::{Journal, Operation, Phase, Status, Store, StoreError};
use support::{LIMIT, machine, names_in, role, spawn, store};

fn name(text: &str) -> MachineName {
    MachineName::new(text).unwrap()
}

/// Waits until a process says a line that begins so.
fn wait_for_line(child: &mut Child, begin: &str) {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.starts_with(begin)), "no line {begin:?}");
}

/// All that a process says until it ends.
fn output(mut child: Child) -> String {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success(), "{text}");
    text
}

#[test]
#[ignore = "a process of the other tests"]
fn child_reserves() {
    let Some((store, _)) = role() else { return };
    let said = match store.reserve(&name("foo"), LIMIT) {
        Ok(lock) => {
            // Long enough for the others to wait for the lock.
            sleep(Duration::from_millis(20));
            let mut journal = Journal::begin(Operation::Create, "0.17.0");
            journal.phase = Phase::Record;
            store.create(&lock, &machine("foo"), &journal).map(|()| "won".to_owned())
        }
        Err(error) => Err(error),
    };
    println!("\nSAID {} {}", said.unwrap_or_else(|error| error.to_string()), store.store_id().unwrap());
}

#[test]
fn a_name_is_given_once() {
    for processes in [2, 8, 64] {
        let (_dir, store) = store();
        let children: Vec<Child> = (0..processes).map(|_| spawn("child_reserves", &store, "")).collect();
        let said: Vec<String> = children.into_iter().map(output).collect();
        let count = |text: &str| said.iter().filter(|said| said.contains(text)).count();
        assert_eq!(count("SAID won"), 1, "{said:?}");
        assert_eq!(count("SAID Docker machine \"foo\" already exists"), processes - 1, "{said:?}");
        // They also agree on the store's id, which one of them made.
        let id = store.store_id().unwrap();
        assert_eq!((count(&id), id.len()), (processes, 32));
        assert_eq!(names_in(&store.machines_dir()), ["foo"]);
        assert_eq!(store.load("foo").unwrap(), machine("foo"));
    }
}

#[test]
#[ignore = "a process of the other tests"]
fn child_counts() {
    let Some((store, rounds)) = role() else { return };
    let counter = store.root().join("counter");
    for _ in 0..rounds.parse().unwrap() {
        let _lock = store.lock_store(LIMIT).unwrap();
        let count: u64 = fs::read_to_string(&counter).unwrap().parse().unwrap();
        sleep(Duration::from_micros(200));
        fs::write(&counter, (count + 1).to_string()).unwrap();
    }
}

#[test]
fn the_stores_lock_keeps_others_out() {
    let (_dir, store) = store();
    store.create_layout().unwrap();
    let counter = store.root().join("counter");
    fs::write(&counter, "0").unwrap();
    let children: Vec<Child> = (0..8).map(|_| spawn("child_counts", &store, "25")).collect();
    children.into_iter().map(output).for_each(drop);
    assert_eq!(fs::read_to_string(&counter).unwrap(), "200");
}

#[test]
#[ignore = "a process of the other tests"]
fn child_makes_and_removes() {
    let Some((store, rounds)) = role() else { return };
    let busy = store.root().join("busy");
    for _ in 0..rounds.parse().unwrap() {
        let lock = store.lock_machine("foo", LIMIT).unwrap();
        // Two at once would make this file twice.
        fs::OpenOptions::new().write(true).create_new(true).open(&busy).unwrap();
        if store.exists("foo") {
            store.remove(&lock).unwrap();
        } else {
            store.create(&lock, &machine("foo"), &Journal::default()).unwrap();
        }
        fs::remove_file(&busy).unwrap();
    }
}

#[test]
fn a_lock_file_that_is_removed_with_its_machine_locks_nobody_in_or_out() {
    let (_dir, store) = store();
    let children: Vec<Child> = (0..8).map(|_| spawn("child_makes_and_removes", &store, "25")).collect();
    children.into_iter().map(output).for_each(drop);
    // 200 turns, an even number: made and removed.
    assert!(!store.exists("foo"));
    assert_eq!(names_in(&store.root().join("locks")), Vec::<String>::new());
    assert_eq!(names_in(&store.machines_dir()), Vec::<String>::new());
}

#[test]
#[ignore = "a process of the other tests"]
fn child_holds() {
    let Some((store, name)) = role() else { return };
    let lock = store.lock_machine(&name, LIMIT).unwrap();
    let mut journal = Journal::begin(Operation::Create, "0.17.0");
    journal.phase = Phase::Host;
    if store.exists(&name) {
        store.save_journal(&lock, &journal).unwrap();
    } else {
        store.create(&lock, &machine(&name), &journal).unwrap();
    }
    println!("\nHOLDS");
    sleep(LIMIT);
}

#[test]
fn a_held_lock_says_who_holds_it_and_is_free_when_its_process_is_killed() {
    let (_dir, store) = store();
    let mut child = spawn("child_holds", &store, "foo");
    wait_for_line(&mut child, "HOLDS");
    assert!(store.is_locked("foo") && !store.is_locked("bar"));
    let error = store.lock_machine("foo", Duration::from_millis(50)).unwrap_err();
    let text = error.to_string();
    let holder = format!("machine \"foo\" is in use by docker-machine test (process {}, since 2", child.id());
    assert!(text.starts_with(&holder) && text.ends_with("; waited 0 s for it"), "{text}");
    assert!(error.hint().unwrap().contains(&format!("end process {}", child.id())));
    assert!(matches!(store.reserve(&name("foo"), LIMIT), Err(StoreError::AlreadyExists { .. })));
    let journal = store.load_journal("foo").unwrap().unwrap();
    assert_eq!((journal.status.clone(), journal.actor.pid), (Status::Running, child.id()));
    assert_eq!(store.incomplete("foo", &journal), None, "its process is at work");

    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!store.is_locked("foo"));
    assert_eq!(store.incomplete("foo", &journal).unwrap(), "creating, interrupted in phase host");
    let lock = store.lock_machine("foo", Duration::ZERO).unwrap();
    store.remove(&lock).unwrap();
    drop(lock);
    assert_eq!(names_in(&store.root().join("locks")), Vec::<String>::new());
}

#[test]
fn a_name_that_another_process_holds_is_waited_for() {
    let (_dir, store) = store();
    let lock = store.reserve(&name("foo"), LIMIT).unwrap();
    let error = store.reserve(&name("foo"), Duration::from_millis(50)).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    drop(lock);
    assert_eq!(names_in(&store.root().join("locks")), Vec::<String>::new());
    store.reserve(&name("foo"), Duration::ZERO).unwrap();
}

#[test]
#[ignore = "a process of the other tests"]
fn child_saves() {
    let Some((store, name)) = role() else { return };
    let lock = store.lock_machine(&name, LIMIT).unwrap();
    let mut machine = machine(&name);
    println!("\nSAVES");
    for round in 0..u64::MAX {
        // From small to larger than a page, so that a torn file would show.
        machine.driver.0.insert("Filling".to_owned(), "x".repeat((round % 50) as usize * 400).into());
        machine.driver.0.insert("Round".to_owned(), round.into());
        store.save(&lock, &machine).unwrap();
    }
}

#[test]
fn a_reader_never_sees_a_record_missing_or_torn() {
    let (_dir, store) = store();
    let mut child = spawn("child_saves", &store, "foo");
    wait_for_line(&mut child, "SAVES");
    let path = store.machine_dir("foo").join("config.json");
    let mut rounds = std::collections::BTreeSet::new();
    let mut appeared = false;
    // Until enough different saves were seen; a save that is lost would be a failed load.
    while rounds.len() < 300 {
        assert!(child.try_wait().unwrap().is_none(), "the writer has ended");
        let listed = store.machine_names().unwrap().contains(&"foo".to_owned());
        if !listed && !appeared {
            continue;
        }
        appeared = true;
        let machine = store.load("foo").unwrap();
        rounds.insert(machine.driver.0["Round"].as_u64().unwrap());
        assert!(fs::read(&path).unwrap().ends_with(b"}"));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_process_that_is_killed_while_it_saves_loses_nothing() {
    let (_dir, store) = store();
    let mut last = None;
    for round in 0..40 {
        let mut child = spawn("child_saves", &store, "foo");
        wait_for_line(&mut child, "SAVES");
        sleep(Duration::from_micros(round * 457 % 9000));
        // Some are killed before the first save; one is not, however slow this computer is.
        while round == 20 && !store.exists("foo") {
            sleep(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        match store.load("foo") {
            Ok(machine) => last = Some(machine),
            // Killed before its first save.
            Err(StoreError::NoSuchMachine { .. }) if last.is_none() => {}
            Err(error) => panic!("round {round}: {error}"),
        }
    }
    // What the killed processes left is gone after the next save and remove.
    let lock = store.lock_machine("foo", Duration::ZERO).unwrap();
    store.save(&lock, &last.expect("no process lived long enough to save")).unwrap();
    assert_eq!(names_in(&store.machine_dir("foo")), ["config.json"]);
    store.remove(&lock).unwrap();
    drop(lock);
    assert_eq!(names_in(&store.machines_dir()), Vec::<String>::new());
    assert_eq!(names_in(&store.root().join("locks")), Vec::<String>::new());
}

#[test]
fn what_killed_processes_left_is_swept_but_not_what_others_work_on() {
    let (_dir, store) = store();
    store.create_layout().unwrap();
    let machines = store.machines_dir();
    for left in [".removed-0123", ".new-dead", ".new-alive", ".mine"] {
        fs::create_dir_all(machines.join(left).join("deep")).unwrap();
        fs::write(machines.join(left).join("deep/file"), "x").unwrap();
    }
    let _alive = store.lock_machine("alive", LIMIT).unwrap();
    let lock = store.lock_machine("foo", LIMIT).unwrap();
    store.remove(&lock).unwrap();
    assert_eq!(names_in(&machines), [".mine", ".new-alive"]);

    fs::write(store.certs_dir().join(".tmp-left"), "half a key").unwrap();
    fs::write(store.certs_dir().join("ca.pem"), "x").unwrap();
    let _lock = store.lock_store(LIMIT).unwrap();
    assert_eq!(names_in(&store.certs_dir()), ["ca.pem"]);
}

#[test]
fn an_old_record_is_migrated_later_where_somebody_is_at_work() {
    let (_dir, store): (_, Store) = store();
    let old = include_str!("data/198-before.json");
    support::put_config(&store, "v1", old);
    let path = store.machine_dir("v1").join("config.json");
    let lock = store.lock_machine("v1", LIMIT).unwrap();
    let machine = store.load("v1").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), old, "the holder of the lock saves");
    store.save(&lock, &machine).unwrap();
    assert_eq!(fs::read_to_string(path.with_extension("json.bak")).unwrap(), old);
    assert_eq!(fs::read_to_string(&path).unwrap(), machine_store::to_json(&machine));
}
