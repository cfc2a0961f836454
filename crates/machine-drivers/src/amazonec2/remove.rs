//! Removing a machine, and what was made for it.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_http::api::{ApiError, Seen};

use super::api::{Ec2, Group, Params};
use super::session::Session;
use super::state::Ec2State;
use super::trouble::trouble;
use super::whose::Opened;
use super::{check, create, network, observe, settle};
use crate::cloud::{self, Mark};

/// How long an instance may take to end.
const END: Duration = Duration::from_secs(300);
const UNKNOWN_INSTANCE: [&str; 1] = ["InvalidInstanceID.NotFound"];
const UNABLE: &str = "unable to terminate instance";

/// Removes all that was made; what is gone is as good as removed.
pub(super) async fn remove(session: &Session, cx: &Cx<'_>, mut state: Ec2State) -> Result<(), DriverError> {
    let ec2 = session.ec2(cx.report);
    session.region().clone_into(&mut state.region);
    let is_known = match state.instance_id.as_str() {
        "" => false,
        id => observe::look(&ec2, id).await?.is_some(),
    };
    if !is_known {
        // Before "gone" is believed, of the instance and of all else.
        Opened::ask(session, cx.report, [&state]).await.is_home(&state)?;
    }
    if state.instance_id.is_empty() && !state.client_token.is_empty() {
        let limit = state.doubt(ec2.settling()).max(create::MAYBE);
        if let Some(found) = create::find_by_token(&ec2, cx, &state, limit).await? {
            (state.instance_id, state.spot_instance_request_id) = (found.id, found.spot_request);
        }
    }
    end(&ec2, cx, &state).await?;
    cancel_spot(&ec2, &state.spot_instance_request_id).await?;
    delete_key(&ec2, cx, &state).await?;
    for group in removable_groups(&ec2, cx, &state).await? {
        remove_group(&ec2, cx, &state, &group).await?;
    }
    Ok(())
}

/// Success, unless something else went wrong than that it is gone.
pub(super) fn unless_gone<T>(
    result: Result<T, ApiError>,
    gone: &[&str],
    doing: &str,
) -> Result<(), DriverError> {
    match result {
        Err(error) if !gone.contains(&error.code()) => Err(trouble(doing, &error)),
        _ => Ok(()),
    }
}

/// Ends the machine's instance. Of one that was made a moment ago "not found" does not mean that there is none: it may run.
async fn end(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State) -> Result<(), DriverError> {
    let id = state.instance_id.as_str();
    let doubt = state.doubt(ec2.settling());
    if id.is_empty() || doubt.is_zero() {
        return terminate(ec2, id).await;
    }
    let what = format!("EC2 to know the instance {id}, which is to end");
    let ended = settle::within(cx.report, &what, doubt, || async {
        match ec2.ask("TerminateInstances", &Params::default().with("InstanceId.1", id)).await {
            Err(error) if UNKNOWN_INSTANCE.contains(&error.code()) => Ok(None),
            other => unless_gone(other, &[], UNABLE).map(Some),
        }
    });
    ended.await.map(drop)
}

/// Ends an instance; one that EC2 does not know has ended.
pub(super) async fn terminate(ec2: &Ec2<'_>, id: &str) -> Result<(), DriverError> {
    if id.is_empty() {
        return Ok(());
    }
    let ended = ec2.ask("TerminateInstances", &Params::default().with("InstanceId.1", id)).await;
    unless_gone(ended, &UNKNOWN_INSTANCE, UNABLE)
}

/// Ends the request for a spot instance, which would otherwise be filled later.
pub(super) async fn cancel_spot(ec2: &Ec2<'_>, id: &str) -> Result<(), DriverError> {
    if id.is_empty() {
        return Ok(());
    }
    let params = Params::default().with("SpotInstanceRequestId.1", id);
    let ended = ec2.ask("CancelSpotInstanceRequests", &params).await;
    unless_gone(
        ended,
        &["InvalidSpotInstanceRequestID.NotFound"],
        "the request for the spot instance can't be cancelled",
    )
}

/// Removes a key pair by name.
pub(super) async fn delete_key_pair(ec2: &Ec2<'_>, name: &str) -> Result<(), DriverError> {
    let removed = ec2.ask("DeleteKeyPair", &Params::default().with("KeyName", name)).await;
    unless_gone(removed, &["InvalidKeyPair.NotFound"], "unable to remove key pair")
}

