//! Many processes that use an empty store at once.

use std::{collections::HashSet, error::Error, fs, path::Path, path::PathBuf, process::Command as Process};

use super::{
    Bench, Figures,
    figure::{Figure, Target},
    measure::{Cost, Invocation, NUMBER},
    store::store_env,
};

const NAME: &str = "50 create -d none at once";
const TIMES: usize = 50;

/// What is in a store afterwards.
struct Left {
    machines: usize,
    authorities: usize,
    unsigned: usize,
}

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    if !NAME.contains(only) {
        return Ok(Vec::new());
    }
    let (cost, left) = crowd(&bench.ours).map_err(|e| format!("{NAME}: {e}"))?;
    let mut peers = None;
    let peer = bench.ask_peer(NAME, |program| {
        let (cost, left) = crowd(program)?;
        peers = Some(left);
        Ok(cost)
    });
    let of_store = |what, of: fn(&Left) -> usize, wanted: f64| {
        let peer = peers.as_ref().map(|left| of(left) as f64);
        Figure::new(NAME, what, of(&left) as f64).target(Target::Exactly(wanted)).peer(peer)
    };
    let succeeded = |cost: Cost| TIMES as f64 - cost.failed;
    Ok(bench.show(vec![
        Figure::new(NAME, "succeeded", succeeded(cost))
            .target(Target::Exactly(TIMES as f64))
            .peer(peer.map(succeeded)),
        of_store("machines", |left| left.machines, TIMES as f64),
        of_store("CAs", |left| left.authorities, 1.0),
        of_store("not signed by the CA", |left| left.unsigned, 0.0),
        Figure::new(NAME, "CPU ms", cost.cpu_ms).peer(peer.map(|cost| cost.cpu_ms)),
        Figure::new(NAME, "wall ms", cost.wall_ms).peer(peer.map(|cost| cost.wall_ms)),
    ]))
}

fn crowd(program: &Path) -> Result<(Cost, Left), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let machine = format!("m{NUMBER}");
    let words = ["create", "--driver=none", "--url=tcp://127.0.0.1:1", &machine].map(String::from);
    let env = store_env(folder.path());
    let cost =
        Invocation { program, words: &words, env: &env, home: folder.path(), exits: 0 }.at_once(TIMES)?;
    Ok((cost, look(folder.path())?))
}

fn look(store: &Path) -> Result<Left, Box<dyn Error>> {
    let ca = store.join("certs").join("ca.pem");
    let mut folders = vec![store.join("certs")];
    for machine in fs::read_dir(store.join("machines"))? {
        folders.push(machine?.path());
    }
    let files =
        |name: &str| folders.iter().map(|f| f.join(name)).filter(|f| f.exists()).collect::<Vec<PathBuf>>();
    let authorities = files("ca.pem").iter().map(fs::read).collect::<Result<HashSet<_>, _>>()?;
    let mut unsigned = 0;
    for certificate in files("cert.pem") {
        unsigned += usize::from(!is_signed(&ca, &certificate)?);
    }
    let machines = folders.iter().filter(|folder| folder.join("config.json").exists()).count();
    Ok(Left { machines, authorities: authorities.len(), unsigned })
}

/// openssl's own judgement.
fn is_signed(ca: &Path, certificate: &Path) -> Result<bool, Box<dyn Error>> {
    let mut openssl = Process::new("openssl");
    openssl.arg("verify").arg("-CAfile").arg(ca).arg(certificate);
    Ok(openssl.output().map_err(|e| format!("openssl: {e}"))?.status.success())
}
