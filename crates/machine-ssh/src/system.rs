//! Argument vectors for the system's `ssh`, `scp`, `sftp`, `rsync` and `sshfs`, with the same keys and pins as ours.
//!
//! Nothing here runs anything. The caller writes [`SystemClient::known_hosts_text`] to the file named in
//! [`SystemClient::known_hosts`] and starts the program with the arguments. No shell comes between, except where the
//! program itself makes one: `ProxyCommand` (quoted here for it) and the remote command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::time::Duration;

use crate::keys::PublicKey;
use crate::quote::quote_bytes;
use crate::target::Target;

/// A host on the way, or at the end of it, as the system's programs need to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemHop {
    /// Account, address and port.
    pub target: Target,
    /// Its host keys.
    pub pins: Vec<PublicKey>,
    /// Private key files; when there is none, the program uses the agent and the user's default keys.
    pub key_files: Vec<PathBuf>,
}

/// Everything that the system's programs need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemClient {
    /// The host.
    pub host: SystemHop,
    /// Hosts to pass through, the first one first.
    pub jumps: Vec<SystemHop>,
    /// Where the caller puts [`known_hosts_text`](Self::known_hosts_text).
    pub known_hosts: PathBuf,
    /// How much the programs say on stderr.
    pub log_level: LogLevel,
    /// For the TCP connection.
    pub connect_timeout: Duration,
}

/// ssh's `LogLevel`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogLevel {
    /// Nothing but a few fatal errors.
    Quiet,
    /// Errors only: what a user wants to see.
    Error,
    /// As `ssh -v`.
    Debug,
}

impl LogLevel {
    fn name(self) -> &'static str {
        match self {
            Self::Quiet => "QUIET",
            Self::Error => "ERROR",
            Self::Debug => "DEBUG",
        }
    }
}

/// One end of a copy with `scp` or `rsync`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyPath {
    /// A path on this machine.
    Local(PathBuf),
    /// A path on the host, empty for the home directory.
    Remote(OsString),
}

impl SystemClient {
    /// `ssh …options… -- HOST command…`. After `--` ssh takes no word of the command for an option. The words of the command reach the host's shell joined by spaces, as ssh
    /// does it: quote them if they are to stay words.
    pub fn ssh(&self, options: &[OsString], command: &[OsString]) -> Vec<OsString> {
        let mut argv = vec!["ssh".into()];
        argv.extend(self.common_arguments("-p"));
        argv.extend(["-l".into(), self.host.target.user.clone().into()]);
        argv.extend_from_slice(options);
        argv.extend(["--".into(), self.host.target.host.clone().into()]);
        argv.extend_from_slice(command);
        argv
    }

    /// `scp …options… FROM TO`.
    pub fn scp(&self, options: &[OsString], from: &CopyPath, to: &CopyPath) -> Vec<OsString> {
        let mut argv = vec!["scp".into()];
        argv.extend(self.common_arguments("-P"));
        argv.extend_from_slice(options);
        argv.extend(["--".into(), self.copy_argument(from), self.copy_argument(to)]);
        argv
    }

    /// `sftp …options… HOST`.
    pub fn sftp(&self, options: &[OsString]) -> Vec<OsString> {
        let mut argv = vec!["sftp".into()];
        argv.extend(self.common_arguments("-P"));
        argv.extend_from_slice(options);
        argv.extend(["--".into(), self.user_at_host()]);
        argv
    }

    /// `rsync …options… -e SSH FROM TO`.
    pub fn rsync(&self, options: &[OsString], from: &CopyPath, to: &CopyPath) -> Vec<OsString> {
        let mut argv = vec!["rsync".into()];
        argv.extend_from_slice(options);
        argv.extend(["-e".into(), self.rsync_shell()]);
        argv.extend(["--".into(), self.copy_argument(from), self.copy_argument(to)]);
        argv
    }

    /// The value of rsync's `-e`: one string that rsync, not a shell, takes apart at spaces. Between single quotes it
    /// takes everything as it is, and two single quotes for one.
    pub fn rsync_shell(&self) -> OsString {
        let mut words = vec![b"ssh".to_vec()];
        words.extend(self.common_arguments("-p").into_iter().map(|word| rsync_quote(word.as_bytes())));
        OsString::from_vec(words.join(&b' '))
    }

    /// `sshfs HOST:DIR MOUNTPOINT …`. `options` are further arguments of sshfs.
    pub fn sshfs(&self, remote: &OsStr, mountpoint: &OsStr, options: &[OsString]) -> Vec<OsString> {
        let mut argv = vec!["sshfs".into()];
        argv.extend(["-F".into(), "/dev/null".into(), "-p".into(), self.host.target.port.to_string().into()]);
        for (name, value) in self.settings() {
            argv.push("-o".into());
            argv.push(fuse_option(name, &value));
        }
        argv.extend_from_slice(options);
        argv.extend([self.copy_argument(&CopyPath::Remote(remote.to_owned())), mountpoint.to_owned()]);
        argv
    }

    /// The known_hosts file for the host and its jump hosts: one line a pin, under the alias that the arguments name.
    pub fn known_hosts_text(&self) -> String {
        let mut text = String::new();
        for hop in self.jumps.iter().chain([&self.host]) {
            for pin in &hop.pins {
                text.push_str(&format!("{} {}\n", alias(&hop.target), pin.to_line()));
            }
        }
        text
    }

