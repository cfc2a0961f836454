//! Hetzner Cloud's API as a double: what the driver calls, with state. Shapes and codes: Hetzner's description of its API.

use std::collections::BTreeMap;

use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Map, Value, json};

/// The token that it takes.
pub const TOKEN: &str = "hetzner-token-of-the-double-0123456789";
const TIME: &str = "2026-01-30T23:55:00+00:00";

/// What is done for real with a server: the action, and what the server was asked to be.
pub type Done = Box<dyn Fn(&str, &Value) + Send>;

/// A project.
pub struct Project {
    /// Everything in it, by the word in the path, by number.
    pub things: BTreeMap<&'static str, BTreeMap<i64, Value>>,
    /// The address of the next servers.
    pub address: String,
    /// How often an action is still running when it is looked at.
    pub slow: usize,
    /// How many servers there may be.
    pub quota: usize,
    /// How often a firewall is still in use when it is to be removed.
    pub in_use: usize,
    /// Whether nobody is let in.
    pub locked_out: bool,
    /// Actions of which the next fails.
    pub fails: Vec<&'static str>,
    /// Called when an action has ended well: `create_server`, `start_server`, `stop_server`, `shutdown_server`,
    /// `reboot_server`.
    pub done: Option<Done>,
    /// What servers were asked to be, by number.
    asked: BTreeMap<i64, Value>,
    actions: BTreeMap<i64, (Value, usize)>,
    last: i64,
}

impl Default for Project {
    fn default() -> Self {
        let mut project = Self {
            things: BTreeMap::new(),
            address: "127.0.0.1".to_owned(),
            slow: 1,
            quota: 1000,
            in_use: 0,
            locked_out: false,
            fails: Vec::new(),
            done: None,
            asked: BTreeMap::new(),
            actions: BTreeMap::new(),
            last: 100,
        };
        for (id, name) in [(1, "fsn1"), (2, "nbg1"), (3, "hel1"), (4, "ash")] {
            project.put("locations", id, place(id, name));
        }
        for (id, name, arch) in [(22, "cx23", "x86"), (45, "cax11", "arm")] {
            project.put("server_types", id, server_type(id, name, arch));
        }
        for (id, arch) in [(161, "x86"), (162, "arm")] {
            project.put("images", id, image(id, "ubuntu-24.04", arch));
        }
        project.put("images", 170, image(170, "debian-13", "x86"));
        project.put("networks", 50, network(50, "inside"));
        project.put("volumes", 60, volume(60, "data"));
        project.put(
            "firewalls",
            70,
            json!({
                "id": 70, "name": "office", "labels": {}, "created": TIME, "rules": [], "applied_to": [],
            }),
        );
        project.put("primary_ips", 80, primary_ip(80, "front", "127.0.0.9"));
        project
    }
}

impl Project {
    fn put(&mut self, kind: &'static str, id: i64, thing: Value) {
        self.things.entry(kind).or_default().insert(id, thing);
    }

    /// Those of a kind.
    pub fn all(&self, kind: &str) -> Vec<&Value> {
        self.things.get(kind).into_iter().flat_map(BTreeMap::values).collect()
    }

    /// How much there is that was not there at the beginning.
    pub fn made(&self) -> usize {
        let count = |kind: &str| self.all(kind).len();
        count("servers") + count("ssh_keys") + count("firewalls") - 1 + count("placement_groups")
    }

