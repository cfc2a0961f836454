//! `hetzner`: servers of Hetzner Cloud. Flags, variables and state are those of docker-machine-driver-hetzner, so that scripts and
//! machines made with it go on.

mod api;
mod check;
mod create;
mod firewall;
mod flags;
mod state;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::Ipv6Addr;
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec,
    DriverState, ErrorKind, FlagError, FlagValues, Known, Observed, Owned, Power, PowerSupport, Prospect,
    Reporter, State,
};
use machine_http::api::{ApiError, Token};

pub use state::HetznerState;

use crate::base::Base;
use crate::cloud::{self, Clients, MACHINE_KEY, STORE_KEY, UBUNTU_24_04, image_facts, trouble};
use crate::power::unsupported;
use api::{Named, Project, READING, Server};
use create::{AUTO_CREATED, Create};
use state::ENGINE_PORT;

/// The driver's name.
pub const NAME: &str = "hetzner";

/// The machine's key, in its folder.
const KEY_FILE: &str = "id_rsa";
/// What carries a mark, in an order in which it can be removed.
const KINDS: [&str; 4] = ["servers", "firewalls", "ssh_keys", "placement_groups"];

/// Up to how many servers that a list does not have are asked for one by one.
const FEW: usize = 2;

/// The driver.
pub struct Hetzner {
    spec: DriverSpec,
    clients: Clients,
}

impl Hetzner {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        let spec = DriverSpec {
            name: NAME.into(),
            summary: "a server of Hetzner Cloud".into(),
            flags: Cow::Borrowed(flags::FLAGS),
            capabilities: Capabilities {
                ssh: true,
                start: PowerSupport::Driver,
                stop: PowerSupport::Driver,
                restart: PowerSupport::Driver,
                kill: PowerSupport::Driver,
                user_data: true,
                batch: true,
                firewall: true,
                marks: true,
                ..Capabilities::default()
            },
        };
        Self { spec, clients: Clients::default() }
    }

    /// The project of a machine.
    fn project<'a>(
        &self,
        state: &HetznerState,
        report: &'a dyn Reporter,
    ) -> Result<Project<'a>, DriverError> {
        let client = self.clients.get(&state.ca_cert, flags::CA_CERT)?;
        let endpoint = cloud::endpoint(flags::ENDPOINT, &state.endpoint, api::ENDPOINT)?;
        let token = Token::bearer(state.access_token.expose())
            .map_err(|error: ApiError| trouble(&READING, "Hetzner can't be asked", &error))?;
        let pause = Duration::from_secs(state.wait_on_polling.max(1));
        Ok(Project::new(client, endpoint, token, pause, report))
    }
}

impl Default for Hetzner {
    fn default() -> Self {
        Self::new()
    }
}

fn config(text: impl Into<String>) -> DriverError {
    DriverError::new(ErrorKind::Config, text)
}

fn wrong(error: &FlagError) -> DriverError {
    config(error.to_string())
}

/// Two flags that can't be given together, in the plugin's words.
fn exclusive(one: &str, other: &str) -> DriverError {
    config(format!("--{one} and --{other} are mutually exclusive"))
}

/// A whole number of a flag that is a text, as in the plugin; empty is 0.
fn number(flags: &FlagValues, flag: &str) -> Result<i64, DriverError> {
    match flags.str(flag) {
        "" => Ok(0),
        text => text.parse().map_err(|_| config(format!("could not parse int64 for {flag}: {text:?}"))),
    }
}

fn seconds(flags: &FlagValues, flag: &str) -> Result<u64, DriverError> {
    let given = flags.int(flag);
    u64::try_from(given).map_err(|_| config(format!("--{flag}: {given} is no number of seconds")))
}

fn labels(flags: &FlagValues, flag: &str, what: &str) -> Result<BTreeMap<String, String>, DriverError> {
    let pairs = flags.list(flag).iter().map(|label| match label.split_once('=') {
        Some((key, value)) if is_label_value(value) => Ok((key.to_owned(), value.to_owned())),
        Some((_, value)) => Err(config(format!("{what} label {label}: Hetzner takes no value {value:?}"))
            .with_hint(
                "a value has up to 63 letters, digits, `.`, `_` and `-`, a letter or digit at both ends",
            )),
        None => Err(config(format!("{what} label {label} is not in key=value format"))),
    });
    pairs.collect()
}

