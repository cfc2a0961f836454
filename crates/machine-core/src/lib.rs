//! The domain: what a machine is, what a driver may be asked, and how both are declared.
//!
//! In: nothing but values. Out: types and traits that every other room shares: [`Machine`] (the record that
//! config.json keeps), [`State`], [`MachineName`], [`SshEndpoint`], the [`Driver`] trait with its declarations
//! ([`DriverSpec`], [`FlagSpec`]), [`Secret`] and the [`Reporter`] through which a room says what it is doing.
//!
//! There is no I/O here, and this room depends on no other room.
#![forbid(unsafe_code)]

mod driver;
mod endpoint;
mod error;
mod flags;
mod machine;
mod name;
mod report;
mod secret;
mod state;

pub use driver::{
    AccountCx, Answers, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverSource, DriverSpec,
    DriverState, ImageEngine, ImageFacts, Known, Mount, Observed, Owned, Power, PowerSupport, Prospect,
    Resize, Seed, Snapshot,
};
pub use endpoint::SshEndpoint;
pub use error::{DriverError, ErrorKind};
pub use flags::{FlagError, FlagKind, FlagSpec, FlagValue, FlagValues};
pub use machine::{
    AuthOptions, CONFIG_VERSION, EngineOptions, HostOptions, Machine, StringList, SwarmOptions,
};
pub use name::{InvalidName, MachineName};
pub use report::{Event, Reporter, Silent, StepStatus};
pub use secret::Secret;
pub use state::State;
