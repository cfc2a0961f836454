//! What the program offers: every command and flag of the reference program, help, completion, the docker plugin, pages.

mod common;

use std::collections::BTreeMap;
use std::process::Command;

use common::{Place, text};
use machine_testkit::skip;
use serde_json::Value;

/// The flags of the reference program, by command; `driver:NAME` are those of `create -d NAME`.
fn reference_flags() -> BTreeMap<String, Vec<Value>> {
    serde_json::from_str(include_str!("data/flags.json")).unwrap()
}

/// Flags of drivers whose defaults are those of today: images, sizes, kinds of machines and disks.
const OF_TODAY: [&str; 4] = ["-image", "-ami", "-size", "-type"];

#[test]
fn every_command_and_flag_of_the_reference_is_in_help_with_default_and_variable() {
    let place = Place::new();
    let drivers = complete(&place, &["docker-machine", "create", "-d", ""]);
    for (command, flags) in reference_flags() {
        let args: Vec<&str> = match command.split_once(':') {
            Some((_, driver)) if drivers.iter().any(|known| known == driver) => {
                vec!["create", "-d", driver, "--help"]
            }
            Some(_) => continue,
            None if command == "_global" => vec!["--help"],
            None => vec![&command, "--help"],
        };
        let help = place.answer(&args);
        assert!(help.starts_with("Usage: docker-machine"), "{command}: {help}");
        for flag in flags {
            let name = flag["name"].as_str().unwrap();
            let line = help.lines().filter(|line| line.trim_start().starts_with('-')).find(|line| {
                line.split([' ', ',', '='])
                    .any(|word| word == format!("--{name}") || word == format!("-{name}"))
            });
            let line = line.unwrap_or_else(|| panic!("{command}: no --{name} in {help}"));
            let env = flag["env"].as_str().unwrap();
            assert!(env.is_empty() || line.contains(env), "{command} --{name}: no {env} in {line}");
            let short = flag["short"].as_str().unwrap();
            assert!(
                short.is_empty() || line.contains(&format!("-{short}")),
                "{command} --{name}: no -{short}"
            );
            let default = match &flag["default"] {
                Value::String(text) if name != "storage-path" => text.clone(),
                Value::Number(number) => number.to_string(),
                _ => String::new(),
            };
            // What providers have retired since can't be the default any more.
            let retired = command.starts_with("driver:") && OF_TODAY.iter().any(|end| name.ends_with(end));
            assert!(retired || line.contains(&default), "{command} --{name}: no {default} in {line}");
        }
    }
}

#[test]
fn help_is_asked_for_in_many_ways() {
    let place = Place::new();
    let create = place.answer(&["help", "create"]);
    for args in [["create", "--help"], ["create", "-h"], ["create", "-help"], ["--help", "create"]] {
        assert_eq!(place.answer(&args), create, "{args:?}");
    }
    let overview = place.answer(&[]);
    for args in [["--help"], ["-h"], ["help"]] {
        assert_eq!(place.answer(&args), overview, "{args:?}");
    }
    for args in [["version"], ["-v"], ["--version"], ["-version"]] {
        let line = place.answer(&args);
        assert!(line.starts_with("docker-machine version ") && line.contains(", build "), "{line}");
    }
}

#[test]
fn mistyped_words_get_a_suggestion_after_the_reference_s_line() {
    let place = Place::new();
    for (args, hint) in [
        (&["craete"][..], "did you mean 'create'?"),
        (&["ls", "--qiet"], "did you mean --quiet?"),
        (&["create", "-d", "genric", "x"], "did you mean generic?"),
        (&["ls", "-qf", "x"], "one-letter flags can't be joined; write -q -f"),
    ] {
        let run = place.run(args);
        assert_eq!(run.status.code(), Some(1), "{args:?}");
        assert!(text(&run.stderr).contains(hint), "{args:?}: {}", text(&run.stderr));
    }
}

/// What a shell's script would be told.
fn complete(place: &Place, line: &[&str]) -> Vec<String> {
    let mut command = place.command(&["--"]);
    command.args(line).env("DOCKER_MACHINE_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_INDEX", (line.len() - 1).to_string()).env("_CLAP_COMPLETE_COMP_TYPE", "9");
    let run = command.output().unwrap();
    text(&run.stdout).lines().map(str::to_owned).collect()
}

