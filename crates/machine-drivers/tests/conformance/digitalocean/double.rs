//! A double of DigitalOcean: droplets, actions, keys, firewalls, tags, with its quotas, its words for what it refuses, and
//! its slowness: actions take some looks, and new droplets may not be found at first. It stands in for
//! `api.digitalocean.com`; each exchange with it can be held against DigitalOcean's own description.
//!
//! What it does not know of the real one: how its lists lag behind, prices, and what happens inside droplets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Value, json};

/// A token that is believed.
pub const TOKEN: &str = "dop_v1_0123456789abcdef";
/// A key of the user's in the account.
pub const USERS_KEY: u64 = 512_190;
/// Its fingerprint.
pub const USERS_FINGERPRINT: &str = "3b:16:e4:bf:8b:00:8b:b8:59:8c:a9:d3:f0:19:fa:45";
/// A VPC in nyc3.
pub const VPC: &str = "5a4981aa-9653-4bd1-bef5-d6bff52042e4";
const WHEN: &str = "2026-08-01T12:00:00Z";

/// Something that is being done.
pub struct Action {
    id: u64,
    kind: String,
    droplet: u64,
    looks: usize,
    done: bool,
}

impl Action {
    /// Ends it.
    pub fn end(&mut self) {
        self.done = true;
    }
}

/// See [`Account::done`].
pub type Done = Box<dyn FnMut(&str, &Value, &[String]) + Send>;

/// The account, and how it behaves.
pub struct Account {
    /// Droplets, as the API gives them.
    pub droplets: Vec<Value>,
    /// Keys.
    pub keys: Vec<Value>,
    /// Firewalls.
    pub firewalls: Vec<Value>,
    /// Names of tags.
    pub tags: Vec<String>,
    /// Actions, oldest first.
    pub actions: Vec<Action>,
    /// How many droplets there may be.
    pub limit: usize,
    /// Whether tokens are refused.
    pub refuses: bool,
    /// How many looks an action takes.
    pub slowness: usize,
    /// Whether a droplet is not found until its action is done.
    pub late: bool,
    /// Whether the systems in droplets do what they are asked.
    pub deaf: bool,
    /// What a new droplet was asked for.
    pub asked: Vec<Value>,
    /// The public address of the next droplets; counted up where none is given.
    pub address: Option<String>,
    /// Is told what is done to a droplet: by which action, what was asked for when it was made, and the public keys that go
    /// into it.
    pub done: Option<Done>,
    next: u64,
}

impl Default for Account {
    fn default() -> Self {
        let key = json!({
            "id": USERS_KEY, "fingerprint": USERS_FINGERPRINT, "public_key": "ssh-rsa AAAA u@h", "name": "mine"
        });
        Self {
            droplets: Vec::new(),
            keys: vec![key],
            firewalls: Vec::new(),
            tags: Vec::new(),
            actions: Vec::new(),
            limit: 10,
            refuses: false,
            slowness: 1,
            late: false,
            deaf: false,
            asked: Vec::new(),
            address: None,
            done: None,
            next: 3_164_000,
        }
    }
}

