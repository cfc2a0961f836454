//! A virtual machine on this computer: what we add to the time in which it boots, and what a look at fifty that are off costs.
//!
//! *By hand* is the same QEMU with the same arguments, an image and a seed as our program made them, until the engine answers over TLS. Both
//! are done in turn. Of several the quickest counts: what a shared computer does besides only adds.

use std::{
    error::Error,
    fs,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    process::{Command as Process, Stdio},
    thread,
    time::{Duration, Instant},
};

use machine_testkit::{lab::Lab, skip};
use tempfile::TempDir;

use super::{
    Bench, Figures,
    figure::{Figure, Target},
    measure::Invocation,
    store::store_env,
};
use crate::{Outcome, workspace};

const CREATE: &str = "create -d qemu, baked image";
const START: &str = "start of a qemu machine";
const LS: &str = "ls, 50 stopped qemu machines";
/// How often each boot is done.
const TIMES: usize = 3;
/// How many machines are looked at.
const MACHINES: usize = 50;
/// How often `ls` is run.
const RUNS: usize = 21;
/// The longest that a boot is waited for.
const LIMIT: Duration = Duration::from_secs(600);
/// The machine's name.
const NAME: &str = "bench";

pub fn run(bench: &Bench, only: &str) -> Result<Figures, Box<dyn Error>> {
    let wanted = |name: &str| name.contains(only);
    if ![CREATE, START, LS].into_iter().any(wanted) {
        return Ok(Vec::new());
    }
    let machine = Machine::new(&bench.ours)?;
    let done = measure(bench, &machine, wanted);
    let removed = machine.ours(&["rm", "-f", "-y", NAME]);
    let figures = done.map_err(|e| format!("virtual machines: {e}"))?;
    removed?;
    Ok(figures)
}

fn measure(
    bench: &Bench,
    machine: &Machine<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Result<Figures, Box<dyn Error>> {
    let mut figures = Vec::new();
    if wanted(CREATE) {
        figures.extend(bench.show(create(machine)?));
    } else {
        machine.create()?;
    }
    println!("{}", machine.say_boot()?);
    machine.ours(&["stop", NAME])?;
    if wanted(START) {
        figures.extend(bench.show(start(machine)?));
    }
    if wanted(LS) {
        figures.extend(bench.show(ls(machine)?));
    }
    Ok(figures)
}

/// The machine of the last time is left running.
fn create(machine: &Machine<'_>) -> Result<Figures, Box<dyn Error>> {
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for time in 0..TIMES {
        if time > 0 {
            machine.ours(&["rm", "-f", "-y", NAME])?;
        }
        ours.push(machine.create()?);
        let line = machine.emulator()?;
        machine.ours(&["kill", NAME])?;
        machine.new_disk()?;
        by_hand.push(machine.by_hand(&line)?);
    }
    Ok(compared(CREATE, &ours, &by_hand))
}

/// The machine is off before and after.
fn start(machine: &Machine<'_>) -> Result<Figures, Box<dyn Error>> {
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for _ in 0..TIMES {
        let begin = Instant::now();
        machine.ours(&["start", NAME])?;
        machine.docker_version()?;
        ours.push(begin.elapsed());
        let line = machine.emulator()?;
        machine.ours(&["stop", NAME])?;
        by_hand.push(machine.by_hand(&line)?);
        machine.ours(&["stop", NAME])?;
    }
    Ok(compared(START, &ours, &by_hand))
}

fn compared(scenario: &str, ours: &[Duration], by_hand: &[Duration]) -> Figures {
    let quickest = |all: &[Duration]| all.iter().min().map_or(0.0, Duration::as_secs_f64);
    let (ours, by_hand) = (quickest(ours), quickest(by_hand));
    let most = ((by_hand / 10.0 + 2.0) * 10.0).round() / 10.0;
    vec![
        Figure::new(scenario, "s to docker version", ours),
        Figure::new(scenario, "s by hand", by_hand),
        Figure::new(scenario, "s more than by hand", ours - by_hand).target(Target::AtMost(most)),
    ]
}

/// Copies of the machine that is off, against as many of the driver `none`.
fn ls(machine: &Machine<'_>) -> Result<Figures, Box<dyn Error>> {
    let others = tempfile::tempdir()?;
    let words = ["create", "-d", "none", "--url", "tcp://127.0.0.1:1", NAME].map(String::from);
    let env = store_env(others.path());
    Invocation { program: machine.program, words: &words, env: &env, home: others.path(), exits: 0 }
        .once()?;
    let cpu = |store: &Path, state: &str| -> Result<f64, Box<dyn Error>> {
        multiply(store)?;
        let (words, env) = (["ls"].map(String::from), store_env(store));
        let ls = Invocation { program: machine.program, words: &words, env: &env, home: store, exits: 0 };
        let rows = workspace::read(&mut ls.process())?;
        let seen = rows.lines().filter(|row| row.contains(state)).count();
        if seen != MACHINES {
            return Err(format!("`ls` shows {seen} machines as {state}:\n{rows}").into());
        }
        Ok(ls.median(RUNS)?.cpu_ms)
    };
    let (qemu, none) = (cpu(machine.store.path(), "Stopped")?, cpu(others.path(), "Running")?);
    Ok(vec![
        Figure::new(LS, "CPU ms", qemu),
        Figure::new(LS, "CPU ms, none", none),
        Figure::new(LS, "CPU ms more than none", qemu - none).target(Target::AtMost(10.0)),
    ])
}

/// Has so many machines in the store: copies of the one that is there, each with its own name. Their disks are files without
/// anything in them.
fn multiply(store: &Path) -> Outcome {
    let machines = store.join("machines");
    let from = machines.join(NAME);
    for number in 1..MACHINES {
        let name = format!("copy-{number:02}");
        let to = machines.join(&name);
        fs::create_dir(&to)?;
        for entry in fs::read_dir(&from)?.flatten() {
            let file = to.join(entry.file_name());
            match entry.path().extension().and_then(std::ffi::OsStr::to_str) {
                Some("qcow2" | "iso") => drop(fs::File::create(file)?),
                Some("json") => {
                    let text = fs::read_to_string(entry.path())?;
                    fs::write(file, text.replace(NAME, &name))?;
                }
                _ => drop(fs::copy(entry.path(), file)?),
            }
        }
    }
    Ok(())
}

/// A machine in a store of its own.
struct Machine<'a> {
    program: &'a Path,
    store: TempDir,
    docker: PathBuf,
}

