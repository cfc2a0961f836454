//! `cargo xtask bench`: what commands cost, in CPU, time and memory, next to what they should cost and to what a peer
//! needs in the same run. Nothing fails on time; what can't be run fails.

mod children;
mod cloud;
mod create;
mod crowd;
mod engine;
mod figure;
mod hosts;
mod measure;
mod scenarios;
mod store;
mod vm;

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    thread,
};

use clap::{Arg, ArgMatches, Command};
use machine_testkit::skip;
use serde_json::{Value, json};

use crate::{Outcome, workspace};
use figure::{Figure, Target};
use measure::Cost;
pub use measure::{measure, measure_cli};

/// What a scenario found out.
type Figures = Vec<Figure>;

/// Measures some scenarios: those whose name has the text.
type Group = fn(&Bench, &str) -> Result<Figures, Box<dyn Error>>;

const GROUPS: &[Group] = &[size, scenarios::run, cloud::run, crowd::run, engine::run, create::run, vm::run];

/// What is measured: our program, and the one that it is compared with.
pub struct Bench {
    ours: PathBuf,
    peer: Option<PathBuf>,
}

pub fn cli() -> Command {
    let path = |name: &'static str| {
        Arg::new(name).long(name).value_name("FILE").value_parser(clap::value_parser!(PathBuf))
    };
    let only =
        Arg::new("only").long("only").value_name("TEXT").help("Only scenarios whose name has that text");
    Command::new("bench")
        .about(
            "Measure the release build: CPU, time and memory of each scenario (needs root for its real hosts)",
        )
        .args([
            path("peer").help("Another docker-machine to compare with, in the same run"),
            path("program").help("This docker-machine instead of a release build of the checkout"),
            path("json").help("Write the figures there as JSON, too"),
            only,
        ])
}

pub fn run(given: &ArgMatches) -> Outcome {
    let path = |name: &str| given.get_one::<PathBuf>(name).map(fs::canonicalize).transpose();
    let ours = match path("program")? {
        Some(program) => program,
        None => workspace::build("release")?,
    };
    let bench = Bench { ours, peer: path("peer")? };
    let only = given.get_one::<String>("only").map_or("", String::as_str);
    println!("medians; CPU is user and system, children included; memory is that of the largest process;");
    println!("ratio: how many times as much as ours the peer needs");
    if skip::find_program("strace").is_none() {
        println!("no strace here: the processes that a program starts are not counted");
    }
    println!("\n{}", Figure::header());
    let mut figures = Vec::new();
    let mut failed = Vec::new();
    for group in GROUPS {
        match group(&bench, only) {
            Ok(found) => figures.extend(found),
            Err(error) => {
                println!("could not run: {error}");
                failed.push(error.to_string());
            }
        }
    }
    let missed: Vec<String> =
        figures.iter().filter(|f| f.missed()).map(|f| format!("{} ({})", f.scenario, f.what)).collect();
    println!("\nmissed: {}", if missed.is_empty() { "none".to_owned() } else { missed.join("; ") });
    if let Some(file) = given.get_one::<PathBuf>("json") {
        fs::write(file, serde_json::to_string_pretty(&report(&bench, &figures, &failed))? + "\n")?;
    }
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ").into()) }
}

fn report(bench: &Bench, figures: &[Figure], failed: &[String]) -> Value {
    json!({
        "processors": thread::available_parallelism().map_or(0, usize::from),
        "peer": bench.peer.is_some(),
        "figures": figures.iter().map(Figure::json).collect::<Vec<_>>(),
        "could_not_run": failed,
    })
}

impl Bench {
    /// Prints figures as they come.
    fn show(&self, figures: Figures) -> Figures {
        for figure in &figures {
            println!("{}", figure.row());
        }
        figures
    }

    /// What the peer needs, where there is one. That it can't do something is a remark, not the end.
    fn ask_peer<'a>(
        &'a self,
        scenario: &str,
        ask: impl FnOnce(&'a Path) -> Result<Cost, Box<dyn Error>>,
    ) -> Option<Cost> {
        let answer = ask(self.peer.as_deref()?);
        if let Err(error) = &answer {
            let reason = error.to_string();
            println!("{scenario}: the peer failed: {}", reason.lines().next().unwrap_or_default());
        }
        answer.ok()
    }
}

/// How large the program is.
fn size(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    const NAME: &str = "the program";
    if !NAME.contains(only) {
        return Ok(Vec::new());
    }
    let mib = |program: &Path| fs::metadata(program).map(|file| file.len() as f64 / f64::from(1 << 20));
    let peer = bench.peer.as_deref().map(mib).transpose()?;
    let size = Figure::new(NAME, "size MiB", mib(&bench.ours)?).target(Target::AtMost(25.0)).peer(peer);
    Ok(bench.show(vec![size]))
}
