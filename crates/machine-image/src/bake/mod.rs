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
