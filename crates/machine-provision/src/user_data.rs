//! A plan as user data for cloud-init: the host sets itself up while it boots.
//!
//! User data is a MIME message. What a host is told of itself (who may log in, which SSH host key and name it has) is a
//! cloud-config. A host that does a plan by itself has a boothook instead, which is run at the first boot before the engine starts,
//! and a script that is run at the end of the first boot. Both are made of the same shell code as [`crate::render::script`], so
//! that both ways lead to the same host. The boothook does by itself what a cloud-config could say, too: cloud-init needs
//! seconds for each of its modules where a processor is emulated, and an image may run the boothook before all else.
//!
//! The user's own user data goes before ours in the message. cloud-init then merges ours into it: lists are appended, so that
//! the user's own accounts, packages and mounts stay and ours is added; of single values the user's stay, but for the SSH host key
//! and who may be root, without which the host would not be known or reached. Of two accounts of one name the user's stays as it
//! is, lists and all; a script then lets us in, see [`Own::may_define`].
//!
//! Sources: cloud-init's documentation of merging and of user-data formats and of the modules `users_groups`, `ssh`, `set_hostname`,
//! `update_etc_hosts` and `mounts`; `boot_hook.py`, `cc_ssh.py` and `cc_mounts.py` of its version 22.4; `user_data.py`, `util.py`
//! (`fully_decoded_payload`) and `ug_util.py` of 22.4, 24.1 and 24.4.

mod own;

use std::borrow::Cow;
use std::fmt::Write as _;

pub use own::{BadUserData, Own};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machine_core::{Mount, Secret};
use serde_json::{Value, json};

use crate::plan::{Action, HOSTNAME_MAX, Install, Plan, Step};
use crate::render::{Renderer, shorten};
use crate::shell::{printf_b, quote};

/// Who the host is and who may log in.
#[derive(Clone, Debug)]
pub struct Identity<'a> {
    /// The login name. The user is made where there is none, may become root without a password and has no password.
    pub user: &'a str,
    /// Its public key, a line of `authorized_keys`.
    pub authorized_key: &'a str,
    /// Whether the image's usual user is made as well, with the keys that the provider has for the host: a key pair there
    /// may be the only one of which the user has the private half. Not in [`complete`].
    pub usual_user: bool,
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
pub fn identity(identity: &Identity<'_>, own: Option<&Own>) -> Secret {
    let late = late_login(identity, own);
    Secret::new(message(late.as_ref(), own, &cloud_configs(cloud_config(identity), own)))
}

/// User data of a host that gets its engine in another way, and installs what that takes while it boots: for user data
/// which others than this computer can read. Nothing of the plan that is secret is in it; what else the plan has to do is
/// left to be done over SSH.
///
/// Providers limit user data (some to 16 KiB): this is as short as it can be.
#[must_use]
pub fn ahead(identity: &Identity<'_>, plan: &Plan, own: Option<&Own>) -> Secret {
    let steps = ahead_of(plan);
    let mut parts = cloud_configs(cloud_config(identity), own);
    if !steps.is_empty() && !has_credentials(plan) {
        let plan = Plan { steps, warnings: Vec::new(), environment: plan.environment.clone() };
        let script = Renderer::default().compact().script(&plan);
        parts.push(("x-shellscript", format!("#!/bin/sh\n{}", script.text())));
    }
    Secret::new(message(late_login(identity, own).as_ref(), own, &parts))
}

/// The steps of a plan that are done while the host boots.
pub(crate) fn ahead_of(plan: &Plan) -> Vec<Step> {
    let installs = |step: &&Step| {
        matches!(
            step.action,
            Action::WaitForPackageLock(_) | Action::Packages { .. } | Action::InstallEngine(_)
        )
    };
    plan.steps.iter().filter(installs).cloned().collect()
}

/// A script that lets us in where the user's own user data may define the account that logs in: cloud-init then passes over
/// ours, and with it over our key. It goes before the user's own scripts, which may take their time.
fn late_login(identity: &Identity<'_>, own: Option<&Own>) -> Option<(&'static str, String)> {
    if !own?.may_define(identity.user) {
        return None;
    }
    let call = format!("dm_login {} {}\n", quote(identity.user), quote(identity.authorized_key.trim()));
    let text = shorten::only_what_is_called(LOGIN, &call);
    Some(("x-shellscript", format!("#!/bin/sh\n{text}{call}")))
}

/// Whether the address of a proxy or of what installs the engine has a user or a password in it. Nothing can be installed
/// without it then, and nobody else may read it.
fn has_credentials(plan: &Plan) -> bool {
    let installs_from = plan.steps.iter().filter_map(|step| match &step.action {
        Action::InstallEngine(Install::Script { url } | Install::DockerComRepository { url }) => {
            Some(url.as_str())
        }
        _ => None,
    });
    plan.environment.iter().map(|(_, value)| value.expose()).chain(installs_from).any(|url| url.contains('@'))
}

