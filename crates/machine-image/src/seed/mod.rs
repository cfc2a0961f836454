//! What cloud-init reads at the first boot: the NoCloud data source, as a CD image.

use machine_core::Secret;

/// What a new machine is told.
#[derive(Clone, Debug)]
pub struct NoCloud<'a> {
    /// A name for this machine that no other had: cloud-init does its work once for each.
    pub instance_id: &'a str,
    /// Its host name.
    pub hostname: &'a str,
    /// The user data: `#cloud-config`, a script or a MIME message. It may have keys in it: keep the image private.
    pub user_data: &'a Secret,
    /// The network configuration (version 2), where DHCP on the first interface is not what is wanted.
    pub network_config: Option<&'a str>,
}

/// The CD image: ISO 9660 with Joliet names, labelled `cidata`, with `user-data`, `meta-data` and maybe `network-config`. The same input gives the same bytes.
#[must_use]
pub fn iso(_seed: &NoCloud<'_>) -> Vec<u8> {
    todo!()
}
