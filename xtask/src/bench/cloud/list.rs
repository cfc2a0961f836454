//! `ls` of the machines of one account. A double of a part of DigitalOcean's API stands in for the provider.

use std::{error::Error, fs, net::TcpListener, path::Path};

use machine_testkit::double::{Double, Provider, Reply, Request};
use serde_json::{Value, json};

use super::super::{
    Bench, Figures,
    figure::{Figure, Target},
    measure::{Cost, Invocation},
    store::{self, store_env},
};

const LIST: &str = "ls, 1000 machines of a cloud";
const MACHINES: usize = 1000;
/// The most that a page of the provider holds.
const PAGE: usize = 200;
const TOKEN: &str = "dop_v1_bench";
/// How often it is run.
const RUNS: usize = 5;

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    if !LIST.contains(only) {
        return Ok(Vec::new());
    }
    Ok(bench.show(list(bench).map_err(|e| format!("{LIST}: {e}"))?))
}

/// All of them run, and none of their engines answers, which is what takes the most.
fn list(bench: &Bench) -> Result<Figures, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let account = Double::start(Account);
    store::fill(folder.path(), MACHINES, closed_port()?)?;
    store::certify(folder.path(), &bench.ours)?;
    move_to(folder.path(), &account.url())?;
    let words = ["ls", "--json"].map(String::from);
    let env = store_env(folder.path());
    let ls = Invocation { program: &bench.ours, words: &words, env: &env, home: folder.path(), exits: 0 };
    let seen: Value = serde_json::from_slice(&ls.process().output()?.stdout)?;
    let running = seen.as_array().into_iter().flatten().filter(|row| row["State"] == "Running").count();
    let calls = account.take_exchanges().len();
    let cost: Cost = ls.median(RUNS)?;
    Ok(vec![
        Figure::new(LIST, "running", running as f64).target(Target::Exactly(MACHINES as f64)),
        Figure::new(LIST, "calls", calls as f64).target(Target::Exactly((MACHINES / PAGE) as f64)),
        Figure::new(LIST, "CPU ms", cost.cpu_ms),
        Figure::new(LIST, "wall ms", cost.wall_ms),
        Figure::new(LIST, "memory MiB", cost.memory_mib).target(Target::AtMost(60.0)),
    ])
}

/// Makes the machines of a store those of the account.
fn move_to(store: &Path, endpoint: &str) -> Result<(), Box<dyn Error>> {
    for n in 0..MACHINES {
        let file = store.join("machines").join(format!("m{n:04}")).join("config.json");
        let mut record: Value = serde_json::from_slice(&fs::read(&file)?)?;
        record["DriverName"] = "digitalocean".into();
        let driver = &mut record["Driver"];
        driver["AccessToken"] = TOKEN.into();
        driver["DropletID"] = (n + 1).into();
        driver["Endpoint"] = endpoint.into();
        fs::write(&file, serde_json::to_string_pretty(&record)?)?;
    }
    Ok(())
}

/// A port that refuses.
fn closed_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// An account with as many droplets, listed in pages as the provider does: each with all that stands in a real answer.
struct Account;

impl Provider for Account {
    fn answer(&mut self, request: &Request) -> Reply {
        let number = |key: &str, or: usize| request.query(key).parse().unwrap_or(or);
        let (page, size) = (number("page", 1), number("per_page", 20).min(PAGE));
        let first = (page - 1) * size;
        if request.segments() != ["v2", "droplets"] || first >= MACHINES {
            return Reply::json(404, &json!({ "id": "not_found", "message": "no such thing" }));
        }
        let last = (first + size).min(MACHINES);
        let droplets: Vec<Value> = (first..last).map(droplet).collect();
        let pages =
            if last < MACHINES { json!({ "next": format!("?page={}", page + 1) }) } else { json!({}) };
        Reply::json(
            200,
            &json!({ "droplets": droplets, "links": { "pages": pages }, "meta": { "total": MACHINES } }),
        )
    }
}

/// Field by field as in the example of the provider's description.
fn droplet(n: usize) -> Value {
    let sizes = ["s-1vcpu-1gb"];
    let regions = ["ams3", "nyc1", "nyc3", "sfo3", "sgp1"];
    json!({
        "id": n + 1, "name": format!("m{n:04}"), "memory": 1024, "vcpus": 1, "disk": 25, "locked": false, "status": "active",
        "kernel": null, "created_at": "2026-01-01T00:00:00Z", "features": ["backups", "private_networking", "ipv6"],
        "backup_ids": [53_893_572], "next_backup_window": { "start": "2026-01-02T00:00:00Z", "end": "2026-01-02T23:00:00Z" },
        "snapshot_ids": [67_512_819],
        "image": {
            "id": 63_663_980, "name": "24.04 (LTS) x64", "distribution": "Ubuntu", "slug": "ubuntu-24-04-x64", "public": true,
            "regions": regions, "created_at": "2025-05-15T05:47:50Z", "type": "snapshot", "min_disk_size": 20,
            "size_gigabytes": 2.36, "description": "", "tags": [], "status": "available", "error_message": ""
        },
        "volume_ids": [],
        "size": {
            "slug": "s-1vcpu-1gb", "memory": 1024, "vcpus": 1, "disk": 25, "transfer": 1.0, "price_monthly": 6.0,
            "price_hourly": 0.008_93, "regions": regions, "available": true, "description": "Basic"
        },
        "size_slug": "s-1vcpu-1gb",
        "networks": {
            "v4": [
                { "ip_address": "10.128.192.124", "netmask": "255.255.0.0", "gateway": "nil", "type": "private" },
                { "ip_address": store::address(n), "netmask": "255.255.240.0", "gateway": "127.0.0.1", "type": "public" }
            ],
            "v6": []
        },
        "region": { "name": "New York 3", "slug": "nyc3", "features": ["storage"], "available": true, "sizes": sizes },
        "tags": ["web", "env:prod"], "vpc_uuid": "760e09ef-dc84-11e8-981e-3cfdfeaae000"
    })
}
