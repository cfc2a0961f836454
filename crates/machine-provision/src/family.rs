//! Families of distributions: those which a provisioner treats alike.

use crate::OsRelease;

/// A family of distributions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Debian, Raspbian, Kali and others with apt, except those derived from Ubuntu.
    Debian,
    /// Ubuntu, Mint, Pop!_OS, elementary and others derived from it.
    Ubuntu,
    /// Red Hat Enterprise Linux and CentOS Stream.
    RedHat,
    /// Rebuilds of Red Hat Enterprise Linux: Rocky, Alma, Oracle and others.
    RedHatClone,
    /// Fedora.
    Fedora,
    /// Amazon Linux 2.
    Amazon2,
    /// Amazon Linux 2023 and later.
    Amazon2023,
    /// SUSE Linux Enterprise.
    Sles,
    /// openSUSE Leap and Tumbleweed.
    OpenSuse,
    /// Alpine.
    Alpine,
    /// Arch, Manjaro and others with pacman.
    Arch,
    /// Flatcar, and CoreOS Container Linux before it: the engine is part of the image, `/usr` is read-only.
    Flatcar,
    /// Fedora CoreOS: the engine is part of the image, `/usr` is read-only.
    FedoraCoreOs,
    /// VMware Photon.
    Photon,
    /// boot2docker: a live system that keeps `/var/lib/boot2docker`.
    Boot2Docker,
    /// RancherOS: the system itself runs in containers.
    RancherOs,
    /// A Linux that is none of these. An engine that is already there can be set up if systemd or OpenRC runs it.
    #[default]
    Other,
}

impl Family {
    /// Which family a system belongs to: by its own id, else by the first of `ID_LIKE` that is known.
    #[must_use]
    pub fn detect(release: &OsRelease) -> Self {
        Self::by_id(&release.id, release)
            .or_else(|| release.id_like.iter().find_map(|id| Self::by_relative(id, release)))
            .unwrap_or(Self::Other)
    }

    fn by_id(id: &str, release: &OsRelease) -> Option<Self> {
        let coreos = matches!(release.variant_id.as_str(), "coreos" | "iot" | "silverblue" | "kinoite");
        Some(match id {
            "debian" | "raspbian" | "kali" | "devuan" => Self::Debian,
            "ubuntu" => Self::Ubuntu,
            "rhel" | "centos" => Self::RedHat,
            "rocky" | "almalinux" | "ol" | "oracle" | "scientific" | "virtuozzo" | "eurolinux"
            | "miraclelinux" => Self::RedHatClone,
            "fedora" if coreos => Self::FedoraCoreOs,
            "fedora" | "fedora-asahi-remix" | "nobara" => Self::Fedora,
            "amzn" if matches!(release.major(), Some(2)) => Self::Amazon2,
            "amzn" if release.major().is_some_and(|year| (2022..).contains(&year)) => Self::Amazon2023,
            // The first Amazon Linux (2015.03 … 2018.03) has neither systemd nor an engine that is still maintained.
            "amzn" => Self::Other,
            "sles" | "sled" | "sles_sap" | "sle_hpc" => Self::Sles,
            "opensuse" | "opensuse-leap" | "opensuse-tumbleweed" => Self::OpenSuse,
            "alpine" | "postmarketos" => Self::Alpine,
            "arch" | "archarm" | "manjaro" | "manjaro-arm" | "endeavouros" | "cachyos" => Self::Arch,
            "flatcar" | "coreos" => Self::Flatcar,
            "photon" => Self::Photon,
            "boot2docker" => Self::Boot2Docker,
            "rancheros" => Self::RancherOs,
            _ => return None,
        })
    }

    /// What a system is treated as because it says that it is like another one. The version that it gives is its own,
    /// so that only families that do not look at the version can be found so.
    fn by_relative(id: &str, release: &OsRelease) -> Option<Self> {
        match id {
            "amzn" => None,
            "rhel" | "centos" => Some(Self::RedHatClone),
            "suse" if release.id.starts_with("opensuse") => Some(Self::OpenSuse),
            "suse" => Some(Self::Sles),
            _ => Self::by_id(id, release),
        }
    }

    /// Whether the system's programs come with its image and no package manager may add to them.
    #[must_use]
    pub fn image_based(self) -> bool {
        matches!(self, Self::Flatcar | Self::FedoraCoreOs | Self::Boot2Docker | Self::RancherOs)
    }

    /// Whether the script of get.docker.com knows the system. Source: `install.sh` of docker/docker-install, which takes
    /// the ids `debian`, `raspbian`, `ubuntu`, `centos`, `rhel`, `rocky` and `fedora`, and turns systems derived from
    /// Debian and Ubuntu into those.
    #[must_use]
    pub fn known_to_get_docker_com(self, release: &OsRelease) -> bool {
        match self {
            Self::Debian | Self::Ubuntu => true,
            Self::RedHat | Self::RedHatClone | Self::Fedora => {
                matches!(release.id.as_str(), "centos" | "rhel" | "rocky" | "fedora")
            }
            _ => false,
        }
    }
}
