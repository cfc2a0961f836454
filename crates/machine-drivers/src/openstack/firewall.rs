//! A security group of the machine's own, where the user says who may connect.

use machine_core::{Checkpoint, DriverError, ErrorKind, Event};
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
    if let Some(named) = state.security_groups.as_ref().filter(|named| !named.is_empty()) {
        work.cx.report.report(Event::Warning(format!(
            "the security groups {} are not narrowed: what they let in can connect too",
            named.join(", ")
        )));
    }
    if state.security_group_id.is_empty() {
        let found = if work.resumed { marked(work.cloud, &work.mark).await?.pop() } else { None };
        state.security_group_id = match found {
            Some(group) => group.id,
            None => make(work).await?,
        };
        save.save(&state.write()?)?;
    }
    // A server that is there has its rules already.
    if state.machine_id.is_empty() {
        narrow(work.cloud, state, &state.allow_from.clone()).await?;
    }
    Ok(Some(state.security_group_id.clone()))
}

async fn make(work: &Work<'_>) -> Result<String, DriverError> {
    let doing = "the security group can't be made";
    let body = json!({"security_group": {
        "name": mark::security_group_name(&work.mark),
        "description": mark::description(&work.mark),
    }});
    let call = Call::post(work.cloud.url(Service::Network, &["security-groups"], &[])?).json(&body);
    match work.cloud.send(&call).await.and_then(|answer| answer.json::<One<Id>>()) {
        Ok(made) => Ok(made.it.id),
        Err(error) if error.outcome_unknown() => match marked(work.cloud, &work.mark).await?.pop() {
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

/// The error for a machine that has no group of its own.
pub(super) fn shared() -> DriverError {
    DriverError::new(
        ErrorKind::Unsupported,
        "the machine has no security group of its own, and a shared one would be narrowed for others too",
    )
    .with_hint(
        "change its groups by `openstack security group rule`, or create the machine with --allow-from",
    )
}
