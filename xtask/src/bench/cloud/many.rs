//! Many machines made by one `create`, at moto. Each instance is a lab host that can be reached some time after it was ordered.

use std::{collections::BTreeMap, error::Error, path::Path, sync::Arc, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use machine_testkit::{
    double::{Double, Provider, Reply, Request},
    lab::Host,
};

use super::{
    super::{
        Bench, Figures,
        figure::{Figure, Target},
        hosts,
        measure::Cost,
    },
    in_new_store, instance,
    moto::{AccessKey, Front, Moto, elements, with_address},
};

const NAME: &str = "create of 50 at a cloud";
const MANY: usize = 50;
const FEW: usize = 5;
/// How long it takes until an instance can be reached with its engine installed: a provider's Ubuntu is half of it, what cloud-init
/// installs there the other half. The lab's hosts have an engine already.
const BOOT: Duration = Duration::from_secs(60);

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    if !NAME.contains(only) {
        return Ok(Vec::new());
    }
    let of = |machines| create(&bench.ours, machines).map_err(|e| format!("{NAME}: {e}"));
    let ((few, _), (many, calls)) = (of(FEW)?, of(MANY)?);
    Ok(bench.show(vec![
        Figure::new(NAME, "wall ms", many.wall_ms),
        Figure::new(NAME, "wall ms of 5", few.wall_ms),
        Figure::new(NAME, "times that of 5", many.wall_ms / few.wall_ms).target(Target::AtMost(1.5)),
        Figure::new(NAME, "CPU ms", many.cpu_ms),
        Figure::new(NAME, "CPU ms of 5", few.cpu_ms),
        Figure::new(NAME, "memory MiB", many.memory_mib).target(Target::AtMost(60.0)),
        Figure::new(NAME, "calls", calls as f64),
    ]))
}

/// Makes so many machines at once; and how many calls that took.
fn create(program: &Path, machines: usize) -> Result<(Cost, usize), Box<dyn Error>> {
    let moto = Moto::start().ok_or("moto is not installed; `cargo xtask setup` does it")?;
    let _room = hosts::Inotify::for_hosts(machines)?;
    let hosts: Vec<_> = hosts::several(machines)?.into_iter().map(Arc::new).collect();
    let (key, port) = (moto.owner(), hosts[0].ssh_port());
    for host in &hosts {
        host.partition()?;
    }
    let cloud = Double::start(Region { front: Front::new(moto), free: hosts, taken: BTreeMap::new() });
    let cost = in_new_store(program, &words(&cloud.url(), &key, port, machines));
    // A double lives as long as this process; its hosts must not.
    cloud.provider().taken.clear();
    cloud.provider().free.clear();
    Ok((cost?, cloud.take_exchanges().len()))
}

fn words(url: &str, key: &AccessKey, port: u16, machines: usize) -> Vec<String> {
    vec![
        "create".to_owned(),
        "--driver=amazonec2".to_owned(),
        format!("--amazonec2-endpoint={url}"),
        format!("--amazonec2-access-key={}", key.id),
        format!("--amazonec2-secret-key={}", key.secret),
        format!("--amazonec2-ssh-port={port}"),
        "--engine-install=distro".to_owned(),
        format!("--parallel={machines}"),
        format!("--count={machines}"),
        "m%d".to_owned(),
    ]
}

/// moto with hosts for its instances.
struct Region {
    front: Front,
    free: Vec<Arc<Host>>,
    /// By the ids of instances.
    taken: BTreeMap<String, Arc<Host>>,
}

impl Provider for Region {
    fn answer(&mut self, request: &Request) -> Reply {
        let form = request.form();
        let reply = self.front.answer(request);
        let text = String::from_utf8_lossy(&reply.body).into_owned();
        if !text.contains("<instanceId>") {
            return reply;
        }
        let ids = elements(&text, "instanceId");
        if form.get("Action").is_some_and(|action| action == "RunInstances")
            && let Some(id) = ids.first()
            && let Some(host) = (!self.taken.contains_key(id)).then(|| self.free.pop()).flatten()
        {
            order(&host, form.get("UserData").map_or("", String::as_str));
            self.taken.insert(id.clone(), host);
        }
        self.at_home(reply, &text)
    }
}

impl Region {
    /// With the hosts' addresses in the places of what moto thinks up.
    fn at_home(&self, reply: Reply, text: &str) -> Reply {
        let mut pieces = text.split("<instanceId>");
        let mut new = pieces.next().unwrap_or_default().to_owned();
        for piece in pieces {
            new.push_str("<instanceId>");
            let id = piece.split('<').next().unwrap_or_default();
            match self.taken.get(id) {
                Some(host) => new.push_str(&with_address(piece.to_owned(), &host.address().to_string())),
                None => new.push_str(piece),
            }
        }
        Reply { body: new.into_bytes(), ..reply }
    }
}

/// It boots from now on.
fn order(host: &Arc<Host>, user_data: &str) {
    let host = Arc::clone(host);
    let user_data = STANDARD.decode(user_data).unwrap_or_default();
    thread::spawn(move || {
        thread::sleep(BOOT);
        let booted = instance::boot(&host, &String::from_utf8_lossy(&user_data));
        if let Err(error) = booted.and_then(|()| Ok(host.heal()?)) {
            eprintln!("{error}");
        }
    });
}
