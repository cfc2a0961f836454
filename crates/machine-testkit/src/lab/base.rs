//! The root file system below all hosts: made once, never written again.

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Stdio,
};

use super::{
    KeyKind, LabError,
    command::{command, output, run},
    lock,
    mirror::Mirrors,
};

/// Names the folder; count it up whenever what is made below changes.
const RECIPE: &str = "base-1";

/// What a small server has, an engine, and what the hosts of the lab need themselves.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,openssh-server,sudo,iproute2,iptables,kmod,procps,hostname,netbase,\
     ca-certificates,curl,rsync,docker.io,busybox-static";

/// The engine's packages, as a bare host does not have them.
const ENGINE_PACKAGES: [&str; 4] = ["docker.io", "containerd", "runc", "tini"];

/// Units that make no sense without a kernel of one's own; udev and its like would fail or wait.
const MASKED: [&str; 26] = [
    "getty.target",
    "console-getty.service",
    "serial-getty@.service",
    "systemd-udevd.service",
    "systemd-udev-trigger.service",
    "systemd-udev-settle.service",
    "systemd-udevd-kernel.socket",
    "systemd-udevd-control.socket",
    "systemd-modules-load.service",
    "systemd-sysctl.service",
    "systemd-logind.service",
    "systemd-resolved.service",
    "systemd-networkd.service",
    "systemd-timesyncd.service",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "systemd-remount-fs.service",
    "sys-kernel-debug.mount",
    "sys-kernel-tracing.mount",
    "dev-hugepages.mount",
    "dev-mqueue.mount",
    "sys-fs-fuse-connections.mount",
    "systemd-firstboot.service",
];

/// The password that `sudo` asks the user `asks` for.
pub const ASKS_PASSWORD: &str = "asks-first";

/// The folders that a host's overlay is made of.
pub struct Base {
    root: PathBuf,
}

impl Base {
    pub fn of(lab: &Path) -> Self {
        Self { root: lab.join(RECIPE) }
    }

    /// The root file system with an engine installed and stopped.
    pub fn rootfs(&self) -> PathBuf {
        self.root.join("rootfs")
    }

    /// The layer above it in which the engine is purged.
    pub fn bare_layer(&self) -> PathBuf {
        self.root.join("bare")
    }

    fn stamp(&self) -> PathBuf {
        self.root.join("complete")
    }
}

/// Makes the base unless it is there. Of several processes one works and the others wait for it.
pub fn ensure(lab: &Path) -> Result<(), LabError> {
    let base = Base::of(lab);
    if base.stamp().exists() {
        return Ok(());
    }
    let _one_at_a_time = lock::exclusive(&lab.join("base.lock"))?;
    if base.stamp().exists() {
        return Ok(());
    }
    if base.root.exists() {
        fs::remove_dir_all(&base.root).map_err(|e| LabError::file("remove", &base.root, e))?;
    }
    fs::create_dir_all(&base.root).map_err(|e| LabError::file("make", &base.root, e))?;
    make_keys(lab)?;
    bootstrap(&base.rootfs())?;
    configure(lab, &base.rootfs())?;
    make_bare_layer(&base)?;
    make_image(&base, &lab.join("busybox.tar"))?;
    fs::write(base.stamp(), "").map_err(|e| LabError::file("write", base.stamp(), e))
}

fn make_keys(lab: &Path) -> Result<(), LabError> {
    let keys = lab.join("keys");
    fs::create_dir_all(&keys).map_err(|e| LabError::file("make", &keys, e))?;
    for kind in KeyKind::ALL {
        let file = keys.join(kind.file_name());
        if file.exists() {
            continue;
        }
        let options: &[&str] = match kind {
            KeyKind::Rsa => &["-t", "rsa", "-b", "2048", "-m", "PEM"],
            KeyKind::Ecdsa => &["-t", "ecdsa"],
            KeyKind::Ed25519 => &["-t", "ed25519"],
        };
        let mut ssh_keygen = command("ssh-keygen")?;
        ssh_keygen.args(["-q", "-N", "", "-C", "lab"]).args(options).arg("-f").arg(&file);
        output(&mut ssh_keygen)?;
    }
    Ok(())
}

