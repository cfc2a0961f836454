//! Reaching a host by SSH with its pinned key.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use machine_core::{Event, Machine, Reporter, SshEndpoint};
use machine_ssh::{
    AgentUse, Credentials, HostKeyOutcome, HostKeyPolicy, JumpHost, Options, PublicKey, RetryOptions,
    Session, Target,
};
use machine_store::Journal;
use serde_json::Value;
use tokio::time::Instant;

use crate::host_key::is_seeded;
use crate::power::can_be_started;
use crate::recorder::Recorder;
use crate::wait::waiting;
use crate::{Error, Lifecycle};

/// How long a fresh host may refuse our key: cloud-init puts it in place some time after the SSH server answers.
const AUTH_GRACE: Duration = Duration::from_secs(30);
const KEY_PAUSE: Duration = Duration::from_millis(500);
/// How long a server that exists already is waited for: as long as it takes to boot.
const EXISTING_LIMIT: Duration = Duration::from_secs(3 * 60);
/// Stands in the journal of a host that lets us in only at the end of its boot.
const LATE_LOGIN: &str = "lateLogin";
/// Where the pins of jump hosts stand in the journal, by `user@host:port`.
const JUMP_KEYS: &str = "jumpHostKeys";

/// How to connect to a machine for a user's own command.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Take whatever host key is shown and pin it: the user knows why it changed.
    pub accept_new_host_key: bool,
    /// Log in as somebody else than the driver says.
    pub user: Option<String>,
}

/// What the system's `ssh`, `scp`, `rsync` and `sshfs` need in order to check the same pins.
#[derive(Clone, Debug)]
pub struct SystemSsh {
    /// The account.
    pub target: Target,
    /// The machine's private key; `None` for the user's own keys.
    pub key: Option<PathBuf>,
    /// The pinned host keys.
    pub pins: Vec<PublicKey>,
    /// Jump hosts, nearest first, with their pins.
    pub jumps: Vec<(Target, Vec<PublicKey>)>,
    /// Where the text of known_hosts may be written: in the machine's folder.
    pub known_hosts: PathBuf,
}

impl Lifecycle {
    /// Connects to a machine. On first contact its key is pinned and its fingerprint told.
    ///
    /// # Errors
    /// [`Error::NoSsh`], [`Error::NoAddress`], or [`Error::Ssh`]: among them a host key that changed.
    pub async fn connect(
        &self,
        name: &str,
        options: &ConnectOptions,
        report: &dyn Reporter,
    ) -> Result<Session, Error> {
        let machine = self.store.load(name)?;
        self.require_ssh(&machine, "ssh")?;
        let journal = self.store.load_journal(name)?.unwrap_or_default();
        let (machine, session) = match self.dial(&machine, &journal, options).await {
            Ok(session) => (machine, session),
            Err(error) if may_be_elsewhere(&error) => match self.find_again(&machine, report).await? {
                Some(elsewhere) => {
                    let session = self.dial(&elsewhere, &journal, options).await?;
                    (elsewhere, session)
                }
                None => return Err(error),
            },
            Err(error) => return Err(error),
        };
        warn_of_keys(&session, report);
        if tell_keys(&session, report) {
            self.keep_pins(&machine, &session, report).await?;
        }
        Ok(session)
    }

    /// Connects for a look at a machine. Its pins are checked, but what is seen for the first time is not kept: a look
    /// needs no lock, so that it can't wait for one that its caller holds, and pins nothing unsaid.
    pub(crate) async fn connect_to_look(&self, machine: &Machine) -> Result<Session, Error> {
        let journal = self.store.load_journal(&machine.name)?.unwrap_or_default();
        self.dial_to_look(machine, &journal).await
    }

    /// [`Lifecycle::connect_to_look`] with the pins of a journal at hand.
    pub(crate) async fn dial_to_look(&self, machine: &Machine, journal: &Journal) -> Result<Session, Error> {
        self.dial(machine, journal, &ConnectOptions::default()).await
    }

    async fn dial(
        &self,
        machine: &Machine,
        journal: &Journal,
        options: &ConnectOptions,
    ) -> Result<Session, Error> {
        let route = self.route(&self.endpoint(machine)?, options, journal)?;
        Session::connect(&route.target, &route.credentials, &route.policy, &route.options)
            .await
            .map_err(|source| Error::ssh(machine, source))
    }

