//! A stand-in for an OpenStack cloud: keystone v3, nova, neutron, glance and cinder behind one address. Its answers are
//! written after those of a real one (Zed), which are kept beside it and compared with it; what it has no word for, it
//! refuses as the real one does, or it panics where the driver has no business to ask.

use std::collections::{BTreeMap, BTreeSet};

use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Map, Value, json};

/// The project that everything is in.
pub const PROJECT: &str = "280ba4995acd459b9eee47ae12d3069e";
/// The only user, and what proves that somebody is that one.
pub const USER: &str = "demo";
pub const PASSWORD: &str = "correct horse battery";
pub const APPLICATION: &str = "a99c4f8e8c5e4d6b8d0c3b1f0a7e9d21";
pub const APPLICATION_SECRET: &str = "application secret of demo";
const USER_ID: &str = "32c98af7c506443ea3dbadeaf97f6f91";

/// A server.
#[derive(Clone, Debug, Default)]
pub struct Server {
    pub body: Value,
    pub status: String,
    pub task: Option<&'static str>,
    pub fault: Option<String>,
    pub groups: Vec<String>,
    pub port: String,
    pub address: String,
    pub volumes: Vec<String>,
    /// How many looks there are until what it is about to become.
    pub looks: usize,
    pub becomes: Option<&'static str>,
    pub hidden: usize,
}

impl Server {
    /// Whether nova has not given it its network card yet.
    fn hidden_port(&self) -> bool {
        self.status == "ERROR" || self.becomes == Some("ERROR") || (self.status == "BUILD" && self.looks > 0)
    }
}

/// A floating IP.
#[derive(Clone, Debug, Default)]
pub struct FloatingIp {
    pub address: String,
    pub port: Option<String>,
    pub description: String,
    pub revision: u64,
}

/// The cloud, and how it behaves.
pub struct Cloud {
    /// Where it is reached; set when that is known.
    pub url: String,
    pub passwords: BTreeSet<String>,
    tokens: BTreeSet<String>,
    pub servers: BTreeMap<String, Server>,
    pub keys: BTreeMap<String, String>,
    pub addresses: BTreeMap<String, FloatingIp>,
    pub groups: BTreeMap<String, Value>,
    pub rules: BTreeMap<String, Value>,
    pub volumes: BTreeMap<String, Value>,
    /// How many servers and floating IPs there may be.
    pub max_servers: usize,
    pub max_addresses: usize,
    /// How many looks a server takes to be built, to stop, to be gone.
    pub looks: usize,
    /// For how many looks a new server is not found.
    pub late: usize,
    /// What nova says of every server that it can't build.
    pub fault: Option<String>,
    /// The address of the next server, instead of one of the network's.
    pub next_address: Option<String>,
    pub neutron: bool,
    pub cinder: bool,
    /// How many a page of servers has.
    pub page: usize,
    counter: u64,
}

impl Default for Cloud {
    fn default() -> Self {
        Self {
            url: String::new(),
            passwords: [PASSWORD, APPLICATION_SECRET].map(str::to_owned).into(),
            tokens: BTreeSet::new(),
            servers: BTreeMap::new(),
            keys: BTreeMap::new(),
            addresses: BTreeMap::new(),
            groups: BTreeMap::new(),
            rules: BTreeMap::new(),
            volumes: BTreeMap::new(),
            max_servers: 10,
            max_addresses: 50,
            looks: 0,
            late: 0,
            fault: None,
            next_address: None,
            neutron: true,
            cinder: true,
            page: 1000,
            counter: 0,
        }
    }
}

const FLAVORS: [(&str, &str, u64, u64, u64); 2] =
    [("1", "m1.tiny", 512, 1, 1), ("2", "m1.small", 2048, 20, 1)];
pub const IMAGE: &str = "d378d5af-7be6-4488-b526-f39859a8967b";
const OLD_IMAGE: &str = "5a9c9de2-1d6a-4b0e-9d57-1b0f7f5e1f11";
pub const NETWORK: &str = "06db421e-5231-4ed3-a21a-c95d52449547";
pub const EXTERNAL: &str = "01683321-bc01-4a07-ad91-e42546ef8977";
pub const SERVER_GROUP: &str = "4a1b9c2d-8f3e-4b5a-9c7d-6e5f4a3b2c1d";

/// nova's and cinder's refusal.
fn fault(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({kind: {"code": status, "message": message}}))
}

/// neutron's.
fn neutron_error(status: u16, kind: &str, message: &str) -> Reply {
    Reply::json(status, &json!({"NeutronError": {"type": kind, "message": message, "detail": ""}}))
}

fn unauthorized() -> Reply {
    let message = "The request you have made requires authentication.";
    Reply::json(401, &json!({"error": {"code": 401, "message": message, "title": "Unauthorized"}}))
}

fn conflict(message: &str) -> Reply {
    fault(409, "conflictingRequest", message)
}

fn bad(message: &str) -> Reply {
    fault(400, "badRequest", message)
}

/// The keys of an object that are none of these.
fn stranger<'a>(object: &'a Value, known: &[&str]) -> Option<&'a str> {
    object.as_object()?.keys().map(String::as_str).find(|key| !known.contains(key))
}

/// The values of a key of the query.
fn all<'a>(request: &'a Request, key: &str) -> Vec<&'a str> {
    request
        .query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .filter(|(k, _)| *k == key)
        .map(|(_, v)| v)
        .collect()
}

