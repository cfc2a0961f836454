//! A folder that stands in for a host's root, with small programs that stand in for systemctl, apt-get and others: they record
//! how they were called and keep a little state. The shells, file programs, curl and flock are real.
#![allow(dead_code)] // each test program uses a part of it

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use machine_core::{EngineOptions, MachineName, Secret};
use machine_provision::render::{Renderer, Script};
use machine_provision::{
    Certificates, EngineFacts, EngineState, EngineWish, Family, HostFacts, InitSystem, InstallMethod,
    OsRelease, Outcome, PackageManager, Plan, Privilege, Progress, ScriptError, StepEvent,
};

/// A made-up key; it only has to look like one.
pub const KEY: &str = "-----BEGIN PRIVATE KEY-----\nnot'a\\real $key `x`\n-----END PRIVATE KEY-----\n";

/// Whether a program is on this computer. In CI everything has to be.
pub fn has(program: &str) -> bool {
    let there = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .any(|dir| dir.join(program).is_file());
    if !there {
        assert!(std::env::var_os("MACHINE_TEST_REQUIRE_ALL").is_none(), "{program} is not installed");
        eprintln!("left out: {program} is not installed");
    }
    there
}

/// The shells of this computer that can stand for a host's `sh`.
pub fn shells() -> Vec<Vec<&'static str>> {
    let all = [vec!["dash"], vec!["bash", "--posix"], vec!["busybox", "sh"]];
    all.into_iter().filter(|argv| has(argv[0])).collect()
}

pub struct FakeHost {
    dir: tempfile::TempDir,
    /// The shell that runs the scripts.
    pub shell: Vec<&'static str>,
}

impl FakeHost {
    /// A host with systemd, an engine's program, and nothing running.
    pub fn new(shell: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let host = Self { dir, shell: shell.to_vec() };
        for folder in [
            "shims",
            "state",
            "usr/bin",
            "etc",
            "proc/net",
            "proc/sys/kernel",
            "run/systemd/system",
            "var/lib/dpkg",
        ] {
            fs::create_dir_all(host.path(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/proc/locks", host.path("proc/locks")).unwrap();
        host.write("etc/hosts", "127.0.0.1\tlocalhost\n");
        host.write("etc/hostname", "old\n");
        host.write("proc/sys/kernel/hostname", "old\n");
        host.write("proc/net/tcp", "  sl  local_address rem_address   st\n");
        host.write("state/active", "inactive\n");
        host.program("usr/bin/dockerd", "echo 'Docker version 20.10.24, build 1'");
        host.shim("systemctl", SYSTEMCTL);
        host.shim("hostname", "printf '%s\\n' \"$1\" >\"$R/proc/sys/kernel/hostname\"");
        host.shim("journalctl", "echo 'failed to start daemon: something is wrong'");
        for name in [
            "sethostname",
            "hostnamectl",
            "apt-get",
            "dpkg-query",
            "dpkg",
            "firewall-cmd",
            "ufw",
            "restorecon",
            "rc-service",
        ] {
            host.remove_shim(name);
        }
        host
    }

    pub fn root(&self) -> &str {
        self.dir.path().to_str().expect("a plain path")
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    pub fn mode(&self, path: &str) -> u32 {
        fs::metadata(self.path(path)).unwrap().permissions().mode() & 0o7777
    }

    /// A program in the host's own folders.
    pub fn program(&self, path: &str, body: &str) {
        self.write(path, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// A program that stands in for a real one: records its arguments, then does what `body` says. `$R` is the root.
    pub fn shim(&self, name: &str, body: &str) {
        self.program(
            &format!("shims/{name}"),
            &format!("R={}\nprintf '%s\\n' \"{name} $*\" >>\"$R/calls\"\n{body}", self.root()),
        );
    }

    /// A program that must not be found although this computer may have it: it fails as if there were none.
    pub fn remove_shim(&self, name: &str) {
        let body = if name == "sethostname" { "exec hostname \"$@\"" } else { "exit 127" };
        self.shim(name, body);
    }

    /// How the stand-ins were called since the last time that this was asked.
    pub fn calls(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("calls")).unwrap_or_default();
        let _ = fs::remove_file(self.path("calls"));
        text.lines().map(str::to_owned).collect()
    }

    pub fn render(&self, plan: &Plan) -> Script {
        Renderer::default().root(self.root()).script(plan)
    }

    pub fn run(&self, plan: &Plan) -> (Vec<StepEvent>, Result<Outcome, ScriptError>) {
        let script = self.render(plan);
        let (status, output) = self.run_text(script.text());
        let mut progress = Progress::new(&script);
        let events = output.lines().filter_map(|line| progress.line(line)).collect();
        (events, progress.finish(status))
    }

    /// Runs a script as sshd would: on the standard input of a shell.
    pub fn run_text(&self, text: &str) -> (Option<i32>, String) {
        // Without the stand-ins, this would change the computer that the test runs on.
        assert!(text.starts_with(&format!("{{\nLC_ALL=C; export LC_ALL\nPATH={}/shims:", self.root())));
        let mut child = Command::new(self.shell[0])
            .args(&self.shell[1..])
            .arg("-s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the shell starts");
        let mut stdin = child.stdin.take().unwrap();
        let text = text.to_owned();
        let writer = std::thread::spawn(move || {
            let _ = stdin.write_all(text.as_bytes());
        });
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        let mut all = String::from_utf8_lossy(&output.stdout).into_owned();
        all.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.code(), all)
    }
}

/// systemctl, as far as the scripts use it. A started engine listens on port 2376 (0x0948).
const SYSTEMCTL: &str = r#"
case $1 in
is-active) cat "$R/state/active" ;;
is-enabled) [ -e "$R/state/enabled" ] ;;
enable) : >"$R/state/enabled" ;;
restart)
  [ ! -e "$R/state/broken" ] || { echo 'Job for docker.service failed.'; echo failed >"$R/state/active"; exit 1; }
  echo active >"$R/state/active"
  echo '   0: 00000000:0948 00000000:0000 0A 00000000:00000000' >>"$R/proc/net/tcp"
  ;;
