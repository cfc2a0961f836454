//! What the guest said on its serial line.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

/// How much of the log's end is looked at, bytes.
const END: u64 = 8 * 1024;
/// The longest line that is repeated, characters.
const MAX_CHARS: usize = 200;

/// The last line with something in it; empty where there is none. It can be shown on a terminal: what controls one is left out.
pub(super) fn last_line(log: &Path) -> String {
    let text = end_of(log).unwrap_or_default();
    printable(&String::from_utf8_lossy(&text))
        .rsplit('\n')
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map_or_else(String::new, |line| line.chars().take(MAX_CHARS).collect())
}

/// How long the log is, bytes.
pub(super) fn length(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |meta| meta.len())
}

fn end_of(log: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(END)))?;
    let mut text = Vec::new();
    file.take(END).read_to_end(&mut text)?;
    Ok(text)
}

/// Without escape sequences (ECMA-48) and other control characters but line breaks.
fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\u{1b}' => match chars.next() {
                // Parameters, then one letter.
                Some('[') => {
                    while chars.next_if(|c| !('@'..='~').contains(c)).is_some() {}
                    chars.next();
                }
                // A title, up to BEL or the next escape.
                Some(']') => while chars.next_if(|c| !['\u{7}', '\u{1b}', '\n'].contains(c)).is_some() {},
                _ => {}
            },
            '\n' | '\r' => out.push('\n'),
            '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn last_of(text: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        last_line(file.path())
    }

    #[test]
    fn what_was_seen_last() {
        assert_eq!(last_of(b""), "");
        assert_eq!(last_of(b"SeaBIOS\r\nBooting\r\n\r\n  \n"), "Booting");
        assert_eq!(
            last_of(b"\x1b[0;32m  OK  \x1b[0m] Started \x1b]0;title\x07x\x1b[K\x1b[2J"),
            "OK  ] Started x"
        );
        assert_eq!(last_of(b"a\nb\xff\x00c\n"), "b\u{fffd}c");
        assert_eq!(last_of(&[vec![b'x'; 100_000], b"\nend".to_vec()].concat()), "end");
        assert_eq!(last_of(&vec![b'x'; 100_000]).len(), MAX_CHARS);
        assert_eq!(last_line(Path::new("/no/such/log")), "");
    }
}
