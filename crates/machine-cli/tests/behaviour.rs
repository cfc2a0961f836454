//! How the program behaves towards whoever runs it: pipes, full disks, prompts, signals, answers as JSON, mistakes.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use common::{Place, text};
use serde_json::Value;

#[test]
fn nobody_who_reads_is_no_panic_and_says_nothing() {
    let place = Place::new();
    place.create_none("web1", &[]);
    for args in [
        &["ls", "-q"][..],
        &["inspect", "web1"],
        &["--help"],
        &["ls", "-t", "1"],
        &["env", "-u"],
        &["nosuch", "--help"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let run = place.command(args).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        let said = text(&run.stderr);
        if args[0] == "nosuch" {
            assert_eq!(run.status.code(), Some(1));
            continue;
        }
        assert_eq!((run.status.code(), said.as_str()), (Some(141), ""), "{args:?}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let place = Place::new();
    place.create_none("web1", &[]);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run = place.command(&["ls", "-q"]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("The output can't be written"), "{}", text(&run.stderr));
}

#[test]
fn a_broken_stderr_changes_nothing() {
    let place = Place::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let run = place.command(&["inspect", "nosuch"]).stderr(writer).output().unwrap();
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn prompts_are_answered() {
    let place = Place::new();
    place.create_none("web1", &[]);
    for (answer, left) in [("n\n", "web1\n"), ("\n", "web1\n"), ("Yes\n", "")] {
        let mut child =
            place.command(&["rm", "web1"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(answer.as_bytes()).unwrap();
        let run = child.wait_with_output().unwrap();
        assert!(run.status.success(), "{answer:?}");
        assert!(text(&run.stdout).contains("Are you sure? (y/n): "));
        assert_eq!(place.answer(&["ls", "-q"]), left, "{answer:?}");
    }
}

#[test]
fn json_on_every_command_that_answers() {
    let place = Place::new();
    let created = place.answer(&["create", "--json", "-d", "none", "--url", "tcp://127.0.0.1:1", "web1"]);
    let json = |text: &str| -> Value {
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
    };
    assert_eq!(json(&created)["Name"], "web1");
    let answer = |args: &[&str]| json(&place.answer(args));
    assert_eq!(answer(&["ip", "--json", "web1"])[0]["IP"], "127.0.0.1:1");
    assert_eq!(answer(&["url", "web1", "--json"])["URL"], "tcp://127.0.0.1:1");
    assert_eq!(answer(&["status", "web1", "--json"])["State"], "Running");
    assert_eq!(answer(&["ls", "-q", "--json"]), serde_json::json!(["web1"]));
    let rows = answer(&["ls", "--json", "-t", "1"]);
    assert_eq!((&rows[0]["Name"], &rows[0]["DriverName"]), (&"web1".into(), &"none".into()));
    assert!(rows[0]["ResponseTime"].is_u64());
    assert_eq!(answer(&["inspect", "--json", "web1"])["DriverName"], "none");
    assert_eq!(answer(&["env", "-u", "--json"])["DOCKER_HOST"], Value::Null);
    assert!(answer(&["version", "--json"])["Version"].is_string());
    let mut active = place.command(&["active", "--json"]);
    assert_eq!(
        json(&text(&active.env("DOCKER_HOST", "tcp://127.0.0.1:1").output().unwrap().stdout))["Name"],
        "web1"
    );
    let stop = place.run(&["stop", "--json", "web1"]);
    assert_eq!(stop.status.code(), Some(1));
    assert_eq!(json(&text(&stop.stdout))[0]["Error"], "hosts without a driver cannot be stopped");
    assert_eq!(answer(&["rm", "-y", "--json", "web1"])[0]["Removed"], true);
}

#[test]
fn flags_stand_anywhere_in_go_s_forms() {
    let place = Place::new();
    place.create_none("web1", &["-engine-label", "a=b", "--swarm=false", "-swarm-master=0"]);
    let store = place.store();
    let store = store.to_str().unwrap();
    for args in [
        &["-s", store, "ls", "-q"][..],
        &["--storage-path", store, "ls", "--quiet"],
        &["-storage-path", store, "ls", "-quiet=true"],
        &["ls", "-q", "-s", store],
        &["--bugsnag-api-token=no-report", "ls", "-q", "--filter", "label=a=b"],
        &["ls", "-q", "--filter=label=a", "--filter", "driver=none"],
    ] {
        let mut command = place.command(args);
        if args.contains(&store) {
            command.env("MACHINE_STORAGE_PATH", "/nonexistent");
        }
        let run = command.output().unwrap();
        assert_eq!(text(&run.stdout), "web1\n", "{args:?}: {}", text(&run.stderr));
    }
    assert_eq!(place.answer(&["inspect", "web1", "-f", "{{.Name}}"]), "web1\n");
    assert_eq!(place.answer(&["inspect", "-f={{.Name}}", "web1"]), "web1\n");
}

#[test]
fn values_come_from_flag_else_variable_else_default() {
    let place = Place::new();
    let create = |name: &str, args: &[&str], env: &[(&str, &str)]| {
        let mut all = vec!["create", "--url", "tcp://h:1"];
        all.extend_from_slice(args);
        all.push(name);
        let run = place.command(&all).envs(env.iter().copied()).output().unwrap();
        assert!(run.status.success(), "{}", text(&run.stderr));
        let mirrors =
            place.answer(&["inspect", "-f", "{{json .HostOptions.EngineOptions.RegistryMirror}}", name]);
        mirrors.trim().to_owned()
    };
    let none = ("MACHINE_DRIVER", "none");
    assert_eq!(
        create("a", &[], &[none, ("ENGINE_REGISTRY_MIRROR", "http://x, http://y")]),
        r#"["http://x","http://y"]"#
    );
    let flag = ["--engine-registry-mirror", "http://a,b"];
    assert_eq!(create("b", &flag, &[none, ("ENGINE_REGISTRY_MIRROR", "http://x")]), r#"["http://a,b"]"#);
    assert_eq!(
        create("c", &["-d", "none"], &[("ENGINE_REGISTRY_MIRROR", ""), ("MACHINE_DRIVER", "generic")]),
        "[]"
    );
}

#[test]
fn wrong_values_name_the_flag_or_the_variable() {
    let place = Place::new();
    for (args, env, words) in [
        (&["ls", "-t", "soon"][..], ("A", "b"), "-timeout"),
        (&["ls", "-t", "-5"], ("A", "b"), "-timeout"),
        (&["ls"], ("MACHINE_NATIVE_SSH", "perhaps"), "MACHINE_NATIVE_SSH"),
        (&["ls", "--format"], ("A", "b"), "flag needs an argument: -format"),
        (
            &["create", "-d", "none", "--url", "u", "--engine-install", "apt", "x"],
            ("A", "b"),
            "-engine-install",
        ),
        (&["create", "-d", "none", "--url", "u", "--tls-key-algorithm", "dsa", "x"], ("A", "b"), "ed25519"),
        (&["create", "-d", "none", "--url", "u", "x", "y"], ("A", "b"), "Found extra arguments [y]"),
        (&["create", "-d", "nosuch", "x"], ("A", "b"), "Driver \"nosuch\" not found"),
    ] {
        let run = place.command(args).env(env.0, env.1).output().unwrap();
        assert_eq!(run.status.code(), Some(1), "{args:?}");
        assert!(text(&run.stderr).contains(words), "{args:?}: {}", text(&run.stderr));
    }
    assert!(!place.store().join("machines/x").exists());
}

#[test]
fn watching_goes_on_until_ctrl_c() {
    let place = Place::new();
    place.create_none("web1", &[]);
    let mut child = place
        .command(&["ls", "--watch", "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "web1\n");
    place.create_none("web2", &[]);
    let mut again = String::new();
    out.read_line(&mut again).unwrap();
    out.read_line(&mut again).unwrap();
    assert_eq!(again, "web1\nweb2\n");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(said, "");
}

#[test]
fn no_machine_is_named_and_default_is_there() {
    let place = Place::new();
    place.create_none("default", &[]);
    assert_eq!(place.answer(&["url"]), "tcp://127.0.0.1:1\n");
    assert_eq!(place.answer(&["status"]), "Running\n");
    assert!(place.answer(&["inspect"]).contains("\"Name\": \"default\""));
}

#[test]
fn debug_lines_are_on_stderr_and_say_no_secret() {
    let place = Place::new();
    place.create_none("web1", &[]);
    let run = place.run(&["-D", "--github-api-token", "hunter2hunter2", "url", "web1"]);
    assert_eq!(text(&run.stdout), "tcp://127.0.0.1:1\n");
    assert!(text(&run.stderr).contains("docker-machine"), "{}", text(&run.stderr));
    assert!(!text(&run.stderr).contains("hunter2"));
    let run = place.command(&["url", "web1"]).env("MACHINE_DEBUG", "1").output().unwrap();
    assert!(!run.stderr.is_empty());
}

#[test]
fn store_paths_of_all_kinds_do_not_run_in_a_shell() {
    let place = Place::new();
    let odd = place.root().join("a b'$(touch ran)`touch ran`\"; touch ran; \"");
    let mut command = place.command(&["env", "-u", "--shell", "bash"]);
    let run = command.arg("-s").arg(&odd).output().unwrap();
    let script = text(&run.stdout);
    let shell = std::process::Command::new("bash")
        .args(["-c", "eval \"$SCRIPT\"; eval $SCRIPT"])
        .env("SCRIPT", script)
        .current_dir(place.root())
        .status()
        .unwrap();
    assert!(shell.success());
    assert!(!place.root().join("ran").exists());
}
