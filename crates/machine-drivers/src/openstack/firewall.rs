//! A security group of the machine's own, where the user says who may connect.

use machine_core::{Checkpoint, DriverError, ErrorKind, Event, Reporter};
use machine_http::api::Call;
use serde_json::{Value, json};

use super::api::{Id, One, Rule, SecurityGroup};
use super::create::Work;
use super::mark;
use super::session::{Cloud, Service};
use super::state::{ENGINE_PORT, OpenstackState};
use super::trouble::trouble;
use crate::cloud::Mark;

/// Makes the group and its rules where some networks only may connect. Gives its id.
pub(super) async fn create(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<Option<String>, DriverError> {
    if state.allow_from.is_empty() {
        return Ok(None);
    }
    warn_of_named(work.cx.report, state);
    if state.security_group_id.is_empty() {
        let found = if work.resumed { marked(work.cloud, &work.mark).await?.pop() } else { None };
        state.security_group_id = match found {
            Some(group) => group.id,
            None => make(work.cloud, &work.mark).await?,
        };
        save.save(&state.write()?)?;
    }
    // A server that is there has its rules already.
    if state.machine_id.is_empty() {
        narrow(work.cloud, state, &state.allow_from.clone()).await?;
    }
    Ok(Some(state.security_group_id.clone()))
}

/// Says that what the user named is not narrowed with the group of the machine's own.
fn warn_of_named(report: &dyn Reporter, state: &OpenstackState) {
    if let Some(named) = state.security_groups.as_ref().filter(|named| !named.is_empty()) {
        report.report(Event::Warning(format!(
            "the security groups {} are not narrowed: what they let in can connect too",
            named.join(", ")
        )));
    }
}

async fn make(cloud: &Cloud<'_>, mark: &Mark) -> Result<String, DriverError> {
    let doing = "the security group can't be made";
    let body = json!({"security_group": {
        "name": mark::security_group_name(mark),
        "description": mark::description(mark),
    }});
    let call = Call::post(cloud.url(Service::Network, &["security-groups"], &[])?).json(&body);
    match cloud.send(&call).await.and_then(|answer| answer.json::<One<Id>>()) {
        Ok(made) => Ok(made.it.id),
        Err(error) if error.outcome_unknown() => match marked(cloud, mark).await?.pop() {
            Some(group) => Ok(group.id),
            None => Err(trouble(doing, &error)),
        },
        Err(error) => Err(trouble(doing, &error)),
    }
}

/// The groups that carry a mark.
pub(super) async fn marked(cloud: &Cloud<'_>, mark: &Mark) -> Result<Vec<SecurityGroup>, DriverError> {
    let description = mark::description(mark);
    let query = [
        ("description", description.as_str()),
        ("fields", "id"),
        ("fields", "name"),
        ("fields", "description"),
    ];
    let doing = "the security groups can't be listed";
    let mut all: Vec<SecurityGroup> =
        cloud.list(Service::Network, &["security-groups"], &query, doing).await?;
    all.retain(|group| group.description == description);
    Ok(all)
}

/// Gives a server that was made without one a group of its own in the place of the project's `default`, and lets these
/// networks in there. What the user named stays beside it. Should this be cut off, the group is found again by its mark.
pub(super) async fn separate(
    cloud: &Cloud<'_>,
    state: &mut OpenstackState,
    mark: &Mark,
    networks: &[String],
) -> Result<(), DriverError> {
    if !super::resolve::has_neutron(cloud) {
        return Err(without_neutron());
    }
    warn_of_named(cloud.report(), state);
    let mut groups = named(cloud, state).await?;
    state.security_group_id = match marked(cloud, mark).await?.pop() {
        Some(group) => group.id,
        None => make(cloud, mark).await?,
    };
    narrow(cloud, state, networks).await?;
    groups.insert(0, state.security_group_id.clone());
    let query = [("device_id", state.machine_id.as_str()), ("fields", "id")];
    let doing = "the server's network cards can't be listed";
    let cards: Vec<Id> = cloud.list(Service::Network, &["ports"], &query, doing).await?;
    for card in cards {
        let url = cloud.url(Service::Network, &["ports", &card.id], &[])?;
        let call = Call::put(url).json(&json!({"port": {"security_groups": groups}}));
        let put = cloud.send(&call).await;
        put.map_err(|error| trouble("the server's network card can't get its security group", &error))?;
    }
    Ok(())
}

/// The ids of the groups that the user named, by id or by name.
async fn named(cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Vec<String>, DriverError> {
    let wanted = state.security_groups.as_deref().unwrap_or_default();
    if wanted.is_empty() {
        return Ok(Vec::new());
    }
    let query = [("fields", "id"), ("fields", "name"), ("project_id", cloud.project())];
    let doing = "the security groups can't be listed";
    let all: Vec<SecurityGroup> = cloud.list(Service::Network, &["security-groups"], &query, doing).await?;
    let is = |wanted: &&String| all.iter().find(|group| group.id == **wanted || group.name == **wanted);
    // One that is gone by now lets nobody in.
    Ok(wanted.iter().filter_map(|wanted| is(&wanted)).map(|group| group.id.clone()).collect())
}

/// The ports that are opened.
fn ports(state: &OpenstackState) -> [u16; 2] {
    let ssh = if state.base.ssh_port == 0 { crate::base::DEFAULT_SSH_PORT } else { state.base.ssh_port };
    [ssh, ENGINE_PORT]
}

/// Lets these networks in, and no others: what is missing is added first, then what is too much goes.
pub(super) async fn narrow(
    cloud: &Cloud<'_>,
    state: &OpenstackState,
    networks: &[String],
) -> Result<(), DriverError> {
    let id = &state.security_group_id;
    let doing = "the rules of the security group can't be changed";
    let query = [("security_group_id", id.as_str()), ("direction", "ingress")];
    let there: Vec<Rule> = cloud.list(Service::Network, &["security-group-rules"], &query, doing).await?;
    let wanted: Vec<(u16, &String)> = ports(state)
        .into_iter()
        .flat_map(|port| networks.iter().map(move |network| (port, network)))
        .collect();
    let is = |rule: &Rule, port: u16, network: &str| {
        rule.protocol == "tcp"
            && (rule.port_range_min, rule.port_range_max) == (port, port)
            && rule.remote_ip_prefix == network
    };
    let missing: Vec<Value> = wanted
        .iter()
        .filter(|(port, network)| !there.iter().any(|rule| is(rule, *port, network)))
        .map(|(port, network)| rule(id, *port, network))
        .collect();
    if !missing.is_empty() {
        let url = cloud.url(Service::Network, &["security-group-rules"], &[])?;
        // All or none of them: where they are there already, the list said so. Neutron refuses the same rule twice.
        let call = Call::post(url).json(&json!({"security_group_rules": missing})).repeatable();
        match cloud.send(&call).await {
            Err(error) if error.code() != "SecurityGroupRuleExists" => return Err(trouble(doing, &error)),
            _ => {}
        }
    }
    for rule in there.iter().filter(|rule| rule.direction == "ingress") {
        if !wanted.iter().any(|(port, network)| is(rule, *port, network)) {
            cloud.delete(Service::Network, &["security-group-rules", &rule.id], doing).await?;
        }
    }
    Ok(())
}

fn rule(group: &str, port: u16, network: &str) -> Value {
    json!({
        "security_group_id": group,
        "direction": "ingress",
        "ethertype": if network.contains(':') { "IPv6" } else { "IPv4" },
        "protocol": "tcp",
        "port_range_min": port,
        "port_range_max": port,
        "remote_ip_prefix": network,
    })
}

/// The error for a cloud that has no groups that could be made.
pub(super) fn without_neutron() -> DriverError {
    DriverError::new(ErrorKind::Unsupported, "who may connect can't be narrowed: the cloud has no neutron")
        .with_hint("set up a security group by hand and name it with --openstack-sec-groups")
}

/// The error for a machine of another program, whose groups may be anybody's.
pub(super) fn shared() -> DriverError {
    DriverError::new(
        ErrorKind::Unsupported,
        "the machine has no security group of its own, and a shared one would be narrowed for others too",
    )
    .with_hint(
        "change its groups by `openstack security group rule`, or create the machine with --allow-from",
    )
}
