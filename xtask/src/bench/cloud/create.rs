//! `create` at a provider whose instances boot at once: our own time.

use std::{error::Error, path::Path, sync::Arc, thread};

use machine_testkit::{double::Double, lab::Host};

use super::{
    super::{
        Bench, Figures,
        figure::{Figure, Target},
        hosts,
        measure::Cost,
    },
    digitalocean::{Account, TOKEN},
    in_new_store, instance,
};

const NAME: &str = "create, a cloud that boots at once";
/// How often a create is done. The quickest counts.
const TIMES: usize = 3;

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    if !NAME.contains(only) {
        return Ok(Vec::new());
    }
    let costs = (0..TIMES).map(|_| create(&bench.ours)).collect::<Result<Vec<_>, _>>();
    let costs = costs.map_err(|e| format!("{NAME}: {e}"))?;
    let quickest = costs.into_iter().min_by(|(a, _), (b, _)| a.wall_ms.total_cmp(&b.wall_ms));
    let (cost, calls) = quickest.ok_or("nothing was run")?;
    Ok(bench.show(vec![
        Figure::new(NAME, "wall ms", cost.wall_ms).target(Target::AtMost(3000.0)),
        Figure::new(NAME, "CPU ms", cost.cpu_ms),
        Figure::new(NAME, "memory MiB", cost.memory_mib),
        Figure::new(NAME, "calls", calls as f64),
    ]))
}

/// Makes a droplet which is a new host with an engine; and how many calls that took.
fn create(program: &Path) -> Result<(Cost, usize), Box<dyn Error>> {
    let host = Arc::new(hosts::host()?);
    let cloud = Double::start(Account::default());
    {
        let mut account = cloud.provider();
        account.address = Some(host.address().to_string());
        account.slowness = 0;
        account.done = Some(boots(&host));
    }
    let words = [
        "create".to_owned(),
        "--driver=digitalocean".to_owned(),
        format!("--digitalocean-access-token={TOKEN}"),
        format!("--digitalocean-endpoint={}", cloud.url()),
        format!("--digitalocean-ssh-port={}", host.ssh_port()),
        "--engine-install=distro".to_owned(),
        "bench".to_owned(),
    ];
    let cost = in_new_store(program, &words);
    // A double lives as long as this process; its host must not.
    cloud.provider().done = None;
    Ok((cost?, cloud.take_exchanges().len()))
}

/// The answer does not wait for the host.
fn boots(host: &Arc<Host>) -> super::digitalocean::Done {
    let host = Arc::clone(host);
    Box::new(move |kind, asked, _keys| {
        let (host, user_data) =
            (Arc::clone(&host), asked["user_data"].as_str().unwrap_or_default().to_owned());
        if kind == "create" {
            thread::spawn(move || {
                instance::boot(&host, &user_data).unwrap_or_else(|error| eprintln!("{error}"))
            });
        }
    })
}
