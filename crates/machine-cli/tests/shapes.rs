//! Pause, snapshots, clones, sizes, and all machines at once: mistakes, drivers that can't, answers as JSON. What drivers
//! that can do with them is proved with real machines elsewhere.

mod common;

use common::{Place, text};
use serde_json::Value;

/// Command lines for the machine `web1`, and what a driver that can't do it is said to be unable to do.
const WITH_A_DRIVER_THAT_CANT: &[(&[&str], &str)] = &[
    (&["pause", "web1"], "can't pause hosts"),
    (&["resume", "web1"], "can't resume hosts"),
    (&["snapshot", "ls", "web1"], "can't take snapshots"),
    (&["snapshot", "create", "web1", "a"], "can't take snapshots"),
    (&["snapshot", "restore", "-y", "web1", "a"], "can't take snapshots"),
    (&["snapshot", "restore", "web1", "a"], "can't take snapshots"),
    (&["snapshot", "rm", "web1", "a", "b"], "can't take snapshots"),
    (&["clone", "web1", "web2"], "can't clone hosts"),
    (&["resize", "web1", "--cpus", "2"], "can't resize hosts"),
];

#[test]
fn a_driver_that_cant_is_named_with_those_that_can() {
    let place = Place::new();
    place.create_none("web1", &[]);
    for (args, cant) in WITH_A_DRIVER_THAT_CANT {
        let run = place.run(args);
        let said = text(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{args:?}: {said}");
        let (first, hint) = said.split_once('\n').unwrap();
        assert_eq!(first, format!("machine \"web1\": the driver \"none\" {cant}"), "{args:?}");
        assert!(hint.starts_with("Hint: drivers that can: ") && hint.contains("libvirt"), "{args:?}: {said}");
        assert_eq!(text(&run.stdout), "", "{args:?}");
    }
    assert_eq!(place.answer(&["ls", "-q"]), "web1\n");
}

#[test]
fn mistakes_are_said_with_the_help_of_the_command() {
    let place = Place::new();
    place.create_none("web1", &[]);
    for (args, says) in [
        (&["snapshot", "create", "web1"][..], "Expected a machine and the name of a snapshot"),
        (&["snapshot", "rm", "web1"], "Expected a machine and one or more of its snapshots"),
        (&["clone", "web1"], "Expected a machine and the name of the new one"),
        (&["resize"], "Expected one machine name as an argument"),
        (&["resize", "web1"], "Expected at least one of --cpus, --memory and --disk"),
    ] {
        let run = place.run(args);
        assert_eq!(run.status.code(), Some(1), "{args:?}");
        assert!(text(&run.stderr).contains(says), "{args:?}: {}", text(&run.stderr));
        assert!(text(&run.stdout).starts_with("Usage: docker-machine "), "{args:?}");
    }
    for (args, says) in [
        (&["resize", "web1", "--cpus", "none"][..], "flag -cpus: expected a whole number above 0"),
        (&["resize", "web1", "--memory", "3x"], "flag -memory: expected a size"),
        (&["snapshot", "crate", "web1", "a"], "did you mean 'snapshot create'?"),
        (&["start", "--all", "web1"], "--all means every machine; \"web1\" can't be named beside it"),
        (&["pause", "nosuch"], "\"nosuch\" does not exist"),
        (&["clone", "nosuch", "web2"], "\"nosuch\" does not exist"),
        (&["snapshot", "ls", "nosuch"], "\"nosuch\" does not exist"),
    ] {
        let run = place.run(args);
        assert_eq!((run.status.code(), text(&run.stdout).as_str()), (Some(1), ""), "{args:?}");
        assert!(text(&run.stderr).contains(says), "{args:?}: {}", text(&run.stderr));
    }
}

#[test]
fn all_is_every_machine_that_its_driver_can_turn_on() {
    let place = Place::new();
    place.create_none("web1", &[]);
    let torn = place.store().join("machines/torn");
    std::fs::create_dir_all(&torn).unwrap();
    std::fs::write(torn.join("config.json"), "{").unwrap();
    for (command, none) in [
        ("start", "There is no stopped machine that can be started."),
        ("stop", "There is no running machine that can be stopped."),
    ] {
        let run = place.run(&[command, "--all"]);
        let said = text(&run.stderr);
        assert!(
            run.status.success() && said.contains(none) && said.contains("WARNING: torn is left out"),
            "{said}"
        );
        let rows: Value = serde_json::from_str(&place.answer(&[command, "--all", "--json"])).unwrap();
        assert_eq!(rows, Value::Array(Vec::new()));
    }
}

#[test]
fn families_have_help_of_their_own() {
    let place = Place::new();
    let family = place.answer(&["snapshot"]);
    for args in [&["snapshot", "--help"][..], &["help", "snapshot"], &["--help", "snapshot"]] {
        assert_eq!(place.answer(args), family, "{args:?}");
    }
    for command in ["snapshot create", "snapshot ls", "snapshot restore", "snapshot rm"] {
        assert!(family.contains(&format!("\n  {command} ")), "{family}");
    }
    let member = place.answer(&["snapshot", "ls", "--help"]);
    assert!(member.starts_with("Usage: docker-machine snapshot ls "), "{member}");
    for args in
        [&["help", "snapshot", "ls"][..], &["snapshot", "--help", "ls"], &["--help", "snapshot", "ls"]]
    {
        assert_eq!(place.answer(args), member, "{args:?}");
    }
}

/// A folder with an empty program of that name in it, as the only one of `PATH`.
fn path_with(place: &Place, program: &str) -> std::path::PathBuf {
    let folder = place.root().join("path");
    std::fs::create_dir_all(&folder).unwrap();
    if !program.is_empty() {
        let file = folder.join(program);
        std::fs::write(&file, "#!/bin/sh\nexit 1\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    folder
}

#[test]
fn the_driver_that_nobody_named_is_chosen_by_what_is_installed_and_said() {
    for (program, says, flag) in [
        ("", "Driver: qemu (VirtualBox is not installed; -d chooses another)\n", "--qemu-memory"),
        (
            "VBoxManage",
            "Driver: virtualbox (VirtualBox is installed; -d chooses another)\n",
            "--virtualbox-memory",
        ),
    ] {
        let place = Place::new();
        let path = path_with(&place, program);
        let run = place.command(&["create", "dev"]).env("PATH", &path).output().unwrap();
        let said = text(&run.stderr);
        assert!(run.status.code() == Some(3) && said.starts_with(says), "{program:?}: {said}");
        let help = place.command(&["create", "--help"]).env("PATH", &path).output().unwrap();
        let heading = says.trim_start_matches("Driver: ").split(';').next().unwrap();
        let help = text(&help.stdout);
        assert!(help.contains(&format!("Options of the driver {heading}")) && help.contains(flag), "{help}");
        // Whoever names one is told nothing.
        let named =
            place.command(&["create", "dev"]).env("PATH", &path).env("MACHINE_DRIVER", "qemu").output();
        assert!(!text(&named.unwrap().stderr).contains("Driver: "));
        assert!(!place.store().join("machines/dev").exists());
    }
}
