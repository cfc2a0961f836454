//! Making a machine, and going on where that stopped.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_core::{Checkpoint, Cx, DriverError, ErrorKind, Event};
use machine_http::api::{Call, Seen};
use serde_json::{Value, json};

use super::api::{KeyPair, One, Server};
use super::resolve::Found;
use super::session::{Cloud, Service};
use super::state::OpenstackState;
use super::trouble::{fault, trouble};
use super::{address, firewall, flags, mark, volume};
use crate::cloud::{self, Mark};
use crate::source_key::SourceKey;

/// The most user data that nova takes, bytes of Base64.
const MAX_USER_DATA: usize = 65_535;
/// The same before it is made base64 of.
pub(super) const MAX_PLAIN_USER_DATA: usize = MAX_USER_DATA / 4 * 3;
/// The longest name that nova takes for anything.
const MAX_NAME: usize = 255;

/// What a create works with.
pub(super) struct Work<'a> {
    pub(super) cloud: &'a Cloud<'a>,
    pub(super) cx: &'a Cx<'a>,
    pub(super) mark: Mark,
    pub(super) found: &'a Found,
    /// Whether an earlier create may have made something that the record does not know of.
    pub(super) resumed: bool,
}

impl Work<'_> {
    /// For how long something may take, as the user said.
    pub(super) fn limit(state: &OpenstackState) -> Duration {
        // The Go program's records of before it was a flag have none.
        Duration::from_secs(if state.active_timeout == 0 { 200 } else { state.active_timeout })
    }
}

/// What can be seen of the wish on this computer.
pub(super) fn check(cx: &Cx<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    cloud::user_data(flags::USER_DATA_FILE, &state.user_data_file)?;
    if let Some(key) = SourceKey::new(flags::PRIVATE_KEY_FILE, &state.private_key_file) {
        key.check()?;
    }
    let longest = mark::key_pair_name(&Mark::of(cx)).len();
    if longest > MAX_NAME {
        let text = format!("the name {:?} is too long for nova", cx.name.as_str());
        let most = MAX_NAME - (longest - cx.name.as_str().len());
        return Err(
            DriverError::new(ErrorKind::Config, text).with_hint(format!("at most {most} letters will do"))
        );
    }
    Ok(())
}

/// Puts the user's own private key where the machine's is looked for.
pub(super) fn import_key(cx: &Cx<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    match SourceKey::new(flags::PRIVATE_KEY_FILE, &state.private_key_file) {
        Some(key) => key.import(Path::new(&state.base.ssh_key_path), cx.report),
        None => Ok(()),
    }
}

/// Makes the machine, or what of it is missing.
pub(super) async fn create(
    work: &Work<'_>,
    mut state: OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<OpenstackState, DriverError> {
    let body = body(work, &state)?;
    adopt(work, &mut state, save).await?;
    key_pair(work, &state).await?;
    let group = firewall::create(work, &mut state, save).await?;
    volume::create(work, &mut state, save).await?;
    let body = complete(body, &state, group.as_deref());
    server(work, &mut state, body, save).await?;
    // A volume can only be attached to what is built; a floating IP needs no more than the network card.
    if volume::is_to_attach(&state) {
        wait_until_active(work, &state).await?;
        volume::attach(work, &mut state, save).await?;
    }
    address::assign(work, &mut state, save).await?;
    Ok(state)
}

/// Finds the server that an earlier create made without hearing of it. All else that a server needs was there before it.
async fn adopt(
    work: &Work<'_>,
    state: &mut OpenstackState,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if !work.resumed || !state.machine_id.is_empty() {
        return Ok(());
    }
    match marked(work.cloud, &work.mark).await?.pop() {
        Some(server) => {
            state.machine_id = server.id;
            save.save(&state.write()?)
        }
        None => Ok(()),
    }
}

/// What the wish says of the server; it is looked at before anything is made.
fn body(work: &Work<'_>, state: &OpenstackState) -> Result<Value, DriverError> {
    let mut metadata = metadata(work.cx, &state.metadata);
    metadata.extend(work.mark.pairs());
    let mut server = json!({
        "name": work.cx.name.as_str(),
        "flavorRef": state.flavor_id,
        "key_name": state.key_pair_name,
        "metadata": metadata,
    });
    if let Some(seed) = work.cx.seed.filter(|seed| !seed.user_data.is_empty()) {
        let data = STANDARD.encode(seed.user_data.expose());
        if data.len() > MAX_USER_DATA {
            let text = format!(
                "the user data is too long for nova: {} of at most {MAX_USER_DATA} bytes",
                data.len()
            );
            return Err(DriverError::new(ErrorKind::Config, text).with_hint(
                "make the file of --openstack-user-data-file shorter, e.g. let it fetch the rest",
            ));
        }
        server["user_data"] = data.into();
    }
    if !state.network_id.is_empty() {
        server["networks"] = json!([{"uuid": state.network_id}]);
    }
    if !state.availability_zone.is_empty() {
        server["availability_zone"] = state.availability_zone.as_str().into();
    }
    if state.config_drive {
        server["config_drive"] = true.into();
    }
    let mut body = json!({"server": server});
    if !work.found.server_group.is_empty() {
        body["os:scheduler_hints"] = json!({"group": work.found.server_group});
    }
    Ok(body)
}

/// The body with what was made for the server: its root disk and its security groups.
fn complete(mut body: Value, state: &OpenstackState, own_group: Option<&str>) -> Value {
    let server = &mut body["server"];
    match volume::root_disk(state) {
        Some(disk) => server["block_device_mapping_v2"] = json!([disk]),
        None => server["imageRef"] = state.image_id.as_str().into(),
    }
    let named = state.security_groups.iter().flatten().map(String::as_str);
    let groups: Vec<Value> = own_group.into_iter().chain(named).map(|name| json!({"name": name})).collect();
    if !groups.is_empty() {
        server["security_groups"] = groups.into();
    }
    body
}

/// `key1,value1,key2,value2`, as the reference program takes it: what has no pair is left out.
fn metadata(cx: &Cx<'_>, text: &str) -> BTreeMap<String, String> {
    let items: Vec<&str> = text.split(',').collect();
    if !text.is_empty() && !items.len().is_multiple_of(2) {
        cx.report.report(Event::Warning(format!(
            "Metadata are not key value in pairs. {} elements found",
            items.len()
        )));
    }
    let pairs = items.chunks_exact(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned()));
    pairs.filter(|(key, _)| !key.is_empty()).collect()
}

