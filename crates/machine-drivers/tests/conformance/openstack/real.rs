//! The same against a real OpenStack: `cargo xtask openstack up` brings it up, `cargo xtask openstack test` runs this. Its
//! servers are made by nova's fake hypervisor: they are active and have addresses, but nothing boots.

use std::path::PathBuf;
use std::sync::Mutex;
use std::thread::sleep;
use std::time::{Duration, Instant};

use machine_core::{Driver, ErrorKind, FlagValue, FlagValues};
use machine_drivers::openstack::Openstack;
use machine_testkit::conformance::{self, Bench, Cut, Fault, Journal, Subject};
use machine_testkit::double::{Double, Reply, Trouble};
use serde_json::{Value, json};

use super::relay::{Person, Relay};
use super::{any_call, flags, life, makes_something, recorded};
use crate::text;

const PASSWORD: &str = "demo-password";

/// The page that says which access rules are enough.
const PAGE: &str = include_str!("../../../../../docs/drivers/openstack.md");

struct Real {
    double: Double<Relay>,
    admin: Person,
    demo: Mutex<Person>,
}

impl Real {
    fn new() -> Self {
        let double = Double::start(Relay::default());
        let url = double.url();
        double.provider().url = url;
        let admin = Person::new("admin", "admin");
        set_password(&admin, PASSWORD);
        let real = Self { double, admin, demo: Mutex::new(Person::new("demo", PASSWORD)) };
        real.set_instances(10);
        real.sweep();
        real
    }

    /// Removes what a test before left that failed.
    fn sweep(&self) {
        self.remove_servers();
        let demo = self.demo.lock().unwrap();
        let volumes = format!("v3/{}/volumes", demo.project);
        let of_project = |path: &str| format!("v2.0/{path}?project_id={}", demo.project);
        for (service, list, path, key) in [
            ("network", of_project("floatingips"), "v2.0/floatingips", "floatingips"),
            ("network", of_project("security-groups"), "v2.0/security-groups", "security_groups"),
            ("compute", "v2.1/os-keypairs".to_owned(), "v2.1/os-keypairs", "keypairs"),
            ("volume", volumes.clone(), volumes.as_str(), "volumes"),
        ] {
            let found = demo.ask("GET", service, &list, &Value::Null)[key].clone();
            for thing in found.as_array().unwrap().iter().filter(|thing| thing["name"] != "default") {
                let id = thing["id"].as_str().or(thing["keypair"]["name"].as_str()).unwrap();
                demo.ask("DELETE", service, &format!("{path}/{id}"), &Value::Null);
            }
        }
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![("openstack-password", text(PASSWORD))];
        given.extend_from_slice(more);
        flags(&self.double.url(), &given)
    }

    fn set_instances(&self, most: i64) {
        let project = self.demo.lock().unwrap().project.clone();
        let path = format!("v2.1/os-quota-sets/{project}");
        self.admin.ask("PUT", "compute", &path, &json!({"quota_set": {"instances": most}}));
    }

    fn remove_servers(&self) {
        let demo = self.demo.lock().unwrap();
        let servers = || demo.ask("GET", "compute", "v2.1/servers", &Value::Null)["servers"].clone();
        for server in servers().as_array().unwrap() {
            demo.ask(
                "DELETE",
                "compute",
                &format!("v2.1/servers/{}", server["id"].as_str().unwrap()),
                &Value::Null,
            );
        }
        for _ in 0..600 {
            if servers().as_array().unwrap().is_empty() {
                return;
            }
            sleep(Duration::from_millis(200));
        }
        panic!("the servers are still there after two minutes");
    }
}

/// Another password ends all tokens of the old one.
fn set_password(admin: &Person, password: &str) {
    let users = admin.ask("GET", "identity", "v3/users?name=demo", &Value::Null);
    let id = users["users"][0]["id"].as_str().unwrap();
    admin.ask("PATCH", "identity", &format!("v3/users/{id}"), &json!({"user": {"password": password}}));
    // Keystone counts in seconds: a token of the same second would end with the old password.
    sleep(Duration::from_millis(1100));
}

