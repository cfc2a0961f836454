//! Firewall rules: the one that all machines of a network share, as in the Go driver, and a machine's own where somebody
//! says who may connect.

use std::collections::BTreeSet;

use aws_lc_rs::digest::{SHA256, digest};
use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event};
use machine_http::Method;
use serde_json::{Value, json};

use super::api::{Compute, Firewall, Instance, Operation};
use super::location;
use super::state::{ENGINE_PORT, GoogleState};
use crate::cloud::{self, Mark};

/// The Go driver's rule.
const SHARED: &str = "docker-machines";
/// The network tag of the machines that it is for.
const SHARED_TAG: &str = "docker-machine";
/// What Rancher's driver puts after the prefixes that users give.
const EXTERNAL: &str = "external-rancher-nodes";
const INTERNAL: &str = "internal-rancher-nodes";
/// The ports between machines of a cluster, as Rancher's driver has them.
const CLUSTER: [(&str, &str); 14] = [
    ("8443", "tcp"),
    ("179", "tcp"),
    ("5473", "tcp"),
    ("10256", "tcp"),
    ("10250", "tcp"),
    ("10251", "tcp"),
    ("10252", "tcp"),
    ("6443", "tcp"),
    ("2379", "tcp"),
    ("2380", "tcp"),
    ("9345", "tcp"),
    ("9796", "tcp"),
    ("8472", "udp"),
    ("4789", "udp"),
];
/// Everybody. Instances made here have no IPv6 address.
const EVERYBODY: &str = "0.0.0.0/0";
const SSH_PORT: u16 = 22;
/// Whoever may connect comes first, then everybody is kept out: rules of the network, such as default-allow-ssh, have
/// the priority 1000 or come later still (smaller numbers count first).
const ALLOW_FIRST: u32 = 900;
const DENY_NEXT: u32 = 901;
/// What a rule is asked for.
const FIELDS: &str = "name,description,network,targetTags,allowed";

type Ports = BTreeSet<(String, String)>;

/// The networks of a list that instances made here can be reached from.
///
/// # Errors
/// [`ErrorKind::Config`] where none is left.
pub(super) fn reachable(networks: &[String]) -> Result<Vec<String>, DriverError> {
    let fit: Vec<String> = networks.iter().filter(|network| !network.contains(':')).cloned().collect();
    if fit.is_empty() && !networks.is_empty() {
        return Err(DriverError::new(
            ErrorKind::Config,
            format!(
                "nobody could connect from {}: Google's machines have IPv4 addresses only",
                networks.join(", ")
            ),
        )
        .with_hint("name an IPv4 network, e.g. --allow-from 198.51.100.0/24"));
    }
    Ok(fit)
}

/// The ports that are the user's wish for everybody.
fn open_ports(state: &GoogleState) -> Result<Ports, DriverError> {
    state.open_ports.iter().map(|given| location::port(given)).collect()
}

/// The ports of the engine and Swarm.
fn engine_ports(state: &GoogleState) -> Ports {
    let tcp = |port: &str| (port.to_owned(), "tcp".to_owned());
    let mut ports = Ports::from([tcp(&ENGINE_PORT.to_string())]);
    if state.base.swarm_master {
        let port = state.base.swarm_host.rsplit_once(':').map(|(_, port)| port.trim_end_matches('/'));
        ports.extend(port.filter(|port| port.parse::<u16>().is_ok()).map(tcp));
    }
    ports
}

/// Ports as rules have them: a list for each protocol.
fn listed(ports: &Ports) -> Vec<Value> {
    let protocols: BTreeSet<&str> = ports.iter().map(|(_, protocol)| protocol.as_str()).collect();
    let of = |protocol: &str| -> Vec<&str> {
        ports.iter().filter(|(_, of)| of == protocol).map(|(port, _)| port.as_str()).collect()
    };
    protocols.iter().map(|protocol| json!({ "IPProtocol": protocol, "ports": of(protocol) })).collect()
}

