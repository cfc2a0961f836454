//! The images on this computer.
//!
//! ```text
//! STORE/cache/images/
//!   .lock                     held for a moment by whoever adds, marks or removes
//!   .download/KEY.part        what came of a download so far; KEY.json says of what; KEY.lock is held by whoever downloads
//!   .new-…  .removed-…        being made or removed; left over only by a crash, and swept by the next who holds .lock
//!   .work-…                   workshops; in use while the .lock in them is held
//!   ID/                       an image: NAME-ARCH-and a piece of its SHA-256
//!     image.json              what is known of it
//!     disk.qcow2              the image (or disk.raw, …); kernel and initrd beside it where it boots without firmware
//!     users/MACHINE           a machine whose disk is an overlay on it: the path of that machine's folder
//! ```
//!
//! A folder appears and goes by one rename. New content never replaces old: machines may use that.

mod download;
mod files;
mod publish;
mod record;
mod wanted;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use machine_core::{Event, ImageFacts, Reporter};
use machine_http::{Client, Settings};
use serde::{Deserialize, Serialize};

use crate::catalogue::{self, Entry};
use crate::checksum;
use crate::disk::{self, Format};
use crate::{Arch, ImageError};
use record::Record;
use wanted::Wanted;

/// The images on this computer: `STORE/cache/images`. Nothing is made there before there is something to keep.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    catalogue: Vec<Entry>,
    /// What of the catalogue an empty wish stands for.
    default: &'static str,
    http: Option<Settings>,
}

/// Where an image came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Origin {
    /// Made here by [`crate::bake`].
    Built,
    /// Downloaded.
    Downloaded {
        /// From this address, without credentials and query.
        url: String,
    },
    /// A file of the user's own, used where it lies; not kept in the cache.
    Local,
}

/// How to boot without firmware and boot loader.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// What it is called in the cache, unique: e.g. `debian-13-amd64-0123456789ab`. Empty for a file of the user's
    /// own.
    pub id: String,
    /// Its name, e.g. `debian-13`; several images of different content may have it, the newest is the one that is
    /// meant. For a file of the user's own its path, for a URL the last part of that.
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

/// A folder for work in the cache, e.g. for building an image. Removed with all that is in it when dropped; what a
/// crash leaves is removed by [`Cache::prune`].
#[derive(Debug)]
pub struct Workshop {
    folder: PathBuf,
    /// Held for as long as somebody works here.
    _lock: File,
}

