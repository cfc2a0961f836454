//! Where a system keeps what the engine reads, and in which form.

use crate::{Family, HostFacts, InitSystem, PlanError};

/// Where a system keeps what the engine reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The folder of the engine's certificates.
    pub certificates_dir: &'static str,
    /// The file with the engine's command line.
    pub options_file: &'static str,
    /// Its form.
    pub form: Form,
    /// Where the host's name is kept.
    pub hostname_file: &'static str,
}

/// The form of the file with the engine's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A drop-in of docker.service.
    DropIn,
    /// `DOCKER_OPTS` of OpenRC's service, which is evaluated by a shell.
    OpenRc,
    /// `EXTRA_ARGS` and others of boot2docker's profile.
    Boot2Docker,
    /// `DOCKER_OPTS` of RancherOS, divided at white space.
    RancherOs,
}

const SYSTEMD: Layout = Layout {
    certificates_dir: "/etc/docker",
    options_file: "/etc/systemd/system/docker.service.d/10-machine.conf",
    form: Form::DropIn,
    hostname_file: "/etc/hostname",
};
const OPENRC: Layout = Layout { options_file: "/etc/conf.d/docker", form: Form::OpenRc, ..SYSTEMD };
const BOOT2DOCKER: Layout = Layout {
    certificates_dir: "/var/lib/boot2docker",
    options_file: "/var/lib/boot2docker/profile",
    form: Form::Boot2Docker,
    hostname_file: "/var/lib/boot2docker/etc/hostname",
};
const RANCHEROS: Layout = Layout {
    certificates_dir: "/var/lib/rancher/conf",
    options_file: "/var/lib/rancher/conf/docker",
    form: Form::RancherOs,
    hostname_file: "/etc/hostname",
};

impl Layout {
    /// The layout of a host.
    ///
    /// # Errors
    /// [`PlanError::NoInitSystem`] where nothing there could start an engine.
    pub fn of(facts: &HostFacts) -> Result<Self, PlanError> {
        match (facts.family, facts.init) {
            (Family::Boot2Docker, _) => Ok(BOOT2DOCKER),
            (Family::RancherOs, _) => Ok(RANCHEROS),
            (_, InitSystem::Systemd) => Ok(SYSTEMD),
            (_, InitSystem::OpenRc) => Ok(OPENRC),
            (_, InitSystem::None) => Err(PlanError::NoInitSystem { system: facts.display_name() }),
        }
    }
}
