//! The images that have a name.

use crate::Arch;

/// An image of a publisher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, e.g. `debian-13`.
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
}

/// The name that an empty wish stands for where no image was baked: the current Debian stable.
pub const DEFAULT: &str = "debian-13";

/// All of them.
#[must_use]
pub fn entries(_arch: Arch) -> &'static [Entry] {
    &[]
}
