//! How an engine gets onto each family of systems.

use super::Install;
use crate::{DEFAULT_INSTALL_URL, Family, HostFacts, InstallMethod, PackageManager, PlanError};

/// The repository of docker.com's packages for rebuilds of Red Hat Enterprise Linux.
const CENTOS_REPOSITORY: &str = "https://download.docker.com/linux/centos/docker-ce.repo";

/// What installs packages on a host: what its family brings, if it is there.
pub fn manager(facts: &HostFacts) -> Result<PackageManager, PlanError> {
    let own = match facts.family {
        Family::Debian | Family::Ubuntu => Some(PackageManager::Apt),
        Family::Sles | Family::OpenSuse => Some(PackageManager::Zypper),
        Family::Alpine => Some(PackageManager::Apk),
        Family::Arch => Some(PackageManager::Pacman),
        Family::Photon => Some(PackageManager::Tdnf),
        _ => facts.packages,
    };
    own.ok_or_else(|| PlanError::NoPackageManager { system: facts.display_name() })
}

/// How the engine is installed on a host that has none.
pub fn choose(facts: &HostFacts, method: &InstallMethod) -> Result<Install, PlanError> {
    if facts.family.image_based() {
        return Err(PlanError::NotInImage { system: facts.display_name() });
    }
    match method {
        InstallMethod::None => Err(PlanError::NoEngine),
        InstallMethod::Distro => own_package(facts),
        InstallMethod::Url(url) if url == DEFAULT_INSTALL_URL => by_default(facts),
        InstallMethod::Url(url) => Ok(Install::Script { url: url.clone() }),
    }
}

fn by_default(facts: &HostFacts) -> Result<Install, PlanError> {
    let script = || Install::Script { url: DEFAULT_INSTALL_URL.to_owned() };
    if facts.family.known_to_get_docker_com(&facts.os) {
        return Ok(script());
    }
    match facts.family {
        Family::RedHatClone => Ok(Install::DockerComRepository { url: CENTOS_REPOSITORY.to_owned() }),
        // Let the script say what it thinks of a system that nobody here knows.
        Family::Other => Ok(script()),
        _ => own_package(facts),
    }
}

/// The distribution's own package.
fn own_package(facts: &HostFacts) -> Result<Install, PlanError> {
    let manager = manager(facts)?;
    let (names, wanted): (&[&str], &[&str]) = match facts.family {
        // Without AppArmor's parser, `docker run` fails on kernels that have AppArmor enabled; the package only recommends it.
        // From Debian 13 on the client is a package of its own.
        Family::Debian | Family::Ubuntu if facts.apparmor => {
            (&["docker.io", "ca-certificates", "apparmor"], &["docker-cli"])
        }
        Family::Debian | Family::Ubuntu => (&["docker.io", "ca-certificates"], &["docker-cli"]),
        Family::Fedora => (&["moby-engine"], &["docker-cli"]),
        Family::Amazon2
        | Family::Amazon2023
        | Family::Photon
        | Family::Sles
        | Family::OpenSuse
        | Family::Arch => (&["docker"], &[]),
        Family::Alpine => (&["docker"], &["docker-openrc"]),
        _ => return Err(PlanError::NoPackage { system: facts.display_name() }),
    };
    let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    Ok(Install::Packages { manager, names: list(names), wanted: list(wanted) })
}

/// The packages that an engine consists of, by the package that has its program.
pub fn parts(package: &str) -> Option<&'static [&'static str]> {
    Some(match package {
        "docker-ce" => &[
            "docker-ce",
            "docker-ce-cli",
            "containerd.io",
            "docker-ce-rootless-extras",
            "docker-buildx-plugin",
            "docker-compose-plugin",
        ],
        "docker.io" => &["docker.io", "docker-cli", "containerd", "runc"],
        "moby-engine" => {
            &["moby-engine", "moby-cli", "docker-cli", "containerd", "runc", "moby-containerd", "moby-runc"]
        }
        "docker" => &["docker", "docker-engine", "docker-cli", "containerd", "runc"],
        _ => return None,
    })
}
