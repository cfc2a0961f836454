//! Real hosts of the lab, and machines made on them.

use std::{
    error::Error,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
};

use machine_testkit::lab::{Host, Lab, Spec, Variant};
use tempfile::TempDir;

use super::{
    measure::{Cost, Invocation},
    store::{self, store_env},
};

/// The engine's port where nothing says otherwise.
pub const ENGINE_PORT: u16 = 2376;

/// A new host whose engine runs.
pub fn host() -> Result<Host, Box<dyn Error>> {
    several(1)?.pop().ok_or_else(|| "the lab made no host".into())
}

/// So many new hosts whose engines run.
pub fn several(number: usize) -> Result<Vec<Host>, Box<dyn Error>> {
    if !rustix::process::geteuid().is_root() {
        return Err("a lab host is made of namespaces and needs root".into());
    }
    let lab = Lab::open()?.with_room_for(number);
    Ok((0..number).map(|_| lab.host(Spec::new(Variant::Docker))).collect::<Result<_, _>>()?)
}

/// Room for the inotify instances of many hosts: each systemd wants some, and usually 128 is all that there are. It is as it was
/// when the value is dropped.
pub struct Inotify(Option<String>);

impl Inotify {
    const LIMIT: &str = "/proc/sys/fs/inotify/max_user_instances";
    /// What a host has, and then some.
    const OF_A_HOST: usize = 12;

    pub fn for_hosts(number: usize) -> Result<Self, Box<dyn Error>> {
        let before = fs::read_to_string(Self::LIMIT)?;
        let wanted = number * Self::OF_A_HOST;
        if before.trim().parse::<usize>()? >= wanted {
            return Ok(Self(None));
        }
        fs::write(Self::LIMIT, wanted.to_string()).map_err(|e| format!("{}: {e}", Self::LIMIT))?;
        Ok(Self(Some(before)))
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        if let Some(before) = &self.0
            && let Err(error) = fs::write(Self::LIMIT, before)
        {
            eprintln!("{} could not be set back to {}: {error}", Self::LIMIT, before.trim());
        }
    }
}

/// Where a program finds a host.
#[derive(Debug, Clone, Copy)]
pub struct Way {
    /// The host's address, or that of proxies before it.
    pub address: IpAddr,
    /// Where SSH is spoken there.
    pub ssh_port: u16,
    /// Where the engine shall listen.
    pub engine_port: u16,
}

impl Way {
    /// With nothing in between.
    pub fn straight(host: &Host) -> Self {
        Self { address: host.address().into(), ssh_port: host.ssh_port(), engine_port: ENGINE_PORT }
    }
}

/// The sshd of a host.
pub fn sshd(host: &Host) -> SocketAddr {
    SocketAddr::from((host.address(), host.ssh_port()))
}

/// A store with certificates, in which machines are made.
pub struct Fleet {
    folder: TempDir,
    key: PathBuf,
}

impl Fleet {
    /// One with certificates made by `program`, for a host.
    pub fn new(program: &Path, host: &Host) -> Result<Self, Box<dyn Error>> {
        let fleet = Self { folder: tempfile::tempdir()?, key: host.key().to_owned() };
        fs::create_dir_all(fleet.store().join("machines"))?;
        store::certify(fleet.store(), program)?;
        Ok(fleet)
    }

    /// The store's folder.
    pub fn store(&self) -> &Path {
        self.folder.path()
    }

    /// Runs `create -d generic` once and measures it.
    pub fn create(&self, program: &Path, way: Way, machine: &str) -> Result<Cost, Box<dyn Error>> {
        let words = [
            "create".to_owned(),
            "--driver=generic".to_owned(),
            format!("--generic-ip-address={}", way.address),
            format!("--generic-ssh-port={}", way.ssh_port),
            format!("--generic-engine-port={}", way.engine_port),
            "--generic-ssh-user=debian".to_owned(),
            format!("--generic-ssh-key={}", self.key.display()),
            machine.to_owned(),
        ];
        let env = store_env(self.store());
        Invocation { program, words: &words, env: &env, home: self.store(), exits: 0 }.once()
    }
}
