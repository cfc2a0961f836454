//! A double of Azure: the Resource Manager with resource groups, networks and virtual machines, Entra ID, and the metadata
//! service of a machine. It stands in for the real ones, whose documented behaviour it follows: things take a few looks
//! until they are there, lists lag behind, what is in use can't be removed, and one DELETE of a machine takes along what
//! says so.
#![allow(dead_code)] // the tests of two crates use their parts

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use machine_testkit::double::{Provider, Reply, Request};
use serde_json::{Value, json};

pub const SUBSCRIPTION: &str = "00000000-1111-2222-3333-444444444444";
pub const TENANT: &str = "99999999-8888-7777-6666-555555555555";
pub const CLIENT: &str = "aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee";
pub const SECRET: &str = "correct~horse.battery-staple";
pub const REGIONS: [&str; 2] = ["westus", "westeurope"];

/// What happens to a machine that somebody outside may want to hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Happens {
    Made,
    Started,
    Stopped,
    Removed,
}

type Hook = Box<dyn FnMut(Happens, &Value) + Send>;

/// Something at an id.
#[derive(Clone, Debug)]
struct Thing {
    id: String,
    body: Value,
    /// How many looks until it is there.
    looks: u32,
    /// How many lists do not show it yet.
    unlisted: u32,
    /// Of a machine: on or off, and how many looks until it is so.
    on: bool,
    settles: u32,
}

/// An operation: how many looks until it has ended, and what then goes.
struct Operation {
    looks: u32,
    removes: Vec<String>,
    error: Option<(String, String)>,
}

/// The double's state.
pub struct Azure {
    things: BTreeMap<String, Thing>,
    operations: BTreeMap<String, Operation>,
    /// What was removed, and for how many lists it is still shown.
    ghosts: Vec<(String, u32)>,
    tokens: BTreeSet<String>,
    number: u32,
    pub registered: BTreeSet<String>,
    /// Credentials are refused.
    pub refuses: bool,
    /// There is no room.
    pub full: bool,
    /// The token has rights in the resource group `docker-machine` only.
    pub narrow: bool,
    /// The token may not see the subscription.
    pub hidden: bool,
    /// How many looks until something new is there.
    pub looks: u32,
    /// How many lists lag behind.
    pub lag: u32,
    /// How many machines a page of a list has.
    pub page: usize,
    /// The public address of all machines; one for each where it is `None`.
    pub address: Option<String>,
    /// Whether names of public addresses lead to the address itself.
    pub fqdn_is_address: bool,
    /// How often a person is asked for a code until the sign-in counts.
    pub device_looks: u32,
    /// Codes of machines that fail once they have been ordered.
    pub fails: Option<(String, String)>,
    /// How often an interface says that it is reserved for a machine that failed.
    pub reserved: u32,
    pub hook: Option<Hook>,
}

impl Default for Azure {
    fn default() -> Self {
        Self {
            things: BTreeMap::new(),
            operations: BTreeMap::new(),
            ghosts: Vec::new(),
            tokens: BTreeSet::new(),
            number: 0,
            registered: ["microsoft.compute", "microsoft.network"].map(str::to_owned).into(),
            refuses: false,
            full: false,
            narrow: false,
            hidden: false,
            looks: 1,
            lag: 1,
            page: 50,
            address: None,
            fqdn_is_address: false,
            device_looks: 1,
            fails: None,
            reserved: 0,
            hook: None,
        }
    }
}

/// Versions that there are, by provider. Source: Azure/azure-rest-api-specs.
const VERSIONS: [(&str, &[&str]); 7] = [
    ("microsoft.compute/galleries", &["2022-08-03", "2023-07-03", "2024-03-03"]),
    ("microsoft.compute/disks", &["2024-03-02"]),
    ("microsoft.compute/skus", &["2021-07-01"]),
    ("microsoft.compute", &["2024-07-01", "2024-11-01", "2025-04-01"]),
    ("microsoft.network", &["2024-05-01", "2024-07-01", "2025-01-01"]),
    ("microsoft.storage", &["2023-05-01"]),
    ("", &["2022-12-01", "2024-11-01", "2025-04-01"]),
];

fn error(status: u16, code: &str, message: &str) -> Reply {
    Reply::json(status, &json!({ "error": { "code": code, "message": message } }))
        .header("x-ms-request-id", "0f8fad5b-d9cb-469f-a165-70867728950e")
}

fn missing(id: &str) -> Reply {
    error(404, "ResourceNotFound", &format!("The Resource '{id}' was not found."))
}

impl Provider for Azure {
    fn answer(&mut self, request: &Request) -> Reply {
        let path = request.path.replace("%20", " ").replace("%28", "(").replace("%29", ")");
        let host = format!("http://{}", request.header("host"));
        let parts: Vec<String> = path.split('/').filter(|p| !p.is_empty()).map(str::to_owned).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        match parts[..] {
            ["metadata", "identity", "oauth2", "token"] => self.metadata(request),
            [tenant, "oauth2", "v2.0", what] => self.entra(tenant, what, request),
            ["subscriptions", subscription, ..] => {
                self.manager(&path, subscription, &parts[2..], request, &host)
            }
            ["operations", number] => self.operation(number, request, &host),
            _ => error(404, "NotFound", "nothing is here"),
        }
    }
}

// Who one is.
impl Azure {
    fn token(&mut self) -> String {
        self.number += 1;
        let token = format!("eyJ.token-{}", self.number);
        self.tokens.insert(token.clone());
        token
    }

    /// A token that somebody has already.
    pub fn new_token(&mut self) -> String {
        self.token()
    }

    /// Tokens end: the next calls are refused until somebody signs in again.
    pub fn end_tokens(&mut self) {
        self.tokens.clear();
    }

    fn metadata(&mut self, request: &Request) -> Reply {
        let complete = request.header("metadata") == "true"
            && !request.query("resource").is_empty()
            && request.query("api-version") == "2018-02-01";
        if !complete {
            return Reply::json(
                400,
                &json!({ "error": "invalid_request", "error_description": "Required metadata header not specified" }),
            );
        }
        // Numbers are texts there.
        let token = self.token();
        Reply::json(
            200,
            &json!({ "access_token": token, "expires_in": "86000", "expires_on": "4102444800", "token_type": "Bearer" }),
        )
    }

