//! `version`: of this program, or of a machine's engine.

use serde_json::json;

use crate::args::{Arguments, Command, Group};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::{output, runtime, version};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "version",
    about: "Show the Docker Machine version or a machine docker version",
    description: "Argument is a machine name; without one it is this program's version.",
    arguments: Arguments::Machine,
    flags: &[super::JSON],
    examples: &[("docker-machine version web1", "the version of the engine on web1")],
    group: Group::Program,
    run,
};

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let name = match invocation.args.words() {
        [] if invocation.json() => {
            return output::print_json(&json!({ "Version": version::VERSION, "Build": version::BUILD }));
        }
        [] => return output::print_line(&version::line()),
        [name] => name,
        _ => return Err(CliError::new("Error: Expected one machine name as an argument")),
    };
    let lifecycle = invocation.lifecycle();
    let machine = lifecycle.store().load(name)?;
    let version = runtime::look(async { Ok(lifecycle.engine_version(&machine).await?) })?;
    if invocation.json() {
        return output::print_json(&json!({ "Name": name, "DockerVersion": version }));
    }
    output::print_line(&version)
}
