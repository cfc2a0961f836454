//! Looking at instances.

use std::collections::BTreeMap;

use machine_core::{DriverError, ErrorKind, Observed, State};

use super::api::{Ec2, FILTER_VALUES, Instance, Params};
use super::state::Ec2State;
use super::trouble::trouble;

/// Whether an instance is on its end or has reached it.
pub(super) fn is_over(instance: &Instance) -> bool {
    ["shutting-down", "terminated"].contains(&instance.state.as_str())
}

/// The instance of this id; `None` where EC2 knows none.
pub(super) async fn look(ec2: &Ec2<'_>, id: &str) -> Result<Option<Instance>, DriverError> {
    // A filter, unlike a list of ids, makes no error of one that is not there.
    let found = ec2.instances(Params::default().filter("instance-id", [id])).await;
    Ok(found
        .map_err(|error| trouble(&format!("the instance {id} can't be looked at"), &error))?
        .into_iter()
        .next())
}

/// The instances of these ids, as many at once as a filter takes.
pub(super) async fn look_at_all(
    ec2: &Ec2<'_>,
    ids: &[&str],
) -> Result<BTreeMap<String, Instance>, DriverError> {
    let mut found = BTreeMap::new();
    for chunk in ids.chunks(FILTER_VALUES) {
        let some = ec2.instances(Params::default().filter("instance-id", chunk)).await;
        let some = some.map_err(|error| trouble("the instances can't be listed", &error))?;
        found.extend(some.into_iter().map(|instance| (instance.id.clone(), instance)));
    }
    Ok(found)
}

/// The address at which the machine is to be reached; empty while there is none.
fn address(state: &Ec2State, instance: &Instance) -> String {
    let all = [&instance.public_ip, &instance.ipv6];
    let chosen = if state.ipv6_address_only {
        &instance.ipv6
    } else if state.private_ip_only || state.use_private_ip {
        &instance.private_ip
    } else if state.ipv6_address_count > 0 {
        all.into_iter().find(|address| !address.is_empty()).unwrap_or(&instance.public_ip)
    } else {
        &instance.public_ip
    };
    chosen.clone()
}

/// Takes the instance's addresses into the state, and its account where that is not known; says whether that changed it. An address that is gone, of a host that is
/// off, is kept: it may be asked for in messages, and the next start brings another.
pub(super) fn adopt(state: &mut Ec2State, instance: &Instance) -> bool {
    let wanted = [
        (address(state, instance), &mut state.base.ip_address),
        (instance.private_ip.clone(), &mut state.private_ip_address),
        (instance.ipv6.clone(), &mut state.ipv6_address),
    ];
    let mut changed = false;
    if state.owner_id.is_empty() && !instance.owner.is_empty() {
        instance.owner.clone_into(&mut state.owner_id);
        changed = true;
    }
    for (now, kept) in wanted {
        if !now.is_empty() && *kept != now {
            *kept = now;
            changed = true;
        }
    }
    changed
}

/// The error of a host that is gone.
pub(super) fn gone(state: &Ec2State) -> DriverError {
    let text = match state.instance_id.as_str() {
        "" => "no instance was made for the machine".to_owned(),
        id => format!("there is no instance {id} in {} (any more)", state.region),
    };
    DriverError::new(ErrorKind::NotFound, text)
        .with_hint("`docker-machine rm NAME` removes the record and what else was made for it")
}

/// What an instance is for the rest of the program.
pub(super) fn observed(mut state: Ec2State, found: Option<&Instance>) -> Result<Observed, DriverError> {
    let Some(instance) = found else { return Err(gone(&state)) };
    let now = match instance.state.as_str() {
        "pending" => State::Starting,
        "running" => State::Running,
        "stopping" | "shutting-down" => State::Stopping,
        "stopped" => State::Stopped,
        "terminated" => return Err(gone(&state)),
        _ => State::Error,
    };
    let mut last_sign = instance.reason.clone();
    if now == State::Running && address(&state, instance).is_empty() {
        last_sign = no_address(&state);
    }
    let changed = adopt(&mut state, instance).then(|| state.write()).transpose()?;
    Ok(Observed { state: now, changed, last_sign })
}

fn no_address(state: &Ec2State) -> String {
    let kind = if state.ipv6_address_only { "IPv6" } else { "public" };
    format!(
        "the instance runs without a {kind} address: the subnet {} may give none; --amazonec2-use-private-address uses the private one",
        state.subnet_id
    )
}