    fn entra(&mut self, tenant: &str, what: &str, request: &Request) -> Reply {
        let form = request.form();
        let get = |key: &str| form.get(key).map_or("", String::as_str).to_owned();
        let refuse = |status, code: &str, text: &str| {
            Reply::json(
                status,
                &json!({ "error": code, "error_description": text, "error_codes": [1], "trace_id": "t" }),
            )
        };
        if request.method != "POST" || !request.header("content-type").contains("x-www-form-urlencoded") {
            return refuse(400, "invalid_request", "AADSTS900144: The request body must be a form");
        }
        if tenant != TENANT {
            return refuse(400, "invalid_request", &format!("AADSTS90002: Tenant '{tenant}' not found."));
        }
        if what == "devicecode" {
            if !get("scope").contains("offline_access") {
                return refuse(400, "invalid_scope", "AADSTS70011: the scope is wrong");
            }
            let message = "To sign in, use a web browser to open the page https://microsoft.com/devicelogin and enter the code ABCD-1234 to authenticate.";
            return Reply::json(
                200,
                &json!({
                    "device_code": "device-code-0001", "user_code": "ABCD-1234", "expires_in": 900, "interval": 1,
                    "verification_uri": "https://microsoft.com/devicelogin", "message": message,
                }),
            );
        }
        let signed_in = match get("grant_type").as_str() {
            "client_credentials" => {
                if !get("scope").ends_with("/.default") {
                    return refuse(400, "invalid_scope", "AADSTS1002012: the scope is not valid");
                }
                if get("client_id") != CLIENT {
                    return refuse(
                        400,
                        "unauthorized_client",
                        "AADSTS700016: Application was not found in the directory",
                    );
                }
                if self.refuses || get("client_secret") != SECRET {
                    return refuse(
                        401,
                        "invalid_client",
                        "AADSTS7000215: Invalid client secret provided. Ensure the secret being sent in the request is the client secret value, not the client secret ID.",
                    );
                }
                json!({})
            }
            "urn:ietf:params:oauth:grant-type:device_code" if get("device_code") == "device-code-0001" => {
                if self.device_looks > 0 {
                    self.device_looks -= 1;
                    return refuse(
                        400,
                        "authorization_pending",
                        "AADSTS70016: OAuth 2.0 device flow error. Authorization is pending.",
                    );
                }
                json!({ "refresh_token": "refresh-1" })
            }
            "refresh_token" if get("refresh_token").starts_with("refresh-") && !self.refuses => {
                json!({ "refresh_token": "refresh-2" })
            }
            "refresh_token" => {
                return refuse(
                    400,
                    "invalid_grant",
                    "AADSTS700082: The refresh token has expired due to inactivity.",
                );
            }
            _ => return refuse(400, "unsupported_grant_type", "AADSTS70003: unsupported"),
        };
        let mut body = signed_in;
        body["access_token"] = self.token().into();
        body["token_type"] = "Bearer".into();
        body["expires_in"] = 3599.into();
        Reply::json(200, &body)
    }
}

// What is there.
impl Azure {
    /// How many things are held, groups and parts of networks among them.
    pub fn count(&self) -> usize {
        self.things.len()
    }

    /// The ids of all things.
    pub fn ids(&self) -> Vec<String> {
        self.things.values().map(|thing| thing.id.clone()).collect()
    }

    /// What is at an id below the subscription.
    pub fn body(&self, below: &str) -> Option<&Value> {
        self.things.get(&key(&format!("/subscriptions/{SUBSCRIPTION}/{below}"))).map(|thing| &thing.body)
    }

    /// Puts something there as it was made by somebody else.
    pub fn have(&mut self, below: &str, body: Value) {
        let id = format!("/subscriptions/{SUBSCRIPTION}/{below}");
        let thing = Thing { id: id.clone(), body, looks: 0, unlisted: 0, on: true, settles: 0 };
        self.things.insert(key(&id), thing);
    }

    /// The lists of all kinds do not show what is there now, so many times.
    pub fn unlist(&mut self, lists: u32) {
        self.things.values_mut().for_each(|thing| thing.unlisted = lists);
    }

    /// Somebody replaces the tags of a thing.
    pub fn retag(&mut self, below: &str, tags: &Value) {
        let thing = self.things.get_mut(&key(&format!("/subscriptions/{SUBSCRIPTION}/{below}"))).unwrap();
        thing.body["tags"] = tags.clone();
    }

    /// Everything disappears but what machines share.
    pub fn lose_hosts(&mut self) {
        let shared = ["/virtualnetworks/", "/availabilitysets/"];
        self.things
            .retain(|key, _| !key.contains("/providers/") || shared.iter().any(|part| key.contains(part)));
    }

