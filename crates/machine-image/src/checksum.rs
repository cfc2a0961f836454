//! Checksums: made while bytes pass by, and found in the files in which publishers list them.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::str::FromStr;

use aws_lc_rs::digest::{self, Context};
use serde::{Deserialize, Serialize};

/// How a checksum is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Algorithm {
    /// Its name: `sha256`, `sha512`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// How many hexadecimal digits it has.
    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    fn of_name(name: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|one| name.eq_ignore_ascii_case(one.as_str()))
    }

    fn of_digits(hex: &str) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|one| hex.len() == one.digits())
    }
}

/// A checksum, written `sha256:HEX`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

impl Digest {
    /// From hexadecimal digits, as many as the algorithm has.
    fn new(algorithm: Algorithm, hex: &str) -> Option<Self> {
        let right = hex.len() == algorithm.digits() && hex.bytes().all(|digit| digit.is_ascii_hexdigit());
        right.then(|| Self { algorithm, hex: hex.to_ascii_lowercase() })
    }

    /// How it was made.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Its hexadecimal digits, small letters.
    #[must_use]
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl FromStr for Digest {
    type Err = String;

    /// Reads `sha256:HEX` and `sha256=HEX`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "expected sha256= and 64 hexadecimal digits, or sha512= and 128".to_owned();
        let (name, hex) = text.split_once([':', '=']).ok_or_else(wrong)?;
        Algorithm::of_name(name).and_then(|algorithm| Self::new(algorithm, hex)).ok_or_else(wrong)
    }
}

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// Looks for a file's checksum in a publisher's list: `HEX  NAME` as GNU's tools write it, `SHA256 (NAME) = HEX` as
/// BSD's do, with or without a signature around. Where the list is for this file alone (`only`), its one line
/// counts whatever name it has.
pub fn in_list(list: &str, file: &str, only: bool) -> Option<Digest> {
    let mut lines = list.lines().filter_map(|line| line_of_list(line.trim()));
    if !only {
        return lines.find(|(name, _)| *name == file).map(|(_, digest)| digest);
    }
    let all: Vec<_> = lines.collect();
    let named = all.iter().find(|(name, _)| *name == file);
    named.or(if all.len() == 1 { all.first() } else { None }).map(|(_, digest)| digest.clone())
}

/// The name in a line of a list, empty where there is none, and the checksum.
fn line_of_list(line: &str) -> Option<(&str, Digest)> {
    if let Some((head, hex)) = line.rsplit_once(") = ") {
        let (algorithm, name) = head.split_once(" (")?;
        return Some((name, Digest::new(Algorithm::of_name(algorithm)?, hex)?));
    }
    let (hex, name) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let name = name.trim_start();
    let name = name.strip_prefix('*').unwrap_or(name);
    let digest = Digest::new(Algorithm::of_digits(hex)?, hex)?;
    Some((name.strip_prefix("./").unwrap_or(name), digest))
}

/// Makes the checksums of what passes by: SHA-256, which records keep, and the publisher's.
#[derive(Clone)]
pub struct Hasher {
    sha256: Context,
    sha512: Option<Context>,
}

impl Hasher {
    /// One that can tell whether this is what passed by.
    pub fn new(expected: Option<&Digest>) -> Self {
        let sha512 = expected.is_some_and(|digest| digest.algorithm == Algorithm::Sha512);
        Self { sha256: Context::new(&digest::SHA256), sha512: sha512.then(|| Context::new(&digest::SHA512)) }
    }

    /// Takes the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.sha256.update(bytes);
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(bytes);
        }
    }

    /// Takes all that a reader has.
    pub fn read(&mut self, mut from: impl Read) -> io::Result<()> {
        let mut buffer = vec![0; 256 * 1024];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => self.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The SHA-256 in hexadecimal digits, and all checksums that were made.
    pub fn finish(self) -> (String, Vec<Digest>) {
        let sha256 = Digest { algorithm: Algorithm::Sha256, hex: hex(self.sha256.finish().as_ref()) };
        let sha512 = self
            .sha512
            .map(|context| Digest { algorithm: Algorithm::Sha512, hex: hex(context.finish().as_ref()) });
        (sha256.hex.clone(), std::iter::once(sha256).chain(sha512).collect())
    }
}