impl<'a> Machine<'a> {
    /// Needs an image that was built here; builds it once for a checkout.
    fn new(program: &'a Path) -> Result<Self, Box<dyn Error>> {
        for needed in ["qemu-system-x86_64", "qemu-img", "curl"] {
            if skip::find_program(needed).is_none() {
                return Err(format!("virtual machines need {needed}: `cargo xtask setup` installs it").into());
            }
        }
        let docker = match skip::find_program("docker") {
            Some(own) => own,
            None => Lab::without_base()?.docker_client(),
        };
        let machine = Self { program, store: tempfile::tempdir()?, docker };
        let kept = workspace::target().join("vm");
        let images = kept.join("cache").join("images");
        if !images.exists() {
            let mut build = workspace::command(&program.to_string_lossy());
            workspace::run(build.env("MACHINE_STORAGE_PATH", &kept).args(["image", "build"]))?;
        }
        let to = machine.store.path().join("cache");
        fs::create_dir_all(&to)?;
        // Links, not copies: nothing writes into a cached image.
        workspace::run(workspace::command("cp").arg("-al").args([&images, &to]))?;
        Ok(machine)
    }

    fn ours(&self, words: &[&str]) -> Result<String, Box<dyn Error>> {
        let mut program = workspace::command(&self.program.to_string_lossy());
        workspace::read(program.envs(store_env(self.store.path())).args(words))
    }

    /// The time of a create up to the first `docker version`.
    fn create(&self) -> Result<Duration, Box<dyn Error>> {
        let begin = Instant::now();
        self.ours(&["create", "-d", "qemu", NAME])?;
        self.docker_version()?;
        Ok(begin.elapsed())
    }

    fn dir(&self) -> PathBuf {
        self.store.path().join("machines").join(NAME)
    }

    /// The line with which its QEMU was started.
    fn emulator(&self) -> Result<Vec<String>, Box<dyn Error>> {
        let pid = fs::read_to_string(self.dir().join("qemu.pid"))?;
        let line = fs::read(format!("/proc/{}/cmdline", pid.trim()))?;
        let words = line.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let words = words.map(|word| std::ffi::OsString::from_vec(word.to_vec()).into_string());
        Ok(words.collect::<Result<_, _>>().map_err(|word| format!("{} is no text", word.display()))?)
    }

    /// Has the machine's disk as it was before its first boot.
    fn new_disk(&self) -> Outcome {
        let disk = self.dir().join("disk.qcow2");
        let about =
            workspace::read(workspace::command("qemu-img").args(["info", "--output=json"]).arg(&disk))?;
        let about: serde_json::Value = serde_json::from_str(&about)?;
        let (image, bytes) = (about["full-backing-filename"].as_str(), about["virtual-size"].as_u64());
        let (image, bytes) = (image.ok_or("the disk has no image")?, bytes.ok_or("the disk has no size")?);
        fs::remove_file(&disk)?;
        let mut made = workspace::command("qemu-img");
        made.args(["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", image]).arg(&disk);
        workspace::run(made.arg(bytes.to_string()))
    }

    /// Starts QEMU so, and waits until the engine answers; its time up to the first `docker version`.
    fn by_hand(&self, line: &[String]) -> Result<Duration, Box<dyn Error>> {
        let url = self.ours(&["url", NAME])?.trim().replacen("tcp", "https", 1) + "/_ping";
        let (program, args) = line.split_first().ok_or("QEMU has no command line")?;
        let begin = Instant::now();
        workspace::run(Process::new(program).args(args).current_dir(self.dir()).stdin(Stdio::null()))?;
        loop {
            let mut ping = Process::new("curl");
            ping.current_dir(self.dir()).args(["-sf", "-o", "/dev/null", "-m", "1", "--cacert", "ca.pem"]);
            if ping.args(["--cert", "cert.pem", "--key", "key.pem", &url]).status()?.success() {
                break;
            }
            if begin.elapsed() > LIMIT {
                return Err(format!("{url} did not answer within {} s", LIMIT.as_secs()).into());
            }
            thread::sleep(Duration::from_millis(100));
        }
        self.docker_version()?;
        Ok(begin.elapsed())
    }

    fn docker_version(&self) -> Outcome {
        let mut docker = workspace::command(&self.docker.to_string_lossy());
        docker.env("DOCKER_HOST", self.ours(&["url", NAME])?.trim());
        docker.env("DOCKER_TLS_VERIFY", "1").env("DOCKER_CERT_PATH", self.dir());
        workspace::read(docker.arg("version")).map(drop)
    }

    /// What the guest says of its boot, once that is over.
    fn say_boot(&self) -> Result<String, Box<dyn Error>> {
        let line = "systemctl is-system-running --wait > /dev/null; systemd-analyze; systemd-analyze blame | head -12";
        let said = self.ours(&["ssh", NAME, line])?;
        Ok(said.lines().map(|line| format!("  guest: {line}\n")).collect::<String>().trim_end().to_owned())
    }
}