    /// Everything disappears.
    pub fn clear(&mut self) {
        self.things.clear();
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Thing> {
        let part = format!("/{}/", kind.to_lowercase());
        self.things
            .iter()
            .filter(move |(key, _)| key.rsplit_once(&part).is_some_and(|(_, name)| !name.contains('/')))
            .map(|(_, thing)| thing)
    }

    /// Who uses a thing: others that name its id.
    fn users(&self, id: &str) -> Vec<String> {
        let name = format!("\"{}\"", key(id));
        let users = self
            .things
            .iter()
            .filter(|(other, thing)| **other != key(id) && key(&thing.body.to_string()).contains(&name));
        users.map(|(_, thing)| thing.id.clone()).collect()
    }

    fn manager(
        &mut self,
        path: &str,
        subscription: &str,
        below: &[&str],
        request: &Request,
        host: &str,
    ) -> Reply {
        let bearer = request.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if self.refuses || !self.tokens.contains(bearer) {
            let challenge = format!(
                "Bearer authorization_uri=\"{host}/{TENANT}\", error=\"invalid_token\", error_description=\"The access token is missing or invalid.\""
            );
            return error(401, "InvalidAuthenticationToken", "The access token is invalid.")
                .header("www-authenticate", &challenge);
        }
        if subscription != SUBSCRIPTION || self.hidden {
            return error(
                404,
                "SubscriptionNotFound",
                &format!("The subscription '{subscription}' could not be found."),
            );
        }
        if let Some(refusal) = wrong_version(path, request) {
            return refusal;
        }
        if let Some(refusal) = self.unregistered(path) {
            return refusal;
        }
        let kinds: Vec<String> = below.iter().map(|part| part.to_lowercase()).collect();
        let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
        if self.narrow && !matches!(kinds[..], ["resourcegroups", "docker-machine", ..]) {
            return error(
                403,
                "AuthorizationFailed",
                &format!(
                    "The client does not have authorization to perform action 'x/read' over scope '{path}'."
                ),
            );
        }
        match (request.method.as_str(), &kinds[..]) {
            ("GET", ["providers", "microsoft.compute", "skus"]) => skus(request),
            ("GET", ["providers", "microsoft.compute", "locations", region, "usages"]) => self.usages(region),
            ("GET", ["providers", "microsoft.compute", "locations", region, "publishers", ..]) => {
                images(region, &below[5..], request)
            }
            ("GET", ["providers", "microsoft.compute", "virtualmachines"]) => {
                self.list_machines(request, host)
            }
            ("GET", ["providers", "microsoft.compute", "disks"]) => self.list_kind("disks"),
            ("POST", ["providers", namespace, "register"]) => {
                self.registered.insert((*namespace).to_owned());
                Reply::json(200, &json!({ "namespace": namespace, "registrationState": "Registering" }))
            }
            ("GET", ["providers", namespace]) => {
                let known = self.registered.contains(*namespace);
                let state = if known { "Registered" } else { "NotRegistered" };
                Reply::json(200, &json!({ "namespace": namespace, "registrationState": state }))
            }
            ("GET", ["resources"]) => self.list(request, None),
            ("GET", ["resourcegroups"]) => self.list_groups(request),
            ("GET", ["resourcegroups", group, "providers", namespace, kind]) => {
                let id = format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/{group}");
                match self.things.contains_key(&id) {
                    true => self.list_kind_in(&format!("{id}/providers/{namespace}/{kind}/")),
                    false => no_group(group),
                }
            }
            ("GET", ["resourcegroups", group, "resources"]) => {
                let id = format!("/subscriptions/{SUBSCRIPTION}/resourcegroups/{group}");
                match self.things.contains_key(&id) {
                    true => self.list(request, Some(&format!("{id}/"))),
                    false => no_group(group),
                }
            }
            ("POST", ["resourcegroups", .., action]) => self.act(path, action, host),
            ("GET", ["resourcegroups", ..]) => self.get(path, request),
            ("PUT", ["resourcegroups", ..]) => self.put(path, &kinds, request, host),
            ("DELETE", ["resourcegroups", ..]) => self.delete(path, &kinds, host),
            _ => error(400, "InvalidRequest", &format!("{} {path} is not known here", request.method)),
        }
    }

    fn unregistered(&self, path: &str) -> Option<Reply> {
        let lower = path.to_lowercase();
        let rest = lower.split_once("/providers/")?.1.split('/').collect::<Vec<_>>();
        let namespace = *rest.first()?;
        let used = rest.len() > 1 && rest[1] != "register" && namespace.starts_with("microsoft.");
        (used && !self.registered.contains(namespace)).then(|| {
            error(
                409,
                "MissingSubscriptionRegistration",
                &format!("The subscription is not registered to use namespace '{namespace}'."),
            )
        })
    }

    fn get(&mut self, path: &str, request: &Request) -> Reply {
        let lower = key(path);
        if let Some(refusal) = self.no_group_for(&lower) {
            return refusal;
        }
        let instance = request.query("$expand") == "instanceView";
        if lower.ends_with("/containers") {
            let below = format!("{lower}/");
            let inside = self.things.iter().filter(|(key, _)| key.starts_with(&below));
            let value: Vec<Value> = inside.map(|(_, thing)| shown(thing)).collect();
            return Reply::json(200, &json!({ "value": value }));
        }
        let Some(thing) = self.things.get_mut(&lower) else { return missing(path) };
        thing.looks = thing.looks.saturating_sub(1);
        let mut body = shown(thing);
        if lower.contains("/virtualmachines/") && instance {
            body["properties"]["instanceView"] = view(thing, true);
        }
        if lower.contains("/virtualnetworks/") && !lower.contains("/subnets/") {
            body["properties"]["subnets"] = self.subnets(&lower);
        }
        if lower.contains("/availabilitysets/") {
            let machines: Vec<Value> = self.users(&lower).into_iter().map(|id| json!({ "id": id })).collect();
            body["properties"]["virtualMachines"] = machines.into();
        }
        if lower.contains("/networksecuritygroups/") {
            let users: Vec<Value> = self.users(&lower).into_iter().map(|id| json!({ "id": id })).collect();
            body["properties"]["networkInterfaces"] = users.into();
        }
        Reply::json(200, &body)
    }

    fn subnets(&self, network: &str) -> Value {
        let start = format!("{network}/subnets/");
        let inside = self.things.iter().filter(|(key, _)| key.starts_with(&start));
        inside
            .map(|(_, thing)| {
                let users = self
                    .users(&thing.id)
                    .into_iter()
                    .map(|id| json!({ "id": format!("{id}/ipConfigurations/ip") }));
                let mut body = thing.body.clone();
                body["id"] = thing.id.clone().into();
                body["name"] = last(&thing.id).into();
                let users: Vec<Value> = users.collect();
                if !users.is_empty() {
                    body["properties"]["ipConfigurations"] = users.into();
                }
                body
            })
            .collect()
    }

    fn no_group_for(&self, lower: &str) -> Option<Reply> {
        let group: String = lower.split('/').take(5).collect::<Vec<_>>().join("/");
        match self.things.get(&group) {
            None => Some(no_group(last(&group))),
            Some(_) => None,
        }
    }

    fn list(&mut self, request: &Request, below: Option<&str>) -> Reply {
        let filter = request.query("$filter");
        let quoted: Vec<&str> = filter.split('\'').collect();
        let by_tag = filter.starts_with("tagName eq ");
        let fits = |thing: &Thing| match quoted[..] {
            [start, part, end] if start.starts_with("substringof(") && end == ", name)" => {
                last(&thing.id).contains(part)
            }
            [_, name, _, value, _] if by_tag => thing.body["tags"][name] == value,
            _ => filter.is_empty(),
        };
        let mut value = Vec::new();
        for (key, thing) in &mut self.things {
            let here = key.contains("/providers/")
                && !key.contains("/subnets/")
                && below.is_none_or(|below| key.starts_with(below));
            if !here || !fits(thing) {
                continue;
            }
            if thing.unlisted > 0 {
                thing.unlisted -= 1;
                continue;
            }
            let mut one = json!({ "id": thing.id, "name": last(&thing.id), "type": kind(&thing.id), "location": thing.body["location"] });
            // "If you filter by a tag name and value, the tags for each resource are not returned in the results."
            if !by_tag {
                one["tags"] = thing.body["tags"].clone();
            }
            value.push(one);
        }
        for (id, lists) in &mut self.ghosts {
            let fits =
                filter.is_empty() || quoted.get(1).is_some_and(|part| !by_tag && last(id).contains(part));
            if *lists > 0 && fits && below.is_some_and(|below| key(id).starts_with(below)) {
                *lists -= 1;
                value.push(json!({ "id": id, "name": last(id), "type": kind(id) }));
            }
        }
        Reply::json(200, &json!({ "value": value }))
    }

    fn list_groups(&self, request: &Request) -> Reply {
        let filter = request.query("$filter");
        let quoted: Vec<&str> = filter.split('\'').collect();
        let groups = self.things.iter().filter(|(key, thing)| {
            let fits = matches!(quoted[..], [_, name, _, value, _] if thing.body["tags"][name] == value);
            !key.contains("/providers/") && (filter.is_empty() || fits)
        });
        let value: Vec<Value> = groups.map(|(_, thing)| shown(thing)).collect();
        Reply::json(200, &json!({ "value": value }))
    }

    /// What a provider has of a kind in a resource group; it knows at once what is there.
    fn list_kind_in(&self, start: &str) -> Reply {
        let inside = self
            .things
            .iter()
            .filter(|(key, _)| key.strip_prefix(start).is_some_and(|name| !name.contains('/')));
        let value: Vec<Value> = inside.map(|(_, thing)| shown(thing)).collect();
        Reply::json(200, &json!({ "value": value }))
    }

    fn list_kind(&self, kind: &str) -> Reply {
        let value: Vec<Value> = self.of_kind(kind).map(shown).collect();
        Reply::json(200, &json!({ "value": value }))
    }

    fn list_machines(&mut self, request: &Request, host: &str) -> Reply {
        let only_status = request.query("statusOnly") == "true";
        let skip: usize = request.query("$skiptoken").parse().unwrap_or_default();
        let all: Vec<String> = self.of_kind("virtualmachines").map(|thing| key(&thing.id)).collect();
        let mut value = Vec::new();
        for id in all.iter().skip(skip).take(self.page) {
            let Some(thing) = self.things.get_mut(id) else { continue };
            let mut one = shown(thing);
            if only_status {
                let state = one["properties"]["provisioningState"].clone();
                one["properties"] = json!({ "provisioningState": state, "instanceView": view(thing, false) });
            }
            value.push(one);
        }
        let mut page = json!({ "value": value });
        if skip + self.page < all.len() {
            page["nextLink"] = format!(
                "{host}{}?api-version={}&statusOnly={only_status}&$skiptoken={}",
                request.path,
                request.query("api-version"),
                skip + self.page
            )
            .into();
        }
        Reply::json(200, &page)
    }

    fn usages(&self, region: &str) -> Reply {
        if !REGIONS.contains(&region) {
            return error(
                400,
                "NoRegisteredProviderFound",
                &format!("no registered resource provider found for location '{region}'"),
            );
        }
        let used = self.of_kind("virtualmachines").count() * 2;
        let limit = if self.full { used } else { 1000 };
        let one = |name: &str| json!({ "unit": "Count", "currentValue": used, "limit": limit, "name": { "value": name, "localizedValue": name } });
        Reply::json(
            200,
            &json!({ "value": [one("cores"), one("standardDSv5Family"), one("lowPriorityCores")] }),
        )
    }

    fn operation(&mut self, number: &str, _request: &Request, host: &str) -> Reply {
        let Some(operation) = self.operations.get_mut(number) else { return missing(number) };
        if operation.looks > 0 {
            operation.looks -= 1;
            return Reply::json(200, &json!({ "status": "InProgress", "name": number }))
                .header("azure-asyncoperation", &format!("{host}/operations/{number}"));
        }
        if let Some((code, message)) = &operation.error {
            return Reply::json(
                200,
                &json!({ "status": "Failed", "error": { "code": code, "message": message } }),
            );
        }
        let removes = std::mem::take(&mut operation.removes);
        self.take(&removes);
        Reply::json(200, &json!({ "status": "Succeeded" }))
    }

    fn take(&mut self, ids: &[String]) {
        for id in ids {
            if let Some(thing) = self.things.remove(&key(id)) {
                if !key(id).contains("/subnets/") {
                    self.ghosts.push((thing.id.clone(), self.lag));
                }
                if key(id).contains("/virtualmachines/") {
                    self.happens(Happens::Removed, &thing.body);
                }
            }
        }
    }

    fn happens(&mut self, what: Happens, body: &Value) {
        if let Some(hook) = &mut self.hook {
            hook(what, body);
        }
    }

    fn begin(&mut self, removes: Vec<String>, host: &str) -> Reply {
        self.number += 1;
        let number = self.number.to_string();
        self.operations.insert(number.clone(), Operation { looks: self.looks, removes, error: None });
        Reply::empty(202)
            .header("azure-asyncoperation", &format!("{host}/operations/{number}"))
            .header("retry-after", "0")
    }
}

// What is made, removed and told to do something.
impl Azure {
    fn put(&mut self, path: &str, kinds: &[&str], request: &Request, host: &str) -> Reply {
        let lower = key(path);
        let body = request.json();
        if !body.is_object() {
            return error(
                400,
                "InvalidRequestContent",
                "The request content was invalid and could not be deserialized.",
            );
        }
        let is_group = kinds.len() == 2;
        if !is_group && let Some(refusal) = self.no_group_for(&lower) {
            return refusal;
        }
        let located = !kinds.contains(&"subnets") && !kinds.contains(&"securityrules");
        let region = body["location"].as_str().unwrap_or_default();
        if located && !REGIONS.contains(&region) {
            return error(
                400,
                "LocationNotAvailableForResourceType",
                &format!(
                    "The provided location '{region}' is not available for resource type '{}'.",
                    kind(path)
                ),
            );
        }
        let kind = kinds.get(kinds.len().saturating_sub(2)).copied().unwrap_or_default();
        let refused = match kind {
            "virtualnetworks" => return self.put_network(path, body),
            "subnets" => self.check_subnet(&lower, &body),
            "securityrules" => return self.put_rule(path, &body),
            "publicipaddresses" => self.check_address(&lower, &body),
            "networkinterfaces" => self.check_interface(&lower, &body),
            "virtualmachines"
                if request.header("if-none-match") == "*" && self.things.contains_key(&lower) =>
            {
                return error(412, "PreconditionFailed", "The condition of the request is not met.");
            }
            "virtualmachines" => return self.put_machine(path, body, host),
            "networksecuritygroups" => check_rules(&body),
            "availabilitysets" => check_set(&body),
            _ => None,
        };
        if let Some(refusal) = refused {
            return refusal;
        }
        let looks = if is_group || kind == "availabilitysets" { 0 } else { self.looks };
        self.keep(path, body, looks)
    }

