//! The npm packages `docker-machine` and `dockermachine-cli-js`.

use machine_testkit::skip;
use serde_json::{Value, json};

use crate::common::Place;
use crate::installed::{Peers, ok, program};

/// Runs a script that prints one JSON value.
fn node(script: &str) -> Option<Value> {
    let peers = Peers::new()?;
    if !skip::require(&["node"]) {
        return None;
    }
    let place = Place::new();
    let mut command = program(&place, "node");
    command.args(["-e", script]).env("NODE_PATH", peers.node_modules());
    let said = ok(&command.output().unwrap());
    Some(serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}")))
}

#[test]
fn docker_machine_of_npm() {
    let Some(said) = node(include_str!("../data/peers/docker-machine.js")) else { return };
    let refused = "Command failed: docker-machine stop n1\nhosts without a driver cannot be stopped\n";
    let gone = r#"Docker machine "nosuch" does not exist. Use "docker-machine ls" to list machines. Use "docker-machine create" to add a new one."#;
    assert_eq!(
        said,
        json!({
            // urlquery, printf and pipes in the template; `inspect` merged in by the package.
            "list": [{ "name": "n1", "active": "-", "activeHost": false, "driverName": "none", "state": "running",
                       "url": "tcp://127.0.0.1:1", "swarm": null, "dockerVersion": null, "timed": true,
                       "error": "Unable+to+query+docker+version:+Cannot+connect+to+the+docker+engine+endpoint",
                       "inspected": "tcp://127.0.0.1:1" }],
            "status": "running",
            "isRunning": true,
            "inspect": "n1",
            // "already running" is a success to the package.
            "start": null,
            "stop": refused,
            "start nosuch": format!("Command failed: docker-machine start nosuch\n{gone}\n"),
            "env fails": true,
            "after rm": [],
        })
    );
}

#[test]
fn dockermachine_cli_js() {
    let Some(said) = node(include_str!("../data/peers/dockermachine-cli-js.js")) else { return };
    assert_eq!(
        said,
        json!({
            "ls": [{ "name": "n2", "active": "-", "driver": "none", "state": "Running", "url": "tcp://127.0.0.1:1",
                     "swarm": "", "docker": "Unknown",
                     "errors": "Unable to query docker version: Cannot connect to the docker engine endpoint" }],
            "inspect": "n2",
            "start": true,
            "after rm": [],
            "inspect after rm": true,
        })
    );
}
