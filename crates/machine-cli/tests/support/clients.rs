//! The real docker clients: the one that is installed here, and Debian 12's of the lab.

use std::path::PathBuf;
use std::process::Command;

use super::{IMAGE, World};

/// All docker clients at hand, by file; at least the lab's.
pub fn all(world: &World) -> Vec<PathBuf> {
    let lab = world.lab.docker_client();
    let here = ["/usr/local/bin/docker", "/usr/bin/docker"].map(PathBuf::from);
    let mut found: Vec<PathBuf> = Vec::new();
    for client in std::iter::once(lab).chain(here) {
        let answer = Command::new(&client).arg("--version").output();
        if answer.is_ok_and(|answer| answer.status.success()) {
            found.push(client);
        }
    }
    assert!(!found.is_empty(), "no docker client runs here, not even the lab's");
    found
}

/// Runs `docker WORDS` as a person does: `eval $(docker-machine env NAME)` first. Returns its stdout.
#[track_caller]
pub fn docker(world: &World, client: &std::path::Path, name: &str, words: &str) -> String {
    let line = format!("eval \"$(docker-machine env {name})\" && exec {} {words}", client.display());
    world.shell("bash", &line).ok().to_owned()
}

/// A container says something through every client.
#[track_caller]
pub fn assert_containers_run(world: &World, name: &str) {
    for client in all(world) {
        let said = docker(world, &client, name, &format!("run --rm {IMAGE} /bin/echo hello from inside"));
        assert_eq!(said, "hello from inside\n", "{}", client.display());
    }
}

/// `docker info` through the first client, as JSON.
#[track_caller]
pub fn info(world: &World, name: &str) -> serde_json::Value {
    let text = docker(world, &all(world)[0], name, "info -f '{{json .}}'");
    serde_json::from_str(&text).unwrap()
}
