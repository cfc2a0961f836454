//! Files with tokens and tenants below the store, in docker/machine's places and words, so that either program finds
//! the other's.

use std::io::{self, Write};
use std::path::Path;

use machine_core::Secret;
use serde::{Deserialize, Serialize};

/// A person's token as `go-autorest` writes it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Saved {
    pub(super) access_token: Secret,
    pub(super) refresh_token: Secret,
    pub(super) expires_in: String,
    /// Seconds since 1970.
    pub(super) expires_on: String,
    pub(super) not_before: String,
    pub(super) resource: String,
    #[serde(rename = "token_type")]
    pub(super) kind: String,
    /// As which application the person signed in: no other can renew the token. docker/machine does not write it.
    pub(super) client_id: String,
}

/// The text of a file; `None` where it is not there or can't be read: what is in it can be had again.
pub(super) fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// Writes a file that nobody else can read, so that nobody sees half of it.
pub(super) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    folders(folder)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let new = folder.join(format!(".{name}.{}", std::process::id()));
    let written = private(&new).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&new, path)).inspect_err(|_| {
        let _ = std::fs::remove_file(&new);
    })
}

fn folders(folder: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

/// Opens a file of mode 0600. Windows gives it the folder's permissions.
fn private(path: &Path) -> io::Result<std::fs::File> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_the_owner_can_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials/azure/t.json");
        write(&path, b"1").unwrap();
        write(&path, b"22").unwrap();
        assert_eq!(read(&path).unwrap(), "22");
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(path.parent().unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
