//! What is measured.

use std::{
    error::Error,
    io::Write,
    net::{SocketAddr, TcpListener},
    path::Path,
    thread,
};

use super::{Limit, Prepared, Scenario, store};

/// The goal for commands that need no network.
const BOOKKEEPING: Option<Limit> = Some(Limit { cpu_ms: 5.0, memory_mib: 12.0 });
/// How often a quick command is run.
const QUICK: usize = 21;

/// All scenarios, cheapest first.
pub fn all() -> Vec<Scenario> {
    let quick = |name, prepare| Scenario { name, limit: BOOKKEEPING, runs: QUICK, prepare };
    vec![
        quick("version", |folder| one_machine(folder, &["version"])),
        quick("ip", |folder| one_machine(folder, &["ip", "m0000"])),
        quick("url", |folder| one_machine(folder, &["url", "m0000"])),
        quick("inspect", |folder| one_machine(folder, &["inspect", "m0000"])),
        quick("status", |folder| one_machine(folder, &["status", "m0000"])),
        quick("ls -q, 1000 machines", |folder| thousand(folder, &["ls", "-q"])),
        Scenario {
            name: "active, 1000 machines",
            limit: Some(Limit { cpu_ms: 15.0, memory_mib: f64::INFINITY }),
            runs: QUICK,
            prepare: |folder| thousand(folder, &["active"]),
        },
    ]
}

/// A machine whose SSH port answers: that is how `generic` knows it to be up.
fn one_machine(folder: &Path, words: &[&str]) -> Result<Prepared, Box<dyn Error>> {
    with_machines(folder, 1, words)
}

/// A thousand of them; `DOCKER_HOST` names the last.
fn thousand(folder: &Path, words: &[&str]) -> Result<Prepared, Box<dyn Error>> {
    with_machines(folder, 1000, words)
}

fn with_machines(folder: &Path, machines: usize, words: &[&str]) -> Result<Prepared, Box<dyn Error>> {
    let at = ssh_port()?;
    store::fill(folder, machines, at.port())?;
    Ok(Prepared {
        words: words.iter().map(|w| (*w).to_owned()).collect(),
        env: vec![
            ("MACHINE_STORAGE_PATH", folder.to_string_lossy().into_owned()),
            ("DOCKER_HOST", format!("tcp://{}:2376", store::address(machines - 1))),
        ],
        alive: Box::new(()),
    })
}

/// A port that greets as sshd does, for as long as we run; stands in for the sshd of machines that are up.
fn ssh_port() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            let _ = client.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        }
    });
    Ok(address)
}
