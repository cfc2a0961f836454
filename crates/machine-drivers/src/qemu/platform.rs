//! What differs between Linux, macOS and Windows. Only Linux was compiled and tried here; the rest follows QEMU's documentation.

use std::path::{Path, PathBuf};

use machine_image::Arch;
use machine_process::{ProcessError, Program};

/// The display where none is named.
pub(super) const DISPLAY: &str = if cfg!(target_os = "macos") {
    "cocoa"
} else if cfg!(windows) {
    "sdl"
} else {
    "gtk"
};

/// Whether QEMU can go into the background itself.
pub(super) const DAEMONIZES: bool = cfg!(unix);

/// Whether monitors are sockets in the machine's folder; else they are TCP ports of 127.0.0.1.
pub(super) const HAS_SOCKET_FILES: bool = cfg!(unix);

/// Whether QEMU is asked to give up system calls that it doesn't need.
pub(super) const HAS_SANDBOX: bool = cfg!(target_os = "linux");

/// Where programs are besides the PATH.
fn program_folders() -> &'static [&'static str] {
    if cfg!(windows) {
        &[r"C:\Program Files\qemu", r"C:\msys64\ucrt64\bin", r"C:\msys64\mingw64\bin"]
    } else if cfg!(target_os = "macos") {
        &["/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin"]
    } else {
        // Red Hat has the one for its own processor there, as qemu-kvm.
        &["/usr/local/bin", "/usr/bin", "/usr/libexec"]
    }
}

/// Finds QEMU: the program that the user names, or the one for the processor.
///
/// # Errors
/// [`ProcessError::NotFound`].
pub(super) fn qemu(named: &str, arch: Arch) -> Result<Program, ProcessError> {
    let folders: Vec<&Path> = program_folders().iter().map(Path::new).collect();
    let found = if named.is_empty() {
        let usual = format!("qemu-system-{arch}");
        let names: &[&str] =
            if cfg!(target_os = "linux") && arch == Arch::host() { &[&usual, "qemu-kvm"] } else { &[&usual] };
        Program::find(names, &folders)?
    } else if Path::new(named).components().count() > 1 {
        if !Path::new(named).is_file() {
            return Err(ProcessError::NotFound { name: named.to_owned() });
        }
        Program::at(std::path::absolute(named).unwrap_or_else(|_| PathBuf::from(named)))
    } else {
        Program::find(&[named], &folders)?
    };
    // Its messages are read: in English.
    Ok(found.variable("LC_ALL", "C"))
}

/// How QEMU gets onto this computer.
pub(super) fn how_to_install(arch: Arch) -> String {
    if cfg!(target_os = "macos") {
        return "install it: `brew install qemu`".to_owned();
    }
    if cfg!(windows) {
        return "install QEMU for Windows: `winget install SoftwareFreedomConservancy.QEMU`".to_owned();
    }
    let (debian, fedora) = match arch {
        Arch::X86_64 => ("qemu-system-x86", "qemu-system-x86-core"),
        Arch::Aarch64 => ("qemu-system-arm qemu-efi-aarch64", "qemu-system-aarch64-core edk2-aarch64"),
    };
    format!(
        "install it: `apt install {debian} qemu-utils`, `dnf install {fedora} qemu-img`, `zypper install qemu` or \
         `pacman -S qemu-base`"
    )
}

/// Where the UEFI firmware for guests is: one file that QEMU takes by `-bios`. Variables that a guest stores are not kept: machines
/// boot from their disk alone.
fn firmware_names(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::Aarch64 => &[
            "/usr/share/AAVMF/AAVMF_CODE.fd",
            "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
            "/usr/share/edk2/aarch64/QEMU_EFI.fd",
            "/usr/share/edk2/aarch64/QEMU_CODE.fd",
            "/usr/share/edk2-armvirt/aarch64/QEMU_EFI.fd",
            "/usr/share/qemu/aavmf-aarch64-code.bin",
            "/usr/share/qemu/edk2-aarch64-code.fd",
        ],
        Arch::X86_64 => &[
            "/usr/share/ovmf/OVMF.fd",
            "/usr/share/qemu/OVMF.fd",
            "/usr/share/edk2/ovmf/OVMF.stateless.fd",
            "/usr/share/edk2/x64/OVMF.4m.fd",
            "/usr/share/edk2-ovmf/x64/OVMF.fd",
            "/usr/share/qemu/ovmf-x86_64.bin",
        ],
    }
}

/// Finds the UEFI firmware: in the usual places, or where QEMU's own installation keeps it.
pub(super) fn uefi(arch: Arch, program: &Path) -> Option<PathBuf> {
    let own = match arch {
        Arch::Aarch64 => "edk2-aarch64-code.fd",
        Arch::X86_64 => "edk2-x86_64-code.fd",
    };
    let real = program.canonicalize().unwrap_or_else(|_| program.to_owned());
    let beside = [program, &real].into_iter().filter_map(Path::parent).flat_map(|folder| {
        // BIN/../share/qemu as in Homebrew; PROGRAM FILES\qemu\share on Windows.
        [folder.join("../share/qemu").join(own), folder.join("share").join(own)]
    });
    let mut all = firmware_names(arch).iter().map(PathBuf::from).chain(beside);
    all.find(|file| file.is_file())
}

/// How UEFI firmware gets onto this computer.
pub(super) fn how_to_install_uefi(arch: Arch) -> &'static str {
    match arch {
        Arch::Aarch64 => {
            "install it (Debian: `qemu-efi-aarch64`, Fedora: `edk2-aarch64`), or name a file with --qemu-firmware"
        }
        Arch::X86_64 => {
            "install it (Debian: `ovmf`, Fedora: `edk2-ovmf`), or name a file with --qemu-firmware"
        }
    }
}

/// The system's kernel and when it was started: what is known of accelerators holds for no other.
pub(super) fn boot() -> String {
    #[cfg(unix)]
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    let release = String::new();
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    format!("{release} {}", boot.trim()).trim().to_owned()
}

/// How many bytes a user may still write on the file system of a folder; `None` where that can't be found out.
pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let mut existing = folder;
        while !existing.exists() {
            existing = existing.parent()?;
        }
        let stat = rustix::fs::statvfs(existing).ok()?;
        Some(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = folder;
        None
    }
}

/// How much memory this computer has, MiB; `None` where that can't be found out.
pub(super) fn memory_mib() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib / 1024)
}

/// Whether this computer has a bridge of this name; `None` where that can't be found out.
pub(super) fn has_bridge(name: &str) -> Option<bool> {
    cfg!(target_os = "linux").then(|| Path::new("/sys/class/net").join(name).join("bridge").exists())
}

/// What lets users of this computer into bridges; `None` where there is none.
pub(super) fn bridge_helper() -> Option<PathBuf> {
    [
        "/usr/lib/qemu/qemu-bridge-helper",
        "/usr/libexec/qemu-bridge-helper",
        "/usr/local/libexec/qemu-bridge-helper",
    ]
    .iter()
    .map(PathBuf::from)
    .find(|file| file.is_file())
}
