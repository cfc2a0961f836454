//! `generic`: a server that is there already and can be reached by SSH.

mod address;
mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, ErrorKind,
    Event, FlagError, FlagSpec, FlagValues, Known, Observed, Power, PowerSupport, State,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub use state::GenericState;

use crate::base::{Base, bare_host, join};
use crate::power::unsupported;
use crate::source_key::SourceKey;

/// The driver's name.
pub const NAME: &str = "generic";

/// How long `observe` waits for the SSH port.
const OBSERVE_LIMIT: Duration = Duration::from_secs(5);

/// The flag that names the user's key.
const KEY_FLAG: &str = "generic-ssh-key";

const FLAGS: &[FlagSpec] = &[
    FlagSpec::int("generic-engine-port", "GENERIC_ENGINE_PORT", 2376, "Docker engine port"),
    FlagSpec::str("generic-ip-address", "GENERIC_IP_ADDRESS", "", "IP Address of machine"),
    FlagSpec::str("generic-ssh-user", "GENERIC_SSH_USER", "root", "SSH user"),
    FlagSpec::str(
        KEY_FLAG,
        "GENERIC_SSH_KEY",
        "",
        "SSH private key path (if not provided, default SSH key will be used)",
    ),
    FlagSpec::int("generic-ssh-port", "GENERIC_SSH_PORT", 22, "SSH port"),
];

/// The driver.
pub struct Generic {
    spec: DriverSpec,
}

impl Generic {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "a server that is there already and can be reached by SSH".into(),
                flags: Cow::Borrowed(FLAGS),
                capabilities: Capabilities {
                    ssh: true,
                    start: PowerSupport::No("generic driver does not support start"),
                    stop: PowerSupport::No("generic driver does not support stop"),
                    restart: PowerSupport::OverSsh,
                    kill: PowerSupport::No("generic driver does not support kill"),
                    ..Capabilities::default()
                },
            },
        }
    }
}

impl Default for Generic {
    fn default() -> Self {
        Self::new()
    }
}

fn config(error: &FlagError) -> DriverError {
    DriverError::new(ErrorKind::Config, error.to_string())
}

#[async_trait]
impl Driver for Generic {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        let host = flags.str("generic-ip-address");
        if host.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Config,
                "generic driver requires the --generic-ip-address option",
            ));
        }
        address::check_host(host)?;
        let user = flags.str("generic-ssh-user");
        address::check_user(user)?;
        let mut base = Base::new(cx);
        base.ip_address = bare_host(host).to_owned();
        base.ssh_user = user.to_owned();
        base.ssh_port = flags.port("generic-ssh-port").map_err(|error| config(&error))?;
        DriverState::from_typed(&GenericState {
            base,
            engine_port: flags.port("generic-engine-port").map_err(|error| config(&error))?,
            ssh_key: flags.str("generic-ssh-key").to_owned(),
            extra: serde_json::Map::new(),
        })
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state: GenericState = state.typed()?;
        Ok(Known {
            url: state.base.engine_url(state.engine_port),
            ssh: state.base.ssh(),
            ip: state.base.ip_address,
            engine_port: None,
        })
    }

    async fn precreate(&self, _cx: &Cx<'_>, wish: &DriverState) -> Result<(), DriverError> {
        let wish: GenericState = wish.typed()?;
        match SourceKey::new(KEY_FLAG, &wish.ssh_key) {
            Some(key) => key.check(),
            None => Ok(()),
        }
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let mut state: GenericState = wish.typed()?;
        let Some(key) = SourceKey::new(KEY_FLAG, &state.ssh_key) else {
            cx.report.report(Event::DriverLine(
                "No SSH key specified. Assuming an existing key at the default location.".into(),
            ));
            save.save(&wish)?;
            return Ok(wish);
        };
        let copy = key.copy_in(cx.machine_dir)?;
        state.base.ssh_key_path = copy.to_string_lossy().into_owned();
        let made = DriverState::from_typed(&state)?;
        save.save(&made)?;
        cx.report.report(Event::DriverLine("Importing SSH key...".into()));
        key.import(&copy, cx.report)?;
        Ok(made)
    }

    async fn observe(&self, cx: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let state: GenericState = state.typed()?;
        let Some(ssh) = state.base.ssh() else {
            return Err(DriverError::new(ErrorKind::Config, "IP address is not set"));
        };
        // As in the reference program: a host whose SSH port can't be reached counts as off.
        let (now, seen) =
            match timeout(OBSERVE_LIMIT, TcpStream::connect((ssh.host.as_str(), ssh.port))).await {
                Ok(Ok(_)) => (State::Running, "connected".to_owned()),
                Ok(Err(error)) => (State::Stopped, error.to_string()),
                Err(_) => (State::Stopped, format!("no answer within {} s", OBSERVE_LIMIT.as_secs())),
            };
        cx.report.report(Event::Debug(format!("ssh port {}: {seen}", join(&ssh.host, ssh.port))));
        Ok(Observed { state: now, ..Observed::default() })
    }

    async fn power(&self, _cx: &Cx<'_>, _state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        Err(unsupported(&self.spec, op))
    }

    async fn remove(&self, _cx: &Cx<'_>, _state: &DriverState) -> Result<(), DriverError> {
        // The server is the user's. The copied key goes with the machine's folder.
        Ok(())
    }
}