#[test]
fn machines_drivers_flags_and_filters_are_completed() {
    let place = Place::new();
    place.create_none("web1", &[]);
    place.create_none("web2", &[]);
    let has = |line: &[&str], words: &[&str]| {
        let found = complete(&place, line);
        for word in words {
            assert!(found.iter().any(|item| item == word), "{line:?}: no {word} in {found:?}");
        }
    };
    has(&["docker-machine", "inspect", "we"], &["web1", "web2"]);
    has(&["docker-machine", "start", "web1", "we"], &["web2"]);
    has(&["docker-machine", "create", "-d", ""], &["generic", "none"]);
    has(&["docker-machine", "create", "-d", "generic", "--generic-ip"], &["--generic-ip-address"]);
    has(&["docker-machine", "ls", "--filter", "st"], &["state=Running"]);
    has(&["docker-machine", "scp", "we"], &["web1:"]);
    has(&["docker-machine", "env", "--shell", "f"], &["fish"]);
    has(&["docker-machine", "re"], &["restart", "regenerate-certs"]);
    assert!(
        !complete(&place, &["docker-machine", "create", "--gen"])
            .contains(&"--generic-ip-address".to_owned())
    );
}

/// The drivers that this program has, and their flags with variables, as the reference pages have them.
fn driver_flags(place: &Place) -> BTreeMap<String, Vec<(String, String)>> {
    let folder = place.root().join("pages");
    place.answer(&["generate-docs", folder.to_str().unwrap()]);
    let drivers = complete(place, &["docker-machine", "create", "-d", ""]);
    let of = |driver: &String| {
        let page = std::fs::read_to_string(folder.join(format!("driver-{driver}.md"))).unwrap();
        let rows = page.lines().filter_map(|line| line.strip_prefix("| `--"));
        let flags = rows.map(|row| {
            let cells: Vec<&str> = row.split(" | ").collect();
            let name = cells[0].split(['`', ' ']).next().unwrap();
            (format!("--{name}"), cells[2].trim_matches('`').to_owned())
        });
        flags.collect()
    };
    drivers.iter().map(|driver| (driver.clone(), of(driver))).collect()
}

#[test]
fn flags_of_every_driver_are_completed_and_shown_without_their_values() {
    let place = Place::new();
    let drivers = driver_flags(&place);
    assert!(drivers["generic"].contains(&("--generic-ssh-port".to_owned(), "GENERIC_SSH_PORT".to_owned())));
    for (driver, flags) in &drivers {
        // By the driver's name alone: flags of the same prefix are more than a screen for some.
        for command in ["create", "gc"] {
            let offered = complete(&place, &["docker-machine", command, "-d", driver, "--"]);
            for (flag, _) in flags {
                assert!(offered.contains(flag), "{command} -d {driver}: no {flag} in {offered:?}");
            }
        }
        // Help and errors show the names of variables, never what is in them.
        for args in [&["create", "-d", driver, "--help"][..], &["create", "-d", driver, "--nosuch", "x"]] {
            let mut command = place.command(args);
            for (_, variable) in flags.iter().filter(|(_, variable)| !variable.is_empty()) {
                command.env(variable, "s3cr3t-value");
            }
            let run = command.output().unwrap();
            let said = text(&run.stdout) + &text(&run.stderr);
            assert!(!said.contains("s3cr3t-value"), "{args:?}: {said}");
            for (flag, variable) in flags {
                let line = said.lines().find(|line| line.split([' ', ',']).any(|word| word == flag));
                let line = line.unwrap_or_else(|| panic!("{args:?}: no {flag} in {said}"));
                assert!(variable.is_empty() || line.contains(&format!("[${variable}]")), "{line}");
            }
        }
    }
}

#[test]
fn real_bash_completes_machines() {
    if !skip::require(&["bash"]) {
        return;
    }
    let place = Place::new();
    place.create_none("web1", &[]);
    let bin = place.root().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_docker-machine"), bin.join("docker-machine")).unwrap();
    let script = "source <(docker-machine completion bash)\n\
                  COMP_WORDS=(docker-machine inspect we) COMP_CWORD=2 COMP_TYPE=9\n\
                  $(complete -p docker-machine | sed 's/.*-F \\([^ ]*\\).*/\\1/') docker-machine we inspect\n\
                  echo \"${COMPREPLY[@]}\"";
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let run = Command::new("bash")
        .args(["-c", script])
        .env("PATH", path)
        .env("HOME", place.root())
        .env("MACHINE_STORAGE_PATH", place.store())
        .output()
        .unwrap();
    assert_eq!(text(&run.stdout).trim(), "web1", "{}", text(&run.stderr));
}

