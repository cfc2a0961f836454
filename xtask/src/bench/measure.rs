//! Measuring one process: by `getrusage(RUSAGE_CHILDREN)` in a process that has no other child.

use std::{
    env,
    error::Error,
    path::Path,
    process::{Command as Process, Stdio},
    time::Instant,
};

use clap::{Arg, ArgMatches, Command};
use nix::sys::{
    resource::{Usage, UsageWho, getrusage},
    time::TimeValLike,
};

use crate::Outcome;

/// What one run cost.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Cost {
    /// Milliseconds of CPU, user and system, children included.
    pub cpu_ms: f64,
    /// Milliseconds from start to end.
    pub wall_ms: f64,
    /// MiB of resident memory of the largest process.
    pub memory_mib: f64,
}

/// A command line that is measured.
pub struct Invocation<'a> {
    pub program: &'a Path,
    pub words: &'a [String],
    pub env: &'a [(&'static str, String)],
    pub home: &'a Path,
}

/// The hidden command that is started anew for each run.
const NAME: &str = "measure";

pub fn measure_cli() -> Command {
    let words =
        Arg::new("command").num_args(1..).trailing_var_arg(true).allow_hyphen_values(true).required(true);
    Command::new(NAME).hide(true).arg(words)
}

/// Runs the command and prints its cost in microseconds and KiB on stdout.
pub fn measure(given: &ArgMatches) -> Outcome {
    let mut words = given.get_many::<String>("command").into_iter().flatten();
    let mut child = Process::new(words.next().ok_or("nothing to measure")?);
    child.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let start = Instant::now();
    let output = child.output()?;
    let wall = start.elapsed();
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{}: {}", output.status, said.trim_end()).into());
    }
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("{cpu} {} {}", wall.as_micros(), usage.max_rss());
    Ok(())
}

impl Invocation<'_> {
    /// The median of so many runs, after one that warms the caches.
    pub fn median(&self, runs: usize) -> Result<Cost, Box<dyn Error>> {
        self.once()?;
        let costs = (0..runs.max(1)).map(|_| self.once()).collect::<Result<Vec<_>, _>>()?;
        let middle = |of: fn(&Cost) -> f64| {
            let mut values: Vec<f64> = costs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        Ok(Cost {
            cpu_ms: middle(|c| c.cpu_ms),
            wall_ms: middle(|c| c.wall_ms),
            memory_mib: middle(|c| c.memory_mib),
        })
    }

    fn once(&self) -> Result<Cost, Box<dyn Error>> {
        let mut process = Process::new(env::current_exe()?);
        process.arg(NAME).arg("--").arg(self.program).args(self.words).stdin(Stdio::null());
        process.env_clear().env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", self.home);
        let output = process.envs(self.env.iter().map(|(name, value)| (name, value))).output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned().into());
        }
        parse(&String::from_utf8(output.stdout)?).ok_or_else(|| "the measuring process said nothing".into())
    }
}

fn parse(line: &str) -> Option<Cost> {
    let mut numbers = line.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next()?.ok();
    Some(Cost { cpu_ms: next()? / 1000.0, wall_ms: next()? / 1000.0, memory_mib: next()? / 1024.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_numbers_is_a_cost() {
        let cost = Cost { cpu_ms: 1.5, wall_ms: 2.0, memory_mib: 4.0 };
        assert_eq!(parse("1500 2000 4096\n"), Some(cost));
        assert_eq!(parse("1500 x"), None);
    }
}
