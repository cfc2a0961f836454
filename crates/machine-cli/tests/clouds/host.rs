//! A lab host in the place of a cloud's: the real cloud-init finds at its first boot what the driver handed over.

use std::path::Path;

use machine_testkit::lab::{Host, Options, Variant};
use serde_json::Value;

use crate::support::{World, inside};

/// A host as clouds' images are: with cloud-init, without an engine.
pub fn host_of_image(world: &World) -> Host {
    let host = world.host_with(Variant::Bare, Options { with_network: true, ..Options::default() });
    inside(&host, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install cloud-init");
    inside(
        &host,
        "printf '%s\\n' 'datasource_list: [NoCloud]' 'network: {config: disabled}' \
         >/etc/cloud/cloud.cfg.d/99-lab.cfg; sed -i '/^ *- locale$/d' /etc/cloud/cloud.cfg",
    );
    host
}

/// Its first boot, with this user data and these public keys.
pub fn boot(host: &Host, user_data: &str, keys: &[String]) {
    write(host, "/var/lib/cloud/seed/nocloud/user-data", user_data);
    let meta = format!("instance-id: first\npublic-keys: {}\n", Value::from(keys));
    write(host, "/var/lib/cloud/seed/nocloud/meta-data", &meta);
    host.reboot().unwrap();
}

/// It is turned off: it can't be reached.
pub fn off(host: &Host) {
    host.partition().unwrap();
}

/// It is turned on.
pub fn on(host: &Host) {
    host.heal().unwrap();
    host.reboot().unwrap();
}

/// Writes a file in it; folders are made.
pub fn write(host: &Host, path: &str, text: &str) {
    let path = format!("/proc/{}/root{path}", host.init_pid().unwrap());
    std::fs::create_dir_all(Path::new(&path).parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}
