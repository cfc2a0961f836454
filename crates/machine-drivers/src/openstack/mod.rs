//! `openstack`: servers of an OpenStack cloud, by keystone v3, nova, neutron, glance and cinder.
//!
//! nova is spoken to without a microversion, which is its first (2.1): all that is needed is in it, and every cloud has it.

mod address;
mod api;
mod create;
mod credentials;
mod firewall;
mod flags;
mod mark;
mod owned;
mod power;
mod remove;
mod resolve;
mod session;
mod state;
#[cfg(test)]
mod tests;
mod trouble;
mod volume;
mod yaml;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use machine_core::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec,
    DriverState, ErrorKind, Event, FlagValues, Known, Observed, Owned, Power, Prospect, Reporter,
};

pub use state::OpenstackState;

use crate::cloud::{self, Clients, Mark};
use api::Server;
use create::Work;
use credentials::Credentials;
use remove::Removal;
use resolve::Found;
use session::{Cloud, Service, Session};
use state::ENGINE_PORT;

/// The driver's name.
pub const NAME: &str = "openstack";

/// The driver. It keeps tokens and what names stand for, for as long as it lives.
pub struct Openstack {
    spec: DriverSpec,
    clients: Clients,
    sessions: Mutex<BTreeMap<Credentials, Arc<Session>>>,
    found: Mutex<BTreeMap<(Credentials, Names), Found>>,
}

/// The names of a wish that were looked up.
type Names = [String; 8];

impl Openstack {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            ssh: true,
            pause: true,
            user_data: true,
            batch: true,
            firewall: true,
            marks: true,
            ..Capabilities::default()
        };
        let spec = DriverSpec {
            name: NAME.into(),
            summary: "servers of an OpenStack cloud".into(),
            flags: Cow::Borrowed(flags::FLAGS),
            capabilities,
        };
        Self { spec, clients: Clients::default(), sessions: Mutex::default(), found: Mutex::default() }
    }

    /// Opens the account of a record.
    async fn open<'a>(
        &self,
        state: &OpenstackState,
        report: &'a dyn Reporter,
    ) -> Result<Cloud<'a>, DriverError> {
        self.open_with(Credentials::of(state)?, report).await
    }

    async fn open_with<'a>(
        &self,
        credentials: Credentials,
        report: &'a dyn Reporter,
    ) -> Result<Cloud<'a>, DriverError> {
        let client = if credentials.insecure {
            self.clients.insecure()?
        } else {
            self.clients.get(&credentials.ca, flags::CACERT)?
        };
        let session = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let fresh = || Arc::new(Session::new(credentials.clone(), client));
            Arc::clone(sessions.entry(credentials.clone()).or_insert_with(fresh))
        };
        Cloud::open(session, report).await
    }

    /// What the names of a wish stand for; asked once.
    async fn found(&self, cloud: &Cloud<'_>, state: &OpenstackState) -> Result<Found, DriverError> {
        let key = (Credentials::of(state)?, names(state));
        let kept = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        match kept {
            Some(found) => Ok(found),
            None => {
                let found = resolve::resolve(cloud, state).await?;
                self.keep(key, found.clone());
                Ok(found)
            }
        }
    }

    fn keep(&self, key: (Credentials, Names), found: Found) {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).insert(key, found);
    }

    /// Looks at hosts of one account: alone by its id, several by one list.
    async fn look(
        &self,
        hosts: Vec<(&Cx<'_>, OpenstackState)>,
    ) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
        let [(cx, first), others @ ..] = hosts.as_slice() else { return Ok(Vec::new()) };
        let cloud = self.open(first, cx.report).await?;
        let servers = if others.is_empty() {
            Vec::from_iter(create::show(&cloud, &first.machine_id).await?)
        } else {
            let doing = "the servers can't be listed";
            cloud.list::<Server>(Service::Compute, &["servers", "detail"], &[], doing).await?
        };
        let by_id: BTreeMap<&str, &Server> =
            servers.iter().map(|server| (server.id.as_str(), server)).collect();
        let find = |state: &OpenstackState| by_id.get(state.machine_id.as_str()).copied();
        Ok(hosts.iter().map(|(_, state)| observed(state, find(state))).collect())
    }
}

impl Default for Openstack {
    fn default() -> Self {
        Self::new()
    }
}

fn names(state: &OpenstackState) -> Names {
    [
        &state.flavor_name,
        &state.flavor_id,
        &state.image_name,
        &state.image_id,
        &state.network_name,
        &state.network_id,
        &state.floating_ip_pool,
        &state.server_group_name,
    ]
    .map(Clone::clone)
}

/// What a look at a server tells of a machine.
fn observed(state: &OpenstackState, server: Option<&Server>) -> Result<Observed, DriverError> {
    let Some(server) = server.filter(|server| !server.is_deleted()) else {
        return Err(address::gone(&state.machine_id));
    };
    if server.is_unbuildable() {
        return Err(trouble::fault("the server can't be built", &server.fault.message));
    }
    let address = address::of_server(state, server).filter(|address| *address != state.base.ip_address);
    let changed = match address {
        Some(address) => {
            let mut state = state.clone();
            state.base.ip_address = address;
            Some(state.write()?)
        }
        None => None,
    };
    Ok(Observed { state: server.state(), changed, last_sign: server.fault.message.clone() })
}