/// Debian from the mirror of apt's own configuration. mmdebstrap took 45 s where debootstrap took 55 s and another
/// 200 MB: it leaves documentation out while unpacking, and takes the security updates at once.
fn bootstrap(rootfs: &Path) -> Result<(), LabError> {
    let mirrors = Mirrors::find()?;
    let mut mmdebstrap = command("mmdebstrap")?;
    mmdebstrap
        .args(["--quiet", "--variant=apt", "--format=directory"])
        .arg(format!("--include={PACKAGES}"))
        .arg("--aptopt=APT::Install-Recommends \"false\"")
        .args(["man", "doc", "locale", "info"].map(|d| format!("--dpkgopt=path-exclude=/usr/share/{d}/*")))
        .arg("--dpkgopt=force-unsafe-io");
    if let Some(proxy) = &mirrors.proxy {
        mmdebstrap.arg(format!("--aptopt=Acquire::http::Proxy \"{proxy}\""));
    }
    let keyring = Path::new("/usr/share/keyrings/debian-archive-keyring.gpg");
    if keyring.exists() {
        mmdebstrap.arg(format!("--keyring={}", keyring.display()));
    }
    mmdebstrap.arg("bookworm").arg(rootfs).args(mirrors.sources());
    output(&mut mmdebstrap)?;
    Ok(())
}

fn configure(lab: &Path, rootfs: &Path) -> Result<(), LabError> {
    let write = |path: &str, content: &str, mode: u32| {
        let file = rootfs.join(path);
        fs::write(&file, content).map_err(|e| LabError::file("write", &file, e))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(mode))
            .map_err(|e| LabError::file("chmod", &file, e))
    };
    // Without sources `apt-get update` is instant, and without name service nothing waits for a resolver.
    write("etc/apt/sources.list", "", 0o644)?;
    write("etc/apt/apt.conf.d/99mmdebstrap", "APT::Install-Recommends \"false\";\n", 0o644)?;
    write("etc/resolv.conf", "", 0o644)?;
    let nsswitch = fs::read_to_string(rootfs.join("etc/nsswitch.conf")).unwrap_or_default();
    let lines = nsswitch.lines().filter(|l| !l.starts_with("hosts:")).chain(["hosts: files"]);
    write("etc/nsswitch.conf", &(lines.collect::<Vec<_>>().join("\n") + "\n"), 0o644)?;
    write("etc/fstab", "", 0o644)?;
    write("etc/machine-id", "", 0o644)?;
    write("etc/ssh/sshd_config.d/lab.conf", "UseDNS no\nMaxStartups 100:30:200\n", 0o644)?;
    write("etc/sudoers.d/lab", "debian ALL=(ALL) NOPASSWD: ALL\nasks ALL=(ALL) ALL\n", 0o440)?;
    for kind in ["rsa", "ecdsa", "ed25519"] {
        for ending in ["", ".pub"] {
            let _ = fs::remove_file(rootfs.join(format!("etc/ssh/ssh_host_{kind}_key{ending}")));
        }
    }
    for unit in MASKED {
        let link = rootfs.join("etc/systemd/system").join(unit);
        let _ = fs::remove_file(&link);
        symlink("/dev/null", &link).map_err(|e| LabError::file("link", &link, e))?;
    }
    make_users(lab, rootfs)
}

