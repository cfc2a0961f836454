//! What the tests of faults share: a store and the binary without a lab, processes that are watched and ended at a
//! chosen moment, and what must hold of a store after any of it.
#![allow(dead_code)] // each test binary uses its part

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use machine_testkit::Ended;
use serde_json::Value;

/// How long anything of these tests may take before it counts as hanging.
const LIMIT: Duration = Duration::from_secs(120);
/// A URL where nobody answers, for machines of the driver `none`.
pub const NOWHERE: &str = "tcp://127.0.0.1:1";

/// A store and a home.
pub struct Place {
    root: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("home")).unwrap();
        Self { root }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn store(&self) -> PathBuf {
        self.root().join("store")
    }

    pub fn machine_dir(&self, name: &str) -> PathBuf {
        self.store().join("machines").join(name)
    }

    /// The program with nothing but this place in its environment.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-machine"));
        command
            .args(args)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root().join("home"))
            .env("USER", "tester")
            .env("SHELL", "/bin/bash")
            .env("MACHINE_STORAGE_PATH", self.store())
            .current_dir(self.root())
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Ended {
        run(self.command(args))
    }

    /// Makes a machine that is only a URL.
    #[track_caller]
    pub fn create_none(&self, name: &str) {
        self.run(&["create", "-d", "none", "--url", NOWHERE, name]).ok();
    }

    /// The machine's row of `ls`: STATE, then ERRORS; `None` where it is not listed.
    #[track_caller]
    pub fn row(&self, name: &str) -> Option<String> {
        let format = ["ls", "-t", "1", "-f", "{{.Name}}\t{{.State}} {{.Error}}"];
        row(self.run(&format).ok(), name)
    }
}

/// The rest of the line of that name in the output of `ls -f '{{.Name}}\t…'`.
pub fn row(listed: &str, name: &str) -> Option<String> {
    listed.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('\t').map(str::to_owned))
}

/// Runs a command to its end.
#[track_caller]
pub fn run(command: Command) -> Ended {
    Watched::spawn(command).finish()
}

/// A process whose stderr is read as it comes.
pub struct Watched {
    child: Child,
    line: String,
    lines: Receiver<String>,
    seen: Vec<String>,
    stdout: Option<JoinHandle<Vec<u8>>>,
}

impl Watched {
    #[track_caller]
    pub fn spawn(mut command: Command) -> Self {
        let words = command.get_args().map(|word| word.to_string_lossy().into_owned());
        let line = words.collect::<Vec<_>>().join(" ");
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
        });
        let mut stdout = child.stdout.take().unwrap();
        let stdout = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            drop(stdout.read_to_end(&mut bytes));
            bytes
        });
        Self { child, line, lines, seen: Vec::new(), stdout: Some(stdout) }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the process says a line with that text on stderr; false where it ended without.
    #[track_caller]
    pub fn until(&mut self, text: &str) -> bool {
        let started = Instant::now();
        loop {
            match self.lines.recv_timeout(LIMIT.saturating_sub(started.elapsed())) {
                Ok(line) => {
                    self.seen.push(line);
                    if self.seen.last().is_some_and(|line| line.contains(text)) {
                        return true;
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return false,
                Err(RecvTimeoutError::Timeout) => panic!("no {text:?} from `{}`: {:?}", self.line, self.seen),
            }
        }
    }

    /// The same; the line must come.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert!(self.until(text), "`{}` ended without saying {text:?}: {:?}", self.line, self.seen);
    }

    /// Sends a signal by its name.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid().to_string()).status();
        assert!(sent.unwrap().success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Ends it as a power cut does.
    #[track_caller]
    pub fn kill(mut self) -> Ended {
        self.child.kill().unwrap();
        self.finish()
    }

    /// Waits for its end.
    #[track_caller]
    pub fn finish(mut self) -> Ended {
        let started = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                let _ = self.child.kill();
                panic!("`{}` did not end; it said {:?}", self.line, self.seen);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let stdout = self.stdout.take().map(|reader| reader.join().unwrap()).unwrap_or_default();
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            self.seen.push(line);
        }
        let stderr = self.seen.join("\n").into_bytes();
        Ended::of(std::mem::take(&mut self.line), &Output { status, stdout, stderr })
    }
}

/// No machine of the store is half made or half removed, and no half-written file is left.
#[track_caller]
pub fn assert_clean(store: &Path) {
    let mut folders = vec![store.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let left = [".tmp-", ".new-", ".removed-"].iter().any(|prefix| name.starts_with(prefix));
            assert!(!left, "left over: {}", entry.path().display());
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}

/// Whether the kernel holds a lock for anybody on one of the store's lock files: taking each at once must work.
#[track_caller]
pub fn assert_unlocked(store: &Path) {
    let Ok(entries) = fs::read_dir(store.join("locks")) else { return };
    for entry in entries.map(Result::unwrap) {
        let file = fs::File::open(entry.path()).unwrap();
        assert!(file.try_lock_shared().is_ok(), "{} is locked", entry.path().display());
    }
}

/// Every file below a folder with its content, folders, and links by where they lead.
#[derive(Debug, PartialEq, Eq)]
pub struct Snapshot(BTreeMap<PathBuf, Vec<u8>>);

impl Snapshot {
    pub fn of(folder: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for entry in entries.map(Result::unwrap) {
                let path = entry.path();
                let kind = entry.file_type().unwrap();
                let content = if kind.is_dir() {
                    folders.push(path.clone());
                    Vec::new()
                } else if kind.is_symlink() {
                    fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes()
                } else {
                    fs::read(&path).unwrap_or_default()
                };
                found.insert(path, content);
            }
        }
        Self(found)
    }

    /// The folder must be as it was; what differs is named.
    #[track_caller]
    pub fn assert_same(&self, folder: &Path) {
        let now = Self::of(folder);
        let paths = self.0.keys().chain(now.0.keys());
        let changed: Vec<_> = paths.filter(|path| self.0.get(*path) != now.0.get(*path)).collect();
        assert!(changed.is_empty(), "made, changed or removed: {changed:?}");
    }
}

/// A file of JSON; `None` where there is no such file.
#[track_caller]
pub fn json(path: &Path) -> Option<Value> {
    let text = fs::read_to_string(path).ok()?;
    Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {text:?}", path.display())))
}