    /// Keeps a thing as it was put; its answer says that it is being made.
    fn keep(&mut self, path: &str, mut body: Value, looks: u32) -> Reply {
        let lower = key(path);
        let old = self.things.get(&lower);
        let status = if old.is_some() { 200 } else { 201 };
        if lower.contains("/publicipaddresses/") {
            self.number += 1;
            let address = old.map(|old| old.body["properties"]["ipAddress"].clone());
            let new = self.address.clone().unwrap_or_else(|| format!("203.0.113.{}", self.number % 250 + 1));
            body["properties"]["ipAddress"] = address.unwrap_or_else(|| new.clone().into());
            if let Some(label) =
                body.pointer("/properties/dnsSettings/domainNameLabel").and_then(Value::as_str)
            {
                let region = body["location"].as_str().unwrap_or_default();
                let name = format!("{label}.{region}.cloudapp.azure.com");
                body["properties"]["dnsSettings"]["fqdn"] =
                    if self.fqdn_is_address { new.into() } else { name.into() };
            }
        }
        if lower.contains("/networkinterfaces/") {
            let taken = old.map(|old| {
                old.body
                    .pointer("/properties/ipConfigurations/0/properties/privateIPAddress")
                    .cloned()
                    .unwrap_or_default()
            });
            self.number += 1;
            let address = &mut body["properties"]["ipConfigurations"][0]["properties"]["privateIPAddress"];
            if address.is_null() {
                let new =
                    self.address.clone().unwrap_or_else(|| format!("192.168.0.{}", self.number % 250 + 4));
                *address = taken.unwrap_or_else(|| new.into());
            }
        }
        let id = self.things.get(&lower).map_or_else(|| path.to_owned(), |old| old.id.clone());
        let thing = Thing { id, body, looks, unlisted: self.lag, on: true, settles: 2 };
        let reply = shown(&thing);
        self.things.insert(lower, thing);
        Reply::json(status, &reply)
    }

