//! What to do about well-known failures, by what commands print.

/// A text that commands print when something is wrong, lower case, and what to do about it.
const KNOWN: &[(&[&str], &str)] = &[
    (
        &[
            "no space left on device",
            "not enough free space",
            "you don't have enough free space",
            "disk quota exceeded",
        ],
        "the host's disk is full: make room there, or use a larger disk, then run it again",
    ),
    (
        &["read-only file system"],
        "a file system of the host is read-only, often after a disk error: look at dmesg there",
    ),
    (
        &["dpkg was interrupted"],
        "an installation on the host was interrupted; run there: sudo dpkg --configure -a",
    ),
    (
        &[
            "could not get lock",
            "unable to acquire the dpkg frontend lock",
            "unable to lock database",
            "is holding the lock",
            "system management is locked",
            "another app is currently holding",
        ],
        "another program on the host is installing packages, e.g. unattended upgrades after the first boot: wait until it is done, then run it again",
    ),
    (
        &[
            "release file for",
            "is not valid yet",
            "certificate is not yet valid",
            "certificate has expired",
            "not yet activated",
        ],
        "the host's clock may be wrong: compare the output of date -u there, and set it or start a time service",
    ),
    (
        &[
            "no_pubkey",
            "gpg error",
            "gpg check failed",
            "signature verification failed",
            "signatures couldn't be verified",
            "public key is not installed",
            "invalid or corrupted package (pgp signature)",
        ],
        "a package repository of the host is signed by a key that the host does not know: repair its sources, or its clock",
    ),
    (
        &[
            "a password is required",
            "a terminal is required",
            "you must have a tty",
            "is not in the sudoers file",
        ],
        "sudo on the host must let the user through without asking: log in as root, or add USER ALL=(ALL) NOPASSWD: ALL to /etc/sudoers.d",
    ),
    (
        &[
            "could not resolve",
            "temporary failure resolving",
            "temporary failure in name resolution",
            "name or service not known",
            "no route to host",
            "network is unreachable",
            "bad address",
            "failed to connect to",
            "connection timed out",
            "could not connect to",
            "unable to connect to",
            "curl: (28)",
            "operation timed out",
            "temporary error (try again later)",
        ],
        "the host does not reach the outside: give it a way out or a proxy (--engine-env HTTPS_PROXY=…), or use packages from a mirror \
      that it reaches (--engine-install distro), an install script of your own (--engine-install-url URL), or an image that has the engine",
    ),
    (
        &["the requested url returned error", "404 not found", "server returned error"],
        "the address of the install script or of a package repository is wrong or gone: check --engine-install-url",
    ),
    (
        &[
            "unable to locate package",
            "has no installation candidate",
            "no match for argument",
            "no package docker",
            "target not found",
            "unable to select packages",
            "nothing provides",
            "no provider of",
            "unable to find a match",
        ],
        "the host's repositories have no such package: refresh or add repositories there, or leave --engine-install out to take docker.com's packages; SUSE Linux Enterprise has the engine in its Containers module (SUSEConnect)",
    ),
    (
        &[
            "conflicts with",
            "problem with installed package podman",
            "problem with installed package buildah",
        ],
        "another package is in the way, often podman, buildah or runc: remove it there, then run it again",
    ),
    (
        &["held packages were changed"],
        "the engine's packages are held at their version on the host: apt-mark showhold lists them",
    ),
    (
        &["unit docker.service is masked", "unit is masked"],
        "docker.service is masked on the host; run there: sudo systemctl unmask docker.service docker.socket",
    ),
    (
        &["the following directives are specified both as a flag and in the configuration file"],
        "take these keys out of /etc/docker/daemon.json on the host",
    ),
    (
        &["unknown flag", "invalid argument \"", "flag provided but not defined"],
        "the engine on the host does not know one of its options: check --engine-opt and the engine's version",
    ),
    (&["address already in use"], "something else on the host listens on the engine's port"),
    (
        &["prior storage driver", "driver not supported", "not supported as upperdir", "graphdriver"],
        "the storage driver does not fit the host or the data that the engine has: check --engine-storage-driver",
    ),
    (
        &[
            "failed to create nat chain",
            "iptables not found",
            "can't initialize iptables",
            "iptables failed",
            "failed to find iptables",
        ],
        "the engine can't set up its network: install iptables there, and reboot the host if its kernel was just updated",
    ),
    (
        &["start request repeated too quickly"],
        "the engine does not start: look at journalctl -u docker on the host",
    ),
];

/// The hint for the last line that is known.
pub fn for_output(lines: &[String]) -> Option<String> {
    lines.iter().rev().find_map(|line| {
        let line = line.to_lowercase();
        let known = KNOWN.iter().find(|(texts, _)| texts.iter().any(|text| line.contains(text)));
        known.map(|(_, hint)| (*hint).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Real lines of real programs, and a word of the hint that belongs to each.
    #[test]
    fn well_known_failures() {
        for (line, word) in [
            ("E: You don't have enough free space in /var/cache/apt/archives/.", "disk is full"),
            ("dpkg: error: dpkg frontend lock was locked by another process with pid 812", ""),
            (
                "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 812 (unattended-upgr)",
                "another program",
            ),
            (
                "E: dpkg was interrupted, you must manually run 'dpkg --configure -a' to correct the problem. ",
                "interrupted",
            ),
            ("curl: (6) Could not resolve host: get.docker.com", "outside"),
            ("  Temporary failure resolving 'mirror.example'", "outside"),
            ("curl: (22) The requested URL returned error: 404", "wrong or gone"),
            ("E: Release file for http://x/InRelease is not valid yet (invalid for another 3d)", "clock"),
            ("curl: (60) SSL certificate problem: certificate is not yet valid", "clock"),
            (
                "W: GPG error: https://x InRelease: The following signatures couldn't be verified: NO_PUBKEY 7EA0A9C3",
                "signed",
            ),
            ("E: Unable to locate package docker.io", "no such package"),
            ("sudo: a password is required", "without asking"),
            ("mv: cannot move 'a' to 'b': Read-only file system", "read-only"),
            ("Failed to enable unit: Unit file /etc/systemd/system/docker.service is masked.", ""),
            ("ERROR: unable to select packages:", "no such package"),
        ] {
            let hint = for_output(&["something else".to_owned(), line.to_owned()]).unwrap_or_default();
            assert!(hint.contains(word), "{line}: {hint}");
        }
        assert_eq!(for_output(&["all is well".to_owned()]), None);
    }
}
