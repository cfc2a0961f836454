//! `hetzner` against a double of Hetzner Cloud, every exchange held against Hetzner's own description of its API.

#[path = "hetzner/double.rs"]
pub mod double;

use machine_core::{
    AccountCx, Driver, DriverError, DriverState, ErrorKind, FlagValue, FlagValues, Power, Silent, State,
};
use machine_drivers::hetzner::Hetzner;
use machine_testkit::conformance::{AUTHORIZED_KEY, Bench, Cut, Fault, Journal, STORE_ID, Subject};
use machine_testkit::double::{Double, Reply, Request, Trouble};
use machine_testkit::openapi::Description;
use serde_json::{Value, json};

use super::{conforms, text, with};
use crate::prism::Prism;
use double::{Project, TOKEN, refuse};

/// A project of Hetzner Cloud.
struct Cloud(Double<Project>);

impl Cloud {
    fn new() -> Self {
        Self(Double::start(Project::default()))
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("hetzner-api-token", text(TOKEN)),
            ("hetzner-endpoint", text(format!("{}/v1", self.0.url()))),
        ];
        given.extend_from_slice(more);
        with("hetzner", &given)
    }

    /// Makes a machine with these flags.
    fn make(&self, bench: &Bench, more: &[(&str, FlagValue)]) -> Result<DriverState, DriverError> {
        let driver = Hetzner::new();
        let wish = bench.wish(&driver, &self.flags(more));
        block_on(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)))
    }

    fn remove(&self, bench: &Bench, state: &DriverState) {
        block_on(Hetzner::new().remove(&bench.cx(), state)).unwrap();
        assert_eq!(self.0.provider().made(), 0);
    }

    /// The body with which something was asked to be made.
    fn sent(&self, path: &str) -> Value {
        let exchanges = self.0.take_exchanges();
        let found = exchanges.iter().rev().find(|e| e.request.method == "POST" && e.request.path == path);
        found.unwrap_or_else(|| panic!("nothing was posted to {path}")).request.json()
    }

    fn as_described(&self) {
        let Some(description) = Description::open("hetzner.openapi.json") else { return };
        let exchanges = self.0.take_exchanges();
        assert!(!exchanges.is_empty());
        let problems: Vec<String> = exchanges.iter().flat_map(|e| description.problems(e)).collect();
        assert!(problems.is_empty(), "{problems:#?}");
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn list(values: &[&str]) -> FlagValue {
    FlagValue::List(values.iter().map(|value| (*value).to_owned()).collect())
}

fn posts(path: &'static str) -> impl Fn(&Request) -> bool + Send + 'static {
    move |request| request.method == "POST" && request.path == path
}

impl Subject for Cloud {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no token", with("hetzner", &[])),
            ("an endpoint of another kind", self.flags(&[("hetzner-endpoint", text("ftp://x"))])),
            ("an image that is no number", self.flags(&[("hetzner-image-id", text("ubuntu"))])),
            (
                "two images",
                self.flags(&[("hetzner-image-id", text("1")), ("hetzner-image", text("debian-13"))]),
            ),
            ("an unknown architecture", self.flags(&[("hetzner-image-arch", text("riscv"))])),
            (
                "no way to it",
                self.flags(&[
                    ("hetzner-disable-public-ipv4", FlagValue::Bool(true)),
                    ("hetzner-disable-public-ipv6", FlagValue::Bool(true)),
                ]),
            ),
            ("no private network", self.flags(&[("hetzner-disable-public", FlagValue::Bool(true))])),
            (
                "an address of a kind that is off",
                self.flags(&[
                    ("hetzner-disable-public-ipv4", FlagValue::Bool(true)),
                    ("hetzner-primary-ipv4", text("front")),
                ]),
            ),
            ("a key without its file", self.flags(&[("hetzner-existing-key-id", text("7"))])),
            ("a label without a value", self.flags(&[("hetzner-server-label", list(&["a"]))])),
            (
                "two user data",
                self.flags(&[("hetzner-user-data", text("#x")), ("hetzner-user-data-file", text("/x"))]),
            ),
            (
                "two placement groups",
                self.flags(&[
                    ("hetzner-auto-spread", FlagValue::Bool(true)),
                    ("hetzner-placement-group", text("x")),
                ]),
            ),
            ("less than no time", self.flags(&[("hetzner-wait-on-error", FlagValue::Int(-1))])),
            ("a port above 65535", self.flags(&[("hetzner-ssh-port", FlagValue::Int(70_000))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let word = |flag, value: &str| self.flags(&[(flag, text(value))]);
        vec![
            ("the right token", word("hetzner-api-token", "another-token-0123456789")),
            ("the image", word("hetzner-image", "ubuntu-4.10")),
            (
                "an image of the architecture",
                self.flags(&[("hetzner-image", text("debian-13")), ("hetzner-server-type", text("cax11"))]),
            ),
            ("the server type", word("hetzner-server-type", "cx1")),
            ("the location", word("hetzner-server-location", "moon1")),
            ("the network", self.flags(&[("hetzner-networks", list(&["outside"]))])),
            ("the firewall", self.flags(&[("hetzner-firewalls", list(&["71"]))])),
            ("the volume", self.flags(&[("hetzner-volumes", list(&["none"]))])),
            ("the address", word("hetzner-primary-ipv4", "127.0.0.8")),
            ("the user data", word("hetzner-user-data-file", "/no/such/file")),
            ("the key", word("hetzner-existing-key-path", "/no/such/key")),
        ]
    }

    fn resources(&self) -> usize {
        self.0.provider().made()
    }

    fn inject(&self, fault: Fault) -> bool {
        let makes = |request: &Request| request.method == "POST";
        match fault {
            Fault::LostReply => self.0.trouble(1, Trouble::LostReply, makes),
            Fault::Unavailable => {
                self.0.trouble(1, Trouble::Answer(refuse(503, "unavailable", "maintenance")), makes);
            }
            Fault::Throttled => {
                let later = refuse(429, "rate_limit_exceeded", "limit").header("retry-after", "0");
                self.0.trouble(1, Trouble::Answer(later), |_| true);
            }
            Fault::WrongCredentials => self.0.provider().locked_out = true,
            Fault::Quota => self.0.provider().quota = 0,
            Fault::HostGone => {
                self.0.provider().things.remove("servers");
            }
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        self.0.heal();
        let mut project = self.0.provider();
        project.locked_out = false;
        project.quota = 1000;
    }
}

#[test]
fn hetzner_conforms() {
    let cloud = Cloud::new();
    conforms("hetzner", &cloud);
    cloud.as_described();
}

/// Every flag that is more than an address is seen in what is asked for.
#[test]
fn flags_get_to_hetzner() {
    let cloud = Cloud::new();
    let server = |more: &[(&str, FlagValue)]| {
        let bench = Bench::new();
        let made = cloud.make(&bench, more).unwrap();
        let sent = cloud.sent("/v1/servers");
        cloud.remove(&bench, &made);
        (sent, made)
    };
    let (plain, made) = server(&[]);
    assert_eq!(
        (&plain["name"], &plain["image"], &plain["server_type"]),
        (&json!("conformance"), &json!("ubuntu-24.04"), &json!("cx23"))
    );
    assert_eq!(
        plain["labels"],
        json!({ "docker-machine-store": STORE_ID, "docker-machine-name": "conformance" })
    );
    assert!(plain["user_data"].as_str().unwrap().starts_with("#cloud-config"));
    assert_eq!(plain["ssh_keys"].as_array().unwrap().len(), 1);
    assert!(plain.get("location").is_none() && plain.get("public_net").is_none());
    assert_eq!(Hetzner::new().known(&made).unwrap().url, "tcp://127.0.0.1:2376");
    let on = FlagValue::Bool(true);
    for (given, pointer, want) in [
        (vec![("hetzner-image", text("debian-13"))], "/image", json!("debian-13")),
        (vec![("hetzner-image-id", text("170"))], "/image", json!("170")),
        (vec![("hetzner-server-type", text("cax11"))], "/server_type", json!("cax11")),
        (vec![("hetzner-server-location", text("nbg1"))], "/location", json!("nbg1")),
        (vec![("hetzner-networks", list(&["inside"]))], "/networks", json!([50])),
        (vec![("hetzner-volumes", list(&["60"]))], "/volumes", json!([60])),
        (vec![("hetzner-firewalls", list(&["office"]))], "/firewalls", json!([{ "firewall": 70 }])),
        (vec![("hetzner-server-label", list(&["a=b=c"]))], "/labels/a", json!("b=c")),
        (vec![("hetzner-primary-ipv4", text("127.0.0.9"))], "/public_net/ipv4", json!(80)),
        (
            vec![("hetzner-disable-public-ipv6", on.clone())],
            "/public_net",
            json!({ "enable_ipv4": true, "enable_ipv6": false }),
        ),
        (vec![("hetzner-disable-public-4", on.clone())], "/public_net/enable_ipv4", json!(false)),
    ] {
        let (sent, _) = server(&given);
        assert_eq!(sent.pointer(pointer), Some(&want), "{given:?}");
    }
    let (_, made) = server(&[("hetzner-disable-public-ipv4", on.clone())]);
    assert_eq!(made.str("IPAddress"), "2001:db8:4:2::1");
    let (_, made) = server(&[("hetzner-disable-public", on.clone()), ("hetzner-networks", list(&["50"]))]);
    assert_eq!(made.str("IPAddress"), "10.0.0.2");
    let (sent, _) = server(&[("hetzner-additional-key", list(&["ssh-ed25519 AAAA other"]))]);
    assert_eq!(sent["ssh_keys"].as_array().unwrap().len(), 2);
    let (sent, _) = server(&[("hetzner-auto-spread", on)]);
    assert!(sent["placement_group"].as_i64().is_some());
}

#[test]
fn a_lost_answer_makes_nothing_twice() {
    let cloud = Cloud::new();
    let given = [("hetzner-placement-group", text("web"))];
    for path in ["/v1/ssh_keys", "/v1/placement_groups", "/v1/firewalls", "/v1/servers"] {
        let bench = Bench::new();
        let driver = Hetzner::new();
        let networks = ["198.51.100.0/24".to_owned()];
        let mut cx = bench.cx();
        cx.allow_from = &networks;
        cloud.0.trouble(1, Trouble::LostReply, posts(path));
        let wish = bench.wish(&driver, &cloud.flags(&given));
        let made = block_on(driver.create(&cx, wish, &mut Journal::new(Cut::Never))).unwrap();
        assert_eq!(cloud.0.provider().made(), 4, "{path}");
        cloud.0.provider().in_use = 1;
        cloud.remove(&bench, &made);
    }
    cloud.as_described();
}

#[test]
fn a_key_that_was_there_before_stays() {
    let cloud = Cloud::new();
    let bench = Bench::new();
    let theirs = json!({ "id": 9, "name": "mine", "labels": {}, "public_key": AUTHORIZED_KEY, "created": "", "fingerprint": "" });
    cloud.0.provider().things.entry("ssh_keys").or_default().insert(9, theirs);
    let made = cloud.make(&bench, &[]).unwrap();
    assert_eq!((&made.0["KeyID"], &made.0["IsExistingKey"]), (&json!(9), &json!(true)));
    block_on(Hetzner::new().remove(&bench.cx(), &made)).unwrap();
    assert_eq!(cloud.0.provider().made(), 1);
}

#[test]
fn who_may_connect_is_narrowed() {
    let cloud = Cloud::new();
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let made = cloud.make(&bench, &[]).unwrap();
    let narrowed = |networks: &[&str], state: &DriverState| {
        let networks: Vec<String> = networks.iter().map(|net| (*net).to_owned()).collect();
        block_on(driver.allow_from(&bench.cx(), state, &networks)).unwrap()
    };
    let made = narrowed(&["203.0.113.7/32"], &made);
    let firewall = cloud.sent("/v1/firewalls");
    assert_eq!(firewall["rules"][0]["source_ips"], json!(["203.0.113.7/32"]));
    assert_eq!(
        (&firewall["rules"][0]["port"], &firewall["rules"][1]["port"]),
        (&json!("22"), &json!("2376"))
    );
    assert_eq!(firewall["apply_to"][0]["server"]["id"], made.0["ServerID"]);
    let made = narrowed(&["2001:db8::/32"], &made);
    let id = made.0["FirewallID"].as_i64().unwrap();
    assert_eq!(
        cloud.0.provider().things["firewalls"][&id]["rules"][1]["source_ips"],
        json!(["2001:db8::/32"])
    );
    cloud.remove(&bench, &made);
    let others = cloud.make(&bench, &[("hetzner-firewalls", list(&["office"]))]).unwrap();
    let refused = block_on(driver.allow_from(&bench.cx(), &others, &["10.0.0.0/8".to_owned()]));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    cloud.remove(&bench, &others);
    cloud.as_described();
}

/// One list for all machines of a project, page by page; none for those that have no server yet.
#[test]
fn many_machines_are_one_question() {
    let cloud = Cloud::new();
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let made = cloud.make(&bench, &[]).unwrap();
    let model = cloud.0.provider().all("servers")[0].clone();
    for id in 1000..1119 {
        let mut server = model.clone();
        server["id"] = id.into();
        server["name"] = format!("m{id}").into();
        server["status"] = if id % 2 == 0 { "running" } else { "off" }.into();
        cloud.0.provider().things.get_mut("servers").unwrap().insert(id, server);
    }
    let mut states: Vec<DriverState> = (1000..1120)
        .map(|id| {
            let mut state = made.clone();
            state.0.insert("ServerID".into(), id.into());
            state
        })
        .collect();
    states[5].0.insert("ServerID".into(), 0.into());
    cloud.0.take_exchanges();
    let hosts: Vec<_> = states.iter().map(|state| (bench.cx(), state)).collect();
    let answers = block_on(driver.observe_many(&hosts));
    assert_eq!(cloud.0.take_exchanges().len(), 3, "120 servers are three pages");
    assert_eq!(answers[0].as_ref().unwrap().state, State::Running);
    assert_eq!(answers[1].as_ref().unwrap().state, State::Stopped);
    for gone in [5, 119] {
        assert_eq!(answers[gone].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    }
}

#[test]
fn what_has_no_record_is_found() {
    let cloud = Cloud::new();
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let made = cloud.make(&bench, &[("hetzner-placement-group", text("web"))]).unwrap();
    let cx = AccountCx { store_id: STORE_ID, store_path: bench.cx().store_path, report: &Silent };
    let owned = block_on(driver.owned(&cx, &made)).unwrap();
    let kinds: Vec<(&str, &str)> = owned.iter().map(|o| (o.kind.as_str(), o.machine.as_str())).collect();
    assert_eq!(kinds, [("server", "conformance"), ("ssh key", "conformance"), ("placement group", "")]);
    let account = driver.account(&made).unwrap();
    assert!(account.starts_with("127.0.0.1:") && !account.contains(TOKEN), "{account}");
    for one in &owned {
        block_on(driver.remove_owned(&cx, &made, one)).unwrap();
        block_on(driver.remove_owned(&cx, &made, one)).unwrap();
    }
    assert_eq!(cloud.0.provider().made(), 0);
    let other = AccountCx { store_id: "another", ..cx };
    assert_eq!(block_on(driver.owned(&other, &made)).unwrap(), []);
    cloud.as_described();
}

/// A machine of the plugin, as its Go program writes it.
#[test]
fn a_machine_of_the_plugin_is_taken_over() {
    let cloud = Cloud::new();
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let server = cloud.make(&bench, &[]).unwrap().0["ServerID"].clone();
    let mut state: DriverState = serde_json::from_str(include_str!("hetzner/plugin.json")).unwrap();
    state.0.insert("ServerID".into(), server);
    state.0.insert("AccessToken".into(), TOKEN.into());
    state.0.insert("Endpoint".into(), format!("{}/v1", cloud.0.url()).into());
    assert_eq!(driver.known(&state).unwrap().url, "tcp://203.0.113.7:2376");
    let observed = block_on(driver.observe(&bench.cx(), &state)).unwrap();
    assert_eq!(observed.changed.unwrap().str("IPAddress"), "127.0.0.1");
    let state = block_on(driver.power(&bench.cx(), &state, Power::Kill)).unwrap();
    assert_eq!(block_on(driver.observe(&bench.cx(), &state)).unwrap().state, State::Stopped);
    block_on(driver.remove(&bench.cx(), &state)).unwrap();
    assert!(cloud.0.provider().all("servers").is_empty());
}

#[test]
fn refusals_say_what_to_do() {
    let cloud = Cloud::new();
    for (reply, kind, hint) in [
        (refuse(403, "resource_limit_exceeded", "limit"), ErrorKind::Quota, "gc"),
        (refuse(412, "resource_unavailable", "full"), ErrorKind::Quota, "--hetzner-server-location"),
        (refuse(403, "token_readonly", "no"), ErrorKind::Credentials, "write"),
        (refuse(422, "invalid_input", "bad"), ErrorKind::Config, ""),
        (Reply::text(502, "text/html", "<html>bad\ngateway</html>"), ErrorKind::Unavailable, "status page"),
    ] {
        let bench = Bench::new();
        cloud.0.trouble(1, Trouble::Answer(reply), posts("/v1/servers"));
        let error = cloud.make(&bench, &[]).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{error}: {:?}", error.hint());
        assert!(!error.to_string().contains('\n'), "{error}");
        cloud.0.provider().things.remove("ssh_keys");
    }
    // What is locked by an action is asked again.
    let bench = Bench::new();
    cloud.0.trouble(2, Trouble::Answer(refuse(423, "locked", "locked")), posts("/v1/servers"));
    let made = cloud.make(&bench, &[]).unwrap();
    cloud.remove(&bench, &made);
}

/// The plugin, by its source: image, type, existing keys, key, server, its action and state until they are done, server;
/// twelve and more. How often something is looked at while it is waited for is not counted.
#[test]
fn a_create_asks_for_little() {
    let cloud = Cloud::new();
    cloud.0.provider().slow = 0;
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let wish = bench.wish(&driver, &cloud.flags(&[]));
    block_on(driver.precreate(&bench.cx(), &wish)).unwrap();
    block_on(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never))).unwrap();
    let asked: Vec<String> = cloud
        .0
        .take_exchanges()
        .iter()
        .map(|exchange| format!("{} {}", exchange.request.method, exchange.request.path))
        .collect();
    assert_eq!(asked.len(), 6, "{asked:?}");
}

/// Our judge of requests and answers is not the only one.
#[test]
fn prism_finds_nothing_wrong() {
    let cloud = Cloud::new();
    // The description's paths follow that of the server's address.
    let Some(prism) = Prism::before(&format!("{}/v1", cloud.0.url()), "hetzner.openapi.json") else { return };
    let (bench, driver) = (Bench::new(), Hetzner::new());
    let endpoint = ("hetzner-endpoint", text(prism.url()));
    let wish = bench.wish(&driver, &cloud.flags(&[endpoint]));
    block_on(driver.precreate(&bench.cx(), &wish)).unwrap();
    let state = block_on(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never))).unwrap();
    assert_eq!(block_on(driver.observe(&bench.cx(), &state)).unwrap().state, State::Running);
    block_on(driver.power(&bench.cx(), &state, Power::Stop)).unwrap();
    block_on(driver.power(&bench.cx(), &state, Power::Start)).unwrap();
    cloud.remove(&bench, &state);
    assert!(cloud.0.take_exchanges().len() >= 10, "what was asked went through Prism");
}
