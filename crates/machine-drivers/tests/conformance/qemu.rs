//! `qemu` against the real QEMU, with a machine that has an empty disk.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine_core::{FlagValue, FlagValues};
use machine_testkit::conformance::{Fault, Subject};
use machine_testkit::skip;
use tempfile::TempDir;

use super::{conforms, text, with};

/// An image, and all that is made of it.
struct Computer {
    dir: TempDir,
}

impl Computer {
    fn new() -> Option<Self> {
        if !skip::require(&["qemu-system-x86_64", "qemu-img"]) {
            return None;
        }
        let computer = Self { dir: TempDir::new().unwrap() };
        let made = Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2"])
            .arg(computer.image())
            .arg("16M")
            .status()
            .unwrap();
        assert!(made.success(), "qemu-img failed");
        Some(computer)
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image.qcow2")
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("qemu-image", text(self.image().to_str().unwrap())),
            ("qemu-arch", text("x86_64")),
            ("qemu-accel", text("tcg")),
            ("qemu-cpu-count", FlagValue::Int(1)),
            ("qemu-memory", FlagValue::Int(128)),
            // Its firmware does not hear that it should stop.
            ("qemu-stop-timeout", FlagValue::Int(1)),
            (
                "qemu-arg",
                FlagValue::List(vec!["-fw_cfg".into(), format!("name=opt/test,string={}", self.mark())]),
            ),
        ];
        given.extend_from_slice(more);
        with("qemu", &given)
    }

    /// What is in the arguments of all its machines, and of no other's.
    fn mark(&self) -> String {
        self.dir.path().file_name().unwrap().to_string_lossy().into_owned()
    }

    /// The processes of its machines.
    fn processes(&self) -> Vec<i32> {
        let mark = self.mark();
        let numbers =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers
            .filter(|pid: &i32| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                contains(&line, mark.as_bytes()) && contains(&line, b"-daemonize")
            })
            .collect()
    }

    /// The disks of its machines: overlays on its image, in the suite's stores.
    fn disks(&self) -> Vec<PathBuf> {
        let image = self.image();
        let stores = fs::read_dir(std::env::temp_dir()).unwrap().filter_map(|entry| Some(entry.ok()?.path()));
        let disks = stores.map(|store| store.join("machines/conformance/disk.qcow2"));
        disks.filter(|disk| is_overlay_on(disk, &image)).collect()
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|part| part == word)
}

/// Whether a process may still have files open and locked: a killed one loses its memory, and with it its command line,
/// before that. What is left to be waited for is a zombie.
fn holds_files(pid: i32) -> bool {
    // All threads share the files: the last one of them closes them.
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    threads.into_iter().any(|thread| {
        let status = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        let state = status.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        !matches!(state, None | Some('Z' | 'X'))
    })
}

/// The name of the backing file stands in the first cluster.
fn is_overlay_on(disk: &Path, image: &Path) -> bool {
    fs::read(disk)
        .is_ok_and(|bytes| contains(&bytes[..bytes.len().min(65_536)], image.as_os_str().as_bytes()))
}

impl Drop for Computer {
    fn drop(&mut self) {
        for pid in self.processes() {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}

impl Subject for Computer {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        let list = |value: &str| FlagValue::List(vec![value.to_owned()]);
        vec![
            ("no processor", self.flags(&[("qemu-cpu-count", FlagValue::Int(0))])),
            ("hardly any memory", self.flags(&[("qemu-memory", FlagValue::Int(16))])),
            ("a disk of less than nothing", self.flags(&[("qemu-disk-size", FlagValue::Int(-1))])),
            ("a port above 65535", self.flags(&[("qemu-engine-port", FlagValue::Int(70_000))])),
            (
                "one port for two things",
                self.flags(&[
                    ("qemu-engine-port", FlagValue::Int(4242)),
                    ("qemu-ssh-port", FlagValue::Int(4242)),
                ]),
            ),
            ("an unknown accelerator", self.flags(&[("qemu-accel", text("warp"))])),
            ("an unknown processor", self.flags(&[("qemu-arch", text("pdp11"))])),
            ("an option as a user", self.flags(&[("qemu-ssh-user", text("-oProxyCommand=x"))])),
            ("a relative folder", self.flags(&[("qemu-mount", list("src:/src"))])),
            ("no port", self.flags(&[("qemu-publish", list("80:http"))])),
            ("an unknown network", self.flags(&[("qemu-network", text("token-ring"))])),
            ("an unknown mode of the cache", self.flags(&[("qemu-cache-mode", text("fast"))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("QEMU", self.flags(&[("qemu-program", text("no-such-qemu"))])),
            ("the image", self.flags(&[("qemu-image", text("/no/such/image.qcow2"))])),
            ("the firmware", self.flags(&[("qemu-firmware", text("/no/such/firmware"))])),
            ("the folder", self.flags(&[("qemu-mount", FlagValue::List(vec!["/no/such/folder:/x".into()]))])),
            ("the bridge", self.flags(&[("qemu-network", text("bridge=nosuchbridge"))])),
        ]
    }

    fn resources(&self) -> usize {
        self.processes().len() + self.disks().len()
    }

    fn inject(&self, fault: Fault) -> bool {
        if fault != Fault::HostGone {
            return false;
        }
        let processes = self.processes();
        for pid in &processes {
            let killed = Command::new("kill").args(["-9", &pid.to_string()]).status();
            assert!(killed.unwrap().success(), "kill failed");
        }
        for disk in self.disks() {
            fs::remove_file(disk).unwrap();
        }
        while processes.iter().any(|pid| holds_files(*pid)) {
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        true
    }

    fn settle_seconds(&self) -> u64 {
        60
    }
}

#[test]
fn qemu_conforms() {
    if let Some(computer) = Computer::new() {
        conforms("qemu", &computer);
    }
}
