//! Images: by URN, or by the id of an image or of a gallery's.

use machine_core::{DriverError, ImageFacts};
use serde_json::{Value, json};

use super::flags::invalid;
use crate::cloud;

/// The image where none is named, for processors of this kind.
pub(super) const UBUNTU: &str = "Canonical:ubuntu-24_04-lts:server:latest";
/// The same for sizes that start images of generation 1 only.
pub(super) const UBUNTU_GEN1: &str = "Canonical:ubuntu-24_04-lts:server-gen1:latest";
const UBUNTU_ARM: &str = "Canonical:ubuntu-24_04-lts:server-arm64:latest";

/// An image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Image<'a> {
    /// Of the Marketplace: publisher, offer, SKU, version.
    Urn([&'a str; 4]),
    /// A managed image, or one in a gallery of the directory.
    Id(&'a str),
    /// In a gallery that somebody shares with the subscription: `/sharedGalleries/…`.
    Shared(&'a str),
    /// In a gallery for everybody: `/communityGalleries/…`.
    Community(&'a str),
}

impl<'a> Image<'a> {
    /// Reads `--azure-image`.
    ///
    /// # Errors
    /// [`machine_core::ErrorKind::Config`] in the Go driver's words.
    pub(super) fn parse(text: &'a str) -> Result<Self, DriverError> {
        let under =
            |start: &str| text.get(..start.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(start));
        if under("/communityGalleries/") {
            return Ok(Self::Community(text));
        }
        if under("/sharedGalleries/") {
            return Ok(Self::Shared(text));
        }
        if under("/subscriptions/") {
            return Ok(Self::Id(text));
        }
        let parts: Vec<&str> = text.split(':').collect();
        match parts[..] {
            [publisher, offer, sku, version] if parts.iter().all(|part| !part.is_empty()) => {
                Ok(Self::Urn([publisher, offer, sku, version]))
            }
            _ => Err(invalid("azure-image", text, "publisher:offer:sku:version, or an image's id")
                .with_hint(format!("image name {text:?} not a valid format; e.g. {UBUNTU}"))),
        }
    }

    /// The image for a size where none is named.
    pub(super) fn usual(size: &str) -> &'static str {
        if is_arm(size) { UBUNTU_ARM } else { UBUNTU }
    }

    /// As the Resource Manager wants it.
    pub(super) fn reference(&self) -> Value {
        match self {
            Self::Urn([publisher, offer, sku, version]) => {
                json!({ "publisher": publisher, "offer": offer, "sku": sku, "version": version })
            }
            Self::Id(id) => json!({ "id": id }),
            Self::Shared(id) => json!({ "sharedGalleryImageId": id }),
            Self::Community(id) => json!({ "communityGalleryImageId": id }),
        }
    }
}

/// What is in an image, where it is the one that is taken where none is named, or its twin of generation 1.
pub(super) fn facts(image: &str) -> Option<ImageFacts> {
    match image {
        UBUNTU | UBUNTU_GEN1 => Some(cloud::image_facts(cloud::UBUNTU_24_04, "x86_64")),
        UBUNTU_ARM => Some(cloud::image_facts(cloud::UBUNTU_24_04, "aarch64")),
        _ => None,
    }
}

/// Whether machines of this size have ARM processors: a `p` among the small letters after the number of processors, as in
/// `Standard_D2ps_v5`. Source: "Azure virtual machine sizes naming conventions".
pub(super) fn is_arm(size: &str) -> bool {
    let Some(name) = size.split('_').nth(1) else { return false };
    let features = name.trim_start_matches(|c: char| c.is_ascii_uppercase());
    let features = features.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
    features.contains('p')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_tell_their_processors() {
        for arm in ["Standard_D2ps_v5", "Standard_D2pls_v5", "Standard_E4pds_v6", "Standard_B2pts_v2"] {
            assert!(is_arm(arm), "{arm}");
        }
        for other in
            ["Standard_D2s_v5", "Standard_B2s", "Standard_A2", "Standard_NP10s", "Standard_E4-2s_v5", "x"]
        {
            assert!(!is_arm(other), "{other}");
        }
        assert!(Image::usual("Standard_D2ps_v5").contains("arm64"));
    }

    #[test]
    fn images_are_named_in_four_ways() {
        assert_eq!(Image::parse("a:b:c:latest").unwrap(), Image::Urn(["a", "b", "c", "latest"]));
        assert!(matches!(Image::parse("/subscriptions/s/x").unwrap(), Image::Id(_)));
        assert!(matches!(Image::parse("/communityGalleries/s/x").unwrap(), Image::Community(_)));
        assert!(matches!(Image::parse("/SharedGalleries/s/x").unwrap(), Image::Shared(_)));
        for bad in ["", "ubuntu", "a:b:c", "a:b:c:", "a:b:c:d:e"] {
            assert!(Image::parse(bad).is_err(), "{bad:?}");
        }
    }
}
