//! `cargo xtask bench`: what commands cost, in CPU, time and memory, and against a peer in the same run.

mod measure;
mod scenarios;
mod store;

use std::{
    error::Error,
    path::{Path, PathBuf},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{Outcome, workspace};
use measure::{Cost, Invocation};
pub use measure::{measure, measure_cli};

/// A thing that is measured: what must be there, the command line, and what it may cost.
pub struct Scenario {
    /// Its name in the table.
    pub name: &'static str,
    /// What it may cost at most, if there is a limit.
    pub limit: Option<Limit>,
    /// How often it is run; the median counts.
    pub runs: usize,
    /// Makes what it needs in an empty folder and returns the command line. What must go on while it is
    /// measured (a server) lives in the returned value.
    pub prepare: fn(&Path) -> Result<Prepared, Box<dyn Error>>,
}

/// The most that our program may use.
#[derive(Clone, Copy)]
pub struct Limit {
    /// Milliseconds of CPU, user and system, of the program and its children.
    pub cpu_ms: f64,
    /// MiB of resident memory at its peak.
    pub memory_mib: f64,
}

/// A scenario that can be run.
pub struct Prepared {
    /// The words after the program's name.
    pub words: Vec<String>,
    /// Environment variables besides a minimal environment.
    pub env: Vec<(&'static str, String)>,
    /// Kept until the measuring is over.
    pub alive: Box<dyn std::any::Any>,
}

pub fn cli() -> Command {
    let peer = Arg::new("peer").long("peer").value_name("BIN").value_parser(clap::value_parser!(PathBuf));
    let only =
        Arg::new("only").long("only").value_name("TEXT").help("Only scenarios whose name has that text");
    let check = Arg::new("check").long("check").action(ArgAction::SetTrue).help("Fail if a limit is passed");
    Command::new("bench").about("Measure the release build: CPU, time and memory of each scenario").args([
        peer.help("Another docker-machine to compare with, in the same run"),
        only,
        check,
    ])
}

pub fn run(given: &ArgMatches) -> Outcome {
    let ours = workspace::build("release")?;
    let peer = given.get_one::<PathBuf>("peer");
    let only = given.get_one::<String>("only").map_or("", String::as_str);
    println!("medians; CPU and memory include children; limits in brackets");
    println!(
        "{:<24} {:>18} {:>10} {:>16} {:>24}",
        "scenario", "CPU ms", "wall ms", "MiB", "peer CPU, wall, MiB"
    );
    let mut passed_limits = Vec::new();
    for scenario in scenarios::all().into_iter().filter(|s| s.name.contains(only)) {
        let cost = cost(&scenario, &ours).map_err(|e| format!("{}: {e}", scenario.name))?;
        let peer = peer.map(|peer| cost_of_peer(&scenario, peer));
        println!("{}", row(&scenario, cost, peer));
        if scenario.limit.is_some_and(|l| cost.cpu_ms > l.cpu_ms || cost.memory_mib > l.memory_mib) {
            passed_limits.push(scenario.name);
        }
    }
    if passed_limits.is_empty() {
        return Ok(());
    }
    println!("over their limit: {}", passed_limits.join(", "));
    if given.get_flag("check") { Err("a limit is passed".into()) } else { Ok(()) }
}

/// Prepares anew for each program, so that neither finds what the other has left.
fn cost(scenario: &Scenario, program: &Path) -> Result<Cost, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let prepared = (scenario.prepare)(folder.path())?;
    let invocation = Invocation { program, words: &prepared.words, env: &prepared.env, home: folder.path() };
    let cost = invocation.median(scenario.runs)?;
    drop(prepared.alive);
    Ok(cost)
}

/// A peer that can't do it is a remark, not the end.
fn cost_of_peer(scenario: &Scenario, peer: &Path) -> Result<Cost, String> {
    cost(scenario, peer).map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())
}

fn row(scenario: &Scenario, ours: Cost, peer: Option<Result<Cost, String>>) -> String {
    let (cpu, memory) = scenario
        .limit
        .map_or_else(Default::default, |l| (format!(" [{}]", l.cpu_ms), format!(" [{}]", l.memory_mib)));
    let compared = match peer {
        None => String::new(),
        Some(Err(why)) => format!("failed: {why}"),
        Some(Ok(peer)) => format!(
            "{:.1}, {:.1}, {:.1}: {:.1} x CPU, {:.1} x wall, {:.1} x MiB",
            peer.cpu_ms,
            peer.wall_ms,
            peer.memory_mib,
            peer.cpu_ms / ours.cpu_ms,
            peer.wall_ms / ours.wall_ms,
            peer.memory_mib / ours.memory_mib
        ),
    };
    let (cpu, memory) = (format!("{:.2}{cpu}", ours.cpu_ms), format!("{:.1}{memory}", ours.memory_mib));
    format!("{:<24} {cpu:>18} {:>10.2} {memory:>16} {compared:>24}", scenario.name, ours.wall_ms)
        .trim_end()
        .to_owned()
}