/// The server's id; nothing was made where there is none.
fn made(state: &OpenstackState) -> Result<&str, DriverError> {
    if state.machine_id.is_empty() { Err(address::gone("")) } else { Ok(&state.machine_id) }
}

#[async_trait]
impl Driver for Openstack {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        flags::configure(cx, flags)?.write()
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state = OpenstackState::read(state)?;
        Ok(Known {
            url: state.base.engine_url(ENGINE_PORT),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: None,
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let state = OpenstackState::read(wish)?;
        create::check(cx, &state)?;
        let cloud = self.open(&state, cx.report).await?;
        cloud.check_project(&state.tenant_id, &state.tenant_name)?;
        if state.compute_network && resolve::has_neutron(&cloud) {
            cx.report.report(Event::Warning(
                "--openstack-nova-network does nothing: the cloud has neutron, which is used".to_owned(),
            ));
        }
        let found = resolve::check(&cloud, &state, cx.narrowed_later || !cx.allow_from.is_empty()).await?;
        self.keep((Credentials::of(&state)?, names(&state)), found);
        Ok(())
    }

    async fn prospect(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let mut state = OpenstackState::read(wish)?;
        // The user's key takes the place where the lifecycle would make one.
        create::import_key(cx, &state)?;
        let user_data = cloud::user_data(flags::USER_DATA_FILE, &state.user_data_file)?;
        let user_data_limit = Some(create::MAX_PLAIN_USER_DATA);
        if state.cloud.is_empty() {
            return Ok(Prospect { user_data, user_data_limit, ..Prospect::default() });
        }
        // Later commands may be given in another folder.
        let file = std::path::absolute(credentials::config_file(&state)?);
        let file = file.map_err(|error| DriverError::new(ErrorKind::Config, error.to_string()))?;
        state.client_config_file = file.to_string_lossy().into_owned();
        Ok(Prospect { user_data, user_data_limit, wish: Some(state.write()?), ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let mut state = OpenstackState::read(&wish)?;
        create::import_key(cx, &state)?;
        let cloud = self.open(&state, cx.report).await?;
        let found = if state.machine_id.is_empty() {
            let found = self.found(&cloud, &state).await?;
            state.flavor_id.clone_from(&found.flavor.id);
            if let Some(image) = &found.image {
                state.image_id.clone_from(&image.id);
            }
            state.network_id.clone_from(&found.network);
            state.floating_ip_pool_id.clone_from(&found.pool);
            found
        } else {
            Found::default()
        };
        let resumed = state.is_begun();
        if !resumed {
            let mark = Mark::of(cx);
            state.store_id.clone_from(&mark.store);
            state.allow_from = cx.allow_from.to_vec();
            if !state.existing_key {
                state.key_pair_name = mark::key_pair_name(&mark);
            }
            save.save(&state.write()?)?;
        }
        let mark = Mark { store: state.store_id.clone(), machine: cx.name.to_string() };
        let work = Work { cloud: &cloud, cx, mark, found: &found, resumed };
        create::create(&work, state, save).await?.write()
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state = OpenstackState::read(state)?;
        let id = made(&state)?;
        let cloud = self.open(&state, cx.report).await?;
        observed(&state, create::show(&cloud, id).await?.as_ref())
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        cloud::all_answers(self, hosts).await
    }

    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        let read = |state: &DriverState| {
            let state = OpenstackState::read(state)?;
            made(&state)?;
            Ok((Credentials::of(&state)?, state))
        };
        cloud::each_account(hosts, answer, read, |members| self.look(members)).await;
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let typed = OpenstackState::read(state)?;
        let id = made(&typed)?;
        let cloud = self.open(&typed, cx.report).await?;
        power::power(&cloud, id, op).await.map(|()| state.clone())
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let mut state = OpenstackState::read(state)?;
        let alone = !state.security_group_id.is_empty();
        if !alone && !state.is_begun() {
            return Err(firewall::shared());
        }
        made(&state)?;
        let cloud = self.open(&state, cx.report).await?;
        if alone {
            firewall::narrow(&cloud, &state, networks).await?;
        } else {
            let mark = Mark { store: state.store_id.clone(), machine: cx.name.to_string() };
            firewall::separate(&cloud, &mut state, &mark, networks).await?;
        }
        state.allow_from = networks.to_vec();
        state.write()
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        let state = OpenstackState::read(state)?;
        if !state.cloud.is_empty() {
            // What clouds.yaml says is read only where it is needed. Records have the file's whole path, flags may have none.
            let file = credentials::config_file(&state).unwrap_or_default();
            let file = std::path::absolute(&file).unwrap_or(file);
            let region = if state.region.is_empty() { String::new() } else { format!("/{}", state.region) };
            return Ok(format!("{}:{}{region}", file.display(), state.cloud));
        }
        Ok(Credentials::of(&state)?.account())
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let cloud = self.open(&OpenstackState::read(state)?, cx.report).await?;
        owned::all(&cloud, cx.store_id).await
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let cloud = self.open(&OpenstackState::read(state)?, cx.report).await?;
        owned::remove(&Removal::new(&cloud, cx.report), owned).await
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state = OpenstackState::read(state)?;
        if !remove::is_needed(&state) {
            return Ok(());
        }
        let cloud = self.open(&state, cx.report).await?;
        remove::remove(&cloud, cx, &state).await
    }
}
