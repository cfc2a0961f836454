//! Accelerators: which there are, and what is known of them.
//!
//! That a device opens does not say that a guest boots with it: where virtual machines are nested, `/dev/kvm` may take a guest and let it
//! stand. So the first start with one is watched (see [`super::watch`]), and what came out is remembered until this computer starts anew.

use std::fs;
use std::path::{Path, PathBuf};

use machine_image::Arch;
use serde::{Deserialize, Serialize};

use super::platform;

/// What executes the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accel {
    /// Linux.
    Kvm,
    /// macOS.
    Hvf,
    /// Windows.
    Whpx,
    /// QEMU itself: slow, and there everywhere.
    Tcg,
}

impl Accel {
    const ALL: [Self; 4] = [Self::Kvm, Self::Hvf, Self::Whpx, Self::Tcg];

    /// QEMU's name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Hvf => "hvf",
            Self::Whpx => "whpx",
            Self::Tcg => "tcg",
        }
    }

    /// The one of this name.
    pub(super) fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|accel| accel.name() == name)
    }

    /// What people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Kvm => "KVM",
            Self::Hvf => "HVF",
            Self::Whpx => "WHPX",
            Self::Tcg => "emulation (TCG)",
        }
    }
}

/// Which accelerators may be tried, the best first, and why the system's own is not among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    /// In the order in which they are tried.
    pub(super) candidates: Vec<Accel>,
    /// What the user should know: why it will be slow.
    pub(super) why_slow: Option<String>,
}

/// The accelerators for a guest of this processor on this computer.
pub(super) fn choice(guest: Arch) -> Choice {
    let only_tcg = |why: String| Choice { candidates: vec![Accel::Tcg], why_slow: Some(why) };
    if guest != Arch::host() {
        return only_tcg(format!("this computer's processor is no {guest}"));
    }
    if cfg!(target_os = "macos") {
        return Choice { candidates: vec![Accel::Hvf, Accel::Tcg], why_slow: None };
    }
    if cfg!(windows) {
        return Choice { candidates: vec![Accel::Whpx, Accel::Tcg], why_slow: None };
    }
    match fs::OpenOptions::new().read(true).write(true).open("/dev/kvm") {
        Ok(_) => Choice { candidates: vec![Accel::Kvm, Accel::Tcg], why_slow: None },
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => only_tcg(
            "you may not use /dev/kvm: become a member of the group kvm (`sudo usermod -aG kvm $USER`), and log in again"
                .to_owned(),
        ),
        Err(_) => only_tcg(
            "this computer has no /dev/kvm: hardware virtualisation is off in its firmware, or it is a virtual machine itself"
                .to_owned(),
        ),
    }
}

/// What a watched start taught.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Lesson {
    accel: String,
    program: String,
    /// Whether guests boot with it.
    pub(super) works: bool,
    /// Why not.
    pub(super) why: String,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Lessons {
    /// The kernel and when it was started.
    boot: String,
    lessons: Vec<Lesson>,
}

/// What is remembered of accelerators: `STORE/cache/qemu-accel.json`. It is a help only: what can't be read or written is not there.
pub(super) struct Memory {
    file: PathBuf,
    boot: String,
    program: String,
}

impl Memory {
    /// That of a store, for one program.
    pub(super) fn new(store: &Path, program: &Path) -> Self {
        Self {
            file: store.join("cache").join("qemu-accel.json"),
            boot: platform::boot(),
            program: version_of(program),
        }
    }

    /// What is known of an accelerator, where this computer was not started anew since then, and QEMU is the same.
    pub(super) fn of(&self, accel: Accel) -> Option<Lesson> {
        let lessons = self.read().lessons;
        lessons.into_iter().find(|lesson| lesson.accel == accel.name() && lesson.program == self.program)
    }

    /// Remembers.
    pub(super) fn learn(&self, accel: Accel, works: bool, why: &str) {
        let mut known = self.read();
        known.lessons.retain(|lesson| lesson.accel != accel.name() || lesson.program != self.program);
        known.lessons.push(Lesson {
            accel: accel.name().to_owned(),
            program: self.program.clone(),
            works,
            why: why.to_owned(),
        });
        let text = serde_json::to_vec_pretty(&known).unwrap_or_default();
        let new = self.file.with_extension(format!("json.{}", std::process::id()));
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let written = fs::create_dir_all(folder)
            .and_then(|()| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &self.file));
        if written.is_err() {
            let _ = fs::remove_file(&new);
        }
    }

    fn read(&self) -> Lessons {
        let lessons =
            fs::read(&self.file).ok().and_then(|text| serde_json::from_slice::<Lessons>(&text).ok());
        lessons
            .filter(|lessons| lessons.boot == self.boot)
            .unwrap_or_else(|| Lessons { boot: self.boot.clone(), lessons: Vec::new() })
    }
}

/// What is another one after an upgrade of QEMU; no process is started for it.
fn version_of(program: &Path) -> String {
    let changed = fs::metadata(program).and_then(|meta| Ok((meta.len(), meta.modified()?)));
    let (length, time) = changed.unwrap_or((0, std::time::UNIX_EPOCH));
    let seconds = time.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    format!("{} {length} {seconds}", program.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lessons_hold_for_this_boot_and_this_program() {
        let store = tempfile::tempdir().unwrap();
        let memory = Memory::new(store.path(), Path::new("/bin/sh"));
        assert_eq!(memory.of(Accel::Kvm), None);
        memory.learn(Accel::Kvm, false, "it hung");
        memory.learn(Accel::Tcg, true, "");
        assert_eq!(memory.of(Accel::Kvm).unwrap().why, "it hung");
        memory.learn(Accel::Kvm, true, "");
        assert!(memory.of(Accel::Kvm).unwrap().works);
        assert_eq!(Memory::new(store.path(), Path::new("/bin/ls")).of(Accel::Kvm), None);
        let later = Memory { boot: "another".into(), ..Memory::new(store.path(), Path::new("/bin/sh")) };
        assert_eq!(later.of(Accel::Kvm), None);
        fs::write(&memory.file, "{garbage").unwrap();
        assert_eq!(memory.of(Accel::Kvm), None);
        memory.learn(Accel::Kvm, true, "");
        assert!(memory.of(Accel::Kvm).is_some());
    }

    #[test]
    fn a_foreign_processor_is_emulated() {
        let other = if Arch::host() == Arch::X86_64 { Arch::Aarch64 } else { Arch::X86_64 };
        let choice = choice(other);
        assert_eq!(choice.candidates, [Accel::Tcg]);
        assert!(choice.why_slow.unwrap().contains(other.as_str()));
    }
}