fn error(status: u16, id: &str, message: &str) -> Reply {
    let body = json!({"id": id, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9"});
    Reply::json(status, &body)
}

fn unprocessable(message: &str) -> Reply {
    error(422, "unprocessable_entity", message)
}

fn missing() -> Reply {
    error(404, "not_found", "The resource you were accessing could not be found.")
}

fn region(slug: &str) -> Value {
    json!({
        "name": slug, "slug": slug, "available": true, "features": ["backups", "ipv6", "metadata"],
        "sizes": if slug == "sfo3" { json!(["s-1vcpu-1gb", "c-2"]) } else { json!(["s-1vcpu-1gb", "s-2vcpu-4gb"]) }
    })
}

fn image(slug: &str) -> Value {
    json!({
        "id": 155_133_621, "name": "24.04 (LTS) x64", "distribution": "Ubuntu", "slug": slug, "public": true,
        "regions": ["nyc3", "fra1"], "created_at": WHEN, "min_disk_size": 7, "size_gigabytes": 0.6, "type": "base",
        "description": "", "tags": [], "status": "available", "error_message": ""
    })
}

fn size(slug: &str) -> Value {
    json!({
        "slug": slug, "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0, "price_monthly": 6.0,
        "price_hourly": 0.00893, "regions": ["nyc3"], "available": true, "description": "Basic"
    })
}

impl Provider for Account {
    fn answer(&mut self, request: &Request) -> Reply {
        let reply = match request.header("authorization") == format!("Bearer {TOKEN}") && !self.refuses {
            true => self.route(request),
            false => error(401, "unauthorized", "Unable to authenticate you"),
        };
        reply.header("ratelimit-limit", "5000").header("ratelimit-remaining", "4816")
    }
}

impl Account {
    fn id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn route(&mut self, request: &Request) -> Reply {
        let body = request.json();
        let segments = request.segments();
        let Some((&"v2", rest)) = segments.split_first() else { return missing() };
        match (request.method.as_str(), rest) {
            ("GET", ["regions"]) => page(request, "regions", &["nyc3", "fra1", "sfo3"].map(region)),
            ("GET", ["images", slug @ ("ubuntu-24-04-x64" | "debian-12-x64" | "155133621")]) => {
                Reply::json(200, &json!({ "image": image(slug) }))
            }
            ("GET", ["vpcs", VPC]) => {
                let vpc = json!({
                    "id": VPC, "name": "net", "region": "nyc3", "ip_range": "10.10.10.0/24", "default": false,
                    "created_at": WHEN, "urn": format!("do:vpc:{VPC}"), "description": ""
                });
                Reply::json(200, &json!({ "vpc": vpc }))
            }
            (_, ["account", "keys", ..]) => self.key(request, &rest[2..], &body),
            (_, ["droplets", ..]) => self.droplet(request, &rest[1..], &body),
            ("GET", ["actions", id]) => self.action(id),
            (_, ["firewalls", ..]) => self.firewall(request, &rest[1..], &body),
            (_, ["tags", ..]) => self.tag(request, &rest[1..], &body),
            _ => missing(),
        }
    }

    fn key(&mut self, request: &Request, rest: &[&str], body: &Value) -> Reply {
        match (request.method.as_str(), rest) {
            ("GET", []) => page(request, "ssh_keys", &self.keys),
            ("POST", []) => self.add_key(body),
            (method, [id]) => {
                let is = |key: &Value| key["id"].to_string() == *id || key["fingerprint"] == *id;
                let Some(at) = self.keys.iter().position(is) else { return missing() };
                if method == "DELETE" {
                    self.keys.remove(at);
                    return Reply::empty(204);
                }
                Reply::json(200, &json!({ "ssh_key": self.keys[at] }))
            }
            _ => missing(),
        }
    }

    fn add_key(&mut self, body: &Value) -> Reply {
        let line = body["public_key"].as_str().unwrap_or_default();
        let Some(blob) = line.split(' ').nth(1) else {
            return unprocessable("Key invalid, key should be of the format `type key [comment]`");
        };
        if self.keys.iter().any(|key| key["public_key"].as_str().is_some_and(|known| known.contains(blob))) {
            return unprocessable("SSH Key is already in use on your account");
        }
        let key = json!({
            "id": self.id(), "fingerprint": fingerprint(blob), "public_key": line, "name": body["name"]
        });
        self.keys.push(key.clone());
        Reply::json(201, &json!({ "ssh_key": key }))
    }

    fn droplet(&mut self, request: &Request, rest: &[&str], body: &Value) -> Reply {
        match (request.method.as_str(), rest) {
            ("POST", []) => self.make(body),
            ("GET", []) => {
                let (tag, name) = (request.query("tag_name"), request.query("name"));
                let all: Vec<Value> = (self.droplets.iter())
                    .filter(|one| self.shows(one))
                    .filter(|one| {
                        tag.is_empty()
                            || one["tags"].as_array().is_some_and(|tags| tags.contains(&json!(tag)))
                    })
                    .filter(|one| name.is_empty() || one["name"] == name.as_str())
                    .cloned()
                    .collect();
                page(request, "droplets", &all)
            }
            (method, [id, rest @ ..]) => {
                let shown = |one: &Value| one["id"].to_string() == *id && self.shows(one);
                let Some(at) = self.droplets.iter().position(shown) else { return missing() };
                match (method, rest) {
                    ("GET", []) => {
                        self.boot(at);
                        Reply::json(200, &json!({ "droplet": self.droplets[at] }))
                    }
                    ("DELETE", []) => {
                        let gone = self.droplets.remove(at);
                        for firewall in &mut self.firewalls {
                            firewall["droplet_ids"].as_array_mut().unwrap().retain(|id| *id != gone["id"]);
                        }
                        Reply::empty(204)
                    }
                    ("POST", ["actions"]) => self.act(at, body),
                    _ => missing(),
                }
            }
            _ => missing(),
        }
    }

    /// Whether a droplet is to be seen yet.
    fn shows(&self, droplet: &Value) -> bool {
        !self.late
            || !self
                .actions
                .iter()
                .any(|one| droplet["id"] == one.droplet && one.kind == "create" && !one.done)
    }

    /// A look at a droplet that is being made lets it come on; it has an address as soon as it boots.
    fn boot(&mut self, at: usize) {
        let id = self.droplets[at]["id"].as_u64().unwrap_or_default();
        if let Some(action) =
            self.actions.iter_mut().find(|one| one.droplet == id && one.kind == "create" && !one.done)
        {
            tick(action);
            let done = action.done;
            self.settle(id, "create", done);
        }
    }

    fn make(&mut self, body: &Value) -> Reply {
        self.asked.push(body.clone());
        if self.droplets.len() >= self.limit {
            return unprocessable("creating this/these droplet(s) will exceed your droplet limit");
        }
        let slug = body["region"].as_str().unwrap_or_default();
        if !["nyc3", "fra1", "sfo3"].contains(&slug) {
            return unprocessable("You specified an invalid region for Droplet creation.");
        }
        if !region(slug)["sizes"].as_array().unwrap().contains(&body["size"]) {
            return unprocessable("You specified an invalid size for Droplet creation.");
        }
        for wanted in body["ssh_keys"].as_array().into_iter().flatten() {
            if !self.keys.iter().any(|key| key["id"] == *wanted || key["fingerprint"] == *wanted) {
                return unprocessable(&format!("{wanted} are invalid key identifiers for Droplet creation."));
            }
        }
        let id = self.id();
        let tags: Vec<String> = body["tags"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        for tag in &tags {
            self.know_tag(tag);
        }
        let droplet = json!({
            "id": id, "name": body["name"], "memory": 1024, "vcpus": 1, "disk": 25, "locked": false, "status": "new",
            "kernel": null, "created_at": WHEN, "features": [], "backup_ids": [], "next_backup_window": null,
            "snapshot_ids": [], "image": image("ubuntu-24-04-x64"), "volume_ids": [], "size": size("s-1vcpu-1gb"),
            "size_slug": body["size"], "networks": {"v4": [], "v6": []}, "region": region(slug), "tags": tags,
            "vpc_uuid": VPC
        });
        self.droplets.push(droplet.clone());
        let action = self.begin("create", id);
        let link = json!({
            "id": action, "rel": "create", "href": format!("https://api.digitalocean.com/v2/actions/{action}")
        });
        Reply::json(202, &json!({"droplet": droplet, "links": {"actions": [link]}}))
    }

    fn begin(&mut self, kind: &str, droplet: u64) -> u64 {
        let id = self.id();
        self.actions.push(Action { id, kind: kind.to_owned(), droplet, looks: self.slowness, done: false });
        id
    }

    fn act(&mut self, at: usize, body: &Value) -> Reply {
        let (id, status) = (self.droplets[at]["id"].as_u64().unwrap(), self.droplets[at]["status"].clone());
        let kind = body["type"].as_str().unwrap_or_default().to_owned();
        if self.actions.iter().any(|one| one.droplet == id && !one.done) {
            return unprocessable("Droplet already has a pending event.");
        }
        match (kind.as_str(), status.as_str().unwrap_or_default()) {
            ("power_on", "active") => return unprocessable("Droplet is already powered on."),
            ("power_off" | "shutdown", "off") => return unprocessable("Droplet is already powered off."),
            ("reboot", "off") => return unprocessable("Droplet is off."),
            ("power_on" | "power_off" | "shutdown" | "reboot", _) => {}
            _ => return unprocessable("unknown action"),
        }
        let action = self.begin(&kind, id);
        let action = self.shown(action);
        Reply::json(201, &json!({ "action": action }))
    }

    fn shown(&self, id: u64) -> Value {
        let action = self.actions.iter().find(|one| one.id == id).unwrap();
        let failed = action.done && self.deaf && action.kind == "shutdown";
        let status = match (action.done, failed) {
            (_, true) => "errored",
            (true, false) => "completed",
            (false, false) => "in-progress",
        };
        json!({
            "id": action.id, "status": status, "type": action.kind, "started_at": WHEN,
            "completed_at": if action.done { json!(WHEN) } else { Value::Null },
            "resource_id": action.droplet, "resource_type": "droplet", "region_slug": "nyc3"
        })
    }

    fn action(&mut self, id: &str) -> Reply {
        let Some(at) = self.actions.iter().position(|one| one.id.to_string() == id) else { return missing() };
        let action = &mut self.actions[at];
        let id = action.id;
        if !action.done {
            tick(action);
            let (kind, droplet, done) = (action.kind.clone(), action.droplet, action.done);
            self.settle(droplet, &kind, done);
        }
        Reply::json(200, &json!({ "action": self.shown(id) }))
    }

    /// What an action does to its droplet.
    fn settle(&mut self, id: u64, kind: &str, done: bool) {
        let (deaf, address) = (self.deaf, self.address.clone());
        let Some(droplet) = self.droplets.iter_mut().find(|one| one["id"] == id) else { return };
        if kind == "create" && droplet["networks"]["v4"] == json!([]) {
            let public = address.unwrap_or_else(|| format!("203.0.113.{}", id % 250 + 1));
            droplet["networks"] = json!({
                "v4": [
                    {"ip_address": format!("10.10.10.{}", id % 250 + 1), "netmask": "255.255.255.0", "gateway": "10.10.10.1", "type": "private"},
                    {"ip_address": public, "netmask": "255.255.255.0", "gateway": "203.0.113.254", "type": "public"}
                ],
                "v6": []
            });
        }
        match kind {
            _ if !done => {}
            "create" | "power_on" | "reboot" => droplet["status"] = json!("active"),
            "shutdown" if deaf => {}
            "power_off" | "shutdown" => droplet["status"] = json!("off"),
            _ => {}
        }
        if done {
            self.tell(kind);
        }
    }

    /// Tells what was done to the droplet that was asked for last.
    fn tell(&mut self, kind: &str) {
        let Some(asked) = self.asked.last() else { return };
        let wanted = asked["ssh_keys"].as_array().cloned().unwrap_or_default();
        let named = |key: &&Value| wanted.contains(&key["id"]) || wanted.contains(&key["fingerprint"]);
        let lines = self.keys.iter().filter(named).filter_map(|key| key["public_key"].as_str());
        let lines: Vec<String> = lines.map(str::to_owned).collect();
        if let Some(tell) = &mut self.done {
            tell(kind, asked, &lines);
        }
    }

    fn firewall(&mut self, request: &Request, rest: &[&str], body: &Value) -> Reply {
        match (request.method.as_str(), rest) {
            ("GET", []) => page(request, "firewalls", &self.firewalls),
            ("POST", []) => {
                if self.firewalls.iter().any(|one| one["name"] == body["name"]) {
                    return error(409, "conflict", "duplicate name");
                }
                if let Some(refusal) = self.refused_tags(body) {
                    return refusal;
                }
                let id = format!("bb4b2611-3d72-467b-8602-{:012}", self.id());
                let mut firewall = json!({
                    "id": id, "status": "waiting", "created_at": WHEN, "pending_changes": [], "droplet_ids": [], "tags": []
                });
                merge(&mut firewall, body);
                self.firewalls.push(firewall.clone());
                Reply::json(202, &json!({ "firewall": firewall }))
            }
            (method, [id]) => {
                let Some(at) = self.firewalls.iter().position(|one| one["id"] == *id) else {
                    return missing();
                };
                match method {
                    "DELETE" => {
                        self.firewalls.remove(at);
                        Reply::empty(204)
                    }
                    "PUT" => {
                        let mut firewall = self.firewalls[at].clone();
                        for key in ["droplet_ids", "tags", "inbound_rules", "outbound_rules"] {
                            firewall[key] = json!([]);
                        }
                        merge(&mut firewall, body);
                        self.firewalls[at] = firewall.clone();
                        Reply::json(200, &json!({ "firewall": firewall }))
                    }
                    _ => Reply::json(200, &json!({ "firewall": self.firewalls[at] })),
                }
            }
            _ => missing(),
        }
    }

    /// Firewalls take only tags that are there.
    fn refused_tags(&self, body: &Value) -> Option<Reply> {
        let wanted = body["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let unknown = wanted.into_iter().find(|tag| !self.tags.iter().any(|known| known == tag))?;
        Some(error(400, "bad_request", &format!("tag {unknown} does not exist")))
    }

    fn know_tag(&mut self, tag: &str) {
        if !self.tags.iter().any(|known| known.eq_ignore_ascii_case(tag)) {
            self.tags.push(tag.to_owned());
        }
    }

    fn tag(&mut self, request: &Request, rest: &[&str], body: &Value) -> Reply {
        let shown = |name: &str| json!({"tag": {"name": name, "resources": {"count": 0}}});
        match (request.method.as_str(), rest) {
            ("POST", []) => {
                let name = body["name"].as_str().unwrap_or_default().to_owned();
                self.know_tag(&name);
                Reply::json(201, &shown(&name))
            }
            ("GET", [name]) if self.tags.iter().any(|tag| tag == name) => Reply::json(200, &shown(name)),
            ("DELETE", [name]) => {
                let Some(at) = self.tags.iter().position(|tag| tag == name) else { return missing() };
                self.tags.remove(at);
                for droplet in &mut self.droplets {
                    droplet["tags"].as_array_mut().unwrap().retain(|tag| tag != name);
                }
                Reply::empty(204)
            }
            _ => missing(),
        }
    }
}

fn tick(action: &mut Action) {
    action.looks = action.looks.saturating_sub(1);
    action.done = action.looks == 0;
}

fn merge(into: &mut Value, from: &Value) {
    for (key, value) in from.as_object().into_iter().flatten() {
        into[key] = value.clone();
    }
}

/// One page of a list.
fn page(request: &Request, name: &str, all: &[Value]) -> Reply {
    let number = |key: &str, usual: usize| request.query(key).parse().unwrap_or(usual);
    let (per_page, page) = (number("per_page", 20).min(200), number("page", 1).max(1));
    let items: Vec<&Value> = all.iter().skip(per_page * (page - 1)).take(per_page).collect();
    let more = all.len() > per_page * page;
    let links = match more {
        true => {
            json!({"pages": {"next": format!("https://api.digitalocean.com{}?page={}", request.path, page + 1)}})
        }
        false => json!({}),
    };
    Reply::json(200, &json!({name: items, "links": links, "meta": {"total": all.len()}}))
}

/// The MD5 fingerprint of a key, of its part in base64.
fn fingerprint(blob: &str) -> String {
    let bytes = STANDARD.decode(blob).unwrap_or_default();
    let pairs: Vec<String> = md5::compute(bytes).0.iter().map(|byte| format!("{byte:02x}")).collect();
    pairs.join(":")
}
