//! Turning instances on and off.

use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Power};
use machine_http::api::{ApiError, Seen};

use super::api::{Ec2, Params};
use super::observe;
use super::state::Ec2State;
use super::trouble::trouble;
use crate::cloud;

/// How long an instance may take to come to rest before it can be turned on or off.
const REST: Duration = Duration::from_secs(300);

/// The request, and the state in which there is nothing to do.
fn request(op: Power) -> Option<(&'static str, Option<&'static str>, &'static str)> {
    Some(match op {
        Power::Start => ("StartInstances", Some("running"), "the instance can't be started"),
        Power::Stop | Power::Kill => ("StopInstances", Some("stopped"), "the instance can't be stopped"),
        Power::Restart => ("RebootInstances", None, "the instance can't be restarted"),
        Power::Pause | Power::Resume => return None,
    })
}

/// Gives the order; returns once EC2 has taken it. `None` where the instance can't be told such a thing.
pub(super) async fn power(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
    op: Power,
) -> Option<Result<(), DriverError>> {
    let (action, done, doing) = request(op)?;
    let mut params = Params::default().with("InstanceId.1", &state.instance_id);
    if op == Power::Kill {
        params = params.with("Force", "true");
    }
    let order = cloud::wait_for(cx.report, "the instance to take the order", REST, || async {
        match ec2.ask(action, &params).await {
            Ok(answer) => Ok(Seen::Done(done.is_some_and(|done| was(&answer.text(), done)))),
            Err(error) => in_between(ec2, state, op, doing, &error).await,
        }
    });
    Some(match order.await {
        Ok(true) => Err(DriverError::new(
            ErrorKind::AlreadyDone,
            format!("the instance is {} already", done.unwrap_or_default()),
        )),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    })
}

/// Whether the only instance of the answer was in this state before.
fn was(text: &str, state: &str) -> bool {
    let Ok(document) = roxmltree::Document::parse(text) else { return false };
    let named =
        |node: &roxmltree::Node<'_, '_>, name: &str| node.is_element() && node.tag_name().name() == name;
    let before = document.descendants().find(|node| named(node, "previousState"));
    let name = before.and_then(|before| before.children().find(|node| named(node, "name")));
    name.and_then(|name| name.text()).is_some_and(|text| text.trim() == state)
}

/// An instance that is stopping can't be started, and one that is pending can't be stopped: that passes.
async fn in_between(
    ec2: &Ec2<'_>,
    state: &Ec2State,
    op: Power,
    doing: &str,
    error: &ApiError,
) -> Result<Seen<bool>, DriverError> {
    if error.code() != "IncorrectInstanceState" {
        return Err(trouble(doing, error));
    }
    let passing = if op == Power::Start { "stopping" } else { "pending" };
    match observe::look(ec2, &state.instance_id).await? {
        Some(instance) if instance.state == passing => Ok(Seen::NotYet(format!("it is {passing}"))),
        Some(instance) if observe::is_over(&instance) => Err(observe::gone(state)),
        None => Err(observe::gone(state)),
        Some(_) => Err(trouble(doing, error)),
    }
}
