//! What a domain is doing.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use machine_core::{DriverError, ErrorKind, State};

use super::trouble::Trouble;
use super::virsh::Virsh;

/// What is seen of one domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub state: State,
    /// How far its boot has come, in one line.
    pub sign: String,
    /// What its guest has done so far.
    pub work: Work,
}

/// What a guest has done since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Work {
    /// Nanoseconds of its processors.
    pub cpu_ns: u64,
    /// Bytes read from its disks: firmware and boot loader do that too.
    pub read: u64,
    /// Bytes written to its disks: only a system does that.
    pub written: u64,
    /// Bytes sent to the network, where libvirt knows that.
    pub sent: u64,
}

/// The error for a domain that is gone.
pub(super) fn gone(uri: &str) -> DriverError {
    DriverError::new(ErrorKind::NotFound, format!("libvirt ({uri}): there is no such domain (any more)"))
}

/// Looks at one domain: one call.
///
/// # Errors
/// [`ErrorKind::NotFound`] where it is gone.
pub(super) async fn look(virsh: &Virsh, uuid: &str) -> Result<Seen, DriverError> {
    // The id is made by us; that it is one was looked at when the record was read.
    let asked = format!(
        "domstats {uuid} --state --cpu-total --block --interface --raw; list --all --with-managed-save --uuid"
    );
    let said = match virsh.batch(&asked).await? {
        Ok(said) => said,
        Err(failure) if failure.trouble == Trouble::NoDomain => return Err(gone(virsh.uri())),
        Err(failure) => return Err(failure.into()),
    };
    let (stats, saved) = split(&said);
    let saved = saved.contains(uuid);
    let Some(values) = stats.into_values().next() else { return Err(gone(virsh.uri())) };
    Ok(read(&values, saved))
}

/// The states of all domains of a connection, by id: one call for any number of them.
///
/// # Errors
/// Where libvirt can't be asked.
pub(super) async fn look_at_all(virsh: &Virsh) -> Result<BTreeMap<String, State>, DriverError> {
    const ASKED: &str =
        "list --all --uuid --name; domstats --state --raw; list --all --with-managed-save --uuid";
    Ok(all_states(&virsh.batch(ASKED).await??))
}

fn all_states(said: &str) -> BTreeMap<String, State> {
    let (names, rest) = said.split_at(said.find("Domain: ").unwrap_or(said.len()));
    let (stats, saved) = split(rest);
    let pairs = names.lines().filter_map(|line| line.trim().split_once(' '));
    let of = |(uuid, name): (&str, &str)| {
        let values = stats.get(name.trim())?;
        Some((uuid.to_owned(), read(values, saved.contains(uuid)).state))
    };
    pairs.filter_map(of).collect()
}

type Values<'a> = BTreeMap<&'a str, &'a str>;

/// Takes the answer of `domstats`, and the ids after it, apart.
fn split(said: &str) -> (BTreeMap<&str, Values<'_>>, BTreeSet<&str>) {
    let (mut stats, mut ids) = (BTreeMap::new(), BTreeSet::new());
    let mut domain = "";
    for line in said.lines() {
        if let Some(name) = line.strip_prefix("Domain: ") {
            domain = name.trim().trim_start_matches('\'').trim_end_matches('\'');
            stats.insert(domain, Values::new());
        } else if let Some((key, value)) = line.trim().split_once('=') {
            stats.entry(domain).or_default().insert(key, value);
        } else if !line.trim().is_empty() {
            ids.insert(line.trim());
        }
    }
    (stats, ids)
}

fn read(values: &Values<'_>, saved: bool) -> Seen {
    let number = |key: &str| values.get(key).and_then(|text| text.parse().ok()).unwrap_or(0_u64);
    let sum = |first: &str, last: &str| -> u64 {
        let fits = values.iter().filter(|(key, _)| key.starts_with(first) && key.ends_with(last));
        fits.filter_map(|(_, value)| value.parse::<u64>().ok()).sum()
    };
    let work = Work {
        cpu_ns: number("cpu.time"),
        read: sum("block.", ".rd.bytes"),
        written: sum("block.", ".wr.bytes"),
        sent: sum("net.", ".tx.bytes"),
    };
    let state = state(number("state.state"), number("state.reason"), saved);
    let sign = if state == State::Running { work.sign() } else { String::new() };
    Seen { state, sign, work }
}

