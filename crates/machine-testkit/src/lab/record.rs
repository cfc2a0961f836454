//! What is written down about each host, so that another process can find it and take it down.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

use rustix::process::Pid;
use serde::{Deserialize, Serialize};

use super::{LabError, Options, Variant, lock, network::Subnet};

/// A host that is up, or should be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HostRecord {
    /// Its name in the lab and the host name it booted with.
    pub name: String,
    /// N in its subnet 10.99.N.0/24.
    pub number: u8,
    /// What its engine is like.
    pub variant: Variant,
    /// What else is special about it.
    pub options: Options,
    /// True for hosts that outlive the process that made them.
    pub lasting: bool,
    #[serde(skip)]
    dir: PathBuf,
}

impl HostRecord {
    pub(super) fn new(lab: &Path, name: &str, subnet: Subnet, variant: Variant, options: &Options) -> Self {
        Self {
            name: name.to_owned(),
            number: subnet.0,
            variant,
            options: options.clone(),
            lasting: false,
            dir: folder(lab, name),
        }
    }

    /// Where the host is reached.
    pub fn address(&self) -> Ipv4Addr {
        self.subnet().host_address()
    }

    /// The port that its sshd listens on.
    pub fn ssh_port(&self) -> u16 {
        self.options.ssh_port.unwrap_or(22)
    }

    /// Our end of the host's link.
    pub fn our_address(&self) -> Ipv4Addr {
        self.subnet().our_address()
    }

    /// The process group of what boots the host, once it is started.
    pub fn process_group(&self) -> Option<Pid> {
        let text = fs::read_to_string(self.dir.join("boot.pid")).ok()?;
        text.trim().parse().ok().and_then(Pid::from_raw)
    }

    pub(super) fn subnet(&self) -> Subnet {
        Subnet(self.number)
    }

    /// The host's folder of state.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn owner_lock(&self) -> PathBuf {
        self.dir.join("owner")
    }

    pub(super) fn save(&self) -> Result<(), LabError> {
        let file = self.dir.join("host.json");
        let text = serde_json::to_string_pretty(self).expect("a record is plain data");
        fs::write(&file, text).map_err(|e| LabError::file("write", &file, e))
    }
}

/// A host's folder.
pub fn folder(lab: &Path, name: &str) -> PathBuf {
    lab.join("hosts").join(name)
}

/// The record of the host of that name.
pub fn load(lab: &Path, name: &str) -> Result<HostRecord, LabError> {
    let dir = folder(lab, name);
    let text = fs::read(dir.join("host.json")).map_err(|_| LabError::NoHost(name.to_owned()))?;
    let record: HostRecord = serde_json::from_slice(&text)
        .map_err(|e| LabError::file("understand", dir.join("host.json"), std::io::Error::other(e)))?;
    Ok(HostRecord { dir, ..record })
}

/// All records, by name.
pub fn list(lab: &Path) -> Result<Vec<HostRecord>, LabError> {
    let hosts = lab.join("hosts");
    let entries = fs::read_dir(&hosts).map_err(|e| LabError::file("read", &hosts, e))?;
    let mut names: Vec<String> = entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    // A folder without a record is one that another process is just making or removing.
    Ok(names.iter().filter_map(|name| load(lab, name).ok()).collect())
}

/// Hosts whose maker is gone. Only meaningful while the lab's lock is held: makers lock their host under it.
pub fn abandoned(lab: &Path) -> Result<Vec<HostRecord>, LabError> {
    let mut found = Vec::new();
    for record in list(lab)? {
        if !record.lasting && lock::attempt(&record.owner_lock())?.is_some() {
            found.push(record);
        }
    }
    Ok(found)
}