/// Gives nova the machine's public key under a name that only this machine has, so that it may be given again.
async fn key_pair(work: &Work<'_>, state: &OpenstackState) -> Result<(), DriverError> {
    // What is in the server's record already is not needed again.
    if state.existing_key || !state.machine_id.is_empty() {
        return Ok(());
    }
    let Some(seed) = work.cx.seed else {
        return Err(DriverError::new(ErrorKind::Other, "there is no key that the machine could be given"));
    };
    let (name, key) = (&state.key_pair_name, seed.authorized_key.trim());
    let doing = "the key pair can't be made";
    let url = work.cloud.url(Service::Compute, &["os-keypairs"], &[])?;
    let call = Call::post(url).json(&json!({"keypair": {"name": name, "public_key": key}})).repeatable();
    match work.cloud.send(&call).await {
        Ok(_) => return Ok(()),
        Err(error) if error.status() == Some(409) => {}
        Err(error) => return Err(trouble(doing, &error)),
    }
    let path = ["os-keypairs", name.as_str()];
    let there: Option<One<KeyPair>> = work.cloud.find(Service::Compute, &path, doing).await?;
    if there.is_some_and(|there| there.it.public_key.trim() == key) {
        return Ok(());
    }
    // An earlier machine's of the same name and store.
    work.cloud.delete(Service::Compute, &path, doing).await?;
    work.cloud.send(&call).await.map(drop).map_err(|error| trouble(doing, &error))
}

/// Makes the server, unless there is one.
async fn server(
    work: &Work<'_>,
    state: &mut OpenstackState,
    body: Value,
    save: &mut dyn Checkpoint,
) -> Result<(), DriverError> {
    if !state.machine_id.is_empty() {
        return Ok(());
    }
    state.machine_id = make_server(work, &body).await?;
    save.save(&state.write()?)
}

async fn make_server(work: &Work<'_>, body: &Value) -> Result<String, DriverError> {
    work.cx.report.report(Event::DriverLine("Creating machine...".to_owned()));
    let call = Call::post(work.cloud.url(Service::Compute, &["servers"], &[])?).json(body);
    let made = work.cloud.send(&call).await.and_then(|answer| answer.json::<One<super::api::Id>>());
    match made {
        Ok(made) => Ok(made.it.id),
        Err(error) if error.outcome_unknown() => match marked(work.cloud, &work.mark).await?.pop() {
            Some(server) => Ok(server.id),
            None => Err(trouble("the server can't be made", &error)),
        },
        Err(error) => Err(trouble("the server can't be made", &error)),
    }
}

/// The servers that carry a mark.
pub(super) async fn marked(cloud: &Cloud<'_>, mark: &Mark) -> Result<Vec<Server>, DriverError> {
    // nova takes the name for a regular expression.
    let name = format!("^{}$", mark.machine.replace('.', "\\."));
    let doing = "the servers can't be listed";
    let mut all: Vec<Server> =
        cloud.list(Service::Compute, &["servers", "detail"], &[("name", &name)], doing).await?;
    all.retain(|server| mark::of_metadata(&server.metadata).as_ref() == Some(mark) && !server.is_deleted());
    Ok(all)
}

/// A server by its id.
pub(super) async fn show(cloud: &Cloud<'_>, id: &str) -> Result<Option<Server>, DriverError> {
    let doing = "the server can't be looked at";
    let found: Option<One<Server>> = cloud.find(Service::Compute, &["servers", id], doing).await?;
    Ok(found.map(|found| found.it))
}

/// Waits until nova has built the server. A server that is there already may be off: it is not waited for then.
pub(super) async fn wait_until_active(
    work: &Work<'_>,
    state: &OpenstackState,
) -> Result<Server, DriverError> {
    let look = || is_built(work.cloud, &state.machine_id);
    cloud::wait_for(work.cx.report, "the server to be active", Work::limit(state), look).await
}

pub(super) async fn is_built(cloud: &Cloud<'_>, id: &str) -> Result<Seen<Server>, DriverError> {
    match show(cloud, id).await? {
        // A database that is behind.
        None => Ok(Seen::NotYet("nova does not know it yet".to_owned())),
        Some(server) if server.status == "ERROR" => {
            Err(fault(&format!("the server {id} can't be built"), &server.fault.message))
        }
        Some(server) if server.status == "BUILD" => Ok(Seen::NotYet("nova builds it".to_owned())),
        Some(server) if server.is_deleted() => {
            Err(DriverError::new(ErrorKind::NotFound, format!("the server {id} was deleted"))
                .with_hint("remove the machine and create it again"))
        }
        Some(server) => Ok(Seen::Done(server)),
    }
}
