//! Every way in which a life can go wrong. `Display` is the text in the reference program's words, where it has any;
//! [`Error::hint`] is what to do next.

use std::path::PathBuf;

use machine_core::{DriverError, ErrorKind, InvalidName, Machine, State};
use machine_engine::EngineError;
use machine_provision::{PlanError, ProbeError, ScriptError, swarm::BadSwarmHost};
use machine_store::StoreError;
use machine_tls::TlsError;

use crate::create::Left;
use crate::wait::TimedOut;

/// Why an operation on a machine failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The record or its folder: missing, taken, torn, locked, not writable.
    #[error("{0}")]
    Store(#[source] Box<StoreError>),
    /// `create`: the name is taken.
    #[error("Docker machine {machine:?} already exists")]
    Taken {
        /// The machine.
        machine: String,
        /// Why that machine is not complete, where it is not.
        incomplete: Option<String>,
    },
    /// There is no driver of this name.
    #[error("{0}")]
    NoDriver(#[source] Box<DriverError>),
    /// The driver could not do it.
    #[error("{source}")]
    Driver {
        /// The machine.
        machine: String,
        /// The driver's error.
        source: Box<DriverError>,
    },
    /// `create`: the name can't be.
    #[error("Error creating machine: {0}")]
    BadName(#[source] InvalidName),
    /// `create`: the driver's flags are incomplete or make no sense.
    #[error("Error setting machine configuration from flags provided: {0}")]
    Configure(#[source] Box<DriverError>),
    /// `create`: a condition is not met. Exit code 3.
    #[error("Error with pre-create check: {:?}", .0.to_string())]
    Precreate(#[source] Box<DriverError>),
    /// `create`: the value of `--swarm-discovery` is no URL.
    #[error("Error parsing swarm discovery: Swarm Discovery URL was in the wrong format: {0}")]
    SwarmDiscovery(String),
    /// A file that a flag names is not what it should be.
    #[error("{flag}: {} can't be used: {why}", path.display())]
    BadFile {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The value of `--ssh-jump` is not `[user@]host[:port]`.
    #[error("--ssh-jump: {value:?} is not of the form [user@]host[:port]: {why}")]
    BadJump {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The value of `--allow-from` says no place.
    #[error("--allow-from: {value:?} can't be used: {why}")]
    BadAllowFrom {
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A create failed after there was a record.
    #[error("Error creating machine: {cause}")]
    Create {
        /// The machine.
        machine: String,
        /// What failed.
        #[source]
        cause: Box<Error>,
        /// What is left of it.
        left: Left,
    },
    /// The driver failed to make the host.
    #[error("Error in driver during machine creation: {0}")]
    DriverCreate(#[source] Box<DriverError>),
    /// The CA or a certificate can't be used or made.
    #[error("Error generating certificates: {what}: {source}")]
    Certificates {
        /// Which file, or what for.
        what: String,
        /// Why.
        source: Box<TlsError>,
    },
    /// A certificate's file can't be read.
    #[error("Error reading {}: {source}", path.display())]
    CertificateFile {
        /// The file.
        path: PathBuf,
        /// The system's words.
        source: std::io::Error,
    },
    /// The CA's private key is not there, so nothing can be signed.
    #[error("the CA certificate {} is there, but its private key {} is not", cert.display(), key.display())]
    CaKeyMissing {
        /// The certificate.
        cert: PathBuf,
        /// Where the key should be.
        key: PathBuf,
    },
    /// The machine is already as it was asked to be.
    #[error("Machine {machine:?} is already {}.", state.as_str().to_lowercase())]
    AlreadyInState {
        /// The machine.
        machine: String,
        /// The state.
        state: State,
    },
    /// The host does not answer, and its driver can't turn it on.
    #[error("machine {machine:?} does not answer on its SSH port, and its driver can't turn it on")]
    Down {
        /// The machine.
        machine: String,
    },
    /// The host is off, and is not turned on by what was asked for.
    #[error("machine {machine:?} is not running: its host is {}", state.as_str().to_lowercase())]
    NotRunning {
        /// The machine.
        machine: String,
        /// What it is doing.
        state: State,
    },
    /// The host went down while it was waited for.
    #[error("the host of machine {machine:?} went down while it was waited for: it is {}{}", state.as_str().to_lowercase(), sign(last_sign))]
    WentDown {
        /// The machine.
        machine: String,
        /// What it is doing.
        state: State,
        /// The last thing that was seen of it.
        last_sign: String,
    },
    /// A host that sets itself up did not, and it could not be done over SSH either.
    #[error("{}; over SSH: {second}", first.to_string().trim())]
    FirstBoot {
        /// What was waited for in vain.
        first: Box<Error>,
        /// What happened over SSH.
        #[source]
        second: Box<Error>,
    },
    /// The rules of who may connect were narrowed as asked for, and this computer does not get in by them.
    #[error(
        "machine {machine:?} is open to {networks} only, and does not let this computer in any more: {source}"
    )]
    LockedOut {
        /// The machine.
        machine: String,
        /// Who may connect.
        networks: String,
        /// What happened.
        source: Box<Error>,
    },
    /// The machine has no SSH: it is only a URL.
    #[error("machine {machine:?} (driver {driver:?}) has no SSH: {what} is not possible")]
    NoSsh {
        /// The machine.
        machine: String,
        /// Its driver.
        driver: String,
        /// What was asked for.
        what: &'static str,
    },
    /// The machine has no address yet.
    #[error("machine {machine:?} has no address: its host was not made, or is not running")]
    NoAddress {
        /// The machine.
        machine: String,
    },
    /// The host could not be reached by SSH, or the session broke.
    #[error("machine {machine:?}: {source}")]
    Ssh {
        /// The machine.
        machine: String,
        /// What happened.
        source: Box<machine_ssh::Error>,
    },
    /// The host did not restart itself.
    #[error("machine {machine:?} does not restart: {}", said.trim())]
    Reboot {
        /// The machine.
        machine: String,
        /// What it said.
        said: String,
    },
    /// What answers by SSH is no host on which an engine can run.
    #[error("Error detecting OS: machine {machine:?}: {source}")]
    Probe {
        /// The machine.
        machine: String,
        /// Why.
        source: ProbeError,
    },
    /// The engine can't be set up there.
    #[error("Error running provisioning: machine {machine:?}: {source}")]
    Plan {
        /// The machine.
        machine: String,
        /// Why.
        source: PlanError,
    },
    /// A step of the plan failed on the host.
    #[error("Error running provisioning: machine {machine:?}: {source}")]
    Step {
        /// The machine.
        machine: String,
        /// Which, and what it said.
        source: Box<ScriptError>,
    },
    /// The engine does not answer over TLS. The text is the reference program's, which callers know.
    #[error(
        "Error checking and/or regenerating the certs: There was an error validating certificates for host {host:?}: \
         {source}\nYou can attempt to regenerate them using 'docker-machine regenerate-certs [name]'.\nBe advised \
         that this will trigger a Docker daemon restart which might stop running containers.\n"
    )]
    Connection {
        /// The machine.
        machine: String,
        /// `address:port`.
        host: String,
        /// Why.
        source: Box<EngineError>,
    },
    /// `--swarm`: the machine's engine answers, its Swarm does not.
    #[error("Connection to Swarm cannot be checked but the certs are valid. Maybe swarm is not started")]
    SwarmNotStarted,
    /// `--swarm` for a machine that is no master.
    #[error("{0:?} is not a swarm master. The --swarm flag is intended for use with swarm masters")]
    NotSwarmMaster(String),
    /// The engine could not be asked for its version.
    #[error("Unable to query docker version: {}", .0.query_text())]
    Version(#[source] Box<EngineError>),
    /// A pinned host key in the journal can't be read.
    #[error("the pinned host key {line:?} can't be read: {source}")]
    BadPin {
        /// The line.
        line: String,
        /// Why.
        source: Box<machine_ssh::Error>,
    },
    /// The value of `--swarm-host` can't be used.
    #[error("Error running provisioning: machine {machine:?}: {source}")]
    SwarmHost {
        /// The machine.
        machine: String,
        /// Why.
        source: BadSwarmHost,
    },
    /// A container of the retired Swarm could not be started.
    #[error("Error running provisioning: machine {machine:?}: Swarm container {container:?}: {source}")]
    Swarm {
        /// The machine.
        machine: String,
        /// The container.
        container: String,
        /// Why.
        source: Box<EngineError>,
    },
    /// A wait came to its limit.
    #[error("{0}")]
    TimedOut(#[from] TimedOut),
}

/// Whose matter an error is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The user's: a flag, a name, a file.
    User,
    /// The world's: a host, a network, a provider, a disk.
    Environment,
}

impl Error {
    pub(crate) fn driver(machine: &str, source: DriverError) -> Self {
        Self::Driver { machine: machine.to_owned(), source: Box::new(source) }
    }

    pub(crate) fn ssh(machine: &Machine, source: machine_ssh::Error) -> Self {
        Self::Ssh { machine: machine.name.clone(), source: Box::new(source) }
    }

    /// The exit code: 3 for a failed pre-create check, else 1.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        if matches!(self, Self::Precreate(_)) { 3 } else { 1 }
    }

    /// Whose matter it is. A create or upgrade that fails for the world's reasons is worth a crash report.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::BadName(_)
            | Self::Taken { .. }
            | Self::NoDriver(_)
            | Self::Configure(_)
            | Self::SwarmDiscovery(_)
            | Self::BadFile { .. }
            | Self::BadJump { .. }
            | Self::BadAllowFrom { .. }
            | Self::AlreadyInState { .. }
            | Self::NotRunning { .. }
            | Self::NoSsh { .. }
            | Self::Plan { .. }
            | Self::NotSwarmMaster(_) => Kind::User,
            Self::Store(error) if matches!(**error, StoreError::NoSuchMachine { .. }) => Kind::User,
            Self::Driver { source, .. } | Self::DriverCreate(source)
                if source.kind() == ErrorKind::Config =>
            {
                Kind::User
            }
            _ => Kind::Environment,
        }
    }

    /// What to do next, where there is something to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Store(error) => error.hint(),
            Self::Taken { machine, incomplete } => incomplete.as_ref().map(|reason| {
                format!(
                    "it is not complete ({reason}): `docker-machine create --resume {machine}` goes on with it, \
                     `docker-machine rm {machine}` removes it"
                )
            }),
            Self::NoDriver(error)
            | Self::Configure(error)
            | Self::Precreate(error)
            | Self::DriverCreate(error)
            | Self::Driver { source: error, .. } => error.hint().map(ToOwned::to_owned),
            Self::Create { machine, cause, left } => Some(left.hint(machine, cause)),
            Self::Certificates { source, .. } => source.hint().map(ToOwned::to_owned),
            Self::CaKeyMissing { key, .. } => Some(format!(
                "put the key back at {}, name another CA with --tls-ca-cert and --tls-ca-key, or move both away to get \
                 a new CA (machines of the old one then need `docker-machine regenerate-certs`)",
                key.display()
            )),
            Self::NoSsh { .. } => Some(
                "use a driver that makes or reaches a host, e.g. `-d generic` for a server that you have"
                    .into(),
            ),
            Self::NoAddress { machine } => Some(format!("`docker-machine start {machine}` may give it one")),
            Self::NotRunning { machine, .. } => Some(format!("`docker-machine start {machine}` turns it on")),
            Self::Ssh { machine, source } => ssh_hint(machine, source),
            Self::FirstBoot { second, .. } => second.hint(),
            Self::LockedOut { .. } => Some(
                "this computer may reach it from other addresses as well (a VPN, a proxy, the other family of addresses): \
                 let them in by the provider's rules, or make the machine anew with --allow-from and your network"
                    .into(),
            ),
            Self::Plan { source, .. } => source.hint(),
            Self::Step { source, .. } => source.hint(),
            _ => None,
        }
    }
}

