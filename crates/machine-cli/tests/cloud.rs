//! Machines at a provider by whole command lines: several at once and Ctrl-C, what `gc` finds, what `--debug` shows. A small
//! double of DigitalOcean's API stands in for the provider; its droplets have this computer's address, where nobody answers.
//! How the driver itself behaves is tested beside it.

mod common;

use std::net::TcpListener;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use common::{Place, text};
use machine_testkit::double::{Double, Provider, Reply, Request};
use serde_json::{Value, json};

const TOKEN: &str = "dop_v1_0123456789abcdef";
/// No create gets so far as to take long.
const LIMIT: Duration = Duration::from_secs(60);

/// What the account has.
#[derive(Default)]
struct Ocean {
    last_id: u64,
    droplets: Vec<Value>,
    keys: Vec<Value>,
}

impl Ocean {
    fn names(&self, of: &[Value]) -> Vec<String> {
        let mut names: Vec<String> =
            of.iter().map(|thing| thing["name"].as_str().unwrap().to_owned()).collect();
        names.sort();
        names
    }

    fn add(&mut self, kind: &str, mut thing: Value) -> Value {
        self.last_id += 1;
        thing["id"] = self.last_id.into();
        let list = if kind == "droplet" { &mut self.droplets } else { &mut self.keys };
        list.push(thing.clone());
        thing
    }

    fn droplet(&mut self, wish: &Value) -> Reply {
        let address = json!({ "v4": [{ "ip_address": "127.0.0.1", "type": "public" }] });
        let droplet =
            json!({ "name": wish["name"], "tags": wish["tags"], "status": "active", "networks": address });
        let droplet = self.add("droplet", droplet);
        Reply::json(202, &json!({ "droplet": droplet, "links": { "actions": [] } }))
    }
}

impl Provider for Ocean {
    fn answer(&mut self, request: &Request) -> Reply {
        if request.header("authorization") != format!("Bearer {TOKEN}") {
            return Reply::json(
                401,
                &json!({ "id": "Unauthorized", "message": "Unable to authenticate you" }),
            );
        }
        let list = |name: &str, items: Vec<Value>| Reply::json(200, &json!({ name: items, "links": {} }));
        let id = |text: &str| text.parse::<u64>().unwrap_or_default();
        match (request.method.as_str(), request.segments().as_slice()) {
            ("GET", ["v2", "regions"]) => {
                let sizes = json!(["s-1vcpu-1gb"]);
                list("regions", vec![json!({ "slug": "nyc3", "available": true, "sizes": sizes })])
            }
            ("POST", ["v2", "account", "keys"]) => {
                let wish = request.json();
                let key =
                    json!({ "name": wish["name"], "public_key": wish["public_key"], "fingerprint": "" });
                Reply::json(201, &json!({ "ssh_key": self.add("key", key) }))
            }
            ("GET", ["v2", "account", "keys"]) => list("ssh_keys", self.keys.clone()),
            ("DELETE", ["v2", "account", "keys", key]) => {
                self.keys.retain(|known| known["id"] != id(key));
                Reply::empty(204)
            }
            ("POST", ["v2", "droplets"]) => self.droplet(&request.json()),
            ("GET", ["v2", "droplets"]) => {
                let tag = request.query("tag_name");
                let has = |droplet: &&Value| {
                    tag.is_empty() || droplet["tags"].as_array().unwrap().contains(&tag.clone().into())
                };
                list("droplets", self.droplets.iter().filter(has).cloned().collect())
            }
            ("GET", ["v2", "droplets", droplet]) => {
                match self.droplets.iter().find(|known| known["id"] == id(droplet)) {
                    Some(droplet) => Reply::json(200, &json!({ "droplet": droplet })),
                    None => Reply::json(404, &json!({ "id": "not_found", "message": "no such droplet" })),
                }
            }
            ("DELETE", ["v2", "droplets", droplet]) => {
                self.droplets.retain(|known| known["id"] != id(droplet));
                Reply::empty(204)
            }
            ("GET", ["v2", "firewalls"]) => list("firewalls", Vec::new()),
            ("POST", ["v2", "tags"]) => Reply::json(201, &json!({ "tag": {} })),
            ("DELETE", ["v2", "tags", _]) => Reply::empty(204),
            _ => Reply::json(404, &json!({ "id": "not_found", "message": "no such thing" })),
        }
    }
}

