//! `libvirt`: virtual machines by libvirt, on this computer or on another one.

mod create;
mod domain;
mod host;
mod network;
mod observe;
mod power;
mod snapshot;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod trouble;
mod uri;
mod virsh;
mod xml;

use std::borrow::Cow;
use std::collections::BTreeMap;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, ErrorKind,
    FlagSpec, FlagValues, Known, Observed, Power, Prospect, Resize, Snapshot, State,
};
use machine_image::Cache;
use roxmltree::Document;

pub use state::LibvirtState;

use crate::base::Base;
use network::{Forward, LOOPBACK, USER};
use state::ENGINE_PORT;
use virsh::Virsh;

/// The driver's name.
pub const NAME: &str = "libvirt";

const FLAGS: &[FlagSpec] = &[
    FlagSpec::str(
        "libvirt-uri",
        "LIBVIRT_DEFAULT_URI",
        "",
        "Connection to libvirt, e.g. qemu+ssh://user@host/system (qemu:///system if it can be used, else qemu:///session)",
    ),
    FlagSpec::int("libvirt-cpu-count", "LIBVIRT_CPU_COUNT", 2, "Number of virtual processors"),
    FlagSpec::int("libvirt-memory", "LIBVIRT_MEMORY", 2048, "Memory in MiB"),
    FlagSpec::int("libvirt-disk-size", "LIBVIRT_DISK_SIZE", 20_000, "Size of the disk in MiB"),
    FlagSpec::str(
        "libvirt-image",
        "LIBVIRT_IMAGE",
        "",
        "Cloud image: a name of `docker-machine image ls`, a URL or a path",
    ),
    FlagSpec::str(
        "libvirt-network",
        "LIBVIRT_NETWORK",
        "",
        "Network of libvirt, or \"user\" for forwarded ports on 127.0.0.1 (\"default\", for sessions \"user\")",
    ),
    FlagSpec::list(
        "libvirt-publish",
        "LIBVIRT_PUBLISH",
        "Forward a port with the network \"user\": [ADDRESS:]HOST_PORT:GUEST_PORT[/udp]",
    ),
    FlagSpec::str("libvirt-pool", "LIBVIRT_POOL", "default", "Storage pool for disks"),
    FlagSpec::str("libvirt-ssh-user", "LIBVIRT_SSH_USER", "docker", "SSH user"),
    FlagSpec::str(
        "libvirt-type",
        "LIBVIRT_TYPE",
        create::AUTO,
        "Virtualisation: auto, kvm, or qemu (emulation)",
    ),
    FlagSpec::str(
        "libvirt-firmware",
        "LIBVIRT_FIRMWARE",
        "",
        "Boot firmware: bios or efi (that of the architecture)",
    ),
    FlagSpec::str(
        "libvirt-cache-mode",
        "LIBVIRT_CACHE_MODE",
        "",
        "Cache mode of the disk: none, writeback, writethrough, directsync or unsafe",
    ),
    FlagSpec::str(
        "libvirt-extra-xml",
        "LIBVIRT_EXTRA_XML",
        "",
        "File with a <domain> whose content is added to the machine's, e.g. devices",
    ),
    FlagSpec::bool("libvirt-autostart", "LIBVIRT_AUTOSTART", "Start the machine with the computer"),
    FlagSpec::int(
        "libvirt-stop-timeout",
        "LIBVIRT_STOP_TIMEOUT",
        120,
        "Seconds that a stop waits for the machine before it is turned off",
    ),
];

/// The driver.
pub struct Libvirt {
    spec: DriverSpec,
}

impl Libvirt {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        let capabilities = Capabilities {
            ssh: true,
            pause: true,
            snapshot: true,
            clone: true,
            resize: true,
            user_data: true,
            batch: true,
            ..Capabilities::default()
        };
        let summary = "virtual machines by libvirt, on this computer or another one";
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: summary.into(),
                flags: Cow::Borrowed(FLAGS),
                capabilities,
            },
        }
    }
}

impl Default for Libvirt {
    fn default() -> Self {
        Self::new()
    }
}

