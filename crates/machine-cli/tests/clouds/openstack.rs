//! A machine of the driver `openstack` as a user makes, uses and removes one. A stand-in is the cloud (its answers are compared
//! with a real one's beside the driver); the server that it "boots" is a lab host, which gets the key that came to nova.

#[allow(dead_code)] // the driver's own tests use the rest
#[path = "../../../machine-drivers/tests/conformance/openstack/cloud.rs"]
mod cloud;

use std::sync::Arc;

use crate::host::{boot, host_with_engine, off, on};
use crate::support::{World, assert_works};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cloud::{Cloud, PASSWORD, USER};
use machine_testkit::double::{Double, Provider, Reply, Request};
use machine_testkit::lab::Host;

/// A cloud of which the only server is a lab host.
struct Booting {
    cloud: Cloud,
    host: Arc<Host>,
    /// The public keys that came to nova.
    keys: Vec<String>,
}

impl Provider for Booting {
    fn answer(&mut self, request: &Request) -> Reply {
        let reply = self.cloud.answer(request);
        let body = request.json();
        if reply.status < 300 && request.method == "POST" {
            self.keys.extend(body["keypair"]["public_key"].as_str().map(str::to_owned));
            if let Some(data) = body["server"]["user_data"].as_str() {
                let data = String::from_utf8(STANDARD.decode(data).unwrap()).unwrap();
                boot(&self.host, &data, &self.keys);
            }
            if body.get("os-stop").is_some() {
                off(&self.host);
            }
            if body.get("os-start").is_some() {
                on(&self.host);
            }
        }
        reply
    }
}

#[test]
fn a_life() {
    let Some(world) = World::new() else { return };
    let host = Arc::new(host_with_engine(&world));
    let address = host.address().to_string();
    let mut cloud = Cloud::default();
    cloud.next_address = Some(address.clone());
    let double = Double::start(Booting { cloud, host: Arc::clone(&host), keys: Vec::new() });
    let url = double.url();
    double.provider().cloud.url.clone_from(&url);

    let auth = format!("{url}/identity/v3");
    let environment = [
        ("OS_AUTH_URL", auth.as_str()),
        ("OS_USERNAME", USER),
        ("OS_PASSWORD", PASSWORD),
        ("OS_PROJECT_NAME", "demo"),
        ("OS_USER_DOMAIN_NAME", "Default"),
        ("OS_PROJECT_DOMAIN_NAME", "Default"),
        ("OS_REGION_NAME", "RegionOne"),
        ("OS_INTERFACE", "public"),
        ("OS_IDENTITY_API_VERSION", "3"),
    ];
    let wish =
        ["create", "-d", "openstack", "--openstack-flavor-name", "m1.tiny", "--openstack-net-name", "priv"];
    let unknown =
        world.run_with(&[&wish[..], &["--openstack-image-name", "ubunto", "m"]].concat(), &environment);
    unknown.fails_saying(3, &["Unable to find image named ubunto", "ubuntu"]);
    assert_eq!(world.answer(&["ls", "-q"]), "");

    let good = ["--openstack-image-name", "ubuntu", "--allow-from", "me", "m"];
    world.run_with(&[&wish[..], &good].concat(), &environment).ok();
    let exchanges = double.take_exchanges();
    let rules = exchanges.iter().rev().map(|exchange| &exchange.request);
    let rules =
        rules.filter(|request| request.method == "POST" && request.path.ends_with("/security-group-rules"));
    let me = format!("{}/32", host.our_address());
    assert!(
        rules.into_iter().any(|request| String::from_utf8_lossy(&request.body).contains(&me)),
        "not narrowed"
    );
    assert_works(&world, "m");
    assert_eq!(world.answer(&["ip", "m"]), format!("{address}\n"));
    assert!(world.answer(&["ls"]).contains(&format!("tcp://{address}:2376")));
    assert!(world.answer(&["ssh", "m", "hostname"]).starts_with('m'));
    assert!(!world.answer(&["inspect", "m"]).contains(PASSWORD));

    double.take_exchanges();
    world.answer(&["env", "m"]);
    world.answer(&["url", "m"]);
    assert_eq!(double.take_exchanges().len(), 0, "what is known is not asked");

    world.run(&["stop", "m"]).ok();
    assert_eq!(world.answer(&["status", "m"]), "Stopped\n");
    world.run(&["start", "m"]).ok();
    assert_works(&world, "m");
    assert_eq!(double.provider().cloud.resources(), 3, "a server, a key pair, and a group of its own");
    world.run(&["rm", "-y", "m"]).ok();
    assert_eq!(double.provider().cloud.resources(), 0, "something is left");
    assert_eq!(world.answer(&["ls", "-q"]), "");
}
