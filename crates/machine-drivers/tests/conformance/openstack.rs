//! `openstack` against a stand-in, which is itself compared with recordings of a real OpenStack.

#[path = "openstack/cloud.rs"]
pub mod cloud;
#[path = "openstack/own.rs"]
mod own;
#[path = "openstack/real.rs"]
mod real;
#[path = "openstack/recorded.rs"]
mod recorded;
#[path = "openstack/relay.rs"]
mod relay;

use std::time::Duration;

use machine_core::{AccountCx, Cx, Driver, DriverState, FlagValue, FlagValues, Power, Silent, State};
use machine_drivers::openstack::Openstack;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, STORE_ID, Subject};
use machine_testkit::double::{Double, Reply, Request, Trouble};
use serde_json::{Value, json};

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

fn any_call(_: &Request) -> bool {
    true
}

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
            (
                "the type of volumes",
                flags(
                    &self.0.url(),
                    &[
                        ("openstack-volume-size", FlagValue::Int(1)),
                        ("openstack-volume-type", text("nosuch")),
                    ],
                ),
            ),
            ("the user data", with("openstack-user-data-file", "/nosuch")),
            ("the cloud", with("openstack-cloud", "nosuch")),
        ]
    }

    fn resources(&self) -> usize {
        self.0.provider().resources()
    }

    fn inject(&self, fault: Fault) -> bool {
        let double = &self.0;
        match fault {
            Fault::LostReply => double.trouble(1, Trouble::LostReply, makes_something),
            Fault::Unavailable => {
                let body = json!({"message": "The service is unavailable.", "code": "503"});
                double.trouble(1, Trouble::Answer(Reply::json(503, &body)), any_call);
            }
            Fault::Throttled => {
                let body = json!({"overLimit": {"code": 429, "message": "Too many requests"}});
                let reply = Reply::json(429, &body).header("retry-after", "1");
                double.trouble(1, Trouble::Answer(reply), any_call);
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
    let stand = Stand(start(), Vec::new());
    stand.0.provider().looks = 1;
    conforms("openstack", &stand);
}

#[test]
fn openstack_conforms_with_volumes_as_root_disks() {
    conforms("openstack", &Stand(start(), vec![("openstack-boot-from-volume", FlagValue::Bool(true))]));
}

#[test]
fn openstack_conforms_with_further_volumes() {
    conforms("openstack", &Stand(start(), vec![("openstack-volume-size", FlagValue::Int(5))]));
}

/// Everything that can be asked of a machine, once, with all that the driver can make. It goes the same way through the
/// stand-in and through the real cloud.
fn life(flags: impl Fn(&[(&str, FlagValue)]) -> FlagValues) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let (driver, bench) = (Openstack::new(), Bench::new());
        let refused = [
            ("openstack-flavor-name", ""),
            ("openstack-flavor-id", "17"),
            ("openstack-image-name", ""),
            ("openstack-image-id", "5a9c9de2-0000-4b0e-9d57-1b0f7f5e1f11"),
        ];
        let refused: Vec<(&str, FlagValue)> = refused.map(|(name, value)| (name, text(value))).into();
        let wish = bench.wish(&driver, &flags(&refused[..2]));
        driver.precreate(&bench.cx(), &wish).await.unwrap_err();
        let wish = bench.wish(&driver, &flags(&refused[2..4]));
        driver.precreate(&bench.cx(), &wish).await.unwrap_err();

        let wish = flags(&[
            ("openstack-metadata", text("key1,value1")),
            ("openstack-volume-size", FlagValue::Int(1)),
            ("openstack-availability-zone", text("nova")),
            ("openstack-config-drive", FlagValue::Bool(true)),
            ("openstack-sec-groups", text("default")),
        ]);
        let wish = bench.wish(&driver, &wish);
        let networks = ["198.51.100.0/24".to_owned()];
        let cx = || Cx { allow_from: &networks, ..bench.cx() };
        driver.precreate(&cx(), &wish).await.unwrap();
        let mut state = driver.create(&cx(), wish, &mut Journal::new(Cut::Never)).await.unwrap();
        let known = driver.known(&state).unwrap();
        assert!(known.ip.starts_with("172.24.4."), "{known:?}");
        assert_eq!(known.url, format!("tcp://{}:2376", known.ip));

        let account = AccountCx { store_id: STORE_ID, store_path: bench.cx().store_path, report: &Silent };
        let kinds = async || {
            let owned = driver.owned(&account, &state).await.unwrap();
            assert!(owned.iter().all(|owned| owned.machine == "conformance"), "{owned:?}");
            owned.into_iter().map(|owned| owned.kind).collect::<Vec<_>>()
        };
        assert_eq!(kinds().await, ["floating IP", "server", "volume", "security group", "key pair"]);
        for (op, to) in [
            (Power::Stop, State::Stopped),
            (Power::Start, State::Running),
            (Power::Pause, State::Paused),
            (Power::Resume, State::Running),
            (Power::Restart, State::Running),
        ] {
            state = driver.power(&cx(), &state, op).await.unwrap();
            settles(&driver, &cx(), &state, to).await;
        }
        assert!(driver.power(&cx(), &state, Power::Start).await.is_err());
        let hosts = [(cx(), &state), (cx(), &state)];
        assert!(
            driver.observe_many(&hosts).await.into_iter().all(|seen| seen.unwrap().state == State::Running)
        );
        let narrower = ["203.0.113.7/32".to_owned()];
        let state = driver.allow_from(&cx(), &state, &narrower).await.unwrap();
        driver.remove(&cx(), &state).await.unwrap();
        driver.remove(&cx(), &state).await.unwrap();
        assert_eq!(driver.owned(&account, &state).await.unwrap(), []);
        driver.observe(&cx(), &state).await.unwrap_err();
    });
}

async fn settles(driver: &Openstack, cx: &Cx<'_>, state: &DriverState, to: State) {
    for _ in 0..400 {
        let seen = driver.observe(cx, state).await.unwrap();
        assert_eq!(seen.changed, None);
        if seen.state == to {
            return;
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    panic!("the server did not become {to} within two minutes");
}

#[test]
fn the_stand_in_answers_as_the_recorded_cloud() {
    let double = start();
    life(|more| flags(&double.url(), more));
    let exchanges: Vec<Value> =
        double.take_exchanges().iter().map(|e| recorded::written(e, &double.url())).collect();
    assert!(exchanges.len() > 40, "only {} exchanges", exchanges.len());
    let wrong = recorded::differences(&exchanges);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
