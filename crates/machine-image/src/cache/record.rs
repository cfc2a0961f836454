//! What is known of an image: `image.json` in its folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use machine_core::ImageFacts;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::files;
use super::{CachedImage, DirectBoot, Origin};
use crate::checksum::Digest;
use crate::disk::Format;
use crate::{Arch, ImageError};

/// The file's name.
const FILE: &str = "image.json";
/// The version of its format.
const VERSION: u32 = 1;

/// A record. File names in it are relative to its folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// 1.
    version: u32,
    pub name: String,
    pub arch: Arch,
    pub origin: Origin,
    /// The name in the catalogue, where it is from there: what a URL or a build is called says nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catalogue: Option<String>,
    /// SHA-256 of the whole address that it is from: that may have secrets in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The checksum that its publisher has of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Digest>,
    pub file: PathBuf,
    pub format: Format,
    pub sha256: String,
    pub bytes: u64,
    /// When the file was changed last, nanoseconds since 1970.
    changed_ns: u64,
    pub added_s: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ImageFacts>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<Boot>,
    /// What a later version of this program knows.
    #[serde(flatten)]
    more: Map<String, Value>,
}

/// How to boot it directly.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Boot {
    pub kernel: PathBuf,
    pub initrd: PathBuf,
    pub cmdline: String,
}

impl Record {
    /// A record of an image that comes here now.
    pub fn new(name: String, arch: Arch, origin: Origin, file: PathBuf, format: Format) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            name,
            arch,
            origin,
            catalogue: None,
            source: None,
            published: None,
            file,
            format,
            sha256: String::new(),
            bytes: 0,
            changed_ns: 0,
            added_s: now.as_secs(),
            facts: None,
            boot: None,
            more: Map::new(),
        }
    }

    /// Reads the record of an image's folder; `None` where there is none that makes sense.
    pub fn read(folder: &Path) -> Option<Self> {
        let record: Self = serde_json::from_slice(&fs::read(folder.join(FILE)).ok()?).ok()?;
        // A record is ours, but a path that leads out of the folder is no good whoever wrote it.
        let inside = |file: &PathBuf| file.file_name().is_some_and(|name| name == file.as_os_str());
        let boot_inside =
            record.boot.as_ref().is_none_or(|boot| inside(&boot.kernel) && inside(&boot.initrd));
        (inside(&record.file) && boot_inside).then_some(record)
    }

    /// Puts it into the folder: whole or not at all.
    pub fn write(&self, folder: &Path) -> Result<(), ImageError> {
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| ImageError::Io {
            doing: "written",
            path: folder.join(FILE),
            source: error.into(),
        })?;
        text.push(b'\n');
        files::write(&folder.join(FILE), &text)
    }

    /// With the length and time of change that the file has now.
    #[must_use]
    pub fn stamped(mut self, file: &Path) -> Self {
        self.bytes = files::length(file).unwrap_or(0);
        self.changed_ns = files::changed_ns(file);
        self
    }

    /// Whether the file has the length and time of change that it had.
    pub fn is_unchanged(&self, file: &Path) -> bool {
        files::length(file) == Some(self.bytes) && files::changed_ns(file) == self.changed_ns
    }

    /// What its folder is called.
    pub fn id(&self) -> String {
        let piece = self.sha256.get(..12).unwrap_or(&self.sha256);
        format!("{}-{}-{piece}", self.name, self.arch.debian())
    }

    /// The image in this folder.
    pub fn image(self, folder: &Path) -> CachedImage {
        CachedImage {
            id: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            name: self.name,
            file: folder.join(self.file),
            format: self.format,
            arch: self.arch,
            origin: self.origin,
            sha256: self.sha256,
            bytes: self.bytes,
            added_s: self.added_s,
            facts: self.facts,
            boot: self.boot.map(|boot| DirectBoot {
                kernel: folder.join(boot.kernel),
                initrd: folder.join(boot.initrd),
                cmdline: boot.cmdline,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let record = Record::new("x".into(), Arch::X86_64, Origin::Built, "disk.raw".into(), Format::Raw);
        let mut json = serde_json::to_value(&record).unwrap();
        json["future"] = "yes".into();
        fs::write(dir.path().join(FILE), json.to_string()).unwrap();
        let read = Record::read(dir.path()).unwrap();
        fs::write(dir.path().join("disk.raw"), b"12345").unwrap();
        read.stamped(&dir.path().join("disk.raw")).write(dir.path()).unwrap();
        let again: Value = serde_json::from_slice(&fs::read(dir.path().join(FILE)).unwrap()).unwrap();
        assert_eq!((&again["future"], &again["bytes"]), (&"yes".into(), &5.into()));
        assert!(Record::read(dir.path()).unwrap().is_unchanged(&dir.path().join("disk.raw")));
    }

    #[test]
    fn what_leads_elsewhere_is_no_record() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["../disk.raw", "/etc/passwd", "", "a/b"] {
            let record = Record::new("x".into(), Arch::X86_64, Origin::Built, file.into(), Format::Raw);
            record.write(dir.path()).unwrap();
            assert!(Record::read(dir.path()).is_none(), "{file}");
        }
        fs::write(dir.path().join(FILE), "{").unwrap();
        assert!(Record::read(dir.path()).is_none());
    }
}
