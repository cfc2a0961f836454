//! Making a server, and all that it needs in the project.

use std::collections::BTreeMap;
use std::time::Duration;

use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event, Seed};
use serde_json::{Value, json};

use super::api::{Action, Created, CreatedGroup, CreatedKey, Made, Named, NewServer, Project, Server};
use super::state::HetznerState;
use super::{address, firewall, flags};
use crate::cloud::Mark;
use crate::source_key::SourceKey;

/// How long Hetzner may take to make a server, where the user says nothing else.
const CREATE_LIMIT: Duration = Duration::from_secs(600);
/// The largest user data that Hetzner takes, bytes.
pub(super) const MAX_USER_DATA: usize = 32 * 1024;
/// What a placement group that all machines share is called.
const AUTO_SPREAD_NAME: &str = "Docker-Machine auto spread";
/// The label of that group, by which the plugin finds it.
const AUTO_SPREAD_LABEL: &str = "docker-machine/auto-spread";
/// The plugin's label of groups that go with the last server in them.
pub(super) const AUTO_CREATED: &str = "docker-machine/auto-created";
/// What stands in the state for it, as the plugin has it.
pub(super) const AUTO_SPREAD: &str = "__auto_spread";

/// A create under way.
pub(super) struct Create<'a> {
    pub cx: &'a Cx<'a>,
    pub project: &'a Project<'a>,
    pub state: HetznerState,
    pub save: &'a mut dyn Checkpoint,
}