/// User data of a host that does the plan by itself at its first boot. Its engine must not have been started before.
/// The engine's private key is in it: only for user data that stays on this computer.
#[must_use]
pub fn complete(identity: &Identity<'_>, plan: &Plan, own: Option<&Own>) -> Secret {
    let (early, late): (Vec<Step>, Vec<Step>) =
        plan.steps.iter().cloned().partition(|step| belongs_before_the_engine(&step.action));
    let part = |steps: Vec<Step>| Plan { steps, warnings: Vec::new(), environment: plan.environment.clone() };
    let mut parts = cloud_configs(all_is_done_by_the_boothook(identity), own);
    parts.push(("cloud-boothook", boothook(identity, &part(early))));
    if !late.is_empty() {
        parts.push(("x-shellscript", format!("#!/bin/sh\n{}", script(&part(late)))));
    }
    Secret::new(message(None, own, &parts))
}

/// Our cloud-config; merged into what comes before it where there is such.
///
/// In the first, what is there stays and lists are appended; in the second, what is there is replaced.
fn cloud_configs(mut config: Value, own: Option<&Own>) -> Vec<(&'static str, String)> {
    if own.is_none() {
        return vec![("cloud-config", yaml(&config))];
    }
    let mut ours = json!({ "merge_how": [{ "name": "dict", "settings": ["replace"] }] });
    for key in ALWAYS_OURS {
        if let Some(value) = config.get_mut(key).map(Value::take) {
            ours[key] = value;
        }
    }
    if config["disable_root"] == false {
        // It is root who logs in.
        ours["disable_root"] = Value::from(false);
    }
    if let Some(config) = config.as_object_mut() {
        config.retain(|_, value| !value.is_null());
    }
    config["merge_how"] = json!([
        { "name": "list", "settings": ["append"] },
        { "name": "dict", "settings": ["no_replace", "recurse_list"] },
    ]);
    vec![("cloud-config", yaml(&config)), ("cloud-config", yaml(&ours))]
}

/// Without these the host can't be known or reached as its record says.
const ALWAYS_OURS: [&str; 3] = ["ssh_keys", "ssh_deletekeys", "ssh_genkeytypes"];

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
fn boothook(identity: &Identity<'_>, plan: &Plan) -> String {
    let mark = quote(MARK);
    format!(
        "#!/bin/sh\n# before-init: yes\n\
         read -r dm_mark 2>/dev/null <{mark}\n\
         if [ \"$dm_mark\" = \"${{INSTANCE_ID:-none}}\" ]; then exit 0; fi\n\
         PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export PATH\n\
         umask 022\n\
         (\n{script})\ndm_ended=$?\n[ \"$dm_ended\" -eq 0 ] || exit \"$dm_ended\"\n\
         {login}\
         if [ -z \"$BEFORE_INIT\" ]; then\n  systemctl daemon-reload\n  \
         case $(systemctl is-active docker.service) in active | activating | reloading) ;; *) rm -f {due} ;; esac\n\
         else\n  rm -f {due}\nfi\n\
         mkdir -p {dir} && printf '%s\\n' \"${{INSTANCE_ID:-none}}\" >{mark}\n",
        script = script(plan),
        login = login(identity),
        due = quote(RESTART_DUE),
        dir = quote(MARK_DIR),
    )
}

const MARK_DIR: &str = "/var/lib/docker-machine";
/// Has the instance whose boothook was run.
const MARK: &str = "/var/lib/docker-machine/seeded";
/// See `sh/engine.sh`: the mark of a restart that is due.
const RESTART_DUE: &str = "/run/docker-machine.restart";
/// Users, the host's key, mounts.
const LOGIN: &str = include_str!("sh/login.sh");

/// What [`cloud_config`] says, as commands.
fn login(identity: &Identity<'_>) -> String {
    let mut text = format!(
        "{LOGIN}dm_private() {{ printf %b {private}; }}\n\
         dm_login {user} {key} || exit 1\n\
         dm_host_key dm_private {public} || exit 1\n",
        private = printf_b(identity.host_key.expose().as_bytes()),
        user = quote(identity.user),
        key = quote(identity.authorized_key.trim()),
        public = quote(identity.host_key_public.trim()),
    );
    for mount in identity.mounts {
        let line = mount_line(mount).join(" ");
        let _ = writeln!(text, "dm_mount {} {} || exit 1", quote(&mount.target), quote(&line));
    }
    text
}

/// Keeps cloud-init from doing anything of it again, in another way. Its schema wants at least one user; one that is there
/// already is left as it is.
fn all_is_done_by_the_boothook(identity: &Identity<'_>) -> Value {
    json!({
        "users": [identity.user],
        "preserve_hostname": true,
        "manage_etc_hosts": false,
        "ssh_deletekeys": false,
        "ssh_genkeytypes": ["ed25519"],
    })
}

