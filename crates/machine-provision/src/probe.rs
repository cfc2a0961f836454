//! Finding out what a host is.

use serde_json::Value;

use crate::facts::{FileFacts, LockHolder};
use crate::shell::quote;
use crate::{
    CloudInit, EngineState, Family, HostFacts, InitSystem, OsRelease, PackageManager, Privilege, SeLinux,
};

/// The command that the probe's script is given to, on standard input. It needs nothing of the user's login shell.
pub const COMMAND: &str = "sh -s";

/// Begins each line that is the probe's own, so that nothing which a login shell prints is taken for a fact.
const MARK: &str = "%docker-machine-probe-5f0c9d%";

/// How much of a foreign answer is put into an error, in bytes.
const EXCERPT_LEN: usize = 300;

/// Why nothing is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The answer is not the probe's: no POSIX shell answered.
    #[error("the host did not run a shell script; it answered: {answer:?}")]
    NotAShell {
        /// The beginning of what came instead.
        answer: String,
    },
    /// The answer ends in the middle.
    #[error("the host's answer ends before its end; the last of it is: {last:?}")]
    CutOff {
        /// The last line that came.
        last: String,
    },
    /// Another operating system.
    #[error("the host runs {system}, which can't run a Docker engine; it has to be a Linux")]
    NotLinux {
        /// What `uname` said.
        system: String,
    },
}

/// The script that looks at a host. It changes nothing, uses root's rights where it has them, and takes well under a second.
#[must_use]
pub fn script() -> String {
    script_in("", MARK)
}

fn script_in(root: &str, mark: &str) -> String {
    let inner = format!(
        "LC_ALL=C; export LC_ALL; dm_root={}; dm_mark={}\n{PATH}\n{}\n{}",
        quote(root),
        quote(mark),
        include_str!("sh/host.sh"),
        include_str!("sh/probe.sh")
    );
    // Everything is read before anything runs: a command can't eat the rest of the script, and a script that came only in part
    // is a syntax error.
    format!(
        "{{\nLC_ALL=C; export LC_ALL\n{PATH}\ndm_mark={}\ndm_inner={}\n{}\nexit 0\n}}\n",
        quote(mark),
        quote(&inner),
        include_str!("sh/probe-outer.sh")
    )
}

/// Login shells for commands often lack the folders of system programs.
const PATH: &str =
    "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin; export PATH";

pub(crate) fn parse(output: &str) -> Result<HostFacts, ProbeError> {
    let mut reading = Reading::default();
    for line in output.lines() {
        // A `.bashrc` may leave its last line without an end.
        let Some((_, words)) = line.split_once(MARK) else { continue };
        let words = words.strip_suffix('\r').unwrap_or(words);
        let words = words.strip_prefix(' ').unwrap_or(words);
        let (key, value) = words.split_once(' ').unwrap_or((words, ""));
        reading.fact(key, value);
    }
    reading.facts(output)
}

/// Facts, while their lines come.
#[derive(Default)]
struct Reading {
    facts: HostFacts,
    begun: bool,
    ended: bool,
    system: String,
    os_release: String,
    sudo_said: Option<String>,
    service_active: bool,
    socket_active: bool,
    root_engine_runs: bool,
    daemon_json: Vec<String>,
    daemon_json_exists: bool,
    drop_in: Vec<String>,
    cloud_init_result: String,
    cloud_init_status: String,
}

