//! Commands that ask a real engine: one, and the same one under 500 names.

use std::{error::Error, fs, path::Path};

use serde_json::{Value, json};

use super::{
    Bench, Figures, children,
    figure::{Figure, Target},
    hosts::{self, Fleet, Way},
    measure::Invocation,
    store::store_env,
};

const ENV: &str = "env, live engine";
const LS: &str = "ls, 500 live TLS engines";
/// The machine; a name that nothing else in a record holds.
const MACHINE: &str = "benchmarked";
/// How many machines `ls` finds.
const MACHINES: usize = 500;

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    if ![ENV, LS].iter().any(|name| name.contains(only)) {
        return Ok(Vec::new());
    }
    let host = hosts::host()?;
    let fleet = Fleet::new(&bench.ours, &host)?;
    fleet.create(&bench.ours, Way::straight(&host), MACHINE)?;
    let mut figures = Vec::new();
    if ENV.contains(only) {
        figures.extend(bench.show(env(bench, fleet.store()).map_err(|e| format!("{ENV}: {e}"))?));
    }
    if LS.contains(only) {
        figures.extend(bench.show(ls(bench, fleet.store()).map_err(|e| format!("{LS}: {e}"))?));
    }
    Ok(figures)
}

fn env(bench: &Bench, store: &Path) -> Result<Figures, Box<dyn Error>> {
    let words = ["env", "--shell=bash", MACHINE].map(String::from);
    let env = store_env(store);
    let with = |program| Invocation { program, words: &words, env: &env, home: store, exits: 0 };
    let ours = with(&bench.ours).median(21)?;
    let children = children::started_by(&with(&bench.ours))?;
    let peer = bench.ask_peer(ENV, |program| with(program).median(5));
    let mut figures = vec![
        Figure::new(ENV, "CPU ms", ours.cpu_ms)
            .target(Target::AtMost(8.0))
            .peer(peer.map(|cost| cost.cpu_ms)),
        Figure::new(ENV, "wall ms", ours.wall_ms).peer(peer.map(|cost| cost.wall_ms)),
        Figure::new(ENV, "memory MiB", ours.memory_mib).peer(peer.map(|cost| cost.memory_mib)),
    ];
    figures.extend(children.map(|count| Figure::new(ENV, "processes started", f64::from(count))));
    Ok(figures)
}

fn ls(bench: &Bench, store: &Path) -> Result<Figures, Box<dyn Error>> {
    multiply(store)?;
    let words = ["ls".to_owned()];
    let env = store_env(store);
    let with = |program| Invocation { program, words: &words, env: &env, home: store, exits: 0 };
    let shown = String::from_utf8(with(&bench.ours).process().output()?.stdout)?;
    let answered = shown.lines().filter(|line| line.contains("Running") && !line.contains("Unknown")).count();
    let ours = with(&bench.ours).median(5)?;
    let peer = bench.ask_peer(LS, |program| with(program).once());
    Ok(vec![
        Figure::new(LS, "engines that answered", answered as f64).target(Target::Exactly(MACHINES as f64)),
        Figure::new(LS, "CPU ms", ours.cpu_ms)
            .target(Target::AtMost(2000.0))
            .peer(peer.map(|cost| cost.cpu_ms)),
        Figure::new(LS, "wall ms", ours.wall_ms).peer(peer.map(|cost| cost.wall_ms)),
        Figure::new(LS, "memory MiB", ours.memory_mib).peer(peer.map(|cost| cost.memory_mib)),
    ])
}

/// Makes many machines of the one, each with files of its own. Whether they are up is asked at the engine's port, too:
/// sshd would refuse 500 at once.
fn multiply(store: &Path) -> Result<(), Box<dyn Error>> {
    let machines = store.join("machines");
    let original = machines.join(MACHINE);
    let mut record: Value = serde_json::from_slice(&fs::read(original.join("config.json"))?)?;
    record["Driver"]["SSHPort"] = json!(hosts::ENGINE_PORT);
    let record = serde_json::to_string_pretty(&record)?;
    for n in 0..MACHINES {
        let name = format!("m{n:04}");
        let folder = machines.join(&name);
        fs::create_dir(&folder)?;
        for file in ["ca.pem", "cert.pem", "key.pem", "server.pem", "server-key.pem"] {
            fs::copy(original.join(file), folder.join(file))?;
        }
        fs::write(folder.join("config.json"), record.replace(MACHINE, &name))?;
    }
    Ok(fs::remove_dir_all(original)?)
}