/// Only the fields that were asked for.
fn fields(request: &Request, mut value: Value) -> Value {
    let wanted: Vec<String> = all(request, "fields").iter().map(|field| field.replace("%3A", ":")).collect();
    if let (Some(map), false) = (value.as_object_mut(), wanted.is_empty()) {
        map.retain(|key, _| wanted.iter().any(|field| field == key));
    }
    value
}

const NOW: &str = "2026-11-26T14:15:38Z";

impl Provider for Cloud {
    fn answer(&mut self, request: &Request) -> Reply {
        let segments = request.segments();
        let (method, path) = (request.method.as_str(), segments.as_slice());
        if let ("POST", ["identity", "v3", "auth", "tokens"]) = (method, path) {
            return self.authenticate(request);
        }
        if !self.tokens.contains(request.header("x-auth-token")) {
            return unauthorized();
        }
        let reply = match path {
            ["compute", "v2.1", rest @ ..] => self.nova(method, rest, request),
            ["network", "v2.0", rest @ ..] if self.neutron => self.neutron(method, rest, request),
            ["image", "v2", rest @ ..] => glance(method, rest, request),
            ["volume", "v3", PROJECT, rest @ ..] if self.cinder => self.cinder(method, rest, request),
            _ => panic!("nothing is at {method} {}", request.path),
        };
        self.counter += 1;
        reply.header("x-openstack-request-id", &format!("req-{}", self.uuid()))
    }
}

impl Cloud {
    fn uuid(&mut self) -> String {
        self.counter += 1;
        format!("{:08x}-0000-4000-8000-{:012x}", self.counter, self.counter)
    }

    /// All that somebody may pay for.
    pub fn resources(&self) -> usize {
        let servers = self.servers.values().filter(|server| server.status != "DELETED").count();
        servers + self.keys.len() + self.addresses.len() + self.groups.len() + self.volumes.len()
    }

    /// All tokens end.
    pub fn forget_tokens(&mut self) {
        self.tokens.clear();
    }

    fn authenticate(&mut self, request: &Request) -> Reply {
        let body = request.json();
        let auth = &body["auth"];
        let method = auth["identity"]["methods"][0].as_str().unwrap_or_default().to_owned();
        let proof = &auth["identity"][&method];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let secret = match method.as_str() {
            "password" => {
                let user = &proof["user"];
                let by_name = user["name"] == USER && !user["domain"].is_null();
                if by_name || user["id"] == USER_ID { text(&user["password"]) } else { String::new() }
            }
            "application_credential" => {
                let named = proof["name"] == "ci" && proof["user"]["name"] == USER;
                if named || proof["id"] == APPLICATION { text(&proof["secret"]) } else { String::new() }
            }
            "token" if self.tokens.contains(proof["id"].as_str().unwrap_or_default()) => PASSWORD.to_owned(),
            _ => String::new(),
        };
        if method == "token" && secret.is_empty() {
            let error =
                json!({"code": 404, "message": "Could not recognize Fernet token", "title": "Not Found"});
            return Reply::json(404, &json!({"error": error}));
        }
        let project = &auth["scope"]["project"];
        let named = project["name"] == "demo" && !project["domain"].is_null();
        let scoped = named || project["id"] == PROJECT || method == "application_credential";
        if !self.passwords.contains(&secret) || !(scoped || project.is_null()) {
            return unauthorized();
        }
        let token = format!("gAAAAAB{}", self.uuid());
        self.tokens.insert(token.clone());
        Reply::json(201, &json!({"token": self.token(&method, scoped)})).header("x-subject-token", &token)
    }

    /// What stands in a token: of a project with its catalog, or of none.
    fn token(&self, method: &str, scoped: bool) -> Value {
        let domain = json!({"id": "default", "name": "Default"});
        let mut token = json!({
            "methods": [method],
            "user": {"domain": domain, "id": USER_ID, "name": USER, "password_expires_at": null},
            "audit_ids": ["L7vG0Z-OQhW5_CZxbCT6PQ"],
            "expires_at": "2036-11-26T15:15:24.000000Z",
            "issued_at": "2026-11-26T14:15:24.000000Z",
        });
        if scoped {
            token["project"] = json!({"domain": domain, "id": PROJECT, "name": "demo"});
            token["is_domain"] = false.into();
            token["roles"] = json!([{"id": "ffd01c82749b47558b16d58345c3a9a3", "name": "member"}]);
            token["catalog"] = self.catalog();
        }
        token
    }

    fn catalog(&self) -> Value {
        let volume = format!("/volume/v3/{PROJECT}");
        let mut services = vec![("image", "glance", "/image"), ("compute", "nova", "/compute/v2.1")];
        services.extend(self.neutron.then_some(("network", "neutron", "/network")));
        services.extend(self.cinder.then_some(("volumev3", "cinderv3", volume.as_str())));
        let entry = |(kind, name, path): (&str, &str, &str)| {
            let endpoint = |interface: &str, region: &str, url: String| {
                json!({"id": "0d5861c0244b4962b3f6077e0ca7942d", "interface": interface, "region_id": region,
                    "region": region, "url": url})
            };
            json!({"id": "040f61f1790049acb214c8ab391b6321", "type": kind, "name": name, "endpoints": [
                endpoint("admin", "RegionOne", format!("http://admin.invalid{path}")),
                endpoint("public", "RegionTwo", format!("http://two.invalid{path}")),
                endpoint("public", "RegionOne", format!("{}{path}", self.url)),
                endpoint("internal", "RegionOne", format!("{}{path}", self.url)),
            ]})
        };
        services.into_iter().map(entry).collect()
    }