    fn common_arguments(&self, port_flag: &str) -> Vec<OsString> {
        let mut argv = hop_arguments(&self.host, port_flag).to_vec();
        for (name, value) in self.settings() {
            argv.push("-o".into());
            argv.push(setting(name, &value));
        }
        argv
    }

    fn settings(&self) -> Vec<(&'static str, OsString)> {
        let mut settings = self.hop_settings(&self.host);
        if let Some(proxy) = self.proxy_command(self.jumps.len()) {
            settings.push(("ProxyCommand", proxy));
        }
        settings
    }

    fn hop_settings(&self, hop: &SystemHop) -> Vec<(&'static str, OsString)> {
        let identities_only = if hop.key_files.is_empty() { "no" } else { "yes" };
        let mut settings = vec![
            ("UserKnownHostsFile", config_word(self.known_hosts.as_os_str())),
            ("GlobalKnownHostsFile", "/dev/null".into()),
            ("StrictHostKeyChecking", "yes".into()),
            ("HostKeyAlias", alias(&hop.target).into()),
            ("CheckHostIP", "no".into()),
            ("IdentitiesOnly", identities_only.into()),
            ("PreferredAuthentications", "publickey".into()),
            ("ConnectTimeout", self.connect_timeout.as_secs().max(1).to_string().into()),
            ("ServerAliveInterval", "15".into()),
            ("LogLevel", self.log_level.name().into()),
        ];
        // Not `-i`: ssh looks for that file before it expands `%`, and then expands it.
        settings.extend(hop.key_files.iter().map(|file| ("IdentityFile", config_word(file.as_os_str()))));
        settings
    }

    /// What leads to the hop after the first `count` jumps: ssh to the last of them, which is reached in the same way.
    /// (`-J` would not hand our options on to the jump hosts.) ssh expands `%` in it and gives it to a shell.
    fn proxy_command(&self, count: usize) -> Option<OsString> {
        let hop = self.jumps.get(count.checked_sub(1)?)?;
        let mut words: Vec<OsString> = vec!["ssh".into()];
        words.extend(hop_arguments(hop, "-p"));
        for (name, value) in self.hop_settings(hop) {
            words.extend(["-o".into(), setting(name, &value)]);
        }
        if let Some(before) = self.proxy_command(count - 1) {
            words.extend(["-o".into(), setting("ProxyCommand", &before)]);
        }
        words.extend(["-l".into(), hop.target.user.clone().into()]);
        let mut line: Vec<u8> = Vec::new();
        for word in &words {
            line.extend(double_percents(&quote_bytes(word)));
            line.push(b' ');
        }
        line.extend_from_slice(b"-W '[%h]:%p' -- ");
        line.extend(double_percents(&quote_bytes(&hop.target.host)));
        Some(OsString::from_vec(line))
    }

    fn user_at_host(&self) -> OsString {
        let target = &self.host.target;
        let host = if target.is_ipv6() { format!("[{}]", target.host) } else { target.host.clone() };
        format!("{}@{host}", target.user).into()
    }

    fn copy_argument(&self, path: &CopyPath) -> OsString {
        match path {
            // A colon before the first slash would make it a remote path.
            CopyPath::Local(path) if path.is_relative() => PathBuf::from(".").join(path).into_os_string(),
            CopyPath::Local(path) => path.clone().into_os_string(),
            CopyPath::Remote(path) => {
                let mut argument = self.user_at_host();
                argument.push(":");
                argument.push(path);
                argument
            }
        }
    }
}

/// No configuration file of the user or the system has a say: the pins are ours.
fn hop_arguments(hop: &SystemHop, port_flag: &str) -> [OsString; 4] {
    ["-F".into(), "/dev/null".into(), port_flag.into(), hop.target.port.to_string().into()]
}

/// The name under which a host's keys stand in the known_hosts file: no character that means something there.
fn alias(target: &Target) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') { c } else { '_' };
    let host: String = target.host.chars().map(plain).collect();
    format!("{}_{}", host.to_ascii_lowercase(), target.port)
}

fn setting(name: &str, value: &OsStr) -> OsString {
    let mut text = OsString::from(name);
    text.push("=");
    text.push(value);
    text
}

/// A path as one word of ssh's configuration language, in which `%` starts a token.
fn config_word(path: &OsStr) -> OsString {
    let mut word = vec![b'"'];
    for &b in &double_percents(path.as_bytes()) {
        if matches!(b, b'"' | b'\\') {
            word.push(b'\\');
        }
        word.push(b);
    }
    word.push(b'"');
    OsString::from_vec(word)
}

fn double_percents(text: &[u8]) -> Vec<u8> {
    text.iter().flat_map(|&b| std::iter::repeat_n(b, if b == b'%' { 2 } else { 1 })).collect()
}

fn rsync_quote(word: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    quoted.extend(word.iter().flat_map(|&b| std::iter::repeat_n(b, if b == b'\'' { 2 } else { 1 })));
    quoted.push(b'\'');
    quoted
}

/// An argument of sshfs' `-o`, in which commas separate and backslashes escape.
fn fuse_option(name: &str, value: &OsStr) -> OsString {
    let mut text = format!("{name}=").into_bytes();
    for &b in value.as_bytes() {
        if matches!(b, b',' | b'\\') {
            text.push(b'\\');
        }
        text.push(b);
    }
    OsString::from_vec(text)
}
