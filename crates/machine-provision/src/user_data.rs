//! A plan as user data for cloud-init: the host sets itself up while it boots.
//!
//! User data is a MIME message of up to three parts: a cloud-config that says who may log in and which SSH host key the host has;
//! a boothook, which is run at the first boot before the engine starts and writes its certificates and options; and a script
//! that is run at the end of the first boot. Boothook and script are made of the same shell code as [`crate::render::script`],
//! so that both ways lead to the same host.
//!
//! Sources: cloud-init's documentation of user-data formats and of the modules `users_groups`, `ssh`, `set_hostname`, `mounts`.

use std::fmt::Write as _;

use machine_core::{Mount, Secret};
use serde_json::{Value, json};

use crate::plan::{Action, Plan, Step};
use crate::render::Renderer;
use crate::shell::quote;

/// Who the host is and who may log in.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// The login name. The user is made where there is none, may become root without a password and has no password.
    pub user: &'a str,
    /// Its public key, a line of `authorized_keys`.
    pub authorized_key: &'a str,
    /// The host's name.
    pub hostname: &'a str,
    /// The host's private SSH key, in OpenSSH's format; Ed25519.
    pub host_key: &'a Secret,
    /// The public key that belongs to it, as a line.
    pub host_key_public: &'a str,
    /// What is mounted at each boot.
    pub mounts: &'a [Mount],
}

/// User data of a host that gets its engine in another way: identity only.
#[must_use]
pub fn identity(identity: &Identity<'_>) -> Secret {
    Secret::new(message(&[("cloud-config", cloud_config(identity))]))
}

/// User data of a host that does the plan by itself at its first boot. Its engine must not have been started before.
/// The engine's private key is in it: only for user data that stays on this computer.
#[must_use]
pub fn complete(identity: &Identity<'_>, plan: &Plan) -> Secret {
    let (early, late): (Vec<Step>, Vec<Step>) =
        plan.steps.iter().cloned().partition(|step| belongs_before_the_engine(&step.action));
    let part = |steps: Vec<Step>| Plan { steps, warnings: Vec::new(), environment: plan.environment.clone() };
    let mut parts = vec![("cloud-config", cloud_config(identity))];
    if !early.is_empty() {
        parts.push(("cloud-boothook", boothook(&part(early))));
    }
    if !late.is_empty() {
        parts.push(("x-shellscript", format!("#!/bin/sh\n{}", script(&part(late)))));
    }
    Secret::new(message(&parts))
}

/// What the engine reads at its start, and what the host is called. Nothing of it takes longer than a file takes to be written.
fn belongs_before_the_engine(action: &Action) -> bool {
    matches!(
        action,
        Action::HostsEntry { .. } | Action::Hostname { .. } | Action::File(_) | Action::Command { .. }
    )
}

fn script(plan: &Plan) -> String {
    Renderer::default().script(plan).text().to_owned()
}

/// Boothooks are run at each boot, and ours must write nothing over what came there later: it leaves a mark. An image
/// may run it before there is a systemd, with `BEFORE_INIT` set; then nothing has been read yet that would have to be
/// read again, and cloud-init finds the mark.
///
/// The engine has not been started with anything else, so that no restart of it is due.
fn boothook(plan: &Plan) -> String {
    let mark = quote(MARK);
    format!(
        "#!/bin/sh\n# before-init: yes\n\
         if [ \"$(cat {mark} 2>/dev/null)\" = \"${{INSTANCE_ID:-none}}\" ]; then exit 0; fi\n\
         (\n{script})\ndm_ended=$?\n[ \"$dm_ended\" -eq 0 ] || exit \"$dm_ended\"\n\
         if [ -z \"$BEFORE_INIT\" ]; then\n  systemctl daemon-reload\n  \
         case $(systemctl is-active docker.service) in active | activating | reloading) ;; *) rm -f {due} ;; esac\n\
         else\n  rm -f {due}\nfi\n\
         (umask 022 && mkdir -p {dir} && printf '%s\\n' \"${{INSTANCE_ID:-none}}\" >{mark})\n",
        script = script(plan),
        due = quote(RESTART_DUE),
        dir = quote(MARK_DIR),
    )
}

const MARK_DIR: &str = "/var/lib/docker-machine";
/// Has the instance whose boothook was run.
const MARK: &str = "/var/lib/docker-machine/seeded";
/// See `sh/engine.sh`: the mark of a restart that is due.
const RESTART_DUE: &str = "/run/docker-machine.restart";

/// JSON is YAML: nothing in it needs another way of quoting.
fn cloud_config(identity: &Identity<'_>) -> String {
    let mut user = json!({
        "name": identity.user,
        "lock_passwd": true,
        "shell": "/bin/bash",
        "sudo": "ALL=(ALL) NOPASSWD:ALL",
        "ssh_authorized_keys": [identity.authorized_key.trim()],
    });
    if identity.user == ENGINE_GROUP {
        // A group of this name comes with the engine, and a user's own group could not be made any more.
        user["primary_group"] = Value::from(ENGINE_GROUP);
    }
    let mut config = json!({
        "users": [user],
        "disable_root": true,
        "ssh_pwauth": false,
        "preserve_hostname": false,
        "hostname": identity.hostname,
        "ssh_deletekeys": true,
        "ssh_genkeytypes": [],
        "ssh_keys": {
            "ed25519_private": identity.host_key.expose(),
            "ed25519_public": identity.host_key_public.trim(),
        },
        "package_update": false,
    });
    if !identity.mounts.is_empty() {
        let lines: Vec<Value> = identity.mounts.iter().map(mount).collect();
        config["mounts"] = Value::from(lines);
    }
    format!("#cloud-config\n{config:#}\n")
}

/// Who uses the engine without being root is in this group.
const ENGINE_GROUP: &str = "docker";

/// A line of fstab. A folder that is not there any more must not keep the host from booting.
fn mount(mount: &Mount) -> Value {
    let options =
        if mount.options.is_empty() { "nofail".to_owned() } else { format!("{},nofail", mount.options) };
    json!([mount.source, mount.target, mount.kind, options, "0", "0"])
}

/// A MIME message, RFC 2046. Its boundary stands in none of the parts.
fn message(parts: &[(&str, String)]) -> String {
    let mut boundary = "docker-machine".to_owned();
    while parts.iter().any(|(_, content)| content.contains(&boundary_line(&boundary))) {
        boundary.push('=');
    }
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for (kind, content) in parts {
        let charset = if content.is_ascii() { "us-ascii" } else { "utf-8" };
        let _ = write!(
            text,
            "{}\nContent-Type: text/{kind}; charset=\"{charset}\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: 8bit\n\n{content}\n",
            boundary_line(&boundary)
        );
    }
    let _ = writeln!(text, "{}--", boundary_line(&boundary));
    text
}

fn boundary_line(boundary: &str) -> String {
    format!("--{boundary}")
}
