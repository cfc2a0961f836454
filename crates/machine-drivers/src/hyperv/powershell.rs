//! Windows PowerShell: found, asked, and understood.
//!
//! It is `powershell.exe`, never `pwsh`: the Hyper-V module belongs to Windows PowerShell, and PowerShell 7 runs it only
//! by way of that. What is run is one of a few scripts that are part of this program. What a user gives reaches them in
//! environment variables, so that there is nothing to quote.

use std::path::PathBuf;
use std::time::Duration;

use machine_core::{DriverError, ErrorKind};
use machine_process::{Output, ProcessError, Program};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::trouble;

/// What all names of variables begin with.
const PREFIX: &str = "MACHINE_HYPERV_";
/// What stands before every script.
const PRELUDE: &str = include_str!("scripts/prelude.ps1");

/// Something that PowerShell is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    /// Its name, for people.
    name: &'static str,
    /// What is run.
    script: &'static str,
    /// How long it may take.
    limit: Duration,
    /// Whether it can be asked again when the answer got lost.
    again: bool,
}

/// How long what only looks may take: PowerShell's start, and a busy Hyper-V.
const LOOK: Duration = Duration::from_secs(60);
/// How long a change may take.
const CHANGE: Duration = Duration::from_secs(180);
/// How long what moves a disk's content may take.
const DISK: Duration = Duration::from_secs(3600);

macro_rules! operation {
    ($name:literal, $limit:expr, $again:expr) => {
        Operation {
            name: $name,
            script: include_str!(concat!("scripts/", $name, ".ps1")),
            limit: $limit,
            again: $again,
        }
    };
}

impl Operation {
    pub(super) const CHECK: Self = operation!("check", LOOK, true);
    pub(super) const LIST: Self = operation!("list", LOOK, true);
    pub(super) const NEW: Self = operation!("new", CHANGE, false);
    pub(super) const CONFIGURE: Self = operation!("configure", CHANGE, true);
    pub(super) const POWER: Self = operation!("power", CHANGE, false);
    pub(super) const REMOVE: Self = operation!("remove", CHANGE, false);
    pub(super) const CHECKPOINTS: Self = operation!("checkpoints", LOOK, true);
    pub(super) const CHECKPOINT: Self = operation!("checkpoint", DISK, false);
    pub(super) const RESIZE: Self = operation!("resize", CHANGE, false);
    pub(super) const DISK_FIXED: Self = operation!("disk-fixed", DISK, false);
    pub(super) const DISK_COPY: Self = operation!("disk-copy", DISK, false);

    /// All of them.
    #[cfg(test)]
    pub(super) const ALL: [Self; 11] = [
        Self::CHECK,
        Self::LIST,
        Self::NEW,
        Self::CONFIGURE,
        Self::POWER,
        Self::REMOVE,
        Self::CHECKPOINTS,
        Self::CHECKPOINT,
        Self::RESIZE,
        Self::DISK_FIXED,
        Self::DISK_COPY,
    ];

    /// The text that is run.
    pub(super) fn text(self) -> String {
        format!("{PRELUDE}try {{\n{}}} catch {{\n    Write-Failure $_\n    exit 1\n}}\n", self.script)
    }
}

/// How often something that may be asked again is asked.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const PAUSE: Duration = Duration::from_millis(200);

/// Windows PowerShell on this computer.
#[derive(Clone, Debug)]
pub(super) struct PowerShell(Program);

impl PowerShell {
    /// Looks for it.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] in the reference program's words.
    pub(super) fn find() -> Result<Self, DriverError> {
        let system = std::env::var_os("SystemRoot")
            .map(|root| PathBuf::from(root).join("System32").join("WindowsPowerShell").join("v1.0"));
        let further: Vec<_> = system.iter().map(PathBuf::as_path).collect();
        Program::find(&["powershell.exe"], &further).map(Self).map_err(|error| {
            DriverError::new(ErrorKind::Precreate, "Powershell was not found in the path")
                .with_hint("the driver hyperv works on Windows only; on other systems use -d qemu")
                .with_source(error)
        })
    }

