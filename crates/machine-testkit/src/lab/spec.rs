//! What kind of host is wanted.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::LabError;

/// What the host's Docker engine is like.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Variant {
    /// docker.io installed, its engine enabled and running on its socket file, without socket activation.
    #[default]
    Docker,
    /// Debian's stock units: the engine is started by whoever opens the socket, with the arguments read before.
    Socket,
    /// Installed, neither enabled nor running.
    Stopped,
    /// No engine, and dpkg knows of none.
    Bare,
}

impl Variant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Docker, Self::Socket, Self::Stopped, Self::Bare];

    fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Socket => "socket",
            Self::Stopped => "stopped",
            Self::Bare => "bare",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Variant {
    type Err = LabError;

    fn from_str(text: &str) -> Result<Self, LabError> {
        Self::ALL.into_iter().find(|v| v.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(", ");
            LabError::BadOption(format!("unknown lab variant {text:?}; there are {known}"))
        })
    }
}

/// The traps that a real host may have besides. Each is off by default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    /// `dockerd` only where Debian puts it, `/usr/sbin/dockerd`; otherwise there is a link at `/usr/bin/dockerd` too.
    pub dockerd_in_sbin: bool,
    /// A `.bashrc` of every user that prints lines on stdout and stderr and sleeps a second, also for
    /// commands without a terminal.
    pub noisy_bashrc: bool,
    /// The port that sshd listens on; 22 where it is `None`.
    pub ssh_port: Option<u16>,
    /// sshd allows one session per connection.
    pub one_session: bool,
    /// No space left on the root file system, `/tmp` and `/var/lib/docker` included: it takes 16 MiB of changes and
    /// is full before sshd starts. `/run` is a file system of its own, as everywhere.
    pub full_disk: bool,
    /// What `date` says, seconds ahead (or, negative, behind) of the real clock. Stands in for a wrong clock: the
    /// kernel has one real-time clock for all namespaces, so only the `date` program is wrong, not what other
    /// programs (the engine, sshd) read.
    pub clock_offset: Option<i64>,
    /// No `sudo` program.
    pub no_sudo: bool,
    /// The whole `/etc/os-release`, where the host should call itself something else than Debian 12.
    pub os_release: Option<String>,
    /// apt on the host reaches the package mirrors of this machine's apt (and nothing else is reached), through a
    /// proxy at 10.99.N.1. Otherwise the host has no way out and no name service.
    pub with_network: bool,
}

impl Options {
    /// The words that `--option` of `cargo xtask lab up` takes.
    pub const WORDS: [&str; 9] = [
        "dockerd-in-sbin",
        "noisy-bashrc",
        "ssh-port=PORT",
        "one-session",
        "full-disk",
        "clock-offset=SECONDS",
        "no-sudo",
        "os-release=FILE",
        "with-network",
    ];

    /// Takes one of [`Options::WORDS`].
    ///
    /// # Errors
    /// An unknown word, or a value that does not fit it.
    pub fn set(&mut self, word: &str) -> Result<(), LabError> {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        let wrong = |why: String| LabError::BadOption(format!("lab option {word:?}: {why}"));
        match key {
            "dockerd-in-sbin" => self.dockerd_in_sbin = true,
            "noisy-bashrc" => self.noisy_bashrc = true,
            "ssh-port" => self.ssh_port = Some(value.parse().map_err(|e| wrong(format!("{e}")))?),
            "one-session" => self.one_session = true,
            "full-disk" => self.full_disk = true,
            "clock-offset" => self.clock_offset = Some(value.parse().map_err(|e| wrong(format!("{e}")))?),
            "no-sudo" => self.no_sudo = true,
            "os-release" => {
                self.os_release = Some(std::fs::read_to_string(value).map_err(|e| wrong(e.to_string()))?);
            }
            "with-network" => self.with_network = true,
            _ => return Err(wrong(format!("unknown; there are {}", Self::WORDS.join(", ")))),
        }
        Ok(())
    }
}

/// A wish for a host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spec {
    /// Its name in the lab and its host name; `lab-N` where it is `None`.
    pub name: Option<String>,
    /// What its engine is like.
    pub variant: Variant,
    /// What else is special about it.
    pub options: Options,
}

impl Spec {
    /// A host of that variant, nothing else special about it.
    pub fn new(variant: Variant) -> Self {
        Self { variant, ..Self::default() }
    }

    /// The same with a name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    /// The same with those options.
    #[must_use]
    pub fn with(mut self, options: Options) -> Self {
        self.options = options;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_options_and_unknown_ones_are_named() {
        let mut options = Options::default();
        for word in ["ssh-port=2222", "clock-offset=-86400", "full-disk"] {
            options.set(word).unwrap();
        }
        assert_eq!(
            (options.ssh_port, options.clock_offset, options.full_disk),
            (Some(2222), Some(-86400), true)
        );
        assert!(options.set("ssh-port=99999").unwrap_err().to_string().contains("ssh-port=99999"));
        assert!(options.set("fast").unwrap_err().to_string().contains("noisy-bashrc"));
        assert!("dokcer".parse::<Variant>().unwrap_err().to_string().contains("docker, socket"));
    }
}
