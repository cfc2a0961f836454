//! What the tests against real hosts share: a store and a home of their own, the real binary, lab hosts, and the real
//! docker clients.
#![allow(dead_code)] // each test binary uses its part

pub mod clients;
pub mod relay;
pub mod watch;
pub mod web;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use machine_testkit::Ended;
use machine_testkit::lab::{Host, KeyKind, Lab, Login, Options, Spec, Variant};
use serde_json::Value;

/// The image that [`World::image`] makes on an engine: a static busybox.
pub const IMAGE: &str = "lab-busybox";

/// A store, a home and the lab.
pub struct World {
    pub lab: Lab,
    root: tempfile::TempDir,
    store: PathBuf,
}

impl World {
    /// `None`, with the reason printed, where there can be no lab.
    pub fn new() -> Option<Self> {
        Self::with_store("store")
    }

    /// The same with the store's folder called otherwise.
    pub fn with_store(name: &str) -> Option<Self> {
        let lab = Lab::for_test().unwrap()?;
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("home/.ssh")).unwrap();
        let store = root.path().join(name);
        Some(Self { lab, root, store })
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn store(&self) -> PathBuf {
        self.store.clone()
    }

    pub fn machine_dir(&self, name: &str) -> PathBuf {
        self.store().join("machines").join(name)
    }

    pub fn key(&self) -> String {
        self.lab.key(KeyKind::Rsa).to_str().unwrap().to_owned()
    }

    pub fn host(&self, variant: Variant) -> Host {
        self.host_with(variant, Options::default())
    }

    pub fn host_with(&self, variant: Variant, options: Options) -> Host {
        self.lab.host(Spec::new(variant).with(options)).unwrap()
    }

    /// An environment with nothing of the caller's but `PATH`, and the binary's folder first in that.
    pub fn environment(&self, command: &mut Command) {
        let binary = Path::new(env!("CARGO_BIN_EXE_docker-machine")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        command
            .env_clear()
            .env("PATH", format!("{}:{path}:/usr/sbin:/sbin", binary.display()))
            .env("HOME", self.root().join("home"))
            .env("USER", "tester")
            .env("SHELL", "/bin/bash")
            .env("MACHINE_STORAGE_PATH", self.store())
            .current_dir(self.root())
            .stdin(Stdio::null());
    }

    pub fn command(&self, args: &[&str]) -> Command {
        // By its name, so that it calls itself as it does on a user's PATH.
        let mut command = Command::new("docker-machine");
        self.environment(&mut command);
        command.args(args);
        command
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        Ended::of(format!("docker-machine {}", args.join(" ")), &self.command(args).output().unwrap())
    }

    /// Runs with something more in the environment.
    pub fn run_with(&self, args: &[&str], environment: &[(&str, &str)]) -> Ended {
        Ended::of(
            format!("docker-machine {}", args.join(" ")),
            &self.command(args).envs(environment.iter().copied()).output().unwrap(),
        )
    }

    /// Runs with something on stdin.
    pub fn run_with_input(&self, args: &[&str], input: &[u8]) -> Ended {
        let mut command = self.command(args);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_owned();
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Ended::of(format!("docker-machine {}", args.join(" ")), &output)
    }

    /// A line of a shell with the binary on its `PATH`.
    pub fn shell(&self, shell: &str, line: &str) -> Ended {
        let mut command = Command::new(shell);
        self.environment(&mut command);
        Ended::of(format!("[{shell}] {line}"), &command.arg("-c").arg(line).output().unwrap())
    }

    /// The stdout of a command that must succeed.
    #[track_caller]
    pub fn answer(&self, args: &[&str]) -> String {
        self.run(args).ok().to_owned()
    }

    /// `create -d generic` of a host as that user.
    pub fn create_as(&self, host: &Host, name: &str, login: Login, more: &[&str]) -> Ended {
        let (address, port, key) = (host.address().to_string(), host.ssh_port().to_string(), self.key());
        let mut args = vec!["create", "-d", "generic", "--generic-ip-address", &address];
        args.extend(["--generic-ssh-key", &key, "--generic-ssh-port", &port]);
        args.extend(["--generic-ssh-user", login.name()]);
        args.extend(more);
        args.push(name);
        self.run(&args)
    }

    /// The same as root.
    pub fn create(&self, host: &Host, name: &str, more: &[&str]) -> Ended {
        self.create_as(host, name, Login::Root, more)
    }

    /// The machine's ERRORS column.
    pub fn ls_error(&self, name: &str) -> String {
        self.answer(&["ls", "--filter", &format!("name=^{name}$"), "-f", "{{.Error}}"]).trim_end().to_owned()
    }

    /// The side file with the journal.
    pub fn journal(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.machine_dir(name).join("state.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub fn config(&self, name: &str) -> Value {
        let text = fs::read_to_string(self.machine_dir(name).join("config.json")).unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Makes [`IMAGE`] on the host's engine.
    pub fn image(&self, host: &Host) {
        host.import_image(IMAGE).unwrap();
    }
}

/// Looks until the condition holds.
///
/// # Panics
/// It does not within 30 s.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(30), "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The machine must be complete and answer.
#[track_caller]
pub fn assert_works(world: &World, name: &str) {
    assert_eq!(world.journal(name)["status"]["state"], "done", "journal: {}", world.journal(name));
    assert_eq!(world.ls_error(name), "");
    let mut row =
        world.answer(&["ls", "--filter", &format!("name=^{name}$"), "-f", "{{.State}} {{.DockerVersion}}"]);
    row.truncate(row.trim_end().len());
    assert!(row.starts_with("Running v20.10."), "{row}");
    world.answer(&["env", "--shell", "sh", name]);
}

/// A line of shell on the host as root, past our program; it must succeed.
#[track_caller]
pub fn inside(host: &Host, line: &str) -> String {
    let output = host.shell_inside(line).unwrap();
    assert!(output.status.success(), "{line}: {}{}", output.stdout, output.stderr);
    output.stdout.trim_end().to_owned()
}