impl Workshop {
    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
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
        let folder = store_path.join("cache").join("images");
        Self { folder, catalogue: catalogue::entries(), default: catalogue::DEFAULT, http: None }
    }

    /// For hypervisors whose devices are those of real hardware: an empty wish then stands for an image that knows
    /// them, see [`catalogue::DEFAULT_FOR_HARDWARE`].
    #[must_use]
    pub fn for_hardware(mut self) -> Self {
        self.default = catalogue::DEFAULT_FOR_HARDWARE;
        self
    }

    /// With other images that have a name.
    #[must_use]
    pub fn with_catalogue(mut self, entries: Vec<Entry>) -> Self {
        self.catalogue = entries;
        self
    }

    /// With other settings for HTTP than those of the environment.
    #[must_use]
    pub fn with_http(mut self, settings: Settings) -> Self {
        self.http = Some(settings);
        self
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
        Ok(self.records()?.into_iter().map(|(folder, record)| record.image(&folder)).collect())
    }

    /// Looks here for an image by catalogue name, alias, name or id in the cache, URL, or path; asks nobody. Empty
    /// stands for the default: the newest baked image of this architecture that has an engine, else the default of
    /// the catalogue if it is here.
    ///
    /// # Errors
    /// Where the cache or the named file can't be read or makes no sense.
    pub fn find(&self, wanted: &str, arch: Arch) -> Result<Option<CachedImage>, ImageError> {
        let records = self.records()?;
        let wanted = Wanted::read(wanted, self.default, &self.catalogue, &records)?;
        self.look(&wanted, arch, records)
    }

    fn look(
        &self,
        wanted: &Wanted,
        arch: Arch,
        records: Vec<(PathBuf, Record)>,
    ) -> Result<Option<CachedImage>, ImageError> {
        if let Wanted::Path(path) = wanted {
            return local(path, arch).map(Some);
        }
        let found = records.into_iter().filter(|(_, record)| record.arch == arch || wanted.is_id(record));
        // Newest first, as records come, but what was baked is better than what must be set up.
        let mut found: Vec<_> = found.filter(|(_, record)| wanted.takes(record)).collect();
        if matches!(wanted, Wanted::Default(_)) {
            found.sort_by_key(|(_, record)| (record.origin != Origin::Built, u64::MAX - record.added_s));
        }
        Ok(found.into_iter().next().map(|(folder, record)| record.image(&folder)))
    }

    /// Whether such an image is here, or there is somebody to ask for it; asks nobody.
    ///
    /// # Errors
    /// [`ImageError::Unknown`] for a word that stands for nothing; as [`Self::find`].
    pub fn check(&self, wanted: &str, arch: Arch) -> Result<(), ImageError> {
        let records = self.records()?;
        let wanted = Wanted::read(wanted, self.default, &self.catalogue, &records)?;
        match self.look(&wanted, arch, records)? {
            Some(_) => Ok(()),
            None => wanted.source(&self.catalogue, arch).map(drop),
        }
    }

    /// [`Self::find`], and gets what is not here: the download goes on where an earlier one stopped, and is
    /// compared with the publisher's checksum. The file is there, whole and unchanged, when this returns.
    ///
    /// # Errors
    /// What stood in the way, with a hint.
    pub async fn fetch(
        &self,
        wanted: &str,
        arch: Arch,
        report: &dyn Reporter,
    ) -> Result<CachedImage, ImageError> {
        if let Some(image) = self.find(wanted, arch)? {
            self.verify(&image, false).await?;
            return Ok(image);
        }
        let wanted = Wanted::read(wanted, self.default, &self.catalogue, &[])?;
        let source = wanted.source(&self.catalogue, arch)?;
        self.download(&source, arch, &self.client()?, false, report).await
    }

    /// Gets the newest image of a name from its publisher. One that is here already, whole and unchanged, is not
    /// downloaded again.
    ///
    /// # Errors
    /// As [`Self::fetch`].
    pub async fn pull(
        &self,
        wanted: &str,
        arch: Arch,
        report: &dyn Reporter,
    ) -> Result<CachedImage, ImageError> {
        let wanted = Wanted::read(wanted, self.default, &self.catalogue, &self.records()?)?;
        if let Wanted::Path(path) = &wanted {
            report.report(Event::Notice(format!("{} is used where it lies.", path.display())));
            return local(path, arch);
        }
        let source = wanted.source(&self.catalogue, arch)?;
        self.download(&source, arch, &self.client()?, true, report).await
    }

    fn client(&self) -> Result<Client, ImageError> {
        Ok(Client::new(&self.http.clone().unwrap_or_default())?)
    }

    /// Whether the file is what it was when it came here. Costs one look at length and time of change; reads the
    /// whole file only where these are not those of the record, or where `whole` says so.
    ///
    /// # Errors
    /// [`ImageError::Corrupt`] with what to do.
    pub async fn verify(&self, image: &CachedImage, whole: bool) -> Result<(), ImageError> {
        if image.id.is_empty() {
            return Ok(());
        }
        let folder = self.folder.join(&image.id);
        let Some(record) = Record::read(&folder) else {
            return Err(ImageError::Gone { name: image.name.clone() });
        };
        if !whole && record.is_unchanged(&image.file) {
            return Ok(());
        }
        let damaged = || ImageError::Corrupt {
            name: image.name.clone(),
            file: image.file.clone(),
            from: match &image.origin {
                Origin::Downloaded { url } => record.catalogue.clone().unwrap_or_else(|| url.clone()),
                Origin::Built | Origin::Local => String::new(),
            },
        };
        if files::length(&image.file) != Some(record.bytes) {
            return Err(damaged());
        }
        let file = image.file.clone();
        let read = tokio::task::spawn_blocking(move || checksum::of_file(&file)).await;
        let sha256 = read
            .map_err(std::io::Error::other)
            .and_then(|read| read)
            .map_err(ImageError::io("read", &image.file))?;
        if sha256 != record.sha256 {
            return Err(damaged());
        }
        // Copied or touched, but the same: the next look is a short one again.
        record.stamped(&image.file).write(&folder)
    }

    /// Whether an image's file has the length and time of change of its record: the short look of [`Self::verify`].
    #[must_use]
    pub fn looks_unchanged(&self, image: &CachedImage) -> bool {
        let record = Record::read(&self.folder.join(&image.id));
        image.id.is_empty() || record.is_some_and(|record| record.is_unchanged(&image.file))
    }

    /// Says that the machine's disk is an overlay on this image, so that nothing removes it: to be called *before*
    /// the overlay is made. What the machine used before is forgotten; the mark counts for as long as the machine's
    /// folder exists. Does nothing for a file of the user's own.
    ///
    /// # Errors
    /// [`ImageError::Gone`] where the image was removed in the meantime; where the mark can't be written.
    pub fn used_by(&self, image: &CachedImage, machine_dir: &Path) -> Result<(), ImageError> {
        if image.id.is_empty() {
            return self.released_by(machine_dir);
        }
        let _lock = files::Locked::folder(&self.folder)?;
        let folder = self.folder.join(&image.id);
        if !image.file.is_file() {
            return Err(ImageError::Gone { name: image.name.clone() });
        }
        let (name, path) = mark(machine_dir)?;
        let users = folder.join(USERS);
        fs::create_dir_all(&users).map_err(ImageError::io("made", &users))?;
        files::write(&users.join(&name), path.as_bytes())?;
        self.unmark(&name, &path, Some(&image.id))
    }

    /// Says that the machine uses no image any more. Not needed where the machine's folder goes away.
    ///
    /// # Errors
    /// Where a mark can't be removed.
    pub fn released_by(&self, machine_dir: &Path) -> Result<(), ImageError> {
        if !self.folder.is_dir() {
            return Ok(());
        }
        let _lock = files::Locked::folder(&self.folder)?;
        let (name, path) = mark(machine_dir)?;
        self.unmark(&name, &path, None)
    }

    /// Removes a machine's marks from all images but one.
    fn unmark(&self, name: &str, path: &str, but: Option<&str>) -> Result<(), ImageError> {
        for folder in self.folders()? {
            let file = folder.join(USERS).join(name);
            let this = but.is_some_and(|id| folder.ends_with(id));
            if !this && fs::read(&file).is_ok_and(|text| text == path.as_bytes()) {
                fs::remove_file(&file).map_err(ImageError::io("removed", &file))?;
            }
        }
        Ok(())
    }

    /// Who uses an image.
    ///
    /// # Errors
    /// Where the marks can't be read.
    pub fn usage(&self, image: &CachedImage) -> Result<Usage, ImageError> {
        if image.id.is_empty() {
            return Ok(Usage::default());
        }
        usage_of(&self.folder.join(&image.id))
    }

    /// Removes an image.
    ///
    /// # Errors
    /// [`ImageError::InUse`] where machines use it and `force` is not set; where it can't be removed. A file of the
    /// user's own is left alone.
    pub fn remove(&self, image: &CachedImage, force: bool) -> Result<(), ImageError> {
        if image.id.is_empty() {
            return Ok(());
        }
        let aside = {
            let _lock = files::Locked::folder(&self.folder)?;
            let folder = self.folder.join(&image.id);
            let machines = usage_of(&folder)?.machines;
            if !force && !machines.is_empty() {
                return Err(ImageError::InUse { name: image.name.clone(), machines });
            }
            files::set_aside(&self.folder, &folder)?
        };
        files::remove_tree(&aside)
    }

    /// Removes the images that no machine uses, unfinished downloads that nobody works on, and what crashes left.
    ///
    /// # Errors
    /// What can't be removed.
    pub fn prune(&self) -> Result<Pruned, ImageError> {
        let mut pruned = Pruned::default();
        if !self.folder.is_dir() {
            return Ok(pruned);
        }
        let lock = files::Locked::folder(&self.folder)?;
        let mut aside = files::left_over(&self.folder)?;
        for folder in self.folders()? {
            if usage_of(&folder)?.machines.is_empty() {
                pruned.images.extend(folder.file_name().map(|id| id.to_string_lossy().into_owned()));
                aside.push(files::set_aside(&self.folder, &folder)?);
            }
        }
        drop(lock);
        for folder in aside {
            pruned.bytes += files::bytes_under(&folder);
            files::remove_tree(&folder)?;
        }
        pruned.bytes += download::remove_unfinished(&self.folder)?;
        pruned.images.sort_unstable();
        Ok(pruned)
    }

    /// A new folder for work, on the file system of the cache.
    ///
    /// # Errors
    /// Where it can't be made.
    pub fn workshop(&self) -> Result<Workshop, ImageError> {
        fs::create_dir_all(&self.folder).map_err(ImageError::io("made", &self.folder))?;
        // Under the lock: a workshop whose own lock is free is taken for one that a crash left.
        let _lock = files::Locked::folder(&self.folder)?;
        let folder = files::new_folder(&self.folder, files::WORK)?;
        let lock = files::lock_now(&folder.join(files::LOCK))?;
        Ok(Workshop { folder, _lock: lock })
    }

    /// The folders of images, in no order.
    fn folders(&self) -> Result<Vec<PathBuf>, ImageError> {
        let all = files::entries(&self.folder)?;
        Ok(all.into_iter().filter(|path| !files::is_hidden(path) && path.is_dir()).collect())
    }

    /// The folders of images with what is known of them, by name, newest first.
    fn records(&self) -> Result<Vec<(PathBuf, Record)>, ImageError> {
        let mut all: Vec<_> = self
            .folders()?
            .into_iter()
            .filter_map(|folder| Some((folder.clone(), Record::read(&folder)?)))
            .collect();
        all.sort_by(|(a_folder, a), (b_folder, b)| {
            (&a.name, b.added_s, a_folder).cmp(&(&b.name, a.added_s, b_folder))
        });
        Ok(all)
    }
}

