//! Turning servers on and off.

use machine_core::{DriverError, ErrorKind, Power, State};
use machine_http::api::{ApiError, Call};
use serde_json::{Value, json};

use super::address::must_show;
use super::session::{Cloud, Service};
use super::trouble::trouble;

/// Gives a server an order; the inner answer is nova's.
pub(super) async fn action(
    cloud: &Cloud<'_>,
    id: &str,
    body: &Value,
) -> Result<Result<(), ApiError>, DriverError> {
    let call = Call::post(cloud.url(Service::Compute, &["servers", id, "action"], &[])?).json(body);
    Ok(cloud.send(&call).await.map(drop))
}

/// The reference program stops where it kills, too: nova has nothing harder.
fn order(op: Power) -> Value {
    match op {
        Power::Start => json!({"os-start": null}),
        Power::Stop | Power::Kill => json!({"os-stop": null}),
        Power::Restart => json!({"reboot": {"type": "SOFT"}}),
        Power::Pause => json!({"pause": null}),
        Power::Resume => json!({"unpause": null}),
    }
}

/// Turns a server on or off: nova took the order when this returns.
pub(super) async fn power(cloud: &Cloud<'_>, id: &str, op: Power) -> Result<(), DriverError> {
    let doing = format!("can't {} the server", word(op));
    let refused = match action(cloud, id, &order(op)).await? {
        Ok(()) => return Ok(()),
        Err(error) if error.is_not_found() => return Err(super::address::gone(id)),
        Err(error) if error.status() == Some(409) => error,
        Err(error) => return Err(trouble(&doing, &error)),
    };
    let server = must_show(cloud, id).await?;
    let instead = match (op, server.state()) {
        (Power::Start | Power::Resume, State::Running) => return Err(already("on")),
        (Power::Stop | Power::Kill, State::Stopped | State::Stopping) => return Err(already("off")),
        (Power::Pause, State::Paused) => return Err(already("paused")),
        (Power::Start, State::Paused) => json!({"unpause": null}),
        (Power::Start, State::Saved) => json!({"resume": null}),
        (Power::Start, _) if server.status.starts_with("SHELVED") => json!({"unshelve": null}),
        (Power::Restart, State::Stopped) => json!({"os-start": null}),
        _ => return Err(trouble(&doing, &refused)),
    };
    action(cloud, id, &instead).await?.map_err(|error| trouble(&doing, &error))
}

fn word(op: Power) -> &'static str {
    match op {
        Power::Start => "start",
        Power::Stop | Power::Kill => "stop",
        Power::Restart => "restart",
        Power::Pause => "pause",
        Power::Resume => "resume",
    }
}

fn already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the server is {what} already"))
}
