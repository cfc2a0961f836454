//! What a host is, and how a Docker engine gets there: plans and their renderers.
//!
//! In: what a probe printed on the host ([`HostFacts`]) and what is wanted there ([`EngineWish`]). Out: a [`Plan`], which
//! is data (files with owner and mode, packages, units, commands with a limit), and its rendering as one POSIX shell
//! script ([`render::script`]) whose output [`Progress`] reads.
//!
//! There is no I/O here: others run the scripts and bring their output back. The order is always the same:
//!
//! 1. run [`probe::script`] on the host with [`probe::COMMAND`] and give its output to [`HostFacts::parse`];
//! 2. [`plan`] (or [`upgrade_plan`], [`certificates_plan`], [`registry_plan`]);
//! 3. run [`render::script`] with the command that it names, and feed each line of the output to [`Progress`].
#![forbid(unsafe_code)]

mod facts;
mod family;
mod hints;
pub mod host_key;
mod os_release;
mod plan;
pub mod probe;
mod progress;
pub mod render;
mod shell;
pub mod swarm;
mod systemd;
pub mod user_data;
mod wish;

pub use facts::{
    CloudInit, EngineFacts, EngineState, FileFacts, HostFacts, InitSystem, LockHolder, PackageManager,
    Privilege, SeLinux,
};
pub use family::Family;
pub use os_release::OsRelease;
pub use plan::{
    Action, Content, File, Install, Piece, Plan, PlanError, Step, When, certificates_plan, plan,
    registry_plan, upgrade_plan, wait_plan,
};
pub use probe::ProbeError;
pub use progress::{Outcome, Progress, ScriptError, StepEvent};
pub use wish::{Certificates, DEFAULT_INSTALL_URL, EngineWish, InstallMethod, RegistryCa};