impl Create<'_> {
    fn save(&mut self) -> Result<(), DriverError> {
        self.save.save(&DriverState::from_typed(&self.state)?)
    }

    fn say(&self, text: &str) {
        self.cx.report.report(Event::DriverLine(text.to_owned()));
    }

    /// Makes what is not there yet.
    pub(super) async fn run(mut self) -> Result<HetznerState, DriverError> {
        let seed = self.cx.seed.ok_or_else(|| {
            DriverError::new(ErrorKind::Other, "a server needs a key, and none was handed over")
        })?;
        too_much_user_data(seed)?;
        self.state.store_id = self.cx.store_id.to_owned();
        // From here on a search by the mark finds whatever was made.
        self.save()?;
        if let Some(server) = self.existing_server().await? {
            return self.finish(server, None).await;
        }
        self.keys(seed).await?;
        self.placement_group().await?;
        self.own_firewall().await?;
        let wanted = self.new_server(seed).await?;
        self.say("Creating Hetzner server...");
        match self.make_server(&wanted).await {
            Ok((server, actions)) => {
                self.state.server_id = server.id;
                self.save()?;
                self.finish(server, actions.as_deref()).await
            }
            Err(error) => {
                tokio::time::sleep(Duration::from_secs(self.state.wait_on_error)).await;
                Err(error)
            }
        }
    }

    /// The server of an earlier try: by its number, else by its mark.
    async fn existing_server(&mut self) -> Result<Option<Server>, DriverError> {
        if self.state.server_id == 0 {
            return Ok(None);
        }
        let found = self.project.server(self.state.server_id).await?;
        if found.is_none() {
            self.state.server_id = 0;
            self.save()?;
        }
        Ok(found)
    }

    /// The keys that may log in.
    async fn keys(&mut self, seed: &Seed) -> Result<(), DriverError> {
        self.copy_key()?;
        if self.state.key_id == 0 {
            let labels = self.state.key_labels.clone();
            let (id, ours) = self.key(&own_name(self.cx), &seed.authorized_key, labels).await?;
            self.state.key_id = id;
            self.state.is_existing_key = !ours;
            self.save()?;
        }
        let more = self.state.additional_keys.clone();
        for (number, key) in more.iter().enumerate().skip(self.state.attached_key_ids.len()) {
            let name = format!("{}-{}", own_name(self.cx), number + 1);
            let (id, ours) = self.key(&name, key, self.state.key_labels.clone()).await?;
            self.state.attached_key_ids.push(id);
            // One that was there before stays.
            if ours && !self.state.additional_key_ids.contains(&id) {
                self.state.additional_key_ids.push(id);
            }
            self.save()?;
        }
        Ok(())
    }

    /// The user's key goes into the machine's folder, as in the plugin.
    fn copy_key(&mut self) -> Result<(), DriverError> {
        let Some(key) = SourceKey::new(flags::KEY_PATH, &self.state.original_key) else { return Ok(()) };
        let copy = key.copy_in(self.cx.machine_dir)?;
        key.import(&copy, self.cx.report)?;
        self.state.base.ssh_key_path = copy.to_string_lossy().into_owned();
        Ok(())
    }

    /// A public key in the project: its number, and whether it was made for this machine.
    async fn key(
        &mut self,
        name: &str,
        public_key: &str,
        labels: BTreeMap<String, String>,
    ) -> Result<(i64, bool), DriverError> {
        let labels = marked(self.cx, labels);
        let body = json!({ "name": name, "public_key": public_key, "labels": labels });
        for _ in 0..2 {
            let perhaps = match self.project.make::<CreatedKey>("ssh_keys", &body).await? {
                Made::New(made) => return Ok((made.ssh_key.id, true)),
                Made::Perhaps(error) => error,
            };
            let all: Vec<Named> = self.project.all("ssh_keys", &[]).await?;
            if let Some(same) = all.iter().find(|key| same_key(&key.public_key, public_key)) {
                return Ok((same.id, is_ours(self.cx, &same.labels)));
            }
            // A key of this name that an earlier machine of the name left.
            match all.iter().find(|key| key.name == name && is_ours(self.cx, &key.labels)) {
                Some(old) => self.project.remove("ssh_keys", old.id).await?,
                None => return Err(perhaps),
            }
        }
        Err(DriverError::new(
            ErrorKind::Unavailable,
            format!("the SSH key {name:?} can't be made: it comes and goes"),
        ))
    }

    /// The placement group that is wanted: found, or made.
    async fn placement_group(&mut self) -> Result<(), DriverError> {
        let wanted = match self.state.placement_group.as_str() {
            "" => return Ok(()),
            AUTO_SPREAD => AUTO_SPREAD_NAME.to_owned(),
            name => name.to_owned(),
        };
        let found = match self.project.find("placement_groups", &wanted).await? {
            Some(found) => found,
            None => {
                let mut labels = Mark { machine: String::new(), ..Mark::of(self.cx) }.pairs();
                labels.insert(AUTO_CREATED.to_owned(), "true".to_owned());
                if self.state.placement_group == AUTO_SPREAD {
                    labels.insert(AUTO_SPREAD_LABEL.to_owned(), "true".to_owned());
                }
                let body = json!({ "name": wanted, "type": "spread", "labels": labels });
                match self.project.make::<CreatedGroup>("placement_groups", &body).await? {
                    Made::New(made) => made.placement_group,
                    Made::Perhaps(error) => {
                        self.project.find("placement_groups", &wanted).await?.ok_or(error)?
                    }
                }
            }
        };
        self.state.placement_group_id = found.id;
        self.save()
    }

    /// The firewall of the machine's own, where only some may connect.
    async fn own_firewall(&mut self) -> Result<(), DriverError> {
        if self.cx.allow_from.is_empty() || self.state.firewall_id != 0 {
            return Ok(());
        }
        self.state.firewall_id =
            firewall::make(self.cx, self.project, &self.state.base, self.cx.allow_from, None).await?;
        self.save()
    }

    async fn new_server(&mut self, seed: &Seed) -> Result<NewServer, DriverError> {
        let public_net = self.public_net().await?;
        let (networks, volumes) = attachments(self.project, &self.state).await?;
        let (project, state) = (self.project, self.state.clone());
        let mut firewalls = numbers(project, "firewalls", &state.firewalls, flags::FIREWALLS).await?;
        firewalls.extend(Some(state.firewall_id).filter(|id| *id != 0));
        let keys = std::iter::once(&state.key_id).chain(&state.attached_key_ids);
        Ok(NewServer {
            name: state.base.machine_name.clone(),
            server_type: state.server_type.clone(),
            image: if state.image_id == 0 { state.image.clone() } else { state.image_id.to_string() },
            labels: marked(self.cx, state.server_labels.clone()),
            ssh_keys: keys.map(ToString::to_string).collect(),
            user_data: seed.user_data.expose().to_owned(),
            location: state.location.clone(),
            placement_group: Some(state.placement_group_id).filter(|id| *id != 0),
            networks,
            volumes,
            firewalls: firewalls.into_iter().map(|id| json!({ "firewall": id })).collect(),
            public_net,
        })
    }

    async fn public_net(&mut self) -> Result<Option<Value>, DriverError> {
        let state = self.state.clone();
        let (four, six) = (
            primary_ip(self.project, &state.primary_ipv4, flags::PRIMARY_IPV4).await?,
            primary_ip(self.project, &state.primary_ipv6, flags::PRIMARY_IPV6).await?,
        );
        if !state.disable_public4 && !state.disable_public6 && four.is_none() && six.is_none() {
            return Ok(None);
        }
        let mut net = json!({ "enable_ipv4": !state.disable_public4, "enable_ipv6": !state.disable_public6 });
        if let Some(four) = four {
            net["ipv4"] = four.into();
        }
        if let Some(six) = six {
            net["ipv6"] = six.into();
        }
        Ok(Some(net))
    }

    /// Makes the server. Names are unique in a project, so that it can't be made twice: one that is there with our mark was
    /// made by a request whose answer got lost. With it come the actions that make it, where they are known.
    async fn make_server(
        &mut self,
        wanted: &NewServer,
    ) -> Result<(Server, Option<Vec<Action>>), DriverError> {
        let body = json!(wanted);
        match self.project.make::<Created>("servers", &body).await? {
            Made::New(Created { server, action, mut next_actions }) => {
                next_actions.insert(0, action);
                Ok((server, Some(next_actions)))
            }
            Made::Perhaps(error) => {
                let named = self.project.all::<Server>("servers", &[("name", &wanted.name)]).await?;
                let ours = named.into_iter().find(|server| is_ours(self.cx, &server.labels));
                Ok((ours.ok_or(error)?, None))
            }
        }
    }

    /// Waits until Hetzner has done what it was asked, and keeps the address. `actions` are those that make the server;
    /// `None` where they are of an earlier try: then what came of that is looked at.
    async fn finish(
        mut self,
        server: Server,
        actions: Option<&[Action]>,
    ) -> Result<HetznerState, DriverError> {
        let limit = match self.state.wait_for_running_timeout {
            0 => CREATE_LIMIT,
            seconds => Duration::from_secs(seconds),
        };
        let server = match actions {
            Some(actions) => {
                self.project.wait(actions, limit).await?;
                server
            }
            None => complete(self.project, &self.state, server, limit).await?,
        };
        let server = match address(&self.state, &server) {
            Some(_) => server,
            // A network is attached after the server was made.
            None => self.project.server(server.id).await?.unwrap_or(server),
        };
        if let Some(found) = address(&self.state, &server) {
            self.state.base.ip_address = found;
        }
        self.save()?;
        Ok(self.state)
    }
}

