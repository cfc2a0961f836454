//! What goes into an image, as data.

use std::fs;
use std::path::Path;

use machine_process::Program;

use super::BuildOptions;
use super::host::{Host, KEYRING, Mode};
use crate::ImageError;

/// The release where this computer's own is none of Debian.
const STABLE: &str = "trixie";
/// The engine's package.
pub const ENGINE: &str = "docker.io";
/// For whoever starts the kernel without a boot loader; the same as in `image/grub.cfg`.
pub const CMDLINE: &str = "root=LABEL=root ro console=tty0 console=ttyS0 quiet";
/// Names in the folder where the image is made.
pub const RAW: &str = "disk.raw";
pub const OUT: &str = "out";
pub const LOG: &str = "log";
/// Where the file system begins, bytes: behind the boot loader.
pub const OFFSET: u64 = 1 << 20;
/// Less can't hold the packages, MiB.
const LEAST_MIB: u64 = 1200;

/// A small server that cloud-init sets up, with an engine.
const PACKAGES: [&str; 32] = [
    // The system. A generic kernel, not the one for clouds: that has no 9p, no AHCI and no e1000.
    "linux-image-amd64",
    "initramfs-tools",
    "lz4",
    "systemd",
    "systemd-sysv",
    "systemd-resolved",
    "systemd-timesyncd",
    "libpam-systemd",
    "dbus",
    "udev",
    "kmod",
    "e2fsprogs",
    "fdisk",
    "iproute2",
    "netbase",
    "cloud-init",
    "cloud-guest-utils",
    "openssh-server",
    "sudo",
    // The engine. Without apparmor containers don't start on kernels that have it enabled.
    ENGINE,
    "apparmor",
    "iptables",
    "ca-certificates",
    "xz-utils",
    "pigz",
    // For people, and for what this program does on hosts.
    "curl",
    "rsync",
    "less",
    "nano",
    "procps",
    "iputils-ping",
    "bash-completion",
];

/// Releases whose engine's package has the client in it, too.
const CLIENT_INSIDE: [&str; 2] = ["bullseye", "bookworm"];
/// What a virtual machine has no use for: documentation, and drivers for hardware that it has not.
const LEFT_OUT: [&str; 14] = [
    "/usr/share/man/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/locale/*",
    "*/lib/modules/*/kernel/sound/*",
    "*/lib/modules/*/kernel/drivers/gpu/*",
    "*/lib/modules/*/kernel/drivers/media/*",
    "*/lib/modules/*/kernel/drivers/infiniband/*",
    "*/lib/modules/*/kernel/drivers/iio/*",
    "*/lib/modules/*/kernel/drivers/isdn/*",
    "*/lib/modules/*/kernel/drivers/staging/*",
    "*/lib/modules/*/kernel/drivers/net/wireless/*",
    "*/lib/modules/*/kernel/net/wireless/*",
    "*/lib/modules/*/kernel/net/mac80211/*",
];

/// Programs that mmdebstrap calls while it works.
const HOOKS: [(&str, &str); 2] =
    [("prepare", include_str!("hooks/prepare")), ("finish", include_str!("hooks/finish"))];

/// What these programs put into the image.
const FILES: [(&str, &str); 16] = [
    ("apt.conf", include_str!("image/apt.conf")),
    ("before-init", include_str!("image/before-init")),
    ("cloud.cfg", include_str!("image/cloud.cfg")),
    ("containerd.toml", include_str!("image/containerd.toml")),
    ("dhcp.network", include_str!("image/dhcp.network")),
    ("ds-identify.cfg", include_str!("image/ds-identify.cfg")),
    ("fstab", include_str!("image/fstab")),
    ("grow", include_str!("image/grow")),
    ("grow.service", include_str!("image/grow.service")),
    ("grub.cfg", include_str!("image/grub.cfg")),
    ("initramfs-hook", include_str!("image/initramfs-hook")),
    ("initramfs-seed", include_str!("image/initramfs-seed")),
    ("initramfs.conf", include_str!("image/initramfs.conf")),
    ("modules.conf", include_str!("image/modules.conf")),
    ("sshd.conf", include_str!("image/sshd.conf")),
    ("wait-online.conf", include_str!("image/wait-online.conf")),
];

/// What is made of what.
#[derive(Debug, PartialEq, Eq)]
pub struct Recipe {
    pub suite: String,
    /// Lines of a sources.list.
    sources: Vec<String>,
    packages: Vec<String>,
    proxy: Option<String>,
    pub disk_mib: u64,
}

impl Recipe {
    /// # Errors
    /// [`ImageError::CantBuild`] where no archive is known, or an option makes no sense.
    pub fn new(options: &BuildOptions, host: &Host) -> Result<Self, ImageError> {
        let refuse = |why: String, hint| Err(ImageError::CantBuild { why, hint });
        let suite =
            options.suite.clone().or_else(|| host.release.clone()).unwrap_or_else(|| STABLE.to_owned());
        if !is_word(&suite) {
            return refuse(format!("{suite:?} is not the code name of a release"), "e.g. `--suite bookworm`");
        }
        if let Some(package) = options.packages.iter().find(|package| !is_word(package)) {
            return refuse(format!("{package:?} is not the name of a package"), "");
        }
        if options.disk_mib < LEAST_MIB {
            return refuse(
                format!("a disk of {} MiB is too small; the least is {LEAST_MIB}", options.disk_mib),
                "",
            );
        }
        let Some(main) = options.mirror.clone().or_else(|| host.apt.main.clone()) else {
            return refuse(
                "apt's configuration names no archive of Debian".to_owned(),
                "run `apt-get update` where this computer runs Debian; else name an archive with --mirror",
            );
        };
        let main = main.trim_end_matches('/').to_owned();
        if main.contains(char::is_whitespace) || !main.contains(":/") {
            return refuse(
                format!("{main:?} is not the address of an archive"),
                "e.g. `--mirror https://…/debian`",
            );
        }
        let security = match &options.mirror {
            Some(_) => main.ends_with("/debian").then(|| format!("{main}-security")),
            None => host.apt.security.clone(),
        };
        Ok(Self {
            sources: sources(&suite, &main, security.as_deref()),
            packages: packages(&suite, &options.packages),
            suite,
            proxy: host.apt.proxy.clone(),
            disk_mib: options.disk_mib,
        })
    }

