//! Programs that can't be run here, by their exact command lines and file accesses: GitLab Runner's docker+machine
//! executor, the Terraform module that prepares a host for it, docker-maven-plugin, testcontainers, ClusterODM.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;
use std::thread;

use machine_testkit::lab::{Host, Login, Variant};
use serde_json::Value;

use crate::common::{Place, text};
use crate::installed::{ok, program};
use crate::support::{Ended, World, clients, eventually};

/// GitLab Runner as it calls the program and reads its files.
struct Runner<'a>(&'a World);

impl Runner<'_> {
    /// Every call of the Runner begins so.
    fn call(&self, args: &[&str]) -> Ended {
        self.0.run(&[&["--bugsnag-api-token=no-report"], args].concat())
    }

    /// `MachineOptions` of its configuration, each with `--` put before it.
    fn create(&self, host: &Host, user: &str, name: &str) -> Vec<String> {
        let options = [
            format!("generic-ip-address={}", host.address()),
            format!("generic-ssh-user={user}"),
            format!("generic-ssh-key={}", self.0.key()),
            "engine-label=runner=yes".to_owned(),
            format!("engine-label=name={name}"),
        ];
        let head = ["--bugsnag-api-token=no-report", "create", "--driver", "generic"].map(str::to_owned);
        head.into_iter().chain(options.map(|option| format!("--{option}"))).chain([name.to_owned()]).collect()
    }

    /// Its list of machines: folders without a leading dot. It never asks us.
    fn list(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.0.store().join("machines")) else { return Vec::new() };
        let folders = entries.flatten().filter(|entry| entry.path().is_dir());
        let names = folders.filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with('.')).collect();
        names.sort();
        names
    }

    fn exists(&self, name: &str) -> bool {
        self.0.machine_dir(name).join("config.json").exists() && self.call(&["inspect", name]).code == 0
    }

    /// What its metrics read.
    fn driver(&self, name: &str) -> String {
        let config = self.0.config(name);
        assert!(config["Driver"].is_object());
        config["DriverName"].as_str().unwrap().to_owned()
    }

    /// The engine's address and the folder of the certificates, as it asks for them before each job.
    fn credentials(&self, name: &str) -> (String, String) {
        assert_ne!(self.call(&["config", name]).ok().trim(), "");
        let url = self.call(&["url", name]).ok().trim().to_owned();
        // The flag stands after the name.
        let inspected = self.call(&["inspect", name, "-f", "{{.HostOptions.AuthOptions.StorePath}}"]);
        (url, inspected.ok().trim().to_owned())
    }
}

#[test]
fn gitlab_runner_from_first_create_to_last_remove() {
    let Some(world) = World::new() else { return };
    let runner = Runner(&world);
    let names =
        ["runner-9wqz4pmx-auto-scale-1700000000-0a1b2c3d", "runner-9wqz4pmx-auto-scale-1700000000-4e5f6a7b"];
    let hosts = [Variant::Docker, Variant::Stopped, Variant::Socket].map(|variant| world.host(variant));
    assert_eq!(runner.list(), Vec::<String>::new(), "no folder is no machine");

    // Several at once in an empty store: both would make the CA.
    let [first, second, third] = &hosts;
    thread::scope(|scope| {
        for (name, host) in names.iter().zip([first, second]) {
            let args = runner.create(host, "debian", name);
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let mut command = world.command(&args);
            scope.spawn(move || ok(&command.output().unwrap()));
        }
    });
    assert_eq!(runner.list(), names);
    for (name, host) in names.iter().zip([first, second]) {
        assert!(runner.exists(name));
        assert_eq!(runner.driver(name), "generic");
        a_job(&world, &runner, name, host);
    }
    a_killed_create(&world, &runner, third);
    a_failed_create(&world, &runner, third);

    // Whether it can be stopped or not, the Runner goes on: it warns only.
    runner.call(&["stop", "nosuch"]).fails(1);
    runner.call(&["rm", "-y", names[0]]).ok();
    assert!(!runner.exists(names[0]));
    // A host that is away is no reason to keep a machine, and nobody is asked.
    drop(hosts);
    runner.call(&["rm", "-f", names[1]]).ok();
    assert_eq!(runner.list(), Vec::<String>::new());
}

/// The Runner takes ca.pem, cert.pem and key.pem from the folder and talks to the engine by itself.
fn a_job(world: &World, runner: &Runner, name: &str, host: &Host) {
    let (url, certificates) = runner.credentials(name);
    assert_eq!(url, format!("tcp://{}:2376", host.address()));
    for client in clients::all(world) {
        let tls = ["ca", "cert", "key"].map(|what| {
            format!("--tls{}={certificates}/{what}.pem", if what == "ca" { "cacert" } else { what })
        });
        let mut docker = std::process::Command::new(client);
        world.environment(&mut docker);
        let run = docker
            .args(["-H", &url, "--tlsverify"])
            .args(tls)
            .args(["info", "-f", "{{json .Labels}}"])
            .output();
        let labels: Value = serde_json::from_str(&ok(&run.unwrap())).unwrap();
        assert!(labels.as_array().unwrap().contains(&format!("name={name}").into()), "{labels}");
    }
}

