//! The binary as a plugin of the real Docker clients: `docker machine …`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use machine_testkit::lab::Lab;

use crate::common::{Place, text};
use crate::installed::{binary, ok, program};

/// The client that is installed here and, where there is a lab, Debian 12's.
fn clients() -> Vec<PathBuf> {
    let lab = Lab::for_test().unwrap().map(|lab| lab.docker_client());
    let here = machine_testkit::skip::find_program("docker");
    let runs = |client: &PathBuf| {
        Command::new(client).arg("--version").output().is_ok_and(|run| run.status.success())
    };
    let found: Vec<PathBuf> = lab.into_iter().chain(here).filter(runs).collect();
    if found.is_empty() {
        machine_testkit::skip::because("no docker client here");
    }
    found
}

/// A home with the plugin in it.
fn home() -> Place {
    let place = Place::new();
    let plugins = place.root().join("home/.docker/cli-plugins");
    std::fs::create_dir_all(&plugins).unwrap();
    std::os::unix::fs::symlink(binary(), plugins.join("docker-machine")).unwrap();
    place
}

fn docker(place: &Place, client: &Path, line: &str) -> Output {
    program(place, client).args(line.split(' ')).output().unwrap()
}

#[test]
fn docker_runs_it_as_its_own_command() {
    for client in clients() {
        let place = home();
        let answer = |line: &str| ok(&docker(&place, &client, line));
        let help = answer("help");
        assert!(help.contains("machine*    Create and manage machines running Docker"), "{help}");
        assert!(answer("machine --help").contains("Create a machine"));
        assert!(answer("machine create --help").contains("--engine-label"));

        let created = answer("machine create -d none --url tcp://127.0.0.1:1 web1");
        assert!(created.contains("run: docker machine env web1"), "{created}");
        assert_eq!(answer("machine ls -q"), "web1\n");
        assert_eq!(answer("machine ls -t 2 -f {{.Name}}={{.URL}}"), "web1=tcp://127.0.0.1:1\n");
        assert_eq!(answer("machine inspect -f {{.DriverName}} web1"), "none\n");
        assert!(answer("machine version").starts_with("docker-machine version "));
        let env = answer("machine env -u --shell bash");
        assert!(env.starts_with("unset DOCKER_TLS_VERIFY\n"), "{env}");
        assert!(env.contains("\n# eval $(docker machine env "), "{env}");
        assert!(answer("machine rm -y web1").contains("Successfully removed web1"));
    }
}

/// What the client itself takes before the plugin's name is not ours, and does not confuse us.
#[test]
fn flags_of_the_client_before_its_plugin() {
    for client in clients() {
        let place = home();
        place.create_none("web1", &[]);
        for flags in [
            "--context default",
            "--debug",
            "-l error",
            "-H tcp://127.0.0.1:1",
            "--log-level=error --tls=false",
        ] {
            let run = docker(&place, &client, &format!("{flags} machine ls -q"));
            assert_eq!(ok(&run), "web1\n", "{} {flags}", client.display());
        }
    }
}

#[test]
fn exit_codes_and_errors_pass_through() {
    for client in clients() {
        let place = home();
        for (line, said) in [
            ("machine status nosuch", r#"Docker machine "nosuch" does not exist."#),
            ("machine nosuch", "'nosuch' is not a docker"),
            ("machine create -d nodriver z", "nodriver"),
        ] {
            let run = docker(&place, &client, line);
            assert_ne!(run.status.code(), Some(0), "{line}");
            let stderr = text(&run.stderr);
            assert!(stderr.contains(said), "{} {line}: {stderr}", client.display());
        }
        // Failed checks before a create are exit code 3 through the client, too.
        let run = docker(
            &place,
            &client,
            "machine create -d generic --generic-ip-address 127.0.0.1 --generic-ssh-key /nosuch z",
        );
        assert_eq!(run.status.code(), Some(3), "{}", text(&run.stderr));
    }
}
