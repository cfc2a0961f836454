//! What is in the images that drivers take where nobody names one, as far as the provisioner needs to know it.

use machine_core::ImageFacts;

/// The content of `/etc/os-release`, the lines that matter.
pub(crate) const UBUNTU_24_04: &str = "ID=ubuntu\nID_LIKE=debian\nNAME=\"Ubuntu\"\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\nPRETTY_NAME=\"Ubuntu 24.04 LTS\"\n";
/// The same of Ubuntu 22.04.
pub(crate) const UBUNTU_22_04: &str = "ID=ubuntu\nID_LIKE=debian\nNAME=\"Ubuntu\"\nVERSION_ID=\"22.04\"\nVERSION_CODENAME=jammy\nPRETTY_NAME=\"Ubuntu 22.04 LTS\"\n";
/// The same of Debian 12.
pub(crate) const DEBIAN_12: &str = "ID=debian\nNAME=\"Debian GNU/Linux\"\nVERSION_ID=\"12\"\nVERSION_CODENAME=bookworm\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n";

/// An image without an engine. `arch` as `uname -m` has it.
pub(crate) fn image_facts(os_release: &str, arch: &str) -> ImageFacts {
    ImageFacts { os_release: os_release.to_owned(), arch: arch.to_owned(), engine: None }
}