impl Reading {
    fn fact(&mut self, key: &str, value: &str) {
        let facts = &mut self.facts;
        let text = || value.to_owned();
        match key {
            "begin" => self.begun = true,
            "end" => self.ended = true,
            "user" => facts.user = text(),
            "privilege" => {
                facts.privilege = match value {
                    "root" => Privilege::Root,
                    "sudo" => Privilege::Sudo,
                    "doas" => Privilege::Doas,
                    _ => Privilege::None,
                };
            }
            "sudo-refuses" => self.sudo_said = Some(text()),
            "kernel" => {
                let (system, release) = value.split_once(' ').unwrap_or((value, ""));
                self.system = system.to_owned();
                facts.kernel = release.to_owned();
            }
            "arch" => facts.arch = text(),
            "os-release" => {
                self.os_release.push_str(value);
                self.os_release.push('\n');
            }
            "hostname" => facts.hostname = text(),
            "clock" => facts.clock_s = value.parse().ok(),
            "init" => {
                facts.init = match value {
                    "systemd" => InitSystem::Systemd,
                    "openrc" => InitSystem::OpenRc,
                    _ => InitSystem::None,
                };
            }
            "program" => program(facts, value),
            "free-root" => facts.free_root_kib = value.parse().ok(),
            "free-engine" => facts.free_engine_kib = value.parse().ok(),
            "tmp-noexec" => facts.tmp_noexec = true,
            "apparmor" => facts.apparmor = true,
            "cgroup" => facts.cgroup = value.parse().ok(),
            "selinux" if value == "enforcing" => facts.selinux = SeLinux::Enforcing,
            "selinux" => facts.selinux = SeLinux::Permissive,
            "cloud-init" => {
                facts.cloud_init = match value {
                    "running" => CloudInit::Running,
                    "done" => CloudInit::Done,
                    _ => CloudInit::Absent,
                };
            }
            "cloud-init-result" => self.cloud_init_result.push_str(value),
            "cloud-init-status" => self.cloud_init_status.push_str(value),
            "boot" => value.trim().clone_into(&mut facts.boot),
            "lock" => facts.locks.extend(lock(value)),
            "file" => {
                let mut words = value.splitn(3, ' ');
                if let (Some(sha256), Some(mode), Some(path)) = (words.next(), words.next(), words.next()) {
                    let mode = u32::from_str_radix(mode, 8).ok();
                    facts.files.insert(path.to_owned(), FileFacts { sha256: sha256.to_owned(), mode });
                }
            }
            _ => self.engine_fact(key, value),
        }
    }

    fn engine_fact(&mut self, key: &str, value: &str) {
        let engine = &mut self.facts.engine;
        match key {
            "docker" => engine.docker_path = Some(value.to_owned()),
            "dockerd" => engine.dockerd_path = Some(value.to_owned()),
            "version" => engine.version = version(value),
            "client-version" => engine.podman = value.to_ascii_lowercase().contains("podman"),
            "snap" => engine.snap = true,
            "package" => engine.package = Some(value.to_owned()),
            "running" if value == "root" => self.root_engine_runs = true,
            "running" => engine.rootless = true,
            "service" => self.service_active = matches!(value, "active" | "reloading"),
            "socket" => self.socket_active = value == "active",
            "enabled" => engine.enabled = value.starts_with("enabled"),
            "daemon-json-exists" => self.daemon_json_exists = true,
            "daemon-json" => self.daemon_json.push(value.to_owned()),
            "drop-in" => self.drop_in.push(value.to_owned()),
            // Drop-ins of all folders are read in the order of their file names, systemd.unit(5).
            "exec-start" if value.rsplit('/').next().is_some_and(|name| name > "10-machine.conf") => {
                engine.rival_drop_ins.push(value.to_owned());
            }
            "selinux-enabled" => engine.selinux_by_distribution = true,
            "data-of" => engine.data_of.push(value.to_owned()),
            "engine-filesystem" => engine.filesystem = value.to_owned(),
            _ => {}
        }
    }

    fn facts(self, output: &str) -> Result<HostFacts, ProbeError> {
        if !self.begun {
            return Err(ProbeError::NotAShell { answer: excerpt(output.trim()) });
        }
        if !self.ended {
            return Err(ProbeError::CutOff {
                last: excerpt(output.trim().lines().next_back().unwrap_or_default()),
            });
        }
        if self.system != "Linux" {
            return Err(ProbeError::NotLinux { system: excerpt(&self.system) });
        }
        let mut facts = self.facts;
        facts.os = OsRelease::parse(&self.os_release);
        facts.family = Family::detect(&facts.os);
        facts.cloud_init_errors = cloud_init_errors(&self.cloud_init_result);
        facts.unread_user_data = unread_user_data(&self.cloud_init_status);
        if let (Privilege::None, Some(said)) = (&facts.privilege, self.sudo_said) {
            facts.privilege = Privilege::SudoRefuses(said);
        }
        let engine = &mut facts.engine;
        engine.daemon_json = self.daemon_json_exists.then(|| self.daemon_json.join("\n"));
        if !self.drop_in.is_empty() {
            engine.drop_in = Some(self.drop_in.join("\n"));
        }
        engine.state = if engine.dockerd_path.is_none() {
            EngineState::Absent
        } else if self.service_active || self.root_engine_runs {
            EngineState::Running
        } else if self.socket_active {
            EngineState::SocketActivated
        } else {
            EngineState::Stopped
        };
        Ok(facts)
    }
}

