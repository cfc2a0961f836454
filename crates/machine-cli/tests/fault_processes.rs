//! Many processes on one store at once.

mod fault_support;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use fault_support::{NOWHERE, Place, Watched, assert_clean, assert_unlocked};
use serde_json::Value;

fn create(place: &Place, name: &str) -> Command {
    place.command(&["create", "-d", "none", "--url", NOWHERE, "--tls-key-algorithm", "ecdsa-p256", name])
}

fn read(place: &Place, file: &str) -> String {
    fs::read_to_string(place.store().join("certs").join(file)).unwrap()
}

#[test]
fn creates_in_an_empty_store_make_one_ca() {
    for processes in [2, 8, 64] {
        let place = Place::new();
        let started: Vec<Watched> =
            (0..processes).map(|n| Watched::spawn(create(&place, &format!("m{n}")))).collect();
        let ended: Vec<_> = started.into_iter().map(Watched::finish).collect();
        let makers = ended.iter().filter(|one| one.ok().contains("Creating CA: ")).count();
        assert_eq!(makers, 1, "of {processes} processes");
        assert_eq!(place.run(&["ls", "-q"]).ok().lines().count(), processes);
        let (ca, client) = (read(&place, "ca.pem"), read(&place, "cert.pem"));
        assert!(machine_tls::CertificateInfo::from_pem(&client).unwrap().is_signed_by(&ca));
        assert!(machine_tls::key_fits(&client, &read(&place, "key.pem")));
        assert!(machine_tls::key_fits(&ca, &read(&place, "ca-key.pem")));
        assert_unlocked(&place.store());
        assert_clean(&place.store());
    }
}

#[test]
fn a_name_is_given_to_one_process() {
    for processes in [2, 8, 64] {
        let place = Place::new();
        let started: Vec<Watched> = (0..processes).map(|_| Watched::spawn(create(&place, "web"))).collect();
        let ended: Vec<_> = started.into_iter().map(Watched::finish).collect();
        assert_eq!(ended.iter().filter(|one| one.code == 0).count(), 1, "of {processes} processes");
        for loser in ended.iter().filter(|one| one.code != 0) {
            loser.fails_saying(1, &["Docker machine \"web\" already exists"]);
        }
        assert_eq!(place.run(&["ls", "-q"]).ok(), "web\n");
        assert_unlocked(&place.store());
        assert_clean(&place.store());
    }
}

#[test]
fn create_remove_and_list_of_one_name_never_see_a_half() {
    let place = Place::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let listing: Vec<_> = (0..2)
            .map(|_| {
                scope.spawn(|| {
                    let mut seen = BTreeSet::new();
                    while !over.load(Ordering::Relaxed) {
                        let listed = place.run(&["ls", "-t", "1", "-f", "{{.Name}} {{.DriverName}}"]);
                        seen.insert(listed.ok().to_owned());
                    }
                    seen
                })
            })
            .collect();
        let workers: Vec<_> = (0..4)
            .map(|worker| {
                let place = &place;
                scope.spawn(move || {
                    for _ in 0..12 {
                        let ended = match worker % 2 {
                            0 => fault_support::run(create(place, "web")),
                            _ => place.run(&["rm", "-y", "web"]),
                        };
                        let expected = ["already exists", "does not exist"];
                        let clear = expected.iter().any(|text| ended.stderr.contains(text));
                        assert!(ended.code == 0 || (ended.code == 1 && clear), "{ended}");
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().unwrap();
        }
        over.store(true, Ordering::Relaxed);
        let seen: BTreeSet<String> = listing.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        let whole = ["", "web none\n", "web not found\n"];
        // "not found": it was there when the folder was read and gone when its record was.
        assert!(seen.iter().all(|text| whole.contains(&text.as_str())), "{seen:?}");
    });
    place.run(&["rm", "-f", "web"]).ok();
    assert_clean(&place.store());
    assert_unlocked(&place.store());
}

#[test]
fn ls_during_creates_is_always_consistent() {
    let place = Place::new();
    fault_support::run(create(&place, "before")).ok();
    let started: Vec<Watched> = (0..8).map(|n| Watched::spawn(create(&place, &format!("m{n}")))).collect();
    for _ in 0..4 {
        let listing: Vec<Watched> = (0..16).map(|_| Watched::spawn(place.command(&["ls", "-q"]))).collect();
        for listed in listing.into_iter().map(Watched::finish) {
            let names: Vec<&str> = listed.ok().lines().collect();
            let known = |name: &&str| *name == "before" || (name.len() == 2 && name.starts_with('m'));
            assert!(names.contains(&"before") && names.iter().all(known), "{names:?}");
            assert!(names.is_sorted(), "{names:?}");
        }
    }
    for create in started {
        create.finish().ok();
    }
    assert_eq!(place.run(&["ls", "-q"]).ok().lines().count(), 9);
}

/// What callers do that look into the store themselves: as soon as config.json is there it is whole, and stays.
#[test]
fn who_polls_config_json_never_sees_it_missing_or_torn() {
    let place = Place::new();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let polling = scope.spawn(|| {
            let path = place.machine_dir("web").join("config.json");
            let (mut reads, mut there) = (0, false);
            while !over.load(Ordering::Relaxed) {
                match fs::read(&path) {
                    Err(error) => assert!(!there, "config.json was there and is not: {error}"),
                    Ok(bytes) => {
                        there = true;
                        reads += 1;
                        let record: Value = serde_json::from_slice(&bytes).expect("a whole record");
                        assert_eq!(record["Name"], "web");
                    }
                }
            }
            reads
        });
        fault_support::run(create(&place, "web")).ok();
        for _ in 0..20 {
            place.run(&["create", "--resume", "web"]).ok();
            migrate_back(&place);
        }
        over.store(true, Ordering::Relaxed);
        assert!(polling.join().unwrap() > 100);
    });
}

/// Makes the record one of an older version, as other programs left them, so that the next command that reads it
/// saves it again.
fn migrate_back(place: &Place) {
    let path = place.machine_dir("web").join("config.json");
    let old = fs::read_to_string(&path).unwrap().replace("\"ConfigVersion\": 3", "\"ConfigVersion\": 2");
    let beside = path.with_extension("old");
    fs::write(&beside, old).unwrap();
    fs::rename(&beside, &path).unwrap();
    place.run(&["url", "web"]);
}
