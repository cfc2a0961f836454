//! `clone`: a new machine whose disk begins as a copy of another's.

use crate::args::{Arguments, Command, Group, Word, WordKind, help_of, single};
use crate::commands::create;
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::Ability;
use crate::{progress, runtime};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "clone",
    about: "Make a machine of which the disk is a copy of another's",
    description: "Arguments are a machine, which has to be stopped, and the name of the new one. The new machine has the \
                  other's images, containers and volumes, and an identity of its own: name, keys, certificates, ports.",
    arguments: Arguments::Each(&[Word::new("SOURCE", WordKind::Machine), Word::new("NAME", WordKind::New)]),
    flags: &[super::JSON],
    examples: &[(
        "docker-machine stop dev; docker-machine clone dev try",
        "a second machine to try something on",
    )],
    group: Group::Machines,
    run,
};

const ABILITY: Ability = Ability { what: "clone hosts", of: |can| can.clone };

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let [source, name] = invocation.args.words() else {
        let help = help_of(single(&COMMAND, &[]));
        return Err(CliError::usage("Error: Expected a machine and the name of the new one", help));
    };
    let lifecycle = invocation.lifecycle();
    ABILITY.require(&lifecycle, std::slice::from_ref(source))?;
    let driver = lifecycle.store().load(source)?.driver_name;
    let report = progress::reporter(name, create::to(invocation), create::view(invocation));
    let made = runtime::run(async { Ok(lifecycle.clone_machine(source, name, &*report).await) }, || {
        Some(create::left(&lifecycle, name, &invocation.program.called()))
    })?;
    drop(report);
    create::finish(invocation, name, &driver, made)
}