/// Whose a rule is, in its description.
fn description(mark: &Mark) -> String {
    match mark.machine.as_str() {
        "" => format!("docker-machine: for all machines of the network; made by store {}", mark.store),
        machine => format!("docker-machine: for the machine {machine}; made by store {}", mark.store),
    }
}

/// Whose a rule is; `None` where it is not this store's.
pub(super) fn read_mark(rule: &Firewall, store: &str) -> Option<Mark> {
    let (what, by) = rule.description.strip_prefix("docker-machine: for ")?.split_once("; made by store ")?;
    let machine = what.strip_prefix("the machine ").unwrap_or_default();
    (by == store && !store.is_empty()).then(|| Mark { store: store.to_owned(), machine: machine.to_owned() })
}

/// The rule for the Internet that machines share: name and network tag.
fn shared(state: &GoogleState) -> (String, String) {
    match state.external_firewall_rule_prefix.as_str() {
        "" => (SHARED.to_owned(), SHARED_TAG.to_owned()),
        prefix => (cut(&format!("{prefix}-{EXTERNAL}")), cut(&format!("{prefix}-{EXTERNAL}"))),
    }
}

/// The rule between machines: name and network tag.
fn internal(state: &GoogleState) -> Option<String> {
    let prefix = &state.internal_firewall_rule_prefix;
    (!prefix.is_empty()).then(|| cut(&format!("{prefix}-{INTERNAL}")))
}

/// A name that is not too long.
fn cut(name: &str) -> String {
    name.chars().take(super::instance::LONGEST_NAME).collect::<String>().trim_end_matches('-').to_owned()
}