/// Reads XML that libvirt wrote.
fn parse<'a>(xml: &'a str, what: &str) -> Result<Document<'a>, DriverError> {
    Document::parse(xml).map_err(|error| {
        DriverError::new(
            ErrorKind::Other,
            format!("libvirt's description of the {what} can't be read: {error}"),
        )
        .with_source(error)
    })
}

/// A value of a table `Name:   value` of virsh.
fn field<'a>(table: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = table.lines().filter_map(|line| line.split_once(':'));
    pairs.find(|(key, _)| key.trim() == name).map(|(_, value)| value.trim())
}

/// Whether a text is an id as libvirt writes it.
fn is_uuid(text: &str) -> bool {
    let groups: Vec<&str> = text.split('-').collect();
    let hex = |group: &&str| group.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
    groups.iter().map(|group| group.len()).eq([8, 4, 4, 4, 12]) && groups.iter().all(hex)
}

/// Reads the state. Ids stand in what virsh takes apart: only ids may.
fn read(state: &DriverState) -> Result<LibvirtState, DriverError> {
    let state: LibvirtState = state.typed()?;
    for id in [&state.uuid, &state.clone_of_uuid] {
        if !id.is_empty() && !is_uuid(id) {
            return Err(DriverError::new(
                ErrorKind::Config,
                format!("the Driver part of config.json can't be read: {id:?} is no id of a domain"),
            ));
        }
    }
    Ok(state)
}

fn invalid(flag: &str, value: &str, expected: &str) -> DriverError {
    DriverError::new(
        ErrorKind::Config,
        format!("invalid value {value:?} for flag --{flag}: expected {expected}"),
    )
}

/// A text that stands alone as an argument of virsh and in XML.
fn name(flags: &FlagValues, flag: &str, expected: &str) -> Result<String, DriverError> {
    let text = flags.str(flag);
    if text.starts_with('-') || text.chars().any(|c| c.is_control()) {
        return Err(invalid(flag, text, expected));
    }
    Ok(text.to_owned())
}

fn choice(flags: &FlagValues, flag: &str, choices: &[&str]) -> Result<String, DriverError> {
    let text = flags.str(flag);
    if choices.contains(&text) {
        return Ok(text.to_owned());
    }
    let named: Vec<&str> = choices.iter().copied().filter(|choice| !choice.is_empty()).collect();
    Err(invalid(flag, text, &format!("one of {}", named.join(", "))))
}

fn number(flags: &FlagValues, flag: &str, least: u64, most: u64) -> Result<u64, DriverError> {
    let value = flags.int(flag);
    u64::try_from(value)
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| invalid(flag, &value.to_string(), &format!("a number from {least} to {most}")))
}

fn user(flags: &FlagValues) -> Result<String, DriverError> {
    let user = name(flags, "libvirt-ssh-user", "a login name")?;
    if user.is_empty() || user.chars().any(|c| c.is_whitespace() || c == '@') {
        return Err(invalid("libvirt-ssh-user", &user, "a login name"));
    }
    Ok(user)
}

/// The network, and what goes with it.
fn networking(flags: &FlagValues, state: &mut LibvirtState) -> Result<(), DriverError> {
    state.network = name(flags, "libvirt-network", "the name of a network")?;
    if state.network.is_empty() && !state.uri.is_empty() {
        let session = uri::is_session(&state.uri);
        state.network = if session { USER } else { network::DEFAULT }.to_owned();
    }
    if state.is_forwarded() {
        if !uri::is_local(&state.uri) {
            return Err(DriverError::new(
                ErrorKind::Config,
                "the network \"user\" forwards ports of the computer that libvirt runs on; they can't be reached from here",
            )
            .with_hint("name a network of libvirt's with --libvirt-network, of which addresses can be reached"));
        }
        LOOPBACK.clone_into(&mut state.base.ip_address);
    }
    state.publish = flags.list("libvirt-publish").to_vec();
    if let Some(bad) = state.publish.iter().find(|text| Forward::parse(text).is_none()) {
        return Err(invalid("libvirt-publish", bad, "[ADDRESS:]HOST_PORT:GUEST_PORT[/udp]"));
    }
    check_publish(state)
}

