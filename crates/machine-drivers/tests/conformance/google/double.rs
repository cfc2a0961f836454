//! A double of Compute Engine's API (v1), of Google's token endpoints, and of a metadata server: one program, one port.
//!
//! It keeps instances, disks, firewall rules and operations; requests with an id that it knows give the operation that it
//! began then; a new instance is not seen at once; operations take their time unless they are waited for; `fields`,
//! `filter` and pages do what they do at Google.

use std::collections::{BTreeMap, BTreeSet};

use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Map, Value, json};

/// The project that there is.
pub const PROJECT: &str = "acme-dev-4711";
/// Zones that there are.
const ZONES: [&str; 4] = ["us-central1-a", "us-central1-b", "us-central1-f", "europe-west1-b"];
/// Machine types that there are, and their architecture.
const TYPES: [(&str, &str); 8] = [
    ("g2-standard-4", "X86_64"),
    ("c4-standard-96-lssd-metal", "X86_64"),
    ("e2-medium", "X86_64"),
    ("n1-standard-1", "X86_64"),
    ("n2-standard-2", "X86_64"),
    ("n4-standard-2", "X86_64"),
    ("t2a-standard-1", "ARM64"),
    ("c4a-standard-1", "ARM64"),
];
/// After how many requests an operation is done that nobody waits for.
const PATIENCE: usize = 12;

/// What goes wrong with credentials.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Auth {
    /// Nothing.
    #[default]
    Good,
    /// The token endpoint refuses.
    NoToken,
    /// The API refuses all tokens.
    NoEntry,
}

/// What goes wrong with new instances.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// Nothing.
    #[default]
    Plenty,
    /// The request is refused with this reason.
    Refused(u16, &'static str, &'static str),
    /// It is taken, and the operation ends with this code.
    Fails(&'static str, &'static str),
}

/// An instance.
#[derive(Clone, Debug)]
pub struct Vm {
    /// As the API shows it.
    pub body: Value,
    /// How often it is not seen yet.
    hidden: usize,
    /// The statuses that it goes through, one a look.
    next: Vec<&'static str>,
}

/// What becomes of an operation.
#[derive(Clone, Debug)]
enum Effect {
    Nothing,
    Appear(Key),
    Fail(Key, &'static str, &'static str),
    Vanish(Key),
    Status(Key, &'static str),
    DropDisk(Key),
    DropRule(String),
}

#[derive(Clone, Debug)]
struct Job {
    body: Value,
    left: usize,
    effect: Effect,
}

/// Hears what happens to which instance.
type Happens = Box<dyn Fn(&str, &Value) + Send>;

/// Zone and name.
type Key = (String, String);

/// The double.
#[derive(Default)]
pub struct Gcp {
    /// Instances.
    pub vms: BTreeMap<Key, Vm>,
    /// Disks.
    pub disks: BTreeMap<Key, Value>,
    /// Firewall rules.
    pub rules: BTreeMap<String, Value>,
    /// Reserved addresses of us-central1.
    pub addresses: BTreeMap<String, Value>,
    jobs: BTreeMap<String, Job>,
    requests: BTreeMap<String, String>,
    tokens: BTreeSet<String>,
    number: u64,
    /// Whether credentials are taken.
    pub auth: Auth,
    /// Whether there is room.
    pub room: Room,
    /// How long a page is at most; 0 for as long as is asked for.
    pub page: usize,
    /// How often `wait` comes back before the operation is done.
    pub slow_waits: usize,
    /// How often a new instance is not seen.
    pub shy: usize,
    /// The address of all instances; else each start gives another one.
    pub fixed_address: Option<String>,
    /// Hears what happens to instances: `create`, `start`, `stop`, `delete`.
    pub happens: Option<Happens>,
    /// Zones in which there is no room.
    pub full_zones: Vec<&'static str>,
    /// What the token endpoint says of how long a token lives, seconds.
    pub lives: Option<u64>,
    /// What the token endpoint was given, and by which kind of grant.
    pub grants: Vec<BTreeMap<String, String>>,
}

impl Gcp {
    /// One whose new instances are not seen at once.
    pub fn shy() -> Self {
        Self { shy: 1, ..Self::default() }
    }