    fn nova(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        match (method, path) {
            ("GET", ["flavors", "detail"]) => {
                let all: Vec<Value> = FLAVORS.iter().map(|flavor| self.flavor(flavor)).collect();
                Reply::json(200, &json!({"flavors": all}))
            }
            ("GET", ["flavors", id]) => match FLAVORS.iter().find(|flavor| flavor.0 == *id) {
                Some(flavor) => Reply::json(200, &json!({"flavor": self.flavor(flavor)})),
                None => fault(404, "itemNotFound", &format!("Flavor {id} could not be found.")),
            },
            ("GET", ["os-availability-zone"]) => Reply::json(
                200,
                &json!({"availabilityZoneInfo": [{"zoneName": "nova", "zoneState": {"available": true}, "hosts": null}]}),
            ),
            ("GET", ["os-server-groups"]) => Reply::json(
                200,
                &json!({"server_groups": [{"id": SERVER_GROUP, "name": "apart", "policies": ["anti-affinity"],
                    "members": [], "metadata": {}}]}),
            ),
            (_, ["os-keypairs", ..]) => self.key_pairs(method, &path[1..], request),
            (_, ["os-floating-ips", ..]) => self.nova_addresses(method, &path[1..], request),
            ("POST", ["servers"]) => self.make_server(request),
            ("GET", ["servers", "detail"]) => self.list_servers(request),
            ("GET", ["servers", id]) => self.show_server(id),
            ("DELETE", ["servers", id]) => self.delete_server(id),
            ("POST", ["servers", id, "action"]) => self.action(id, &request.json()),
            ("POST", ["servers", id, "os-volume_attachments"]) => self.attach(id, &request.json()),
            _ => panic!("nova has no {method} {path:?}"),
        }
    }

    fn flavor(&self, (id, name, ram, disk, vcpus): &(&str, &str, u64, u64, u64)) -> Value {
        json!({"id": id, "name": name, "ram": ram, "disk": disk, "swap": "", "OS-FLV-EXT-DATA:ephemeral": 0,
            "OS-FLV-DISABLED:disabled": false, "vcpus": vcpus, "os-flavor-access:is_public": true, "rxtx_factor": 1.0,
            "links": [{"rel": "self", "href": format!("{}/compute/v2.1/flavors/{id}", self.url)}]})
    }

    fn key_pairs(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        let shown = |name: &str, key: &str| json!({"name": name, "public_key": key, "fingerprint": "62:09:f9:51:32:04:d0:6f:5a:5f:ad:51:41:13:2f:6f"});
        let missing =
            |name: &str| fault(404, "itemNotFound", &format!("Keypair {name} not found for user {USER_ID}"));
        match (method, path) {
            ("GET", []) => {
                let all: Vec<Value> =
                    self.keys.iter().map(|(name, key)| json!({"keypair": shown(name, key)})).collect();
                Reply::json(200, &json!({"keypairs": all}))
            }
            ("GET", [name]) => match self.keys.get(*name) {
                Some(key) => {
                    let mut pair = shown(name, key);
                    pair["user_id"] = USER_ID.into();
                    Reply::json(200, &json!({"keypair": pair}))
                }
                None => missing(name),
            },
            ("DELETE", [name]) => match self.keys.remove(*name) {
                Some(_) => Reply::empty(202),
                None => missing(name),
            },
            ("POST", []) => {
                let pair = request.json()["keypair"].clone();
                let (name, key) = (pair["name"].as_str().unwrap_or_default(), pair["public_key"].as_str());
                let fits = |c: char| c.is_ascii_alphanumeric() || "_- ".contains(c);
                if stranger(&pair, &["name", "public_key"]).is_some()
                    || name.is_empty()
                    || !name.chars().all(fits)
                {
                    return bad("Keypair data is invalid: Keypair name contains unsafe characters");
                }
                let Some(key) = key.filter(|key| key.starts_with("ssh-") && !key.contains('\n')) else {
                    return bad("Keypair data is invalid: failed to generate fingerprint");
                };
                if self.keys.contains_key(name) {
                    return conflict(&format!("Key pair '{name}' already exists."));
                }
                self.keys.insert(name.to_owned(), key.to_owned());
                let mut pair = shown(name, key);
                pair["user_id"] = USER_ID.into();
                Reply::json(200, &json!({"keypair": pair}))
            }
            _ => panic!("nova has no {method} of key pairs {path:?}"),
        }
    }

