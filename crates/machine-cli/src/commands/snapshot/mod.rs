//! `snapshot …`: keeping machines as they are, and going back to that.

mod list;

use crate::args::{Arguments, Command, Flag, Group, Word, WordKind, help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Ability};

pub use self::list::COMMAND as LS;

/// What the driver has to be able to do.
const ABILITY: Ability = Ability { what: "take snapshots", of: |can| can.snapshot };

const MACHINE: Word = Word::new("MACHINE", WordKind::Machine);

/// `snapshot create`.
pub const CREATE: Command = Command {
    name: "snapshot create",
    about: "Keep a machine as it is under a name",
    description: "Arguments are a machine and the snapshot's name. Of a machine that runs, the memory is kept too where its \
                  driver can do that.",
    arguments: Arguments::Each(&[MACHINE, Word::new("SNAPSHOT", WordKind::New)]),
    flags: &[super::JSON],
    examples: &[("docker-machine snapshot create dev before-upgrade", "something to go back to")],
    group: Group::Machines,
    run: create,
};

/// `snapshot restore`.
pub const RESTORE: Command = Command {
    name: "snapshot restore",
    about: "Make a machine what it was when a snapshot was taken",
    description: "Arguments are a machine and one of its snapshots. What happened on the machine since then is lost.",
    arguments: Arguments::Each(&[MACHINE, Word::new("SNAPSHOT", WordKind::Snapshot)]),
    flags: &[Flag::switch("y", "Do not ask").short('y').added(), super::JSON],
    examples: &[("docker-machine snapshot restore -y dev before-upgrade", "go back, without a question")],
    group: Group::Machines,
    run: restore,
};

/// `snapshot rm`.
pub const RM: Command = Command {
    name: "snapshot rm",
    about: "Remove snapshots",
    description: "Arguments are a machine and one or more of its snapshots. The machine stays as it is.",
    arguments: Arguments::Each(&[MACHINE, Word::new("SNAPSHOT...", WordKind::Snapshot)]),
    flags: &[super::JSON],
    examples: &[("docker-machine snapshot rm dev before-upgrade", "free its disk space")],
    group: Group::Machines,
    run: remove,
};

fn create(invocation: &Invocation) -> Result<(), CliError> {
    let (machine, snapshot) = one(invocation, &CREATE)?;
    ABILITY.require(&invocation.lifecycle(), &[machine.to_owned()])?;
    machines::one(invocation, machine, async |lifecycle, report| {
        Ok(lifecycle.take_snapshot(machine, snapshot, report).await?)
    })
}

fn restore(invocation: &Invocation) -> Result<(), CliError> {
    let (machine, snapshot) = one(invocation, &RESTORE)?;
    ABILITY.require(&invocation.lifecycle(), &[machine.to_owned()])?;
    if !invocation.args.bool("y") {
        let question =
            format!("What happened on {machine:?} since {snapshot:?} was taken will be lost. Are you sure?");
        let yes = invocation.confirm(&question).map_err(|error| error.with_hint("-y answers yes"))?;
        if !yes {
            return Ok(());
        }
    }
    machines::one(invocation, machine, async |lifecycle, report| {
        Ok(lifecycle.restore_snapshot(machine, snapshot, report).await?)
    })
}

fn remove(invocation: &Invocation) -> Result<(), CliError> {
    let [machine, snapshots @ ..] = invocation.args.words() else { return Err(wrong_words(&RM)) };
    if snapshots.is_empty() {
        return Err(wrong_words(&RM));
    }
    ABILITY.require(&invocation.lifecycle(), std::slice::from_ref(machine))?;
    machines::one(invocation, machine, async |lifecycle, report| {
        // One after the other: they are of one disk. One that can't be removed is no reason to keep the rest.
        let mut errors = Vec::new();
        for snapshot in snapshots {
            if let Err(error) = lifecycle.remove_snapshot(machine, snapshot, report).await {
                errors.push(CliError::from(error));
            }
        }
        CliError::all(errors).map_or(Ok(()), Err)
    })
}

fn one<'a>(invocation: &'a Invocation, command: &Command) -> Result<(&'a str, &'a str), CliError> {
    match invocation.args.words() {
        [machine, snapshot] => Ok((machine, snapshot)),
        _ => Err(wrong_words(command)),
    }
}

fn wrong_words(command: &Command) -> CliError {
    let wanted =
        if command.name == RM.name { "one or more of its snapshots" } else { "the name of a snapshot" };
    CliError::usage(format!("Error: Expected a machine and {wanted}"), help_of(single(command, &[])))
}
