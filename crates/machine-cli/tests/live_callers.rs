//! The exact command lines of programs that call docker-machine, on a real host.

mod support;

use std::fs;

use machine_testkit::lab::{Login, Variant};
use serde_json::Value;
use support::World;

/// GitLab Runner's docker+machine executor: every call begins with the token flag, options come before the name,
/// and `inspect -f` behind it.
#[test]
fn gitlab_runner() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let call = |args: &[&str]| world.run(&[&["--bugsnag-api-token=no-report"], args].concat());
    let (name, address) = ("runner-abcd1234-lab-1700000000-1a2b3c4d", host.address());
    let options = [
        format!("--generic-ip-address={address}"),
        format!("--generic-ssh-key={}", world.key()),
        "--engine-registry-mirror=http://mirror.example:5000".to_owned(),
        "--engine-label=runner=yes".to_owned(),
    ];
    let mut create = vec!["create", "--driver", "generic"];
    create.extend(options.iter().map(String::as_str));
    create.push(name);
    call(&create).ok();
    // List and the metrics read the folders.
    let names: Vec<_> =
        fs::read_dir(world.store().join("machines")).unwrap().flatten().map(|e| e.file_name()).collect();
    assert_eq!(names.iter().filter(|n| !n.to_string_lossy().starts_with('.')).count(), 1, "{names:?}");
    assert_eq!(world.config(name)["DriverName"], "generic");
    // Exist, CanConnect, Credentials.
    call(&["inspect", name]).ok();
    call(&["config", name]).ok();
    let url = call(&["url", name]).ok().trim().to_owned();
    assert_eq!(url, format!("tcp://{address}:2376"));
    let folder =
        call(&["inspect", name, "-f", "{{.HostOptions.AuthOptions.StorePath}}"]).ok().trim().to_owned();
    for file in ["ca.pem", "cert.pem", "key.pem"] {
        assert!(fs::metadata(format!("{folder}/{file}")).unwrap().len() > 0, "{folder}/{file}");
    }
    call(&["provision", name]).ok();
    // A failure to stop is only warned about.
    assert_ne!(call(&["stop", name]).code, 0);
    assert_eq!(call(&["inspect", "gone"]).code, 1);
    assert_eq!(call(&["rm", "-y", "gone"]).code, 1);
    call(&["rm", "-y", name]).ok();
    assert!(!world.machine_dir(name).exists());
    // A create that fails leaves config.json, and `rm -f` clears it without asking.
    let mut failing = create.clone();
    failing.insert(3, "--generic-ssh-user=nosudo");
    assert_eq!(call(&failing).code, 1);
    assert_eq!(world.config(name)["Driver"]["SSHUser"], "nosudo");
    call(&["rm", "-f", name]).ok();
    call(&["rm", "-f", name]).ok();
    assert!(!world.machine_dir(name).exists());
}

/// The first call of the usual Terraform modules for it: with a home only.
#[test]
fn terraform_modules() {
    let Some(world) = World::new() else { return };
    let home = world.root().join("terraform");
    fs::create_dir(&home).unwrap();
    let line = format!(
        "unset MACHINE_STORAGE_PATH; export USER=root HOME={}; docker-machine create --driver none --url localhost \
         dummy-machine && docker-machine rm -y dummy-machine && docker-machine --version",
        home.display()
    );
    let run = world.shell("sh", &line);
    assert!(run.ok().contains("docker-machine version "), "{run}");
    assert!(home.join(".docker/machine/certs/ca.pem").exists());
    assert_eq!(fs::read_dir(home.join(".docker/machine/machines")).unwrap().count(), 0);
}

#[test]
fn testcontainers_maven_ansible_and_autoscalers() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Socket);
    let (address, key) = (host.address().to_string(), world.key());
    // OpenDroneMap's ClusterODM.
    assert_eq!(world.run(&["--help"]).code, 0);
    let mut create = vec!["create", "--driver", "generic", "--generic-ip-address", &address];
    create.extend(["--generic-ssh-user", Login::Debian.name(), "--generic-ssh-key", &key, "default"]);
    world.answer(&create);
    let inspect = world.run(&["inspect", "default"]);
    let record: Value = serde_json::from_str(inspect.ok()).unwrap();
    assert_eq!(
        (record["Driver"]["IPAddress"].as_str(), inspect.stderr.as_str()),
        (Some(address.as_str()), "")
    );
    assert_eq!(world.answer(&["ssh", "default", "echo ready"]), "ready\n");
    // docker-maven-plugin: the exact line, and cmd's syntax.
    assert_eq!(world.answer(&["status", "default"]), "Running\n");
    assert_eq!(world.run(&["status", "other"]).code, 1);
    world.answer(&["regenerate-certs", "-f", "default"]);
    let env = world.answer(&["env", "default", "--shell", "cmd"]);
    let set: Vec<_> = env.lines().filter_map(|l| l.strip_prefix("SET ")?.split_once('=')).collect();
    let folder = world.machine_dir("default");
    assert!(set.contains(&("DOCKER_HOST", &format!("tcp://{address}:2376"))), "{env}");
    assert!(set.contains(&("DOCKER_CERT_PATH", folder.to_str().unwrap())), "{env}");
    // testcontainers: certificates straight from the store's folder.
    assert_eq!(world.answer(&["ls", "-q"]), "default\n");
    assert_eq!(world.answer(&["url", "default"]), format!("tcp://{address}:2376\n"));
    let client = world.lab.docker_client();
    let certs = world.store().join("certs");
    let line = format!(
        "DOCKER_TLS_VERIFY=1 DOCKER_CERT_PATH='{}' DOCKER_HOST=tcp://{address}:2376 {} version -f '{{{{.Server.Version}}}}'",
        certs.display(),
        client.display()
    );
    assert!(world.shell("sh", &line).ok().starts_with("20.10"), "{line}");
    // Ansible's inventory plugin, its regular expression included.
    assert_eq!(world.answer(&["ls", "-q", "--filter", "state=Running"]), "default\n");
    for key in ["MachineName", "IPAddress", "SSHPort", "SSHUser", "SSHKeyPath"] {
        assert!(record["Driver"].get(key).is_some(), "{key}");
    }
    let env = world.answer(&["env", "--shell=sh", "default"]);
    for name in ["DOCKER_TLS_VERIFY", "DOCKER_HOST", "DOCKER_CERT_PATH", "DOCKER_MACHINE_NAME"] {
        assert!(env.contains(&format!("export {name}=\"")), "{env}");
    }
    // npm's docker-machine.
    let format = "{{ .Name | urlquery }},{{ .State | urlquery }},{{ .URL | urlquery }},{{ .ResponseTime | printf \"%d\" }}";
    let row = world.answer(&["ls", "-f", format]);
    let cells: Vec<_> = row.trim_end().split(',').collect();
    assert_eq!(&cells[..2], ["default", "Running"], "{row}");
    assert_eq!(cells[2], format!("tcp%3A%2F%2F{address}%3A2376"));
    assert!(cells[3].parse::<u64>().is_ok_and(|ns| ns > 0), "{row}");
    // Swarm's class rooms.
    let config = world.answer(&["config", "default"]);
    let line = format!("{} {} info", client.display(), config.replace('\n', " "));
    assert!(world.shell("sh", &line).ok().contains("Server Version: 20.10"), "{config}");
    assert_eq!(world.answer(&["ls", "--filter", "name=def", "-q", "-t", "60"]), "default\n");
    world.answer(&["rm", "-y", "-f", "default"]);
}
