//! The fuzz targets in `fuzz/`, built by the stable compiler and run for a while each.
//!
//! cargo-fuzz needs a nightly compiler for its sanitizers. There is no unsafe code here for them to look into;
//! coverage, which guides the fuzzer, is a matter of the stable flags below.

use std::{error::Error, path::PathBuf};

use crate::{
    Outcome,
    workspace::{cargo, command, read, root, run as run_process, target},
};

/// What cargo-fuzz gives the compiler for coverage.
const COVERAGE: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
     -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing";

/// Builds all targets and runs them one after another for so many seconds in all.
pub fn run(seconds: u64) -> Outcome {
    let names = targets()?;
    let folder = target().join("fuzz");
    let triple = host_triple()?;
    let mut build = cargo(&["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--bins"]);
    // With --target, build scripts and macros are not instrumented.
    build.args(["--target", &triple, "--target-dir"]).arg(&folder);
    run_process(build.env("RUSTFLAGS", COVERAGE).env_remove("CARGO_TARGET_DIR"))?;
    let each = (seconds / names.len().max(1) as u64).max(1);
    for name in names {
        println!("fuzzing {name} for {each} s");
        let corpus: PathBuf = folder.join("corpus").join(&name);
        std::fs::create_dir_all(&corpus)?;
        let mut fuzzer = command(&folder.join(&triple).join("release").join(&name).to_string_lossy());
        fuzzer.arg(format!("-max_total_time={each}")).args([
            "-timeout=10",
            "-rss_limit_mb=2048",
            "-verbosity=0",
        ]);
        // In CI the same inputs are tried each time: what chance finds must not stop a change that has no part in it.
        if std::env::var_os("CI").is_some() {
            fuzzer.arg("-seed=1");
        }
        fuzzer.arg(format!("-artifact_prefix={}/", corpus.with_extension("found").display()));
        std::fs::create_dir_all(corpus.with_extension("found"))?;
        fuzzer.arg(&corpus);
        let seeds = root().join("fuzz/seeds").join(&name);
        if seeds.exists() {
            fuzzer.arg(seeds);
        }
        run_process(&mut fuzzer)?;
    }
    Ok(())
}

fn targets() -> Result<Vec<String>, Box<dyn Error>> {
    let words = ["metadata", "--no-deps", "--format-version", "1", "--manifest-path", "fuzz/Cargo.toml"];
    let metadata: serde_json::Value = serde_json::from_str(&read(&mut cargo(&words))?)?;
    let found = metadata["packages"].as_array().into_iter().flatten();
    let found = found.flat_map(|package| package["targets"].as_array().into_iter().flatten());
    let bins = found.filter(|t| t["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == "bin")));
    let names: Vec<String> = bins.filter_map(|t| t["name"].as_str()).map(str::to_owned).collect();
    if names.is_empty() { Err("fuzz/Cargo.toml has no target".into()) } else { Ok(names) }
}

fn host_triple() -> Result<String, Box<dyn Error>> {
    let said = read(command("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.ok_or("rustc -vV names no host")?.to_owned())
}