/// The SHA-256 of a file, hexadecimal.
pub fn of_file(file: &Path) -> io::Result<String> {
    let mut hasher = Hasher::new(None);
    hasher.read(File::open(file)?)?;
    Ok(hasher.finish().0)
}

/// The SHA-256 of a text, hexadecimal.
#[must_use]
pub fn of_text(text: &str) -> String {
    of_bytes(text.as_bytes())
}

/// The SHA-256 of some bytes, hexadecimal.
#[must_use]
pub fn of_bytes(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const B: &str = "BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";

    #[test]
    fn lists_of_both_styles() {
        let long = A.repeat(2);
        let gnu = format!(
            "{A}  a.img\n{B} *b.img\r\n{long}\t./c.img\nnot a line\n{A}x  d.img\n12  e.img\n{A}  with blank.img\n"
        );
        let bsd = format!(
            "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n# a.img: 12 bytes\nSHA256 (a.img) = {A}\n\
             SHA512 (b (1).img) = {long}\nMD5 (c.img) = 0123\n-----BEGIN PGP SIGNATURE-----\n"
        );
        let text = |list: &str, file| in_list(list, file, false).map(|digest| digest.to_string());
        assert_eq!(text(&gnu, "a.img"), Some(format!("sha256:{A}")));
        assert_eq!(text(&gnu, "b.img"), Some(format!("sha256:{}", B.to_lowercase())));
        assert_eq!(text(&gnu, "c.img"), Some(format!("sha512:{long}")));
        assert_eq!(text(&gnu, "with blank.img"), Some(format!("sha256:{A}")));
        assert_eq!(text(&bsd, "a.img"), Some(format!("sha256:{A}")));
        assert_eq!(text(&bsd, "b (1).img"), Some(format!("sha512:{long}")));
        for (list, missing) in [(&gnu, "d.img"), (&gnu, "e.img"), (&gnu, ""), (&bsd, "c.img"), (&bsd, "img")]
        {
            assert_eq!(text(list, missing), None, "{missing}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_list_can_be_read(list in "(\\PC{0,80}\n){0,5}", file in "\\PC{0,10}", only in proptest::bool::ANY) {
            let _ = in_list(&list, &file, only);
        }
    }

    #[test]
    fn a_list_for_one_file() {
        for list in [format!("{A}\n"), format!("{A}  the-real-name.img\n"), format!("{B}  x\n{A}  a.img\n")] {
            assert_eq!(in_list(&list, "a.img", true).map(|digest| digest.hex), Some(A.to_owned()), "{list}");
        }
        assert_eq!(in_list(&format!("{B}  x\n{A}  y\n"), "a.img", true), None);
    }

    #[test]
    fn checksums_as_text() {
        for text in [format!("sha256:{A}"), format!("SHA256={A}"), format!("sha512={}", A.repeat(2))] {
            let digest: Digest = text.parse().expect("a checksum");
            assert_eq!(digest.to_string(), text.to_lowercase().replace('=', ":"));
        }
        for text in
            ["", "sha256", "sha256=12", "md5=0123", &format!("sha512={A}"), &format!("sha256={}g", &A[1..])]
        {
            assert!(text.parse::<Digest>().is_err(), "{text}");
        }
    }

    #[test]
    fn known_checksums() {
        assert_eq!(of_bytes(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let expected = Digest { algorithm: Algorithm::Sha512, hex: String::new() };
        let mut hasher = Hasher::new(Some(&expected));
        hasher.update(b"a");
        hasher.read(&b"bc"[..]).expect("it is in memory");
        let (sha256, all) = hasher.finish();
        assert_eq!(sha256, of_bytes(b"abc"));
        assert!(all[1].hex.starts_with("ddaf35a193617abacc417349ae20413112e6fa4e89a97ea2"), "{all:?}");
    }
}
