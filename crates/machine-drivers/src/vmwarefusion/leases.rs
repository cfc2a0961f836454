//! Addresses that VMware's DHCP server gave: it is ISC's, and so are its files (dhcpd.leases(5), dhcpd.conf(5)).

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// A lease of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Lease {
    address: Ipv4Addr,
    /// Its end as a text that sorts by time, `2026/11/24 04:00:00` (UTC); `None` where it never ends.
    ends: Option<String>,
}

/// Looks for the address of a network card: in the addresses that are set for it, then in the leases.
pub(super) fn find(mac: &str, further: &str) -> Option<Ipv4Addr> {
    let fixed = files(&CONFIGURATIONS).into_iter().filter_map(|file| read(&file));
    if let Some(address) = fixed.filter_map(|text| fixed_address(&text, mac)).next() {
        return Some(address);
    }
    let named = (!further.is_empty()).then(|| PathBuf::from(further));
    let texts: Vec<String> = named.into_iter().chain(files(&LEASES)).filter_map(|file| read(&file)).collect();
    texts.iter().filter_map(|text| leased(text, mac)).max_by(later).map(|lease| lease.address)
}

fn read(file: &Path) -> Option<String> {
    fs::read(file).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// Patterns of files; a star stands for anything in a part of the path.
type Places = [&'static [&'static str]];

/// Where leases are: Fusion's, Workstation's on Linux (in two places, by version), Workstation's on Windows.
const LEASES: [&[&str]; 4] = [
    &["/", "var", "db", "vmware", "*.leases"],
    &["/", "etc", "vmware", "vmnet*", "dhcpd", "dhcpd.leases"],
    &["/", "var", "lib", "vmware", "vmnet*", "dhcpd", "dhcpd.leases"],
    &["%ALLUSERSPROFILE%", "VMware", "vmnetdhcp.leases"],
];
/// Where the server's configurations are, likewise.
const CONFIGURATIONS: [&[&str]; 3] = [
    &["/", "Library", "Preferences", "VMware Fusion", "vmnet*", "dhcpd.conf"],
    &["/", "etc", "vmware", "vmnet*", "dhcpd", "dhcpd.conf"],
    &["%ALLUSERSPROFILE%", "VMware", "vmnetdhcp.conf"],
];

fn files(places: &Places) -> Vec<PathBuf> {
    places.iter().flat_map(|place| expanded(place)).filter(|file| file.is_file()).collect()
}

fn expanded(place: &[&str]) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::new()];
    for part in place {
        found = match part.strip_prefix('%').and_then(|name| name.strip_suffix('%')) {
            Some(variable) => std::env::var_os(variable).map(PathBuf::from).into_iter().collect(),
            None => found.iter().flat_map(|folder| in_folder(folder, part)).collect(),
        };
    }
    found
}

fn in_folder(folder: &Path, part: &str) -> Vec<PathBuf> {
    let Some((start, end)) = part.split_once('*') else { return vec![folder.join(part)] };
    let fits = |name: &str| name.len() >= part.len() - 1 && name.starts_with(start) && name.ends_with(end);
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter(|entry| entry.file_name().to_str().is_some_and(fits))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// One statement of such a file: words, and what stands in braces after them.
#[derive(Debug)]
struct Statement {
    words: Vec<String>,
    inside: Vec<Statement>,
}

impl Statement {
    fn starts(&self, words: &[&str]) -> bool {
        self.words.len() >= words.len()
            && self.words.iter().zip(words).all(|(own, word)| own.eq_ignore_ascii_case(word))
    }

    /// The words after these, of the last statement inside that begins with them.
    fn after(&self, words: &[&str]) -> Option<&[String]> {
        self.inside.iter().rev().find(|one| one.starts(words)).map(|one| &one.words[words.len()..])
    }

    /// Whether it is about this network card.
    fn is_of(&self, mac: &str) -> bool {
        let card = self.after(&["hardware", "ethernet"]).and_then(<[String]>::first);
        card.is_some_and(|card| card.eq_ignore_ascii_case(mac))
    }
}

/// Reads a file of statements. What is cut off in the middle, as the end of a file that is being written, is left out.
fn statements(text: &str) -> Vec<Statement> {
    let mut stack: Vec<(Vec<String>, Vec<Statement>)> = Vec::new();
    let (mut words, mut done): (Vec<String>, Vec<Statement>) = (Vec::new(), Vec::new());
    for token in tokens(text) {
        match token.as_str() {
            ";" => done.push(Statement { words: std::mem::take(&mut words), inside: Vec::new() }),
            "{" => stack.push((std::mem::take(&mut words), std::mem::take(&mut done))),
            "}" => {
                if let Some((head, before)) = stack.pop() {
                    let inside = std::mem::replace(&mut done, before);
                    done.push(Statement { words: head, inside });
                    words.clear();
                }
            }
            _ => words.push(token),
        }
    }
    // Of blocks that were not closed only what stood before them counts.
    stack.into_iter().next().map_or(done, |(_, before)| before)
}

fn tokens(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in text.lines() {
        let (mut word, mut quoted) = (String::new(), false);
        for c in line.chars() {
            match c {
                '"' => {
                    quoted = !quoted;
                    if !quoted {
                        found.push(std::mem::take(&mut word));
                    }
                }
                _ if quoted => word.push(c),
                '#' => break,
                c if c.is_whitespace() || matches!(c, ';' | '{' | '}') => {
                    if !word.is_empty() {
                        found.push(std::mem::take(&mut word));
                    }
                    if !c.is_whitespace() {
                        found.push(c.to_string());
                    }
                }
                c => word.push(c),
            }
        }
        if !word.is_empty() {
            found.push(word);
        }
    }
    found
}

/// The address that a configuration sets for a card.
fn fixed_address(text: &str, mac: &str) -> Option<Ipv4Addr> {
    fn hosts<'a>(all: &'a [Statement], found: &mut Vec<&'a Statement>) {
        for one in all {
            if one.starts(&["host"]) {
                found.push(one);
            }
            hosts(&one.inside, found);
        }
    }
    let (all, mut found) = (statements(text), Vec::new());
    hosts(&all, &mut found);
    let host = found.into_iter().rev().find(|host| host.is_of(mac))?;
    host.after(&["fixed-address"])?.first()?.parse().ok()
}