    /// Everything that somebody may pay for or must clean up.
    pub fn held(&self) -> usize {
        self.vms.len() + self.disks.len() + self.rules.len()
    }

    /// An instance by its name.
    pub fn vm(&self, name: &str) -> &Value {
        let found = self.vms.iter().find(|((_, of), _)| of == name);
        found.map_or(&Value::Null, |(_, vm)| &vm.body)
    }

    /// Puts an instance there that somebody else made.
    pub fn put_vm(&mut self, zone: &str, mut body: Value) {
        self.number += 1;
        let name = body["name"].as_str().expect("a name").to_owned();
        body["id"] = json!(self.number.to_string());
        body["zone"] = json!(link(&format!("zones/{zone}")));
        self.vms.insert((zone.to_owned(), name), Vm { body, hidden: 0, next: Vec::new() });
    }

    /// Takes all tokens back.
    pub fn expire_tokens(&mut self) {
        self.tokens.clear();
    }

    /// Everything that is under way comes to its end.
    pub fn settle(&mut self) {
        let names: Vec<String> = self.jobs.keys().cloned().collect();
        for name in names {
            self.finish(&name);
        }
    }

    fn grant(&mut self, form: BTreeMap<String, String>) -> Reply {
        self.grants.push(form);
        if self.auth == Auth::NoToken {
            return Reply::json(
                400,
                &json!({ "error": "invalid_grant", "error_description": "Invalid JWT Signature." }),
            );
        }
        self.number += 1;
        let token = format!("ya29.double-{}", self.number);
        self.tokens.insert(token.clone());
        Reply::json(
            200,
            &json!({ "access_token": token, "expires_in": self.lives.unwrap_or(3599), "token_type": "Bearer" }),
        )
    }

    fn identity(&mut self, request: &Request) -> Option<Reply> {
        let path = request.path.as_str();
        if path.starts_with("/computeMetadata/") {
            if request.header("metadata-flavor") != "Google" {
                return Some(refused(403, "forbidden", "Missing Metadata-Flavor:Google header."));
            }
            return Some(self.grant(BTreeMap::from([("grant_type".to_owned(), "metadata".to_owned())])));
        }
        if path == "/subject" {
            let known = request.header("x-identity") == "please";
            return Some(if known {
                Reply::json(200, &json!({ "value": "subject" }))
            } else {
                Reply::empty(403)
            });
        }
        if path.ends_with(":generateAccessToken") {
            if !self.is_known(request) {
                return Some(unauthorised());
            }
            self.number += 1;
            let token = format!("ya29.acting-{}", self.number);
            self.tokens.insert(token.clone());
            return Some(Reply::json(
                200,
                &json!({ "accessToken": token, "expireTime": "2099-01-01T00:00:00Z" }),
            ));
        }
        (path == "/token" || path == "/sts").then(|| self.grant(request.form()))
    }

    fn is_known(&self, request: &Request) -> bool {
        let token = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        self.tokens.contains(token)
    }

    fn tick(&mut self) {
        let mut done = Vec::new();
        for (name, job) in &mut self.jobs {
            if job.body["status"] != "DONE" {
                job.left = job.left.saturating_sub(1);
                if job.left == 0 {
                    done.push(name.clone());
                }
            }
        }
        for name in done {
            self.finish(&name);
        }
    }

    /// Begins something; a request that is known gives what it began.
    fn begin(&mut self, request: &Request, place: &str, target: &str, id: u64, effect: Effect) -> Reply {
        self.number += 1;
        let name = format!("operation-{}", self.number);
        let client = request.query("requestId");
        let mut body = json!({
            "kind": "compute#operation", "name": name, "id": self.number.to_string(), "status": "PENDING",
            "operationType": "some", "targetLink": link(target), "targetId": id.to_string(), "progress": 0,
            "selfLink": link(&format!("{place}/operations/{name}")),
        });
        match place.split_once('/') {
            Some(("zones", _)) => body["zone"] = json!(link(place)),
            Some(("regions", _)) => body["region"] = json!(link(place)),
            _ => {}
        }
        if !client.is_empty() {
            body["clientOperationId"] = json!(client);
            self.requests.insert(client, name.clone());
        }
        self.jobs.insert(name, Job { body: body.clone(), left: PATIENCE, effect });
        Reply::json(200, &body)
    }