    fn make_server(&mut self, request: &Request) -> Reply {
        let body = request.json();
        let server = &body["server"];
        let known = [
            "name",
            "flavorRef",
            "imageRef",
            "key_name",
            "metadata",
            "user_data",
            "networks",
            "security_groups",
            "availability_zone",
            "config_drive",
            "block_device_mapping_v2",
        ];
        if let Some(key) = stranger(server, &known).or(stranger(&body, &["server", "os:scheduler_hints"])) {
            return bad(&format!("Additional properties are not allowed ('{key}' was unexpected)"));
        }
        if let Some(refused) = self.refuse_server(server) {
            return refused;
        }
        let (id, port) = (self.uuid(), self.uuid());
        let own = format!("10.9.0.{}", 10 + self.servers.len());
        let named: Vec<String> =
            server["security_groups"].as_array().into_iter().flatten().map(|g| text(&g["name"])).collect();
        let volumes: Vec<String> = server["block_device_mapping_v2"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|d| text(&d["uuid"]))
            .collect();
        for volume in &volumes {
            self.use_volume(volume, &id, "/dev/vda");
        }
        let made = Server {
            body: server.clone(),
            status: "BUILD".to_owned(),
            task: Some("scheduling"),
            groups: if named.is_empty() { vec!["default".to_owned()] } else { named.clone() },
            port,
            address: self.next_address.take().unwrap_or(own),
            volumes,
            looks: self.looks,
            becomes: Some(if self.fault.is_some() { "ERROR" } else { "ACTIVE" }),
            hidden: self.late,
            fault: None,
        };
        self.servers.insert(id.clone(), made);
        let groups: Vec<Value> = named.iter().map(|name| json!({"name": name})).collect();
        let here = format!("{}/compute/v2.1/servers/{id}", self.url);
        let mut answer = json!({"id": id, "links": [{"rel": "self", "href": here}], "OS-DCF:diskConfig": "MANUAL",
            "adminPass": "ZyYSmEV54Hor"});
        answer["security_groups"] = groups.into();
        Reply::json(202, &json!({"server": answer})).header("location", &here)
    }

    fn refuse_server(&self, server: &Value) -> Option<Reply> {
        let flavor = text(&server["flavorRef"]);
        let volume = server["block_device_mapping_v2"][0]["uuid"].as_str();
        if self.servers.len() >= self.max_servers {
            let (used, most) = (self.servers.len(), self.max_servers);
            let text = format!(
                "Quota exceeded for instances: Requested 1, but already used {used} of {most} instances"
            );
            return Some(fault(403, "forbidden", &text));
        }
        if !FLAVORS.iter().any(|known| known.0 == flavor) {
            return Some(bad(&format!("Flavor {flavor} could not be found.")));
        }
        match volume {
            Some(id) if self.volumes.get(id).is_none_or(|volume| volume["status"] != "available") => {
                return Some(bad(&format!("Block Device Mapping is Invalid: failed to get volume {id}.")));
            }
            None if server["imageRef"] != IMAGE => return Some(bad("Can not find requested image")),
            _ => {}
        }
        if !self.keys.contains_key(&text(&server["key_name"])) {
            return Some(bad("Invalid key_name provided."));
        }
        let network = &server["networks"][0]["uuid"];
        if !network.is_null() && network != NETWORK && network != EXTERNAL {
            return Some(bad(&format!("Network {network} could not be found.")));
        }
        let unknown = server["security_groups"].as_array().into_iter().flatten().find(|group| {
            let name = text(&group["name"]);
            name != "default" && name != "web" && !self.groups.contains_key(&name)
        });
        unknown
            .map(|group| bad(&format!("Security group {} not found for project {PROJECT}.", group["name"])))
    }

    /// One look nearer to what a server is about to become.
    fn age(&mut self, id: &str) {
        let said = self.fault.clone();
        let Some(server) = self.servers.get_mut(id) else { return };
        if server.looks > 0 {
            server.looks -= 1;
            return;
        }
        let Some(becomes) = server.becomes.take() else { return };
        server.task = None;
        match becomes {
            // It holds nothing any more, but is shown once again.
            "DELETED" => {
                server.becomes = Some("GONE");
                self.let_go(id);
            }
            "GONE" => return self.vanish(id),
            _ => {}
        }
        let Some(server) = self.servers.get_mut(id) else { return };
        becomes.clone_into(&mut server.status);
        if becomes == "ERROR" {
            server.fault = said;
        }
    }

    /// A server is gone.
    pub fn vanish(&mut self, id: &str) {
        self.let_go(id);
        self.servers.remove(id);
    }

    /// A server lets go of what it held.
    fn let_go(&mut self, id: &str) {
        let Some(server) = self.servers.get_mut(id) else { return };
        server.groups.clear();
        for address in self.addresses.values_mut().filter(|a| a.port.as_ref() == Some(&server.port)) {
            address.port = None;
        }
        for volume in &std::mem::take(&mut server.volumes) {
            let disks = server.body["block_device_mapping_v2"].as_array().into_iter().flatten();
            let goes = disks.into_iter().any(|d| d["uuid"] == **volume && d["delete_on_termination"] == true);
            if goes {
                self.volumes.remove(volume);
            } else if let Some(volume) = self.volumes.get_mut(volume) {
                volume["status"] = "available".into();
                volume["attachments"] = json!([]);
            }
        }
    }

