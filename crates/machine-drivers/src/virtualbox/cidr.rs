//! The host-only network's addresses: whose is which, without asking anybody.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use machine_core::{DriverError, ErrorKind};

/// A host's address in a network, written `192.168.99.1/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cidr {
    /// This computer's address.
    pub host: Ipv4Addr,
    /// How many bits of it are the network's.
    pub prefix: u32,
}

impl Cidr {
    /// Reads it.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], in the reference program's words where it has some.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let wrong = || {
            DriverError::new(ErrorKind::Config, format!("invalid CIDR address: {text}")).with_hint(
                "--virtualbox-hostonly-cidr is this computer's address in the network, e.g. 192.168.56.1/24",
            )
        };
        let (host, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let host: Ipv4Addr = host.parse().map_err(|_| wrong())?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| (8..=29).contains(prefix)).ok_or_else(wrong)?;
        let cidr = Self { host, prefix };
        if host == cidr.network() || host == cidr.broadcast() {
            return Err(DriverError::new(
                ErrorKind::Config,
                "host-only cidr must be specified with a host address, not a network address",
            ));
        }
        Ok(cidr)
    }

    /// From an address and a mask as VBoxManage prints them.
    pub(super) fn of(host: Ipv4Addr, mask: Ipv4Addr) -> Self {
        Self { host, prefix: u32::from(mask).leading_ones() }
    }

    /// The mask, e.g. 255.255.255.0.
    pub(super) fn mask(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::MAX.checked_shl(32 - self.prefix).unwrap_or(0))
    }

    /// The network's address.
    pub(super) fn network(self) -> Ipv4Addr {
        self.host & self.mask()
    }

    fn broadcast(self) -> Ipv4Addr {
        self.host | !self.mask()
    }

    /// Whether an address is in the network.
    pub(super) fn contains(self, address: Ipv4Addr) -> bool {
        address & self.mask() == self.network()
    }

    /// Whether the whole of another network is in this one.
    pub(super) fn covers(self, other: Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network())
    }

    /// Whether two networks have addresses in common.
    pub(super) fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Who has which addresses. Networks of 256 addresses and more are shared as in the reference program: DHCP has .100 to .254, its server one
    /// below .26; machines whose address we choose have what is between. Smaller ones are halved.
    pub(super) fn plan(self) -> Plan {
        let base = u32::from(self.network());
        let at = |offset: u32| Ipv4Addr::from(base + offset);
        let (server, fixed, leased) = if self.prefix <= 24 {
            (2, (26, 99), (100, 254))
        } else {
            let last = (1 << (32 - self.prefix)) - 2;
            (2, (3, last / 2), (last / 2 + 1, last))
        };
        let server = if at(server) == self.host { at(server - 1) } else { at(server) };
        Plan {
            server,
            fixed: (at(fixed.0), at(fixed.1)),
            leased: (at(leased.0), at(leased.1)),
            host: self.host,
        }
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.host, self.prefix)
    }
}

/// Who has which addresses of a network; ranges with both ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    /// The DHCP server.
    pub server: Ipv4Addr,
    /// Machines whose address is chosen by us.
    pub fixed: (Ipv4Addr, Ipv4Addr),
    /// What the DHCP server gives away.
    pub leased: (Ipv4Addr, Ipv4Addr),
    host: Ipv4Addr,
}

impl Plan {
    /// An address that nobody has; where the search begins is up to the machine, so that two at once hardly ever want the same.
    pub(super) fn free(&self, taken: &BTreeSet<Ipv4Addr>, seed: &str) -> Option<Ipv4Addr> {
        let (first, last) = (u32::from(self.fixed.0), u32::from(self.fixed.1));
        let count = last.checked_sub(first)? + 1;
        let hash = seed
            .bytes()
            .fold(2_166_136_261_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(16_777_619));
        (0..count)
            .map(|step| Ipv4Addr::from(first + (hash % count + step) % count))
            .find(|address| *address != self.host && !taken.contains(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_people_write_it() {
        let cidr = Cidr::parse("192.168.99.1/24").unwrap();
        assert_eq!(cidr.to_string(), "192.168.99.1/24");
        assert_eq!((cidr.mask(), cidr.network()), ([255, 255, 255, 0].into(), [192, 168, 99, 0].into()));
        for bad in
            ["", "192.168.99.1", "192.168.99.1/33", "192.168.99.1/30", "a/24", "::1/64", "192.168.99.1/24 "]
        {
            let error = Cidr::parse(bad).unwrap_err();
            assert_eq!(error.to_string(), format!("invalid CIDR address: {bad}"));
        }
        let error = Cidr::parse("192.168.99.0/24").unwrap_err();
        assert_eq!(
            error.to_string(),
            "host-only cidr must be specified with a host address, not a network address"
        );
    }

    #[test]
    fn addresses_are_shared_out() {
        let plan = Cidr::parse("192.168.56.1/24").unwrap().plan();
        assert_eq!(plan.server, Ipv4Addr::new(192, 168, 56, 2));
        assert_eq!(plan.leased, ([192, 168, 56, 100].into(), [192, 168, 56, 254].into()));
        let mut taken = BTreeSet::new();
        while let Some(address) = plan.free(&taken, "seed") {
            assert!(address.octets()[3] >= 26 && address.octets()[3] <= 99, "{address}");
            taken.insert(address);
        }
        assert_eq!(taken.len(), 74);
        let small = Cidr::parse("10.0.0.2/28").unwrap().plan();
        assert_eq!(small.server, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(
            (small.fixed, small.leased),
            (([10, 0, 0, 3].into(), [10, 0, 0, 7].into()), ([10, 0, 0, 8].into(), [10, 0, 0, 14].into()))
        );
        let least = Cidr::parse("10.0.0.1/29").unwrap().plan();
        assert_eq!(least.free(&BTreeSet::new(), ""), Some([10, 0, 0, 3].into()));
    }

    #[test]
    fn networks_in_networks() {
        let net = |text| Cidr::parse(text).unwrap();
        assert!(net("192.168.56.1/21").covers(net("192.168.63.1/24")));
        assert!(!net("192.168.56.1/21").covers(net("192.168.64.1/24")));
        assert!(net("10.0.0.1/24").overlaps(net("10.0.0.200/25")));
        assert!(!net("10.0.0.1/24").overlaps(net("10.0.1.1/24")));
        assert_eq!(Cidr::of([10, 0, 0, 1].into(), [255, 255, 255, 0].into()), net("10.0.0.1/24"));
    }
}
