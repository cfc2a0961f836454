//! The machine's key at DigitalOcean, which puts it into a new droplet.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_core::{DriverError, ErrorKind};

use super::api::{Cloud, Key};
use super::mark;
use super::state::DigitalOceanState;
use super::trouble::explain;

/// The MD5 fingerprint by which DigitalOcean calls a key, of a line of `authorized_keys`.
///
/// # Errors
/// [`ErrorKind::Other`] where the line is no key.
pub(super) fn fingerprint(line: &str) -> Result<String, DriverError> {
    let blob = line.split_whitespace().nth(1).and_then(|text| STANDARD.decode(text).ok());
    let blob =
        blob.ok_or_else(|| DriverError::new(ErrorKind::Other, "the machine's public key is no key"))?;
    let bytes: Vec<String> = md5::compute(blob).0.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(bytes.join(":"))
}

/// The machine's key at DigitalOcean, if it is there.
///
/// # Errors
/// Why it can't be looked up.
pub(super) async fn look_up(
    cloud: &Cloud<'_>,
    state: &DigitalOceanState,
) -> Result<Option<Key>, DriverError> {
    let key = cloud.key(&state.own_key_fingerprint).await;
    key.map_err(|error| explain("the machine's SSH key can't be looked up", &error))
}

/// Whether a key was made for this machine. One of another name was there before: it is not ours to delete.
pub(super) fn is_ours(key: &Key, state: &DigitalOceanState) -> bool {
    key.name == mark::key_name(&state.mark())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key and fingerprint are those of `ssh-keygen -E md5 -lf`.
    #[test]
    fn fingerprints_are_those_of_ssh_keygen() {
        let line =
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDobVNIda8rkS/OA1QPX/6fBuaCNtZ3yn6AV0e6APhUz conformance";
        assert_eq!(fingerprint(line).unwrap(), "62:09:f9:51:32:04:d0:6f:5a:5f:ad:51:41:13:2f:6f");
        assert!(fingerprint("ssh-ed25519").is_err());
        assert!(fingerprint("ssh-ed25519 %%%").is_err());
    }
}
