//! What needs no host: records, and machines of which nobody is there.

use std::{error::Error, io::Write, net::TcpListener, thread};

use super::{
    Bench, Figures, children,
    figure::{Figure, Target},
    measure::Invocation,
    store,
};

/// How often a quick command is run.
const QUICK: usize = 21;
/// How often one of half a second is.
const SLOW: usize = 5;

/// One command line and what it may cost.
struct Scenario {
    name: &'static str,
    words: &'static [&'static str],
    machines: usize,
    /// Whether somebody answers at the machines' SSH port.
    up: bool,
    cpu_ms: f64,
    memory_mib: f64,
    runs: usize,
    /// How often the peer is run.
    peer_runs: usize,
    /// The number of the machine whose engine `DOCKER_HOST` means.
    meant: usize,
    exits: i32,
}

impl Scenario {
    const fn quick(name: &'static str, machines: usize, words: &'static [&'static str]) -> Self {
        Self {
            name,
            words,
            machines,
            up: true,
            cpu_ms: 5.0,
            memory_mib: 12.0,
            runs: QUICK,
            peer_runs: SLOW,
            meant: machines - 1,
            exits: 0,
        }
    }
}

const SCENARIOS: &[Scenario] = &[
    Scenario::quick("version", 1, &["version"]),
    Scenario::quick("ip", 1, &["ip", "m0000"]),
    Scenario::quick("url", 1, &["url", "m0000"]),
    Scenario::quick("inspect", 1, &["inspect", "m0000"]),
    Scenario::quick("status, its SSH port answers", 1, &["status", "m0000"]),
    Scenario::quick("ls -q, 1000 machines", 1000, &["ls", "-q"]),
    Scenario { cpu_ms: 15.0, peer_runs: 1, ..Scenario::quick("active, 1000 machines", 1000, &["active"]) },
    Scenario {
        cpu_ms: 15.0,
        peer_runs: 1,
        meant: 1000,
        exits: 1,
        ..Scenario::quick("active, 1000 others", 1000, &["active"])
    },
    Scenario {
        up: false,
        cpu_ms: 150.0,
        memory_mib: 40.0,
        runs: SLOW,
        peer_runs: 1,
        ..Scenario::quick("ls, 500 unreachable machines", 500, &["ls"])
    },
];

/// Runs those whose name has the text.
pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    let mut figures = Vec::new();
    for scenario in SCENARIOS.iter().filter(|scenario| scenario.name.contains(only)) {
        let measured = measure(bench, scenario).map_err(|e| format!("{}: {e}", scenario.name))?;
        figures.extend(bench.show(measured));
    }
    Ok(figures)
}

fn measure(bench: &Bench, scenario: &Scenario) -> Result<Figures, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let port = if scenario.up { ssh_port()? } else { closed_port()? };
    store::fill(folder.path(), scenario.machines, port)?;
    if !scenario.up {
        store::certify(folder.path(), &bench.ours)?;
    }
    let words: Vec<String> = scenario.words.iter().map(|word| (*word).to_owned()).collect();
    let meant = store::address(scenario.meant);
    let env = [
        ("MACHINE_STORAGE_PATH", folder.path().to_string_lossy().into_owned()),
        ("DOCKER_HOST", format!("tcp://{meant}:2376")),
    ];
    let with = |program| Invocation {
        program,
        words: &words,
        env: &env,
        home: folder.path(),
        exits: scenario.exits,
    };
    let ours = with(&bench.ours).median(scenario.runs)?;
    let children = children::started_by(&with(&bench.ours))?;
    let peer = bench.ask_peer(scenario.name, |program| with(program).median(scenario.peer_runs));
    let memory = Figure::new(scenario.name, "memory MiB", ours.memory_mib);
    let mut figures = vec![
        Figure::new(scenario.name, "CPU ms", ours.cpu_ms)
            .target(Target::AtMost(scenario.cpu_ms))
            .peer(peer.map(|cost| cost.cpu_ms)),
        Figure::new(scenario.name, "wall ms", ours.wall_ms).peer(peer.map(|cost| cost.wall_ms)),
        memory.target(Target::AtMost(scenario.memory_mib)).peer(peer.map(|cost| cost.memory_mib)),
    ];
    figures.extend(children.map(|count| {
        Figure::new(scenario.name, "processes started", f64::from(count)).target(Target::Exactly(0.0))
    }));
    Ok(figures)
}

/// A port that greets as sshd does, for as long as we run; stands in for the sshd of machines that are up.
fn ssh_port() -> std::io::Result<u16> {
    let listener = TcpListener::bind("0.0.0.0:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    Ok(port)
}

/// A port that refuses.
fn closed_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
