//! A server of Hetzner Cloud from `create` to `rm`, as a user has it.

// What the driver's own tests use of it besides.
#[allow(dead_code)]
#[path = "../../../machine-drivers/tests/conformance/hetzner/double.rs"]
mod double;

use std::sync::Arc;

use double::{Project, TOKEN};
use machine_testkit::double::Double;
use machine_testkit::openapi::Description;
use serde_json::{Value, json};

use crate::host::{boot, host_of_image, off, on};
use crate::support::{World, assert_works, clients};

/// Holds what was said since the last time against Hetzner's description; gives how much that was.
fn checked(cloud: &Double<Project>) -> usize {
    let exchanges = cloud.take_exchanges();
    if let Some(description) = Description::open("hetzner.openapi.json") {
        description.require(&exchanges);
    }
    exchanges.len()
}

#[test]
fn a_server_of_hetzner_from_create_to_rm() {
    let Some(world) = World::new() else { return };
    let host = Arc::new(host_of_image(&world));
    let cloud = Double::start(Project::default());
    {
        let mut project = cloud.provider();
        project.address = host.address().to_string();
        let host = Arc::clone(&host);
        project.done = Some(Box::new(move |action, asked| match action {
            // The key is in the user data: Hetzner's own way of putting it there is not needed.
            "create_server" => boot(&host, asked["user_data"].as_str().unwrap(), &[]),
            "start_server" => on(&host),
            "reboot_server" => host.reboot().unwrap(),
            "stop_server" | "shutdown_server" => off(&host),
            _ => {}
        }));
    }
    let (url, port) = (format!("{}/v1", cloud.url()), host.ssh_port().to_string());
    let mut create = vec!["create", "-d", "hetzner", "--hetzner-endpoint", &url, "--hetzner-ssh-port", &port];
    create.extend(["--hetzner-server-label", "team=lab", "--engine-install", "distro"]);
    create.extend(["--allow-from", "me", "web"]);
    let created = world.run_with(&create, &[("HETZNER_API_TOKEN", TOKEN)]);
    created.ok();
    assert!(!created.stdout.contains(TOKEN) && !created.stderr.contains(TOKEN), "the token shows");
    let (labels, sources) = {
        let project = cloud.provider();
        assert_eq!(project.made(), 3, "a server, a key, a firewall");
        let rules = project.all("firewalls")[1]["rules"].clone();
        (project.all("servers")[0]["labels"].clone(), rules[0]["source_ips"].clone())
    };
    assert_eq!((&labels["team"], &labels["docker-machine-name"]), (&json!("lab"), &json!("web")));
    assert_eq!(sources, Value::from(vec![format!("{}/32", host.our_address())]));
    assert_works(&world, "web");
    world.image(&host);
    clients::assert_containers_run(&world, "web");

    // The record answers alone.
    checked(&cloud);
    let ip = host.address().to_string();
    assert_eq!(world.answer(&["ip", "web"]), format!("{ip}\n"));
    assert!(world.answer(&["env", "web"]).contains(&format!("DOCKER_HOST=\"tcp://{ip}:2376\"")));
    assert_eq!(world.answer(&["ssh", "web", "hostname"]), "web\n");
    assert_eq!(checked(&cloud), 0, "nobody had to be asked");
    assert!(world.answer(&["ls"]).contains("hetzner"));
    assert_eq!(checked(&cloud), 1, "one list for all machines");
    assert!(!world.answer(&["inspect", "web"]).contains(TOKEN));

    world.answer(&["stop", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Stopped\n");
    world.answer(&["start", "web"]);
    assert_works(&world, "web");

    world.answer(&["rm", "-y", "web"]);
    assert_eq!(cloud.provider().made(), 0);
    assert_eq!(world.answer(&["ls", "-q"]), "");
    checked(&cloud);
}
