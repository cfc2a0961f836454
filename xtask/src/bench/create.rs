//! `create -d generic` on a host whose engine runs: what goes over the wire, and how long it takes.
//!
//! Every create gets a new host. Of several the quickest counts: what a shared computer does besides only adds.

use std::{error::Error, net::IpAddr, path::Path, time::Duration};

use machine_testkit::{
    lab::Host,
    proxy::{CountingProxy, Counts, DelayProxy},
};

use super::{
    Bench, Figures,
    figure::{Figure, Target},
    hosts::{self, Fleet, Way},
    measure::Cost,
};

const WIRE: &str = "create -d generic, on the wire";
const TIME: &str = "create -d generic";
const FAR: &str = "create -d generic, 100 ms away";
/// The round-trip time of a host that is far away.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// How often a create is done.
const TIMES: usize = 3;

type Scenario = fn(&Bench) -> Result<Figures, Box<dyn Error>>;

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    let groups: [(&str, Scenario); 3] = [(WIRE, wire), (TIME, time), (FAR, far)];
    let mut figures = Vec::new();
    for (name, group) in groups.into_iter().filter(|(name, _)| name.contains(only)) {
        figures.extend(bench.show(group(bench).map_err(|e| format!("{name}: {e}"))?));
    }
    Ok(figures)
}

/// Makes a machine on a new host, to which the way is made by `way`. What `way` returns lives as long.
fn create<T>(
    program: &Path,
    way: impl Fn(&Host) -> Result<(Way, T), Box<dyn Error>>,
) -> Result<(Cost, T), Box<dyn Error>> {
    let host = hosts::host()?;
    let fleet = Fleet::new(program, &host)?;
    let (way, alive) = way(&host)?;
    Ok((fleet.create(program, way, "bench")?, alive))
}

fn quickest<T>(
    program: &Path,
    way: impl Fn(&Host) -> Result<(Way, T), Box<dyn Error>>,
) -> Result<Cost, Box<dyn Error>> {
    let costs = (0..TIMES).map(|_| create(program, &way)).collect::<Result<Vec<_>, _>>()?;
    let quickest = costs.into_iter().map(|(cost, _)| cost).min_by(|a, b| a.wall_ms.total_cmp(&b.wall_ms));
    quickest.ok_or_else(|| "nothing was run".into())
}

/// A counting proxy before sshd, and one that does nothing before the engine.
fn wire(bench: &Bench) -> Result<Figures, Box<dyn Error>> {
    let counted = |program: &Path| -> Result<(Cost, Counts), Box<dyn Error>> {
        let (cost, (ssh, _engine)) = create(program, |host| {
            let ssh = CountingProxy::start(hosts::sshd(host))?;
            let engine = DelayProxy::start_with_port_of(host.address().into(), Duration::ZERO)?;
            let address: IpAddr = ssh.address().ip();
            let (ssh_port, engine_port) = (ssh.address().port(), engine.address().port());
            Ok((Way { address, ssh_port, engine_port }, (ssh, engine)))
        })?;
        Ok((cost, ssh.counts()))
    };
    let (_, ours) = counted(&bench.ours)?;
    let mut peers = None;
    bench.ask_peer(WIRE, |program| {
        let (cost, counts) = counted(program)?;
        peers = Some(counts);
        Ok(cost)
    });
    let figure = |what, of: fn(&Counts) -> u64, target| {
        let peer = peers.as_ref().map(|counts| of(counts) as f64);
        Figure::new(WIRE, what, of(&ours) as f64).target(target).peer(peer)
    };
    Ok(vec![
        // A look whether the port answers is no SSH connection: it says nothing.
        figure("SSH connections", |c| c.spoken, Target::Exactly(1.0)),
        figure("TCP connections to sshd", |c| c.connections, Target::None),
        figure("SSH round trips", |c| c.round_trips, Target::AtMost(25.0)),
        figure("bytes sent", |c| c.bytes_up, Target::None),
        figure("bytes received", |c| c.bytes_down, Target::None),
    ])
}

fn time(bench: &Bench) -> Result<Figures, Box<dyn Error>> {
    let straight = |host: &Host| Ok((Way::straight(host), ()));
    let ours = quickest(&bench.ours, straight)?;
    let peer = bench.ask_peer(TIME, |program| quickest(program, straight));
    let mut figures = vec![
        Figure::new(TIME, "wall ms", ours.wall_ms).peer(peer.map(|cost| cost.wall_ms)),
        Figure::new(TIME, "CPU ms", ours.cpu_ms).peer(peer.map(|cost| cost.cpu_ms)),
        Figure::new(TIME, "memory MiB", ours.memory_mib).peer(peer.map(|cost| cost.memory_mib)),
    ];
    figures.extend(peer.map(|peer| {
        let share = ours.wall_ms / peer.wall_ms;
        Figure::new(TIME, "share of peer's time", share).target(Target::AtMost(0.25))
    }));
    Ok(figures)
}

/// Delaying proxies before sshd and the engine, against the same without a delay.
fn far(bench: &Bench) -> Result<Figures, Box<dyn Error>> {
    let proxied = |delay: Duration| {
        quickest(&bench.ours, move |host| {
            let ssh = DelayProxy::start(hosts::sshd(host), delay)?;
            let engine = DelayProxy::start_with_port_of(host.address().into(), delay)?;
            let (ssh_port, engine_port) = (ssh.address().port(), engine.address().port());
            Ok((Way { address: ssh.address().ip(), ssh_port, engine_port }, (ssh, engine)))
        })
    };
    let (near, far) = (proxied(Duration::ZERO)?, proxied(ROUND_TRIP)?);
    Ok(vec![
        Figure::new(FAR, "wall ms", far.wall_ms),
        Figure::new(FAR, "ms more than near", far.wall_ms - near.wall_ms).target(Target::AtMost(4000.0)),
    ])
}
