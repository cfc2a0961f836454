//! What a file is, by its content. A name says nothing, and what probes a raw disk can be deceived by what a guest
//! wrote there.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use crate::disk::Format;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// A disk image.
    Disk {
        /// Its format.
        format: Format,
        /// Whether it names other files as part of it: only good for one who trusts its maker.
        refers: bool,
    },
    /// Something else, e.g. `a compressed file (xz)`, and what to do about it.
    Other {
        /// What it is.
        what: &'static str,
        /// What to do; empty where there is nothing to say.
        hint: &'static str,
    },
}

const HEAD: usize = 36 * 1024;

/// Reads as much of a file as tells what it is.
pub fn of_file(path: &Path) -> io::Result<Content> {
    let mut file = File::open(path)?;
    let mut head = Vec::with_capacity(HEAD);
    file.by_ref().take(HEAD as u64).read_to_end(&mut head)?;
    let len = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    if let Some(from) = len.checked_sub(512) {
        file.seek(SeekFrom::Start(from))?;
        file.take(512).read_to_end(&mut tail)?;
    }
    Ok(of_bytes(&head, &tail))
}

/// Judges by the first 36 KiB and the last 512 bytes.
fn of_bytes(head: &[u8], tail: &[u8]) -> Content {
    let disk = |format| Content::Disk { format, refers: false };
    let other = |what, hint| Content::Other { what, hint };
    let starts = |magic: &[u8]| head.starts_with(magic);
    let at = |from: usize, magic: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(magic));
    if starts(b"QFI\xfb") {
        return Content::Disk { format: Format::Qcow2, refers: qcow2_refers(head) };
    }
    if starts(b"KDMV") || starts(b"# Disk DescriptorFile") {
        // Its descriptor names the files with its data.
        return Content::Disk { format: Format::Vmdk, refers: true };
    }
    if starts(b"vhdxfile") {
        return disk(Format::Vhdx);
    }
    if at(64, b"\x7f\x10\xda\xbe") {
        return disk(Format::Vdi);
    }
    if starts(b"conectix") || tail.starts_with(b"conectix") {
        return disk(Format::Vhd);
    }
    for (magic, what, hint) in [
        (
            &b"\xfd7zXZ\0"[..],
            "a compressed file (xz)",
            "unpack it with `xz -d` and name the file that comes out",
        ),
        (
            b"\x1f\x8b",
            "a compressed file (gzip)",
            "unpack it with `gzip -d` and name the file that comes out",
        ),
        (b"BZh", "a compressed file (bzip2)", "unpack it with `bzip2 -d` and name the file that comes out"),
        (
            b"\x28\xb5\x2f\xfd",
            "a compressed file (zstd)",
            "unpack it with `zstd -d` and name the file that comes out",
        ),
        (b"PK\x03\x04", "a zip archive", "unpack it and name the disk image in it"),
    ] {
        if starts(magic) {
            return other(what, hint);
        }
    }
    if at(257, b"ustar") {
        return other("a tar archive", "unpack it and name the disk image in it");
    }
    // A disk's first sector ends with this mark, whether it has an MBR or a GPT. A CD image may have it too.
    if at(510, b"\x55\xaa") {
        return disk(Format::Raw);
    }
    if at(32769, b"CD001") {
        return other("an image of a CD", "name an image of a disk with an installed system and cloud-init");
    }
    let text: String = head.iter().take(256).map(|byte| char::from(*byte)).collect::<String>().to_lowercase();
    if text.contains("<!doctype html") || text.contains("<html") {
        return other("a web page", "the address leads to a page about the image, not to the image");
    }
    other("a file of no kind that is known", "qcow2, raw, vdi, vmdk, vhd and vhdx are")
}

/// Whether a qcow2 image has a backing file or an external data file (QEMU's docs/interop/qcow2.txt): bytes 8–15
/// are the place of the backing file's name, bit 2 of the incompatible features (72–79, from version 3 on) is for
/// the data file.
fn qcow2_refers(head: &[u8]) -> bool {
    let number = |from: usize| {
        head.get(from..from + 8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_be_bytes)
    };
    let version = head.get(7).copied().unwrap_or(0);
    number(8) != 0 || (version >= 3 && number(72) & 0b100 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disk(format: Format, refers: bool) -> Content {
        Content::Disk { format, refers }
    }

    fn padded(at: usize, magic: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; HEAD];
        bytes[at..at + magic.len()].copy_from_slice(magic);
        bytes
    }

    #[test]
    fn formats() {
        for (head, want) in [
            (padded(0, b"QFI\xfb\0\0\0\x03"), disk(Format::Qcow2, false)),
            (padded(0, b"QFI\xfb\0\0\0\x03\0\0\0\0\0\0\x02\0"), disk(Format::Qcow2, true)),
            (padded(0, b"KDMV"), disk(Format::Vmdk, true)),
            (padded(0, b"vhdxfile"), disk(Format::Vhdx, false)),
            (padded(64, b"\x7f\x10\xda\xbe"), disk(Format::Vdi, false)),
            (padded(0, b"conectix"), disk(Format::Vhd, false)),
            (padded(510, b"\x55\xaa"), disk(Format::Raw, false)),
        ] {
            assert_eq!(of_bytes(&head, &[]), want);
        }
        assert_eq!(of_bytes(&padded(510, b"\x55\xaa"), b"conectix"), disk(Format::Vhd, false));
        let mut data_file = padded(0, b"QFI\xfb\0\0\0\x03");
        data_file[79] = 4;
        assert_eq!(of_bytes(&data_file, &[]), disk(Format::Qcow2, true));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_judged(
            head in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
            tail in proptest::collection::vec(proptest::num::u8::ANY, 0..512),
        ) {
            let _ = of_bytes(&head, &tail);
            let _ = of_bytes(&[b"QFI\xfb", head.as_slice()].concat(), &tail);
        }
    }

    #[test]
    fn what_is_no_disk() {
        for (head, want) in [
            (padded(0, b"\xfd7zXZ\0"), "a compressed file (xz)"),
            (padded(0, b"\x1f\x8b"), "a compressed file (gzip)"),
            (padded(257, b"ustar"), "a tar archive"),
            (padded(32769, b"CD001"), "an image of a CD"),
            (padded(2, b"<!DOCTYPE HTML>"), "a web page"),
            (b"QFI".to_vec(), "a file of no kind that is known"),
            (Vec::new(), "a file of no kind that is known"),
        ] {
            let Content::Other { what, .. } = of_bytes(&head, &[]) else { panic!("no disk") };
            assert_eq!(what, want);
        }
    }
}
