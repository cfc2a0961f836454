//! What cloud-init reads at the first boot: the NoCloud data source, as a CD image.

mod iso;

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

/// The label by which cloud-init finds the image.
const LABEL: &str = "cidata";

/// The CD image: ISO 9660 with Joliet names, labelled `cidata`, with `user-data`, `meta-data` and maybe
/// `network-config`. The same input gives the same bytes.
#[must_use]
pub fn iso(seed: &NoCloud<'_>) -> Vec<u8> {
    // A JSON string is a YAML string too, whatever is in it.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let meta =
        format!("instance-id: {}\nlocal-hostname: {}\n", quoted(seed.instance_id), quoted(seed.hostname));
    let mut files = vec![
        iso::File { name: "meta-data", short: "METADATA.;1", content: meta.as_bytes() },
        iso::File { name: "user-data", short: "USERDATA.;1", content: seed.user_data.expose().as_bytes() },
    ];
    if let Some(config) = seed.network_config {
        // By name, as the standard wants it.
        files.insert(
            1,
            iso::File { name: "network-config", short: "NETWORKC.;1", content: config.as_bytes() },
        );
    }
    iso::image(LABEL, &files)
}