    /// Runs a script with these values, and reads its answer. What only looks, or can be done twice, is tried again where
    /// Hyper-V was busy or no answer came.
    ///
    /// # Errors
    /// What Hyper-V said; [`ErrorKind::Unavailable`] where no answer came.
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        operation: Operation,
        values: &[(&str, String)],
    ) -> Result<T, DriverError> {
        let tries = if operation.again { TRIES } else { 1 };
        let mut pause = PAUSE;
        for _ in 1..tries {
            match self.once(operation, values, operation.limit).await {
                Err(error) if error.kind() == ErrorKind::Unavailable => {}
                other => return other,
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        self.once(operation, values, operation.limit).await
    }

    /// [`Self::ask`], once and with another limit.
    ///
    /// # Errors
    /// Likewise.
    pub(super) async fn once<T: DeserializeOwned>(
        &self,
        operation: Operation,
        values: &[(&str, String)],
        limit: Duration,
    ) -> Result<T, DriverError> {
        let mut program = self.0.clone();
        for (name, value) in values {
            program = program.variable(format!("{PREFIX}{name}"), value);
        }
        let text = operation.text();
        let args = ["-NoProfile", "-NonInteractive", "-OutputFormat", "Text", "-Command", &text];
        let output = program.output(&args, &[], limit).await.map_err(|error| no_answer(operation, error))?;
        read(operation, &output)
    }
}

/// The error where PowerShell did not come to an end.
fn no_answer(operation: Operation, error: ProcessError) -> DriverError {
    let text = match &error {
        // Its own text would repeat the script.
        ProcessError::TimedOut { limit, .. } => {
            format!(
                "Hyper-V did not answer within {} s (PowerShell, \"{}\")",
                limit.as_secs(),
                operation.name
            )
        }
        other => format!("PowerShell could not be asked (\"{}\"): {other}", operation.name),
    };
    DriverError::new(ErrorKind::Unavailable, text)
        .with_hint("is the service \"Hyper-V Virtual Machine Management\" (vmms) running and idle?")
        .with_source(error)
}

/// Reads the answer: the last line that is JSON.
fn read<T: DeserializeOwned>(operation: Operation, output: &Output) -> Result<T, DriverError> {
    let answer = output.stdout.lines().rev().find_map(|line| {
        let line = line.trim_start_matches('\u{feff}').trim();
        serde_json::from_str::<Value>(line).ok().filter(Value::is_object)
    });
    let Some(answer) = answer else {
        return Err(DriverError::new(
            ErrorKind::Unavailable,
            format!(
                "PowerShell gave no answer (\"{}\", {}): {}",
                operation.name,
                output.status,
                output.said()
            ),
        ));
    };
    if let Some(error) = answer.get("error") {
        return Err(trouble::error(operation.name, error));
    }
    serde_json::from_value(answer).map_err(|error| {
        DriverError::new(
            ErrorKind::Other,
            format!("PowerShell's answer is not understood (\"{}\"): {error}", operation.name),
        )
        .with_source(error)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_pass_as_one_argument_unchanged() {
        for operation in Operation::ALL {
            let text = operation.text();
            assert!(!text.contains('"'), "{}: a double quote would have to be quoted", operation.name);
            assert!(text.is_ascii(), "{}: not ASCII", operation.name);
            assert!(!text.contains('\r') && !text.contains('\t'), "{}", operation.name);
            // The limit of Windows is 32767 for all arguments together.
            assert!(text.len() < 16_000, "{} is too long", operation.name);
            let head = format!("# Operation: {}\n", operation.name);
            assert!(operation.script.starts_with(&head), "{} does not say what it is", operation.name);
            assert!(operation.script.ends_with('\n'));
        }
    }

    #[test]
    fn scripts_paste_nothing_together() {
        for operation in Operation::ALL {
            let text = operation.text();
            for word in ["Invoke-Expression", "iex ", "ScriptBlock]::Create", "AddScript", "-EncodedCommand"]
            {
                assert!(!text.contains(word), "{}: {word} runs data as a program", operation.name);
            }
        }
    }

    #[test]
    fn variables_of_scripts_are_ours() {
        for operation in Operation::ALL {
            let text = operation.text();
            for (at, _) in text.match_indices("$env:") {
                let name = &text[at + "$env:".len()..];
                assert!(name.starts_with(PREFIX), "{}: {}", operation.name, &name[..20.min(name.len())]);
            }
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_powershell_that_hangs_is_ended() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("powershell.exe");
        std::fs::write(&file, "#!/bin/sh\nexec sleep 600\n").unwrap();
        std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
        let shell = PowerShell(Program::at(file));
        let limit = Duration::from_millis(100);
        let error = shell.once::<Value>(Operation::LIST, &[], limit).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().starts_with("Hyper-V did not answer within"), "{error}");
        assert!(!error.to_string().contains("ErrorActionPreference"), "{error}");
    }
}
