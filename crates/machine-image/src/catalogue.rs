//! The images that have a name: where their publishers have them, and what they say about their content.
//!
//! All have cloud-init with the NoCloud data source, and systemd. The addresses were read in the publishers'
//! documents and in catalogues of other programs; they were not all fetched when this was written.

use std::borrow::Cow;

use crate::Arch;
use crate::checksum::Digest;

/// An image of a publisher. In its addresses `{debian}` stands for `amd64` or `arm64`, `{uname}` for `x86_64` or
/// `aarch64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name, e.g. `debian-13`.
    pub name: Cow<'static, str>,
    /// Other names, e.g. `debian` for the newest.
    pub aliases: Vec<Cow<'static, str>>,
    /// What it is, in one line.
    pub about: Cow<'static, str>,
    /// The address of the image.
    pub url: Cow<'static, str>,
    /// How to know that it is the right one.
    pub check: Check,
}

/// Where a publisher's checksum is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// In a list beside the image, by its file's name.
    List(Cow<'static, str>),
    /// In a file that is about this image alone.
    Own(Cow<'static, str>),
    /// Here: the image never changes. For each architecture its checksum, `sha256:HEX`.
    Known(Vec<(Arch, Cow<'static, str>)>),
}

/// The name that an empty wish stands for where no image was baked: the current Debian stable.
pub const DEFAULT: &str = "debian-13";

/// The same for hypervisors whose devices are those of real hardware: Debian's kernel for clouds, which [`DEFAULT`]
/// has, knows neither AHCI nor LSI Logic disks, nor e1000 network cards, nor 9p (`config.amd64_none_cloud-amd64` of
/// Debian's package linux-config-6.1).
pub const DEFAULT_FOR_HARDWARE: &str = "debian-13-generic";

impl Entry {
    /// Whether it is meant by this word.
    #[must_use]
    pub fn is(&self, word: &str) -> bool {
        self.name == word || self.aliases.iter().any(|alias| alias == word)
    }

    /// The address for an architecture.
    #[must_use]
    pub fn url(&self, arch: Arch) -> String {
        filled(&self.url, arch)
    }

    /// Where its checksum is, for an architecture.
    pub(crate) fn sums(&self, arch: Arch) -> Sums {
        match &self.check {
            Check::List(url) => Sums::List(filled(url, arch)),
            Check::Own(url) => Sums::Own(filled(url, arch)),
            Check::Known(all) => {
                let known = all.iter().find(|(of, _)| *of == arch);
                known.and_then(|(_, text)| text.parse().ok()).map_or(Sums::None, Sums::Known)
            }
        }
    }
}

/// Where the checksum of one file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Sums {
    List(String),
    Own(String),
    Known(Digest),
    None,
}

fn filled(template: &str, arch: Arch) -> String {
    template.replace("{debian}", arch.debian()).replace("{uname}", arch.as_str())
}

/// All of them.
#[must_use]
pub fn entries() -> Vec<Entry> {
    let mut all = vec![debian("13", "trixie", &["debian"]), debian("12", "bookworm", &[])];
    all.extend([debian_generic("13", "trixie"), debian_generic("12", "bookworm")]);
    all.extend([ubuntu("26.04", &["ubuntu"]), ubuntu("24.04", &[]), ubuntu("22.04", &[])]);
    all.push(fedora_44());
    all.extend([almalinux("10", &["almalinux"]), almalinux("9", &[])]);
    all.extend([rocky("10", &["rocky"]), rocky("9", &[])]);
    all.push(opensuse_leap_16());
    all
}

fn entry(name: String, aliases: &[&'static str], about: String, url: String, check: Check) -> Entry {
    let aliases = aliases.iter().map(|alias| Cow::Borrowed(*alias)).collect();
    Entry { name: name.into(), aliases, about: about.into(), url: url.into(), check }
}

/// <https://cloud.debian.org/images/cloud/>
fn debian(version: &str, code: &str, aliases: &[&'static str]) -> Entry {
    let folder = format!("https://cloud.debian.org/images/cloud/{code}/latest");
    entry(
        format!("debian-{version}"),
        aliases,
        format!("Debian {version} ({code}), for virtual machines"),
        format!("{folder}/debian-{version}-genericcloud-{{debian}}.qcow2"),
        Check::List(format!("{folder}/SHA512SUMS").into()),
    )
}

/// The same with a kernel that has drivers for hardware, too.
fn debian_generic(version: &str, code: &str) -> Entry {
    let folder = format!("https://cloud.debian.org/images/cloud/{code}/latest");
    entry(
        format!("debian-{version}-generic"),
        &[],
        format!("Debian {version} ({code}), for any hypervisor and for hardware"),
        format!("{folder}/debian-{version}-generic-{{debian}}.qcow2"),
        Check::List(format!("{folder}/SHA512SUMS").into()),
    )
}

/// <https://cloud-images.ubuntu.com/releases/>
fn ubuntu(version: &str, aliases: &[&'static str]) -> Entry {
    let folder = format!("https://cloud-images.ubuntu.com/releases/{version}/release");
    entry(
        format!("ubuntu-{version}"),
        aliases,
        format!("Ubuntu Server {version} LTS"),
        format!("{folder}/ubuntu-{version}-server-cloudimg-{{debian}}.img"),
        Check::List(format!("{folder}/SHA256SUMS").into()),
    )
}

/// <https://fedoraproject.org/cloud/download>. A release never changes; its address leads to mirrors, so the
/// checksum stands here.
fn fedora_44() -> Entry {
    let folder = "https://download.fedoraproject.org/pub/fedora/linux/releases/44/Cloud/{uname}/images";
    entry(
        "fedora-44".into(),
        &["fedora"],
        "Fedora Cloud 44".into(),
        format!("{folder}/Fedora-Cloud-Base-Generic-44-1.7.{{uname}}.qcow2"),
        Check::Known(vec![
            (Arch::X86_64, "sha256:28680fe5b371a5a82ebf43a31926e086a168e59949d03969c5093e7071f90b7f".into()),
            (Arch::Aarch64, "sha256:55c60a3b80d3616a08705afd0459e75fe9f03c54aba7a46e4002a41a72fa0d5b".into()),
        ]),
    )
}

/// <https://wiki.almalinux.org/cloud/Generic-cloud.html>
fn almalinux(version: &str, aliases: &[&'static str]) -> Entry {
    let folder = format!("https://repo.almalinux.org/almalinux/{version}/cloud/{{uname}}/images");
    entry(
        format!("almalinux-{version}"),
        aliases,
        format!("AlmaLinux {version}"),
        format!("{folder}/AlmaLinux-{version}-GenericCloud-latest.{{uname}}.qcow2"),
        Check::List(format!("{folder}/CHECKSUM").into()),
    )
}

/// <https://rockylinux.org/download>
fn rocky(version: &str, aliases: &[&'static str]) -> Entry {
    let image = format!(
        "https://dl.rockylinux.org/pub/rocky/{version}/images/{{uname}}/Rocky-{version}-GenericCloud-Base.latest.{{uname}}.qcow2"
    );
    entry(
        format!("rocky-{version}"),
        aliases,
        format!("Rocky Linux {version}"),
        image.clone(),
        Check::Own(format!("{image}.CHECKSUM").into()),
    )
}

/// <https://get.opensuse.org/leap/16.0/>. The list names the file by its build number.
fn opensuse_leap_16() -> Entry {
    let image = "https://download.opensuse.org/distribution/leap/16.0/appliances/Leap-16.0-Minimal-VM.{uname}-Cloud.qcow2";
    entry(
        "opensuse-leap-16.0".into(),
        &["opensuse", "opensuse-leap"],
        "openSUSE Leap 16.0, minimal".into(),
        image.into(),
        Check::Own(format!("{image}.sha256").into()),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_catalogue_makes_sense() {
        let mut words = HashSet::new();
        for entry in entries() {
            assert!(words.insert(entry.name.to_string()), "{} is there twice", entry.name);
            for alias in &entry.aliases {
                assert!(words.insert(alias.to_string()), "{alias} is there twice");
            }
            for arch in Arch::ALL {
                let url = entry.url(arch);
                assert!(url.starts_with("https://") && !url.contains(['{', '}']), "{url}");
                match entry.sums(arch) {
                    Sums::List(sums) => {
                        let folder = url.rsplit_once('/').map(|(folder, _)| folder);
                        assert_eq!(sums.rsplit_once('/').map(|(folder, _)| folder), folder);
                    }
                    Sums::Own(sums) => assert!(sums.starts_with(&url), "{sums}"),
                    Sums::Known(_) => {}
                    Sums::None => panic!("{} has no checksum for {arch}", entry.name),
                }
            }
        }
        assert!(entries().iter().any(|entry| entry.is(DEFAULT) && entry.is("debian")));
        assert!(entries().iter().any(|entry| entry.is(DEFAULT_FOR_HARDWARE)));
    }

    #[test]
    fn addresses() {
        let all = entries();
        let url = |word: &str, arch| all.iter().find(|entry| entry.is(word)).map(|entry| entry.url(arch));
        assert_eq!(
            url("debian", Arch::X86_64).as_deref(),
            Some("https://cloud.debian.org/images/cloud/trixie/latest/debian-13-genericcloud-amd64.qcow2")
        );
        assert_eq!(
            url("ubuntu-24.04", Arch::Aarch64).as_deref(),
            Some(
                "https://cloud-images.ubuntu.com/releases/24.04/release/ubuntu-24.04-server-cloudimg-arm64.img"
            )
        );
    }
}
