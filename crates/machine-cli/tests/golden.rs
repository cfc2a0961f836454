//! Replays the recorded command lines of docker/machine 0.16.2 (`data/golden.jsonl`) in order: later cases live on the
//! store that earlier ones made.
//!
//! How strictly: exit code and stdout are equal; stderr is equal up to the first ": " (the cause behind it is worded by
//! the reference program's own libraries) and empty where it is empty. Cases marked "defect" end within the limit, with
//! no panic, and with 1 where the reference ends with 1. Help texts are compared by being printed at all.

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Deserialize;

/// Cases of drivers that a build may be without; they are replayed where it has them.
const OF_DRIVERS: &[(&str, &str)] = &[
    ("026-create-aws-nocreds", "amazonec2"),
    ("027-create-do-notoken", "digitalocean"),
    ("028-create-os-noauth", "openstack"),
    ("032-create-vsphere", "vmwarevsphere"),
];

/// No case waits for anything; one that does not end is broken.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Deserialize)]
struct Case {
    id: String,
    argv: Vec<String>,
    rc: i32,
    stdout: String,
    stderr: String,
    #[serde(default)]
    env: HashMap<String, String>,
    #[serde(default)]
    before: Vec<Step>,
    #[serde(default)]
    defect: Option<String>,
    #[serde(default)]
    varies: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    mkdir: Option<String>,
    write: Option<String>,
    #[serde(default)]
    text: String,
}

struct Place {
    store: String,
    home: String,
    bin: String,
    root: String,
}

impl Place {
    fn put(&self, text: &str) -> String {
        text.replace("@STORE@", &self.store).replace("@HOME@", &self.home)
    }

    fn cut(&self, bytes: &[u8]) -> String {
        let text = String::from_utf8_lossy(bytes);
        text.replace(&self.store, "@STORE@").replace(&self.home, "@HOME@")
    }

    fn prepare(&self, case: &Case) {
        for step in &case.before {
            if let Some(dir) = &step.mkdir {
                std::fs::create_dir_all(self.put(dir)).unwrap();
            }
            if let Some(file) = &step.write {
                let file = self.put(file);
                std::fs::create_dir_all(Path::new(&file).parent().unwrap()).unwrap();
                std::fs::write(file, self.put(&step.text)).unwrap();
            }
        }
    }

    fn has_driver(&self, name: &str) -> bool {
        let mut help = Command::new(format!("{}/docker-machine", self.bin));
        help.args(["create", "-d", name, "--help"]).stdout(Stdio::null()).stderr(Stdio::null());
        help.status().unwrap().success()
    }

    fn run(&self, case: &Case) -> (i32, String, String) {
        // By its name alone, as users call it: hints repeat argv[0].
        let mut command = Command::new(format!("{}/docker-machine", self.bin));
        command
            .arg0("docker-machine")
            .args(case.argv.iter().map(|word| self.put(word)))
            .env_clear()
            .env("PATH", format!("{}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", self.bin))
            .env("HOME", &self.home)
            .env("SHELL", "/bin/bash")
            .env("MACHINE_STORAGE_PATH", &self.store)
            .env("MACHINE_BUGSNAG_API_TOKEN", "no-report")
            .envs(&case.env)
            .current_dir(&self.root)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let out = read(child.stdout.take().unwrap());
        let err = read(child.stderr.take().unwrap());
        let started = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if started.elapsed() > LIMIT {
                child.kill().unwrap();
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        (status.code().unwrap_or(-1), self.cut(&out.join().unwrap()), self.cut(&err.join().unwrap()))
    }
}

fn read(mut from: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// What a library says of a URL or a connection is its own wording.
fn without_causes(text: &str) -> String {
    let cut = |line: &str| match line.split_once("Unable to query docker version: ") {
        Some((before, _)) => format!("{before}Unable to query docker version: …"),
        None => line.to_owned(),
    };
    text.split('\n').map(cut).collect::<Vec<_>>().join("\n")
}

fn head(text: &str) -> &str {
    text.split('\n').next().and_then(|line| line.split(": ").next()).unwrap_or_default()
}

fn differences(case: &Case, (code, out, err): &(i32, String, String)) -> Vec<String> {
    let mut found = Vec::new();
    if case.defect.is_some() {
        if *code < 0 || *code > 100 || err.contains("panic") || err.contains("has a bug") {
            found.push(format!("exit code {code}"));
        } else if case.rc == 1 && *code != 1 {
            found.push(format!("exit code {code}, not 1"));
        }
        return found;
    }
    if *code != case.rc {
        found.push(format!("exit code {code}, not {}", case.rc));
    }
    if case.stdout.contains("Usage: ") {
        if !out.contains("Usage: ") {
            found.push("no usage".to_owned());
        }
    } else if case.varies.is_none() && without_causes(out) != without_causes(&case.stdout) {
        found.push(format!("stdout {out:?}, not {:?}", case.stdout));
    }
    if err.is_empty() != case.stderr.is_empty() || head(err) != head(&case.stderr) {
        found.push(format!("stderr {err:?}, not {:?}", case.stderr));
    }
    found
}

#[test]
fn the_recorded_command_lines_of_the_reference() {
    let root = tempfile::tempdir().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    let place = Place { store: path("store"), home: path("home"), bin: path("bin"), root: path("") };
    std::fs::create_dir_all(&place.home).unwrap();
    std::fs::create_dir_all(&place.bin).unwrap();
    let binary = format!("{}/docker-machine", place.bin);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_docker-machine"), binary).unwrap();
    let (mut wrong, mut replayed) = (Vec::new(), 0);
    for line in include_str!("data/golden.jsonl").lines() {
        let case: Case = serde_json::from_str(line).unwrap();
        place.prepare(&case);
        if let Some((_, driver)) = OF_DRIVERS.iter().find(|(id, _)| *id == case.id)
            && !place.has_driver(driver)
        {
            eprintln!("skipped {}: there is no driver {driver} here", case.id);
            continue;
        }
        let differences = differences(&case, &place.run(&case));
        if !differences.is_empty() {
            wrong.push(format!("{}: {}", case.id, differences.join("; ")));
        }
        replayed += 1;
    }
    assert!(wrong.is_empty(), "{} of {replayed} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert!(replayed > 100, "only {replayed} cases were replayed");
}
