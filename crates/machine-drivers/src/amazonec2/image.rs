//! Images, and what processors they are for.

use machine_core::{DriverError, ErrorKind, ImageFacts, Reporter};

use super::api::{Image, Params};
use super::session::Session;
use super::trouble::trouble;
use crate::cloud;

/// Canonical's account in the partitions of which it has one of its own.
const CANONICAL: [(&str, &str); 3] =
    [("cn-", "837727238323"), ("us-gov-", "513442679011"), ("", "099720109477")];
/// The root device of Canonical's images.
const ROOT_DEVICE: &str = "/dev/sda1";
/// The size of their root volume, GiB.
const ROOT_SIZE: i64 = 8;

/// The architecture of an instance type by its family's name, as EC2 writes it: behind the generation's number, a `g` is
/// Amazon's own processor (t4g, c7gn, im4gn, is4gen), and a1 was its first.
pub(super) fn arch_of_type(kind: &str) -> &'static str {
    let family = kind.split('.').next().unwrap_or_default();
    let behind = family
        .trim_start_matches(|c: char| c.is_ascii_alphabetic())
        .trim_start_matches(|c: char| c.is_ascii_digit());
    let arm = family == "a1" || (!family.starts_with("u-") && behind.contains('g'));
    if arm { "arm64" } else { "x86_64" }
}

/// What is in the default image.
pub(super) fn default_facts(kind: &str) -> ImageFacts {
    let arch = if arch_of_type(kind) == "arm64" { "aarch64" } else { "x86_64" };
    cloud::image_facts(cloud::UBUNTU_24_04, arch)
}

/// The current image of Ubuntu 24.04 LTS: where Canonical says, else its newest.
pub(super) async fn default_image(
    session: &Session,
    arch: &str,
    report: &dyn Reporter,
) -> Result<Image, DriverError> {
    let short = if arch == "arm64" { "arm64" } else { "amd64" };
    let name =
        format!("/aws/service/canonical/ubuntu/server/24.04/stable/current/{short}/hvm/ebs-gp3/ami-id");
    // Not every policy allows it, and not every imitator of EC2 has it.
    if let Ok(id) = session.parameter(&name, report).await
        && id.starts_with("ami-")
    {
        let volumes = vec![(ROOT_DEVICE.to_owned(), ROOT_SIZE)];
        let root_device = ROOT_DEVICE.to_owned();
        return Ok(Image { id, arch: arch.to_owned(), root_device, volumes, ..Image::default() });
    }
    let owner =
        CANONICAL.iter().find(|(start, _)| session.region().starts_with(start)).map_or("", |(_, id)| id);
    let pattern = format!("ubuntu/images/hvm-ssd*/ubuntu-noble-24.04-{short}-server-*");
    let params = Params::default()
        .with("Owner.1", owner)
        .filter("name", [pattern.as_str()])
        .filter("state", ["available"]);
    let images = session.ec2(report).images(params).await;
    let images = images.map_err(|error| trouble("the image of Ubuntu 24.04 can't be looked up", &error))?;
    images.into_iter().max_by(|a, b| a.created.cmp(&b.created)).ok_or_else(|| {
        let region = session.region();
        DriverError::new(
            ErrorKind::Precreate,
            format!("there is no image of Ubuntu 24.04 of Canonical ({arch}) in {region}"),
        )
        .with_hint("name an image of the region with --amazonec2-ami")
    })
}

/// The image that the user names.
pub(super) async fn named_image(
    session: &Session,
    id: &str,
    report: &dyn Reporter,
) -> Result<Image, DriverError> {
    let doing = format!("the image {id} can't be looked up");
    let images = session.ec2(report).images(Params::default().with("ImageId.1", id)).await;
    let found = images.map_err(|error| trouble(&doing, &error))?.into_iter().next();
    found.ok_or_else(|| {
        DriverError::new(ErrorKind::Precreate, format!("there is no image {id} in {}", session.region()))
            .with_hint(
                "images are regional: --amazonec2-ami names one of the region, or leave it out for Ubuntu",
            )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_by_the_names_of_types() {
        for kind in [
            "t4g.micro",
            "a1.medium",
            "c7gn.large",
            "im4gn.large",
            "is4gen.medium",
            "g5g.xlarge",
            "hpc7g.4xlarge",
            "x2gd.medium",
            "m8gb.large",
        ] {
            assert_eq!(arch_of_type(kind), "arm64", "{kind}");
        }
        for kind in [
            "t3.micro",
            "t2.micro",
            "g4dn.xlarge",
            "m7i-flex.large",
            "u-6tb1.metal",
            "x2iedn.large",
            "p4de.24xlarge",
            "trn1.2xlarge",
            "",
        ] {
            assert_eq!(arch_of_type(kind), "x86_64", "{kind}");
        }
    }
}