fn cloud_config(identity: &Identity<'_>) -> Value {
    let root = identity.user == "root";
    let mut user = json!({
        "name": identity.user,
        "lock_passwd": true,
        "shell": "/bin/bash",
        "ssh_authorized_keys": [identity.authorized_key.trim()],
    });
    if !root {
        user["sudo"] = Value::from("ALL=(ALL) NOPASSWD:ALL");
    }
    if identity.user == ENGINE_GROUP {
        // A group of this name comes with the engine, and a user's own group could not be made any more.
        user["primary_group"] = Value::from(ENGINE_GROUP);
    }
    // Where the usual user is the one who logs in, cloud-init makes one of the two.
    let users = if identity.usual_user { json!(["default", user]) } else { json!([user]) };
    let mut config = json!({
        "users": users,
        "disable_root": !root,
        "ssh_pwauth": false,
        "manage_etc_hosts": false,
        "ssh_deletekeys": true,
        "ssh_genkeytypes": ["ed25519"],
        "ssh_keys": {
            "ed25519_private": identity.host_key.expose(),
            "ed25519_public": identity.host_key_public.trim(),
        },
        "package_update": false,
    });
    if identity.hostname.len() <= HOSTNAME_MAX {
        // As a whole, where it has dots: the plan does it so, too.
        config["hostname"] = Value::from(identity.hostname);
        config["fqdn"] = Value::from(identity.hostname);
        config["prefer_fqdn_over_hostname"] = Value::from(true);
    } else {
        config["preserve_hostname"] = Value::from(true);
    }
    if !identity.mounts.is_empty() {
        let lines: Vec<Value> = identity.mounts.iter().map(|mount| json!(mount_line(mount))).collect();
        config["mounts"] = Value::from(lines);
    }
    config
}

/// JSON is YAML: nothing in it needs another way of quoting.
fn yaml(config: &Value) -> String {
    format!("#cloud-config\n{config:#}\n")
}

/// Who uses the engine without being root is in this group.
const ENGINE_GROUP: &str = "docker";

/// The fields of a line of fstab. A folder that is not there any more must not keep the host from booting.
fn mount_line(mount: &Mount) -> [String; 6] {
    let options = if mount.options.is_empty() { String::new() } else { format!("{},", mount.options) };
    [
        fstab_word(&mount.source),
        fstab_word(&mount.target),
        fstab_word(&mount.kind),
        format!("{options}nofail"),
        "0".to_owned(),
        "0".to_owned(),
    ]
}

/// A word of fstab(5): white space and the backslash are octal.
fn fstab_word(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011").replace('\n', "\\012")
}

/// A MIME message, RFC 2046: a part of ours that must come first, the user's, the rest of ours. Its boundary stands in none of
/// the parts.
fn message(first: Option<&(&str, String)>, own: Option<&Own>, ours: &[(&str, String)]) -> String {
    fn of_ours<'a>((kind, content): &'a (&str, String)) -> (Option<&'a str>, &'a str) {
        (Some(kind), content)
    }
    let before = first.into_iter().map(of_ours).chain(own.map(Own::part));
    let parts: Vec<(Option<&str>, &str)> = before.chain(ours.iter().map(of_ours)).collect();
    let mut boundary = "docker-machine".to_owned();
    while parts.iter().any(|(_, content)| content.contains(&boundary_line(&boundary))) {
        boundary.push('=');
    }
    let mut text = format!("Content-Type: multipart/mixed; boundary=\"{boundary}\"\nMIME-Version: 1.0\n\n");
    for (kind, content) in parts {
        let Some(kind) = kind else {
            // It is a message with headers of its own: a part as it is.
            let _ = write!(text, "{}\n{content}\n", boundary_line(&boundary));
            continue;
        };
        // cloud-init takes the message for text before it takes it apart, and then reads what is beyond ASCII in a part of
        // eight bits as something else: with base64 it comes to the bytes that were meant.
        let (charset, encoding, body) = match content.is_ascii() {
            true => ("us-ascii", "7bit", Cow::Borrowed(content)),
            false => ("utf-8", "base64", Cow::Owned(base64_lines(content))),
        };
        let _ = write!(
            text,
            "{}\nContent-Type: text/{kind}; charset=\"{charset}\"\nMIME-Version: 1.0\n\
             Content-Transfer-Encoding: {encoding}\n\n{body}\n",
            boundary_line(&boundary)
        );
    }
    let _ = writeln!(text, "{}--", boundary_line(&boundary));
    text
}

/// In lines of the length that RFC 2045 allows.
fn base64_lines(content: &str) -> String {
    const LINE: usize = 76;
    let mut text = STANDARD.encode(content);
    for at in (1..text.len().div_ceil(LINE)).rev() {
        text.insert(at * LINE, '\n');
    }
    text
}

fn boundary_line(boundary: &str) -> String {
    format!("--{boundary}")
}