show) cat "$R/state/since" 2>/dev/null ;;
esac
"#;

/// Facts of a Debian with systemd and an engine that is stopped, for root.
pub fn facts() -> HostFacts {
    HostFacts {
        os: OsRelease::parse("ID=debian\nVERSION_ID=12\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\""),
        family: Family::Debian,
        arch: "x86_64".to_owned(),
        user: "root".to_owned(),
        privilege: Privilege::Root,
        init: InitSystem::Systemd,
        packages: Some(PackageManager::Apt),
        curl: true,
        engine: EngineFacts {
            state: EngineState::Stopped,
            dockerd_path: Some("/usr/bin/dockerd".to_owned()),
            version: Some("20.10.24".to_owned()),
            package: Some("docker.io".to_owned()),
            ..EngineFacts::default()
        },
        ..HostFacts::default()
    }
}

/// The same without an engine.
pub fn bare() -> HostFacts {
    HostFacts { engine: EngineFacts::default(), ..facts() }
}

pub fn wish() -> EngineWish {
    EngineWish {
        machine: MachineName::new("dev").unwrap(),
        set_hostname: true,
        engine: EngineOptions::default(),
        provider: "generic".to_owned(),
        port: 2376,
        certificates: Certificates {
            ca_pem: "ca\n".to_owned(),
            server_cert_pem: "server\n".to_owned(),
            server_key_pem: Secret::new(KEY),
        },
        install: InstallMethod::default(),
        registry_cas: Vec::new(),
        proxies: Vec::new(),
    }
}

/// Whether a folder has a file whose content has this text, apart from those that are named.
pub fn files_with(dir: &Path, text: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files_with(&path, text, found);
        } else if path.is_file()
            && fs::read(&path).is_ok_and(|data| String::from_utf8_lossy(&data).contains(text))
        {
            found.push(path);
        }
    }
}