    fn put_network(&mut self, path: &str, mut body: Value) -> Reply {
        let subnets =
            body["properties"].as_object_mut().and_then(|map| map.remove("subnets")).unwrap_or_default();
        let prefixes = body
            .pointer("/properties/addressSpace/addressPrefixes")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let lower = key(path);
        let named: Vec<Value> = subnets.as_array().cloned().unwrap_or_default();
        // What the body does not name is removed, and that can't be where somebody is in it.
        let start = format!("{lower}/subnets/");
        let left: Vec<String> = self
            .things
            .keys()
            .filter(|key| key.starts_with(&start))
            .filter(|key| {
                !named.iter().any(|subnet| {
                    subnet["name"].as_str().is_some_and(|name| last(key) == name.to_lowercase())
                })
            })
            .cloned()
            .collect();
        if left.iter().any(|subnet| !self.users(subnet).is_empty()) {
            return error(400, "InUseSubnetCannotBeDeleted", "Subnet is in use and cannot be deleted.");
        }
        for subnet in &named {
            let prefix = subnet["properties"]["addressPrefix"].as_str().unwrap_or_default();
            if !prefixes.iter().any(|space| space.as_str().is_some_and(|space| within(prefix, space))) {
                return error(
                    400,
                    "NetcfgInvalidSubnet",
                    &format!("Subnet '{}' is not valid in virtual network.", subnet["name"]),
                );
            }
        }
        self.take(&left);
        for mut subnet in named {
            let name = subnet["name"].as_str().unwrap_or_default().to_owned();
            if let Some(map) = subnet.as_object_mut() {
                map.remove("name");
            }
            self.keep(&format!("{path}/subnets/{name}"), subnet, 0);
        }
        self.keep(path, body, self.looks)
    }

    fn check_subnet(&self, lower: &str, body: &Value) -> Option<Reply> {
        let network = lower.split("/subnets/").next().unwrap_or_default();
        let Some(network) = self.things.get(network) else { return Some(missing(network)) };
        let prefixes = network
            .body
            .pointer("/properties/addressSpace/addressPrefixes")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default();
        let prefix = body["properties"]["addressPrefix"].as_str().unwrap_or_default();
        let inside = prefixes.iter().any(|space| space.as_str().is_some_and(|space| within(prefix, space)));
        (!inside).then(|| error(400, "NetcfgInvalidSubnet", "Subnet is not valid in virtual network."))
    }

    fn put_rule(&mut self, path: &str, body: &Value) -> Reply {
        let (group, name) = path.split_once("/securityRules/").unwrap_or((path, ""));
        let Some(thing) = self.things.get_mut(&key(group)) else { return missing(group) };
        let rule = json!({ "name": name, "properties": body["properties"] });
        if let Some(refusal) = check_rules(&json!({ "properties": { "securityRules": [rule] } })) {
            return refusal;
        }
        let Some(rules) = thing.body["properties"]["securityRules"].as_array_mut() else {
            return missing(path);
        };
        match rules.iter_mut().find(|rule| rule["name"] == name) {
            Some(there) => *there = rule.clone(),
            None => rules.push(rule.clone()),
        }
        Reply::json(200, &rule)
    }

    fn check_address(&self, lower: &str, body: &Value) -> Option<Reply> {
        if body["sku"]["name"] != "Standard" {
            return Some(error(
                400,
                "IPv4BasicSkuPublicIpCountLimitReached",
                "Cannot create more than 0 IPv4 Basic SKU public IP addresses for this subscription in this region.",
            ));
        }
        if body["properties"]["publicIPAllocationMethod"] != "Static" {
            return Some(error(
                400,
                "StandardSkuPublicIPAddressesMustBeStatic",
                "Standard sku publicIp must be static.",
            ));
        }
        let label = body.pointer("/properties/dnsSettings/domainNameLabel")?;
        let taken = self.of_kind("publicipaddresses").any(|other| {
            key(&other.id) != lower
                && other.body.pointer("/properties/dnsSettings/domainNameLabel") == Some(label)
        });
        taken.then(|| {
            error(400, "DnsRecordInUse", &format!("DNS record {label} is already used by another public IP."))
        })
    }

    fn check_interface(&self, lower: &str, body: &Value) -> Option<Reply> {
        let invalid = |what: &str| {
            Some(error(
                400,
                "InvalidResourceReference",
                &format!("Resource {what} referenced by resource {lower} was not found."),
            ))
        };
        let ip = body.pointer("/properties/ipConfigurations/0/properties").cloned().unwrap_or_default();
        for reference in [
            ip.pointer("/subnet/id"),
            body.pointer("/properties/networkSecurityGroup/id"),
            ip.pointer("/publicIPAddress/id"),
        ]
        .into_iter()
        .flatten()
        {
            let id = key(reference.as_str().unwrap_or_default());
            match self.things.get(&id) {
                None => return invalid(&id),
                Some(thing) if thing.looks > 0 => {
                    return Some(error(
                        409,
                        "ReferencedResourceNotProvisioned",
                        &format!("Resource {id} is not in Succeeded state."),
                    ));
                }
                Some(_) => {}
            }
        }
        let subnet = key(ip.pointer("/subnet/id").and_then(Value::as_str).unwrap_or_default());
        let network = subnet.split("/subnets/").next().unwrap_or_default();
        let there = self.things.get(network).map(|network| network.body["location"].clone());
        if there.is_some_and(|there| there.is_string() && there != body["location"]) {
            return Some(error(
                400,
                "InvalidResourceReference",
                &format!(
                    "Resource {network} referenced by resource {lower} was not found. Please make sure that both resources are in the same region."
                ),
            ));
        }
        if let Some(public) = ip.pointer("/publicIPAddress/id").and_then(Value::as_str)
            && self.users(public).iter().any(|user| key(user) != lower)
        {
            return Some(error(400, "PublicIPAddressInUse", "Resource is in use."));
        }
        let prefix = self
            .things
            .get(&subnet)
            .map(|subnet| subnet.body["properties"]["addressPrefix"].clone())
            .unwrap_or_default();
        let address = ip["privateIPAddress"].as_str()?;
        if !within(&format!("{address}/32"), prefix.as_str().unwrap_or_default()) {
            return Some(error(
                400,
                "PrivateIPAddressNotInSubnet",
                &format!(
                    "Private static IP address {address} does not belong to the range of subnet prefix {prefix}."
                ),
            ));
        }
        None
    }

