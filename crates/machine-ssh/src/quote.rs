//! Quoting for a POSIX shell.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// Quotes one word for a POSIX shell. What needs no quoting stays as it is; everything else goes between single
/// quotes, in which no byte but the single quote itself means anything to the shell.
///
/// A NUL cannot be in a word of a command line, so it is dropped: check for it earlier where it can come in.
pub fn quote(word: &str) -> String {
    if is_plain(word.as_bytes()) {
        return word.to_owned();
    }
    let mut out = String::with_capacity(word.len() + 2);
    out.push('\'');
    for c in word.chars() {
        match c {
            '\'' => out.push_str(r"'\''"),
            '\0' => {}
            c => out.push(c),
        }
    }
    out.push('\'');
    out
}

/// As [`quote`], for words that need not be UTF-8, such as file names.
pub fn quote_bytes(word: impl AsRef<OsStr>) -> Vec<u8> {
    let word = word.as_ref().as_bytes();
    if is_plain(word) {
        return word.to_vec();
    }
    let mut out = Vec::with_capacity(word.len() + 2);
    out.push(b'\'');
    for &b in word {
        match b {
            b'\'' => out.extend_from_slice(br"'\''"),
            0 => {}
            b => out.push(b),
        }
    }
    out.push(b'\'');
    out
}

/// A command line of these words, each quoted, with spaces between.
pub fn quote_words<W: AsRef<str>>(words: impl IntoIterator<Item = W>) -> String {
    let quoted: Vec<String> = words.into_iter().map(|word| quote(word.as_ref())).collect();
    quoted.join(" ")
}

/// Words of these characters mean themselves in every POSIX shell. `=` and `~` are left out: they mean something at
/// the start of a word.
fn is_plain(word: &[u8]) -> bool {
    !word.is_empty()
        && word.iter().all(|b| {
            b.is_ascii_alphanumeric()
                || matches!(b, b'/' | b'.' | b'_' | b'-' | b':' | b'@' | b'%' | b'+' | b',')
        })
}