/// Does again what an earlier try was to do with the server and did not: an action may have failed.
async fn complete(
    project: &Project<'_>,
    state: &HetznerState,
    server: Server,
    limit: Duration,
) -> Result<Server, DriverError> {
    let id = server.id;
    let running = project.running_actions(id).await?;
    project.wait(&running, limit).await?;
    let server = project.server(id).await?.unwrap_or(server);
    let (networks, volumes) = attachments(project, state).await?;
    for network in networks {
        if !server.private_net.iter().any(|net| net.network == network) {
            let body = json!({ "network": network });
            project.act("servers", id, "attach_to_network", Some(&body)).await?;
        }
    }
    for volume in volumes.into_iter().filter(|volume| !server.volumes.contains(volume)) {
        project.act("volumes", volume, "attach", Some(&json!({ "server": id }))).await?;
    }
    if server.status == "off" {
        project.act("servers", id, "poweron", None).await?;
    }
    Ok(server)
}

/// The networks and volumes that a server is to have.
async fn attachments(
    project: &Project<'_>,
    state: &HetznerState,
) -> Result<(Vec<i64>, Vec<i64>), DriverError> {
    tokio::try_join!(
        numbers(project, "networks", &state.networks, flags::NETWORKS),
        numbers(project, "volumes", &state.volumes, flags::VOLUMES),
    )
}

