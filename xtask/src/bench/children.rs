//! Which processes a program starts: as `strace` sees it, so that none is missed however short it lives.

use std::{error::Error, fs, process::Command as Process};

use machine_testkit::skip;

use super::measure::Invocation;

/// The system calls that make a process or turn it into another program.
const CALLS: &str = "fork,vfork,clone,clone3,execve,execveat";

/// How many processes and programs it starts besides itself. `None` where there is no `strace`.
pub fn started_by(invocation: &Invocation<'_>) -> Result<Option<u32>, Box<dyn Error>> {
    let Some(strace) = skip::find_program("strace") else { return Ok(None) };
    let folder = tempfile::tempdir()?;
    let trace = folder.path().join("trace");
    let mut process = Process::new(strace);
    process.args(["-f", "-qq", "-o"]).arg(&trace).args(["-e", &format!("trace={CALLS}")]);
    process.arg(invocation.program).args(invocation.words);
    let output = invocation.surround(&mut process).output()?;
    if output.status.code() != Some(invocation.exits) {
        return Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned().into());
    }
    // The first is the execve of the program itself.
    Ok(Some(count(&fs::read_to_string(&trace)?).saturating_sub(1)))
}

/// Lines of a trace that make a process or a program; threads are neither, and a call that was interrupted is
/// counted where it begins.
fn count(trace: &str) -> u32 {
    let begins = |line: &&str| {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        CALLS.split(',').any(|name| call.strip_prefix(name).is_some_and(|rest| rest.starts_with('(')))
    };
    let counts = |line: &&str| !line.contains("CLONE_THREAD") && !line.contains(" = -1 ");
    u32::try_from(trace.lines().filter(begins).filter(counts).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_counted_and_threads_are_not() {
        let trace = "\
7 execve(\"/bin/x\", [\"x\"], 0x7 /* 3 vars */) = 0
7 clone3({flags=CLONE_VM|CLONE_FS|CLONE_THREAD|CLONE_SETTLS}, 88) = 8
7 vfork( <unfinished ...>
9 execve(\"/sbin/ssh\", [\"ssh\"], 0x7) = -1 ENOENT (No such file or directory)
9 execve(\"/bin/ssh\", [\"ssh\"], 0x7 <unfinished ...>
7 <... vfork resumed>) = 9
9 <... execve resumed>) = 0
";
        assert_eq!(count(trace), 3);
    }
}
