//! What virsh says when something fails, and what that means. The texts are libvirt's in English, as it prints them
//! with `LC_ALL=C`; they were seen with libvirt 9.0 or stand so in its source.

use machine_core::{DriverError, ErrorKind};

/// What kind of thing failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    NoDomain,
    NoPool,
    NoVolume,
    NoNetwork,
    NoSnapshot,
    /// There is something of this name already.
    Exists,
    /// The domain is off.
    NotRunning,
    /// The domain, network or pool is on already.
    AlreadyActive,
    NetworkOff,
    PoolOff,
    /// An entry that was to be deleted from a network is not in it.
    NoEntry,
    /// A volume is being written to or read by somebody.
    Busy,
    /// A port of this computer is taken.
    PortTaken,
    Denied,
    Unreachable,
    NoSpace,
    NoKvm,
    /// The hypervisor may not read a file.
    Unreadable,
    Other,
}

/// Marks in virsh's text, the first that fits counts. All parts of one must be there.
const MARKS: &[(&[&str], Trouble)] = &[
    (&["Failed to connect socket", "Permission denied"], Trouble::Denied),
    (&["authentication unavailable"], Trouble::Denied),
    (&["authentication failed"], Trouble::Denied),
    (&["access denied"], Trouble::Denied),
    (&["Permission denied (publickey"], Trouble::Denied),
    (&["Failed to connect socket"], Trouble::Unreachable),
    (&["unable to connect to server"], Trouble::Unreachable),
    (&["Cannot recv data"], Trouble::Unreachable),
    (&["End of file while reading data"], Trouble::Unreachable),
    (&["client socket is closed"], Trouble::Unreachable),
    (&["failed to connect to the hypervisor"], Trouble::Unreachable),
    (&["No space left on device"], Trouble::NoSpace),
    (&["not enough free space"], Trouble::NoSpace),
    (&["Disk quota exceeded"], Trouble::NoSpace),
    (&["Could not set up host forwarding rule"], Trouble::PortTaken),
    (&["Cannot access storage file", "Permission denied"], Trouble::Unreadable),
    (&["Could not open", "Permission denied"], Trouble::Unreadable),
    (&["domaintype=kvm"], Trouble::NoKvm),
    (&["Could not access KVM kernel module"], Trouble::NoKvm),
    (&["failed to initialize kvm"], Trouble::NoKvm),
    (&["failed to initialize KVM"], Trouble::NoKvm),
    (&["failed to set MSR"], Trouble::NoKvm),
    (&["no domain snapshot with matching name"], Trouble::NoSnapshot),
    (&["Domain snapshot not found"], Trouble::NoSnapshot),
    (&["couldn't locate a matching dhcp host entry"], Trouble::NoEntry),
    (&["failed to get domain"], Trouble::NoDomain),
    (&["Domain not found"], Trouble::NoDomain),
    (&["Storage pool not found"], Trouble::NoPool),
    (&["Storage volume not found"], Trouble::NoVolume),
    (&["Network not found"], Trouble::NoNetwork),
    (&["storage pool", "is not active"], Trouble::PoolOff),
    (&["network", "is not active"], Trouble::NetworkOff),
    (&["network is not running"], Trouble::NetworkOff),
    (&["there is an existing dhcp host entry"], Trouble::Exists),
    (&["already exists"], Trouble::Exists),
    (&["exists already"], Trouble::Exists),
    (&["is already defined"], Trouble::Exists),
    (&["is still in use"], Trouble::Busy),
    (&["being allocated"], Trouble::Busy),
    (&["domain is not running"], Trouble::NotRunning),
    (&["already active"], Trouble::AlreadyActive),
    (&["is already running"], Trouble::AlreadyActive),
];

impl Trouble {
    /// Reads what virsh said.
    pub(super) fn of(said: &str) -> Self {
        let fits = |marks: &[&str]| marks.iter().all(|mark| said.contains(mark));
        MARKS.iter().find(|(marks, _)| fits(marks)).map_or(Self::Other, |(_, trouble)| *trouble)
    }

    /// What it is for the rest of the program.
    fn kind(self) -> ErrorKind {
        match self {
            Self::NoDomain | Self::NoPool | Self::NoVolume | Self::NoNetwork | Self::NoSnapshot => {
                ErrorKind::NotFound
            }
            Self::NotRunning | Self::AlreadyActive => ErrorKind::AlreadyDone,
            Self::Denied => ErrorKind::Credentials,
            Self::NoSpace => ErrorKind::Quota,
            Self::Unreachable | Self::Busy | Self::PortTaken => ErrorKind::Unavailable,
            _ => ErrorKind::Other,
        }
    }

