//! Ansible's inventory plugin `community.docker.docker_machine`, `python-docker-machine` and the npm package against
//! a machine that works: a real host of the lab with a real engine.

use std::process::Command;

use machine_testkit::lab::{Login, Variant};
use serde_json::Value;

use crate::common::text;
use crate::installed::{Peers, ok};
use crate::support::World;

/// ssh takes its known hosts from the account's home, whatever `HOME` says; a test must leave that alone.
const INVENTORY: &str = "plugin: community.docker.docker_machine\nrunning_required: true\ndaemon_env: require\n\
                         compose:\n  ansible_ssh_common_args: '\"-o StrictHostKeyChecking=accept-new -o UserKnownHostsFile=FOLDER/known_hosts -F none\"'\n\
                         keyed_groups:\n  - prefix: driver\n    key: DriverName\n";

fn ansible(world: &World, peers: &Peers, program: &str, args: &[&str]) -> std::process::Output {
    let file = world.root().join("docker_machine.yml");
    std::fs::write(&file, INVENTORY.replace("FOLDER", world.root().to_str().unwrap())).unwrap();
    let mut command = Command::new(peers.python(program));
    world.environment(&mut command);
    command
        .env("ANSIBLE_COLLECTIONS_PATH", peers.collections())
        // No connection stays open in the background.
        .env("ANSIBLE_SSH_ARGS", "-o ControlMaster=no")
        .env("LC_ALL", "C.UTF-8")
        .arg("-i")
        .arg(&file)
        .args(args)
        .output()
        .unwrap()
}

#[test]
fn a_working_machine_is_used_by_ansible_node_and_python() {
    let (Some(peers), Some(world)) = (Peers::new(), World::new()) else { return };
    let host = world.host(Variant::Docker);
    world.create_as(&host, "web1", Login::Debian, &[]).ok();
    world.answer(&["create", "-d", "none", "--url", "tcp://127.0.0.1:1", "bare"]);
    inventory(&world, &peers, &host.address().to_string());
    raw(&world, &peers);
    node_env(&world, &peers, &host.address().to_string());
    python_config(&world, &peers, &host.address().to_string());
}

fn inventory(world: &World, peers: &Peers, address: &str) {
    let run = ansible(world, peers, "ansible-inventory", &["--list"]);
    let said: Value = serde_json::from_str(&ok(&run)).unwrap();
    // `bare` has no engine: `env` fails for it, and the plugin leaves it out with a warning.
    assert_eq!(said["ungrouped"]["hosts"], Value::Null, "{said}");
    assert_eq!(said["driver_generic"]["hosts"], serde_json::json!(["web1"]));
    let warnings = text(&run.stderr);
    assert!(warnings.contains("for host bare: host will be skipped"), "{warnings}");
    let vars = &said["_meta"]["hostvars"]["web1"];
    let unsafe_text = |key: &str| vars[key]["__ansible_unsafe"].as_str().unwrap_or_default().to_owned();
    assert_eq!(unsafe_text("ansible_host"), address);
    assert_eq!(vars["ansible_port"], 22);
    assert_eq!(unsafe_text("ansible_user"), "debian");
    assert_eq!(unsafe_text("ansible_ssh_private_key_file"), world.config("web1")["Driver"]["SSHKeyPath"]);
    assert_eq!(unsafe_text("dm_DOCKER_HOST"), format!("tcp://{address}:2376"));
    assert_eq!(unsafe_text("dm_DOCKER_CERT_PATH"), world.machine_dir("web1").to_str().unwrap());
    assert_eq!(unsafe_text("dm_DOCKER_TLS_VERIFY"), "1");
    assert_eq!(unsafe_text("dm_DOCKER_MACHINE_NAME"), "web1");
}

/// Ansible's own ssh gets there with what the inventory says.
fn raw(world: &World, peers: &Peers) {
    let said = ok(&ansible(world, peers, "ansible", &["web1", "-m", "raw", "-a", "whoami"]));
    assert!(said.contains("web1 | CHANGED | rc=0 >>\ndebian"), "{said}");
}

fn node_env(world: &World, peers: &Peers, address: &str) {
    let script = "require('docker-machine').env('web1', { parse: true }, (error, env) => {\n\
                  if (error) throw error; console.log(JSON.stringify(env)) })";
    let mut command = Command::new("node");
    world.environment(&mut command);
    let run = command.env("NODE_PATH", peers.node_modules()).args(["-e", script]).output().unwrap();
    let env: Value = serde_json::from_str(&ok(&run)).unwrap();
    assert_eq!(env["DOCKER_HOST"], format!("tcp://{address}:2376"));
    assert_eq!(env["DOCKER_CERT_PATH"], world.machine_dir("web1").to_str().unwrap());
}

/// The package's regular expression takes `config` apart, and Docker's own client for Python goes there with it.
fn python_config(world: &World, peers: &Peers, address: &str) {
    let script = "import docker, machine\n\
                  config = machine.Machine().config('web1')\n\
                  print(config['base_url'], docker.DockerClient(**config).version()['Version'])";
    let mut command = Command::new(peers.python("python"));
    world.environment(&mut command);
    let said = ok(&command.args(["-W", "ignore", "-c", script]).output().unwrap());
    assert!(said.starts_with(&format!("https://{address}:2376 20.10.")), "{said}");
}
