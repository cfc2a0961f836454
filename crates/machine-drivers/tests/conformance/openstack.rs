//! `openstack` against a stand-in, which is itself compared with recordings of a real OpenStack.

#[path = "openstack/cloud.rs"]
pub mod cloud;

use machine_core::{FlagValue, FlagValues};
use machine_testkit::conformance::{Fault, Subject};
use machine_testkit::double::{Double, Reply, Request, Trouble};
use serde_json::json;

use super::{conforms, text, with};
use cloud::{Cloud, PASSWORD};

/// The stand-in on a port of this computer.
pub fn start() -> Double<Cloud> {
    let double = Double::start(Cloud::default());
    let url = double.url();
    double.provider().url = url;
    double
}

/// Flags with which a machine can be made.
pub fn flags(url: &str, more: &[(&str, FlagValue)]) -> FlagValues {
    let mut given = vec![
        ("openstack-auth-url", text(format!("{url}/identity/v3"))),
        ("openstack-username", text("demo")),
        ("openstack-password", text(PASSWORD)),
        ("openstack-tenant-name", text("demo")),
        ("openstack-region", text("RegionOne")),
        ("openstack-flavor-name", text("m1.tiny")),
        ("openstack-image-name", text("ubuntu")),
        ("openstack-net-name", text("priv")),
        ("openstack-floatingip-pool", text("ext-net")),
    ];
    given.extend_from_slice(more);
    with("openstack", &given)
}

struct Stand(Double<Cloud>, Vec<(&'static str, FlagValue)>);

fn makes_something(request: &Request) -> bool {
    request.method == "POST" && !request.path.ends_with("/auth/tokens") && !request.path.ends_with("/action")
}

impl Subject for Stand {
    fn good_flags(&self) -> FlagValues {
        flags(&self.0.url(), &self.1)
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let with = |name, value: &str| flags(&self.0.url(), &[(name, text(value))]);
        vec![
            ("no address", with("openstack-auth-url", "")),
            ("no user", with("openstack-username", "")),
            ("no password", with("openstack-password", "")),
            ("no project", with("openstack-tenant-name", "")),
            ("no flavor", with("openstack-flavor-name", "")),
            ("two flavors", with("openstack-flavor-id", "1")),
            ("two images", with("openstack-image-id", cloud::IMAGE)),
            ("two networks", with("openstack-net-id", cloud::NETWORK)),
            ("half a key pair", with("openstack-keypair-name", "mine")),
            ("a strange endpoint type", with("openstack-endpoint-type", "private")),
            ("an option as user", with("openstack-ssh-user", "-oProxyCommand=x")),
            ("IP version 5", flags(&self.0.url(), &[("openstack-ip-version", FlagValue::Int(5))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let with = |name, value: &str| flags(&self.0.url(), &[(name, text(value))]);
        let by_id = |id, name, value: &str| flags(&self.0.url(), &[(id, text(value)), (name, text(""))]);
        vec![
            ("the password", with("openstack-password", "wrong password")),
            ("the project", with("openstack-tenant-name", "other")),
            ("the region", with("openstack-region", "RegionThree")),
            ("the flavor", with("openstack-flavor-name", "m1.tin")),
            ("the flavor by id", by_id("openstack-flavor-id", "openstack-flavor-name", "17")),
            ("the image", with("openstack-image-name", "ubunto")),
            ("an active image", with("openstack-image-name", "ubuntu-old")),
            ("the disk for the image", with("openstack-image-name", "windows")),
            ("the network", with("openstack-net-name", "private")),
            ("an external network", with("openstack-floatingip-pool", "priv")),
            ("the security group", with("openstack-sec-groups", "default,nosuch")),
            ("the zone", with("openstack-availability-zone", "mars")),
            ("the server group", with("openstack-server-group-name", "nosuch")),
            ("the user data", with("openstack-user-data-file", "/nosuch")),
            ("the cloud", with("openstack-cloud", "nosuch")),
        ]
    }

    fn resources(&self) -> usize {
        self.0.provider().resources()
    }

    fn inject(&self, fault: Fault) -> bool {
        let (double, any) = (&self.0, |_: &Request| true);
        match fault {
            Fault::LostReply => double.trouble(1, Trouble::LostReply, makes_something),
            Fault::Unavailable => {
                let body = json!({"message": "The service is unavailable.", "code": "503"});
                double.trouble(1, Trouble::Answer(Reply::json(503, &body)), any);
            }
            Fault::Throttled => {
                let body = json!({"overLimit": {"code": 429, "message": "Too many requests"}});
                let reply = Reply::json(429, &body).header("retry-after", "1");
                double.trouble(1, Trouble::Answer(reply), any);
            }
            Fault::WrongCredentials => {
                let mut cloud = double.provider();
                cloud.passwords.clear();
                cloud.forget_tokens();
            }
            Fault::Quota => double.provider().max_servers = 0,
            Fault::HostGone => {
                let mut cloud = double.provider();
                let ids: Vec<String> = cloud.servers.keys().cloned().collect();
                ids.iter().for_each(|id| cloud.vanish(id));
            }
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.0.heal();
        let mut cloud = self.0.provider();
        cloud.passwords = Cloud::default().passwords;
        cloud.max_servers = 10;
    }
}

#[test]
fn openstack_conforms() {
    conforms("openstack", &Stand(start(), Vec::new()));
}

#[test]
fn openstack_conforms_with_volumes_as_root_disks() {
    conforms("openstack", &Stand(start(), vec![("openstack-boot-from-volume", FlagValue::Bool(true))]));
}

#[test]
fn openstack_conforms_with_further_volumes() {
    conforms("openstack", &Stand(start(), vec![("openstack-volume-size", FlagValue::Int(5))]));
}