/// What Hetzner takes as a label's value.
fn is_label_value(value: &str) -> bool {
    let ends = value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.ends_with(|c: char| c.is_ascii_alphanumeric());
    value.is_empty()
        || (ends
            && value.len() <= 63
            && value.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)))
}

/// The address by which a machine is reached, as far as Hetzner has given one.
fn address(state: &HetznerState, server: &Server) -> Option<String> {
    let given = if state.use_private_network {
        server.private_net.first().map(|net| net.ip.clone())
    } else if state.disable_public4 {
        server.public_net.ipv6.as_ref().and_then(|net| first_of(&net.ip))
    } else {
        server.public_net.ipv4.as_ref().map(|address| address.ip.clone())
    };
    given.filter(|ip| !ip.is_empty())
}

/// The first address of a network, which is what a server has of its own.
fn first_of(network: &str) -> Option<String> {
    let base: Ipv6Addr = network.split('/').next()?.parse().ok()?;
    Some(Ipv6Addr::from(u128::from(base) | 1).to_string())
}

/// What Hetzner's word for a server's state means.
fn state_of(server: &Server) -> State {
    match server.status.as_str() {
        "running" => State::Running,
        "initializing" | "starting" | "rebuilding" | "migrating" => State::Starting,
        "stopping" => State::Stopping,
        "off" => State::Stopped,
        "deleting" => State::NotFound,
        _ => State::None,
    }
}

fn observed(state: &HetznerState, server: &Server) -> Result<Observed, DriverError> {
    let mut changed = None;
    if let Some(now) = address(state, server).filter(|now| *now != state.base.ip_address) {
        let base = Base { ip_address: now, ..state.base.clone() };
        changed = Some(DriverState::from_typed(&HetznerState { base, ..state.clone() })?);
    }
    let last_sign = format!("Hetzner says {}", server.status);
    Ok(Observed { state: state_of(server), changed, last_sign })
}

fn gone(state: &HetznerState) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("the server {} is gone", state.server_id))
        .with_hint("it was removed elsewhere: `docker-machine rm` forgets the machine")
}

