//! `python-docker-machine`. (`docker-machine-py` is written in Python 2 and starts under no Python of today.)

use serde_json::{Value, json};

use crate::common::Place;
use crate::installed::{Peers, ok, program};

#[test]
fn python_docker_machine() {
    let Some(peers) = Peers::new() else { return };
    let place = Place::new();
    let mut command = program(&place, peers.python("python"));
    command.args(["-W", "ignore", "-c", include_str!("../data/peers/python-docker-machine.py")]);
    let said: Value = serde_json::from_str(&ok(&command.output().unwrap())).unwrap();
    assert_eq!(
        said,
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "create": 0,
            "ls": [["p1", "-", "none", "Running", "tcp://127.0.0.1:1", "Unknown"]],
            "exists": [true, false],
            "running": true,
            "inspect": "none",
            "url": "tcp://127.0.0.1:1",
            // Only for the exact words "No active host found".
            "active": null,
            "start": r#"cmd returned error 1: Machine "p1" is already running."#,
            "stop": "cmd returned error 1: hosts without a driver cannot be stopped",
            "after rm -y -f": false,
        })
    );
}
