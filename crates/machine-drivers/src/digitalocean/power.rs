//! Turning droplets on and off: actions, which are followed until they are done.

use std::time::Duration;

use machine_core::{DriverError, DriverSpec, ErrorKind, Power};
use machine_http::api::Seen;

use super::api::{Action, Cloud};
use super::state::DigitalOceanState;
use super::trouble::{explain, is_busy};
use crate::cloud::wait_for;
use crate::power::unsupported;

/// How long something else that is being done to the droplet is waited for.
const BUSY: Duration = Duration::from_secs(120);
/// How long an action may take.
const ACTION: Duration = Duration::from_secs(180);

/// What an operation is called, what the droplet then is, and whether it does harm twice.
struct Order {
    action: &'static str,
    leads_to: &'static str,
    again: bool,
}

/// # Errors
/// [`ErrorKind::AlreadyDone`] where it is so already.
pub(super) async fn power(
    spec: &DriverSpec,
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
    op: Power,
) -> Result<(), DriverError> {
    let order = match op {
        Power::Start => Order { action: "power_on", leads_to: "active", again: true },
        Power::Stop => Order { action: "shutdown", leads_to: "off", again: true },
        Power::Kill => Order { action: "power_off", leads_to: "off", again: true },
        Power::Restart => Order { action: "reboot", leads_to: "", again: false },
        Power::Pause | Power::Resume => return Err(unsupported(spec, op)),
    };
    if state.droplet_id == 0 {
        return Err(DriverError::new(ErrorKind::NotFound, "the machine has no droplet yet")
            .with_hint("`docker-machine create --resume NAME` goes on"));
    }
    let action = give(cloud, state.droplet_id, &order).await?;
    follow(cloud, action, &order).await
}

/// Gives the order. While something else is being done to the droplet, none is taken.
async fn give(cloud: &Cloud<'_>, id: u64, order: &Order) -> Result<Action, DriverError> {
    let what = format!("droplet {id} to take the order {}", order.action);
    wait_for(cloud.report, &what, BUSY, || try_to_give(cloud, id, order)).await
}

async fn try_to_give(cloud: &Cloud<'_>, id: u64, order: &Order) -> Result<Seen<Action>, DriverError> {
    let error = match cloud.act(id, order.action, order.again).await {
        Ok(action) => return Ok(Seen::Done(action)),
        Err(error) => error,
    };
    match error.refusal() {
        Some(refusal) if is_busy(refusal) => Ok(Seen::NotYet(refusal.message.clone())),
        Some(refusal) if refusal.status == 422 && is_already(cloud, id, order).await? => {
            Err(DriverError::new(ErrorKind::AlreadyDone, refusal.message.clone()))
        }
        _ => Err(explain(&format!("{} of droplet {id}", order.action), &error)),
    }
}

async fn is_already(cloud: &Cloud<'_>, id: u64, order: &Order) -> Result<bool, DriverError> {
    let droplet = cloud.droplet(id).await;
    let droplet = droplet.map_err(|error| explain("the droplet can't be looked at", &error))?;
    Ok(droplet.is_some_and(|droplet| droplet.status == order.leads_to))
}

/// Follows an action until it is done.
async fn follow(cloud: &Cloud<'_>, action: Action, order: &Order) -> Result<(), DriverError> {
    if let Seen::Done(()) = judged(&action, order)? {
        return Ok(());
    }
    let what = format!("{} to be done", order.action);
    wait_for(cloud.report, &what, ACTION, || look(cloud, action.id, order)).await
}

async fn look(cloud: &Cloud<'_>, action: u64, order: &Order) -> Result<Seen<()>, DriverError> {
    let look = cloud.action(action).await;
    match look.map_err(|error| explain("the action can't be looked at", &error))? {
        Some(action) => judged(&action, order),
        // Nobody knows any more; the lifecycle looks at the droplet.
        None => Ok(Seen::Done(())),
    }
}

fn judged(action: &Action, order: &Order) -> Result<Seen<()>, DriverError> {
    match action.status.as_str() {
        "completed" => Ok(Seen::Done(())),
        "errored" => Err(failed(order)),
        other => Ok(Seen::NotYet(format!("the action is {other}"))),
    }
}

fn failed(order: &Order) -> DriverError {
    let hint = match order.action {
        "shutdown" => "the system does not listen: `docker-machine kill NAME` turns it off at once",
        _ => "look at the droplet in DigitalOcean's control panel, and try again",
    };
    DriverError::new(ErrorKind::Other, format!("DigitalOcean says that {} failed", order.action))
        .with_hint(hint)
}