    fn finish(&mut self, name: &str) {
        let Some(job) = self.jobs.get_mut(name).filter(|job| job.body["status"] != "DONE") else { return };
        job.body["status"] = json!("DONE");
        job.body["progress"] = json!(100);
        let effect = std::mem::replace(&mut job.effect, Effect::Nothing);
        self.tell(&effect);
        let Some(job) = self.jobs.get_mut(name) else { return };
        match effect {
            Effect::Nothing => {}
            Effect::Appear(key) => {
                if let Some(vm) = self.vms.get_mut(&key) {
                    vm.hidden = 0;
                }
            }
            Effect::Fail(key, code, message) => {
                job.body["error"] = json!({ "errors": [{ "code": code, "message": message }] });
                job.body["httpErrorStatusCode"] = json!(403);
                job.body["httpErrorMessage"] = json!("FORBIDDEN");
                self.vms.remove(&key);
                self.disks.retain(|_, disk| disk["users"][0] != json!(vm_link(&key)));
            }
            Effect::Vanish(key) => {
                if let Some(vm) = self.vms.remove(&key) {
                    let attached = vm.body["disks"].as_array().cloned().unwrap_or_default();
                    for disk in attached {
                        let name = disk["source"].as_str().unwrap_or_default().rsplit('/').next();
                        let of = (key.0.clone(), name.unwrap_or_default().to_owned());
                        if disk["autoDelete"] == true {
                            self.disks.remove(&of);
                        } else if let Some(left) = self.disks.get_mut(&of) {
                            left["users"] = json!([]);
                        }
                    }
                }
            }
            Effect::Status(key, status) => self.set_status(&key, status),
            Effect::DropDisk(key) => drop(self.disks.remove(&key)),
            Effect::DropRule(rule) => drop(self.rules.remove(&rule)),
        }
    }

    fn tell(&self, effect: &Effect) {
        let (what, key) = match effect {
            Effect::Appear(key) => ("create", key),
            Effect::Vanish(key) => ("delete", key),
            Effect::Status(key, "RUNNING") => ("start", key),
            Effect::Status(key, _) => ("stop", key),
            _ => return,
        };
        if let (Some(happens), Some(vm)) = (&self.happens, self.vms.get(key)) {
            happens(what, &vm.body);
        }
    }

    fn set_status(&mut self, key: &Key, status: &str) {
        let address = (status == "RUNNING").then(|| self.address());
        let Some(vm) = self.vms.get_mut(key) else { return };
        vm.next.clear();
        vm.body["status"] = json!(status);
        let interface = &mut vm.body["networkInterfaces"][0];
        let Some(access) = interface.get_mut("accessConfigs").and_then(|all| all.get_mut(0)) else { return };
        match (status, address) {
            ("RUNNING", Some(address)) if access["natIP"].is_null() => access["natIP"] = json!(address),
            ("TERMINATED", _) => drop(access.as_object_mut().and_then(|access| access.remove("natIP"))),
            _ => {}
        }
    }

    fn address(&mut self) -> String {
        self.number += 1;
        self.fixed_address.clone().unwrap_or_else(|| format!("203.0.113.{}", self.number % 250 + 1))
    }

