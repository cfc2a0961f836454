//! Prism, other people's judge of requests and answers by a provider's description. `xtask setup` installs it.

use std::env;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_testkit::openapi::Description;
use machine_testkit::skip;

/// A Prism that stands before a double. What is not as the description says it answers itself, with an error.
pub struct Prism {
    port: u16,
    child: Child,
}

/// Where `xtask setup` puts it.
fn program() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    let target = target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target"));
    target.join("peers/node/node_modules/.bin/prism")
}

impl Prism {
    /// One before `upstream`, with the description in this file; `None` where either is missing.
    pub fn before(upstream: &str, description: &str) -> Option<Self> {
        let description = Description::path(description)?;
        let program = program();
        if !program.is_file() {
            let _ = skip::because("Prism is not installed; `cargo xtask setup` does it");
            return None;
        }
        // The port is free now; nobody else on this computer is likely to take it within the second.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut child = Command::new(program)
            .args(["proxy", "--errors", "--host", "127.0.0.1", "--port", &port.to_string()])
            .arg(description)
            .arg(upstream)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "Prism ended: {ended:?}");
            assert!(Instant::now() < deadline, "Prism did not listen within 120 s");
            std::thread::sleep(Duration::from_millis(100));
        }
        Some(Self { port, child })
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Prism {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
