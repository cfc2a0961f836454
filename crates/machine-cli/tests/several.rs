//! Several machines with one command line. What comes of them is tested beside the command, with a made-up driver; here is
//! what the command line takes.

mod common;

use common::{Place, text};

/// Nobody finds QEMU or VirtualBox there.
fn without_hypervisors(place: &Place, args: &[&str]) -> std::process::Output {
    let empty = place.root().join("empty");
    std::fs::create_dir_all(&empty).unwrap();
    place.command(args).env("PATH", &empty).output().unwrap()
}

#[test]
fn nothing_is_made_where_a_name_or_flag_is_wrong() {
    let place = Place::new();
    place.create_none("taken", &[]);
    for (args, words) in [
        (&["a", "a"][..], "The name \"a\" is given twice"),
        (&["a", "b_c"], "\"b_c\": Error creating machine: Invalid hostname specified"),
        (&["a", "taken"], "Docker machine \"taken\" already exists"),
        (&["--count", "2", "a"], "--count: the name \"a\" needs one place for the number"),
        (&["--count", "2", "a-%d-%d"], "needs one place for the number"),
        (&["--count", "2", "a-%d", "b-%d"], "--count takes one name"),
        (&["--count", "0", "a-%d"], "invalid value \"0\" for flag -count"),
        (&["--count", "9999", "a-%d"], "invalid value \"9999\" for flag -count"),
        (&["--count", "many", "a-%d"], "invalid value \"many\" for flag -count"),
        (&["a-%d"], "Invalid hostname specified"),
        (&["--parallel", "0", "a", "b"], "invalid value \"0\" for flag -parallel"),
        (&["--engine-install", "apt", "a", "b"], "-engine-install"),
    ] {
        let args = [&["create", "-d", "qemu"], args].concat();
        let run = without_hypervisors(&place, &args);
        assert_eq!((run.status.code(), text(&run.stdout).as_str()), (Some(1), ""), "{args:?}");
        assert!(text(&run.stderr).contains(words), "{args:?}: {}", text(&run.stderr));
    }
    assert_eq!(place.answer(&["ls", "-q"]), "taken\n");
}

#[test]
fn a_driver_that_takes_over_what_is_there_takes_one_name() {
    let place = Place::new();
    for (args, extra) in [
        (&["-d", "none", "--url", "tcp://h:1", "x", "y"][..], "[y]"),
        (&["-d", "generic", "--generic-ip-address", "203.0.113.7", "x", "y", "z"], "[y z]"),
        (&["-d", "none", "--url", "tcp://h:1", "--count", "3", "x%d"], "[x2 x3]"),
    ] {
        let args = [&["create"], args].concat();
        let run = place.run(&args);
        assert_eq!(run.status.code(), Some(1), "{args:?}");
        let said = text(&run.stderr);
        assert!(said.contains(&format!("Invalid command line. Found extra arguments {extra}")), "{said}");
    }
    // One name may come of a count, too.
    place.answer(&["create", "-d", "none", "--url", "tcp://h:1", "--count", "1", "x%02d"]);
    assert_eq!(place.answer(&["ls", "-q"]), "x01\n");
}

#[test]
fn each_machine_fails_for_itself() {
    let place = Place::new();
    let run = without_hypervisors(&place, &["create", "-d", "qemu", "--count", "3", "m%d"]);
    let (out, err) = (text(&run.stdout), text(&run.stderr));
    assert_eq!(run.status.code(), Some(3), "{err}");
    assert!(err.contains("3 of 3 machines could not be made:\nm1: Error with pre-create check: "), "{err}");
    for name in ["m1", "m2", "m3"] {
        assert!(out.contains(&format!("({name}) Running pre-create checks...\n")), "{out}");
        assert!(err.contains(&format!("\n{name}: Error with pre-create check: ")), "{err}");
    }
    assert_eq!(err.matches("Hint: ").count(), 1, "{err}");
    assert!(!out.lines().any(|line| !line.starts_with('(')), "each line says of whom it is: {out}");

    let run = without_hypervisors(&place, &["create", "-d", "qemu", "--json", "a", "b"]);
    let rows: serde_json::Value = serde_json::from_str(&text(&run.stdout)).unwrap();
    assert_eq!(run.status.code(), Some(3));
    assert_eq!((&rows[0]["Name"], &rows[0]["Kept"]), (&"a".into(), &false.into()));
    assert!(rows[1]["Error"].as_str().unwrap().starts_with("Error with pre-create check"), "{rows}");
    assert_eq!(place.answer(&["ls", "-q"]), "");
}

#[test]
fn a_driver_that_cannot_narrow_who_may_connect_says_so() {
    let place = Place::new();
    let create = ["create", "-d", "none", "--url", "tcp://h:1"];
    let with = |more: &[&str]| place.run(&[&create[..], more].concat());
    let run = with(&["--allow-from", "me", "a"]);
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("--allow-from: the driver \"none\" can't narrow who may connect"), "{said}");
    let said = text(&with(&["--allow-from", "198.51.100.0/24,here", "a"]).stderr);
    assert!(said.contains("--allow-from: \"here\" can't be used"), "{said}");
    // The environment is for all machines: for those that have nothing to narrow it does not count.
    let mut command = place.command(&[&create[..], &["a"]].concat());
    let run = command.env("MACHINE_ALLOW_FROM", "me, 198.51.100.0/24").output().unwrap();
    assert!(run.status.success());
    assert!(
        text(&run.stderr).contains("WARNING: MACHINE_ALLOW_FROM does not count"),
        "{}",
        text(&run.stderr)
    );
    let mut command = place.command(&[&create[..], &["b"]].concat());
    assert_eq!(command.env("MACHINE_ALLOW_FROM", "nowhere").output().unwrap().status.code(), Some(1));
}
