//! On and off. As in docker/machine a stopped machine keeps its place (and its price): it is powered off, not deallocated.

use machine_core::{Cx, DriverError, DriverState, Event, Power};

use super::arm::Arm;
use super::names::Names;
use super::state::AzureState;

/// Has Azure do it, and returns once it has taken the order. A restart is waited for: the machine counts as running all
/// the while.
pub(super) async fn power(
    arm: &Arm<'_>,
    cx: &Cx<'_>,
    state: AzureState,
    op: Power,
) -> Result<DriverState, DriverError> {
    let vm = Names::of(&state, &arm.subscription).vm;
    let (action, verb, query): (_, _, &[(&str, &str)]) = match op {
        Power::Restart => ("restart", "restarted", &[]),
        Power::Stop => ("powerOff", "stopped", &[("skipShutdown", "false")]),
        Power::Kill => ("powerOff", "killed", &[("skipShutdown", "true")]),
        Power::Start | Power::Resume | Power::Pause => ("start", "started", &[]),
    };
    if op == Power::Stop {
        for line in [
            "NOTICE: Stopping an Azure Virtual Machine is just going to power it off, not deallocate.",
            "NOTICE: You should remove the machine if you would like to avoid unexpected costs.",
        ] {
            cx.report.report(Event::DriverLine(line.to_owned()));
        }
    }
    let doing = format!("the virtual machine {:?} can't be {verb}", state.base.machine_name);
    let begun = arm.order(&doing, &format!("{vm}/{action}"), query).await?;
    if op == Power::Restart {
        arm.operation(&doing, &begun).await?;
    }
    state.write()
}