    fn next(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    /// Begins an action on something.
    fn action(&mut self, command: &str, kind: &str, id: i64) -> Value {
        let number = self.next();
        let action = json!({
            "id": number, "command": command, "status": "running", "progress": 0, "started": TIME,
            "finished": null, "error": null, "resources": [{ "id": id, "type": kind }],
        });
        self.actions.insert(number, (action.clone(), self.slow));
        action
    }

    /// What has become of an action when it is looked at.
    fn look(&mut self, id: i64) -> Option<Value> {
        let (action, left) = self.actions.get_mut(&id)?;
        if *left > 0 {
            *left -= 1;
            return Some(action.clone());
        }
        if action["status"] != "running" {
            return Some(action.clone());
        }
        if let Some(at) = self.fails.iter().position(|command| action["command"] == *command) {
            self.fails.remove(at);
            action["status"] = "error".into();
            action["finished"] = TIME.into();
            action["error"] = json!({ "code": "action_failed", "message": "Action failed" });
            return Some(action.clone());
        }
        action["status"] = "success".into();
        action["progress"] = 100.into();
        action["finished"] = TIME.into();
        let (action, command) = (action.clone(), action["command"].as_str().unwrap_or_default().to_owned());
        let server = action["resources"][0]["id"].as_i64().unwrap_or_default();
        // A server is started once it is made: that is one thing.
        let first = command == "start_server"
            && self.server(server).is_some_and(|server| server["status"] == "initializing");
        if let (Some(done), Some(asked), false) = (&self.done, self.asked.get(&server), first) {
            done(&command, asked);
        }
        match command.as_str() {
            "start_server" | "reboot_server" => self.set_status(server, "running"),
            "stop_server" | "shutdown_server" => self.set_status(server, "off"),
            "attach_volume" => {
                let asked = self.asked.get(&server).map(|asked| asked["volumes"].clone());
                if let (Some(server), Some(volumes)) = (self.server(server), asked) {
                    server["volumes"] = volumes;
                }
            }
            "attach_to_network" => {
                if let Some(server) = self.server(server) {
                    server["private_net"] = json!([{ "ip": "10.0.0.2", "network": 50, "alias_ips": [], "mac_address": "86:00:ff:2a:7d:e1" }]);
                }
            }
            _ => {}
        }
        Some(action)
    }

    fn server(&mut self, id: i64) -> Option<&mut Value> {
        self.things.get_mut("servers")?.get_mut(&id)
    }

    fn set_status(&mut self, id: i64, status: &str) {
        if let Some(server) = self.server(id) {
            server["status"] = status.into();
        }
    }

    fn taken(&self, kind: &str, name: &Value) -> bool {
        self.all(kind).iter().any(|thing| thing["name"] == *name)
    }

    fn make_server(&mut self, body: &Value) -> Reply {
        if let Some(refusal) = refused_labels(body) {
            return refusal;
        }
        if self.taken("servers", &body["name"]) {
            return refuse(409, "uniqueness_error", "server name is already used");
        }
        if self.all("servers").len() >= self.quota {
            return refuse(403, "resource_limit_exceeded", "server limit exceeded");
        }
        let find = |project: &Self, kind: &str, given: &Value| {
            project.all(kind).into_iter().find(|thing| thing["name"] == *given).cloned()
        };
        let Some(kind) = find(self, "server_types", &body["server_type"]) else {
            return refuse(422, "invalid_input", "invalid input in field 'server_type'");
        };
        let id = self.next();
        let public = body.get("public_net").cloned().unwrap_or_else(|| json!({}));
        let on = |key: &str| public[key].as_bool().unwrap_or(true);
        let four = json!({ "id": 1, "ip": self.address, "blocked": false, "dns_ptr": "x.example" });
        let six = json!({ "id": 2, "ip": "2001:db8:4:2::/64", "blocked": false, "dns_ptr": [] });
        let server = json!({
            "id": id, "name": body["name"], "status": "initializing", "created": TIME, "labels": body["labels"],
            "public_net": {
                "ipv4": if on("enable_ipv4") { four } else { Value::Null },
                "ipv6": if on("enable_ipv6") { six } else { Value::Null },
                "floating_ips": [], "firewalls": [],
            },
            "private_net": [], "server_type": kind, "location": place(1, "fsn1"),
            "datacenter": {
                "id": 4, "name": "fsn1-dc14", "description": "Falkenstein", "location": place(1, "fsn1"),
                "server_types": { "available": [22], "available_for_migration": [22], "supported": [22] },
            },
            "image": image(161, "ubuntu-24.04", "x86"), "iso": null, "rescue_enabled": false, "locked": false,
            "backup_window": null, "outgoing_traffic": null, "ingoing_traffic": null, "included_traffic": 1,
            "protection": { "delete": false, "rebuild": false }, "volumes": [], "load_balancers": [],
            "primary_disk_size": 40, "placement_group": null,
        });
        self.put("servers", id, server.clone());
        self.asked.insert(id, body.clone());
        if let Some(group) = body["placement_group"].as_i64()
            && let Some(group) = self.things.get_mut("placement_groups").and_then(|all| all.get_mut(&group))
        {
            group["servers"].as_array_mut().unwrap().push(id.into());
            let group = group.clone();
            self.server(id).unwrap()["placement_group"] = group;
        }
        let action = self.action("create_server", "server", id);
        let mut next = vec![self.action("start_server", "server", id)];
        if body["networks"].as_array().is_some_and(|networks| !networks.is_empty()) {
            next.push(self.action("attach_to_network", "server", id));
        }
        if body["volumes"].as_array().is_some_and(|volumes| !volumes.is_empty()) {
            next.push(self.action("attach_volume", "server", id));
        }
        Reply::json(
            201,
            &json!({ "server": server, "action": action, "next_actions": next, "root_password": null }),
        )
    }

    fn make(&mut self, kind: &'static str, word: &str, body: &Value, more: Value) -> Reply {
        if let Some(refusal) = refused_labels(body) {
            return refusal;
        }
        let same_key = self
            .all(kind)
            .iter()
            .any(|thing| body.get("public_key").is_some_and(|key| same(key, &thing["public_key"])));
        if self.taken(kind, &body["name"]) || same_key {
            return refuse(409, "uniqueness_error", "not unique");
        }
        let id = self.next();
        let mut thing: Map<String, Value> = body.as_object().cloned().unwrap_or_default();
        thing.insert("id".into(), id.into());
        thing.insert("created".into(), TIME.into());
        thing.entry("labels").or_insert_with(|| json!({}));
        if kind == "firewalls" {
            thing.insert("rules".into(), rules(&body["rules"]));
        }
        thing.extend(more.as_object().cloned().unwrap_or_default());
        let thing = Value::Object(thing);
        self.put(kind, id, thing.clone());
        let mut answer = json!({ word: thing });
        if kind == "firewalls" {
            answer["actions"] = json!([]);
        }
        if kind == "placement_groups" {
            answer["action"] = Value::Null;
        }
        Reply::json(201, &answer)
    }

    fn list(&self, kind: &str, request: &Request) -> Reply {
        let (name, selector, ip) =
            (request.query("name"), request.query("label_selector"), request.query("ip"));
        let fits = |thing: &&Value| {
            (name.is_empty() || thing["name"] == name.as_str())
                && (ip.is_empty() || thing["ip"] == ip.as_str())
                && selector.split(',').filter(|part| !part.is_empty()).all(|part| {
                    let (key, value) = part.split_once('=').unwrap_or((part, ""));
                    thing["labels"][key] == value
                })
        };
        let found: Vec<&Value> = self.all(kind).into_iter().filter(fits).collect();
        let number = |key: &str, usual| request.query(key).parse::<usize>().unwrap_or(usual);
        let (page, size) = (number("page", 1), number("per_page", 25).min(50));
        let shown: Vec<&Value> = found.iter().skip((page - 1) * size).take(size).copied().collect();
        let last = found.len().div_ceil(size).max(1);
        let next = if page < last { json!(page + 1) } else { Value::Null };
        Reply::json(
            200,
            &json!({
                kind: shown,
                "meta": { "pagination": {
                    "page": page, "per_page": size, "previous_page": null, "next_page": next, "last_page": last,
                    "total_entries": found.len(),
                } },
            }),
        )
    }

    fn delete(&mut self, kind: &str, id: i64) -> Reply {
        if kind == "firewalls" && self.in_use > 0 {
            self.in_use -= 1;
            return refuse(422, "resource_in_use", "firewall is still in use");
        }
        if self.things.get_mut(kind).and_then(|all| all.remove(&id)).is_none() {
            return refuse(404, "not_found", "not found");
        }
        if kind == "servers" {
            for group in self.things.entry("placement_groups").or_default().values_mut() {
                group["servers"].as_array_mut().unwrap().retain(|server| *server != id);
            }
            let action = self.action("delete_server", "server", id);
            return Reply::json(200, &json!({ "action": action }));
        }
        Reply::empty(204)
    }

    fn act(&mut self, kind: &str, id: i64, action: &str, body: &Value) -> Reply {
        let Some(thing) = self.things.get_mut(kind).and_then(|all| all.get_mut(&id)) else {
            return refuse(404, "not_found", "not found");
        };
        if action == "set_rules" {
            thing["rules"] = rules(&body["rules"]);
        }
        if kind == "volumes" && action == "attach" {
            let server = body["server"].as_i64().unwrap_or_default();
            thing["server"] = server.into();
            if let Some(server) = self.server(server) {
                server["volumes"].as_array_mut().unwrap().push(id.into());
            }
        }
        let command = match action {
            "attach" => "attach_volume",
            "poweron" => "start_server",
            "poweroff" => "stop_server",
            "shutdown" => "shutdown_server",
            "reboot" => "reboot_server",
            other => other,
        };
        let started = self.action(command, kind.trim_end_matches('s'), id);
        let answer =
            if kind == "firewalls" { json!({ "actions": [started] }) } else { json!({ "action": started }) };
        Reply::json(201, &answer)
    }
}

impl Provider for Project {
    fn answer(&mut self, request: &Request) -> Reply {
        if self.locked_out || request.header("authorization") != format!("Bearer {TOKEN}") {
            return refuse(401, "unauthorized", "unable to authenticate");
        }
        let path = request.segments();
        let path: Vec<&str> = path.iter().skip_while(|part| **part == "v1").copied().collect();
        let body = request.json();
        let number = |text: &str| text.parse::<i64>().unwrap_or_default();
        match (request.method.as_str(), path.as_slice()) {
            ("GET", ["actions"]) => {
                let wanted = request.query.split('&').filter_map(|pair| pair.strip_prefix("id="));
                let wanted: Vec<i64> = wanted.map(number).collect();
                let found: Vec<Value> = wanted.into_iter().filter_map(|id| self.look(id)).collect();
                Reply::json(200, &json!({ "actions": found }))
            }
            ("GET", ["servers", id, "actions"]) => {
                let resource = json!([{ "id": number(id), "type": "server" }]);
                let status = request.query("status");
                let found: Vec<&Value> = (self.actions.values())
                    .map(|(action, _)| action)
                    .filter(|action| action["resources"] == resource && action["status"] == status.as_str())
                    .collect();
                let pages = json!({ "pagination": {
                    "page": 1, "per_page": 50, "previous_page": null, "next_page": null, "last_page": 1,
                    "total_entries": found.len(),
                } });
                Reply::json(200, &json!({ "actions": found, "meta": pages }))
            }
            ("GET", [kind]) => self.list(kind, request),
            ("GET", [kind, id]) => match self.things.get(*kind).and_then(|all| all.get(&number(id))) {
                Some(thing) => Reply::json(200, &json!({ kind.trim_end_matches('s'): thing })),
                None => refuse(404, "not_found", "not found"),
            },
            ("POST", ["servers"]) => self.make_server(&body),
            ("POST", ["ssh_keys"]) => self.make(
                "ssh_keys",
                "ssh_key",
                &body,
                json!({ "fingerprint": "b7:2f:30:a0:2f:6c:58:6c:21:04:58:61:ba:06:3b:2f" }),
            ),
            ("POST", ["firewalls"]) => self.make("firewalls", "firewall", &body, json!({ "applied_to": [] })),
            ("POST", ["placement_groups"]) => {
                self.make("placement_groups", "placement_group", &body, json!({ "servers": [] }))
            }
            ("POST", [kind, id, "actions", action]) => self.act(kind, number(id), action, &body),
            ("DELETE", [kind, id]) => self.delete(kind, number(id)),
            _ => refuse(404, "not_found", "no such path"),
        }
    }
}

/// Labels whose values are not as Hetzner's description says.
fn refused_labels(body: &Value) -> Option<Reply> {
    let fits = |value: &str| {
        let ends = |c: char| c.is_ascii_alphanumeric();
        value.is_empty()
            || (value.len() <= 63
                && value.starts_with(ends)
                && value.ends_with(ends)
                && value.chars().all(|c| ends(c) || "._-".contains(c)))
    };
    let mut values = body["labels"].as_object().into_iter().flat_map(Map::values).filter_map(Value::as_str);
    values.any(|value| !fits(value)).then(|| refuse(422, "invalid_input", "invalid input in field 'labels'"))
}

/// Rules as they are shown: with the networks of both directions.
fn rules(given: &Value) -> Value {
    let rules = given.as_array().into_iter().flatten().map(|rule| {
        let mut rule = rule.clone();
        rule["destination_ips"] = json!([]);
        rule
    });
    rules.collect()
}

/// Whether two public keys are the same, whatever their comments.
fn same(one: &Value, other: &Value) -> bool {
    let words = |key: &Value| {
        key.as_str().unwrap_or_default().split(' ').take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    words(one) == words(other)
}

/// A refusal as Hetzner words it.
pub fn refuse(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": { "code": code, "message": message, "details": null } }))
        .header("x-correlation-id", "corr-1")
}

fn place(id: i64, name: &str) -> Value {
    json!({
        "id": id, "name": name, "description": name, "country": "DE", "city": name, "latitude": 50.0,
        "longitude": 12.0, "network_zone": "eu-central",
    })
}

fn server_type(id: i64, name: &str, arch: &str) -> Value {
    json!({
        "id": id, "name": name, "description": name, "cores": 2, "memory": 4.0, "disk": 40,
        "deprecated": false, "prices": [], "storage_type": "local", "cpu_type": "shared", "architecture": arch,
        "category": "cost_optimized", "deprecation": null,
        "locations": [
            { "id": 1, "name": "fsn1", "deprecation": null },
            { "id": 2, "name": "nbg1", "deprecation": null },
            {
                "id": 3, "name": "hel1",
                "deprecation": { "announced": "2024-01-30T23:55:00Z", "unavailable_after": "2024-04-30T23:55:00Z" },
            },
        ],
    })
}

fn image(id: i64, name: &str, arch: &str) -> Value {
    let (flavor, version) = name.split_once('-').unwrap_or((name, ""));
    json!({
        "id": id, "name": name, "description": name, "type": "system", "status": "available",
        "image_size": null, "disk_size": 5, "created": TIME, "created_from": null, "bound_to": null,
        "os_flavor": flavor, "os_version": version, "rapid_deploy": true, "protection": { "delete": false },
        "deprecated": null, "labels": {}, "deleted": null, "architecture": arch,
    })
}

fn network(id: i64, name: &str) -> Value {
    json!({
        "id": id, "name": name, "ip_range": "10.0.0.0/16", "subnets": [], "routes": [], "servers": [],
        "protection": { "delete": false }, "labels": {}, "created": TIME, "expose_routes_to_vswitch": false,
        "load_balancers": [],
    })
}

fn volume(id: i64, name: &str) -> Value {
    json!({
        "id": id, "name": name, "size": 10, "status": "available", "created": TIME, "server": null,
        "location": place(1, "fsn1"), "linux_device": "/dev/disk/by-id/scsi-0HC_Volume_60", "format": "ext4",
        "protection": { "delete": false }, "labels": {},
    })
}

fn primary_ip(id: i64, name: &str, ip: &str) -> Value {
    json!({
        "id": id, "name": name, "ip": ip, "type": "ipv4", "assignee_id": null, "assignee_type": "server",
        "auto_delete": false, "blocked": false, "created": TIME, "dns_ptr": [], "labels": {},
        "protection": { "delete": false }, "location": place(1, "fsn1"),
    })
}