    /// What to do about it.
    fn hint(self, uri: &str) -> Option<String> {
        let local = super::uri::is_local(uri);
        let text = match self {
            Self::Unreachable if local => {
                "is libvirt's daemon running? `systemctl enable --now libvirtd` starts it (newer systems: \
                 virtqemud.socket); --libvirt-uri names another connection"
            }
            Self::Unreachable => {
                "can `virsh -c URI list` be run from here? --libvirt-uri names another connection"
            }
            Self::Denied if local => {
                "become a member of the group libvirt (`sudo usermod -aG libvirt $USER`, then log in again), or use \
                 --libvirt-uri qemu:///session"
            }
            Self::Denied => "libvirt asks for a login that virsh does not have; try `virsh -c URI list`",
            Self::NoNetwork => {
                "`virsh net-list --all` shows the networks; --libvirt-network names one, \
                 --libvirt-network user needs none"
            }
            Self::NetworkOff => {
                "`virsh net-start NETWORK` starts it, `virsh net-autostart NETWORK` with the computer"
            }
            Self::NoPool => "`virsh pool-list --all` shows the pools; --libvirt-pool names one",
            Self::PoolOff => {
                "`virsh pool-start POOL` starts it, `virsh pool-autostart POOL` with the computer"
            }
            Self::NoSpace => "make room in the storage pool, or name another with --libvirt-pool",
            Self::NoKvm => "--libvirt-type qemu does without hardware virtualisation, slowly",
            Self::Unreadable => {
                "libvirt's user can't read files in the storage pool's folder; /var/lib/libvirt/images is a good one \
                 (`virsh pool-dumpxml POOL`)"
            }
            Self::PortTaken => "`docker-machine start` chooses other ports",
            Self::Busy => "somebody is writing to it; try again when that is done",
            _ => return None,
        };
        Some(text.replace("URI", if uri.is_empty() { "URI" } else { uri }))
    }
}

/// virsh failed.
#[derive(Debug)]
pub(super) struct Failure {
    /// What kind of thing.
    pub trouble: Trouble,
    /// What it said, as one line.
    pub said: String,
    pub uri: String,
}

impl Failure {
    /// Of what virsh printed on standard error.
    pub(super) fn new(uri: &str, stderr: &str) -> Self {
        let lines = stderr.lines().map(|line| line.trim().trim_start_matches("error: "));
        let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        let said = if said.is_empty() { "it said nothing".to_owned() } else { said.join(": ") };
        Self { trouble: Trouble::of(stderr), said, uri: uri.to_owned() }
    }
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        let made = Self::new(failure.trouble.kind(), format!("libvirt ({}): {}", failure.uri, failure.said));
        match failure.trouble.hint(&failure.uri) {
            Some(hint) => made.with_hint(hint),
            None => made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libvirt 9.0 says it.
    #[test]
    fn what_libvirt_says_is_understood() {
        for (said, trouble) in [
            (
                "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/libvirt-sock': No such file or directory",
                Trouble::Unreachable,
            ),
            (
                "error: failed to connect to the hypervisor\nerror: Failed to connect socket to '/var/run/libvirt/libvirt-sock': Permission denied",
                Trouble::Denied,
            ),
            (
                "error: failed to connect to the hypervisor\nerror: authentication unavailable: no polkit agent available to authenticate action 'org.libvirt.unix.manage'",
                Trouble::Denied,
            ),
            (
                "error: failed to connect to the hypervisor\nerror: Cannot recv data: ssh: connect to host h port 22: Connection refused: Connection reset by peer",
                Trouble::Unreachable,
            ),
            ("error: failed to get domain 'dev'", Trouble::NoDomain),
            (
                "error: failed to get vol 'x'\nerror: Storage volume not found: no storage vol with matching path 'x'",
                Trouble::NoVolume,
            ),
            (
                "error: failed to get pool 'x'\nerror: Storage pool not found: no storage pool with matching name 'x'",
                Trouble::NoPool,
            ),
            (
                "error: failed to get network 'x'\nerror: Network not found: no network with matching name 'x'",
                Trouble::NoNetwork,
            ),
            (
                "error: Failed to list volumes\nerror: Requested operation is not valid: storage pool 'default' is not active",
                Trouble::PoolOff,
            ),
            (
                "error: Failed to update network default\nerror: Requested operation is not valid: network is not running",
                Trouble::NetworkOff,
            ),
            (
                "error: Failed to start domain 'dev'\nerror: Requested operation is not valid: network 'default' is not active",
                Trouble::NetworkOff,
            ),
            (
                "error: Failed to create vol from /dev/stdin\nerror: storage volume 'disk.qcow2' exists already",
                Trouble::Exists,
            ),
            ("error: operation failed: domain moment s1 already exists", Trouble::Exists),
            (
                "error: Domain snapshot not found: no domain snapshot with matching name 's'",
                Trouble::NoSnapshot,
            ),
            (
                "error: Failed to destroy domain 'dev'\nerror: Requested operation is not valid: domain is not running",
                Trouble::NotRunning,
            ),
            ("error: Domain is already active", Trouble::AlreadyActive),
            (
                "error: Failed to resume domain 'dev'\nerror: Requested operation is not valid: domain is already running",
                Trouble::AlreadyActive,
            ),
            (
                "error: Failed to start domain 'dev'\nerror: internal error: process exited while connecting to monitor: qemu-system-x86_64: -netdev user,id=dm0,hostfwd=tcp:127.0.0.1:1-:22: Could not set up host forwarding rule 'tcp:127.0.0.1:1-:22'",
                Trouble::PortTaken,
            ),
        ] {
            assert_eq!(Trouble::of(said), trouble, "{said}");
        }
    }

    #[test]
    fn an_error_says_where_what_and_what_to_do() {
        let failure = Failure::new(
            "qemu:///system",
            "error: failed to connect to the hypervisor\nerror: authentication unavailable: no agent\n\n",
        );
        let error = DriverError::from(failure);
        assert_eq!(error.kind(), ErrorKind::Credentials);
        assert_eq!(
            error.to_string(),
            "libvirt (qemu:///system): failed to connect to the hypervisor: authentication unavailable: no agent"
        );
        assert!(error.hint().is_some_and(|hint| hint.contains("group libvirt")));
    }
}