    /// What the system's programs need to reach a machine. Connects once where nothing is pinned yet.
    ///
    /// # Errors
    /// As [`Lifecycle::connect`].
    pub async fn system_ssh(
        &self,
        name: &str,
        options: &ConnectOptions,
        report: &dyn Reporter,
    ) -> Result<SystemSsh, Error> {
        let machine = self.store.load(name)?;
        self.require_ssh(&machine, "ssh")?;
        let machine = self.with_address(machine, report).await?;
        let mut journal = self.store.load_journal(name)?.unwrap_or_default();
        if journal.host_keys.is_empty() || options.accept_new_host_key {
            self.connect(name, options, report).await?.close().await;
            journal = self.store.load_journal(name)?.unwrap_or_default();
        }
        let endpoint = self.endpoint(&machine)?;
        let route = self.route(&endpoint, options, &journal)?;
        let jumps =
            route.options.jumps.iter().map(|jump| (jump.target.clone(), jump.host_keys.pins().to_vec()));
        Ok(SystemSsh {
            target: route.target,
            key: endpoint.key,
            pins: route.policy.pins().to_vec(),
            jumps: jumps.collect(),
            known_hosts: self.store.machine_dir(name).join("known_hosts"),
        })
    }

    /// Waits for a machine's SSH server and connects, with the journal at hand to pin its key.
    pub(crate) async fn reach(
        &self,
        machine: &Machine,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Session, Error> {
        self.reach_within(machine, self.patience(machine), recorder, report).await
    }

    /// [`Lifecycle::reach`] with a limit of its own.
    pub(crate) async fn reach_within(
        &self,
        machine: &Machine,
        limit: Duration,
        recorder: &mut Recorder<'_>,
        report: &dyn Reporter,
    ) -> Result<Session, Error> {
        let endpoint = self.endpoint(machine)?;
        let route = self.route(&endpoint, &ConnectOptions::default(), &recorder.journal)?;
        let what = format!("ssh on {}", route.target.address());
        let late = has_late_login(&recorder.journal);
        let fresh = self.is_fresh(machine);
        let grace = if late {
            limit
        } else if fresh {
            AUTH_GRACE
        } else {
            Duration::ZERO
        };
        let retry = RetryOptions { limit, auth_grace: grace };
        // Since when it shows another key: its port may have opened long after we began.
        let mut other_since: Option<Instant> = None;
        let session = loop {
            let tried = Session::connect_with_retry(
                &route.target,
                &route.credentials,
                &route.policy,
                &route.options,
                &retry,
                |wait| report.report(waiting(&what, wait.waited, wait.limit, &wait.last.to_string())),
            );
            match tried.await {
                // An SSH server that was faster than cloud-init shows what the image brought.
                Err(changed @ machine_ssh::Error::HostKeyChanged { .. })
                    if is_seeded(&recorder.journal)
                        && other_since.get_or_insert_with(Instant::now).elapsed()
                            < self.settings.key_grace =>
                {
                    let since = other_since.map_or(Duration::ZERO, |since| since.elapsed());
                    report.report(waiting(&what, since, self.settings.key_grace, &changed.to_string()));
                    tokio::time::sleep(KEY_PAUSE).await;
                }
                tried => break tried.map_err(|source| Error::ssh(machine, source))?,
            }
        };
        warn_of_keys(&session, report);
        let told = tell_keys(&session, report);
        if told {
            note_keys(&session, &mut recorder.journal).map_err(|source| Error::ssh(machine, source))?;
        }
        if recorder.journal.extra.remove(LATE_LOGIN).is_some() || told {
            recorder.save()?;
        }
        Ok(session)
    }

    /// How long a host may take until it lets us in. A server that somebody already has boots at the longest.
    pub(crate) fn patience(&self, machine: &Machine) -> Duration {
        let limit = self.settings.reach_limit;
        match self.driver(&machine.driver_name) {
            Ok(driver) if driver.spec().capabilities.user_data => self.settings.boot_limit,
            Ok(driver) if can_be_started(&*driver) => limit,
            _ => limit.min(EXISTING_LIMIT),
        }
    }

    /// Whether cloud-init sets the host up: it may not know our key yet, or restart. Any other host does or never will.
    pub(crate) fn is_fresh(&self, machine: &Machine) -> bool {
        self.driver(&machine.driver_name).is_ok_and(|driver| driver.spec().capabilities.user_data)
    }

    fn endpoint(&self, machine: &Machine) -> Result<SshEndpoint, Error> {
        self.known(machine)?.ssh.ok_or_else(|| Error::NoAddress { machine: machine.name.clone() })
    }

    fn route(
        &self,
        endpoint: &SshEndpoint,
        options: &ConnectOptions,
        journal: &Journal,
    ) -> Result<Route, Error> {
        let user = options.user.as_ref().unwrap_or(&endpoint.user);
        let pins = read_pins(&journal.host_keys)?;
        let policy = policy(pins, options.accept_new_host_key);
        let jump_pins = jump_pins(journal);
        let jumps = journal
            .jump_hosts
            .iter()
            .map(|jump| self.jump_host(jump, &jump_pins, options.accept_new_host_key))
            .collect::<Result<_, _>>()?;
        Ok(Route {
            target: Target::new(endpoint.host.as_str(), endpoint.port, user.as_str()),
            credentials: self.credentials(endpoint),
            policy,
            options: Options { jumps, ..Options::default() },
        })
    }

    fn credentials(&self, endpoint: &SshEndpoint) -> Credentials {
        match &endpoint.key {
            Some(key) => Credentials::key_file(key),
            None => self.own_keys(),
        }
    }

    /// The agent's and the user's default keys.
    fn own_keys(&self) -> Credentials {
        Credentials {
            key_files: Vec::new(),
            agent: AgentUse::Environment,
            default_keys: self.settings.ssh_dir.clone(),
            passphrase: None,
        }
    }

    fn jump_host(
        &self,
        jump: &str,
        pins: &BTreeMap<String, Vec<String>>,
        accept_new: bool,
    ) -> Result<JumpHost, Error> {
        let Jump { user, host, port } = parse_jump(jump)?;
        let target = Target::new(host, port, user.unwrap_or_else(|| self.settings.user.clone()));
        let known = read_pins(pins.get(&target.to_string()).map_or(&[], Vec::as_slice))?;
        Ok(JumpHost { target, credentials: self.own_keys(), host_keys: policy(known, accept_new) })
    }

    /// Keeps new pins. Somebody else may be at work on the machine: then they are pinned at the next contact, which is
    /// told, because until then a changed key would not be noticed.
    ///
    /// # Errors
    /// Somebody else pinned another key while this process was on its way: one of the two is not the host's.
    async fn keep_pins(
        &self,
        machine: &Machine,
        session: &Session,
        report: &dyn Reporter,
    ) -> Result<(), Error> {
        let name = &machine.name;
        let kept = async {
            let lock = self.lock(name, report).await?;
            let mut journal = self.store.load_journal(name)?.unwrap_or_default();
            note_keys(session, &mut journal).map_err(|source| Error::ssh(machine, source))?;
            Ok(self.store.save_journal(&lock, &journal)?)
        };
        match kept.await {
            Err(error @ (Error::Ssh { .. } | Error::BadPin { .. })) => Err(error),
            Err(error) => {
                report
                    .report(Event::Warning(format!("the host key of {name:?} could not be pinned: {error}")));
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }
}

/// Whether it is worth asking the driver where the host is. Who shows another key may be somebody else, who has the address
/// now.
fn may_be_elsewhere(error: &Error) -> bool {
    match error {
        Error::NoAddress { .. } => true,
        Error::Ssh { source, .. } => {
            source.is_transient() || matches!(**source, machine_ssh::Error::HostKeyChanged { .. })
        }
        _ => false,
    }
}

fn policy(pins: Vec<PublicKey>, accept_new: bool) -> HostKeyPolicy {
    if accept_new { HostKeyPolicy::AcceptNew(pins) } else { HostKeyPolicy::AcceptFirst(pins) }
}

/// Everything that a connection needs.
struct Route {
    target: Target,
    credentials: Credentials,
    policy: HostKeyPolicy,
    options: Options,
}

/// A jump host as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// The account; `None` for the user's own name.
    pub user: Option<String>,
    /// Name or address, without brackets.
    pub host: String,
    /// The port; 22 where none was written.
    pub port: u16,
}

/// Reads `[user@]host[:port]`; an IPv6 address stands in brackets.
///
/// # Errors
/// [`Error::BadJump`], which says what is wrong with it.
pub fn parse_jump(text: &str) -> Result<Jump, Error> {
    let bad = |why| Error::BadJump { value: text.to_owned(), why };
    let (user, rest) = match text.rsplit_once('@') {
        Some(("", _)) => return Err(bad("the user is empty")),
        Some((user, rest)) => (Some(user.to_owned()), rest),
        None => (None, text),
    };
    if user.as_deref().is_some_and(|user| {
        user.starts_with('-') || user.contains(|c: char| c.is_whitespace() || c.is_control())
    }) {
        return Err(bad("that is no user"));
    }
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => {
            (host, Some(port.strip_prefix(':').ok_or_else(|| bad("a port follows a colon"))?))
        }
        None => match rest.split_once(':') {
            Some((_, more)) if more.contains(':') => return Err(bad("an IPv6 address stands in brackets")),
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    if host.is_empty()
        || host.starts_with('-')
        || host.contains(|c: char| c.is_whitespace() || c.is_control())
    {
        return Err(bad("that is no host"));
    }
    let port = match port {
        None => 22,
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(|| bad("that is no port"))?,
    };
    Ok(Jump { user, host: host.to_owned(), port })
}

fn read_pins(lines: &[String]) -> Result<Vec<PublicKey>, Error> {
    lines
        .iter()
        .map(|line| {
            PublicKey::parse(line)
                .map_err(|source| Error::BadPin { line: line.clone(), source: Box::new(source) })
        })
        .collect()
}

/// Notes that a new host lets us in only at the end of its boot.
pub(crate) fn note_late_login(journal: &mut Journal) {
    journal.extra.insert(LATE_LOGIN.to_owned(), Value::Bool(true));
}

fn has_late_login(journal: &Journal) -> bool {
    journal.extra.contains_key(LATE_LOGIN)
}

fn jump_pins(journal: &Journal) -> BTreeMap<String, Vec<String>> {
    journal.extra.get(JUMP_KEYS).and_then(|v| serde_json::from_value(v.clone()).ok()).unwrap_or_default()
}

/// Tells the fingerprints of keys that were seen for the first time or anew. True where there is one to be pinned.
fn tell_keys(session: &Session, report: &dyn Reporter) -> bool {
    let of_host = told(session, "", report);
    let of_jumps = session.via().iter().filter(|hop| told(hop, "jump host ", report)).count();
    of_host || of_jumps > 0
}

/// Notes the keys that were seen for the first time or anew.
///
/// # Errors
/// [`machine_ssh::Error::HostKeyChanged`] where a key that was new to this session is not the one that is pinned by now.
fn note_keys(session: &Session, journal: &mut Journal) -> Result<(), machine_ssh::Error> {
    note_key(session, &mut journal.host_keys)?;
    let mut pins = jump_pins(journal);
    for hop in session.via() {
        note_key(hop, pins.entry(hop.target().to_string()).or_default())?;
    }
    if !pins.is_empty() {
        let value = pins.into_iter().map(|(hop, keys)| (hop, Value::from(keys))).collect();
        journal.extra.insert(JUMP_KEYS.to_owned(), Value::Object(value));
    }
    Ok(())
}

fn note_key(session: &Session, pins: &mut Vec<String>) -> Result<(), machine_ssh::Error> {
    let key = session.host_key();
    match session.host_key_outcome() {
        HostKeyOutcome::Matched => return Ok(()),
        HostKeyOutcome::Replaced => {}
        HostKeyOutcome::FirstContact => {
            let known = pins.iter().map(|line| PublicKey::parse(line)).collect::<Result<Vec<_>, _>>()?;
            if !known.is_empty() && !known.contains(key) {
                return Err(machine_ssh::Error::HostKeyChanged {
                    address: session.target().address(),
                    expected: known.iter().map(PublicKey::fingerprint).collect(),
                    got: Box::new(key.clone()),
                });
            }
        }
    }
    *pins = vec![key.to_line()];
    Ok(())
}

fn told(session: &Session, what: &str, report: &dyn Reporter) -> bool {
    let address = format!("{what}{}", session.target().address());
    let key = session.host_key();
    let text = match session.host_key_outcome() {
        HostKeyOutcome::Matched => return false,
        HostKeyOutcome::FirstContact => {
            format!(
                "first contact with {address}: its host key is {} {}; it is pinned from now on",
                key.algorithm(),
                key.fingerprint()
            )
        }
        HostKeyOutcome::Replaced => {
            format!(
                "the new host key of {address} is {} {}; it replaces the pinned one",
                key.algorithm(),
                key.fingerprint()
            )
        }
    };
    report.report(Event::Notice(text));
    true
}

fn warn_of_keys(session: &Session, report: &dyn Reporter) {
    for warning in session.warnings() {
        report.report(Event::Warning(warning.to_string()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// It becomes a word of the system's `ssh`.
        #[test]
        fn a_jump_host_is_never_an_option(text in "[-@:a-z0-9\\[\\]. \\n]{0,24}|.{0,24}") {
            if let Ok(jump) = parse_jump(&text) {
                prop_assert!(!jump.host.is_empty() && !jump.host.starts_with('-') && jump.port != 0);
                prop_assert!(jump.user.is_none_or(|user| !user.is_empty() && !user.starts_with('-')));
            }
        }
    }

    #[test]
    fn jump_hosts() {
        let jump = |user: Option<&str>, host: &str, port| Jump {
            user: user.map(Into::into),
            host: host.into(),
            port,
        };
        assert_eq!(parse_jump("bastion").unwrap(), jump(None, "bastion", 22));
        assert_eq!(parse_jump("me@bastion:2222").unwrap(), jump(Some("me"), "bastion", 2222));
        assert_eq!(parse_jump("me@[2001:db8::1]:22").unwrap(), jump(Some("me"), "2001:db8::1", 22));
        assert_eq!(parse_jump("[2001:db8::1]").unwrap(), jump(None, "2001:db8::1", 22));
        for bad in [
            "",
            "@host",
            "me@",
            "host:0",
            "host:ssh",
            "2001:db8::1",
            "-oProxyCommand=x",
            "a b",
            "[::1]22",
            "-oX=y@host",
            "a b@host",
        ] {
            assert!(matches!(parse_jump(bad), Err(Error::BadJump { .. })), "{bad:?}");
        }
    }
}
