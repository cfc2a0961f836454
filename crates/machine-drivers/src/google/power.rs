//! On and off.

use machine_core::{DriverError, ErrorKind, Power};

use super::api::Compute;
use super::observe;
use super::state::GoogleState;

/// Turns the machine on or off, as the Go driver does: kill is stop, restart is stop and start.
pub(super) async fn power(
    compute: &Compute<'_>,
    mut state: GoogleState,
    op: Power,
) -> Result<GoogleState, DriverError> {
    match op {
        Power::Start => start(compute, &mut state).await?,
        // What is wrong with an order to stop is said at once; the stopping itself takes up to two minutes.
        Power::Stop => {
            order(compute, &mut state, "stop").await?;
            state.base.ip_address.clear();
        }
        Power::Kill => {
            order(compute, &mut state, "kill").await?;
            state.base.ip_address.clear();
        }
        Power::Restart => {
            let stop = order(compute, &mut state, "stop").await?;
            compute.done("the instance can't be stopped", &stop).await?;
            start(compute, &mut state).await?;
        }
        Power::Pause | Power::Resume => {
            return Err(DriverError::new(ErrorKind::Unsupported, "the driver \"google\" can't pause hosts"));
        }
    }
    Ok(state)
}

/// Starts it, and waits until there was room for it: an order to start is taken before that is known. Its address may be
/// another one now.
async fn start(compute: &Compute<'_>, state: &mut GoogleState) -> Result<(), DriverError> {
    let start = order(compute, state, "start").await?;
    compute.done("the instance can't be started", &start).await?;
    if !state.use_internal_ip && state.address.is_empty() {
        state.base.ip_address.clear();
    }
    if let Some(there) = observe::find(compute, state).await? {
        super::create::resolve(state, &there);
    }
    Ok(())
}

async fn order(
    compute: &Compute<'_>,
    state: &mut GoogleState,
    verb: &str,
) -> Result<super::api::Operation, DriverError> {
    if state.zone().is_none()
        && let Some(there) = observe::find(compute, state).await?
    {
        super::create::resolve(state, &there);
    }
    let zone = state.zone().ok_or_else(|| observe::gone(state))?;
    let (word, query): (&str, &[(&str, &str)]) =
        if verb == "kill" { ("stop", &[("noGracefulShutdown", "true")]) } else { (verb, &[]) };
    let path = compute.own(&format!("zones/{zone}/instances/{}/{word}", state.name()));
    compute.act(&format!("the order to {verb} the instance failed"), &path, query).await
}
