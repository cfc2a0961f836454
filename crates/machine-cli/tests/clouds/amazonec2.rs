//! An instance from `create` to `rm`, as a user has it. The instance is a lab host: moto's instances get its address, and
//! at its first boot the real cloud-init finds there what was sent to EC2.

// What the driver's own tests use of it besides.
#[allow(dead_code)]
#[path = "../../../machine-drivers/tests/conformance/amazonec2/moto.rs"]
mod moto;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::host::{boot, host_of_image, off, on};
use crate::support::{World, assert_works, clients, inside};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use machine_testkit::double::Double;
use machine_testkit::lab::Host;
use moto::{Front, Moto, elements};

/// A host as Canonical's images are: their user is `ubuntu`.
fn host_of_canonical(world: &World) -> Host {
    let host = host_of_image(world);
    inside(&host, "sed -i 's/name: debian$/name: ubuntu/' /etc/cloud/cloud.cfg");
    host
}

fn decoded(base64: &str) -> String {
    String::from_utf8(STANDARD.decode(base64).unwrap()).unwrap()
}

/// What happens to the instance happens to the host. `keys` are those that were imported.
fn does(host: &Host, asked: &BTreeMap<String, String>, keys: &Mutex<BTreeMap<String, String>>) {
    match asked.get("Action").map_or("", String::as_str) {
        "ImportKeyPair" => {
            let key = decoded(&asked["PublicKeyMaterial"]);
            keys.lock().unwrap().insert(asked["KeyName"].clone(), key);
        }
        "RunInstances" => {
            let key = keys.lock().unwrap()[&asked["KeyName"]].clone();
            boot(host, &decoded(&asked["UserData"]), &[key]);
        }
        "StartInstances" => on(host),
        "RebootInstances" => host.reboot().unwrap(),
        "StopInstances" | "TerminateInstances" => off(host),
        _ => {}
    }
}

/// How many requests there were since the last time.
fn asked(cloud: &Double<Front>) -> usize {
    cloud.take_exchanges().len()
}

fn held(cloud: &Double<Front>) -> usize {
    cloud.provider().moto.admin(|admin| admin.resources())
}

/// The networks in the rules of all security groups that were made.
fn networks(cloud: &Double<Front>) -> Vec<String> {
    let of_ours = [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "docker-machine*")];
    let text = cloud.provider().moto.admin(|admin| admin.list("DescribeSecurityGroups", &of_ours));
    let mut all = elements(&text, "cidrIp");
    all.sort();
    all
}

#[test]
fn an_instance_from_create_to_rm() {
    let (Some(moto), Some(world)) = (Moto::start(), World::new()) else { return };
    let (key, host) = (moto.owner(), Arc::new(host_of_canonical(&world)));
    let mut front = Front::new(moto);
    front.address = Some(host.address().to_string());
    let (instance, keys) = (Arc::clone(&host), Mutex::default());
    front.done = Some(Box::new(move |form| does(&instance, form, &keys)));
    let cloud = Double::start(front);
    let before = held(&cloud);
    let (url, port) = (cloud.url(), host.ssh_port().to_string());
    let mut create = vec!["create", "-d", "amazonec2", "--amazonec2-access-key", &key.id];
    create.extend(["--amazonec2-secret-key", &key.secret, "--amazonec2-endpoint", &url]);
    create.extend(["--amazonec2-ssh-port", &port, "--amazonec2-use-private-address"]);
    create.extend(["--amazonec2-tags", "team,web", "--engine-install", "distro"]);
    create.extend(["--allow-from", "me", "web"]);
    let created = world.run(&create);
    created.ok();
    assert!(
        !created.stdout.contains(&key.secret) && !created.stderr.contains(&key.secret),
        "the secret shows"
    );
    // docker/machine v0.16.2 asks the same front 40 times, and narrows nothing: that is four of ours.
    assert_eq!(asked(&cloud), 16);
    let me = format!("{}/32", host.our_address());
    // Out it may go anywhere.
    assert_eq!(networks(&cloud), ["0.0.0.0/0", &me, &me]);
    // Instance, volume, key pair, security group.
    assert_eq!(held(&cloud), before + 4);

    // Its engine was installed while it booted, and it works.
    assert!(inside(&host, "cat /var/log/cloud-init-output.log").contains("docker.io"));
    assert_eq!(inside(&host, "hostname"), "web");
    assert_works(&world, "web");
    world.image(&host);
    clients::assert_containers_run(&world, "web");

    // The record answers alone.
    asked(&cloud);
    let (ip, user) = (host.address().to_string(), world.answer(&["ssh", "web", "id", "-un"]));
    assert_eq!(world.answer(&["ip", "web"]), format!("{ip}\n"));
    assert_eq!(world.answer(&["url", "web"]), format!("tcp://{ip}:2376\n"));
    assert!(world.answer(&["env", "web"]).contains(&format!("DOCKER_HOST=\"tcp://{ip}:2376\"")));
    assert_eq!(user, "ubuntu\n");
    assert_eq!(asked(&cloud), 0, "nobody had to be asked");
    assert!(world.answer(&["ls"]).contains("amazonec2"));

    world.answer(&["stop", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Stopped\n");
    world.answer(&["start", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Running\n");
    assert_works(&world, "web");
    world.answer(&["restart", "web"]);
    assert_works(&world, "web");

    world.answer(&["rm", "-y", "web"]);
    assert_eq!(held(&cloud), before);
    assert_eq!(world.answer(&["ls", "-q"]), "");
}
