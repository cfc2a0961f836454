//! A sequence of checks: each says its name, its time and how it went; one that fails does not hide the next.

use std::time::{Duration, Instant};

use crate::Outcome;

/// How a stage went.
enum Result {
    Passed,
    Skipped(String),
    Failed(String),
}

/// Stages that have run.
#[derive(Default)]
pub struct Stages {
    done: Vec<(&'static str, Duration, Result)>,
}

impl Stages {
    /// Runs one, saying so.
    pub fn run(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) {
        println!("── {name}");
        let start = Instant::now();
        let result = match work() {
            Ok(()) => Result::Passed,
            Err(e) => {
                println!("{name}: {e}");
                Result::Failed(e.to_string())
            }
        };
        self.done.push((name, start.elapsed(), result));
    }

    /// Leaves one out, for a reason.
    pub fn skip(&mut self, name: &'static str, reason: &str) {
        println!("── {name}: skipped: {reason}");
        self.done.push((name, Duration::ZERO, Result::Skipped(reason.to_owned())));
    }

    /// The table of all, and an error if one has failed.
    pub fn finish(self) -> Outcome {
        println!("── all stages");
        let mut failed = Vec::new();
        for (name, time, result) in &self.done {
            let word = match result {
                Result::Passed => "ok".to_owned(),
                Result::Skipped(reason) => format!("skipped: {reason}"),
                Result::Failed(why) => {
                    failed.push(*name);
                    format!("FAILED: {}", why.lines().next().unwrap_or_default())
                }
            };
            println!("{:>7.1} s  {name:<16} {word}", time.as_secs_f64());
        }
        let total: Duration = self.done.iter().map(|(_, time, _)| *time).sum();
        println!("{:>7.1} s  in all", total.as_secs_f64());
        if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join(", ")).into()) }
    }
}
