//! Making a machine, and going on where that was interrupted.

use std::time::Duration;

use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event};
use machine_http::api::{ApiError, Seen};

use super::api::{Ec2, Group, Instance, Params};
use super::check::{self, Plan};
use super::session::Session;
use super::state::Ec2State;
use super::trouble::trouble;
use super::whose::Opened;
use super::{network, observe, request, settle};
use crate::cloud::{self, MACHINE_KEY, Mark, STORE_KEY};
use crate::source_key::SourceKey;

/// How long a new instance may take until EC2 knows it everywhere.
pub(super) const VISIBLE: Duration = Duration::from_secs(120);
/// How long is looked for an instance of which nobody knows whether it was made.
pub(super) const MAYBE: Duration = Duration::from_secs(5);
/// How often an instance is asked for when EC2 does not know its security group, yet or any more.
const ROUNDS: u32 = 10;

/// Makes the machine. `known` is what `precreate` looked up a moment ago.
pub(super) async fn create(
    session: &Session,
    cx: &Cx<'_>,
    mut state: Ec2State,
    known: Option<Plan>,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let ec2 = session.ec2(cx.report);
    session.region().clone_into(&mut state.region);
    let mut instance = None;
    if state.instance_id.is_empty() && !state.client_token.is_empty() {
        match find_by_token(&ec2, cx, &state, MAYBE).await? {
            Some(found) if observe::is_over(&found) => state.client_token.clear(),
            // Else a second one would be made, in another account.
            None => Opened::ask(session, cx.report, [&state]).await.is_home(&state)?,
            found => instance = found,
        }
    }
    if state.instance_id.is_empty() && instance.is_none() {
        let plan = match known {
            Some(plan) => plan,
            None => Plan::look(session, cx, &state).await?,
        };
        plan.settle(&mut state, session.region());
        save.save(&state.write()?)?;
        import_key(&ec2, cx, &mut state, save).await?;
        instance = Some(launch(&ec2, cx, &mut state, &plan, save).await?);
    }
    if let Some(instance) = instance {
        instance.id.clone_into(&mut state.instance_id);
        instance.spot_request.clone_into(&mut state.spot_instance_request_id);
        observe::adopt(&mut state, &instance);
        save.save(&state.write()?)?;
    }
    let seen = visible(&ec2, cx, &state).await?;
    observe::adopt(&mut state, &seen);
    state.asked_at = 0;
    state.write()
}

/// The machine's key at EC2: the seed's, or the user's.
async fn import_key(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &mut Ec2State,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    let source = state.ssh_private_key_path.clone();
    let mut public = cx.seed.map(|seed| seed.authorized_key.trim().to_owned()).unwrap_or_default();
    if let Some(key) = SourceKey::new("amazonec2-ssh-keypath", &source) {
        let copy = key.copy_in(cx.machine_dir)?;
        key.import(&copy, cx.report)?;
        state.base.ssh_key_path = copy.to_string_lossy().into_owned();
        if state.existing_key {
            return Ok(());
        }
        public = check::public_key(&state.base.ssh_key_path)?;
    }
    if public.is_empty() {
        return Err(DriverError::new(ErrorKind::Other, "there is no public key for the machine"));
    }
    state.key_name = check::key_name(cx, state);
    let first = !state.key_uploaded;
    state.key_uploaded = true;
    state.asked_at = settle::now();
    save.save(&state.write()?)?;
    // Before the first try precreate has seen that the name is free.
    if !first && has_key(ec2, cx, state, &public).await? {
        return Ok(());
    }
    upload_key(ec2, cx, state, &public).await
}

async fn upload_key(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State, public: &str) -> Result<(), DriverError> {
    let material = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, public);
    let params = Params::default().with("KeyName", &state.key_name).with("PublicKeyMaterial", material).tags(
        1,
        "key-pair",
        &request::tags(state, &Mark::of(cx)),
    );
    match ec2.ask("ImportKeyPair", &params).await {
        Ok(_) => Ok(()),
        // We made it, and the answer got lost; or somebody else was faster.
        Err(error) if error.code() == "InvalidKeyPair.Duplicate" => {
            if has_key(ec2, cx, state, public).await? {
                return Ok(());
            }
            Err(trouble("unable to create key pair", &error))
        }
        Err(error) => Err(trouble("unable to create key pair", &error)),
    }
}

/// Whether the key pair is there and is ours. One of ours with another key is removed: the machine's was made anew.
async fn has_key(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State, public: &str) -> Result<bool, DriverError> {
    let params =
        Params::default().filter("key-name", [state.key_name.as_str()]).with("IncludePublicKey", "true");
    let found = ec2.key_pairs(params).await.map_err(|error| trouble("unable to create key pair", &error))?;
    let Some(key) = found.into_iter().next().filter(|key| check::is_ours(&Mark::of(cx), key)) else {
        return Ok(false);
    };
    let material = |text: &str| text.split_whitespace().nth(1).map(str::to_owned);
    if key.public_key.is_empty() || material(&key.public_key) == material(public) {
        return Ok(true);
    }
    let removed = ec2.ask("DeleteKeyPair", &Params::default().with("KeyName", &state.key_name)).await;
    removed.map_err(|error| trouble("the key pair of an earlier try can't be removed", &error))?;
    Box::pin(upload_key(ec2, cx, state, public)).await?;
    Ok(true)
}

