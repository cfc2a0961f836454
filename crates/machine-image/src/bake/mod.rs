//! Makes an image with an engine in it, from the packages of a distribution.

use machine_core::Reporter;

use crate::{Arch, Cache, CachedImage, ImageError};

/// What to make.
#[derive(Clone, Debug)]
pub struct BuildOptions {
    /// What it is called in the cache.
    pub name: String,
    /// For which processors.
    pub arch: Arch,
    /// The release of Debian by its code name, e.g. `bookworm`; where it is not given, that of this computer if it runs Debian, else the
    /// current stable one.
    pub suite: Option<String>,
    /// The address of the package archive, e.g. `http://deb.debian.org/debian`; where it is not given, the one in apt's configuration.
    pub mirror: Option<String>,
    /// The size of the disk, MiB. Machines may have larger ones: the image grows with them.
    pub disk_mib: u64,
    /// Further packages.
    pub packages: Vec<String>,
}

/// The size of the disk where none is asked for, MiB.
pub const DISK_MIB: u64 = 2600;

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            name: "debian-docker".to_owned(),
            arch: Arch::host(),
            suite: None,
            mirror: None,
            disk_mib: DISK_MIB,
            packages: Vec::new(),
        }
    }
}

/// Makes an image and puts it into the cache.
///
/// # Errors
/// What failed.
pub async fn build(
    _options: &BuildOptions,
    _cache: &Cache,
    _report: &dyn Reporter,
) -> Result<CachedImage, ImageError> {
    todo!()
}