    fn shown(&self, id: &str) -> Value {
        let server = &self.servers[id];
        let (status, body) = (server.status.as_str(), &server.body);
        let vm_state = match status {
            "ACTIVE" => "active",
            "SHUTOFF" => "stopped",
            "PAUSED" => "paused",
            "ERROR" => "error",
            "DELETED" => "deleted",
            _ => "building",
        };
        let network = if body["networks"][0]["uuid"] == EXTERNAL { "ext-net" } else { "priv" };
        let mac = "fa:16:3e:2f:96:42";
        let address = |kind: &str, address: &str| {
            json!({"version": if address.contains(':') { 6 } else { 4 }, "addr": address, "OS-EXT-IPS:type": kind,
                "OS-EXT-IPS-MAC:mac_addr": mac})
        };
        let mut addresses = vec![address("fixed", &server.address), address("fixed", "2001:db8::10")];
        let floating = self.addresses.values().filter(|a| a.port.as_ref() == Some(&server.port));
        addresses.extend(floating.map(|a| address("floating", &a.address)));
        let built = !matches!(status, "BUILD" | "ERROR" | "DELETED");
        let mut value = json!({
            "id": id, "name": body["name"], "status": status, "tenant_id": PROJECT, "user_id": USER_ID,
            "metadata": body["metadata"], "hostId": "",
            "image": if body["imageRef"].is_null() { json!("") } else { json!({"id": body["imageRef"], "links": []}) },
            "flavor": {"id": body["flavorRef"], "links": []},
            "created": "2026-11-26T14:15:55Z", "updated": "2026-11-26T14:15:55Z",
            "addresses": if built { json!({network: addresses}) } else { json!({}) },
            "accessIPv4": "", "accessIPv6": "",
            "links": [{"rel": "self", "href": format!("{}/compute/v2.1/servers/{id}", self.url)}],
            "OS-DCF:diskConfig": "MANUAL", "OS-EXT-AZ:availability_zone": "nova",
            "config_drive": if body["config_drive"] == true { "True" } else { "" },
            "key_name": body["key_name"], "OS-SRV-USG:launched_at": built.then_some(NOW), "OS-SRV-USG:terminated_at": null,
            "OS-EXT-STS:task_state": server.task, "OS-EXT-STS:vm_state": vm_state, "OS-EXT-STS:power_state": 0,
            "os-extended-volumes:volumes_attached": server.volumes.iter().map(|id| json!({"id": id})).collect::<Vec<_>>(),
        });
        if let Some(message) = &server.fault {
            value["fault"] = json!({"code": 500, "created": NOW, "message": message});
        } else {
            value["progress"] = 0.into();
        }
        value
    }

    fn show_server(&mut self, id: &str) -> Reply {
        let missing = fault(404, "itemNotFound", &format!("Instance {id} could not be found."));
        if let Some(server) = self.servers.get_mut(id).filter(|server| server.hidden > 0) {
            server.hidden -= 1;
            return missing;
        }
        self.age(id);
        if self.servers.contains_key(id) {
            Reply::json(200, &json!({"server": self.shown(id)}))
        } else {
            missing
        }
    }

    fn list_servers(&mut self, request: &Request) -> Reply {
        let pattern = request.query("name");
        let name = pattern.trim_start_matches('^').trim_end_matches('$').replace("\\.", ".");
        let marker = request.query("marker");
        let limit = request.query("limit").parse().unwrap_or(usize::MAX).min(self.page);
        let ids: Vec<String> = self.servers.keys().cloned().collect();
        for id in &ids {
            self.age(id);
        }
        let fits = |id: &&String| name.is_empty() || self.servers[*id].body["name"] == name.as_str();
        let after: Vec<&String> = self.servers.keys().filter(fits).filter(|id| **id > marker).collect();
        let page: Vec<Value> = after.iter().take(limit).map(|id| self.shown(id)).collect();
        let mut answer = json!({"servers": page});
        if let Some(last) = after.get(limit.saturating_sub(1)).filter(|_| after.len() > limit) {
            let next = format!(
                "{}/compute/v2.1/servers/detail?limit={limit}&marker={last}",
                "http://internal.invalid"
            );
            answer["servers_links"] = json!([{"rel": "next", "href": next}]);
        }
        Reply::json(200, &answer)
    }

    fn delete_server(&mut self, id: &str) -> Reply {
        let looks = self.looks;
        match self.servers.get_mut(id) {
            None => fault(404, "itemNotFound", &format!("Instance {id} could not be found.")),
            Some(server) if server.status == "DELETED" => Reply::empty(204),
            Some(server) => {
                server.task = Some("deleting");
                server.becomes = Some("DELETED");
                server.looks = looks;
                Reply::empty(204)
            }
        }
    }

    fn action(&mut self, id: &str, body: &Value) -> Reply {
        let looks = self.looks;
        let floating = body["addFloatingIp"]["address"].as_str().map(str::to_owned);
        let Some(server) = self.servers.get_mut(id) else {
            return fault(404, "itemNotFound", &format!("Instance {id} could not be found."));
        };
        if let Some(address) = floating {
            let port = server.port.clone();
            let found = self.addresses.values_mut().find(|a| a.address == address);
            found.expect("a floating IP that there is").port = Some(port);
            return Reply::empty(202);
        }
        let key = body.as_object().and_then(|map| map.keys().next()).map(String::as_str).unwrap_or_default();
        let (word, from, task, to) = match key {
            "os-start" => ("start", "SHUTOFF", "powering-on", "ACTIVE"),
            "os-stop" => ("stop", "ACTIVE", "powering-off", "SHUTOFF"),
            "reboot" if body["reboot"]["type"] == "SOFT" => ("reboot", "ACTIVE", "rebooting", "ACTIVE"),
            "pause" => ("pause", "ACTIVE", "pausing", "PAUSED"),
            "unpause" => ("unpause", "PAUSED", "unpausing", "ACTIVE"),
            _ => return bad(&format!("There is no such action: {key}")),
        };
        if server.status != from {
            let state =
                if server.status == "SHUTOFF" { "stopped".to_owned() } else { server.status.to_lowercase() };
            return conflict(&format!("Cannot '{word}' instance {id} while it is in vm_state {state}"));
        }
        if let Some(task) = server.task {
            return conflict(&format!("Cannot '{word}' instance {id} while it is in task_state {task}"));
        }
        (server.task, server.becomes, server.looks) = (Some(task), Some(to), looks);
        if word == "reboot" {
            "REBOOT".clone_into(&mut server.status);
        }
        Reply::empty(202)
    }