    /// Puts hooks and files where mmdebstrap is to find them.
    pub fn lay_out(&self, bench: &Path) -> Result<(), ImageError> {
        for (folder, files) in [("hooks", &HOOKS[..]), ("image", &FILES[..])] {
            let folder = bench.join(folder);
            fs::create_dir(&folder).map_err(ImageError::io("made", &folder))?;
            for (name, content) in files {
                let file = folder.join(name);
                fs::write(&file, content).map_err(ImageError::io("written", &file))?;
                open(&file, 0o755)?;
            }
        }
        let out = bench.join(OUT);
        fs::create_dir(&out).map_err(ImageError::io("made", &out))?;
        // The hooks may be root of a namespace only.
        open(&out, 0o777)
    }

    /// mmdebstrap, and what it is told.
    ///
    /// As root it runs in process and mount namespaces of its own: when it is killed, everything that it started goes with it, and no mount
    /// is left.
    pub fn mmdebstrap(&self, host: &Host, bench: &Path) -> (Program, Vec<String>) {
        let hook = |name: &str| bench.join("hooks").join(name).display().to_string();
        let mut args: Vec<String> = Vec::new();
        let mode = match host.mode {
            Mode::Root => "root",
            Mode::Unshare => "unshare",
        };
        args.push(format!("--mode={mode}"));
        args.extend(["--variant=apt", "--format=null"].map(str::to_owned));
        args.push(format!("--logfile={}", bench.join(LOG).display()));
        args.push(format!("--include={}", self.packages.join(",")));
        args.push("--aptopt=APT::Install-Recommends \"false\"".to_owned());
        args.extend(self.proxy.iter().map(|proxy| format!("--aptopt=Acquire::http::Proxy \"{proxy}\"")));
        args.extend(["force-unsafe-io", "force-confold"].map(|option| format!("--dpkgopt={option}")));
        args.extend(LEFT_OUT.map(|path| format!("--dpkgopt=path-exclude={path}")));
        args.push(format!("--keyring={KEYRING}"));
        args.push(format!("--essential-hook={}", hook("prepare")));
        args.push(format!("--customize-hook={}", hook("finish")));
        args.extend([self.suite.clone(), "-".to_owned()]);
        args.extend(self.sources.iter().cloned());
        let program = match host.mode {
            Mode::Unshare => host.mmdebstrap.clone(),
            Mode::Root => {
                let ours = ["--fork", "--pid", "--kill-child", "--mount", "--mount-proc", "--"];
                let theirs = host.mmdebstrap.path().display().to_string();
                args.splice(..0, ours.map(str::to_owned).into_iter().chain([theirs]));
                host.unshare.clone()
            }
        };
        (self.variables(program, bench), args)
    }

    /// What the hooks are told.
    fn variables(&self, program: Program, bench: &Path) -> Program {
        program
            .variable("DM_DISK", bench.join(RAW))
            .variable("DM_OUT", bench.join(OUT))
            .variable("DM_OFFSET", OFFSET.to_string())
            .variable("DM_SIZE_K", (self.disk_mib * 1024 - OFFSET / 1024).to_string())
            .variable("TMPDIR", bench)
    }
}

fn sources(suite: &str, main: &str, security: Option<&str>) -> Vec<String> {
    let mut lines = vec![format!("deb {main} {suite} main")];
    // Releases that are not out yet have neither.
    if let Some(security) = security {
        lines.push(format!("deb {main} {suite}-updates main"));
        lines.push(format!("deb {security} {suite}-security main"));
    }
    lines
}

fn packages(suite: &str, further: &[String]) -> Vec<String> {
    let client = if CLIENT_INSIDE.contains(&suite) { None } else { Some("docker-cli") };
    let own = PACKAGES.into_iter().chain(client).map(str::to_owned);
    own.chain(further.iter().cloned()).collect()
}

/// Names of releases and packages: nothing that would mean something else to apt or mmdebstrap.
fn is_word(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-+._".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(plain)
}

/// A folder that the user of a namespace can go into.
pub fn public_folder() -> Result<tempfile::TempDir, ImageError> {
    let folder = std::env::temp_dir();
    let made = tempfile::Builder::new().prefix("docker-machine-").tempdir();
    let made = made.map_err(ImageError::io("made", &folder))?;
    open(made.path(), 0o711)?;
    Ok(made)
}

#[cfg(unix)]
pub fn open(path: &Path, mode: u32) -> Result<(), ImageError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).map_err(ImageError::io("changed", path))
}

#[cfg(not(unix))]
pub fn open(_path: &Path, _mode: u32) -> Result<(), ImageError> {
    Ok(())
}
