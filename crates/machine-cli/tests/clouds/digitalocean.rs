//! A droplet from `create` to `rm`, as a user has it. The droplet is a lab host: the double of DigitalOcean gives its
//! address, and at its first boot the real cloud-init finds there what was sent to `POST /v2/droplets` and
//! `POST /v2/account/keys`.

// What the driver's own tests use of it besides.
#[allow(dead_code)]
#[path = "../../../machine-drivers/tests/conformance/digitalocean/double.rs"]
mod double;

use std::sync::Arc;

use crate::host::{boot, host_of_image, off, on};
use crate::support::{World, assert_works, clients, inside};
use double::{Account, TOKEN};
use machine_testkit::double::Double;
use machine_testkit::lab::Host;
use machine_testkit::openapi::Description;
use serde_json::Value;

/// What happens to the droplet happens to the host.
fn does(host: &Host, kind: &str, asked: &Value, keys: &[String]) {
    match kind {
        "create" => {
            boot(host, asked["user_data"].as_str().unwrap(), keys);
        }
        "power_on" => on(host),
        "reboot" => host.reboot().unwrap(),
        _ => off(host),
    }
}

/// Holds what was said since the last time against DigitalOcean's description; gives how much that was.
fn checked(cloud: &Double<Account>) -> usize {
    let exchanges = cloud.take_exchanges();
    if let Some(description) = Description::open("digitalocean.openapi.json") {
        description.require(&exchanges);
    }
    exchanges.len()
}

/// What the account has of ours.
fn held(cloud: &Double<Account>) -> (usize, usize, usize) {
    let account = cloud.provider();
    (account.droplets.len(), account.keys.len() - 1, account.firewalls.len())
}

#[test]
fn a_droplet_from_create_to_rm() {
    let Some(world) = World::new() else { return };
    let host = Arc::new(host_of_image(&world));
    let cloud = Double::start(Account::default());
    {
        let mut account = cloud.provider();
        account.address = Some(host.address().to_string());
        account.slowness = 2;
        let host = Arc::clone(&host);
        account.done = Some(Box::new(move |kind, asked, keys| does(&host, kind, asked, keys)));
    }
    let (url, port) = (cloud.url(), host.ssh_port().to_string());
    let mut create = vec!["create", "-d", "digitalocean", "--digitalocean-access-token", TOKEN];
    create.extend(["--digitalocean-endpoint", &url, "--digitalocean-ssh-port", &port]);
    create.extend(["--digitalocean-tags", "lab", "--engine-install", "distro", "--allow-from", "me", "web"]);
    let created = world.run(&create);
    created.ok();
    assert!(created.stdout.contains("(web) Creating Digital Ocean droplet..."), "{created}");
    assert!(!created.stdout.contains(TOKEN) && !created.stderr.contains(TOKEN), "the token shows");
    assert_eq!(held(&cloud), (1, 1, 1));
    let store = world.config("web")["Driver"]["MarkedStoreID"].as_str().unwrap().to_owned();
    let tags = cloud.provider().droplets[0]["tags"].clone();
    let wanted = [
        "lab".to_owned(),
        format!("docker-machine-store:{store}"),
        format!("docker-machine-name:web:{store}"),
    ];
    assert_eq!(tags, Value::from(wanted.to_vec()));
    let me = cloud.provider().firewalls[0]["inbound_rules"][0]["sources"]["addresses"].clone();
    assert_eq!(me, Value::from(vec![format!("{}/32", host.our_address())]));

    // Its engine was installed while it booted, and it works.
    assert!(inside(&host, "cat /var/log/cloud-init-output.log").contains("docker.io"));
    assert_eq!(inside(&host, "hostname"), "web");
    assert_works(&world, "web");
    world.image(&host);
    clients::assert_containers_run(&world, "web");
    assert!(world.answer(&["ls"]).contains("digitalocean"));

    // The record answers alone.
    checked(&cloud);
    let (ip, ssh) = (host.address().to_string(), world.answer(&["ssh", "web", "id", "-un"]));
    assert_eq!(world.answer(&["ip", "web"]), format!("{ip}\n"));
    assert_eq!(world.answer(&["url", "web"]), format!("tcp://{ip}:2376\n"));
    assert!(world.answer(&["env", "web"]).contains(&format!("DOCKER_HOST=\"tcp://{ip}:2376\"")));
    assert_eq!(ssh, "root\n");
    assert_eq!(checked(&cloud), 0, "nobody had to be asked");
    assert!(!world.answer(&["inspect", "web"]).contains(TOKEN));

    world.answer(&["stop", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Stopped\n");
    world.answer(&["start", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Running\n");
    assert_works(&world, "web");
    world.answer(&["restart", "web"]);
    assert_works(&world, "web");

    world.answer(&["rm", "-y", "web"]);
    assert_eq!(held(&cloud), (0, 0, 0));
    assert_eq!(cloud.provider().tags, ["lab".to_owned(), format!("docker-machine-store:{store}")]);
    assert_eq!(world.answer(&["ls", "-q"]), "");
    checked(&cloud);
}
