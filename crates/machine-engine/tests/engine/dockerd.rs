//! A private dockerd: its own folders, sockets and ports, no bridge, no firewall rules.

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_testkit::skip;
use tempfile::TempDir;

use crate::certificates::{Pki, pki};

/// A running engine; it ends with the value.
pub struct Dockerd {
    dir: TempDir,
    port: u16,
    child: Child,
    pub pki: &'static Pki,
}

impl Dockerd {
    /// Starts it with the server certificate of [`Pki`]; `None` where it can't run here.
    pub fn start() -> Option<Self> {
        if !skip::require(&["dockerd", "containerd"]) || !skip::require_root() {
            return None;
        }
        let pki = pki()?;
        let dir = TempDir::new().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = |name: &str| dir.path().join(name);
        let log = File::create(path("log")).unwrap();
        // Not the computer's own.
        fs::write(path("daemon.json"), "{}").unwrap();
        let child = Command::new(skip::find_program("dockerd").unwrap())
            .arg("--data-root")
            .arg(path("data"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--config-file")
            .arg(path("daemon.json"))
            .args(["--host", &format!("tcp://127.0.0.1:{port}")])
            .arg("--host")
            .arg(format!("unix://{}", path("sock").display()))
            .args([
                "--bridge=none",
                "--iptables=false",
                "--ip-forward=false",
                "--ip-masq=false",
                "--tlsverify",
            ])
            .arg("--tlscacert")
            .arg(pki.cert("ca"))
            .arg("--tlscert")
            .arg(pki.cert("server"))
            .arg("--tlskey")
            .arg(pki.key_of("server"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let mut engine = Self { dir, port, child, pki };
        engine.wait().then_some(engine)
    }

    /// Waits until it listens. False where it gave up, e.g. for want of rights in a container.
    fn wait(&mut self) -> bool {
        let deadline = Instant::now() + Duration::from_secs(60);
        while UnixStream::connect(self.socket()).is_err() {
            let log = || fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            if let Some(status) = self.child.try_wait().unwrap() {
                let log = log();
                let last = log.lines().last().unwrap_or_default();
                return skip::because(&format!("dockerd does not start here: {status}: {last}"));
            }
            assert!(Instant::now() < deadline, "dockerd did not listen within 60 s: {}", log());
            std::thread::sleep(Duration::from_millis(50));
        }
        true
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Its address over TCP, with TLS.
    pub fn url(&self) -> String {
        format!("tcp://127.0.0.1:{}", self.port)
    }

    /// Its folder, for files of the test.
    pub fn folder(&self) -> PathBuf {
        self.dir.path().to_path_buf()
    }
}

impl Drop for Dockerd {
    /// Asks it to end, so that its containerd ends too and its mounts are undone.
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let deadline = Instant::now() + Duration::from_secs(30);
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
