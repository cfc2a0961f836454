//! `none`: an engine that is there already, known by its URL only.

mod state;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSpec, DriverState, ErrorKind,
    FlagSpec, FlagValues, Known, Observed, Power, PowerSupport, State,
};

pub use state::NoneState;

use crate::base::Base;
use crate::power::unsupported;

/// The driver's name.
pub const NAME: &str = "none";

const FLAGS: &[FlagSpec] = &[FlagSpec::str("url", "", "", "URL of host when no driver is selected")];

/// The driver.
pub struct None {
    spec: DriverSpec,
}

impl None {
    /// The driver.
    #[must_use]
    pub fn new() -> Self {
        Self {
            spec: DriverSpec {
                name: NAME.into(),
                summary: "an engine that is there already, known by its URL only".into(),
                flags: Cow::Borrowed(FLAGS),
                capabilities: Capabilities {
                    ssh: false,
                    start: PowerSupport::No("hosts without a driver cannot be started"),
                    stop: PowerSupport::No("hosts without a driver cannot be stopped"),
                    restart: PowerSupport::No("hosts without a driver cannot be restarted"),
                    kill: PowerSupport::No("hosts without a driver cannot be killed"),
                    ..Capabilities::default()
                },
            },
        }
    }
}

impl Default for None {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Driver for None {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        let url = flags.str("url");
        if url.is_empty() {
            return Err(DriverError::new(
                ErrorKind::Config,
                "--url option is required when no driver is selected",
            ));
        }
        if url.chars().any(char::is_control) {
            return Err(DriverError::new(
                ErrorKind::Config,
                format!("parse {url:?}: net/url: invalid control character in URL"),
            ));
        }
        let mut base = Base::new(cx);
        base.ip_address = state::authority(url).to_owned();
        DriverState::from_typed(&NoneState { base, url: url.to_owned(), extra: serde_json::Map::new() })
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let state: NoneState = state.typed()?;
        Ok(Known { ip: state.base.ip_address, url: state.url, ..Known::default() })
    }

    async fn precreate(&self, _cx: &Cx<'_>, _wish: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }

    async fn create(
        &self,
        _cx: &Cx<'_>,
        wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        save.save(&wish)?;
        Ok(wish)
    }

    async fn observe(&self, _cx: &Cx<'_>, _state: &DriverState) -> Result<Observed, DriverError> {
        // As the reference program has it: there is nobody to ask but the engine itself.
        Ok(Observed { state: State::Running, ..Observed::default() })
    }

    async fn power(&self, _cx: &Cx<'_>, _state: &DriverState, op: Power) -> Result<DriverState, DriverError> {
        Err(unsupported(&self.spec, op))
    }

    async fn remove(&self, _cx: &Cx<'_>, _state: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }
}