    fn use_volume(&mut self, volume: &str, server: &str, device: &str) {
        let volume = self.volumes.get_mut(volume).expect("a volume that there is");
        volume["status"] = "in-use".into();
        volume["attachments"] = json!([{"server_id": server, "device": device, "volume_id": volume["id"]}]);
    }

    fn attach(&mut self, id: &str, body: &Value) -> Reply {
        let wish = &body["volumeAttachment"];
        let volume = text(&wish["volumeId"]);
        if !self.servers.contains_key(id)
            || self.volumes.get(&volume).is_none_or(|v| v["status"] != "available")
        {
            return bad(&format!("Invalid volume: volume {volume} is not available"));
        }
        let device = wish["device"].as_str().unwrap_or("/dev/vdb").to_owned();
        self.use_volume(&volume, id, &device);
        self.servers.get_mut(id).expect("looked up").volumes.push(volume.clone());
        Reply::json(
            200,
            &json!({"volumeAttachment": {"id": volume, "serverId": id, "volumeId": volume, "device": device}}),
        )
    }

    fn nova_addresses(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        let shown = |id: &str, a: &FloatingIp| {
            let server =
                self.servers.iter().find(|(_, s)| a.port.as_ref() == Some(&s.port)).map(|(id, _)| id.clone());
            json!({"id": id, "ip": a.address, "pool": "ext-net", "fixed_ip": null, "instance_id": server})
        };
        match (method, path) {
            ("GET", []) => {
                let all: Vec<Value> = self.addresses.iter().map(|(id, a)| shown(id, a)).collect();
                Reply::json(200, &json!({"floating_ips": all}))
            }
            ("POST", []) => {
                assert_eq!(request.json(), json!({"pool": "ext-net"}));
                let id = self.new_address(None, String::new());
                let made = &self.addresses[&id];
                let body = json!({"id": id, "ip": made.address, "pool": "ext-net", "fixed_ip": null, "instance_id": null});
                Reply::json(200, &json!({"floating_ip": body}))
            }
            ("DELETE", [id]) => match self.addresses.remove(*id) {
                Some(_) => Reply::empty(202),
                None => fault(404, "itemNotFound", &format!("Floating IP not found for ID {id}")),
            },
            _ => panic!("nova has no {method} of floating IPs {path:?}"),
        }
    }

    fn new_address(&mut self, port: Option<String>, description: String) -> String {
        let id = self.uuid();
        let address =
            self.next_address.take().unwrap_or_else(|| format!("172.24.4.{}", 10 + self.addresses.len()));
        self.addresses.insert(id.clone(), FloatingIp { address, port, description, revision: 0 });
        id
    }

    fn neutron(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        match (method, path) {
            ("GET", ["networks"]) => {
                let network = |id: &str, name: &str, external: bool| {
                    fields(
                        request,
                        json!({"id": id, "name": name, "router:external": external, "status": "ACTIVE"}),
                    )
                };
                let all = [network(EXTERNAL, "ext-net", true), network(NETWORK, "priv", false)];
                Reply::json(200, &json!({"networks": all}))
            }
            ("GET", ["ports"]) => {
                let server = self.servers.get(&request.query("device_id")).filter(|s| !s.hidden_port());
                let ports: Vec<Value> = server
                    .map(|s| json!({"id": s.port, "fixed_ips": [{"subnet_id": NETWORK, "ip_address": s.address}]}))
                    .map(|port| fields(request, port))
                    .into_iter()
                    .collect();
                Reply::json(200, &json!({"ports": ports}))
            }
            ("PUT", ["ports", id]) => {
                let wish = request.json()["port"].clone();
                assert_eq!(stranger(&wish, &["security_groups"]), None);
                let groups: Vec<String> =
                    wish["security_groups"].as_array().into_iter().flatten().map(text).collect();
                let known =
                    |id: &String| ["9e1", "9e2"].contains(&id.as_str()) || self.groups.contains_key(id);
                if let Some(unknown) = groups.iter().find(|id| !known(id)) {
                    let why = format!("Security group {unknown} does not exist");
                    return neutron_error(404, "SecurityGroupNotFound", &why);
                }
                let Some(server) = self.servers.values_mut().find(|server| server.port == *id) else {
                    return neutron_error(404, "PortNotFound", &format!("Port {id} could not be found."));
                };
                server.groups.clone_from(&groups);
                Reply::json(200, &json!({"port": {"id": id, "security_groups": groups}}))
            }
            (_, ["floatingips", ..]) => self.floating(method, &path[1..], request),
            (_, ["security-groups", ..]) => self.security_groups(method, &path[1..], request),
            (_, ["security-group-rules", ..]) => self.security_rules(method, &path[1..], request),
            _ => panic!("neutron has no {method} {path:?}"),
        }
    }

