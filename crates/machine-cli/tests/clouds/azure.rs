//! `azure` as a user has it: the double of Azure gives the address of a real host, which gets the machine's user and key out
//! of what was ordered, as a machine of Azure's does.

#[path = "../../../machine-drivers/tests/conformance/azure/double.rs"]
mod double;

use std::sync::{Arc, Mutex};

use crate::host::{boot, host_of_image, host_with_engine, off, on};
use crate::support::{World, assert_works, inside};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use double::{Azure, CLIENT, Happens, SECRET, SUBSCRIPTION};
use machine_testkit::double::Double;
use machine_testkit::lab::Host;
use serde_json::Value;

/// What stays: the resource group, for `gc` to take.
const GROUP: &str = "/subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/docker-machine";

/// What the double's machines are told to do, for the host to do it.
type Orders = Arc<Mutex<Vec<(Happens, Value)>>>;

struct Cloud {
    double: Double<Azure>,
    orders: Orders,
}

impl Cloud {
    /// An Azure all of whose machines are this host.
    fn with(host: &Host) -> Self {
        let orders = Orders::default();
        let heard = Arc::clone(&orders);
        let mut azure = Azure::default();
        azure.address = Some(host.address().to_string());
        azure.fqdn_is_address = true;
        azure.hook = Some(Box::new(move |what, body| heard.lock().unwrap().push((what, body.clone()))));
        Self { double: Double::start(azure), orders }
    }

    fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("AZURE_SUBSCRIPTION_ID", SUBSCRIPTION.to_owned()),
            ("AZURE_CLIENT_ID", CLIENT.to_owned()),
            ("AZURE_CLIENT_SECRET", SECRET.to_owned()),
            ("AZURE_RESOURCE_MANAGER_ENDPOINT", self.double.url()),
        ]
    }

    /// Runs a command while the host does what is ordered.
    fn run(&self, world: &World, host: &Host, args: &[&str]) -> crate::support::Ended {
        let environment = self.environment();
        let mut command = world.command(args);
        command.envs(environment.iter().map(|(name, value)| (*name, value.as_str())));
        let running = std::thread::spawn(move || command.output().unwrap());
        while !running.is_finished() {
            let orders: Vec<_> = std::mem::take(&mut *self.orders.lock().unwrap());
            for (what, body) in orders {
                obey(host, what, &body);
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        crate::support::Ended::of(format!("docker-machine {}", args.join(" ")), &running.join().unwrap())
    }
}

/// What a machine of Azure's does at that moment. Its user and key are in the user data, too.
fn obey(host: &Host, what: Happens, body: &Value) {
    match what {
        Happens::Made => {
            let data = body.pointer("/properties/osProfile/customData").and_then(Value::as_str).unwrap();
            boot(host, &String::from_utf8(STANDARD.decode(data).unwrap()).unwrap(), &[]);
        }
        Happens::Stopped => off(host),
        Happens::Started => on(host),
        Happens::Removed => {}
    }
}

#[test]
fn a_life_in_azure() {
    let Some(world) = World::new() else { return };
    let host = host_of_image(&world);
    let cloud = Cloud::with(&host);
    let run = |args: &[&str]| cloud.run(&world, &host, args);

    cloud.double.take_exchanges();
    let create = ["create", "-d", "azure", "--engine-install", "distro", "--allow-from", "me", "staging"];
    let created = run(&create);
    created.ok();
    let exchanges = cloud.double.take_exchanges();
    let rules = exchanges.iter().rev().map(|exchange| &exchange.request).find(|request| {
        request.method == "PUT" && request.path.to_ascii_lowercase().contains("/networksecuritygroups/")
    });
    let me = format!("{}/32", host.our_address());
    assert!(String::from_utf8_lossy(&rules.unwrap().body).contains(&me), "not narrowed");
    assert!(!created.to_string().contains(SECRET), "the secret shows");
    let environment = cloud.environment();
    assert_works(&world, "staging");
    let ip = host.address().to_string();
    assert_eq!(world.answer(&["ip", "staging"]), format!("{ip}\n"));
    let env = run(&["env", "--shell", "sh", "staging"]);
    assert!(env.ok().contains(&format!("tcp://{ip}:2376")), "{env}");
    assert!(!environment.is_empty());

    run(&["stop", "staging"]).ok();
    assert_eq!(run(&["status", "staging"]).ok(), "Stopped\n");
    run(&["start", "staging"]).ok();
    assert_works(&world, "staging");

    run(&["rm", "-y", "staging"]).ok();
    assert_eq!(cloud.double.provider().ids(), [GROUP], "something is left");
}

#[test]
fn the_old_command_makes_a_docker_host() {
    let Some(world) = World::new() else { return };
    let host = host_with_engine(&world);
    let cloud = Cloud::with(&host);
    let run = |args: &[&str]| cloud.run(&world, &host, args);
    let image = "Canonical:ubuntu-24_04-lts:server:latest";

    let images = run(&["azure", "vm", "image", "list", "--location", "westus"]);
    assert!(images.ok().lines().any(|line| line.starts_with("data:") && line.contains(image)), "{images}");

    // The rules of the password come first: nothing is asked for and nothing made.
    cloud.double.take_exchanges();
    let weak = run(&["azure", "vm", "docker", "create", "-l", "westus", "old", image, "me", "passw0rd!"]);
    assert!(weak.code != 0 && weak.stderr.contains("a capital letter"), "{weak}");
    assert_eq!(cloud.double.take_exchanges().len(), 0);

    let folder = world.root().join("certificates");
    let dir = folder.to_str().unwrap();
    let password = "Passw0rd!of-the-test";
    let made = run(&[
        "--debug", "azure", "vm", "docker", "create", "-l", "westus", "-dp", "4243", "-dc", dir, "old",
        image, "me", password,
    ]);
    let url = format!("tcp://{}:4243", host.address());
    let trial = format!("DOCKER_CERT_PATH={dir} docker --tls -H {url} info");
    assert!(made.ok().contains(&trial), "{made}");
    assert!(!made.stdout.contains(password) && !made.stderr.contains(password), "the password shows");
    assert!(!world.config("old").to_string().contains(password), "the password is stored");
    let hash = inside(&host, "getent shadow me | cut -d: -f2");
    assert!(hash.starts_with('$'), "the user has no password: {hash}");

    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
    let args = ["--tls", "--tlscacert", &ca, "--tlscert", &cert, "--tlskey", &key, "-H", &url, "info"];
    let mut docker = std::process::Command::new("docker");
    world.environment(&mut docker);
    crate::support::Ended::of("docker info", &docker.args(args).output().unwrap()).ok();
    assert!(world.answer(&["ls", "-q"]).contains("old"), "it is a machine as any other");

    run(&["rm", "-y", "old"]).ok();
    assert_eq!(cloud.double.provider().ids(), [GROUP], "something is left");
}