    /// Waits for, shows and lists operations.
    fn operations(&mut self, request: &Request, place: &str, rest: &[&str]) -> Reply {
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let all = self.jobs.values().map(|job| job.body.clone());
                let here = all.filter(|body| body["selfLink"].as_str().unwrap().contains(place)).collect();
                self.listed(request, here)
            }
            ("GET", [name]) => {
                self.jobs.get(*name).map_or_else(|| missing(request), |job| Reply::json(200, &job.body))
            }
            ("POST", [name, "wait"]) => {
                if self.slow_waits > 0 {
                    self.slow_waits -= 1;
                    if let Some(job) = self.jobs.get_mut(*name) {
                        job.body["status"] = json!("RUNNING");
                    }
                } else {
                    self.finish(name);
                }
                self.jobs.get(*name).map_or_else(|| missing(request), |job| Reply::json(200, &job.body))
            }
            _ => missing(request),
        }
    }

    /// A page of what the filter lets through.
    fn listed(&self, request: &Request, all: Vec<Value>) -> Reply {
        let filter = request.query("filter");
        let fit: Vec<Value> = all.into_iter().filter(|item| fits(&filter, item)).collect();
        let (page, next) = self.page(request, fit);
        let mut body = json!({ "kind": "compute#list", "id": "x", "items": page });
        if let Some(next) = next {
            body["nextPageToken"] = json!(next);
        }
        masked(request, body)
    }

    fn page(&self, request: &Request, all: Vec<Value>) -> (Vec<Value>, Option<String>) {
        let most = request.query("maxResults").parse().unwrap_or(500);
        let most = if self.page > 0 { self.page.min(most) } else { most };
        let from: usize = request.query("pageToken").parse().unwrap_or(0);
        let next = (from + most < all.len()).then(|| (from + most).to_string());
        (all.into_iter().skip(from).take(most).collect(), next)
    }

    fn aggregated(&mut self, request: &Request, kind: &str) -> Reply {
        let all: Vec<Value> = match kind {
            "instances" => self.seen_vms(None),
            _ => self.disks.values().cloned().collect(),
        };
        let filter = request.query("filter");
        let fit: Vec<Value> = all.into_iter().filter(|item| fits(&filter, item)).collect();
        let (page, next) = self.page(request, fit);
        let mut scopes = Map::new();
        for zone in ZONES {
            let here: Vec<&Value> =
                page.iter().filter(|item| item["zone"] == json!(link(&format!("zones/{zone}")))).collect();
            let scope = if here.is_empty() {
                json!({ "warning": { "code": "NO_RESULTS_ON_PAGE", "message": "There are no results for scope." } })
            } else {
                json!({ kind: here })
            };
            scopes.insert(format!("zones/{zone}"), scope);
        }
        let mut body = json!({ "kind": "compute#aggregatedList", "id": "x", "items": scopes });
        if let Some(next) = next {
            body["nextPageToken"] = json!(next);
        }
        masked(request, body)
    }

    fn seen_vms(&mut self, zone: Option<&str>) -> Vec<Value> {
        let mut seen = Vec::new();
        for ((of, _), vm) in &mut self.vms {
            if zone.is_some_and(|zone| zone != of) {
                continue;
            }
            if let Some(body) = look(vm) {
                seen.push(body);
            }
        }
        seen
    }

    fn zonal(&mut self, request: &Request, zone: &str, rest: &[&str]) -> Reply {
        if !ZONES.contains(&zone) {
            let text = format!("Invalid value for field 'zone': '{zone}'. Unknown zone.");
            return refused(400, "invalid", &text);
        }
        match (request.method.as_str(), rest) {
            (_, ["operations", rest @ ..]) => self.operations(request, &format!("zones/{zone}"), rest),
            ("GET", ["machineTypes", name]) => match TYPES.iter().find(|(known, _)| known == name) {
                Some((name, arch)) => masked(request, json!({ "name": name, "architecture": arch })),
                None => missing(request),
            },
            ("POST", ["instances"]) => self.insert(request, zone),
            ("GET", ["instances"]) => {
                let all = self.seen_vms(Some(zone));
                self.listed(request, all)
            }
            (_, ["instances", name, rest @ ..]) => self.one(request, &(zone.into(), (*name).into()), rest),
            ("GET", ["disks", name]) => match self.disks.get(&(zone.into(), (*name).into())) {
                Some(disk) => masked(request, disk.clone()),
                None => missing(request),
            },
            ("DELETE", ["disks", name]) => {
                let key = (zone.to_owned(), (*name).to_owned());
                match self.disks.get(&key) {
                    None => missing(request),
                    Some(disk) if disk["users"][0].is_string() => refused(
                        400,
                        "resourceInUseByAnotherResource",
                        "The disk resource is already being used.",
                    ),
                    Some(_) => {
                        let target = format!("zones/{zone}/disks/{name}");
                        self.begin(request, &format!("zones/{zone}"), &target, 1, Effect::DropDisk(key))
                    }
                }
            }
            _ => missing(request),
        }
    }

    fn one(&mut self, request: &Request, key: &Key, rest: &[&str]) -> Reply {
        let place = format!("zones/{}", key.0);
        let target = format!("{place}/instances/{}", key.1);
        let Some(vm) = self.vms.get_mut(key) else { return missing(request) };
        let id = vm.body["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0);
        match (request.method.as_str(), rest) {
            ("GET", []) => match look(vm) {
                Some(body) => masked(request, body),
                None => missing(request),
            },
            ("DELETE", []) => {
                vm.body["status"] = json!("STOPPING");
                vm.next.clear();
                self.begin(request, &place, &target, id, Effect::Vanish(key.clone()))
            }
            ("POST", ["stop"]) => {
                vm.next.clear();
                // Who is off, or on the way there, has nothing to do.
                let on =
                    !["TERMINATED", "STOPPING"].contains(&vm.body["status"].as_str().unwrap_or_default());
                if on {
                    vm.body["status"] = json!("STOPPING");
                }
                let effect = if on { Effect::Status(key.clone(), "TERMINATED") } else { Effect::Nothing };
                self.begin(request, &place, &target, id, effect)
            }
            ("POST", ["start"]) => {
                if vm.body["status"] == "STOPPING" {
                    return refused(400, "resourceNotReady", "The resource is not ready");
                }
                if self.full_zones.contains(&key.0.as_str()) {
                    let fails = "ZONE_RESOURCE_POOL_EXHAUSTED";
                    return self.failing(
                        request,
                        &place,
                        &target,
                        fails,
                        "The zone does not have enough resources.",
                    );
                }
                let off = vm.body["status"] == "TERMINATED";
                let effect = if off { Effect::Status(key.clone(), "RUNNING") } else { Effect::Nothing };
                self.begin(request, &place, &target, id, effect)
            }
            ("POST", [what @ ("setTags" | "setMetadata")]) => {
                let field = if *what == "setTags" { "tags" } else { "metadata" };
                let body = request.json();
                if body["fingerprint"] != vm.body[field]["fingerprint"] {
                    return refused(412, "conditionNotMet", "Supplied fingerprint does not match current.");
                }
                vm.body[field]["items"] = body["items"].clone();
                vm.body[field]["fingerprint"] =
                    json!(format!("{}'", body["fingerprint"].as_str().unwrap_or("")));
                self.begin(request, &place, &target, id, Effect::Nothing)
            }
            _ => missing(request),
        }
    }

    /// An operation on something that stays, which ends badly.
    fn failing(
        &mut self,
        request: &Request,
        place: &str,
        target: &str,
        code: &'static str,
        why: &'static str,
    ) -> Reply {
        let nothing = (String::new(), String::new());
        self.begin(request, place, target, 1, Effect::Fail(nothing, code, why))
    }

    fn known_request(&self, request: &Request) -> Option<Reply> {
        let name = self.requests.get(&request.query("requestId"))?;
        Some(Reply::json(200, &self.jobs[name].body))
    }

    fn insert(&mut self, request: &Request, zone: &str) -> Reply {
        if let Some(known) = self.known_request(request) {
            return known;
        }
        let mut body = request.json();
        let name = body["name"].as_str().unwrap_or_default().to_owned();
        let machine_type = body["machineType"].as_str().unwrap_or_default().to_owned();
        body["machineType"] = json!(link_of(&machine_type));
        self.make(request, zone, &name, body, &format!("zones/{zone}"))
    }

    fn bulk(&mut self, request: &Request, region: &str) -> Reply {
        if let Some(known) = self.known_request(request) {
            return known;
        }
        let wish = request.json();
        let Some(name) = wish["perInstanceProperties"].as_object().and_then(|all| all.keys().next()) else {
            return refused(400, "required", "Required field 'perInstanceProperties' not specified");
        };
        let denied =
            |zone: &str| wish["locationPolicy"]["locations"][format!("zones/{zone}")]["preference"] == "DENY";
        let zone = ZONES
            .iter()
            .find(|zone| zone.starts_with(region) && !denied(zone) && !self.full_zones.contains(zone));
        let Some(zone) = zone else {
            let target = format!("regions/{region}");
            return self.failing(
                request,
                &target,
                &target,
                "ZONE_RESOURCE_POOL_EXHAUSTED",
                "The region does not have enough resources available to fulfill the request.",
            );
        };
        let mut body = wish["instanceProperties"].clone();
        let ranked =
            wish["instanceFlexibilityPolicy"]["instanceSelections"]["rank-0"]["machineTypes"][0].as_str();
        let machine_type = ranked.or(body["machineType"].as_str()).unwrap_or_default().to_owned();
        body["machineType"] = json!(link(&format!("zones/{zone}/machineTypes/{machine_type}")));
        let (name, zone) = (name.clone(), (*zone).to_owned());
        self.make(request, &zone, &name, body, &format!("regions/{region}"))
    }

    fn make(&mut self, request: &Request, zone: &str, name: &str, mut body: Value, place: &str) -> Reply {
        let key = (zone.to_owned(), name.to_owned());
        if self.vms.contains_key(&key) {
            let text =
                format!("The resource 'projects/{PROJECT}/zones/{zone}/instances/{name}' already exists");
            return refused(409, "alreadyExists", &text);
        }
        if let Room::Refused(status, code, why) = self.room {
            return refused(status, code, why);
        }
        let address = self.address();
        self.number += 1;
        let id = self.number;
        let disk = self.attach(&key, &mut body);
        let target = format!("zones/{zone}/instances/{name}");
        if self.disks.contains_key(&disk.0) {
            let why = "The resource of the disk's name already exists";
            return self.failing(request, place, &target, "RESOURCE_ALREADY_EXISTS", why);
        }
        self.disks.insert(disk.0, disk.1);
        body["id"] = json!(id.to_string());
        body["name"] = json!(name);
        body["zone"] = json!(link(&format!("zones/{zone}")));
        body["status"] = json!("PROVISIONING");
        body["tags"]["fingerprint"] = json!("dGFncw==");
        body["metadata"]["fingerprint"] = json!("bWV0YQ==");
        let interface = &mut body["networkInterfaces"][0];
        interface["networkIP"] = json!(format!("10.128.0.{}", id % 250 + 1));
        if interface["network"].is_null() {
            interface["network"] = json!(link("global/networks/shared-net"));
        } else {
            interface["network"] = json!(link_of(interface["network"].as_str().unwrap_or_default()));
        }
        if let Some(access) = interface.get_mut("accessConfigs").and_then(|all| all.get_mut(0))
            && access["natIP"].is_null()
        {
            access["natIP"] = json!(address);
        }
        let vm = Vm { body, hidden: self.shy, next: vec!["RUNNING"] };
        self.vms.insert(key.clone(), vm);
        let effect = match self.room {
            Room::Fails(code, why) => Effect::Fail(key, code, why),
            _ => Effect::Appear(key),
        };
        self.begin(request, place, &target, id, effect)
    }

    /// The boot disk, as its own and as the instance has it.
    fn attach(&mut self, key: &Key, body: &mut Value) -> (Key, Value) {
        let boot = &mut body["disks"][0];
        let make = boot.as_object_mut().and_then(|boot| boot.remove("initializeParams")).unwrap_or_default();
        let name = make["diskName"].as_str().unwrap_or(&key.1).to_owned();
        boot["source"] = json!(link(&format!("zones/{}/disks/{name}", key.0)));
        let disk = json!({
            "name": name, "zone": link(&format!("zones/{}", key.0)), "labels": make["labels"],
            "sizeGb": make["diskSizeGb"], "users": [vm_link(key)], "type": make["diskType"],
            "sourceImage": make["sourceImage"],
        });
        ((key.0.clone(), name), disk)
    }

    fn firewalls(&mut self, request: &Request, rest: &[&str]) -> Reply {
        match (request.method.as_str(), rest) {
            ("GET", []) => {
                let all = self.rules.values().cloned().collect();
                self.listed(request, all)
            }
            ("POST", []) => {
                if let Some(known) = self.known_request(request) {
                    return known;
                }
                let mut rule = request.json();
                let name = rule["name"].as_str().unwrap_or_default().to_owned();
                if self.rules.contains_key(&name) {
                    return refused(409, "alreadyExists", "The resource already exists");
                }
                rule["network"] = json!(link_of(rule["network"].as_str().unwrap_or_default()));
                self.rules.insert(name.clone(), rule);
                self.begin(request, "global", &format!("global/firewalls/{name}"), 1, Effect::Nothing)
            }
            ("GET", [name]) => match self.rules.get(*name) {
                Some(rule) => masked(request, rule.clone()),
                None => missing(request),
            },
            ("PATCH", [name]) => {
                let Some(rule) = self.rules.get_mut(*name) else { return missing(request) };
                for (key, value) in request.json().as_object().into_iter().flatten() {
                    rule[key] = value.clone();
                }
                self.begin(request, "global", &format!("global/firewalls/{name}"), 1, Effect::Nothing)
            }
            ("DELETE", [name]) => {
                if !self.rules.contains_key(*name) {
                    return missing(request);
                }
                let effect = Effect::DropRule((*name).to_owned());
                self.begin(request, "global", &format!("global/firewalls/{name}"), 1, effect)
            }
            _ => missing(request),
        }
    }

    fn regional(&mut self, request: &Request, region: &str, rest: &[&str]) -> Reply {
        match (request.method.as_str(), rest) {
            (_, ["operations", rest @ ..]) => self.operations(request, &format!("regions/{region}"), rest),
            ("POST", ["instances", "bulkInsert"]) => self.bulk(request, region),
            ("GET", ["addresses", name]) => match self.addresses.get(*name) {
                Some(address) => masked(request, address.clone()),
                None => missing(request),
            },
            ("GET", ["subnetworks", "shared-runners"]) => masked(
                request,
                json!({ "name": "shared-runners", "network": link("global/networks/shared-net") }),
            ),
            _ => missing(request),
        }
    }
}

