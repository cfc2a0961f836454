//! `cargo xtask setup`: what the tests need and is not there yet.

use std::{
    error::Error,
    path::{Path, PathBuf},
    time::Instant,
};

use clap::{ArgMatches, Command};
use machine_testkit::{
    lab::{Lab, PROGRAMS},
    skip,
};

use crate::{Outcome, workspace};

/// Programs that tests call besides the lab's own, and the Debian package of each.
const TEST_PROGRAMS: &[(&str, &str)] = &[
    ("dockerd", "docker.io"),
    ("containerd", "containerd"),
    ("docker", "docker.io"),
    ("sshd", "openssh-server"),
    ("sftp", "openssh-client"),
    ("sshfs", "sshfs"),
    ("fusermount3", "fuse3"),
    ("faketime", "faketime"),
    ("busybox", "busybox"),
    ("script", "bsdutils"),
    ("openssl", "openssl"),
    ("rsync", "rsync"),
    ("curl", "curl"),
    ("fish", "fish"),
    ("tcsh", "tcsh"),
    ("zsh", "zsh"),
    ("python3", "python3"),
    ("tmux", "tmux"),
    ("dash", "dash"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("virsh", "libvirt-clients"),
    ("libvirtd", "libvirt-daemon"),
    ("virtlogd", "libvirt-daemon"),
    ("dnsmasq", "dnsmasq-base"),
    ("iptables", "iptables"),
    ("bsdtar", "libarchive-tools"),
    ("isoinfo", "genisoimage"),
    ("blkid", "util-linux"),
    ("losetup", "mount"),
    ("qemu-io", "qemu-utils"),
    ("sfdisk", "fdisk"),
    ("mke2fs", "e2fsprogs"),
    ("grub-mkimage", "grub-common"),
];

/// Files that are no programs, and the Debian package of each.
const FILES: &[(&str, &str)] = &[
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("/usr/share/bash-completion/bash_completion", "bash-completion"),
    ("/usr/share/doc/python3-venv", "python3-venv"),
    ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
];

/// How often it is looked again for what is missing: apt may remove a newer package, e.g. qemu-utils of a distribution's backports, where another
/// one that it installs needs the older.
const ROUNDS: usize = 2;

pub fn cli() -> Command {
    Command::new("setup")
        .about("Install what the tests need (apt) and make the lab's root file system; what is there stays")
}

pub fn run(_: &ArgMatches) -> Outcome {
    packages()?;
    peers()?;
    azure_models()?;
    base()
}

/// The models of Microsoft's SDK, against which requests to Azure are checked, under `target/azure-models`.
pub fn azure_models() -> Outcome {
    if skip::find_program("python3").is_none() {
        say!("no python3 here: requests to Azure are not checked against Microsoft's models");
        return Ok(());
    }
    let mut install = workspace::command("sh");
    install.arg("crates/machine-drivers/tests/data/azure/install.sh");
    workspace::run(install.arg(workspace::target().join("azure-models")))
}

/// Other people's programs that drive ours, from the registries of Python and Node.js, under `target/peers`.
pub fn peers() -> Outcome {
    if skip::find_program("python3").is_none() || skip::find_program("npm").is_none() {
        say!("no python3 or no npm here: tests with other people's programs are skipped");
        return Ok(());
    }
    let mut install = workspace::command("sh");
    install.arg("crates/machine-cli/tests/data/peers/install.sh").arg(workspace::target().join("peers"));
    workspace::run(&mut install)
}

/// What virtual machines of this computer need, and the Debian package of each.
pub fn virtual_machines() -> Vec<(&'static str, &'static str)> {
    let system = match std::env::consts::ARCH {
        "aarch64" => ("qemu-system-aarch64", "qemu-system-arm"),
        _ => ("qemu-system-x86_64", "qemu-system-x86"),
    };
    vec![system, ("qemu-img", "qemu-utils")]
}

/// What `image build` needs, and the Debian package of each.
pub fn image_building() -> Vec<(&'static str, &'static str)> {
    vec![
        ("mmdebstrap", "mmdebstrap"),
        ("qemu-img", "qemu-utils"),
        ("mke2fs", "e2fsprogs"),
        ("sfdisk", "fdisk"),
        // Brings grub-mkimage, and the parts that it needs.
        ("/usr/lib/grub/i386-pc/boot.img", "grub-pc-bin"),
        ("grub-mkimage", "grub-common"),
    ]
}

/// Installs missing packages. On a system without apt it only names the programs.
pub fn packages() -> Outcome {
    for _ in 0..ROUNDS {
        let mut missing = missing(PROGRAMS.iter().chain(TEST_PROGRAMS));
        let files = FILES.iter().filter(|(file, _)| !Path::new(file).exists());
        missing.extend(files.map(|(_, package)| *package));
        if missing.is_empty() && apt_knows_its_archives() {
            return Ok(());
        }
        if skip::find_program("apt-get").is_none() {
            say!("no apt here; tests that need one of these are skipped: {}", missing.join(" "));
            return Ok(());
        }
        install(missing)?;
    }
    Ok(())
}

/// Installs the packages of those programs that are missing.
///
/// # Errors
/// Where that fails, and where there is no apt: the error names the programs.
pub fn programs(needed: &[(&str, &'static str)]) -> Outcome {
    for _ in 0..ROUNDS {
        let packages = missing(needed);
        if packages.is_empty() {
            return Ok(());
        }
        if skip::find_program("apt-get").is_none() {
            let names: Vec<&str> =
                needed.iter().map(|(program, _)| *program).filter(|name| !is_here(name)).collect();
            return Err(format!(
                "these are missing, and there is no apt to install them: {}",
                names.join(", ")
            )
            .into());
        }
        install(packages)?;
    }
    Ok(())
}

/// The packages of those programs that are missing.
fn missing<'a>(programs: impl IntoIterator<Item = &'a (&'a str, &'static str)>) -> Vec<&'static str> {
    let missing = programs.into_iter().filter(|(program, _)| !is_here(program));
    missing.map(|(_, package)| *package).collect()
}

/// A program by its name, or a file by its path.
fn is_here(name: &str) -> bool {
    if name.starts_with('/') { Path::new(name).exists() } else { skip::find_program(name).is_some() }
}

fn install(mut packages: Vec<&'static str>) -> Outcome {
    packages.sort_unstable();
    packages.dedup();
    say!("installing {}", packages.join(" "));
    workspace::read(&mut apt_get(&["-qq", "update"])?)?;
    if packages.is_empty() {
        return Ok(());
    }
    let mut install = apt_get(&["-qq", "install", "--yes", "--no-install-recommends"])?;
    workspace::read(install.args(packages)).map(drop)
}

/// A package of the mirror, unpacked into a folder below this one and not installed: needs no root, changes nothing else.
///
/// # Errors
/// There is no apt, no such package, or no mirror.
pub fn unpacked(package: &str, below: &Path) -> Result<PathBuf, Box<dyn Error>> {
    let folder = below.join(package);
    if folder.exists() {
        return Ok(folder);
    }
    for program in ["apt-get", "dpkg-deb"] {
        if skip::find_program(program).is_none() {
            return Err(format!("the package {package} can't be had: there is no {program}").into());
        }
    }
    std::fs::create_dir_all(below)?;
    let work = tempfile::tempdir_in(below)?;
    let download = || -> Outcome {
        let mut apt = workspace::command("apt-get");
        workspace::read(apt.current_dir(work.path()).args(["-qq", "download", package])).map(drop)
    };
    if download().is_err() {
        // Lists may be missing or old.
        workspace::read(&mut apt_get(&["-qq", "update"])?)?;
        download()?;
    }
    let is_package = |path: &PathBuf| path.extension().is_some_and(|end| end == "deb");
    let file = std::fs::read_dir(work.path())?.flatten().map(|entry| entry.path()).find(is_package);
    let new = work.path().join("content");
    let mut unpack = workspace::command("dpkg-deb");
    workspace::read(unpack.arg("-x").arg(file.ok_or("apt-get said that it loaded the package")?).arg(&new))?;
    std::fs::rename(new, &folder)?;
    Ok(folder)
}

/// The lab finds its mirror by what `apt-get update` has fetched.
fn apt_knows_its_archives() -> bool {
    let asked = ["indextargets", "--format", "$(LABEL)", "Identifier: Packages"];
    let said = workspace::read(workspace::command("apt-get").args(asked));
    said.is_ok_and(|labels| labels.lines().any(|label| label == "Debian"))
}

/// apt-get that asks nothing, as root or by sudo.
fn apt_get(words: &[&str]) -> Result<std::process::Command, &'static str> {
    let root = rustix::process::geteuid().is_root();
    if !root && skip::find_program("sudo").is_none() {
        return Err("installing packages needs root or sudo");
    }
    let mut command = workspace::command(if root { "env" } else { "sudo" });
    command.args(["DEBIAN_FRONTEND=noninteractive", "apt-get"]).args(words);
    Ok(command)
}

/// The lab's root file system, where we may have a lab.
pub fn base() -> Outcome {
    if !rustix::process::geteuid().is_root() {
        say!("not root: no lab, its tests are skipped");
        return Ok(());
    }
    let start = Instant::now();
    let lab = Lab::open()?;
    say!("the lab's root file system is in {} ({:.0} s)", lab.dir().display(), start.elapsed().as_secs_f64());
    Ok(())
}
