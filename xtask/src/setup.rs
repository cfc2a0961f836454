//! `cargo xtask setup`: what the tests need and is not there yet.

use std::{path::Path, time::Instant};

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
];

/// Files that are no programs, and the Debian package of each.
const FILES: &[(&str, &str)] = &[
    ("/usr/share/keyrings/debian-archive-keyring.gpg", "debian-archive-keyring"),
    ("/usr/share/bash-completion/bash_completion", "bash-completion"),
    ("/usr/share/doc/python3-venv", "python3-venv"),
];

pub fn cli() -> Command {
    Command::new("setup")
        .about("Install what the tests need (apt) and make the lab's root file system; what is there stays")
}

pub fn run(_: &ArgMatches) -> Outcome {
    packages()?;
    peers()?;
    base()
}

/// Other people's programs that drive ours, from the registries of Python and Node.js, under `target/peers`.
pub fn peers() -> Outcome {
    if skip::find_program("python3").is_none() || skip::find_program("npm").is_none() {
        println!("no python3 or no npm here: tests with other people's programs are skipped");
        return Ok(());
    }
    let mut install = workspace::command("sh");
    install.arg("crates/machine-cli/tests/data/peers/install.sh").arg(workspace::target().join("peers"));
    workspace::run(&mut install)
}

/// Installs missing packages. On a system without apt it only names the programs.
pub fn packages() -> Outcome {
    let programs = PROGRAMS.iter().chain(TEST_PROGRAMS);
    let mut missing: Vec<&str> = programs
        .filter(|(program, _)| skip::find_program(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    missing.extend(FILES.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package));
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() && apt_knows_its_archives() {
        return Ok(());
    }
    if skip::find_program("apt-get").is_none() {
        println!("no apt here; tests that need one of these are skipped: {}", missing.join(" "));
        return Ok(());
    }
    println!("installing {}", missing.join(" "));
    workspace::read(&mut apt_get(&["-qq", "update"])?)?;
    if missing.is_empty() {
        return Ok(());
    }
    let mut install = apt_get(&["-qq", "install", "--yes", "--no-install-recommends"])?;
    workspace::read(install.args(missing)).map(drop)
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
        println!("not root: no lab, its tests are skipped");
        return Ok(());
    }
    let start = Instant::now();
    let lab = Lab::open()?;
    println!(
        "the lab's root file system is in {} ({:.0} s)",
        lab.dir().display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