/// What is seen of an instance now; each look moves it on.
fn look(vm: &mut Vm) -> Option<Value> {
    if vm.hidden > 0 {
        vm.hidden -= 1;
        return None;
    }
    let body = vm.body.clone();
    if let Some(next) = vm.next.pop() {
        vm.body["status"] = json!(next);
    }
    Some(body)
}

fn link(path: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/{path}")
}

/// The address of a path that begins with `projects/`.
fn link_of(path: &str) -> String {
    format!("https://www.googleapis.com/compute/v1/{path}")
}

fn vm_link(key: &Key) -> String {
    link(&format!("zones/{}/instances/{}", key.0, key.1))
}

fn refused(status: u16, reason: &str, message: &str) -> Reply {
    let error = json!({
        "code": status, "message": message,
        "errors": [{ "message": message, "domain": "global", "reason": reason }],
    });
    Reply::json(status, &json!({ "error": error }))
}

fn unauthorised() -> Reply {
    let message = "Request had invalid authentication credentials. Expected OAuth 2 access token.";
    let error = json!({
        "code": 401, "message": message, "status": "UNAUTHENTICATED",
        "errors": [{ "message": "Invalid Credentials", "domain": "global", "reason": "authError" }],
    });
    Reply::json(401, &json!({ "error": error }))
}

