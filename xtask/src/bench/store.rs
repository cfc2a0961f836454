//! A store with machines in it, as the reference program leaves one.

use std::{error::Error, fs, io, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

use super::measure::Invocation;

/// The address of machine number `n`: each has its own, all of them are this computer.
pub fn address(n: usize) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + n as u32)
}

/// Writes so many `generic` machines (`m0000`, …) that take SSH at `port`.
pub fn fill(store: &Path, machines: usize, port: u16) -> io::Result<()> {
    for folder in ["certs", "machines"] {
        fs::create_dir_all(store.join(folder))?;
    }
    for n in 0..machines {
        let name = format!("m{n:04}");
        let folder = store.join("machines").join(&name);
        fs::create_dir(&folder)?;
        let file = folder.join("config.json");
        fs::write(&file, serde_json::to_string_pretty(&config(store, &name, address(n), port))?)?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// Gives the store a CA and a client certificate, made by `program`, and each machine copies of them. The copy of the
/// client's stands for the certificate of the engine as well: of its dates only is anything read here.
pub fn certify(store: &Path, program: &Path) -> Result<(), Box<dyn Error>> {
    let seed = ["create", "-d", "none", "--url", "tcp://127.0.0.1:1", "seed"].map(String::from);
    let env = store_env(store);
    let made = Invocation { program, words: &seed, env: &env, home: store, exits: 0 }.process().output()?;
    if !made.status.success() {
        return Err(format!("no certificates: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    fs::remove_dir_all(store.join("machines").join("seed"))?;
    for folder in fs::read_dir(store.join("machines"))? {
        let folder = folder?.path();
        for (from, to) in [
            ("ca.pem", "ca.pem"),
            ("cert.pem", "cert.pem"),
            ("key.pem", "key.pem"),
            ("cert.pem", "server.pem"),
        ] {
            fs::copy(store.join("certs").join(from), folder.join(to))?;
        }
    }
    Ok(())
}

/// The store's folder, as the programs read it from their environment.
pub fn store_env(store: &Path) -> [(&'static str, String); 1] {
    [("MACHINE_STORAGE_PATH", store.to_string_lossy().into_owned())]
}

fn config(store: &Path, name: &str, address: Ipv4Addr, port: u16) -> Value {
    let certs = |file: &str| store.join("certs").join(file);
    let own = |file: &str| store.join("machines").join(name).join(file);
    json!({
        "ConfigVersion": 3,
        "Driver": {
            "IPAddress": address, "MachineName": name, "SSHUser": "debian", "SSHPort": port, "SSHKeyPath": own("id_rsa"),
            "StorePath": store, "SwarmMaster": false, "SwarmHost": "", "SwarmDiscovery": "", "EnginePort": 2376,
            "SSHKey": "/root/.ssh/id_rsa"
        },
        "DriverName": "generic",
        "HostOptions": {
            "Driver": "", "Memory": 0, "Disk": 0,
            "EngineOptions": {
                "ArbitraryFlags": [], "Dns": null, "GraphDir": "", "Env": [], "Ipv6": false, "InsecureRegistry": [],
                "Labels": [], "LogLevel": "", "StorageDriver": "", "SelinuxEnabled": false, "TlsVerify": true,
                "RegistryMirror": [], "InstallURL": "https://get.docker.com"
            },
            "SwarmOptions": {
                "IsSwarm": false, "Address": "", "Discovery": "", "Agent": false, "Master": false,
                "Host": "tcp://0.0.0.0:3376", "Image": "swarm:latest", "Strategy": "spread", "Heartbeat": 0,
                "Overcommit": 0, "ArbitraryFlags": [], "ArbitraryJoinFlags": [], "Env": null, "IsExperimental": false
            },
            "AuthOptions": {
                "CertDir": certs(""), "CaCertPath": certs("ca.pem"), "CaPrivateKeyPath": certs("ca-key.pem"),
                "CaCertRemotePath": "", "ServerCertPath": own("server.pem"), "ServerKeyPath": own("server-key.pem"),
                "ClientKeyPath": certs("key.pem"), "ServerCertRemotePath": "", "ServerKeyRemotePath": "",
                "ClientCertPath": certs("cert.pem"), "ServerCertSANs": [], "StorePath": own("")
            }
        },
        "Name": name
    })
}
