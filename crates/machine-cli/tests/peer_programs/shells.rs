//! `eval $(docker-machine env NAME)` in real shells, and Emacs, with a store path of all the characters that shells care
//! about.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_testkit::skip;

use crate::common::{Place, text};
use crate::installed::{ok, program};

/// Nothing of this may be run or expanded by a shell that evaluates our answer.
const STORE: &str = "s  a$(touch ran)'q\"b`touch ran`;touch ran;*?[x]{a,b}~!#%&|<>\\$HOME é";

/// `openssl s_server` with a certificate of the store's CA. It stands in for dockerd, of which `env` wants to know only
/// that it speaks TLS with the right certificates.
struct Engine {
    place: Place,
    store: std::path::PathBuf,
    server: Child,
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Engine {
    /// `None` where there is no openssl.
    fn start() -> Option<Self> {
        if !skip::require(&["openssl"]) {
            return None;
        }
        let place = Place::new();
        let store = place.root().join(STORE);
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let url = format!("tcp://127.0.0.1:{port}");
        let mut create = program(&place, "docker-machine");
        create.args(["create", "-d", "none", "--url", &url, "web1"]).env("MACHINE_STORAGE_PATH", &store);
        ok(&create.output().unwrap());
        certify(&place.root(), &store.join("certs"));
        let mut server = Command::new("openssl");
        server
            .args(["s_server", "-quiet", "-www", "-Verify", "1", "-accept", &format!("127.0.0.1:{port}")])
            .args(["-cert", "server.pem", "-key", "server-key.pem", "-CAfile"])
            .arg(store.join("certs/ca.pem"))
            .current_dir(place.root())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let engine = Self { place, store, server: server.spawn().unwrap() };
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(30), "openssl s_server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(engine)
    }

    /// What a script of that program prints.
    #[track_caller]
    fn run(&self, shell: &str, args: &[&str]) -> String {
        let mut command = program(&self.place, shell);
        let run = command.args(args).env("MACHINE_STORAGE_PATH", &self.store).output().unwrap();
        assert_eq!(text(&run.stderr), "", "{shell} {args:?}");
        assert!(!self.place.root().join("ran").exists(), "{shell} ran a part of the path");
        ok(&run)
    }

    fn certificates(&self) -> String {
        self.store.join("machines/web1").to_str().unwrap().to_owned()
    }
}

/// A server's certificate for 127.0.0.1 by openssl alone.
fn certify(folder: &Path, certs: &Path) {
    std::fs::write(folder.join("ext"), "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n").unwrap();
    let script = "openssl req -newkey rsa:2048 -nodes -keyout server-key.pem -subj /O=server -out server.csr &&\n\
                  openssl x509 -req -in server.csr -CA \"$1/ca.pem\" -CAkey \"$1/ca-key.pem\" -CAcreateserial -days 365 \
                  -extfile ext -out server.pem";
    let mut shell = Command::new("sh");
    ok(&shell.args(["-c", script, "sh"]).arg(certs).current_dir(folder).output().unwrap());
}

#[test]
fn evaluated_and_taken_back() {
    let Some(engine) = Engine::start() else { return };
    let expected = format!("{}|web1|1\n", engine.certificates());
    let posix = "eval $(docker-machine env SHELL web1)\n\
                 printf '%s|%s|%s\\n' \"$DOCKER_CERT_PATH\" \"$DOCKER_MACHINE_NAME\" \"$DOCKER_TLS_VERIFY\"\n\
                 eval $(docker-machine env -u SHELL)\nprintf '%s\\n' \"${DOCKER_CERT_PATH-gone}\"";
    let quoted =
        posix.replace("eval $(docker-machine env SHELL web1)", "eval \"$(docker-machine env SHELL web1)\"");
    for (shell, flag) in [("bash", ""), ("dash", "--shell sh"), ("zsh", "")] {
        if !skip::require(&[shell]) {
            continue;
        }
        for script in [posix, &quoted] {
            let said = engine.run(shell, &["-c", &script.replace("SHELL", flag)]);
            assert_eq!(said, format!("{expected}gone\n"), "{shell}");
        }
    }
}

#[test]
fn evaluated_by_fish() {
    let Some(engine) = Engine::start() else { return };
    if !skip::require(&["fish"]) {
        return;
    }
    let show = "printf '%s|%s|%s\\n' $DOCKER_CERT_PATH $DOCKER_MACHINE_NAME $DOCKER_TLS_VERIFY";
    for line in ["eval (docker-machine env web1)", "docker-machine env web1 | source"] {
        let script =
            format!("{line}; {show}; eval (docker-machine env -u); set -q DOCKER_CERT_PATH; or echo gone");
        let said = engine.run("fish", &["--no-config", "-c", &script]);
        assert_eq!(said, format!("{}|web1|1\ngone\n", engine.certificates()), "{line}");
    }
}

/// csh has no way to keep runs of blanks when the answer's words are put together again, so it is told by `printf`.
#[test]
fn evaluated_by_tcsh() {
    let Some(engine) = Engine::start() else { return };
    if !skip::require(&["tcsh"]) {
        return;
    }
    for line in
        ["eval `docker-machine env --shell tcsh web1`", "eval \"`docker-machine env --shell tcsh web1`\""]
    {
        let script = format!("{line}\nprintenv DOCKER_CERT_PATH\nprintenv DOCKER_MACHINE_NAME");
        let said = engine.run("tcsh", &["-f", "-c", &script]);
        assert_eq!(said, format!("{}\nweb1\n", engine.certificates()), "{line}");
    }
}

/// The line that the answer's comment recommends. Emacs is large, so `cargo xtask setup` does not install it.
#[test]
fn evaluated_by_emacs() {
    if skip::find_program("emacs").is_none() {
        eprintln!("skipped: no emacs here");
        return;
    }
    let Some(engine) = Engine::start() else { return };
    let answer = engine.run("docker-machine", &["env", "--shell", "emacs", "web1"]);
    let recommended =
        answer.lines().next_back().and_then(|line| line.strip_prefix(";; ")).unwrap().to_owned();
    let show = "(princ (format \"%s|%s\" (getenv \"DOCKER_CERT_PATH\") (getenv \"DOCKER_MACHINE_NAME\")))";
    let said = engine.run("emacs", &["--quick", "--batch", "--eval", &recommended, "--eval", show]);
    assert_eq!(said, format!("{}|web1", engine.certificates()));
}