#[test]
fn every_shell_gets_a_script() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(place.answer(&["completion", shell]).contains("DOCKER_MACHINE_COMPLETE"), "{shell}");
    }
    assert_eq!(place.run(&["completion", "nosuch"]).status.code(), Some(1));
    assert_eq!(place.run(&["completion"]).status.code(), Some(1));
}

#[test]
fn docker_s_way_of_calling_plugins() {
    let place = Place::new();
    place.create_none("web1", &[]);
    let metadata: Value = serde_json::from_str(&place.answer(&["docker-cli-plugin-metadata"])).unwrap();
    assert_eq!(metadata["SchemaVersion"], "0.1.0");
    assert!(metadata["Vendor"].as_str().is_some_and(|vendor| !vendor.is_empty()));
    assert_eq!(place.answer(&["machine", "ls", "-q"]), "web1\n");
    let mut called = place.command(&["--context", "default", "-D", "machine", "env", "-u"]);
    let run = called.env("DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND", "/usr/bin/docker").output().unwrap();
    assert!(
        text(&run.stdout).ends_with("# eval $(docker --context default -D machine env -u)\n"),
        "{}",
        text(&run.stdout)
    );
}

#[test]
fn the_real_docker_runs_it_as_its_command_machine() {
    if !skip::require(&["docker"]) {
        return;
    }
    let place = Place::new();
    place.create_none("web1", &[]);
    let plugins = place.root().join("home/.docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_docker-machine"), plugins.join("docker-machine")).unwrap();
    let docker = |args: &[&str]| {
        let mut command = Command::new("docker");
        command.args(args).env("HOME", place.root().join("home")).env("MACHINE_STORAGE_PATH", place.store());
        command.env_remove("DOCKER_CONFIG").output().unwrap()
    };
    let run = docker(&["machine", "ls", "-q"]);
    assert_eq!(text(&run.stdout), "web1\n", "{}", text(&run.stderr));
    let run = docker(&["machine", "inspect", "nosuch"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&docker(&["--help"]).stdout).contains("Create and manage machines running Docker"));
    assert!(text(&docker(&["machine", "--help"]).stdout).contains("Usage: docker machine [OPTIONS]"));
    assert!(
        text(&docker(&["machine", "snapshot", "ls", "-h"]).stdout)
            .contains("Usage: docker machine snapshot ls")
    );
    let hint = "`docker machine ls`";
    assert!(!text(&docker(&["machine", "stop"]).stderr).contains("docker-machine "), "{hint}");
}

#[test]
fn pages_are_made_of_the_declarations_and_are_the_same_each_time() {
    let place = Place::new();
    let read = |folder: &str, command: &str| {
        let folder = place.root().join(folder);
        place.answer(&[command, folder.to_str().unwrap()]);
        let mut pages: Vec<(String, String)> = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .map(|page| {
                (text(page.file_name().as_encoded_bytes()), std::fs::read_to_string(page.path()).unwrap())
            })
            .collect();
        pages.sort();
        pages
    };
    let pages = read("a", "generate-docs");
    assert_eq!(pages, read("b", "generate-docs"));
    let page = |name: &str| {
        pages.iter().find(|(page, _)| page == name).unwrap_or_else(|| panic!("no {name}")).1.clone()
    };
    assert!(page("create.md").contains("`--engine-install-url URL`"));
    assert!(page("driver-generic.md").contains("GENERIC_SSH_PORT"));
    assert!(page("environment.md").contains("`MACHINE_STORAGE_PATH`"));
    for command in
        reference_flags().into_keys().filter(|name| !name.starts_with(['_']) && !name.contains(':'))
    {
        assert!(page("README.md").contains(&format!("({command}.md)")), "{command}");
    }
    let manuals = read("man", "man");
    assert!(manuals.iter().any(|(name, text)| name == "docker-machine-create.1" && text.contains("generic")));
}
