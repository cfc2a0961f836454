//! `snapshot ls`: a machine's snapshots.

use machine_core::{Silent, Snapshot};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::args::{Arguments, Command, Flag, Group, Word, WordKind};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::output::{self, rows::RowFormat};
use crate::progress::bytes;
use crate::runtime;

/// The declaration.
pub const COMMAND: Command = Command {
    name: "snapshot ls",
    about: "List the snapshots of a machine",
    description: "Argument is a machine name; without one it is the machine \"default\". Oldest first.",
    arguments: Arguments::Each(&[Word::new("[MACHINE]", WordKind::Machine)]),
    flags: &[
        Flag::switch("quiet", "Only names").short('q').added(),
        Flag::text(
            "format",
            "",
            "",
            "A Go template for each snapshot, a table by one (\"table …\"), or json",
        )
        .short('f')
        .value("TEMPLATE")
        .added(),
        super::super::JSON,
    ],
    examples: &[
        ("docker-machine snapshot ls dev", "a table"),
        ("docker-machine snapshot ls -f '{{.Name}} {{.Size}}' dev", "one line a snapshot, as you like it"),
    ],
    group: Group::Look,
    run,
};

/// The fields of a snapshot for templates, with the headers of their columns.
const HEADERS: [(&str, &str); 4] =
    [("Name", "NAME"), ("Taken", "TAKEN"), ("Size", "SIZE"), ("Memory", "MEMORY")];

const TABLE: &str = "table {{.Name}}\t{{.Taken}}\t{{.Size}}\t{{.Memory}}";

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let lifecycle = invocation.lifecycle();
    let name = invocation.one_name(lifecycle.store())?;
    super::ABILITY.require(&lifecycle, std::slice::from_ref(&name))?;
    let snapshots = runtime::look(async { Ok(lifecycle.snapshots(&name, &Silent).await?) })?;
    if invocation.args.bool("quiet") {
        if invocation.json() {
            return output::print_json(&snapshots.iter().map(|snapshot| &snapshot.name).collect::<Vec<_>>());
        }
        return output::print(
            &snapshots.iter().map(|snapshot| format!("{}\n", snapshot.name)).collect::<String>(),
        );
    }
    let format = invocation.args.str("format");
    if invocation.json() || format == "json" {
        return output::print_json(&snapshots.iter().map(as_json).collect::<Vec<_>>());
    }
    let format = if format.is_empty() { TABLE } else { format };
    let rows = snapshots.iter().map(shown);
    output::print(&RowFormat::parse(format)?.text(&HEADERS, rows)?)
}

/// A snapshot as people read it.
fn shown(snapshot: &Snapshot) -> Value {
    let taken = moment(snapshot).map(|at| {
        let (date, time) = (at.date(), at.time());
        format!("{date} {:02}:{:02}:{:02} UTC", time.hour(), time.minute(), time.second())
    });
    json!({
        "Name": snapshot.name,
        "Taken": taken.unwrap_or_else(|| "-".to_owned()),
        "Size": snapshot.bytes.map_or_else(|| "-".to_owned(), bytes),
        "Memory": if snapshot.with_memory { "yes" } else { "no" },
    })
}

/// A snapshot for programs: the time as RFC 3339, the size in bytes; `null` where not known.
fn as_json(snapshot: &Snapshot) -> Value {
    json!({
        "Name": snapshot.name,
        "Taken": moment(snapshot).and_then(|at| at.format(&Rfc3339).ok()),
        "Bytes": snapshot.bytes,
        "WithMemory": snapshot.with_memory,
    })
}

fn moment(snapshot: &Snapshot) -> Option<OffsetDateTime> {
    let seconds = i64::try_from(snapshot.taken_s).ok().filter(|seconds| *seconds > 0)?;
    OffsetDateTime::from_unix_timestamp(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some() -> Vec<Snapshot> {
        vec![
            Snapshot {
                name: "clean".into(),
                taken_s: 1_764_000_000,
                bytes: Some(3 << 20),
                with_memory: true,
            },
            Snapshot { name: "x".into(), ..Snapshot::default() },
        ]
    }

    #[test]
    fn for_people() {
        let text = |format: &str| RowFormat::parse(format)?.text(&HEADERS, some().iter().map(shown));
        let table = text(TABLE).unwrap();
        assert_eq!(
            table,
            "NAME    TAKEN                     SIZE      MEMORY\n\
             clean   2025-11-24 16:00:00 UTC   3.0 MiB   yes\n\
             x       -                         -         no\n"
        );
        assert_eq!(text("{{.Name}}").unwrap(), "clean\nx\n");
        assert!(text("{{.Nope}}").is_err());
    }

    #[test]
    fn for_programs() {
        let all: Vec<Value> = some().iter().map(as_json).collect();
        assert_eq!(all[0]["Taken"], "2025-11-24T16:00:00Z");
        assert_eq!((&all[1]["Taken"], &all[1]["Bytes"]), (&Value::Null, &Value::Null));
    }
}
