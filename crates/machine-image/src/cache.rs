//! The images on this computer.

use std::path::{Path, PathBuf};

use machine_core::{ImageFacts, Reporter};
use serde::{Deserialize, Serialize};

use crate::disk::Format;
use crate::{Arch, ImageError};

/// The images on this computer: `STORE/cache/images`. Nothing is made there before there is something to keep.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// Made here by [`crate::bake`].
    Built,
    /// Downloaded.
    Downloaded {
        /// From this address, without credentials.
        url: String,
    },
    /// A file of the user's own, used where it lies; not kept in the cache.
    Local,
}

/// How to boot without firmware and boot loader.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectBoot {
    /// The kernel's file.
    pub kernel: PathBuf,
    /// The initial RAM disk's file.
    pub initrd: PathBuf,
    /// The kernel's command line, e.g. `root=LABEL=root ro console=ttyS0`.
    pub cmdline: String,
}

/// An image that is on this computer.
#[derive(Clone, Debug, PartialEq)]
pub struct CachedImage {
    /// What it is called in the cache, unique: e.g. `debian-13-amd64-0123456789ab`. Empty for a file of the user's own.
    pub id: String,
    /// Its name, e.g. `debian-13`; several images of different content may have it, the newest is the one that is meant.
    /// For a file of the user's own its path, for a URL the URL's last part.
    pub name: String,
    /// The disk image, to be read only: machines have overlays on it.
    pub file: PathBuf,
    /// What the file is. Give it to `qemu-img` and QEMU by name: what probes a raw image can be deceived by it.
    pub format: Format,
    /// For which processors.
    pub arch: Arch,
    /// Where it came from.
    pub origin: Origin,
    /// SHA-256 of the file, hexadecimal. Empty for a file of the user's own.
    pub sha256: String,
    /// Length of the file, bytes.
    pub bytes: u64,
    /// When it came here, seconds since 1970.
    pub added_s: u64,
    /// What is in it, where that is known because it was baked here.
    pub facts: Option<ImageFacts>,
    /// How to boot it directly, where that can be done.
    pub boot: Option<DirectBoot>,
}

/// An image that was made, to be put into the cache by [`Cache::add`].
#[derive(Clone, Debug)]
pub struct NewImage {
    /// Its name, e.g. `debian-12-docker`.
    pub name: String,
    /// The disk image; it is moved into the cache. Best in a [`Workshop`], from where that costs nothing.
    pub file: PathBuf,
    /// What the file is.
    pub format: Format,
    /// For which processors.
    pub arch: Arch,
    /// What is in it.
    pub facts: Option<ImageFacts>,
    /// How to boot it directly; these files are moved into the cache too.
    pub boot: Option<DirectBoot>,
}

/// A folder for work in the cache, e.g. for building an image. Removed with all that is in it when dropped; what a crash leaves is removed by
/// [`Cache::prune`].
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
}

impl Workshop {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

/// What is known of an image's use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The names of the machines whose disks are overlays on it.
    pub machines: Vec<String>,
}

/// What [`Cache::prune`] removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The ids of the images.
    pub images: Vec<String>,
    /// How many bytes of disk are free again, with unfinished downloads.
    pub bytes: u64,
}

impl Cache {
    /// The cache of the store in this folder.
    #[must_use]
    pub fn of_store(store_path: &Path) -> Self {
        Self { folder: store_path.join("cache").join("images") }
    }

    /// The folder. It may not exist yet.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// All images in the cache, by name, newest first.
    ///
    /// # Errors
    /// Where the folder can't be read. A record that can't be read is left out.
    pub fn list(&self) -> Result<Vec<CachedImage>, ImageError> {
        todo!()
    }

    /// Looks here for an image by catalogue name, alias, name or id in the cache, URL, or path; asks nobody. Empty stands for the default: the
    /// newest baked image of this architecture that has an engine, else the default of the catalogue if it is here.
    ///
    /// # Errors
    /// Where the cache or the named file can't be read or makes no sense.
    pub fn find(&self, _wanted: &str, _arch: Arch) -> Result<Option<CachedImage>, ImageError> {
        todo!()
    }

    /// [`Self::find`], and gets what is not here: the download goes on where an earlier one stopped, and is compared with the publisher's
    /// checksum. The file is there, whole and unchanged, when this returns.
    ///
    /// # Errors
    /// What stood in the way, with a hint.
    pub async fn fetch(
        &self,
        _wanted: &str,
        _arch: Arch,
        _report: &dyn Reporter,
    ) -> Result<CachedImage, ImageError> {
        todo!()
    }

    /// Gets the newest image of a name from its publisher, whether there is an older one here or not.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn pull(
        &self,
        _wanted: &str,
        _arch: Arch,
        _report: &dyn Reporter,
    ) -> Result<CachedImage, ImageError> {
        todo!()
    }

    /// Whether the file is what it was when it came here. Costs one look at length and time of change; reads the whole file only where these
    /// are not those of the record, or where `whole` says so.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] and such, with what to do.
    pub async fn verify(&self, _image: &CachedImage, _whole: bool) -> Result<(), ImageError> {
        todo!()
    }

    /// Says that the machine's disk is an overlay on this image, so that nothing removes it: to be called *before* the overlay is made. What
    /// the machine used before is forgotten; the mark counts for as long as the machine's folder exists. Does nothing for a file of the user's own.
    ///
    /// # Errors
    /// Where the image was removed in the meantime, or the mark can't be written.
    pub fn used_by(&self, _image: &CachedImage, _machine_dir: &Path) -> Result<(), ImageError> {
        todo!()
    }

    /// Says that the machine uses no image any more. Not needed where the machine's folder goes away.
    ///
    /// # Errors
    /// Where a mark can't be removed.
    pub fn released_by(&self, _machine_dir: &Path) -> Result<(), ImageError> {
        todo!()
    }

    /// Who uses an image.
    ///
    /// # Errors
    /// Where the marks can't be read.
    pub fn usage(&self, _image: &CachedImage) -> Result<Usage, ImageError> {
        todo!()
    }

    /// Removes an image.
    ///
    /// # Errors
    /// Where machines use it and `force` is not set; where it can't be removed.
    pub fn remove(&self, _image: &CachedImage, _force: bool) -> Result<(), ImageError> {
        todo!()
    }

    /// Removes the images that no machine uses, unfinished downloads that nobody works on, and what crashes left.
    ///
    /// # Errors
    /// What can't be removed.
    pub fn prune(&self) -> Result<Pruned, ImageError> {
        todo!()
    }

    /// A new folder for work, on the file system of the cache.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn workshop(&self) -> Result<Workshop, ImageError> {
        todo!()
    }

    /// Puts a built image into the cache: whole or not at all. Its checksum is made on the way.
    ///
    /// # Errors
    /// Where files can't be moved or written.
    pub fn add(&self, _new: NewImage) -> Result<CachedImage, ImageError> {
        todo!()
    }
}
