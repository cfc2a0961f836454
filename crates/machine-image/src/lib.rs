//! Images of systems for virtual machines: what there is, how they get here, what is in them, and the seed that
//! makes a machine of one.
//!
//! In: an image's name, address or path, and a cache folder. Out: a file that a hypervisor can use, with what is
//! known of its content.
//!
//! - [`Cache`]: the images on this computer; gets those that are not here yet.
//! - [`catalogue`]: the images that have a name.
//! - [`disk`]: overlays, conversion, sizes and snapshots of disk images, by `qemu-img`.
//! - [`seed`]: what cloud-init reads at the first boot, as a CD image made in process.
//! - [`bake`]: makes an image with an engine in it.
#![forbid(unsafe_code)]

mod arch;
pub mod bake;
mod cache;
pub mod catalogue;
pub mod checksum;
mod content;
pub mod disk;
mod error;
pub mod seed;

pub use arch::Arch;
pub use cache::{Cache, CachedImage, DirectBoot, NewImage, Origin, Pruned, Usage, Workshop};
pub use error::ImageError;
