//! `cargo xtask test`: set up what is missing, then run all that CI runs.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Command as Process, Stdio},
};

use clap::{Arg, ArgMatches, Command};
use machine_testkit::{lab::Lab, skip};

use crate::{
    Outcome, docs, fuzz, setup,
    stages::Stages,
    workspace::{cargo, line, root, run as run_process},
};

/// How many of the test runner's last lines are repeated at the very end.
const CLOSING_LINES: usize = 15;

pub fn cli() -> Command {
    let seconds = Arg::new("fuzz-seconds").long("fuzz-seconds").default_value("60").value_name("SECONDS");
    Command::new("test").about("Set up what is missing and run everything that CI runs").arg(
        seconds
            .value_parser(clap::value_parser!(u64))
            .help("How long all fuzz targets together run; 0 leaves them out"),
    )
}

pub fn run(given: &ArgMatches) -> Outcome {
    let mut stages = Stages::default();
    let mut closing = Vec::new();
    stages.run("packages", setup::packages);
    stages.run("peers", setup::peers);
    stages.run("models of Azure", setup::azure_models);
    stages.run("lab", setup::base);
    stages.run("format", || run_process(&mut cargo(&["fmt", "--all", "--check"])));
    stages.run("clippy", || {
        run_process(&mut cargo(&[
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    });
    cargo_deny(&mut stages);
    stages.run("build", || run_process(&mut cargo(&["build", "--workspace", "--all-targets"])));
    stages.run("reference pages", docs::check);
    stages.run("rustdoc", || {
        let mut doc = cargo(&["doc", "--quiet", "--workspace", "--no-deps"]);
        run_process(doc.env("RUSTDOCFLAGS", "-D warnings"))
    });
    stages.run("doc tests", || run_process(&mut cargo(&["test", "--quiet", "--workspace", "--doc"])));
    fuzz_targets(&mut stages, given.get_one("fuzz-seconds").copied().unwrap_or(60));
    stages.run("tests", || {
        let (outcome, lines) = tests();
        closing = lines;
        outcome
    });
    stages.run("lab is clean", leave_no_host);
    let outcome = stages.finish();
    // Last, so that the end of a log has the runner's own words.
    for line in closing {
        println!("{line}");
    }
    outcome
}

fn cargo_deny(stages: &mut Stages) {
    if skip::find_program("cargo-deny").is_none() {
        return stages.skip("deny", "cargo-deny is not installed");
    }
    stages.run("deny", || run_process(&mut cargo(&["deny", "check", "licenses", "bans", "sources"])));
}

fn fuzz_targets(stages: &mut Stages, seconds: u64) {
    if !root().join("fuzz/Cargo.toml").exists() {
        return stages.skip("fuzz", "there are no fuzz targets");
    }
    if seconds == 0 {
        return stages.skip("fuzz", "--fuzz-seconds 0");
    }
    stages.run("fuzz", || fuzz::run(seconds));
}

/// All tests by nextest where it is installed, else by cargo. Its output passes through; its last lines come back.
fn tests() -> (Outcome, Vec<String>) {
    let nextest = skip::find_program("cargo-nextest").is_some();
    let mut runner = if nextest {
        cargo(&["nextest", "run", "--workspace", "--no-fail-fast"])
    } else {
        println!("cargo-nextest is not installed: one process a room, and a test that hangs is not ended");
        cargo(&["test", "--workspace", "--no-fail-fast", "--all-targets"])
    };
    match pass_through(&mut runner) {
        Ok((true, lines)) => (Ok(()), lines),
        Ok((false, lines)) => (Err(format!("`{}` failed", line(&runner)).into()), lines),
        Err(e) => (Err(e.into()), Vec::new()),
    }
}

/// Runs it, showing what it prints on stdout and stderr, and keeps the last lines of both.
fn pass_through(process: &mut Process) -> std::io::Result<(bool, Vec<String>)> {
    let (reader, writer) = std::io::pipe()?;
    let mut child = process.stdout(writer.try_clone()?).stderr(writer).stdin(Stdio::null()).spawn()?;
    // Our own copies of the writing end must go, or the reading never ends.
    process.stdout(Stdio::null()).stderr(Stdio::null());
    let mut last = std::collections::VecDeque::new();
    for line in BufReader::new(reader).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        writeln!(std::io::stdout(), "{line}")?;
        last.push_back(line);
        if last.len() > CLOSING_LINES {
            last.pop_front();
        }
    }
    Ok((child.wait()?.success(), last.into()))
}

/// Hosts of tests that were killed go now; a host that is still there belongs to somebody.
fn leave_no_host() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let lab = Lab::without_base()?;
    lab.reap()?;
    for host in lab.list()? {
        println!(
            "still up: {} ({})",
            host.name,
            if host.lasting { "by lab up" } else { "of a running test" }
        );
    }
    Ok(())
}
