//! Measuring processes: by `getrusage(RUSAGE_CHILDREN)` in a process that has no other child.

use std::{
    env,
    error::Error,
    path::Path,
    process::{Child, Command as Process, Output, Stdio},
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
    /// Processes that failed, where several were started at once.
    pub failed: f64,
}

/// A command line that is measured.
#[derive(Clone, Copy)]
pub struct Invocation<'a> {
    /// The program.
    pub program: &'a Path,
    /// The words after its name.
    pub words: &'a [String],
    /// Environment variables besides a minimal environment.
    pub env: &'a [(&'static str, String)],
    /// Its home.
    pub home: &'a Path,
    /// How it ends where all is well: some questions are answered by a status.
    pub exits: i32,
}

/// The hidden command that is started anew for each run.
const NAME: &str = "measure";

/// Stands for the number of a process where several are started at once.
pub const NUMBER: &str = "{}";

pub fn measure_cli() -> Command {
    let words =
        Arg::new("command").num_args(1..).trailing_var_arg(true).allow_hyphen_values(true).required(true);
    let times = Arg::new("times").long("times").value_parser(clap::value_parser!(usize)).default_value("1");
    let exits = Arg::new("exits").long("exits").value_parser(clap::value_parser!(i32)).default_value("0");
    Command::new(NAME).hide(true).args([times, exits, words])
}

/// Runs the command, as often as asked and all at once, and prints the cost in microseconds and KiB on stdout.
pub fn measure(given: &ArgMatches) -> Outcome {
    let words: Vec<&String> = given.get_many::<String>("command").into_iter().flatten().collect();
    let times = given.get_one::<usize>("times").copied().unwrap_or(1);
    let exits = given.get_one::<i32>("exits").copied();
    let start = Instant::now();
    let children = (0..times).map(|n| spawn(&words, n)).collect::<Result<Vec<Child>, _>>()?;
    let outputs = children.into_iter().map(Child::wait_with_output).collect::<Result<Vec<Output>, _>>()?;
    let wall = start.elapsed();
    let failed: Vec<&Output> = outputs.iter().filter(|output| output.status.code() != exits).collect();
    if let Some(one) = failed.first() {
        let said = String::from_utf8_lossy(&one.stderr);
        let said = format!("{}: {}", one.status, said.trim_end());
        if times == 1 {
            return Err(said.into());
        }
        eprintln!("{} of {times} failed, one with {said}", failed.len());
    }
    let usage: Usage = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let cpu = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    println!("{cpu} {} {} {}", wall.as_micros(), usage.max_rss(), failed.len());
    Ok(())
}

fn spawn(words: &[&String], number: usize) -> Result<Child, Box<dyn Error>> {
    let mut words = words.iter().map(|word| word.replace(NUMBER, &format!("{number:04}")));
    let mut child = Process::new(words.next().ok_or("nothing to measure")?);
    child.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Ok(child.spawn()?)
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
            failed: 0.0,
        })
    }

    /// One run.
    pub fn once(&self) -> Result<Cost, Box<dyn Error>> {
        self.at_once(1)
    }

    /// So many processes started together; [`NUMBER`] in a word becomes the number of each.
    pub fn at_once(&self, times: usize) -> Result<Cost, Box<dyn Error>> {
        let mut process = Process::new(env::current_exe()?);
        process
            .arg(NAME)
            .args([format!("--times={times}"), format!("--exits={}", self.exits)])
            .arg("--")
            .arg(self.program)
            .args(self.words);
        let output = self.surround(&mut process).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(said.trim_end().to_owned().into());
        }
        eprint!("{said}");
        parse(&String::from_utf8(output.stdout)?).ok_or_else(|| "the measuring process said nothing".into())
    }

    /// The command itself, unmeasured.
    pub fn process(&self) -> Process {
        let mut process = Process::new(self.program);
        process.args(self.words);
        self.surround(&mut process);
        process
    }

    /// Gives a process the environment that is measured in: as small as one can be, and no report of a crash leaves
    /// this computer.
    pub fn surround<'p>(&self, process: &'p mut Process) -> &'p mut Process {
        process.env_clear().stdin(Stdio::null());
        process.env("PATH", env::var_os("PATH").unwrap_or_default()).env("HOME", self.home);
        process.env("MACHINE_BUGSNAG_API_TOKEN", "no-report");
        process.envs(self.env.iter().map(|(name, value)| (name, value)))
    }
}

fn parse(line: &str) -> Option<Cost> {
    let mut numbers = line.split_whitespace().map(str::parse::<f64>);
    let mut next = || numbers.next()?.ok();
    Some(Cost {
        cpu_ms: next()? / 1000.0,
        wall_ms: next()? / 1000.0,
        memory_mib: next()? / 1024.0,
        failed: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_numbers_is_a_cost() {
        let cost = Cost { cpu_ms: 1.5, wall_ms: 2.0, memory_mib: 4.0, failed: 3.0 };
        assert_eq!(parse("1500 2000 4096 3\n"), Some(cost));
        assert_eq!(parse("1500 x"), None);
    }
}
