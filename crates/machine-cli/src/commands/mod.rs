//! The commands, one file each.

pub mod active;
mod azure;
mod clone;
mod completion;
mod config;
pub mod create;
mod docker_cli_plugin_metadata;
mod env;
mod gc;
mod generate_docs;
pub mod help;
mod image;
pub mod inspect;
mod ip;
mod kill;
mod ls;
mod man;
mod mount;
mod pause;
mod provision;
pub mod regenerate_certs;
mod resize;
mod restart;
mod resume;
mod rm;
mod scp;
pub mod snapshot;
mod ssh;
mod start;
mod status;
mod stop;
mod upgrade;
mod url;
mod version;

use crate::args::{Command, Family, Flag};
use crate::error::CliError;

/// The first words of commands of two words. A family has its commands in one file or folder: of `snapshot`, `snapshot ls`.
pub const FAMILIES: &[Family] = &[
    Family { name: "azure", about: "Make Docker hosts in Microsoft Azure as its first command line did" },
    Family { name: "image", about: "Get, build and remove images of virtual machines" },
    Family { name: "snapshot", about: "Keep machines as they are, and go back to that" },
];

/// All commands, in the order in which help shows them.
pub const COMMANDS: &[&Command] = &[
    &active::COMMAND,
    &config::COMMAND,
    &create::COMMAND,
    &env::COMMAND,
    &inspect::COMMAND,
    &ip::COMMAND,
    &kill::COMMAND,
    &ls::COMMAND,
    &provision::COMMAND,
    &regenerate_certs::COMMAND,
    &restart::COMMAND,
    &rm::COMMAND,
    &gc::COMMAND,
    &ssh::COMMAND,
    &scp::COMMAND,
    &mount::COMMAND,
    &start::COMMAND,
    &status::COMMAND,
    &stop::COMMAND,
    &pause::COMMAND,
    &resume::COMMAND,
    &snapshot::CREATE,
    &snapshot::LS,
    &snapshot::RESTORE,
    &snapshot::RM,
    &clone::COMMAND,
    &resize::COMMAND,
    &image::LS,
    &image::PULL,
    &image::BUILD,
    &image::RM,
    &image::PRUNE,
    &azure::VM,
    &upgrade::COMMAND,
    &url::COMMAND,
    &version::COMMAND,
    &completion::COMMAND,
    &man::COMMAND,
    &help::COMMAND,
    &generate_docs::COMMAND,
    &docker_cli_plugin_metadata::COMMAND,
];

/// `--json`, for every command that answers something.
const JSON: Flag = Flag::switch("json", "Print the answer as JSON").added();

/// The flags of the driver that a command line names, for the commands that take those.
///
/// # Errors
/// There is no such driver.
pub fn driver_flags(command: &str, args: &[String]) -> Result<Vec<Flag>, CliError> {
    match command {
        "create" => create::driver_flags(args),
        "gc" => gc::driver_flags(args),
        _ => Ok(Vec::new()),
    }
}