fn missing(request: &Request) -> Reply {
    let path = request.path.trim_start_matches("/compute/v1/");
    refused(404, "notFound", &format!("The resource '{path}' was not found"))
}

/// Whether something passes `KEY = "VALUE" AND …`.
fn fits(filter: &str, item: &Value) -> bool {
    filter.split(" AND ").filter(|part| !part.is_empty()).all(|part| {
        let (key, value) = part.split_once(" = ").expect("a filter of this form");
        let found = key.split('.').fold(item, |item, word| &item[word]);
        found.as_str() == Some(value.trim_matches('"'))
    })
}

/// The answer with what `fields` asks for, and nothing else.
fn masked(request: &Request, body: Value) -> Reply {
    let fields = request.query("fields");
    let body = if fields.is_empty() { body } else { mask(&body, &fields) };
    Reply::json(200, &body)
}

/// A partial answer: `a,b(c,d),e/f,items/*/g` (Google, "Working with partial resources").
pub fn mask(value: &Value, fields: &str) -> Value {
    match value {
        Value::Array(all) => Value::Array(all.iter().map(|one| mask(one, fields)).collect()),
        Value::Object(map) => {
            let mut kept = Map::new();
            for field in split(fields) {
                let (name, inside) = match field.find(['(', '/']) {
                    None => (field, ""),
                    Some(at) if field[at..].starts_with('(') => {
                        (&field[..at], &field[at + 1..field.len() - 1])
                    }
                    Some(at) => (&field[..at], &field[at + 1..]),
                };
                for (key, value) in map.iter().filter(|(key, _)| name == "*" || *key == name) {
                    let value = if inside.is_empty() { value.clone() } else { mask(value, inside) };
                    let empty = value.as_object().is_some_and(Map::is_empty) && !inside.is_empty();
                    if !empty {
                        kept.insert(key.clone(), value);
                    }
                }
            }
            Value::Object(kept)
        }
        other => other.clone(),
    }
}

