//! What is in the images that drivers take where nobody names one, as far as the provisioner needs to know it.

use machine_core::ImageFacts;

/// The content of `/etc/os-release`, the lines that matter.
pub(crate) const UBUNTU_24_04: &str = "ID=ubuntu\nID_LIKE=debian\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04 LTS\"\n";

/// An image without an engine. `arch` as `uname -m` has it.
pub(crate) fn image_facts(os_release: &str, arch: &str) -> ImageFacts {
    ImageFacts { os_release: os_release.to_owned(), arch: arch.to_owned(), engine: None }
}
