//! A store with machines in it, as the reference program leaves one.

use std::{fs, io, net::Ipv4Addr, os::unix::fs::PermissionsExt, path::Path};

use serde_json::{Value, json};

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
        fs::write(
            &file,
            serde_json::to_string_pretty(&config(store, &name, &address(n).to_string(), port))?,
        )?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

fn config(store: &Path, name: &str, address: &str, port: u16) -> Value {
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