/// The folder of marks in an image's folder.
const USERS: &str = "users";

/// A machine's mark: its name, and the path of its folder.
fn mark(machine_dir: &Path) -> Result<(String, String), ImageError> {
    let path = std::path::absolute(machine_dir).map_err(ImageError::io("found", machine_dir))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok((name, path.to_string_lossy().into_owned()))
}

/// The machines whose marks are in an image's folder and whose own folders still are there.
fn usage_of(folder: &Path) -> Result<Usage, ImageError> {
    let mut machines = Vec::new();
    for file in files::entries(&folder.join(USERS))? {
        if files::is_hidden(&file) {
            continue;
        }
        match fs::read_to_string(&file) {
            Ok(path) if Path::new(&path).is_dir() => {
                machines.extend(file.file_name().map(|name| name.to_string_lossy().into_owned()));
            }
            Ok(_) => {}
            // The machine was removed just now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(ImageError::io("read", &file)(error)),
        }
    }
    machines.sort_unstable();
    Ok(Usage { machines })
}

/// A file of the user's own.
fn local(path: &Path, arch: Arch) -> Result<CachedImage, ImageError> {
    let file = std::path::absolute(path).map_err(ImageError::io("found", path))?;
    let bytes = fs::metadata(&file).map_err(ImageError::io("read", path))?.len();
    Ok(CachedImage {
        id: String::new(),
        name: file.display().to_string(),
        format: disk::format_of(&file)?,
        arch,
        origin: Origin::Local,
        sha256: String::new(),
        bytes,
        added_s: 0,
        facts: None,
        boot: None,
        file,
    })
}
