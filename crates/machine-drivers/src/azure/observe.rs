//! Looking at machines, one or all of a subscription.

use std::collections::BTreeMap;

use machine_core::{Cx, DriverError, DriverState, ErrorKind, Observed, State};

use super::Azure;
use super::arm::Arm;
use super::create;
use super::model::{InstanceView, Resource, Vm};
use super::names::Names;
use super::state::AzureState;

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
pub(super) struct Seen(BTreeMap<String, (String, InstanceView)>);

impl Seen {
    /// Lists.
    pub(super) async fn all(arm: &Arm<'_>) -> Result<Self, DriverError> {
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
    pub(super) async fn of(&self, arm: &Arm<'_>, record: &DriverState) -> Result<Observed, DriverError> {
        let state = AzureState::of_machine(record)?;
        is_made(&state)?;
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

/// The machines of one account: their places among the questions.
type Places = Vec<usize>;

/// Looks at many: one list for each account, and where the credentials may not list a whole subscription, at each alone.
pub(super) async fn many(
    azure: &Azure,
    hosts: &[(Cx<'_>, &DriverState)],
) -> Vec<Result<Observed, DriverError>> {
    let mut accounts: Vec<(AzureState, Places)> = Vec::new();
    let mut answers: Vec<Option<Result<Observed, DriverError>>> = hosts.iter().map(|_| None).collect();
    for (place, (_, record)) in hosts.iter().enumerate() {
        match AzureState::of_machine(record) {
            Err(error) => answers[place] = Some(Err(error)),
            Ok(state) => match accounts.iter_mut().find(|(other, _)| is_same_account(other, &state)) {
                Some((_, places)) => places.push(place),
                None => accounts.push((state, vec![place])),
            },
        }
    }
    for (account, places) in accounts {
        let seen = of_account(azure, &account, &places, hosts).await;
        for (place, answer) in places.into_iter().zip(seen) {
            answers[place] = Some(answer);
        }
    }
    answers.into_iter().map(|answer| answer.unwrap_or_else(|| Ok(Observed::default()))).collect()
}

fn is_same_account(one: &AzureState, other: &AzureState) -> bool {
    let key = |state: &AzureState| {
        [
            state.endpoint.clone(),
            state.environment.clone(),
            state.subscription_id.to_ascii_lowercase(),
            state.tenant_id.clone(),
            state.auth.clone(),
            state.client_id.clone(),
            state.ca_cert.clone(),
        ]
    };
    key(one) == key(other) && one.client_secret == other.client_secret
}

async fn of_account(
    azure: &Azure,
    account: &AzureState,
    places: &[usize],
    hosts: &[(Cx<'_>, &DriverState)],
) -> Vec<Result<Observed, DriverError>> {
    let cx = &hosts[places[0]].0;
    // A list is no time to ask somebody to sign in.
    let arm = match azure.arm(account, cx.store_path, cx.report, false).await {
        Ok(arm) => arm,
        Err(error) => return places.iter().map(|_| Err(error.again())).collect(),
    };
    let seen = Seen::all(&arm).await;
    let mut answers = Vec::with_capacity(places.len());
    for place in places {
        let record = hosts[*place].1;
        answers.push(match &seen {
            Ok(seen) => seen.of(&arm, record).await,
            // Those who may see one resource group only may not list the subscription.
            Err(error) if error.to_string().contains("AuthorizationFailed") => {
                match AzureState::of_machine(record) {
                    Ok(state) if state.is_untouched() => Err(gone(&state)),
                    Ok(state) => observe(&arm, state).await,
                    Err(error) => Err(error),
                }
            }
            Err(error) => Err(error.again()),
        });
    }
    answers
}