/// The numbers of things that a flag names.
async fn numbers(
    project: &Project<'_>,
    kind: &str,
    given: &[String],
    flag: &str,
) -> Result<Vec<i64>, DriverError> {
    let mut numbers = Vec::with_capacity(given.len());
    for word in given {
        numbers.push(find(project, kind, word, flag).await?.id);
    }
    Ok(numbers)
}

/// What is called after a machine, and unlike anything of another store.
pub(super) fn own_name(cx: &Cx<'_>) -> String {
    format!("{}-{}", cx.name, cx.store_id.get(..8).unwrap_or(cx.store_id))
}

/// The user's labels and ours.
pub(super) fn marked(cx: &Cx<'_>, mut labels: BTreeMap<String, String>) -> BTreeMap<String, String> {
    labels.extend(Mark::of(cx).pairs());
    labels
}

/// Whether something was made for this machine of this store.
pub(super) fn is_ours(cx: &Cx<'_>, labels: &BTreeMap<String, String>) -> bool {
    Mark::of(cx).pairs().iter().all(|(key, value)| labels.get(key) == Some(value))
}

/// Whether two lines of `authorized_keys` have the same key, whatever their comments.
pub(super) fn same_key(one: &str, other: &str) -> bool {
    let words = |line: &str| line.split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>();
    words(one) == words(other)
}

/// Something that a flag names, by its number or name.
///
/// # Errors
/// [`ErrorKind::Precreate`] where there is none.
pub(super) async fn find(
    project: &Project<'_>,
    kind: &str,
    given: &str,
    flag: &str,
) -> Result<Named, DriverError> {
    project.find(kind, given).await?.ok_or_else(|| missing(kind, given, flag))
}

fn missing(kind: &str, given: &str, flag: &str) -> DriverError {
    let one = super::api::singular(kind);
    DriverError::new(ErrorKind::Precreate, format!("there is no {one} {given:?} in the project")).with_hint(
        format!("--{flag} takes its number or its name: `hcloud {} list` shows them", one.replace(' ', "-")),
    )
}

/// The number of a primary IP that is given by number, name or address.
pub(super) async fn primary_ip(
    project: &Project<'_>,
    given: &str,
    flag: &str,
) -> Result<Option<i64>, DriverError> {
    if given.is_empty() {
        return Ok(None);
    }
    if given.parse::<std::net::IpAddr>().is_err() {
        return find(project, "primary_ips", given, flag).await.map(|found| Some(found.id));
    }
    let found: Vec<Named> = project.all("primary_ips", &[("ip", given)]).await?;
    found.first().map(|found| Some(found.id)).ok_or_else(|| missing("primary_ips", given, flag))
}

/// User data that Hetzner would refuse.
fn too_much_user_data(seed: &Seed) -> Result<(), DriverError> {
    let size = seed.user_data.expose().len();
    if size <= MAX_USER_DATA {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Config,
        format!("the user data has {size} bytes, and Hetzner takes no more than {MAX_USER_DATA}"),
    )
    .with_hint(format!(
        "make the file of --{} smaller: it can fetch what is large with #include",
        flags::USER_DATA_FILE
    )))
}