#[async_trait]
impl Driver for Hetzner {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        check::configure(cx, flags)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state: HetznerState = state.typed()?;
        Ok(Known {
            url: state.base.engine_url(ENGINE_PORT),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: None,
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let wish: HetznerState = wish.typed()?;
        check::precreate(cx, &self.project(&wish, cx.report)?, &wish).await
    }

    async fn prospect(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let wish: HetznerState = wish.typed()?;
        let is_default = wish.image == flags::DEFAULT_IMAGE && wish.image_id == 0;
        // Types of Hetzner's own ARM servers begin so.
        let arch = if wish.server_type.starts_with("cax") { "aarch64" } else { "x86_64" };
        Ok(Prospect {
            image: is_default.then(|| image_facts(UBUNTU_24_04, arch)),
            user_data: check::user_data(&wish)?,
            user_data_limit: Some(create::MAX_USER_DATA),
            ..Prospect::default()
        })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let state: HetznerState = wish.typed()?;
        let project = self.project(&state, cx.report)?;
        let made = Create { cx, project: &project, state, save }.run().await?;
        DriverState::from_typed(&made)
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state: HetznerState = state.typed()?;
        if state.server_id == 0 {
            return Err(not_made());
        }
        match self.project(&state, cx.report)?.server(state.server_id).await? {
            Some(server) => observed(&state, &server),
            None => Err(gone(&state)),
        }
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        cloud::all_answers(self, hosts).await
    }

    async fn observe_each(&self, hosts: &[(Cx<'_>, &DriverState)], answer: Answers<'_>) {
        let read = |state: &DriverState| {
            let state: HetznerState = state.typed()?;
            if state.server_id == 0 {
                return Err(not_made());
            }
            let token = state.access_token.expose().to_owned();
            Ok(((token, state.endpoint.clone(), state.ca_cert.clone()), state))
        };
        cloud::each_account(hosts, answer, read, |members| self.look_at_project(members)).await;
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let action = match op {
            Power::Start => "poweron",
            Power::Stop => "shutdown",
            Power::Restart => "reboot",
            Power::Kill => "poweroff",
            Power::Pause | Power::Resume => return Err(unsupported(&self.spec, op)),
        };
        let typed: HetznerState = state.typed()?;
        if typed.server_id == 0 {
            return Err(not_made());
        }
        let project = self.project(&typed, cx.report)?;
        let server = project.server(typed.server_id).await?.ok_or_else(|| gone(&typed))?;
        match (op, state_of(&server)) {
            (Power::Start, State::Running) => return Err(already("running")),
            (Power::Stop | Power::Kill, State::Stopped) => return Err(already("off")),
            _ => project.act("servers", typed.server_id, action, None).await?,
        }
        Ok(state.clone())
    }

    async fn allow_from(
        &self,
        cx: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        let mut state: HetznerState = state.typed()?;
        check::firewalls_of_others(&state)?;
        let project = self.project(&state, cx.report)?;
        match state.firewall_id {
            0 => {
                let server = Some(state.server_id);
                state.firewall_id = firewall::make(cx, &project, &state.base, networks, server).await?;
            }
            id => firewall::narrow(&project, id, &state.base, networks).await?,
        }
        DriverState::from_typed(&state)
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state: HetznerState = state.typed()?;
        remove(cx, &self.project(&state, cx.report)?, &state).await
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        let state: HetznerState = state.typed()?;
        let endpoint = cloud::endpoint(flags::ENDPOINT, &state.endpoint, api::ENDPOINT)?;
        let host = endpoint.split_once("://").map_or(endpoint.as_str(), |(_, rest)| rest);
        let mut hasher = DefaultHasher::new();
        state.access_token.expose().hash(&mut hasher);
        // A token stands for a project, and nothing else that needs no question does.
        Ok(format!("{host} (token #{:08x})", hasher.finish() >> 32))
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        let state: HetznerState = state.typed()?;
        let selector = format!("{STORE_KEY}={}", cx.store_id);
        let (project, mut owned) = (self.project(&state, cx.report)?, Vec::new());
        for kind in KINDS {
            let found: Vec<Named> = project.all(kind, &[("label_selector", &selector)]).await?;
            owned.extend(found.into_iter().map(|found| Owned {
                kind: api::singular(kind),
                id: found.id.to_string(),
                machine: found.labels.get(MACHINE_KEY).cloned().unwrap_or_default(),
                about: found.name,
            }));
        }
        Ok(owned)
    }

    async fn remove_owned(
        &self,
        cx: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        let state: HetznerState = state.typed()?;
        let kind = KINDS.into_iter().find(|kind| api::singular(kind) == owned.kind);
        let (Some(kind), Ok(id)) = (kind, owned.id.parse()) else {
            return Err(config(format!("there is no {} {} at Hetzner", owned.kind, owned.id)));
        };
        self.project(&state, cx.report)?.remove(kind, id).await
    }
}

impl Hetzner {
    /// Looks at the machines of one project by one list.
    async fn look_at_project(
        &self,
        members: Vec<(&Cx<'_>, HetznerState)>,
    ) -> Result<Vec<Result<Observed, DriverError>>, DriverError> {
        let [(cx, first), ..] = members.as_slice() else { return Ok(Vec::new()) };
        // The mark keeps other servers of the project off the list, where all machines have it.
        let marked = !first.store_id.is_empty() && members.iter().all(|(_, s)| s.store_id == first.store_id);
        let selector = format!("{STORE_KEY}={}", first.store_id);
        let query: &[(&str, &str)] = if marked { &[("label_selector", &selector)] } else { &[] };
        let project = self.project(first, cx.report)?;
        let mut servers = by_number(project.all("servers", query).await?);
        let missing = members.iter().map(|(_, state)| state.server_id);
        let missing: Vec<i64> = missing.filter(|id| !servers.contains_key(id)).collect();
        // Who labels a server anew takes our labels away: one that is not listed may run all the same.
        let rest = if marked { unlisted(&project, &missing).await } else { Ok(BTreeMap::new()) };
        let unknown = rest.map(|rest| servers.extend(rest));
        let look = |state: &HetznerState| match (servers.get(&state.server_id), &unknown) {
            (Some(server), _) => observed(state, server),
            (None, Ok(())) => Err(gone(state)),
            (None, Err(error)) => Err(error.again()),
        };
        Ok(members.iter().map(|(_, state)| look(state)).collect())
    }
}

fn by_number(servers: Vec<Server>) -> BTreeMap<i64, Server> {
    servers.into_iter().map(|server| (server.id, server)).collect()
}

/// Those of these servers that are there, whatever their labels: few are asked for one by one, for more a list of the whole
/// project is cheaper.
async fn unlisted(project: &Project<'_>, numbers: &[i64]) -> Result<BTreeMap<i64, Server>, DriverError> {
    if numbers.len() > FEW {
        return project.all("servers", &[]).await.map(by_number);
    }
    let mut found = BTreeMap::new();
    for number in numbers {
        found.extend(project.server(*number).await?.map(|server| (server.id, server)));
    }
    Ok(found)
}

fn already(what: &str) -> DriverError {
    DriverError::new(ErrorKind::AlreadyDone, format!("the server is {what} already"))
}

fn not_made() -> DriverError {
    DriverError::new(ErrorKind::NotFound, "the machine has no server yet")
        .with_hint("`docker-machine create --resume` goes on with it")
}

/// Removes all that was made for a machine, also what a lost answer hid.
async fn remove(cx: &Cx<'_>, project: &Project<'_>, state: &HetznerState) -> Result<(), DriverError> {
    let mut servers: Vec<i64> = Some(state.server_id).filter(|id| *id != 0).into_iter().collect();
    let mut keys = state.additional_key_ids.clone();
    keys.extend(Some(state.key_id).filter(|_| !state.is_existing_key));
    let mut firewalls = vec![state.firewall_id];
    let group = group_of(project, state).await?;
    if !state.store_id.is_empty() {
        // What is known is not enough where an answer got lost.
        let mark = format!("{STORE_KEY}={},{MACHINE_KEY}={}", state.store_id, cx.name);
        for (kind, known) in
            [("servers", &mut servers), ("ssh_keys", &mut keys), ("firewalls", &mut firewalls)]
        {
            let found: Vec<Named> = project.all(kind, &[("label_selector", &mark)]).await?;
            known.extend(found.iter().map(|found| found.id));
            known.sort_unstable();
            known.dedup();
        }
    }
    for (kind, ids) in [("servers", servers), ("firewalls", firewalls), ("ssh_keys", keys)] {
        for id in ids.into_iter().filter(|id| *id != 0) {
            project.remove(kind, id).await?;
        }
    }
    remove_shared_group(project, state, group).await
}

/// The placement group that a machine is in; 0 for none. The plugin does not record it.
async fn group_of(project: &Project<'_>, state: &HetznerState) -> Result<i64, DriverError> {
    if !state.store_id.is_empty() || state.server_id == 0 {
        return Ok(state.placement_group_id);
    }
    let server = project.server(state.server_id).await?;
    Ok(server.and_then(|server| server.placement_group).map_or(0, |group| group.id))
}

/// A placement group goes with the last server in it where this store made it, or the plugin.
async fn remove_shared_group(
    project: &Project<'_>,
    state: &HetznerState,
    group: i64,
) -> Result<(), DriverError> {
    if group == 0 {
        return Ok(());
    }
    let Some(group) = project.find("placement_groups", &group.to_string()).await? else {
        return Ok(());
    };
    let made_along = match group.labels.get(STORE_KEY) {
        Some(store) => *store == state.store_id,
        None => group.labels.get(AUTO_CREATED).is_some_and(|value| value == "true"),
    };
    if made_along && group.servers.is_empty() {
        project.remove("placement_groups", group.id).await?;
    }
    Ok(())
}
