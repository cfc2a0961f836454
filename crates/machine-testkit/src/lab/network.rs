//! A host's link: a pair of virtual Ethernet ends, ours at 10.99.N.1, the host's at 10.99.N.2 in a namespace.

use std::{net::Ipv4Addr, path::Path};

use super::{LabError, command::run};

/// One subnet in use, by its number N. All names on this machine that belong to a host are made of it.
#[derive(Debug, Clone, Copy)]
pub struct Subnet(pub u8);

impl Subnet {
    /// Takes a free number: the kernel refuses a link whose name is there, so two processes never get the same.
    pub fn claim() -> Result<Self, LabError> {
        for subnet in (1..=250).map(Self) {
            if Path::new("/sys/class/net").join(subnet.our_link()).exists() {
                continue;
            }
            let (ours, theirs) = (subnet.our_link(), subnet.their_link());
            match run("ip", ["link", "add", &ours, "type", "veth", "peer", "name", &theirs]) {
                Err(LabError::Command { said, .. }) if said.contains("File exists") => {}
                other => return other.map(|_| subnet),
            }
        }
        Err(LabError::NoSubnet)
    }

    pub fn our_link(self) -> String {
        format!("dml{}h", self.0)
    }

    fn their_link(self) -> String {
        format!("dml{}g", self.0)
    }

    /// The network namespace's name.
    pub fn namespace(self) -> String {
        format!("dml{}", self.0)
    }

    /// Our end.
    pub fn our_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.0, 1)
    }

    /// The host's end.
    pub fn host_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, 99, self.0, 2)
    }

    /// Makes the namespace and puts both ends in their places. It outlives reboots of the host.
    pub fn plug_in(self) -> Result<(), LabError> {
        let (space, ours, theirs) = (self.namespace(), self.our_link(), self.their_link());
        let (our_address, host_address) = (self.our_address().to_string(), self.host_address().to_string());
        run("ip", ["netns", "add", &space])?;
        run("ip", ["link", "set", &theirs, "netns", &space, "name", "eth0"])?;
        run("ip", ["addr", "add", &format!("{our_address}/24"), "dev", &ours])?;
        run("ip", ["link", "set", &ours, "up"])?;
        let inside = |args: &[&str]| run("ip", ["-n", &space].iter().chain(args)).map(drop);
        inside(&["link", "set", "lo", "up"])?;
        inside(&["addr", "add", &format!("{host_address}/24"), "dev", "eth0"])?;
        inside(&["link", "set", "eth0", "up"])?;
        inside(&["route", "add", "default", "via", &our_address])
    }

    /// Cuts or mends the link on our side.
    pub fn set_link(self, up: bool) -> Result<(), LabError> {
        run("ip", ["link", "set", &self.our_link(), if up { "up" } else { "down" }]).map(drop)
    }

    /// Takes the namespace away. The host's end comes out of it first: with the namespace it would go, our end with it,
    /// and the number would be free while this host still holds it.
    pub fn unplug(self) -> Result<(), LabError> {
        let space = self.namespace();
        if !Path::new("/run/netns").join(&space).exists() {
            return Ok(());
        }
        let us = std::process::id().to_string();
        // Where the end is gone already there is nothing to keep.
        if run("ip", ["-n", &space, "link", "set", "eth0", "down"]).is_ok() {
            run("ip", ["-n", &space, "link", "set", "eth0", "netns", &us, "name", &self.their_link()])?;
        }
        run("ip", ["netns", "del", &space]).map(drop)
    }

    /// Gives the number back; from here on another host may have it. The link may be gone already, where a teardown
    /// was broken off.
    pub fn release(self) -> Result<(), LabError> {
        let link = Path::new("/sys/class/net").join(self.our_link());
        match run("ip", ["link", "del", &self.our_link()]) {
            Err(e) if link.exists() => Err(e),
            _ => Ok(()),
        }
    }
}