fn program(facts: &mut HostFacts, name: &str) {
    let manager = match name {
        "curl" => {
            facts.curl = true;
            return;
        }
        "wget" => {
            facts.wget = true;
            return;
        }
        "apt-get" => PackageManager::Apt,
        "dnf" => PackageManager::Dnf,
        "yum" => PackageManager::Yum,
        "zypper" => PackageManager::Zypper,
        "apk" => PackageManager::Apk,
        "pacman" => PackageManager::Pacman,
        "tdnf" => PackageManager::Tdnf,
        _ => return,
    };
    // Some hosts have a second one for other purposes, e.g. dnf on a Debian; which is the host's own is seen later, by its family.
    if facts.packages.is_none() {
        facts.packages = Some(manager);
    }
}

/// The errors in cloud-init's `result.json`.
fn cloud_init_errors(result: &str) -> Vec<String> {
    let result: Value = serde_json::from_str(result).unwrap_or_default();
    let errors = result["v1"]["errors"].as_array();
    errors.into_iter().flatten().filter_map(Value::as_str).map(excerpt).collect()
}

/// How cloud-init begins what it says of a document that it passes over (`util.py`, `handlers/__init__.py` and
/// `handlers/cloud_config.py` of its versions 23.4 to 24.4).
const PASSED_OVER: [&str; 5] = [
    "Failed loading yaml",
    "Failed loading of cloud-config",
    "Failed at merging",
    "Failed calling handler",
    "Unhandled",
];

/// What cloud-init's `status.json` says of parts of the user data that could not be read: it is done all the same.
fn unread_user_data(status: &str) -> Vec<String> {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let stages = status["v1"].as_object().into_iter().flat_map(|stages| stages.values());
    let levels = stages.filter_map(|stage| stage["recoverable_errors"].as_object());
    let said = levels.flat_map(|levels| levels.values()).filter_map(Value::as_array).flatten();
    let mut found = Vec::new();
    for text in said.filter_map(Value::as_str) {
        // The lines in question are shown after that, whatever secret is in them.
        let text = text.lines().next().unwrap_or_default();
        let shown = [": \"", " userdata: "].iter().filter_map(|at| text.find(at)).min();
        let text = excerpt(&text[..shown.unwrap_or(text.len())]);
        if PASSED_OVER.iter().any(|begin| text.starts_with(begin)) && !found.contains(&text) {
            found.push(text);
        }
    }
    found
}

fn lock(value: &str) -> Option<LockHolder> {
    let mut words = value.splitn(3, ' ');
    let pid = words.next()?.parse().ok()?;
    let name = words.next()?.to_owned();
    Some(LockHolder { pid, name, file: words.next()?.to_owned() })
}

/// `Docker version 28.2.2, build e6534b4` → `28.2.2`.
fn version(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().skip_while(|word| *word != "version");
    let number = words.nth(1)?.trim_end_matches(',');
    number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.to_owned())
}

fn excerpt(text: &str) -> String {
    let mut end = text.len().min(EXCERPT_LEN);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As cloud-init 24.4 writes it.
    #[test]
    fn what_cloud_init_passed_over_is_told_without_what_stands_there() {
        let status = r#"{"v1": {"datasource": "DataSourceNoCloud", "init": {"errors": [], "finished": 2.1, "recoverable_errors":
            {"WARNING": ["Failed loading yaml blob. Invalid format at line 2 column 1: \"while parsing a block mapping\n    passwd: \"geheim\n",
            "Failed at merging in cloud config part from part-001: empty cloud config",
            "Unhandled unknown content-type (text/x) userdata: 'geheim...'", "Used fallback datasource"]}, "start": 1.0},
            "init-local": {"recoverable_errors": {}}, "modules-final": {"recoverable_errors":
            {"ERROR": ["Failed at merging in cloud config part from part-001: empty cloud config"]}}, "stage": null}}"#;
        assert_eq!(
            unread_user_data(status),
            [
                "Failed loading yaml blob. Invalid format at line 2 column 1",
                "Failed at merging in cloud config part from part-001: empty cloud config",
                "Unhandled unknown content-type (text/x)",
            ]
        );
        for none in
            ["", "[]", "{\"v1\": {\"stage\": 1}}", "{\"v1\": {\"init\": {\"recoverable_errors\": [1]}}}"]
        {
            assert!(unread_user_data(none).is_empty(), "{none}");
        }
    }
}