/// The lease of a card: the server adds to the file and writes a lease anew when it is renewed, so of the same address
/// the last one counts; of several addresses the one whose lease ends last.
fn leased(text: &str, mac: &str) -> Option<Lease> {
    let mut found: Vec<Lease> = Vec::new();
    for one in statements(text) {
        let Some(address) = one.words.get(1).filter(|_| one.starts(&["lease"])).and_then(|a| a.parse().ok())
        else {
            continue;
        };
        // The address may be somebody else's now.
        found.retain(|lease| lease.address != address);
        if one.is_of(mac) {
            let ends = one.after(&["ends"]).filter(|ends| ends.first().is_none_or(|word| word != "never"));
            let ends = ends.map(|ends| ends.iter().skip(1).cloned().collect::<Vec<_>>().join(" "));
            found.push(Lease { address, ends });
        }
    }
    found.into_iter().max_by(later)
}

fn later(a: &Lease, b: &Lease) -> std::cmp::Ordering {
    let key = |lease: &Lease| (lease.ends.is_none(), lease.ends.clone().unwrap_or_default());
    key(a).cmp(&key(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: &str = "00:0c:29:08:6c:dd";

    fn address(text: &str) -> Option<String> {
        leased(text, MAC).map(|lease| lease.address.to_string())
    }

    /// As VMware's server writes it.
    const FILE: &str = "\
# All times in this file are in UTC (GMT), not your local timezone.
# The format of this file is documented in the dhcpd.leases(5) manual page.

lease 192.168.70.128 {
\tstarts 1 2026/11/23 08:05:26;
\tends 1 2026/11/23 08:35:26;
\thardware ethernet 00:0c:29:08:6c:dd;
\tclient-hostname \"dev; }\";
}
lease 192.168.70.129 {
\tstarts 1 2026/11/23 09:05:26;
\tends 1 2026/11/23 09:35:26;
\thardware ethernet 00:0C:29:08:6C:DD;
\tuid 01:00:0c:29:08:6c:dd;
}
";

    #[test]
    fn the_lease_that_ends_last_counts() {
        assert_eq!(address(FILE).as_deref(), Some("192.168.70.129"));
        assert_eq!(address("").as_deref(), None);
    }

    #[test]
    fn an_address_that_somebody_else_got_is_not_ours() {
        let taken =
            "lease 192.168.70.129 { ends 2 2026/11/24 01:00:00; hardware ethernet 00:0c:29:00:00:01; }\n";
        assert_eq!(address(&format!("{FILE}{taken}")).as_deref(), Some("192.168.70.128"));
    }

    #[test]
    fn a_lease_that_is_being_written_is_left_out() {
        let cut = "lease 192.168.70.130 {\n\tstarts 1 2026/11/23 10:00:00;\n\thardware ethernet 00:0c:29:08:6c:dd;\n";
        assert_eq!(address(&format!("{FILE}{cut}")).as_deref(), Some("192.168.70.129"));
        let never = "lease 192.168.70.131 { starts 1 2026/11/01 10:00:00; ends never; hardware ethernet 00:0c:29:08:6c:dd; }";
        assert_eq!(address(&format!("{FILE}{never}")).as_deref(), Some("192.168.70.131"));
        assert_eq!(address("}}}{{{;;\"\nlease x {}").as_deref(), None);
    }

    #[test]
    fn addresses_can_be_set() {
        let text = "allow unknown-clients;\nsubnet 172.16.1.0 netmask 255.255.255.0 {\n range 172.16.1.128 172.16.1.254;\n}\n\
                    host vmnet8 {\n hardware ethernet 00:50:56:C0:00:08;\n fixed-address 172.16.1.1;\n}\n\
                    group { host dev { hardware ethernet 00:0C:29:08:6C:DD; fixed-address 172.16.1.77; } }\n";
        assert_eq!(fixed_address(text, MAC).map(|a| a.to_string()).as_deref(), Some("172.16.1.77"));
        assert_eq!(fixed_address(text, "00:0c:29:00:00:00"), None);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "([a-z0-9:./ ;{}\"#]|lease |hardware ethernet |\n)*") {
            let _ = (leased(&text, MAC), fixed_address(&text, MAC));
        }
    }
}