impl Subject for Real {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![("no address", self.flags(&[("openstack-auth-url", text(""))]))]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let volume = ("openstack-volume-size", FlagValue::Int(1));
        let volume = [volume, ("openstack-volume-type", text("nosuch"))];
        let plain = [
            ("the password", "openstack-password", "wrong password"),
            ("the project", "openstack-tenant-name", "other"),
            ("the region", "openstack-region", "RegionThree"),
            ("the flavor", "openstack-flavor-name", "m1.tin"),
            ("the image", "openstack-image-name", "ubunto"),
            ("the network", "openstack-net-name", "private"),
            ("an external network", "openstack-floatingip-pool", "priv"),
            ("the security group", "openstack-sec-groups", "default,nosuch"),
            ("the zone", "openstack-availability-zone", "mars"),
            ("the server group", "openstack-server-group-name", "nosuch"),
        ]
        .map(|(what, flag, value)| (what, self.flags(&[(flag, text(value))])));
        [&plain[..], &[("the type of volumes", self.flags(&volume))]].concat()
    }

    fn resources(&self) -> usize {
        let demo = self.demo.lock().unwrap();
        let servers = demo.ask("GET", "compute", "v2.1/servers/detail", &Value::Null)["servers"].clone();
        // nova shows one for a moment that is no more.
        let servers = servers.as_array().unwrap().iter().filter(|server| server["status"] != "DELETED");
        let of_project = |path: &str| format!("v2.0/{path}?project_id={}", demo.project);
        servers.count()
            + demo.count("compute", "v2.1/os-keypairs", "keypairs")
            + demo.count("network", &of_project("floatingips"), "floatingips")
            + demo.count("network", &of_project("security-groups"), "security_groups")
            + demo.count("volume", &format!("v3/{}/volumes", demo.project), "volumes")
    }

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::LostReply => self.double.trouble(1, Trouble::LostReply, makes_something),
            Fault::Unavailable => {
                let body = json!({"message": "The service is unavailable.", "code": "503"});
                self.double.trouble(1, Trouble::Answer(Reply::json(503, &body)), any_call);
            }
            Fault::Throttled => {
                let reply = Reply::json(429, &json!({"overLimit": {"code": 429}})).header("retry-after", "1");
                self.double.trouble(1, Trouble::Answer(reply), any_call);
            }
            Fault::WrongCredentials => set_password(&self.admin, "another password"),
            Fault::Quota => self.set_instances(0),
            Fault::HostGone => self.remove_servers(),
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.double.heal();
        set_password(&self.admin, PASSWORD);
        *self.demo.lock().unwrap() = Person::new("demo", PASSWORD);
        self.set_instances(10);
    }

    fn settle_seconds(&self) -> u64 {
        120
    }
}

/// Asks a case of the suite, and says how long it took.
fn case(what: &str, ask: impl AsyncFnOnce(&Openstack, &Real)) {
    let (driver, real, start) = (Openstack::new(), Real::new(), Instant::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(ask(&driver, &real));
    eprintln!("{what}: {} s, {} calls", start.elapsed().as_secs(), real.double.take_exchanges().len());
}

/// The cases of the suite, a test each, so that one that fails hides no other.
macro_rules! cases {
    ($($case:ident)*) => {
        $(
            #[test]
            #[ignore = "needs a real OpenStack: cargo xtask openstack test"]
            fn $case() {
                case(stringify!($case), async |driver, real| conformance::$case(driver, real).await);
            }
        )*
    };
}

cases! {
    unmet_conditions_are_seen_before_create
    create_observe_remove
    interrupted_creates_go_on
    interrupted_creates_can_be_removed
    power_as_declared
    faults_are_survived
    secrets_stay_secret
}

#[test]
#[ignore = "needs a real OpenStack: cargo xtask openstack test"]
fn a_life_with_everything_on_a_real_one() {
    let real = Real::new();
    let before = real.resources();
    life(|more| real.flags(more));
    assert_eq!(real.resources(), before, "something is left");
    let exchanges: Vec<Value> =
        real.double.take_exchanges().iter().map(|e| recorded::written(e, &real.double.url())).collect();
    if std::env::var_os("MACHINE_RECORD").is_some() {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/openstack.json");
        let lines: Vec<String> = exchanges.iter().map(ToString::to_string).collect();
        std::fs::write(file, format!("[\n{}\n]\n", lines.join(",\n"))).unwrap();
    }
}

/// The rules that the page lists.
fn access_rules() -> Vec<Value> {
    let mut rules = Vec::new();
    for line in PAGE.lines().filter(|line| line.starts_with("    ")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [service, method @ ("GET" | "POST" | "PUT" | "DELETE"), paths @ ..] = words.as_slice() {
            rules
                .extend(paths.iter().map(|path| json!({"service": service, "method": method, "path": path})));
        }
    }
    rules
}

#[test]
#[ignore = "needs a real OpenStack: cargo xtask openstack test"]
fn the_access_rules_of_the_page_are_enough() {
    let (real, rules) = (Real::new(), access_rules());
    assert!(rules.len() > 20, "{rules:?}");
    let make = |name: &str, rules: &[Value]| {
        let demo = real.demo.lock().unwrap();
        let path = format!("v3/users/{}/application_credentials", demo.user);
        let name = format!("{name}-{}", std::process::id());
        let wish = json!({"application_credential": {"name": name, "access_rules": rules}});
        let made = demo.ask("POST", "identity", &path, &wish)["application_credential"].clone();
        let word = |key: &str| text(made[key].as_str().unwrap());
        let given = [
            ("openstack-username", text("")),
            ("openstack-password", text("")),
            ("openstack-tenant-name", text("")),
            ("openstack-application-credential-id", word("id")),
            ("openstack-application-credential-secret", word("secret")),
        ];
        given.to_vec()
    };
    let narrow = make("narrow", &rules);
    life(|more| real.flags(&[&narrow[..], more].concat()));
    // They count: with fewer it does not go.
    let fewer: Vec<Value> = rules.into_iter().filter(|rule| rule["service"] != "image").collect();
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &real.flags(&make("narrower", &fewer)));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error:?}");
    assert!(error.hint().unwrap().contains("access rules"), "{error:?}");
}

#[test]
#[ignore = "needs a real OpenStack: cargo xtask openstack test"]
fn who_may_only_read_hears_which_role_is_needed() {
    let real = Real::new();
    let given = [("openstack-username", text("reader")), ("openstack-password", text("reader"))];
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &real.flags(&given));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let error = runtime.block_on(async {
        driver.precreate(&bench.cx(), &wish).await.unwrap();
        driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)).await.unwrap_err()
    });
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error:?}");
    assert!(error.hint().unwrap().contains("member"), "{error:?}");
}
