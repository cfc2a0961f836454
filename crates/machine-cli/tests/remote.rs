//! `ssh`, `scp` and `mount` against a real sshd on this computer, which stands in for a machine's host.

mod common;

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Place, text};
use machine_testkit::skip;

/// An sshd of our own user with its own host key, and machines of the driver `generic` that mean it.
struct Server {
    place: Place,
    dir: PathBuf,
    port: u16,
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// `None` where there is no sshd.
    fn start(machines: &[&str]) -> Option<Self> {
        if !skip::require(&["sshd", "ssh", "ssh-keygen"]) {
            return None;
        }
        let place = Place::new();
        let dir = place.root().join("sshd");
        std::fs::create_dir(&dir).unwrap();
        key(&dir.join("host"));
        key(&dir.join("user"));
        std::fs::copy(dir.join("user.pub"), dir.join("authorized_keys")).unwrap();
        // sshd as root wants its folder for unprivileged parts.
        let _ = std::fs::create_dir_all("/run/sshd");
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = sshd(&dir, port);
        let server = Self { place, dir, port, child };
        server.wait();
        for name in machines {
            server.machine(name);
        }
        Some(server)
    }

    fn wait(&self) {
        let started = Instant::now();
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(started.elapsed() < Duration::from_secs(20), "sshd does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The record that a create leaves.
    fn machine(&self, name: &str) {
        let store = self.place.store();
        let dir = store.join("machines").join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let record = serde_json::json!({
            "ConfigVersion": 3,
            "Driver": {
                "IPAddress": "127.0.0.1", "MachineName": name, "SSHUser": whoami(), "SSHPort": self.port,
                "SSHKeyPath": self.dir.join("user"), "StorePath": store, "SwarmMaster": false, "SwarmHost": "",
                "SwarmDiscovery": "", "EnginePort": 2376, "SSHKey": "",
            },
            "DriverName": "generic",
            "HostOptions": { "EngineOptions": {}, "SwarmOptions": {}, "AuthOptions": { "StorePath": dir } },
            "Name": name,
        });
        std::fs::write(dir.join("config.json"), record.to_string()).unwrap();
    }

    /// The host is made anew: another key.
    fn change_host_key(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for file in ["host", "host.pub"] {
            std::fs::remove_file(self.dir.join(file)).unwrap();
        }
        key(&self.dir.join("host"));
        self.child = sshd(&self.dir, self.port);
        self.wait();
    }
}

fn whoami() -> String {
    text(&Command::new("id").arg("-un").output().unwrap().stdout).trim().to_owned()
}

fn key(path: &Path) {
    let run =
        Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(path).status().unwrap();
    assert!(run.success());
}

fn sshd(dir: &Path, port: u16) -> Child {
    let option = |name: &str, file: &str| format!("{name}={}", dir.join(file).display());
    Command::new(skip::find_program("sshd").unwrap())
        .args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string()])
        .args(["-o", "ListenAddress=127.0.0.1", "-o", "StrictModes=no", "-o", "PasswordAuthentication=no"])
        .args(["-o", "PidFile=none", "-o", "Subsystem=sftp internal-sftp", "-o", "UsePAM=no"])
        .args(["-o", &option("HostKey", "host"), "-o", &option("AuthorizedKeysFile", "authorized_keys")])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn commands_run_there_with_their_streams_and_status() {
    let Some(server) = Server::start(&["web1"]) else { return };
    let run = server.place.run(&["ssh", "web1", "echo", "out;", "echo err >&2;", "exit", "7"]);
    assert_eq!(run.status.code(), Some(7), "{}", text(&run.stderr));
    assert_eq!(text(&run.stdout), "out\n");
    let said = text(&run.stderr);
    assert!(
        said.contains("SHA256:") && said.ends_with("err\n"),
        "first contact shows the fingerprint: {said}"
    );
    let run = server.place.run(&["ssh", "web1", "echo", "-q", "--json"]);
    assert_eq!(
        (text(&run.stdout).as_str(), text(&run.stderr).as_str()),
        ("-q --json\n", ""),
        "the key is pinned now"
    );
    let mut child = server
        .place
        .command(&["ssh", "web1", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"through\0stdin\n").unwrap();
    assert_eq!(child.wait_with_output().unwrap().stdout, b"through\0stdin\n");
}

#[test]
fn a_changed_host_key_stops_until_it_is_accepted() {
    let Some(mut server) = Server::start(&["web1"]) else { return };
    assert!(server.place.run(&["ssh", "web1", "true"]).status.success());
    server.change_host_key();
    let run = server.place.run(&["ssh", "web1", "true"]);
    assert_eq!(run.status.code(), Some(1));
    assert!(text(&run.stderr).contains("--accept-new-host-key"), "{}", text(&run.stderr));
    let run = server.place.run(&["ssh", "web1", "-o", "LogLevel=ERROR", "true"]);
    assert_ne!(run.status.code(), Some(0), "the system's ssh checks the same pin");
    assert!(server.place.run(&["ssh", "--accept-new-host-key", "web1", "true"]).status.success());
    assert!(server.place.run(&["ssh", "web1", "true"]).status.success());
}

#[test]
fn options_of_ssh_go_to_the_system_s_ssh() {
    let Some(server) = Server::start(&["web1"]) else { return };
    let run = server.place.run(&["ssh", "web1", "-o", "SendEnv=NOTHING", "-v", "exit 9"]);
    assert_eq!(run.status.code(), Some(9), "{}", text(&run.stderr));
    assert!(text(&run.stderr).contains("OpenSSH"), "-v is ssh's own");
    let run = server.place.run(&["--native-ssh", "ssh", "web1", "-A", "true"]);
    assert_eq!(run.status.code(), Some(1));
}

#[test]
fn a_terminal_there_is_a_terminal() {
    if !skip::require(&["script"]) {
        return;
    }
    let Some(server) = Server::start(&["web1"]) else { return };
    assert!(server.place.run(&["ssh", "web1", "true"]).status.success());
    let program = env!("CARGO_BIN_EXE_docker-machine");
    let mut command = server.place.command(&[]);
    let run = Command::new("script")
        .args(["-qec", &format!("{program} ssh web1 -t 'tty && stty size'"), "/dev/null"])
        .envs(command.env("TERM", "xterm").get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(text(&run.stdout).contains("/dev/pts/"), "{}", text(&run.stdout));
}

#[test]
fn files_and_folders_go_there_back_and_from_host_to_host() {
    let Some(server) = Server::start(&["web1", "web2"]) else { return };
    let root = server.place.root();
    std::fs::create_dir_all(root.join("from/deep er")).unwrap();
    std::fs::write(root.join("from/deep er/file $x"), "content").unwrap();
    let there = |name: &str| format!("{}", root.join(name).display());
    let run = server.place.run(&["scp", "-r", "from", &format!("web1:{}", there("up"))]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(std::fs::read_to_string(root.join("up/deep er/file $x")).unwrap(), "content");
    let back = format!("{}@web1:{}/deep er/file $x", whoami(), there("up"));
    assert!(server.place.run(&["scp", "-q", &back, "down"]).status.success());
    assert_eq!(std::fs::read_to_string(root.join("down")).unwrap(), "content");
    let across = ["scp", "-r", &format!("web1:{}", there("up")), &format!("web2:{}", there("across"))];
    assert!(server.place.run(&across).status.success());
    assert_eq!(std::fs::read_to_string(root.join("across/deep er/file $x")).unwrap(), "content");
    let folder = server.place.run(&["scp", &format!("web1:{}", there("up")), "folder"]);
    assert_eq!(folder.status.code(), Some(1), "a folder needs -r");
    let missing = server.place.run(&["scp", "web1:/nonexistent", "x"]);
    assert!(missing.status.code() == Some(1) && text(&missing.stderr).contains("/nonexistent"));
    let unknown = server.place.run(&["scp", "nosuch:/a", "x"]);
    assert!(
        text(&unknown.stderr).starts_with("Error loading host: Docker machine \"nosuch\" does not exist")
    );
}

#[test]
fn differences_go_by_rsync() {
    if !skip::require(&["rsync"]) {
        return;
    }
    let Some(server) = Server::start(&["web1"]) else { return };
    let root = server.place.root();
    std::fs::write(root.join("a file"), "content").unwrap();
    let run = server.place.run(&[
        "scp",
        "--delta",
        "-q",
        "a file",
        &format!("web1:{}", root.join("copy").display()),
    ]);
    assert!(run.status.success(), "{}", text(&run.stderr));
    assert_eq!(std::fs::read_to_string(root.join("copy")).unwrap(), "content");
}

#[test]
fn folders_are_mounted_and_taken_away() {
    if !skip::require(&["sshfs", "fusermount3"]) {
        return;
    }
    let Some(server) = Server::start(&["web1"]) else { return };
    let root = server.place.root();
    std::fs::create_dir(root.join("there")).unwrap();
    std::fs::write(root.join("there/file"), "content").unwrap();
    std::fs::create_dir(root.join("here")).unwrap();
    let from = format!("web1:{}", root.join("there").display());
    let run = server.place.run(&["mount", &from, "here"]);
    let said = text(&run.stderr);
    if said.contains("fuse: mount failed")
        || said.contains("fuse device")
        || said.contains("Operation not permitted")
    {
        skip::because(&format!("this computer does not let us mount: {said}"));
        return;
    }
    assert!(run.status.success(), "{said}");
    let content = std::fs::read_to_string(root.join("here/file"));
    let away = server.place.run(&["mount", "-u", &from, "here"]);
    assert_eq!(content.unwrap(), "content");
    assert!(away.status.success(), "{}", text(&away.stderr));
    assert!(!root.join("here/file").exists());
}