/// Ports are only forwarded where the machine has no address of its own. While no network is chosen, nothing is wrong.
fn check_publish(state: &LibvirtState) -> Result<(), DriverError> {
    if state.publish.is_empty() || state.network.is_empty() || state.is_forwarded() {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Config,
        "--libvirt-publish goes with --libvirt-network user; in other networks the machine has an address of its own",
    ))
}

/// What every machine of this driver begins with.
fn base(cx: &ConfigureContext<'_>, ssh_user: String) -> Base {
    let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_ed25519");
    Base { ssh_user, ssh_key_path: key.to_string_lossy().into_owned(), ..Base::new(cx) }
}

#[async_trait]
impl Driver for Libvirt {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        uri::check(flags.str("libvirt-uri"))?;
        let mut base = base(cx, user(flags)?);
        base.set_swarm(flags);
        let pool = name(flags, "libvirt-pool", "the name of a storage pool")?;
        if pool.is_empty() {
            return Err(invalid("libvirt-pool", &pool, "the name of a storage pool"));
        }
        let mut state = LibvirtState {
            base,
            uri: flags.str("libvirt-uri").to_owned(),
            cpu: u32::try_from(number(flags, "libvirt-cpu-count", 1, 4096)?).unwrap_or(1),
            memory: number(flags, "libvirt-memory", 64, 1 << 30)?,
            disk_size: number(flags, "libvirt-disk-size", 1, 1 << 30)?,
            image: flags.str("libvirt-image").to_owned(),
            pool,
            cache_mode: choice(
                flags,
                "libvirt-cache-mode",
                &["", "none", "writeback", "writethrough", "directsync", "unsafe"],
            )?,
            domain_type: choice(flags, "libvirt-type", &[create::AUTO, "kvm", "qemu"])?,
            firmware: choice(flags, "libvirt-firmware", &["", "bios", "efi"])?,
            extra_xml: flags.str("libvirt-extra-xml").to_owned(),
            autostart: flags.bool("libvirt-autostart"),
            stop_timeout: number(flags, "libvirt-stop-timeout", 0, 86_400)?,
            ..LibvirtState::default()
        };
        networking(flags, &mut state)?;
        DriverState::from_typed(&state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state: LibvirtState = state.typed()?;
        let forwarded = state.engine_port != 0;
        let port = if forwarded { state.engine_port } else { ENGINE_PORT };
        Ok(Known {
            url: state.base.engine_url(port),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: forwarded.then_some(ENGINE_PORT),
        })
    }

    async fn precreate(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        create::check(cx, read(wish)?).await
    }

