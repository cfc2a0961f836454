//! A host's own layer of files, written before it boots.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

use super::{LabError, command::run};

/// The upper folder of an overlay, and the lower one that says who owns what.
pub struct Layer {
    upper: PathBuf,
    lower: PathBuf,
}

impl Layer {
    pub fn new(upper: PathBuf, lower: PathBuf) -> Self {
        Self { upper, lower }
    }

    /// What the host sees at that path in the layer below, if it is a file of text.
    pub fn below(&self, inside: &str) -> Result<String, LabError> {
        let file = self.lower.join(inside);
        fs::read_to_string(&file).map_err(|e| LabError::file("read", &file, e))
    }

    /// Writes a file; its owner is that of the folder it is in.
    pub fn write(&self, inside: &str, content: &str, mode: u32) -> Result<(), LabError> {
        let file = self.room_for(inside)?;
        fs::write(&file, content).map_err(|e| LabError::file("write", &file, e))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .map_err(|e| LabError::file("chmod", &file, e))?;
        let owner =
            fs::metadata(file.parent().unwrap_or(&file)).map_err(|e| LabError::file("read", &file, e))?;
        chown(&file, Some(owner.uid()), Some(owner.gid())).map_err(|e| LabError::file("chown", &file, e))
    }

    pub fn link(&self, inside: &str, target: &str) -> Result<(), LabError> {
        let link = self.room_for(inside)?;
        symlink(target, &link).map_err(|e| LabError::file("link", &link, e))
    }

    /// Hides what the layers below have there: overlayfs takes a 0/0 character device for "deleted".
    pub fn hide(&self, inside: &str) -> Result<(), LabError> {
        let file = self.room_for(inside)?;
        run("mknod", [file.as_os_str(), "c".as_ref(), "0".as_ref(), "0".as_ref()]).map(drop)
    }

    /// Where a file goes, the folders above it made as the layer below has them: an upper folder's mode and owner win.
    pub fn room_for(&self, inside: &str) -> Result<PathBuf, LabError> {
        let path = Path::new(inside);
        let above: Vec<&Path> = path.ancestors().skip(1).collect();
        for folder in above.into_iter().rev() {
            let (ours, theirs) = (self.upper.join(folder), self.lower.join(folder));
            if ours.exists() && folder != Path::new("") {
                continue;
            }
            fs::create_dir_all(&ours).map_err(|e| LabError::file("make", &ours, e))?;
            if let Ok(model) = fs::metadata(&theirs) {
                let copy = fs::set_permissions(&ours, model.permissions())
                    .and_then(|()| chown(&ours, Some(model.uid()), Some(model.gid())));
                copy.map_err(|e| LabError::file("chown", &ours, e))?;
            }
        }
        Ok(self.upper.join(path))
    }
}
