//! Machines of the real QEMU with an empty disk: its firmware finds nothing to boot and stands there, which is quick and enough for all
//! that happens outside of a guest.

mod changes;
mod faults;
mod life;
mod monitor;

use std::path::{Path, PathBuf};
use std::process::Command;

use machine_core::{
    Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverState, FlagValue, FlagValues, MachineName,
    Power, Secret, Seed, State,
};
use machine_testkit::conformance::{Collected, full_text};
use machine_testkit::skip;
use tempfile::TempDir;

use super::Qemu;
use super::process;
use super::state::{Files, QemuState};

/// A store with an image of an empty disk.
struct Lab {
    store: TempDir,
    driver: Qemu,
}

/// Takes every state; the last is what a crash would leave.
#[derive(Default)]
struct Saved(Vec<DriverState>);

impl Checkpoint for Saved {
    fn save(&mut self, state: &DriverState) -> Result<(), DriverError> {
        self.0.push(state.clone());
        Ok(())
    }
}

impl Lab {
    /// Makes it; `None` where QEMU is not here.
    fn new() -> Option<Self> {
        if !skip::require(&["qemu-system-x86_64", "qemu-img"]) {
            return None;
        }
        let store = TempDir::new().unwrap();
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(store.path().join("empty.qcow2"))
            .arg("16M")
            .status();
        assert!(made.unwrap().success(), "qemu-img failed");
        Some(Self { store, driver: Qemu::new() })
    }

    /// A machine of this name, with more flags; it is not made yet.
    fn machine<'a>(&'a self, name: &str, more: &[(&str, FlagValue)]) -> Machine<'a> {
        let image = self.store.path().join("empty.qcow2");
        let mut flags = FlagValues::defaults(&self.driver.spec().flags);
        for (flag, value) in [
            ("qemu-image", FlagValue::Str(image.to_str().unwrap().to_owned())),
            ("qemu-arch", FlagValue::Str("x86_64".into())),
            ("qemu-accel", FlagValue::Str("tcg".into())),
            ("qemu-cpu-count", FlagValue::Int(1)),
            ("qemu-memory", FlagValue::Int(128)),
            ("qemu-disk-size", FlagValue::Int(32)),
            ("qemu-stop-timeout", FlagValue::Int(1)),
        ] {
            flags.set(flag, value);
        }
        for (flag, value) in more {
            flags.set(*flag, value.clone());
        }
        let name = MachineName::new(name).unwrap();
        let context = ConfigureContext { name: &name, store_path: self.store.path() };
        let state = self.driver.configure(&context, &flags).unwrap();
        Machine::new(self, name, state)
    }
}

/// A machine and its record.
struct Machine<'a> {
    lab: &'a Lab,
    name: MachineName,
    dir: PathBuf,
    state: DriverState,
    heard: Collected,
    seed: Seed,
}

impl<'a> Machine<'a> {
    fn new(lab: &'a Lab, name: MachineName, state: DriverState) -> Self {
        let dir = lab.store.path().join("machines").join(name.as_str());
        std::fs::create_dir_all(&dir).unwrap();
        let seed = Seed {
            authorized_key: "ssh-ed25519 AAAA test".into(),
            user_data: Secret::new("#cloud-config\n# very secret\n"),
        };
        Self { lab, name, dir, state, heard: Collected::default(), seed }
    }

    fn cx(&self) -> Cx<'_> {
        Cx {
            name: &self.name,
            machine_dir: &self.dir,
            store_path: self.lab.store.path(),
            report: &self.heard,
            seed: Some(&self.seed),
            store_id: "",
            allow_from: &[],
            narrowed_later: false,
        }
    }

    fn files(&self) -> Files {
        Files::new(&self.dir)
    }

    fn typed(&self) -> QemuState {
        self.state.typed().unwrap()
    }

    async fn try_create(&mut self) -> Result<(), DriverError> {
        let mut saved = Saved::default();
        let made = self.lab.driver.create(&self.cx(), self.state.clone(), &mut saved).await;
        if let Some(last) = saved.0.pop() {
            self.state = last;
        }
        self.state = made?;
        Ok(())
    }

    async fn create(&mut self) {
        self.try_create().await.unwrap_or_else(|error| panic!("create: {}", full_text(&error)));
    }

    async fn try_power(&mut self, op: Power) -> Result<(), DriverError> {
        self.state = self.lab.driver.power(&self.cx(), &self.state, op).await?;
        Ok(())
    }

    async fn power(&mut self, op: Power) {
        self.try_power(op).await.unwrap_or_else(|error| panic!("{op:?}: {}", full_text(&error)));
    }

    async fn seen(&mut self) -> State {
        let observed = self.lab.driver.observe(&self.cx(), &self.state).await.unwrap();
        if let Some(changed) = observed.changed {
            self.state = changed;
        }
        observed.state
    }

    async fn remove(&self) {
        let removed = self.lab.driver.remove(&self.cx(), &self.state).await;
        removed.unwrap_or_else(|error| panic!("remove: {}", full_text(&error)));
    }

    /// The number of QEMU's process.
    fn pid(&self) -> u32 {
        process::find(&self.files().pid()).unwrap().and_then(|found| found.pid).expect("the machine runs")
    }

    fn runs(&self) -> bool {
        process::find(&self.files().pid()).unwrap().is_some()
    }

    /// Whether something that it said has these words.
    fn said(&self, words: &str) -> bool {
        self.heard.text().contains(words)
    }
}

/// What a test leaves when it fails must not run on.
impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if let Ok(Some(process)) = process::find(&self.files().pid())
            && let Some(pid) = process.pid
        {
            kill_hard(pid);
        }
    }
}

fn kill_hard(pid: u32) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn text(value: &str) -> FlagValue {
    FlagValue::Str(value.to_owned())
}

fn list(values: &[&str]) -> FlagValue {
    FlagValue::List(values.iter().map(ToString::to_string).collect())
}

fn files_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