async fn delete_key(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State) -> Result<(), DriverError> {
    if state.existing_key || state.key_name.is_empty() {
        return Ok(());
    }
    // Of ours only the intent may be on record, and the name another's. The Go driver records it once it is there.
    if state.key_uploaded {
        let limit = state.doubt(ec2.settling()).min(create::MAYBE);
        let ours =
            settle::within(cx.report, "EC2 to list the key pair that it may have made", limit, || async {
                let params = Params::default().filter("key-name", [state.key_name.as_str()]);
                let found = ec2
                    .key_pairs(params)
                    .await
                    .map_err(|error| trouble("unable to remove key pair", &error))?;
                Ok(found.into_iter().find(|key| check::is_ours(&Mark::of(cx), key)))
            });
        if ours.await?.is_none() {
            return Ok(());
        }
    }
    delete_key_pair(ec2, &state.key_name).await
}

/// The security groups that may be removed: the machine's own, and those that the store's machines share.
async fn removable_groups(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State) -> Result<Vec<Group>, DriverError> {
    if cx.store_id.is_empty() || state.vpc_id.is_empty() {
        return Ok(Vec::new());
    }
    let found = network::groups(ec2, &state.vpc_id, &network::wanted_groups(cx, state)).await?;
    let ours = |group: &Group| {
        group.store == cx.store_id && (group.machine.is_empty() || group.machine == cx.name.as_str())
    };
    Ok(found.into_iter().filter(ours).collect())
}

async fn remove_group(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
    group: &Group,
) -> Result<(), DriverError> {
    let shared = group.machine.is_empty();
    let used = cloud::wait_for(
        cx.report,
        "the instance to end, so that its security group can be removed",
        END,
        || async {
            let params = Params::default().filter("instance.group-id", [group.id.as_str()]);
            let inside = ec2.instances(params).await;
            let inside = inside
                .map_err(|error| trouble("the instances of a security group can't be listed", &error))?;
            let mut here = inside.iter().filter(|instance| instance.state != "terminated");
            if shared
                && here
                    .clone()
                    .any(|instance| instance.id != state.instance_id && !observe::is_over(instance))
            {
                return Ok(Seen::Done(true));
            }
            Ok(match here.next() {
                Some(instance) => Seen::NotYet(format!("{} is {}", instance.id, instance.state)),
                None => Seen::Done(false),
            })
        },
    )
    .await;
    match used {
        Ok(true) => return Ok(()),
        Ok(false) => {}
        // It costs nothing, and the next machine uses it.
        Err(error) if shared && error.kind() == ErrorKind::Unavailable => {
            cx.report.report(Event::Warning(format!("the security group {:?} is left: {error}", group.name)));
            return Ok(());
        }
        Err(error) => return Err(error),
    }
    delete_group(ec2, cx, group, shared).await
}

/// Removes a security group. Its members' network interfaces go a moment after them; of a shared one EC2 decides whether
/// somebody uses it.
async fn delete_group(ec2: &Ec2<'_>, cx: &Cx<'_>, group: &Group, shared: bool) -> Result<(), DriverError> {
    cloud::wait_for(cx.report, &format!("the security group {:?} to be unused", group.name), END, || async {
        let removed = ec2.ask("DeleteSecurityGroup", &Params::default().with("GroupId", &group.id)).await;
        match removed {
            Err(error) if error.code() == "DependencyViolation" && shared => Ok(Seen::Done(())),
            Err(error) if error.code() == "DependencyViolation" => Ok(Seen::NotYet(error.to_string())),
            other => {
                let doing = format!("the security group {:?} can't be removed", group.name);
                unless_gone(other, &["InvalidGroup.NotFound", "InvalidGroupId.NotFound"], &doing)
                    .map(Seen::Done)
            }
        }
    })
    .await
}

/// Removes a group that nobody has a record of.
pub(super) async fn delete_group_of_nobody(
    ec2: &Ec2<'_>,
    report: &dyn machine_core::Reporter,
    id: &str,
) -> Result<(), DriverError> {
    cloud::wait_for(report, &format!("the security group {id} to be unused"), END, || async {
        match ec2.ask("DeleteSecurityGroup", &Params::default().with("GroupId", id)).await {
            Err(error) if error.code() == "DependencyViolation" => {
                let params = Params::default().filter("instance.group-id", [id]);
                let inside = ec2.instances(params).await;
                let inside = inside.map_err(|error| trouble("the instances can't be listed", &error))?;
                // Whatever else is in it does not go by itself.
                if inside.is_empty() || !inside.iter().all(observe::is_over) {
                    return Err(trouble(&format!("the security group {id} can't be removed"), &error));
                }
                Ok(Seen::NotYet(error.to_string()))
            }
            other => {
                let doing = format!("the security group {id} can't be removed");
                unless_gone(other, &["InvalidGroup.NotFound", "InvalidGroupId.NotFound"], &doing)
                    .map(Seen::Done)
            }
        }
    })
    .await
}