struct Cloud {
    place: Place,
    ocean: Double<Ocean>,
    /// Nobody listens there.
    closed: String,
}

impl Cloud {
    /// `None`, with the reason printed, where this program is built without the driver.
    fn new() -> Option<Self> {
        let place = Place::new();
        if !place.run(&["create", "-d", "digitalocean", "--help"]).status.success() {
            eprintln!("skipped: there is no driver digitalocean in this build");
            return None;
        }
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        Some(Self { place, ocean: Double::start(Ocean::default()), closed })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = self.place.command(args);
        command.env("DIGITALOCEAN_ACCESS_TOKEN", TOKEN).env("DIGITALOCEAN_ENDPOINT", self.ocean.url());
        command.env("DIGITALOCEAN_SSH_PORT", &self.closed);
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        let run = self.command(args).output().unwrap();
        for said in [text(&run.stdout), text(&run.stderr)] {
            assert!(!said.contains(TOKEN), "{args:?}: {said}");
        }
        run
    }

    fn json(&self, args: &[&str]) -> Value {
        let run = self.run(args);
        assert!(run.status.success(), "{args:?}: {}", text(&run.stderr));
        serde_json::from_slice(&run.stdout).unwrap()
    }

    /// Creates machines until their droplets are there, and then presses Ctrl-C.
    fn interrupted(&self, names: &[&str]) -> Output {
        let args = [&["--debug", "create", "-d", "digitalocean"], names].concat();
        let mut child = self.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let begin = Instant::now();
        while self.ocean.provider().droplets.len() < names.len() || !self.all_recorded(names) {
            assert!(begin.elapsed() < LIMIT, "no droplets");
            assert!(child.try_wait().unwrap().is_none(), "it ended: {:?}", child.wait_with_output());
            std::thread::sleep(Duration::from_millis(20));
        }
        let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Whether the records know their droplets.
    fn all_recorded(&self, names: &[&str]) -> bool {
        names.iter().all(|name| {
            let file = self.place.store().join("machines").join(name).join("config.json");
            let record: Value = std::fs::read(file)
                .ok()
                .and_then(|text| serde_json::from_slice(&text).ok())
                .unwrap_or_default();
            record["Driver"]["DropletID"].as_u64().is_some_and(|id| id != 0)
        })
    }

    fn droplets(&self) -> Vec<String> {
        let ocean = self.ocean.provider();
        ocean.names(&ocean.droplets)
    }

    fn forget(&self, machine: &str) {
        std::fs::remove_dir_all(self.place.store().join("machines").join(machine)).unwrap();
    }
}

#[test]
fn ctrl_c_names_what_is_left_of_several_machines_and_debug_shows_requests() {
    let Some(cloud) = Cloud::new() else { return };
    let run = cloud.interrupted(&["a", "b", "c"]);
    let said = text(&run.stderr);
    assert_eq!(run.status.code(), Some(130), "{said}");
    let left = "Hint: What was made of a, b, c is kept: `";
    assert!(said.contains(left) && said.contains(" rm a b c` removes it."), "{said}");
    let out = text(&run.stdout);
    for name in ["a", "b", "c"] {
        assert!(out.contains(&format!("({name}) Creating machine...\n")), "{out}");
        let made = said
            .lines()
            .filter(|line| line.starts_with(&format!("({name}) POST 127.0.0.1/v2/droplets: 202, ")));
        assert_eq!(made.count(), 1, "{said}");
    }
    assert!(!said.contains(TOKEN) && !out.contains(TOKEN));
    let authorities = std::fs::read_dir(cloud.place.store().join("certs")).unwrap().count();
    assert_eq!(authorities, 4, "one CA and one client certificate");

    let run = cloud.run(&["--debug", "ls"]);
    let said = text(&run.stderr);
    let lists = said.lines().filter(|line| line.starts_with("(lifecycle) GET 127.0.0.1/v2/droplets: 200, "));
    assert_eq!(lists.count(), 1, "{said}");
    assert!(!said.contains(TOKEN), "{said}");

    let run = cloud.run(&["--debug", "rm", "-y", "a", "b", "c"]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert!(cloud.droplets().is_empty() && cloud.ocean.provider().keys.is_empty());
    assert_eq!(cloud.place.answer(&["ls", "-q"]), "");
}

#[test]
fn gc_finds_what_has_no_record_and_records_without_a_host() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.interrupted(&["lost", "kept"]);
    cloud.forget("lost");
    // Somebody else's.
    cloud.ocean.provider().add("droplet", json!({ "name": "theirs", "tags": [], "status": "active" }));

    let run = cloud.run(&["--debug", "gc", "-d", "digitalocean"]);
    let (out, said) = (text(&run.stdout), text(&run.stderr));
    assert!(run.status.success(), "{said}");
    let rows: Vec<Vec<&str>> = out
        .lines()
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(rows[0], ["KIND", "ID", "MACHINE", "DRIVER", "ACCOUNT", "ABOUT"]);
    assert_eq!((rows.len(), rows[1][2], rows[2][2]), (3, "lost", "lost"), "{out}");
    assert!(said.contains("2 resources without a machine") && said.contains("--yes"), "{said}");
    assert!(said.contains("GET 127.0.0.1/v2/droplets: 200, "), "{said}");
    assert_eq!(cloud.droplets(), ["kept", "lost", "theirs"], "nothing is removed without --yes");

    // The account is known from the record of the other machine, too.
    let answer = cloud.json(&["gc", "--yes", "--json"]);
    let ends: Vec<&str> =
        answer["Resources"].as_array().unwrap().iter().map(|row| row["Outcome"].as_str().unwrap()).collect();
    assert_eq!(ends, ["removed", "removed"], "{answer}");
    assert_eq!(cloud.droplets(), ["kept", "theirs"]);
    assert_eq!(cloud.ocean.provider().keys.len(), 1);

    cloud.ocean.provider().droplets.retain(|droplet| droplet["name"] != "kept");
    let answer = cloud.json(&["gc", "--json"]);
    assert_eq!(answer["Records"][0]["Machine"], "kept", "{answer}");
    assert!(answer["Records"][0]["Incomplete"].as_str().unwrap().contains("creat"), "{answer}");
    assert_eq!(cloud.place.answer(&["ls", "-q"]), "kept\n");
    let run = cloud.run(&["gc", "--yes"]);
    assert!(run.status.success() && text(&run.stdout).contains("removed"), "{}", text(&run.stderr));
    assert_eq!(cloud.place.answer(&["ls", "-q"]), "");
    assert!(cloud.ocean.provider().keys.is_empty());
    assert_eq!(cloud.droplets(), ["theirs"]);
}

#[test]
fn an_account_that_does_not_let_us_in_is_a_failure_of_its_own() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.interrupted(&["kept"]);
    let mut command = cloud.command(&["gc", "-d", "digitalocean", "--json"]);
    let run = command.env("DIGITALOCEAN_ACCESS_TOKEN", "dop_v1_expired").output().unwrap();
    assert_eq!(run.status.code(), Some(1));
    let said = text(&run.stderr);
    assert!(said.contains("401") && !said.contains("dop_v1_expired"), "{said}");
    let answer: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(answer["Accounts"].as_array().unwrap().len(), 2, "{answer}");
    cloud.run(&["rm", "-y", "kept"]);
    assert!(cloud.droplets().is_empty());
}
