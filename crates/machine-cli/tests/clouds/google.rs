//! A machine of Compute Engine from `create` to `rm`, as a user has it. The instance is a lab host: the double gives its
//! address, and at its first boot the real cloud-init and what stands in for Google's guest agent find there what
//! `instances.insert` was given as metadata.

// What the driver's own tests use of it besides.
#[allow(dead_code)]
#[path = "../../../machine-drivers/tests/conformance/google/double.rs"]
mod double;

use std::sync::Arc;

use crate::host::{boot, host_of_image, off, on, write};
use crate::support::{World, assert_works, clients, inside};
use double::{Gcp, PROJECT};
use machine_testkit::double::Double;
use machine_testkit::lab::Host;
use serde_json::{Value, json};

fn metadata<'a>(vm: &'a Value, key: &str) -> &'a str {
    let items = vm["metadata"]["items"].as_array().unwrap();
    items.iter().find(|item| item["key"] == key).and_then(|item| item["value"].as_str()).unwrap_or_default()
}

/// What happens to the instance happens to the host.
fn happens(host: &Host, what: &str, vm: &Value) {
    match what {
        "create" => {
            // Google's agent makes a user for each line of the metadata, who may sudo.
            for line in metadata(vm, "ssh-keys").lines() {
                let (user, key) = line.split_once(':').unwrap();
                inside(host, &format!("id {user} 2>/dev/null || useradd -m -s /bin/bash {user}"));
                let sudo = format!("{user} ALL=(ALL) NOPASSWD: ALL\n");
                write(host, &format!("/etc/sudoers.d/google-{user}"), &sudo);
                write(host, &format!("/home/{user}/.ssh/authorized_keys"), &format!("{key}\n"));
                inside(host, &format!("chown -R {user}: /home/{user}/.ssh; chmod 700 /home/{user}/.ssh"));
            }
            boot(host, metadata(vm, "user-data"), &[]);
        }
        "start" => on(host),
        _ => off(host),
    }
}

#[test]
fn a_machine_from_create_to_rm() {
    let Some(world) = World::new() else { return };
    let host = Arc::new(host_of_image(&world));
    let cloud = Double::start(Gcp::shy());
    {
        let mut gcp = cloud.provider();
        gcp.fixed_address = Some(host.address().to_string());
        let host = Arc::clone(&host);
        gcp.happens = Some(Box::new(move |what, vm| happens(&host, what, vm)));
    }
    let url = cloud.url();
    let secret = "1//refresh-token-of-a-person";
    let person = json!({ "type": "authorized_user", "client_id": "id-1", "client_secret": "hush-hush-hush",
        "refresh_token": secret, "token_uri": format!("{url}/token") });
    let gcloud = world.root().join("home/.config/gcloud");
    std::fs::create_dir_all(&gcloud).unwrap();
    std::fs::write(gcloud.join("application_default_credentials.json"), person.to_string()).unwrap();

    let mut create = vec!["create", "-d", "google", "--google-project", PROJECT, "--google-endpoint", &url];
    create.extend(["--google-label", "team:blue", "--engine-install", "distro", "--allow-from", "me", "web"]);
    let created = world.run(&create);
    created.ok();
    assert!(created.stdout.contains("(web) Creating instance"), "{created}");
    assert!(!created.stdout.contains(secret) && !created.stderr.contains(secret), "a secret shows");
    let vm = cloud.provider().vm("web").clone();
    assert_eq!(vm["labels"]["team"], "blue");
    let key = std::fs::read_to_string(world.machine_dir("web").join("id_rsa.pub")).unwrap();
    let key: Vec<&str> = key.split_whitespace().take(2).collect();
    assert_eq!(metadata(&vm, "ssh-keys"), format!("docker-user:{} docker-user", key.join(" ")));
    let me = {
        let gcp = cloud.provider();
        let allow = gcp.rules.iter().find(|(name, _)| name.ends_with("-allow"));
        allow.map(|(_, rule)| rule["sourceRanges"].clone()).unwrap_or_default()
    };
    assert_eq!(me, json!([format!("{}/32", host.our_address())]));

    assert_eq!(inside(&host, "hostname"), "web");
    assert_works(&world, "web");
    world.image(&host);
    clients::assert_containers_run(&world, "web");
    assert!(world.answer(&["ls"]).contains("google"));

    // The record answers alone.
    cloud.take_exchanges();
    let ip = host.address().to_string();
    assert_eq!(world.answer(&["ip", "web"]), format!("{ip}\n"));
    assert_eq!(world.answer(&["url", "web"]), format!("tcp://{ip}:2376\n"));
    assert!(world.answer(&["env", "web"]).contains(&format!("DOCKER_HOST=\"tcp://{ip}:2376\"")));
    assert_eq!(world.answer(&["ssh", "web", "id", "-un"]), "docker-user\n");
    assert_eq!(cloud.take_exchanges().len(), 0, "nobody had to be asked");

    world.answer(&["stop", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Stopped\n");
    world.answer(&["start", "web"]);
    assert_eq!(world.answer(&["status", "web"]), "Running\n");
    assert_works(&world, "web");

    world.answer(&["rm", "-y", "web"]);
    assert_eq!(cloud.provider().held(), 0);
    assert_eq!(world.answer(&["ls", "-q"]), "");
}
