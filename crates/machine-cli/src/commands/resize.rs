//! `resize`: other numbers of processors, memory, a larger disk.

use machine_core::Resize;

use crate::args::{Arguments, Command, Flag, Group, Word, WordKind, help_of, single};
use crate::error::CliError;
use crate::invocation::Invocation;
use crate::machines::{self, Ability};

/// The declaration.
pub const COMMAND: Command = Command {
    name: "resize",
    about: "Give a machine other numbers of processors, other memory, a larger disk",
    description: "Argument is a machine name. Drivers want the machine stopped for it. A disk can only grow; the machine's \
                  file system follows at its next start. Sizes are numbers with a unit: 512m, 4g, 1.5g, 1t; without one, MiB.",
    arguments: Arguments::Each(&[Word::new("NAME", WordKind::Machine)]),
    flags: &[
        Flag::text("cpus", "", "", "Number of processors").value("N").added(),
        Flag::text("memory", "", "", "Memory").value("SIZE").added(),
        Flag::text("disk", "", "", "Size of the disk; not less than it has").value("SIZE").added(),
        super::JSON,
    ],
    examples: &[("docker-machine resize dev --cpus 4 --memory 8g", "more of this computer for the machine")],
    group: Group::Machines,
    run,
};

const ABILITY: Ability = Ability { what: "resize hosts", of: |can| can.resize };

fn run(invocation: &Invocation) -> Result<(), CliError> {
    let usage = |message: &str| Err(CliError::usage(message, help_of(single(&COMMAND, &[]))));
    if invocation.args.words().len() != 1 {
        return usage("Error: Expected one machine name as an argument");
    }
    let to = wish(invocation)?;
    if to == Resize::default() {
        return usage("Error: Expected at least one of --cpus, --memory and --disk");
    }
    let lifecycle = invocation.lifecycle();
    let names = invocation.args.words();
    ABILITY.require(&lifecycle, names)?;
    machines::each_of(invocation, &lifecycle, names, async |lifecycle, name, report| {
        Ok(lifecycle.resize(name, to, report).await?)
    })
}

fn wish(invocation: &Invocation) -> Result<Resize, CliError> {
    let given = |flag| Some(invocation.args.str(flag)).filter(|text| !text.is_empty());
    let size =
        |flag| given(flag).map(|text| mebibytes(text).ok_or_else(|| wrong(flag, text, A_SIZE))).transpose();
    let number = |text: &str| text.parse().ok().filter(|number| *number > 0);
    let cpus =
        given("cpus").map(|text| number(text).ok_or_else(|| wrong("cpus", text, "a whole number above 0")));
    Ok(Resize { cpus: cpus.transpose()?, memory_mib: size("memory")?, disk_mib: size("disk")? })
}

const A_SIZE: &str = "a size above 0 in whole MiB, e.g. 512m or 4g";

fn wrong(flag: &str, text: &str, expected: &str) -> CliError {
    CliError::new(format!("invalid value {text:?} for flag -{flag}: expected {expected}"))
}

/// A size in MiB. Units are those of docker's flags, in any case: `k`, `m`, `g`, `t`, with or without `b` or `ib`, each
/// 1024 of the one before; without one it is MiB.
fn mebibytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let end = text.find(|c: char| c != '.' && !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim();
    let kib_per_unit: u64 = match unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit) {
        "k" => 1,
        "" | "m" => 1 << 10,
        "g" => 1 << 20,
        "t" => 1 << 30,
        _ => return None,
    };
    // Bytes alone are too fine to be meant.
    if unit == "b" || unit == "ib" {
        return None;
    }
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() > 9 || whole.is_empty() {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u64 = format!("{whole}{fraction}").parse().ok()?;
    let kib = digits.checked_mul(kib_per_unit)?;
    let in_one = scale.checked_mul(1 << 10)?;
    (kib > 0 && kib % in_one == 0).then_some(kib / in_one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, mib) in [
            ("512", 512),
            ("512m", 512),
            ("512MB", 512),
            ("2g", 2048),
            ("2 GiB", 2048),
            ("1.5g", 1536),
            ("1t", 1 << 20),
            ("2048k", 2),
        ] {
            assert_eq!(mebibytes(text), Some(mib), "{text}");
        }
        for text in [
            "",
            "g",
            "0",
            "0g",
            "-1g",
            "1.1k",
            "1000k",
            "4x",
            "4gg",
            "1.g.2",
            "100b",
            "99999999999999999999g",
            "1e3",
        ] {
            assert_eq!(mebibytes(text), None, "{text}");
        }
    }
}