fn sign(last_sign: &str) -> String {
    if last_sign.is_empty() { String::new() } else { format!("; last seen of it: {last_sign}") }
}

fn ssh_hint(machine: &str, error: &machine_ssh::Error) -> Option<String> {
    use machine_ssh::Error as E;
    match error {
        E::HostKeyChanged { .. } => Some(format!(
            "if you know why (the host was made anew), accept the new key with `docker-machine ssh \
             --accept-new-host-key {machine}`; if you don't, find out before you go on"
        )),
        E::GaveUp { last, .. } => ssh_hint(machine, last),
        E::Jump { source, .. } if source.is_auth_failure() => Some(
            "jump hosts are logged into with the keys of your ssh-agent and of ~/.ssh: check that one of them is in the \
             user's ~/.ssh/authorized_keys there"
                .into(),
        ),
        E::Jump { source, .. } => ssh_hint(machine, source),
        E::Refused { .. } | E::TimedOut { .. } | E::Unreachable { .. } => Some(
            "check that the host is on, and that firewalls and security groups let this computer reach its SSH port"
                .into(),
        ),
        E::NotSsh { .. } => Some(
            "check the port (for the generic driver: --generic-ssh-port); SSH servers listen on 22 unless told otherwise"
                .into(),
        ),
        E::AuthFailed { .. } => Some(
            "check the user and the key (for the generic driver: --generic-ssh-user, --generic-ssh-key), and that the \
             key's public part is in that user's ~/.ssh/authorized_keys on the host"
                .into(),
        ),
        _ => None,
    }
}

impl Left {
    fn hint(&self, machine: &str, cause: &Error) -> String {
        let cause = cause.hint().map(|hint| format!("{hint}\n")).unwrap_or_default();
        match self {
            Self::Record => format!(
                "{cause}The machine {machine:?} is kept as it is. `docker-machine create --resume {machine}` goes on \
                 where it stopped; `docker-machine rm {machine}` removes it."
            ),
            Self::Nothing => format!("{cause}It was rolled back: nothing is left of {machine:?}."),
            Self::RollbackFailed(error) => format!(
                "{cause}Rolling back failed too: {error}. `docker-machine rm {machine}` tries again; `docker-machine \
                 rm -f {machine}` clears the record whatever happens."
            ),
        }
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Store(Box::new(error))
    }
}