    fn put_machine(&mut self, path: &str, body: Value, host: &str) -> Reply {
        let lower = key(path);
        let old = self.things.get(&lower).map(|old| old.body.clone());
        if let Some(refusal) = self.check_machine(&lower, &body, old.as_ref()) {
            return refusal;
        }
        if let Some(old) = old {
            // What Azure adds stays.
            let mut body = body;
            for pointer in ["/properties/storageProfile/osDisk", "/properties"] {
                let (Some(there), Some(new)) = (old.pointer(pointer), body.pointer_mut(pointer)) else {
                    continue;
                };
                let key = if pointer.ends_with("osDisk") { "managedDisk" } else { "vmId" };
                new[key] = there[key].clone();
            }
            return self.keep(path, body, 0);
        }
        let disk = body.pointer("/properties/storageProfile/osDisk").cloned().unwrap_or_default();
        let group = path.split("/providers/").next().unwrap_or_default();
        let disk_id = format!(
            "{group}/providers/Microsoft.Compute/disks/{}",
            disk["name"].as_str().unwrap_or_default()
        );
        // It has no tags of the machine's, and names the machine that it is in.
        self.keep(&disk_id, json!({ "location": body["location"], "managedBy": path, "properties": { "diskState": "Attached" } }), 0);
        let mut kept = body.clone();
        kept["properties"]["storageProfile"]["osDisk"]["managedDisk"]["id"] = disk_id.into();
        kept["properties"]["vmId"] = "5c0d55a7-c407-4ed6-bf7d-ddb810267c85".into();
        let reply = self.keep(path, kept, self.looks);
        if let Some(failure) = self.fails.take() {
            if let Some(thing) = self.things.get_mut(&lower) {
                thing.body["fails"] = json!([failure.0, failure.1]);
            }
        } else {
            self.happens(Happens::Made, &body);
        }
        self.number += 1;
        let number = self.number.to_string();
        self.operations
            .insert(number.clone(), Operation { looks: self.looks, removes: Vec::new(), error: None });
        reply
            .header("azure-asyncoperation", &format!("{host}/operations/{number}"))
            .header("retry-after", "10")
    }