/// Splits at commas that stand in no parentheses.
fn split(fields: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0, 0);
    for (at, c) in fields.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&fields[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&fields[from..]);
    parts
}

impl Provider for Gcp {
    fn answer(&mut self, request: &Request) -> Reply {
        if let Some(reply) = self.identity(request) {
            return reply;
        }
        if self.auth == Auth::NoEntry || !self.is_known(request) {
            return unauthorised();
        }
        self.tick();
        let segments = request.segments();
        let ["compute", "v1", "projects", project, rest @ ..] = segments.as_slice() else {
            return missing(request);
        };
        match rest {
            ["global", "images", "family", family] if *project == "ubuntu-os-cloud" => image(request, family),
            ["global", "images", name] if *project == "ubuntu-os-cloud" => image(request, name),
            _ if *project != PROJECT => {
                refused(404, "notFound", &format!("The resource 'projects/{project}' was not found"))
            }
            ["aggregated", kind] => self.aggregated(request, kind),
            ["zones", zone, rest @ ..] => self.zonal(request, zone, rest),
            ["regions", region, rest @ ..] => self.regional(request, region, rest),
            ["global", "operations", rest @ ..] => self.operations(request, "global", rest),
            ["global", "firewalls", rest @ ..] => self.firewalls(request, rest),
            _ => missing(request),
        }
    }
}

fn image(request: &Request, name: &str) -> Reply {
    let arch = if name.contains("arm64") { "ARM64" } else { "X86_64" };
    let mut image = json!({ "name": name, "architecture": arch, "diskSizeGb": "10", "status": "READY" });
    match name {
        "ubuntu-minimal-2204-lts" | "ubuntu-2404-lts-arm64" | "ubuntu-2404-noble-v20260101" => {}
        "ubuntu-1604-xenial-v20170721" => {
            image["deprecated"] = json!({ "state": "OBSOLETE" });
        }
        "ubuntu-2004-focal-v20250101" => {
            image["deprecated"] = json!({ "state": "DEPRECATED" });
        }
        "ubuntu-large" => image["diskSizeGb"] = json!("50"),
        _ => return missing(request),
    }
    masked(request, image)
}