/// `virDomainState`, and of `virDomainShutoffReason` that of a domain whose memory was saved.
fn state(state: u64, reason: u64, saved: bool) -> State {
    match (state, reason) {
        (1 | 2, _) => State::Running,
        (3 | 7, _) => State::Paused,
        (4, _) => State::Stopping,
        (5, 5) => State::Saved,
        (5, _) if saved => State::Saved,
        (5, _) => State::Stopped,
        (6, _) => State::Error,
        _ => State::None,
    }
}

impl Work {
    fn sign(self) -> String {
        const MIB: u64 = 1024 * 1024;
        format!(
            "it computed for {:.1} s, read {} MiB from its disks and wrote {} MiB",
            std::time::Duration::from_nanos(self.cpu_ns).as_secs_f64(),
            self.read / MIB,
            self.written / MIB
        )
    }
}

/// The last line of a serial console's file, without control sequences; empty where there is none.
pub(super) fn last_line(file: &Path) -> String {
    const TAIL: u64 = 4096;
    let tail = || -> std::io::Result<Vec<u8>> {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let text = String::from_utf8_lossy(&tail().unwrap_or_default()).into_owned();
    let lines = text.lines().rev().map(plain);
    lines.map(|line| line.trim().to_owned()).find(|line| !line.is_empty()).unwrap_or_default()
}

/// A line without terminal sequences and control characters, at most 200 characters of it.
fn plain(line: &str) -> String {
    let (mut text, mut chars) = (String::new(), line.chars());
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next() == Some('[') {
                chars.by_ref().find(|c| ('@'..='~').contains(c));
            }
        } else if !c.is_control() {
            text.push(c);
        }
    }
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As libvirt 9.0 prints it.
    const ALL: &str = "a2c4d1de-0a4f-4c3e-9c61-0123456789ab dev\nb2c4d1de-0a4f-4c3e-9c61-0123456789ab of somebody else\nc2c4d1de-0a4f-4c3e-9c61-0123456789ab off\n\n\
        Domain: 'dev'\n  state.state=1\n  state.reason=5\n\nDomain: 'of somebody else'\n  state.state=3\n  state.reason=1\n\
        Domain: 'off'\n  state.state=5\n  state.reason=0\n\nc2c4d1de-0a4f-4c3e-9c61-0123456789ab\n";

    #[test]
    fn many_domains_in_one_answer() {
        let states = all_states(ALL);
        let expected = [('a', State::Running), ('b', State::Paused), ('c', State::Saved)];
        let of = |first: char| states[&format!("{first}2c4d1de-0a4f-4c3e-9c61-0123456789ab")];
        assert_eq!(expected.map(|(first, _)| (first, of(first))), expected);
        assert!(all_states("").is_empty());
    }

    #[test]
    fn one_domain() {
        let said = "Domain: 'dev'\n  state.state=1\n  state.reason=5\n  cpu.time=3070000000\n  net.count=0\n  block.count=2\n  block.0.name=vda\n  \
            block.0.rd.bytes=21671424\n  block.0.wr.bytes=0\n  block.1.rd.bytes=1048576\n  block.1.wr.bytes=5\n\n\n";
        let (stats, saved) = split(said);
        let seen = read(&stats["dev"], !saved.is_empty());
        assert_eq!(seen.state, State::Running);
        assert_eq!(seen.work, Work { cpu_ns: 3_070_000_000, read: 22_720_000, written: 5, sent: 0 });
        assert_eq!(seen.sign, "it computed for 3.1 s, read 21 MiB from its disks and wrote 0 MiB");
    }

    #[test]
    fn the_last_line_of_a_console() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("console.log");
        assert_eq!(last_line(&file), "");
        std::fs::write(&file, "one\r\n\u{1b}[0;32m  OK \u{1b}[0m Started \u{7}two\r\n\r\n\u{1b}[6n").unwrap();
        assert_eq!(last_line(&file), "OK  Started two");
    }
}
