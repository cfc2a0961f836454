//! Finds built-in drivers by name.

use std::sync::Arc;

use machine_core::{Driver, DriverError, DriverSource, ErrorKind};

use crate::{amazonec2, azure, digitalocean, generic, google, hetzner, hyperv, libvirt, none, openstack, qemu, virtualbox, vmwarefusion};

/// Makes a driver. It costs nothing: drivers keep no state.
type Make = fn() -> Arc<dyn Driver>;

/// Every built-in driver, by name. One line each.
const DRIVERS: &[(&str, Make)] = &[
    (amazonec2::NAME, || Arc::new(amazonec2::Amazonec2::new())),
    (azure::NAME, || Arc::new(azure::Azure::new())),
    (digitalocean::NAME, || Arc::new(digitalocean::DigitalOcean::new())),
    (generic::NAME, || Arc::new(generic::Generic::new())),
    (google::NAME, || Arc::new(google::Google::new())),
    (hetzner::NAME, || Arc::new(hetzner::Hetzner::new())),
    (hyperv::NAME, || Arc::new(hyperv::Hyperv::new())),
    (libvirt::NAME, || Arc::new(libvirt::Libvirt::new())),
    (none::NAME, || Arc::new(none::None::new())),
    (openstack::NAME, || Arc::new(openstack::Openstack::new())),
    (qemu::NAME, || Arc::new(qemu::Qemu::new())),
    (virtualbox::NAME, || Arc::new(virtualbox::Virtualbox::new())),
    (vmwarefusion::NAME, || Arc::new(vmwarefusion::VmwareFusion::new())),
];

/// The drivers that are part of this program.
#[derive(Clone, Copy, Debug, Default)]
pub struct Builtin;

impl DriverSource for Builtin {
    fn driver(&self, name: &str) -> Result<Arc<dyn Driver>, DriverError> {
        match DRIVERS.iter().find(|(known, _)| *known == name) {
            Some((_, make)) => Ok(make()),
            None => Err(not_found(name)),
        }
    }

    fn names(&self) -> Vec<String> {
        DRIVERS.iter().map(|(name, _)| (*name).to_owned()).collect()
    }
}

fn not_found(name: &str) -> DriverError {
    DriverError::new(
        ErrorKind::NotFound,
        format!(
            "Driver \"{name}\" not found. Do you have the plugin binary \"docker-machine-driver-{name}\" \
             accessible in your PATH?"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_driver_is_registered_under_its_own_name() {
        let names = Builtin.names();
        assert_eq!(names, ["amazonec2", "azure", "digitalocean", "generic", "google", "hetzner", "hyperv", "libvirt", "none", "openstack", "qemu", "virtualbox", "vmwarefusion"]);
        for name in names {
            assert_eq!(Builtin.driver(&name).unwrap().spec().name, name);
        }
    }

    #[test]
    fn an_unknown_driver_has_the_reference_programs_text() {
        let Err(error) = Builtin.driver("nosuchdriver") else { panic!("there is no such driver") };
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert_eq!(
            error.to_string(),
            "Driver \"nosuchdriver\" not found. Do you have the plugin binary \
             \"docker-machine-driver-nosuchdriver\" accessible in your PATH?"
        );
    }
}