/// The Runner ends a create that takes too long by SIGKILL, and removes the machine then.
fn a_killed_create(world: &World, runner: &Runner, host: &Host) {
    let name = "runner-9wqz4pmx-auto-scale-1700000001-killed";
    for remove in ["-y", "-f"] {
        let args = runner.create(host, "debian", name);
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut create = world.command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        eventually("the record is saved", || world.machine_dir(name).join("config.json").exists());
        create.kill().unwrap();
        assert_eq!(create.wait().unwrap().signal(), Some(9));
        assert!(runner.list().contains(&name.to_owned()));
        assert!(runner.exists(name));
        assert_eq!(runner.driver(name), "generic");
        runner.call(&["config", name]).fails(1);
        runner.call(&["rm", remove, name]).ok();
        assert!(!runner.list().contains(&name.to_owned()));
    }
}

/// config.json is there after a create that has failed, too: the Runner counts it, and removes it.
fn a_failed_create(world: &World, runner: &Runner, host: &Host) {
    let name = "runner-9wqz4pmx-auto-scale-1700000002-failed";
    let args = runner.create(host, Login::NoSudo.name(), name);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    world.run(&args).fails(1);
    assert!(runner.exists(name));
    assert_eq!(runner.driver(name), "generic");
    runner.call(&["rm", "-y", name]).ok();
    assert!(!runner.exists(name));
}

#[test]
fn a_terraform_module_makes_the_certificates_by_a_dummy() {
    let place = Place::new();
    let line = "export USER=root HOME=\"$PWD/root\"; mkdir \"$HOME\"; set -e; docker-machine --version\n\
                docker-machine create --driver none --url localhost dummy-machine; docker-machine rm -y dummy-machine\n\
                ls \"$HOME/.docker/machine/certs\" \"$HOME/.docker/machine/machines\"";
    let mut shell = program(&place, "bash");
    let said = ok(&shell.args(["-c", line]).env_remove("MACHINE_STORAGE_PATH").output().unwrap());
    assert!(said.starts_with("docker-machine version "), "{said}");
    assert!(said.contains("certs:\nca-key.pem\nca.pem\ncert.pem\nkey.pem\n"), "{said}");
    assert!(said.ends_with("machines:\n"), "{said}");
}

/// docker-maven-plugin reads `SET K=V` lines and exact words; testcontainers asks for names, state and URL.
#[test]
fn java_callers() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create(&host, "dev", &[]).ok();
    assert_eq!(world.answer(&["status", "dev"]), "Running\n");
    world.run(&["status", "nosuch"]).fails_saying(1, &["does not exist"]);
    let environment = world.answer(&["env", "dev", "--shell", "cmd"]);
    let set: Vec<(&str, &str)> =
        environment.lines().filter_map(|line| line.strip_prefix("SET ")?.split_once('=')).collect();
    let folder = world.machine_dir("dev");
    assert!(set.contains(&("DOCKER_HOST", &format!("tcp://{}:2376", host.address()))), "{environment}");
    assert!(set.contains(&("DOCKER_CERT_PATH", folder.to_str().unwrap())), "{environment}");
    world.answer(&["regenerate-certs", "-f", "dev"]);
    assert_eq!(world.answer(&["ls", "-q"]), "dev\n");
    assert_eq!(world.answer(&["url", "dev"]), format!("tcp://{}:2376\n", host.address()));
}

/// ClusterODM puts stdout and stderr into one buffer and reads that as JSON.
#[test]
fn cluster_odm() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.run(&["--help"]).ok();
    world.create(&host, "node-1", &[]).ok();
    let inspected = world.run(&["inspect", "node-1"]);
    let config: Value = serde_json::from_str(&(inspected.stdout.clone() + &inspected.stderr)).unwrap();
    assert_eq!(config["Driver"]["IPAddress"], host.address().to_string());
    assert_eq!(world.answer(&["ssh", "node-1", "echo from there"]), "from there\n");
    world.run(&["rm", "-y", "-f", "node-1"]).ok();
    world.run(&["inspect", "node-1"]).fails(1);
}

/// The Runner's unused helpers and old scripts: a driver's error leaves stdout alone.
#[test]
fn errors_are_on_stderr_only() {
    let place = Place::new();
    for args in
        [["ip", "nosuch"], ["status", "nosuch"], ["url", "nosuch"], ["inspect", "nosuch"], ["env", "nosuch"]]
    {
        let run = place.run(&args);
        assert_eq!((run.status.code(), text(&run.stdout).as_str()), (Some(1), ""), "{args:?}");
    }
}