    fn check_machine(&self, lower: &str, body: &Value, old: Option<&Value>) -> Option<Reply> {
        let at = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let refuse = |status, code: &str, text: String| Some(error(status, code, &text));
        if let Some(old) = old {
            let data = |body: &Value| body.pointer("/properties/osProfile/customData").cloned();
            if data(old) != data(body) {
                return refuse(
                    409,
                    "PropertyChangeNotAllowed",
                    "Changing property 'osProfile.customData' is not allowed.".into(),
                );
            }
            return None;
        }
        let size = at("/properties/hardwareProfile/vmSize");
        if !SIZES.iter().any(|(known, ..)| known.eq_ignore_ascii_case(size)) {
            return refuse(
                400,
                "InvalidParameter",
                format!("The value {size} provided for the VM size is not valid."),
            );
        }
        if self.full {
            return refuse(409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.".into());
        }
        let user = at("/properties/osProfile/adminUsername");
        if ["root", "admin", "test"].contains(&user) || user.is_empty() {
            return refuse(400, "InvalidParameter", "The Admin Username specified is not allowed.".into());
        }
        let path = at("/properties/osProfile/linuxConfiguration/ssh/publicKeys/0/path");
        let keys = at("/properties/osProfile/linuxConfiguration/ssh/publicKeys/0/keyData");
        if path != format!("/home/{user}/.ssh/authorized_keys") || !keys.starts_with("ssh-") {
            return refuse(
                400,
                "InvalidParameter",
                "The value of parameter linuxConfiguration.ssh.publicKeys.keyData is invalid.".into(),
            );
        }
        let data = at("/properties/osProfile/customData");
        if data.len() > 87_380
            || data.len() % 4 != 0
            || !data.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        {
            return refuse(
                400,
                "InvalidParameter",
                "Custom data must be in Base64 encoding and of at most 65535 bytes.".into(),
            );
        }
        let set = body.pointer("/properties/availabilitySet/id").and_then(Value::as_str);
        if set.is_some() && (!body["zones"].is_null() || at("/properties/priority") == "Spot") {
            return refuse(
                400,
                "BadRequest",
                "Availability sets go neither with zones nor with spot.".into(),
            );
        }
        if set.is_some_and(|set| !self.things.contains_key(&key(set))) {
            return refuse(404, "NotFound", "The availability set was not found.".into());
        }
        let kind = set.and_then(|set| self.things.get(&key(set))).map(|set| set.body["sku"]["name"].clone());
        if kind.is_some_and(|kind| kind == "Classic") {
            return refuse(
                409,
                "OperationNotAllowed",
                "Addition of a VM with managed disks to non-managed Availability Set is not supported."
                    .into(),
            );
        }
        let nic = key(at("/properties/networkProfile/networkInterfaces/0/id"));
        match self.things.get(&nic) {
            None => return refuse(404, "NotFound", format!("The network interface {nic} was not found.")),
            Some(nic) if nic.looks > 0 => {
                return refuse(
                    409,
                    "ReferencedResourceNotProvisioned",
                    "the interface is not there yet".into(),
                );
            }
            Some(_) => {}
        }
        if self.users(&nic).iter().any(|user| key(user) != lower && key(user).contains("/virtualmachines/")) {
            return refuse(400, "NicInUse", "The network interface is used by another machine.".into());
        }
        let disk = at("/properties/storageProfile/osDisk/name").to_lowercase();
        if disk.len() > 80 {
            return refuse(400, "InvalidParameter", format!("The disk's name {disk} is too long."));
        }
        let first =
            size == GENERATION_1 && !at("/properties/storageProfile/imageReference/sku").contains("gen1");
        if first {
            return refuse(
                400,
                "BadRequest",
                format!("The selected VM size '{size}' cannot boot Hypervisor Generation '2'."),
            );
        }
        if self.of_kind("disks").any(|other| last(&other.id).to_lowercase() == disk) {
            return refuse(409, "Conflict", format!("Disk {disk} already exists."));
        }
        let image = body.pointer("/properties/storageProfile/imageReference").cloned().unwrap_or_default();
        let known = image["publisher"].is_null()
            || IMAGES.iter().any(|(publisher, offer, sku)| {
                let same = |key: &str, value: &str| {
                    image[key].as_str().is_some_and(|text| text.eq_ignore_ascii_case(value))
                };
                same("publisher", publisher) && same("offer", offer) && same("sku", sku)
            });
        if !known {
            return refuse(404, "PlatformImageNotFound", "The platform image is not available.".into());
        }
        None
    }

    fn delete(&mut self, path: &str, kinds: &[&str], host: &str) -> Reply {
        let lower = key(path);
        if kinds.len() == 2 {
            if !self.things.contains_key(&lower) {
                return no_group(last(&lower));
            }
            // With a resource group goes everything in it.
            let below = format!("{lower}/");
            let all: Vec<String> =
                self.things.keys().filter(|key| **key == lower || key.starts_with(&below)).cloned().collect();
            self.take(&all);
            return Reply::empty(202).header("location", &format!("{host}/operations/none"));
        }
        if let Some(refusal) = self.no_group_for(&lower) {
            return refusal;
        }
        if !self.things.contains_key(&lower) {
            return Reply::empty(204);
        }
        let users = self.users(&lower);
        let kind = kinds[kinds.len() - 2];
        let used = |code: &str| error(400, code, &format!("{path} is used by {}", users.join(", ")));
        match kind {
            "virtualmachines" => {
                let goes = self.cascade(&lower);
                return self.begin(goes, host);
            }
            "networkinterfaces" if self.reserved > 0 => {
                self.reserved -= 1;
                return error(
                    400,
                    "NicReservedForAnotherVm",
                    "Nic(s) in request is reserved for another Virtual Machine for 180 seconds.",
                );
            }
            "networkinterfaces" if !users.is_empty() => return used("NicInUse"),
            "publicipaddresses" if !users.is_empty() => return used("PublicIPAddressCannotBeDeleted"),
            "networksecuritygroups" if !users.is_empty() => {
                return used("InUseNetworkSecurityGroupCannotBeDeleted");
            }
            "subnets" if !users.is_empty() => return used("InUseSubnetCannotBeDeleted"),
            "availabilitysets" if !users.is_empty() => {
                return error(
                    409,
                    "OperationNotAllowed",
                    "Availability Set cannot be deleted: machines are in it.",
                );
            }
            "availabilitysets" => {
                self.take(&[lower]);
                return Reply::empty(200);
            }
            "disks" if !self.things[&lower].body["managedBy"].is_null() => {
                return error(409, "OperationNotAllowed", "Disk is attached to VM.");
            }
            "virtualnetworks" => {
                let below = format!("{lower}/");
                let parts: Vec<String> =
                    self.things.keys().filter(|key| key.starts_with(&below)).cloned().collect();
                if parts.iter().any(|part| !self.users(part).is_empty()) {
                    return used("InUseSubnetCannotBeDeleted");
                }
                let all = parts.into_iter().chain([lower]).collect();
                return self.begin(all, host);
            }
            _ => {}
        }
        self.begin(vec![lower], host)
    }

    /// What goes with a machine: itself, and what says that it does. What does not is free then.
    fn cascade(&mut self, vm: &str) -> Vec<String> {
        let body = self.things[vm].body.clone();
        let mut goes = vec![vm.to_owned()];
        let disk = body.pointer("/properties/storageProfile/osDisk").cloned().unwrap_or_default();
        let disk_id = key(disk.pointer("/managedDisk/id").and_then(Value::as_str).unwrap_or_default());
        if disk["deleteOption"] == "Delete" {
            goes.push(disk_id);
        } else if let Some(disk) = self.things.get_mut(&disk_id) {
            disk.body["managedBy"] = Value::Null;
        }
        let nic = body.pointer("/properties/networkProfile/networkInterfaces/0").cloned().unwrap_or_default();
        if nic.pointer("/properties/deleteOption") != Some(&json!("Delete")) {
            return goes;
        }
        let nic = key(nic["id"].as_str().unwrap_or_default());
        if let Some(thing) = self.things.get(&nic) {
            let public = thing
                .body
                .pointer("/properties/ipConfigurations/0/properties/publicIPAddress")
                .cloned()
                .unwrap_or_default();
            if public.pointer("/properties/deleteOption") == Some(&json!("Delete")) {
                goes.push(key(public["id"].as_str().unwrap_or_default()));
            }
        }
        goes.push(nic);
        goes
    }

    fn act(&mut self, path: &str, action: &str, host: &str) -> Reply {
        let vm = path.rsplit_once('/').map_or(path, |(vm, _)| vm);
        let lower = key(vm);
        let Some(thing) = self.things.get_mut(&lower) else { return missing(vm) };
        let (on, what) = match action {
            "start" => (true, Happens::Started),
            "restart" => (true, Happens::Started),
            "poweroff" => (false, Happens::Stopped),
            other => return error(400, "InvalidRequest", &format!("no action {other}")),
        };
        thing.on = on;
        thing.settles = 1;
        let body = thing.body.clone();
        self.happens(what, &body);
        self.begin(Vec::new(), host)
    }
}

fn no_group(group: &str) -> Reply {
    error(404, "ResourceGroupNotFound", &format!("Resource group '{group}' could not be found."))
}

fn key(id: &str) -> String {
    id.to_lowercase()
}

fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or_default()
}

fn kind(id: &str) -> String {
    let rest = id.split_once("/providers/").map_or("Microsoft.Resources/resourceGroups", |(_, rest)| rest);
    rest.split('/').take(2).collect::<Vec<_>>().join("/")
}

/// A thing as a GET shows it.
fn shown(thing: &Thing) -> Value {
    let mut body = thing.body.clone();
    body["id"] = thing.id.clone().into();
    body["name"] = last(&thing.id).into();
    body["type"] = kind(&thing.id).into();
    if body["properties"].is_null() {
        body["properties"] = json!({});
    }
    let failed = thing.looks == 0 && !thing.body["fails"].is_null();
    let state = match thing.looks {
        _ if failed => "Failed",
        0 => "Succeeded",
        _ if thing.id.contains("virtualMachines") => "Creating",
        _ => "Updating",
    };
    if !kind(&thing.id).ends_with("availabilitySets") {
        body["properties"]["provisioningState"] = state.into();
    }
    // Nobody is shown what was put in there.
    if let Some(os) = body.pointer_mut("/properties/osProfile").and_then(Value::as_object_mut) {
        os.remove("customData");
    }
    body
}

/// What a machine is doing. Each look at it alone brings it further.
fn view(thing: &mut Thing, settles: bool) -> Value {
    if thing.looks > 0 {
        return json!({ "statuses": [{ "code": "ProvisioningState/creating", "level": "Info", "displayStatus": "Creating" }] });
    }
    if let Some([code, message]) = thing.body["fails"].as_array().map(Vec::as_slice) {
        let code = format!("ProvisioningState/failed/{}", code.as_str().unwrap_or_default());
        return json!({ "statuses": [{ "code": code, "level": "Error", "message": message }] });
    }
    let power = match (thing.on, thing.settles) {
        (true, 0) => "running",
        (true, _) => "starting",
        (false, 0) => "stopped",
        (false, _) => "stopping",
    };
    if settles {
        thing.settles = thing.settles.saturating_sub(1);
    }
    json!({ "statuses": [
        { "code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded" },
        { "code": format!("PowerState/{power}"), "level": "Info", "displayStatus": format!("VM {power}") },
    ] })
}

fn wrong_version(path: &str, request: &Request) -> Option<Reply> {
    let lower = path.to_lowercase();
    let provider = lower.rsplit_once("/providers/").map_or("", |(_, rest)| rest);
    let (_, versions) = VERSIONS.iter().find(|(start, _)| provider.starts_with(start))?;
    let version = request.query("api-version");
    (!versions.contains(&version.as_str())).then(|| {
        error(
            400,
            "InvalidApiVersionParameter",
            &format!("The api-version '{version}' is invalid for {provider:?}."),
        )
    })
}

fn check_rules(body: &Value) -> Option<Reply> {
    let rules =
        body.pointer("/properties/securityRules").and_then(Value::as_array).cloned().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for rule in &rules {
        let properties = &rule["properties"];
        let one = !properties["sourceAddressPrefix"].is_null();
        let many = properties["sourceAddressPrefixes"].as_array().is_some_and(|list| !list.is_empty());
        let complete = one != many
            && ["Tcp", "Udp", "Icmp", "*"].iter().any(|protocol| properties["protocol"] == *protocol)
            && properties["priority"].as_u64().is_some_and(|priority| (100..=4096).contains(&priority))
            && ["sourcePortRange", "destinationPortRange", "destinationAddressPrefix", "access", "direction"]
                .iter()
                .all(|key| properties[key].is_string());
        if !complete {
            return Some(error(
                400,
                "SecurityRuleInvalid",
                &format!("Security rule {} is invalid.", rule["name"]),
            ));
        }
        let prefixes = properties["sourceAddressPrefixes"].as_array().cloned().unwrap_or_default();
        let sixes = prefixes.iter().filter(|one| one.as_str().is_some_and(|one| one.contains(':'))).count();
        if sixes > 0 && sixes < prefixes.len() {
            return Some(error(
                400,
                "ResourceCannotContainAddressPrefixesFromDifferentAddressFamilies",
                &format!(
                    "Security rule {} cannot contain address prefixes from different address families.",
                    rule["name"]
                ),
            ));
        }
        if !seen.insert(properties["priority"].to_string()) {
            return Some(error(
                400,
                "SecurityRuleConflict",
                "Security rules have the same priority and direction.",
            ));
        }
    }
    None
}

fn check_set(body: &Value) -> Option<Reply> {
    let count = body["properties"]["platformFaultDomainCount"].as_u64().unwrap_or(2);
    let aligned = body["sku"]["name"] == "Aligned";
    // This region's most.
    (!aligned || !(1..=2).contains(&count)).then(|| {
        error(400, "InvalidParameter", "The specified fault domain count must fall in the range 1 to 2, and managed disks need an aligned set.")
    })
}

/// A size that starts images of generation 1 only.
const GENERATION_1: &str = "Standard_D2_v2";
/// Sizes: name, family, zones, ARM, restriction.
const SIZES: [(&str, &str, &[&str], bool, bool); 6] = [
    (GENERATION_1, "standardDv2Family", &[], false, false),
    ("Standard_D2s_v5", "standardDSv5Family", &["1", "2"], false, false),
    ("Standard_D4s_v5", "standardDSv5Family", &["1", "2", "3"], false, false),
    ("Standard_D2ps_v5", "standardDPSv5Family", &["1"], true, false),
    ("Standard_B2s", "standardBSFamily", &[], false, false),
    ("Standard_M8ms", "standardMSFamily", &[], false, true),
];

fn skus(request: &Request) -> Reply {
    let filter = request.query("$filter");
    let region = filter.split('\'').nth(1).unwrap_or_default().to_owned();
    if !REGIONS.contains(&region.as_str()) {
        return Reply::json(200, &json!({ "value": [] }));
    }
    let mut value: Vec<Value> = SIZES
        .iter()
        .map(|(name, family, zones, arm, restricted)| {
            let capability = |name: &str, value: &str| json!({ "name": name, "value": value });
            let restrictions = match restricted {
                true => json!([{ "type": "Location", "values": [region], "restrictionInfo": { "locations": [region] }, "reasonCode": "NotAvailableForSubscription" }]),
                false => json!([]),
            };
            json!({
                "resourceType": "virtualMachines", "name": name, "tier": "Standard", "family": family, "locations": [region],
                "locationInfo": [{ "location": region, "zones": zones }],
                "capabilities": [
                    capability("vCPUs", "2"), capability("CpuArchitectureType", if *arm { "Arm64" } else { "x64" }),
                    capability("AcceleratedNetworkingEnabled", if *name == "Standard_B2s" { "False" } else { "True" }),
                    capability("LowPriorityCapable", "True"), capability("PremiumIO", "True"),
                    capability("HyperVGenerations", if *name == GENERATION_1 { "V1" } else { "V1,V2" }),
                ],
                "restrictions": restrictions,
            })
        })
        .collect();
    value.push(json!({ "resourceType": "disks", "name": "Premium_LRS", "locations": [region] }));
    Reply::json(200, &json!({ "value": value }))
}

/// Images: publisher, offer, SKU.
pub const IMAGES: [(&str, &str, &str); 5] = [
    ("Canonical", "ubuntu-24_04-lts", "server-gen1"),
    ("Canonical", "ubuntu-24_04-lts", "server"),
    ("Canonical", "ubuntu-24_04-lts", "server-arm64"),
    ("Canonical", "0001-com-ubuntu-server-jammy", "22_04-lts-gen2"),
    ("Debian", "debian-12", "12-gen2"),
];
const IMAGE_VERSIONS: [&str; 2] = ["24.04.202610010", "24.04.202611100"];

fn images(region: &str, below: &[&str], request: &Request) -> Reply {
    let named = |names: BTreeSet<&str>| {
        let list: Vec<Value> = names
            .into_iter()
            .map(|name| json!({ "location": region, "name": name, "id": format!("/subscriptions/{SUBSCRIPTION}/x/{name}") }))
            .collect();
        Reply::json(200, &list.into())
    };
    if !REGIONS.contains(&region) {
        return error(
            400,
            "NoRegisteredProviderFound",
            "No registered resource provider found for location.",
        );
    }
    let same = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
    match *below {
        [] => named(IMAGES.iter().map(|image| image.0).collect()),
        [publisher, _, _, "offers"] => {
            named(IMAGES.iter().filter(|image| same(image.0, publisher)).map(|image| image.1).collect())
        }
        [publisher, _, _, "offers", offer, "skus"] => named(
            IMAGES
                .iter()
                .filter(|image| same(image.0, publisher) && same(image.1, offer))
                .map(|image| image.2)
                .collect(),
        ),
        [publisher, _, _, "offers", offer, "skus", sku, "versions", ref rest @ ..] => {
            if !IMAGES
                .iter()
                .any(|image| same(image.0, publisher) && same(image.1, offer) && same(image.2, sku))
            {
                return error(404, "NotFound", "Artifact: VMImage was not found.");
            }
            match rest {
                [] => {
                    let mut versions = IMAGE_VERSIONS.to_vec();
                    if request.query("$orderby") == "name desc" {
                        versions.reverse();
                    }
                    if let Ok(top) = request.query("$top").parse() {
                        versions.truncate(top);
                    }
                    let list: Vec<Value> =
                        versions.iter().map(|name| json!({ "location": region, "name": name })).collect();
                    Reply::json(200, &list.into())
                }
                [version, ..] if IMAGE_VERSIONS.contains(version) => {
                    Reply::json(200, &json!({ "location": region, "name": version, "properties": {} }))
                }
                _ => error(404, "NotFound", "Artifact: VMImage was not found."),
            }
        }
        _ => error(404, "NotFound", "nothing is here"),
    }
}

/// Whether one network of IPv4 is a part of another.
fn within(part: &str, whole: &str) -> bool {
    let read = |text: &str| -> Option<(u32, u32)> {
        let (address, bits) = text.split_once('/')?;
        Some((address.parse::<Ipv4Addr>().ok()?.into(), bits.parse().ok()?))
    };
    match (read(part), read(whole)) {
        (Some((address, bits)), Some((base, size))) if bits >= size && size <= 32 => {
            let mask = u32::MAX.checked_shl(32 - size).unwrap_or(0);
            address & mask == base & mask
        }
        _ => false,
    }
}
