//! A lab host as an instance: what a cloud's image does with its user data until somebody may log in, as quickly as it can be done.

use std::{error::Error, fs, path::Path};

use machine_testkit::lab::Host;
use serde_json::Value;

/// Takes over from the user data who the host is and who may log in. An engine is there already.
pub fn boot(host: &Host, user_data: &str) -> Result<(), Box<dyn Error>> {
    let config = cloud_config(user_data).ok_or("the user data has no cloud-config of ours")?;
    let text = |value: &Value| value.as_str().map(str::to_owned).ok_or("the cloud-config lacks something");
    let user =
        config["users"].as_array().and_then(|users| users.last()).ok_or("the cloud-config has no user")?;
    let (name, key) = (text(&user["name"])?, text(&user["ssh_authorized_keys"][0])?);
    let root = Path::new("/proc").join(host.init_pid()?.to_string()).join("root");
    fs::write(root.join("etc/ssh/ssh_host_ed25519_key"), text(&config["ssh_keys"]["ed25519_private"])?)?;
    fs::write(root.join("etc/ssh/ssh_host_ed25519_key.pub"), text(&config["ssh_keys"]["ed25519_public"])?)?;
    fs::write(root.join("root/authorized"), key + "\n")?;
    let done = host.exec_inside(["sh", "-c", LOGIN, "sh", &name])?;
    if done.status.success() {
        Ok(())
    } else {
        Err(format!("an instance did not boot: {}", done.stderr).into())
    }
}

/// The user is its first argument.
const LOGIN: &str = r#"set -e
id "$1" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$1"
printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$1" >/etc/sudoers.d/instance
home=$(getent passwd "$1" | cut -d: -f6)
install -d -m 700 -o "$1" "$home/.ssh"
install -m 600 -o "$1" /root/authorized "$home/.ssh/authorized_keys"
rm -f /etc/ssh/ssh_host_rsa_key* /etc/ssh/ssh_host_ecdsa_key*
systemctl restart ssh"#;

/// The first cloud-config of a MIME message. Ours are JSON.
fn cloud_config(user_data: &str) -> Option<Value> {
    let start = user_data.split_once("#cloud-config\n")?.1;
    serde_json::Deserializer::from_str(start).into_iter().next()?.ok()
}