    fn address(&self, id: &str) -> Value {
        let it = &self.addresses[id];
        let server = self.servers.values().find(|server| it.port.as_ref() == Some(&server.port));
        json!({"id": id, "tenant_id": PROJECT, "project_id": PROJECT, "floating_ip_address": it.address,
            "floating_network_id": EXTERNAL, "port_id": it.port, "description": it.description,
            "fixed_ip_address": server.map(|server| &server.address),
            "router_id": it.port.as_ref().map(|_| "2c1a9a57-0d5b-4c57-a0a7-3e5f7d6e0f11"),
            "status": if it.port.is_some() { "ACTIVE" } else { "DOWN" }, "tags": [],
            "created_at": NOW, "updated_at": NOW, "revision_number": it.revision})
    }

    /// Only one floating IP leads to a fixed address.
    fn already_led(&self, port: &Value, by: &str) -> Option<Reply> {
        let (id, _) =
            self.addresses.iter().find(|(id, a)| *id != by && a.port.as_deref() == port.as_str())?;
        port.as_str()?;
        let why =
            format!("Cannot associate floating IP with port {port}: it already has a floating IP ({id}).");
        Some(neutron_error(409, "FloatingIPPortAlreadyAssociated", &why))
    }

    fn floating(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        let wish = request.json()["floatingip"].clone();
        match (method, path) {
            ("GET", []) => {
                let description = request.query("description");
                let port = request.query("port_id");
                let fits = |a: &FloatingIp| {
                    (description.is_empty() || a.description == description)
                        && (port.is_empty() || a.port.as_ref() == Some(&port))
                };
                let all: Vec<Value> =
                    self.addresses.iter().filter(|(_, a)| fits(a)).map(|(id, _)| self.address(id)).collect();
                Reply::json(200, &json!({"floatingips": all}))
            }
            ("POST", []) => {
                if let Some(key) = stranger(&wish, &["floating_network_id", "port_id", "description"]) {
                    return neutron_error(
                        400,
                        "HTTPBadRequest",
                        &format!("Unrecognized attribute(s) '{key}'"),
                    );
                }
                if wish["floating_network_id"] != EXTERNAL {
                    let why = "Bad floatingip request: Network is not a valid external network.";
                    return neutron_error(400, "BadRequest", why);
                }
                if let Some(refused) = self.already_led(&wish["port_id"], "") {
                    return refused;
                }
                if self.addresses.len() >= self.max_addresses {
                    return neutron_error(409, "OverQuota", "Quota exceeded for resources: ['floatingip'].");
                }
                let port = wish["port_id"].as_str().map(str::to_owned);
                let id = self.new_address(port, text(&wish["description"]));
                Reply::json(201, &json!({"floatingip": self.address(&id)}))
            }
            ("PUT", [id]) => {
                let wanted = request.header("if-match").strip_prefix("revision_number=").map(str::to_owned);
                if let Some(refused) = self.already_led(&wish["port_id"], id) {
                    return refused;
                }
                let Some(it) = self.addresses.get_mut(*id) else { return no_address(id) };
                if wanted.is_some_and(|wanted| wanted != it.revision.to_string()) {
                    let why = format!("Constrained to {}, but current revision is {}", "0", it.revision);
                    return neutron_error(412, "RevisionNumberConstraintFailed", &why);
                }
                it.port = wish["port_id"].as_str().map(str::to_owned);
                it.revision += 1;
                Reply::json(200, &json!({"floatingip": self.address(id)}))
            }
            ("DELETE", [id]) => match self.addresses.remove(*id) {
                Some(_) => Reply::empty(204),
                None => no_address(id),
            },
            _ => panic!("neutron has no {method} of floating IPs {path:?}"),
        }
    }

    fn security_groups(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        match (method, path) {
            ("GET", []) => {
                let description = request.query("description");
                let standing = [
                    json!({"id": "9e1", "name": "default", "description": "Default security group"}),
                    json!({"id": "9e2", "name": "web", "description": "web servers"}),
                ];
                let all = standing.iter().chain(self.groups.values());
                let all = all.filter(|g| description.is_empty() || g["description"] == description.as_str());
                let all: Vec<Value> = all.map(|group| fields(request, group.clone())).collect();
                Reply::json(200, &json!({"security_groups": all}))
            }
            ("POST", []) => {
                let (id, wish) = (self.uuid(), request.json()["security_group"].clone());
                assert_eq!(stranger(&wish, &["name", "description"]), None);
                let group = json!({"id": id, "name": wish["name"], "stateful": true, "tenant_id": PROJECT,
                    "description": wish["description"], "shared": false, "security_group_rules": [], "tags": [],
                    "created_at": NOW, "updated_at": NOW, "revision_number": 1, "project_id": PROJECT});
                self.groups.insert(id, group.clone());
                Reply::json(201, &json!({"security_group": group}))
            }
            ("DELETE", [id]) => {
                if self.servers.values().any(|server| server.groups.iter().any(|group| group == id)) {
                    return neutron_error(409, "SecurityGroupInUse", &format!("Security Group {id} in use."));
                }
                self.rules.retain(|_, rule| rule["security_group_id"] != *id);
                match self.groups.remove(*id) {
                    Some(_) => Reply::empty(204),
                    None => neutron_error(
                        404,
                        "SecurityGroupNotFound",
                        &format!("Security group {id} does not exist"),
                    ),
                }
            }
            _ => panic!("neutron has no {method} of security groups {path:?}"),
        }
    }

