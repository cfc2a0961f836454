//! Real OpenSSH servers, agents and keys for the tests, each with its own files and port, apart from the system's.

#![allow(dead_code, reason = "each test program uses its own part of this")]

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_ssh::{AgentUse, Credentials, HostKeyPolicy, Options, PublicKey, Session, Target};
use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";

/// Are these programs there? If not, the test says so and is skipped; where `MACHINE_TEST_REQUIRE_ALL` is set, it
/// fails.
pub fn have(programs: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |program: &str| {
        Path::new(program).is_absolute() && Path::new(program).exists()
            || std::env::split_paths(&path).any(|folder| folder.join(program).exists())
    };
    let missing: Vec<&&str> = programs.iter().filter(|program| !found(program)).collect();
    if missing.is_empty() {
        return true;
    }
    let strict =
        std::env::var("MACHINE_TEST_REQUIRE_ALL").is_ok_and(|value| !value.is_empty() && value != "0");
    assert!(!strict, "missing programs: {missing:?}");
    eprintln!("skipped: missing programs {missing:?}");
    false
}

pub fn have_sshd() -> bool {
    have(&[SSHD, "ssh-keygen", "ssh-agent", "ssh-add"])
}

/// Runs a program to its end and gives its stdout; a failure fails the test.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().expect(program);
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub fn user() -> String {
    run("id", &["-un"]).trim().to_owned()
}

/// A key pair by ssh-keygen: the private file's path; the public one lies beside it.
pub fn keygen(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut all = vec!["-q", "-f", path.to_str().expect("UTF-8 path"), "-C", "test"];
    all.extend(arguments);
    if !arguments.contains(&"-N") {
        all.extend(["-N", ""]);
    }
    run("ssh-keygen", &all);
    path
}

pub fn public_of(private: &Path) -> PublicKey {
    let path = format!("{}.pub", private.display());
    PublicKey::parse(&fs::read_to_string(path).expect("public key file")).expect("public key")
}

/// How a server is to be.
pub struct Settings<'a> {
    pub host_keys: &'a [&'a str],
    pub extra: &'a str,
    pub port: Option<u16>,
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self { host_keys: &["ed25519"], extra: "", port: None }
    }
}

/// A running sshd that lets one key in.
pub struct Sshd {
    pub folder: TempDir,
    pub port: u16,
    /// A key that may log in.
    pub key: PathBuf,
    pub host_keys: Vec<PublicKey>,
    child: Option<Child>,
}

impl Sshd {
    pub fn start() -> Self {
        Self::with(&Settings::default())
    }

    pub fn with(settings: &Settings<'_>) -> Self {
        let mut server = Self::prepare(settings);
        server.launch();
        server
    }

    /// Everything but the process.
    pub fn prepare(settings: &Settings<'_>) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let port = settings.port.unwrap_or_else(free_port);
        let key = keygen(folder.path(), "user_key", &["-t", "ed25519"]);
        let at = folder.path().display();
        let mut config = format!(
            "Port {port}\nListenAddress 127.0.0.1\nPidFile none\nUsePAM no\nStrictModes no\nPermitRootLogin yes\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nAuthorizedKeysFile {at}/authorized_keys\n\
             MaxStartups 200\nLogLevel VERBOSE\n",
        );
        let mut host_keys = Vec::new();
        for kind in settings.host_keys {
            let file = keygen(folder.path(), &format!("host_{kind}"), &["-t", kind]);
            config.push_str(&format!("HostKey {}\n", file.display()));
            host_keys.push(public_of(&file));
        }
        config.push_str(settings.extra);
        if !settings.extra.contains("Subsystem") {
            config.push_str("\nSubsystem sftp internal-sftp\n");
        }
        if !settings.extra.contains("MaxSessions") {
            config.push_str("\nMaxSessions 100\n");
        }
        fs::write(folder.path().join("sshd_config"), config).expect("sshd_config");
        fs::copy(folder.path().join("user_key.pub"), folder.path().join("authorized_keys"))
            .expect("authorized_keys");
        Self { folder, port, key, host_keys, child: None }
    }

    pub fn launch(&mut self) {
        // sshd wants this folder when it is started by root; packages make it when they start the service.
        let _ = fs::create_dir("/run/sshd");
        let log = fs::File::create(self.folder.path().join("log")).expect("log file");
        let mut child = Command::new(SSHD)
            .args(["-D", "-e", "-f"])
            .arg(self.folder.path().join("sshd_config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect(SSHD);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            let ended = child.try_wait().expect("wait");
            assert!(ended.is_none() && Instant::now() < deadline, "sshd did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child = Some(child);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("started").id()
    }

    pub fn target(&self) -> Target {
        Target::new("127.0.0.1", self.port, user())
    }

    /// Lets this key in too.
    pub fn authorize(&self, private: &Path) {
        let file = self.folder.path().join("authorized_keys");
        let mut keys = fs::read_to_string(&file).unwrap_or_default();
        keys.push_str(&fs::read_to_string(format!("{}.pub", private.display())).expect("public key"));
        fs::write(file, keys).expect("authorized_keys");
    }

    pub fn credentials(&self) -> Credentials {
        only(&self.key)
    }

    pub fn policy(&self) -> HostKeyPolicy {
        HostKeyPolicy::Pinned(self.host_keys.clone())
    }

    pub async fn connect(&self) -> Session {
        Session::connect(&self.target(), &self.credentials(), &self.policy(), &Options::default())
            .await
            .unwrap_or_else(|e| panic!("{e}\n{}", self.log()))
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// This key file, without any agent.
pub fn only(key: &Path) -> Credentials {
    Credentials { key_files: vec![key.to_owned()], agent: AgentUse::Off, ..Credentials::default() }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free port").port()
}

/// A running ssh-agent.
pub struct Agent {
    folder: TempDir,
    child: Child,
}

impl Agent {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        let mut child = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(folder.path().join("agent"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ssh-agent");
        let deadline = Instant::now() + Duration::from_secs(20);
        while !folder.path().join("agent").exists() {
            assert!(
                child.try_wait().expect("wait").is_none() && Instant::now() < deadline,
                "ssh-agent did not start"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { folder, child }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("agent")
    }

    pub fn add(&self, key: &Path) {
        let output = Command::new("ssh-add").arg("-q").arg(key).env("SSH_AUTH_SOCK", self.socket()).output();
        let output = output.expect("ssh-add");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