    async fn prospect(&self, cx: &Cx<'_>, wish: &DriverState) -> Result<Prospect, DriverError> {
        let mut state = read(wish)?;
        let virsh = host::connect(cx, &mut state).await?;
        create::settle(&virsh, &mut state).await?;
        let mut facts = None;
        if state.clone_of_uuid.is_empty() {
            let arch = host::Host::ask(&virsh).await?.arch;
            let image = Cache::of_store(cx.store_path).find(&state.image, arch)?;
            if let Some(image) = image.filter(|image| image.facts.is_some() && !image.id.is_empty()) {
                // What is said of this image must not be done with a newer one.
                state.image = image.id;
                facts = image.facts;
            }
        }
        let private = uri::is_local(&state.uri);
        let wish = Some(DriverState::from_typed(&state)?);
        Ok(Prospect { image: facts, private, wish, ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        create::create(cx, read(&wish)?, save).await
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let mut state = read(state)?;
        if state.uuid.is_empty() {
            return Err(observe::gone(&state.uri));
        }
        let virsh = Virsh::new(&state.uri)?;
        let seen = observe::look(&virsh, &state.uuid).await?;
        let mut changed = None;
        if seen.state == State::Running && state.base.ip_address.is_empty() {
            // It is asked only where the address was not known before the machine was made.
            if let Some(address) = network::address(&virsh, &state.uuid).await? {
                state.base.ip_address = address.to_string();
                changed = Some(DriverState::from_typed(&state)?);
            }
        }
        let console = create::console(cx, &state).map(|file| observe::last_line(&file));
        let last_sign = console.filter(|line| !line.is_empty()).unwrap_or(seen.sign);
        Ok(Observed { state: seen.state, changed, last_sign })
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        let mut connections: BTreeMap<String, Result<BTreeMap<String, State>, DriverError>> = BTreeMap::new();
        let mut answers = Vec::with_capacity(hosts.len());
        for (_, state) in hosts {
            let state = match read(state) {
                Ok(state) if state.uuid.is_empty() => Err(observe::gone(&state.uri)),
                other => other,
            };
            let state = match state {
                Ok(state) => state,
                Err(error) => {
                    answers.push(Err(error));
                    continue;
                }
            };
            if !connections.contains_key(&state.uri) {
                let seen = match Virsh::new(&state.uri) {
                    Ok(virsh) => observe::look_at_all(&virsh).await,
                    Err(error) => Err(error),
                };
                connections.insert(state.uri.clone(), seen);
            }
            answers.push(match &connections[&state.uri] {
                Ok(states) => match states.get(&state.uuid) {
                    Some(now) => Ok(Observed { state: *now, ..Observed::default() }),
                    None => Err(observe::gone(&state.uri)),
                },
                Err(error) => Err(error.again()),
            });
        }
        answers
    }

    async fn power(&self, cx: &Cx<'_>, state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        let state = read(state)?;
        let virsh = made(&state)?;
        DriverState::from_typed(&power::power(&virsh, cx, state, op).await?)
    }

    fn clone_wish(
        &self,
        cx: &ConfigureContext<'_>,
        source: &DriverState,
    ) -> Result<DriverState, DriverError> {
        let source = read(source)?;
        let mut base = base(cx, source.base.ssh_user.clone());
        if source.is_forwarded() {
            LOOPBACK.clone_into(&mut base.ip_address);
        }
        let wish = LibvirtState {
            base,
            clone_of_uuid: source.uuid.clone(),
            clone_of_volume: source.disk_volume.clone(),
            uuid: String::new(),
            mac: String::new(),
            address_reserved: false,
            engine_port: 0,
            // A port of this computer can lead to one machine only.
            publish: Vec::new(),
            disk_volume: String::new(),
            seed_volume: String::new(),
            ..source
        };
        DriverState::from_typed(&wish)
    }

    async fn resize(
        &self,
        _cx: &Cx<'_>,
        state: &DriverState,
        to: Resize,
    ) -> Result<DriverState, DriverError> {
        let state = read(state)?;
        let virsh = made(&state)?;
        DriverState::from_typed(&power::resize(&virsh, state, to).await?)
    }

    async fn snapshots(&self, _cx: &Cx<'_>, state: &DriverState) -> Result<Vec<Snapshot>, DriverError> {
        let state = read(state)?;
        snapshot::list(&made(&state)?, &state.uuid).await
    }

    async fn take_snapshot(
        &self,
        _cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let typed = read(state)?;
        snapshot::take(&made(&typed)?, &typed.uuid, name).await.map(|()| state.clone())
    }

    async fn restore_snapshot(
        &self,
        _cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let typed = read(state)?;
        snapshot::restore(&made(&typed)?, &typed.uuid, name).await.map(|()| state.clone())
    }

    async fn remove_snapshot(
        &self,
        _cx: &Cx<'_>,
        state: &DriverState,
        name: &str,
    ) -> Result<DriverState, DriverError> {
        let typed = read(state)?;
        snapshot::remove(&made(&typed)?, &typed.uuid, name).await.map(|()| state.clone())
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        let state = read(state)?;
        // Nothing is made before an id is saved.
        if state.uuid.is_empty() || state.disk_volume.is_empty() {
            return Ok(());
        }
        power::remove(&Virsh::new(&state.uri)?, cx, &state).await
    }
}

/// virsh for a machine that was made.
fn made(state: &LibvirtState) -> Result<Virsh, DriverError> {
    if state.uuid.is_empty() { Err(observe::gone(&state.uri)) } else { Virsh::new(&state.uri) }
}
