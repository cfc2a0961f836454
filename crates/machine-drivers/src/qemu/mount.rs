//! `--qemu-mount`: folders of this computer that the guest mounts, over 9p.
//!
//! The security model is `none`: what the guest writes belongs, on this computer, to the user who runs the machine, with the mode that the
//! guest gave it, and that a guest's `chown` can't be followed is not held against it. That is what people expect of `docker run -v` on
//! their own computer. The other one for ordinary users (`mapped-xattr`) keeps the guest's owners in attributes, but what the guest
//! writes is then 0600 here, and its symbolic links are files.

use std::path::PathBuf;

use machine_core::{DriverError, Mount};

use super::flags::invalid;
use super::state::QemuState;

/// What the guest's kernel is told. Without `nofail` a system without 9p would wait for the folder instead of booting.
const OPTIONS: &str = "trans=virtio,version=9p2000.L,msize=262144,cache=mmap,nofail";

/// A folder of this computer, in the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Folder {
    /// Where it is here.
    pub(super) host: PathBuf,
    /// Where it is there, absolute.
    pub(super) guest: String,
    /// Whether the guest can't write.
    pub(super) read_only: bool,
}

impl Folder {
    /// Reads `HOST[:GUEST][:ro]`. A leading `~/` of the host's part is the home folder.
    ///
    /// # Errors
    /// Where it is something else.
    pub(super) fn parse(text: &str) -> Result<Self, DriverError> {
        let wrong = || invalid("qemu-mount", text, "HOST[:GUEST][:ro], e.g. /home/me/src:/src:ro");
        let (paths, read_only) = match (text.strip_suffix(":ro"), text.strip_suffix(":rw")) {
            (Some(paths), _) => (paths, true),
            (None, Some(paths)) => (paths, false),
            (None, None) => (text, false),
        };
        let (host, guest) = match paths.rfind(":/") {
            Some(at) => (&paths[..at], &paths[at + 1..]),
            None => (paths, paths),
        };
        // The path stands in the guest's fstab.
        let good = guest.starts_with('/')
            && guest != "/"
            && guest.chars().all(|c| !c.is_whitespace() && !c.is_control() && !"\\#\"'".contains(c))
            && !guest.split('/').any(|part| part == "..");
        let host = match host.strip_prefix("~/").zip(std::env::home_dir()) {
            Some((rest, home)) => home.join(rest),
            None => PathBuf::from(host),
        };
        if good && host.is_absolute() {
            Ok(Self { host, guest: guest.to_owned(), read_only })
        } else {
            Err(wrong())
        }
    }

    /// The name by which the guest finds it.
    pub(super) fn tag(number: usize) -> String {
        format!("mount{number}")
    }
}

/// All of a machine.
///
/// # Errors
/// As [`Folder::parse`].
pub(super) fn all(state: &QemuState) -> Result<Vec<Folder>, DriverError> {
    state.mounts.iter().map(|text| Folder::parse(text)).collect()
}

/// What the guest is to mount.
///
/// # Errors
/// As [`Folder::parse`].
pub(super) fn for_the_guest(state: &QemuState) -> Result<Vec<Mount>, DriverError> {
    let folders = all(state)?;
    Ok(folders
        .into_iter()
        .enumerate()
        .map(|(number, folder)| Mount {
            source: Folder::tag(number),
            target: folder.guest,
            kind: "9p".to_owned(),
            options: if folder.read_only { format!("{OPTIONS},ro") } else { OPTIONS.to_owned() },
        })
        .collect())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn folders_of_all_forms() {
        let parsed = |text: &str| {
            let folder = Folder::parse(text).unwrap();
            (folder.host.to_string_lossy().into_owned(), folder.guest, folder.read_only)
        };
        assert_eq!(parsed("/a b:/b"), ("/a b".into(), "/b".into(), false));
        assert_eq!(parsed("/a:/b:ro"), ("/a".into(), "/b".into(), true));
        assert_eq!(parsed("/a"), ("/a".into(), "/a".into(), false));
        assert_eq!(parsed("/a,b:/b:rw"), ("/a,b".into(), "/b".into(), false));
        for text in ["", "a:/b", "/a b", "/a:/", "/a:/b c", "/a:/b/../c", "/a:/b\n", ":ro", "/a:/x#y"] {
            assert!(Folder::parse(text).is_err(), "{text:?}");
        }
    }
}
