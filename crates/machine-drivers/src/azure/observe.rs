//! Looking at machines, one or all of a subscription.

use std::collections::BTreeMap;

use futures_util::{StreamExt, stream};
use machine_core::{DriverError, ErrorKind, Observed, State};

use super::arm::Arm;
use super::create;
use super::model::{InstanceView, Resource, Vm};
use super::names::Names;
use super::state::AzureState;

/// How many machines of an account are asked about at the same time, where the list does not say all.
const AT_ONCE: usize = 8;

/// Looks at one machine.
pub(super) async fn observe(arm: &Arm<'_>, state: AzureState) -> Result<Observed, DriverError> {
    let names = Names::of(&state, &arm.subscription);
    let doing = format!("the virtual machine {:?} can't be looked at", state.base.machine_name);
    let vm: Option<Resource<Vm>> = arm.get(&doing, &names.vm, &[("$expand", "instanceView")]).await?;
    let vm = vm.ok_or_else(|| gone(&state))?;
    let view = vm.properties.instance_view.unwrap_or_default();
    let seen = seen(&state, &vm.properties.provisioning_state, &view)?;
    address(arm, state, &names, seen).await
}

/// Where nothing was asked for yet, a machine of this name is somebody else's.
pub(super) fn is_made(state: &AzureState) -> Result<(), DriverError> {
    if state.is_untouched() { Err(gone(state)) } else { Ok(()) }
}

pub(super) fn gone(state: &AzureState) -> DriverError {
    DriverError::new(
        ErrorKind::NotFound,
        format!(
            "there is no virtual machine {:?} in resource group {:?} (any more)",
            state.base.machine_name, state.resource_group
        ),
    )
    .with_hint("`docker-machine rm NAME` removes the record and what is left")
}

/// What Azure tells of a machine, as we say it.
fn seen(state: &AzureState, provisioning: &str, view: &InstanceView) -> Result<Observed, DriverError> {
    let power = view.state();
    let doing = format!("the virtual machine {:?} could not be made", state.base.machine_name);
    let observed = |state: State, last_sign: String| Observed { state, last_sign, changed: None };
    match (power, provisioning, view.failure()) {
        (State::None, _, Some(_)) => Err(create::failure(&doing, view)),
        // It tells no power before there is a machine.
        (State::None, "Creating" | "Updating" | "", _) => {
            Ok(observed(State::Starting, provisioning.to_owned()))
        }
        (State::None, "Deleting", _) => Ok(observed(State::Stopping, provisioning.to_owned())),
        (power, _, failure) => {
            // It runs although Azure is not content, e.g. because its agent does not answer.
            let sign = failure.map(|(code, message)| format!("{code}: {message}"));
            Ok(observed(power, sign.unwrap_or_default()))
        }
    }
}

/// Fills the address in where the record has none. docker/machine never wrote one, and its addresses could change.
async fn address(
    arm: &Arm<'_>,
    mut state: AzureState,
    names: &Names,
    mut observed: Observed,
) -> Result<Observed, DriverError> {
    let known = state.base.ip_address.clone();
    if !known.is_empty() && !state.store_id.is_empty() {
        return Ok(observed);
    }
    match create::address(arm, &state, names).await? {
        Some(address) if address != known => {
            state.base.ip_address = address;
            observed.changed = Some(state.write()?);
            Ok(observed)
        }
        _ => Ok(observed),
    }
}

/// What each machine of the subscription is doing, by its id in small letters: one list, whatever their number.
struct Seen(BTreeMap<String, (String, InstanceView)>);

impl Seen {
    /// Lists.
    async fn all(arm: &Arm<'_>) -> Result<Self, DriverError> {
        let id = format!("{}/providers/Microsoft.Compute/virtualMachines", arm.subscription);
        let doing = "the virtual machines can't be listed";
        let vms: Option<Vec<Resource<Vm>>> = arm.list(doing, &id, &[("statusOnly", "true")]).await?;
        let read = |vm: Resource<Vm>| {
            let view = vm.properties.instance_view.unwrap_or_default();
            (vm.id.to_ascii_lowercase(), (vm.properties.provisioning_state, view))
        };
        // A subscription without machines has an empty list.
        let vms = vms.ok_or_else(|| {
            DriverError::new(
                ErrorKind::Unavailable,
                format!("{doing}: Azure says that there is no such list"),
            )
        })?;
        Ok(Self(vms.into_iter().map(read).collect()))
    }

    /// What is seen of one.
    async fn of(&self, arm: &Arm<'_>, state: AzureState) -> Result<Observed, DriverError> {
        let names = Names::of(&state, &arm.subscription);
        let Some((provisioning, view)) = self.0.get(&names.vm.to_ascii_lowercase()) else {
            return Err(gone(&state));
        };
        let observed = seen(&state, provisioning, view)?;
        if state.base.ip_address.is_empty() && observed.state == State::Running {
            return address(arm, state, &names, observed).await;
        }
        Ok(observed)
    }
}

/// What machines have in common that are looked at by one list: who asks, and the subscription.
pub(super) fn account(state: &AzureState) -> [String; 8] {
    [
        state.endpoint.clone(),
        state.environment.clone(),
        state.subscription_id.to_ascii_lowercase(),
        state.tenant_id.clone(),
        state.auth.clone(),
        state.client_id.clone(),
        state.client_secret.expose().to_owned(),
        state.ca_cert.clone(),
    ]
}

/// Looks at the machines of one account: by one list, and where the credentials may not list a whole subscription, at each
/// alone.
pub(super) async fn observe_all(
    arm: &Arm<'_>,
    machines: Vec<AzureState>,
) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
    let seen = match Seen::all(arm).await {
        Ok(seen) => Some(seen),
        // Those who may see one resource group only may not list the subscription.
        Err(error) if error.to_string().contains("AuthorizationFailed") => None,
        Err(error) => return Err(error),
    };
    let seen = seen.as_ref();
    let looks: Vec<_> = machines
        .into_iter()
        .map(|state| async move {
            is_made(&state)?;
            match seen {
                Some(seen) => seen.of(arm, state).await,
                None => observe(arm, state).await,
            }
        })
        .collect();
    Ok(stream::iter(looks).buffered(AT_ONCE).collect().await)
}