/// Security groups and the instance.
async fn launch(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &mut Ec2State,
    plan: &Plan,
    save: &mut dyn Checkpoint,
) -> Result<Instance, DriverError> {
    let user_data = match cx.seed {
        Some(seed) => request::encoded(&seed.user_data)?,
        None => String::new(),
    };
    cx.report.report(Event::DriverLine("Launching instance...".to_owned()));
    let mut known: Option<Vec<Group>> = Some(plan.groups.clone());
    // What an earlier call asked for with it may have been made, whatever EC2 says to this one.
    let mut is_new = state.client_token.is_empty();
    for round in 1..=ROUNDS {
        network::ensure_groups(ec2, cx, state, known.take(), save).await?;
        if state.client_token.is_empty() {
            state.client_token = cloud::token()?;
        }
        state.asked_at = settle::now();
        save.save(&state.write()?)?;
        let params = request::run_instances(state, &plan.image, &Mark::of(cx), &user_data);
        let error = match ec2.run_instances(&params).await {
            Ok(instance) => return Ok(instance),
            Err(error) => error,
        };
        let used_up = match error.code() {
            "IdempotentInstanceTerminated" => true,
            "IdempotentParameterMismatch" => match made_before(ec2, cx, state, VISIBLE).await? {
                Some(instance) => return Ok(instance),
                None => true,
            },
            _ => false,
        };
        if used_up || (is_new && nothing_was_made(&error)) {
            // Nothing was made that lives; the next try is another request.
            is_new = true;
            state.client_token.clear();
            state.asked_at = 0;
            save.save(&state.write()?)?;
        }
        if used_up && round < ROUNDS {
            continue;
        }
        if !network::is_unknown_group(&error) || round == ROUNDS {
            return Err(trouble("Error launching instance", &error));
        }
        // It is too new; or the last machine in it has taken the shared group along, and the next round makes it again.
        tokio::time::sleep(Duration::from_millis(250 << round.min(5))).await;
    }
    Err(DriverError::new(ErrorKind::Unavailable, "the security group disappears again and again"))
}

/// Whether EC2 said no once it had looked at the token: it would have given the instance of an earlier try whose answer got
/// lost. Who refuses because of who asks, or how often, or is no EC2 at all, has not looked; nor has a network that is gone.
fn nothing_was_made(error: &ApiError) -> bool {
    let before_the_token =
        matches!(trouble("", error).kind(), ErrorKind::Credentials | ErrorKind::Unavailable);
    error.refusal().is_some_and(|refusal| {
        let no = refusal.lasting || (400..500).contains(&refusal.status);
        no && !refusal.code.is_empty() && !before_the_token
    })
}

/// EC2 knows the token with other parameters, e.g. with user data as they were before `create --resume`: an instance was
/// made with it. That is the machine's, for its keys are the same; `None` where it has ended since.
///
/// # Errors
/// Where EC2 lists none: it may yet, so that no other is asked for.
pub(super) async fn made_before(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
    limit: Duration,
) -> Result<Option<Instance>, DriverError> {
    cloud::wait_for(cx.report, "the instance that was made before", limit, || async {
        Ok(match look_by_token(ec2, cx, state).await? {
            Some(instance) => Seen::Done(Some(instance).filter(|instance| !observe::is_over(instance))),
            None => Seen::NotYet("EC2 does not list it yet".to_owned()),
        })
    })
    .await
}

/// The instance that a request made of which the answer got lost; it may have ended since. It is looked for until the limit:
/// what was made a moment ago is not listed at once.
pub(super) async fn find_by_token(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
    limit: Duration,
) -> Result<Option<Instance>, DriverError> {
    let what = "EC2 to list the instance that it may have made";
    settle::within(cx.report, what, limit, || look_by_token(ec2, cx, state)).await
}

async fn look_by_token(
    ec2: &Ec2<'_>,
    cx: &Cx<'_>,
    state: &Ec2State,
) -> Result<Option<Instance>, DriverError> {
    // By the mark, which imitators of EC2 know too; the token decides.
    let params = Params::default()
        .filter(&format!("tag:{STORE_KEY}"), [cx.store_id])
        .filter(&format!("tag:{MACHINE_KEY}"), [cx.name.as_str()]);
    let found =
        ec2.instances(params).await.map_err(|error| trouble("the instances can't be listed", &error))?;
    Ok(found.into_iter().find(|instance| instance.client_token == state.client_token))
}

/// Waits until EC2 knows the new instance everywhere; says so where it ended at once.
async fn visible(ec2: &Ec2<'_>, cx: &Cx<'_>, state: &Ec2State) -> Result<Instance, DriverError> {
    let instance = cloud::wait_for(cx.report, "EC2 to list the instance", VISIBLE, || async {
        Ok(match observe::look(ec2, &state.instance_id).await? {
            Some(instance) => Seen::Done(instance),
            None => Seen::NotYet(format!("no instance {}", state.instance_id)),
        })
    })
    .await?;
    if !observe::is_over(&instance) {
        return Ok(instance);
    }
    let reason = if instance.reason.is_empty() { "EC2 does not say why" } else { &instance.reason };
    Err(DriverError::new(ErrorKind::Other, format!("the instance {} ended at once: {reason}", instance.id))
        .with_hint("the usual reasons: a limit of volumes is reached, or the key that encrypts them may not be used; `docker-machine rm NAME` cleans up"))
}