/// The network tags of a machine: those of its rules, and the user's.
pub(super) fn tags(state: &GoogleState) -> Vec<String> {
    let mut tags = vec![if state.own_rules.is_empty() { shared(state).1 } else { state.own_rules.clone() }];
    tags.extend(internal(state));
    for tag in state.tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
        if !tags.iter().any(|there| there == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

/// A rule as it is to be.
struct Wanted {
    name: String,
    /// Known by its name: others may have made it, and it may have more ports.
    is_shared: bool,
    ports: Ports,
    body: Value,
}

/// The machine's own rules: who may connect, that nobody else may, and what is for everybody.
fn own(state: &GoogleState, network: &str) -> Result<Vec<Wanted>, DriverError> {
    let mark = Mark { store: state.store_id.clone(), machine: state.base.machine_name.clone() };
    let mut narrow = engine_ports(state);
    narrow.insert((SSH_PORT.to_string(), "tcp".to_owned()));
    let open = open_ports(state)?;
    let rule = |end: &str, more: Value| {
        let name = format!("{}-{end}", state.own_rules);
        let mut body = json!({
            "name": name,
            "description": description(&mark),
            "network": network,
            "direction": "INGRESS",
            "targetTags": [state.own_rules],
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            body[key] = value.clone();
        }
        Wanted { name, is_shared: false, ports: Ports::new(), body }
    };
    let mut rules = vec![
        rule(
            "allow",
            json!({ "allowed": listed(&narrow), "sourceRanges": state.allow_from, "priority": ALLOW_FIRST }),
        ),
        rule(
            "deny",
            json!({ "denied": listed(&narrow), "sourceRanges": [EVERYBODY], "priority": DENY_NEXT }),
        ),
    ];
    if !open.is_empty() {
        rules.push(rule("open", json!({ "allowed": listed(&open), "sourceRanges": [EVERYBODY] })));
    }
    Ok(rules)
}

fn for_everybody(state: &GoogleState, network: &str) -> Result<Wanted, DriverError> {
    let (name, tag) = shared(state);
    let mut ports = engine_ports(state);
    ports.extend(open_ports(state)?);
    let mark = Mark { store: state.store_id.clone(), machine: String::new() };
    let body = json!({
        "name": name,
        "description": description(&mark),
        "network": network,
        "direction": "INGRESS",
        "allowed": listed(&ports),
        "sourceRanges": [EVERYBODY],
        "targetTags": [tag],
    });
    Ok(Wanted { name, is_shared: true, ports, body })
}

fn between(state: &GoogleState, network: &str, name: &str) -> Wanted {
    let ports: Ports = CLUSTER.iter().map(|(port, protocol)| ((*port).into(), (*protocol).into())).collect();
    let mark = Mark { store: state.store_id.clone(), machine: String::new() };
    let body = json!({
        "name": name,
        "description": description(&mark),
        "network": network,
        "direction": "INGRESS",
        "allowed": listed(&ports),
        "sourceTags": [name],
        "targetTags": [name],
    });
    Wanted { name: name.to_owned(), is_shared: true, ports, body }
}

/// Makes up the name of the machine's own rules, where it is to have some.
pub(super) fn settle(cx: &Cx<'_>, state: &mut GoogleState) -> Result<(), DriverError> {
    if cx.allow_from.is_empty() || state.skip_firewall || !state.own_rules.is_empty() {
        return Ok(());
    }
    state.allow_from = reachable(cx.allow_from)?;
    name_own(state, &cloud::token()?);
    Ok(())
}

/// Rules are known by their names in the whole project, machines only in their zone: `chance` tells them apart.
fn name_own(state: &mut GoogleState, chance: &str) {
    let chance: String = chance.chars().take(8).collect();
    let most = super::instance::LONGEST_NAME - "docker-machine--".len() - chance.len() - "-allow".len();
    let name: String = state.name().chars().take(most).collect();
    state.own_rules = format!("docker-machine-{}-{chance}", name.trim_end_matches('-'));
}

/// A text that is always the same for an instance of a store's, and of no other.
fn digest_of(state: &GoogleState, instance: &Instance) -> String {
    let whose = format!("{}/{}", state.store_id, instance.id);
    digest(&SHA256, whose.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens the ports. What is made is recorded before.
pub(super) async fn open(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    state: &mut GoogleState,
    network: &str,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if state.skip_firewall {
        return Ok(());
    }
    let mut wanted =
        if state.own_rules.is_empty() { vec![for_everybody(state, network)?] } else { own(state, network)? };
    wanted.extend(internal(state).map(|name| between(state, network, &name)));
    cx.report.report(Event::DriverLine("Opening firewall ports".into()));
    let mut begun = Vec::new();
    for rule in wanted {
        begun.extend(ensure(compute, cx, state, rule, save).await?);
    }
    for operation in begun {
        compute.done(OPENING, &operation).await?;
    }
    Ok(())
}

const OPENING: &str = "the firewall rule can't be made";

/// Makes one rule what it should be, and begins what that takes.
async fn ensure(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    state: &mut GoogleState,
    mut rule: Wanted,
    save: &mut dyn Checkpoint,
) -> Result<Option<Operation>, DriverError> {
    if !rule.is_shared {
        return insert(compute, &rule).await;
    }
    let network = rule.body["network"].as_str().unwrap_or_default().to_owned();
    let mut there = find(compute, &rule.name).await?;
    if there.as_ref().is_some_and(|there| !location::same(&there.network, &network)) {
        // A rule is for one network; the Go driver puts its ports into that of another, where they do nothing.
        rule.name = cut(&format!("{}-{}", rule.name, location::last(&network)));
        rule.body["name"] = json!(rule.name);
        there = find(compute, &rule.name).await?;
    }
    if !state.shared_rules.contains(&rule.name) {
        state.shared_rules.push(rule.name.clone());
        save.save(&DriverState::from_typed(state)?)?;
    }
    if there.is_none() {
        if let Some(begun) = insert(compute, &rule).await? {
            return Ok(Some(begun));
        }
        // Another machine was first.
        there = find(compute, &rule.name).await?;
    }
    let Some(there) = there else { return Ok(None) };
    add_ports(compute, cx, &there, &rule).await
}

async fn find(compute: &Compute<'_>, name: &str) -> Result<Option<Firewall>, DriverError> {
    let path = compute.own(&format!("global/firewalls/{name}"));
    compute.get("the firewall rule can't be looked up", &path, FIELDS).await
}

/// Makes a rule; `None` where there is one of its name, by which it is known.
async fn insert(compute: &Compute<'_>, rule: &Wanted) -> Result<Option<Operation>, DriverError> {
    let path = compute.own("global/firewalls");
    match compute.begin(Method::POST, &path, &cloud::token()?, Some(&rule.body)).await {
        Ok(operation) => Ok(Some(operation)),
        Err(error) if error.is_taken() => Ok(None),
        Err(error) => Err(error.into_error(compute, OPENING)),
    }
}

/// Adds the ports that a shared rule lacks.
async fn add_ports(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    there: &Firewall,
    rule: &Wanted,
) -> Result<Option<Operation>, DriverError> {
    let mut lacking = rule.ports.clone();
    for allowed in &there.allowed {
        let protocol = allowed["IPProtocol"].as_str().unwrap_or_default();
        match allowed["ports"].as_array().filter(|ports| !ports.is_empty()) {
            Some(ports) => {
                let has = |port: &str| ports.iter().any(|there| there == port);
                lacking.retain(|(port, of)| !((of == protocol || protocol == "all") && has(port)));
            }
            // Without ports, it is for all of them.
            None => lacking.retain(|(_, of)| of != protocol && protocol != "all"),
        }
    }
    if lacking.is_empty() {
        return Ok(None);
    }
    cx.report.report(Event::Debug(format!("the firewall rule {} gets more ports", there.name)));
    let mut allowed = there.allowed.clone();
    allowed.extend(listed(&lacking));
    let path = compute.own(&format!("global/firewalls/{}", there.name));
    let id = cloud::token()?;
    let body = json!({ "allowed": allowed });
    let begun = compute.begin(Method::PATCH, &path, &id, Some(&body)).await;
    begun.map(Some).map_err(|error| error.into_error(compute, "the firewall rule can't get more ports"))
}

/// Lets these networks connect instead of those that might before. A machine that shares its rule gets rules and a tag of
/// its own, which count before the shared one; that stays as it is for the others. Should this be cut off, the next call
/// finds them by their names, and a removal by their mark.
pub(super) async fn narrow(
    compute: &Compute<'_>,
    cx: &Cx<'_>,
    state: &mut GoogleState,
    networks: &[String],
) -> Result<(), DriverError> {
    let from = reachable(networks)?;
    state.allow_from = if from.is_empty() { vec![EVERYBODY.to_owned()] } else { from };
    if !state.own_rules.is_empty() {
        return change_own(compute, state).await;
    }
    if state.store_id.is_empty() {
        cx.store_id.clone_into(&mut state.store_id);
    }
    let there = super::observe::find(compute, state).await?.ok_or_else(|| super::observe::gone(state))?;
    name_own(state, &digest_of(state, &there));
    let network = location::network_path(there.network(), &state.project);
    let mut begun = Vec::new();
    for rule in own(state, &network)? {
        begun.push(match insert(compute, &rule).await? {
            Some(made) => made,
            // A call that was cut off made it, maybe for other networks.
            None => change(compute, &rule.name, &rule.body).await?,
        });
    }
    for operation in begun {
        compute.done(OPENING, &operation).await?;
    }
    super::create::add_tags(compute, state, &there).await
}

async fn change_own(compute: &Compute<'_>, state: &GoogleState) -> Result<(), DriverError> {
    let rule = format!("{}-allow", state.own_rules);
    let begun = change(compute, &rule, &json!({ "sourceRanges": state.allow_from })).await?;
    compute.done(NARROWING, &begun).await
}

const NARROWING: &str = "the firewall rule can't be narrowed";

/// Begins to make a rule of the machine's own what this says of ports and networks.
async fn change(compute: &Compute<'_>, name: &str, to: &Value) -> Result<Operation, DriverError> {
    let path = compute.own(&format!("global/firewalls/{name}"));
    let mut body = json!({});
    for key in ["allowed", "denied", "sourceRanges"].into_iter().filter(|key| !to[*key].is_null()) {
        body[key] = to[key].clone();
    }
    let begun = compute.begin(Method::PATCH, &path, &cloud::token()?, Some(&body)).await;
    begun.map_err(|error| error.into_error(compute, NARROWING))
}

/// Removes the machine's own rules, whether its record has them or not, and what it shared with others if this store made
/// it and nobody needs it any more. The instance must be gone.
pub(super) async fn remove(compute: &Compute<'_>, state: &GoogleState) -> Result<(), DriverError> {
    let none = state.own_rules.is_empty() && state.shared_rules.is_empty();
    if none && (state.skip_firewall || state.requests.is_none()) {
        return Ok(());
    }
    let path = compute.own("global/firewalls");
    let fields = "name,description,network,targetTags";
    let rules: Vec<Firewall> = compute.list("the firewall rules can't be listed", &path, "", fields).await?;
    for rule in &rules {
        match read_mark(rule, &state.store_id) {
            Some(mark) if mark.machine == state.base.machine_name => {
                let path = compute.own(&format!("global/firewalls/{}", rule.name));
                compute.delete("the machine's firewall rule can't be removed", &path).await?;
            }
            Some(mark) if mark.machine.is_empty() && state.shared_rules.contains(&rule.name) => {
                remove_shared(compute, state, rule).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Removes a rule that machines share, unless there is an instance that it is for. False where there is.
///
/// Between the look and the removal another machine may be made; it has seen the rule. So it is looked again, and the
/// rule put back then.
pub(super) async fn remove_shared(
    compute: &Compute<'_>,
    state: &GoogleState,
    rule: &Firewall,
) -> Result<bool, DriverError> {
    if is_needed(compute, rule).await? {
        return Ok(false);
    }
    let path = compute.own(&format!("global/firewalls/{}", rule.name));
    let whole: Option<Value> = compute.get("the firewall rule can't be looked up", &path, "").await?;
    compute.delete("the firewall rule can't be removed", &path).await?;
    let Some(whole) = whole else { return Ok(true) };
    if !is_needed(compute, rule).await? {
        return Ok(true);
    }
    let keys = [
        "name",
        "description",
        "network",
        "direction",
        "allowed",
        "sourceRanges",
        "sourceTags",
        "targetTags",
    ];
    let mut body = json!({});
    for key in keys.iter().filter(|key| !whole[**key].is_null()) {
        body[*key] = whole[*key].clone();
    }
    body["network"] = json!(location::network_path(&rule.network, &state.project));
    let all = compute.own("global/firewalls");
    match compute.begin(Method::POST, &all, &cloud::token()?, Some(&body)).await {
        Ok(begun) => compute.done(OPENING, &begun).await.map(|()| false),
        Err(error) if error.is_taken() => Ok(false),
        Err(error) => Err(error.into_error(compute, OPENING)),
    }
}

/// Whether there is an instance that carries one of the rule's tags, in the rule's network.
async fn is_needed(compute: &Compute<'_>, rule: &Firewall) -> Result<bool, DriverError> {
    let fields = "name,tags/items,networkInterfaces/network";
    let all: Vec<Instance> = compute.list_everywhere("instances", "", fields).await?;
    Ok(all.iter().any(|instance| {
        let tagged = instance.tags.items.iter().any(|tag| rule.target_tags.contains(tag));
        tagged && location::same(instance.network(), &rule.network)
    }))
}