    fn security_rules(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        match (method, path) {
            ("GET", []) => {
                let group = request.query("security_group_id");
                let all: Vec<&Value> =
                    self.rules.values().filter(|rule| rule["security_group_id"] == group.as_str()).collect();
                Reply::json(200, &json!({"security_group_rules": all}))
            }
            ("POST", []) => {
                let wishes = request.json()["security_group_rules"].as_array().cloned().unwrap_or_default();
                let same = |rule: &Value, wish: &Value| {
                    wish.as_object()
                        .is_some_and(|map: &Map<String, Value>| map.iter().all(|(k, v)| rule[k] == *v))
                };
                if wishes.iter().any(|wish| self.rules.values().any(|rule| same(rule, wish))) {
                    return neutron_error(
                        409,
                        "SecurityGroupRuleExists",
                        "Security group rule already exists.",
                    );
                }
                let mut made = Vec::new();
                for mut rule in wishes {
                    let id = self.uuid();
                    rule["id"] = id.as_str().into();
                    rule["tenant_id"] = PROJECT.into();
                    self.rules.insert(id, rule.clone());
                    made.push(rule);
                }
                Reply::json(201, &json!({"security_group_rules": made}))
            }
            ("DELETE", [id]) => match self.rules.remove(*id) {
                Some(_) => Reply::empty(204),
                None => neutron_error(404, "SecurityGroupRuleNotFound", "Security group rule does not exist"),
            },
            _ => panic!("neutron has no {method} of rules {path:?}"),
        }
    }

    fn cinder(&mut self, method: &str, path: &[&str], request: &Request) -> Reply {
        match (method, path) {
            ("GET", ["types"]) => {
                let kind = |id: &str, name: &str| {
                    json!({"id": id, "name": name, "is_public": true, "description": null, "extra_specs": {},
                        "qos_specs_id": null, "os-volume-type-access:is_public": true})
                };
                let all = [kind("a1c0b9d2", "__DEFAULT__"), kind("b7e1f3a4", "ssd")];
                Reply::json(200, &json!({"volume_types": all}))
            }
            ("GET", ["volumes", "detail"]) => {
                Reply::json(200, &json!({"volumes": self.volumes.values().collect::<Vec<_>>()}))
            }
            ("GET", ["volumes", id]) => match self.volumes.get_mut(*id) {
                Some(volume) => {
                    let answer = Reply::json(200, &json!({"volume": volume}));
                    if volume["status"] == "creating" {
                        volume["status"] = "available".into();
                    }
                    answer
                }
                None => fault(404, "itemNotFound", &format!("Volume {id} could not be found.")),
            },
            ("POST", ["volumes"]) => {
                let (id, wish) = (self.uuid(), request.json()["volume"].clone());
                let known = ["name", "size", "metadata", "imageRef", "volume_type"];
                if stranger(&wish, &known).is_some() || wish["size"].as_u64().is_none_or(|size| size == 0) {
                    return bad("Invalid input for field/attribute volume.");
                }
                let volume = json!({"id": id, "name": wish["name"], "size": wish["size"], "status": "creating",
                    "metadata": wish["metadata"], "volume_type": wish["volume_type"], "attachments": [],
                    "availability_zone": "nova", "bootable": "false", "description": null, "encrypted": false});
                self.volumes.insert(id, volume.clone());
                Reply::json(202, &json!({"volume": volume}))
            }
            ("DELETE", ["volumes", id]) => match self.volumes.get(*id) {
                None => fault(404, "itemNotFound", &format!("Volume {id} could not be found.")),
                Some(volume) if volume["status"] == "in-use" => {
                    bad("Invalid volume: Volume status must be available or error")
                }
                Some(_) => {
                    self.volumes.remove(*id);
                    Reply::empty(202)
                }
            },
            _ => panic!("cinder has no {method} {path:?}"),
        }
    }
}

fn no_address(id: &str) -> Reply {
    neutron_error(404, "FloatingIPNotFound", &format!("Floating IP {id} could not be found"))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn glance(method: &str, path: &[&str], request: &Request) -> Reply {
    let image = |id: &str, name: &str, status: &str, min_disk: u64| {
        json!({"id": id, "name": name, "status": status, "min_ram": 0, "min_disk": min_disk, "visibility": "public",
            "disk_format": "raw", "container_format": "bare", "protected": false, "tags": [], "created_at": NOW})
    };
    let images = [
        image(IMAGE, "ubuntu", "active", 0),
        image(OLD_IMAGE, "ubuntu-old", "deactivated", 0),
        image("7f6a5b4c-3d2e-4f1a-8b9c-0d1e2f3a4b5c", "windows", "active", 40),
    ];
    match (method, path) {
        ("GET", ["images"]) => {
            let name = request.query("name");
            let all: Vec<&Value> =
                images.iter().filter(|i| name.is_empty() || i["name"] == name.as_str()).collect();
            Reply::json(200, &json!({"images": all, "first": "/v2/images", "schema": "/v2/schemas/images"}))
        }
        ("GET", ["images", id]) => match images.iter().find(|image| image["id"] == *id) {
            Some(image) => Reply::json(200, image),
            None => {
                let text = format!("No image found with ID {id}<br /><br />\n\n\n");
                Reply::json(404, &json!({"message": text, "code": "404 Not Found", "title": "Not Found"}))
            }
        },
        _ => panic!("glance has no {method} {path:?}"),
    }
}
