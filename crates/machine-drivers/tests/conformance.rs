//! The conformance suite on every driver, each against the counterpart that it has.

#[path = "conformance/amazonec2/mod.rs"]
mod amazonec2;
#[path = "conformance/azure/mod.rs"]
mod azure;
#[path = "conformance/digitalocean/mod.rs"]
mod digitalocean;
#[path = "conformance/google/mod.rs"]
mod google;
#[path = "conformance/hetzner.rs"]
mod hetzner;
#[path = "conformance/hyperv.rs"]
mod hyperv;
#[path = "conformance/openstack.rs"]
mod openstack;
#[path = "conformance/prism.rs"]
mod prism;
#[path = "conformance/qemu.rs"]
mod qemu;
#[path = "conformance/standin.rs"]
mod standin;
#[path = "conformance/virtualbox.rs"]
mod virtualbox;
#[path = "conformance/vmwarefusion.rs"]
mod vmwarefusion;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use machine_core::{DriverSource, FlagValue, FlagValues};
use machine_drivers::Builtin;
use machine_testkit::conformance::{Fault, Subject, run};
use machine_testkit::skip;
use tempfile::TempDir;

fn conforms(name: &str, subject: &dyn Subject) {
    let driver = Builtin.driver(name).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(run(driver.as_ref(), subject));
}

fn text(value: impl Into<String>) -> FlagValue {
    FlagValue::Str(value.into())
}

fn with(name: &str, given: &[(&str, FlagValue)]) -> FlagValues {
    let mut flags = FlagValues::defaults(&Builtin.driver(name).unwrap().spec().flags);
    for (flag, value) in given {
        flags.set(*flag, value.clone());
    }
    flags
}

/// `none` has no counterpart: it asks nobody.
struct Nothing;

impl Subject for Nothing {
    fn good_flags(&self) -> FlagValues {
        with("none", &[("url", text("tcp://127.0.0.1:2376"))])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![("no URL", with("none", &[])), ("a line break", with("none", &[("url", text("tcp://a\n"))]))]
    }

    fn flag_name_exceptions(&self) -> &[&str] {
        &["url"]
    }

    fn resources(&self) -> usize {
        0
    }
}

#[test]
fn none_conforms() {
    conforms("none", &Nothing);
}

/// A server with a real sshd on a port of this computer, and a real key to it.
struct Server {
    dir: TempDir,
    port: u16,
    sshd: Mutex<Option<Child>>,
}

impl Server {
    /// Starts it; `None` where it can't be had here.
    fn new() -> Option<Self> {
        if !skip::require(&["sshd", "ssh-keygen"]) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        for key in ["host", "id_ed25519"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(dir.path().join(key))
                .status()
                .unwrap();
            assert!(made.success(), "ssh-keygen failed");
        }
        // The port is free now; nobody else on this computer is likely to take it within the second.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = Self { dir, port, sshd: Mutex::new(None) };
        server.up();
        Some(server)
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn up(&self) {
        let mut sshd = self.sshd.lock().unwrap();
        if sshd.is_some() {
            return;
        }
        let program = skip::find_program("sshd").unwrap();
        // Debian's unit makes this folder when it starts; a root's sshd does not go without it.
        let _ = std::fs::create_dir("/run/sshd");
        let child = Command::new(program)
            .args([
                "-D",
                "-e",
                "-f",
                "/dev/null",
                "-o",
                "ListenAddress=127.0.0.1",
                "-o",
                "PidFile=none",
                "-p",
            ])
            .arg(self.port.to_string())
            .arg("-h")
            .arg(self.path("host"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        *sshd = Some(child);
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(address).is_err() {
            let ended = sshd.as_mut().and_then(|child| child.try_wait().unwrap());
            assert!(ended.is_none(), "sshd ended: {ended:?}");
            assert!(Instant::now() < deadline, "sshd did not listen on {address} within 20 s");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn down(&self) {
        if let Some(mut child) = self.sshd.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("generic-ip-address", text("127.0.0.1")),
            ("generic-ssh-port", FlagValue::Int(self.port.into())),
            ("generic-ssh-key", text(self.path("id_ed25519").to_str().unwrap())),
        ];
        given.extend_from_slice(more);
        with("generic", &given)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

impl Subject for Server {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no address", with("generic", &[])),
            ("an address with a port", self.flags(&[("generic-ip-address", text("127.0.0.1:22"))])),
            ("port 0", self.flags(&[("generic-ssh-port", FlagValue::Int(0))])),
            ("a port above 65535", self.flags(&[("generic-engine-port", FlagValue::Int(70_000))])),
            ("an option as user", self.flags(&[("generic-ssh-user", text("-oProxyCommand=x"))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let key = |file: &str| self.flags(&[("generic-ssh-key", text(self.path(file).to_str().unwrap()))]);
        std::fs::write(self.path("garbage"), "hello").unwrap();
        vec![
            ("a key file", key("nosuchfile")),
            ("a private key instead of a public one", key("id_ed25519.pub")),
            ("a key instead of garbage", key("garbage")),
        ]
    }

    /// The server is the user's: the driver makes nothing.
    fn resources(&self) -> usize {
        0
    }

    fn inject(&self, fault: Fault) -> bool {
        if fault == Fault::HostGone {
            self.down();
        }
        fault == Fault::HostGone
    }

    fn heal(&self) {
        self.up();
    }
}

#[test]
fn generic_conforms() {
    if let Some(server) = Server::new() {
        conforms("generic", &server);
    }
}

#[test]
fn every_driver_is_in_this_file() {
    // libvirt's is in lab_libvirt.rs: it needs namespaces.
    assert_eq!(
        Builtin.names(),
        [
            "amazonec2",
            "azure",
            "digitalocean",
            "generic",
            "google",
            "hetzner",
            "hyperv",
            "libvirt",
            "none",
            "openstack",
            "qemu",
            "virtualbox",
            "vmwarefusion"
        ],
        "a new driver needs its conformance test here"
    );
}