/// `debian` may sudo without a password, `asks` with one, `nosudo` not at all; root and they accept the same keys.
fn make_users(lab: &Path, rootfs: &Path) -> Result<(), LabError> {
    let mut keys = String::new();
    for kind in KeyKind::ALL {
        let file = lab.join("keys").join(kind.file_name()).with_extension("pub");
        keys += &fs::read_to_string(&file).map_err(|e| LabError::file("read", &file, e))?;
    }
    for user in ["root", "debian", "asks", "nosudo"] {
        let home = if user == "root" { "root".to_owned() } else { format!("home/{user}") };
        if user != "root" {
            chroot(rootfs, &["useradd", "-m", "-s", "/bin/bash", user])?;
        }
        let folder = rootfs.join(&home).join(".ssh");
        fs::create_dir_all(&folder).map_err(|e| LabError::file("make", &folder, e))?;
        let file = folder.join("authorized_keys");
        fs::write(&file, &keys).map_err(|e| LabError::file("write", &file, e))?;
        chroot(rootfs, &["chown", "-R", &format!("{user}:"), &format!("/{home}/.ssh")])?;
        chroot(rootfs, &["chmod", "-R", "go=", &format!("/{home}/.ssh")])?;
    }
    let mut chpasswd = command("chroot")?;
    chpasswd.arg(rootfs).arg("chpasswd").stdin(Stdio::piped());
    let failed = |e| LabError::file("set a password in", rootfs, e);
    let mut child = chpasswd.spawn().map_err(failed)?;
    let mut input = child.stdin.take().expect("stdin was asked for");
    input.write_all(format!("asks:{ASKS_PASSWORD}\n").as_bytes()).map_err(failed)?;
    drop(input);
    let status = child.wait().map_err(failed)?;
    if status.success() { Ok(()) } else { Err(failed(std::io::Error::other(status.to_string()))) }
}

fn chroot(rootfs: &Path, argv: &[&str]) -> Result<(), LabError> {
    let mut chroot = command("chroot")?;
    output(chroot.arg(rootfs).args(argv).env("DEBIAN_FRONTEND", "noninteractive").env("LC_ALL", "C"))
        .map(drop)
}

/// The engine purged by dpkg in a layer of its own, so that dpkg on a bare host really knows of none. The mount
/// lives in a namespace of its own and ends with it.
fn make_bare_layer(base: &Base) -> Result<(), LabError> {
    let (upper, work, mount) = (base.bare_layer(), base.root.join("bare.work"), base.root.join("bare.mount"));
    for folder in [&upper, &work, &mount] {
        fs::create_dir_all(folder).map_err(|e| LabError::file("make", folder, e))?;
    }
    let script = format!(
        "set -e\nmount -t overlay -o \"lowerdir=$1,upperdir=$2,workdir=$3\" overlay \"$4\"\n\
         chroot \"$4\" dpkg --purge {}\nrm -rf \"$4/var/lib/docker\" \"$4/var/lib/containerd\" \"$4/etc/docker\"\n",
        ENGINE_PACKAGES.join(" ")
    );
    let mut unshare = command("unshare")?;
    unshare.args(["--mount", "--propagation", "private", "bash", "-c", &script, "bash"]);
    output(unshare.arg(base.rootfs()).args([&upper, &work, &mount]))?;
    for folder in [&work, &mount] {
        fs::remove_dir_all(folder).map_err(|e| LabError::file("remove", folder, e))?;
    }
    Ok(())
}

/// A static busybox and a link for each of its applets.
fn make_image(base: &Base, tar: &Path) -> Result<(), LabError> {
    let folder = base.root.join("image");
    let bin = folder.join("bin");
    for made in [&bin, &folder.join("tmp"), &folder.join("etc")] {
        fs::create_dir_all(made).map_err(|e| LabError::file("make", made, e))?;
    }
    let busybox = base.rootfs().join("bin/busybox");
    fs::copy(&busybox, bin.join("busybox")).map_err(|e| LabError::file("copy", &busybox, e))?;
    let applets = run(bin.join("busybox").to_str().unwrap_or_default(), ["--list"])?;
    for applet in applets.lines().filter(|a| *a != "busybox") {
        symlink("busybox", bin.join(applet)).map_err(|e| LabError::file("link", bin.join(applet), e))?;
    }
    let passwd = folder.join("etc/passwd");
    fs::write(&passwd, "root:x:0:0:root:/:/bin/sh\n").map_err(|e| LabError::file("write", &passwd, e))?;
    let mut packer = command("tar")?;
    output(
        packer
            .arg("-C")
            .arg(&folder)
            .args(["--numeric-owner", "--owner=0", "--group=0", "-cf"])
            .arg(tar)
            .arg("."),
    )
    .map(drop)
}
