//! `cargo xtask demo`: the whole way from nothing to a container on a machine, with the time of each step.

use std::{
    error::Error,
    path::PathBuf,
    process::Command as Process,
    time::{Duration, Instant},
};

use clap::{Arg, ArgMatches, Command};
use machine_testkit::lab::{Host, Lab, Spec, Variant};

use crate::{Outcome, setup, workspace};

/// The machine's name.
const MACHINE: &str = "demo";
/// The image that is made for it, as no registry may be in reach.
const IMAGE: &str = "demo/busybox";

pub fn cli() -> Command {
    let variant = Arg::new("variant").long("variant").default_value("docker");
    Command::new("demo")
        .about("Make a real host, create a machine on it, run a container there, and say how long each step took")
        .arg(variant.help("What the host's engine is like: docker, socket, stopped"))
}

/// The steps that were taken.
#[derive(Default)]
struct Steps(Vec<(&'static str, Duration)>);

impl Steps {
    fn take<T>(
        &mut self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, Box<dyn Error>>,
    ) -> Result<T, Box<dyn Error>> {
        println!("\n── {what}");
        let start = Instant::now();
        let value = work().map_err(|e| format!("{what}: {e}"))?;
        self.0.push((what, start.elapsed()));
        Ok(value)
    }
}

pub fn run(given: &ArgMatches) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err("the demo makes a host of namespaces and needs root: run it with sudo".into());
    }
    let variant: Variant = given.get_one::<String>("variant").ok_or("no variant")?.parse()?;
    let mut steps = Steps::default();
    println!(
        "This makes a Debian host in namespaces of this computer, a machine \"{MACHINE}\" on it in a store of its own,"
    );
    println!("runs a container there by the docker client, and removes all of it again.");
    steps.take("install what is missing", setup::packages)?;
    let lab = steps.take("make the root file system, unless it is there", || Ok(Lab::open()?))?;
    let program = steps.take("build docker-machine", || workspace::build("dev"))?;
    let host = steps
        .take("bring up a host: systemd, sshd, Debian's engine", || Ok(lab.host(Spec::new(variant))?))?;
    println!("it is at {}", host.address());
    let store = tempfile::tempdir()?;
    use_machine(
        &mut steps,
        &Session { program, store: store.path().to_owned(), client: docker_client(&lab) },
        &lab,
        &host,
    )?;
    steps.take("take the host down", || {
        drop(host);
        Ok(())
    })?;
    println!("\n── how long each step took");
    for (what, time) in steps.0 {
        println!("{:>8.2} s  {what}", time.as_secs_f64());
    }
    Ok(())
}

/// The program with a store, and the docker client that is used with it.
struct Session {
    program: PathBuf,
    store: PathBuf,
    client: PathBuf,
}

impl Session {
    /// Our program, shown as it is called.
    fn machine(&self, words: &[&str]) -> Process {
        show("docker-machine", words);
        let mut program = workspace::command(&self.program.to_string_lossy());
        program.env("MACHINE_STORAGE_PATH", &self.store).args(words);
        program
    }

    /// The docker client as a shell has it after `eval $(docker-machine env demo)`.
    fn docker(&self, words: &[&str]) -> Result<Process, Box<dyn Error>> {
        let exports = workspace::read(&mut self.machine(&["env", "--shell", "bash", MACHINE]))?;
        show("docker", words);
        let mut docker = workspace::command(&self.client.to_string_lossy());
        for line in exports.lines().filter_map(|line| line.strip_prefix("export ")) {
            let (name, value) = line.split_once('=').ok_or_else(|| format!("no assignment: {line}"))?;
            docker.env(name, value.trim_matches('"'));
        }
        docker.args(words);
        Ok(docker)
    }
}

fn use_machine(steps: &mut Steps, session: &Session, lab: &Lab, host: &Host) -> Outcome {
    let (address, key, port) =
        (host.address().to_string(), host.key().to_string_lossy().into_owned(), host.ssh_port().to_string());
    steps.take("docker-machine create", || {
        let mut words = vec!["create", "--driver", "generic", "--generic-ip-address", &address];
        words.extend([
            "--generic-ssh-user",
            "debian",
            "--generic-ssh-key",
            &key,
            "--generic-ssh-port",
            &port,
            MACHINE,
        ]);
        workspace::run(&mut session.machine(&words))
    })?;
    steps.take("docker-machine ls", || workspace::run(&mut session.machine(&["ls"])))?;
    let tar = lab.image_tar().to_string_lossy().into_owned();
    steps.take("an image, made on the spot", || {
        workspace::run(&mut session.docker(&["import", &tar, IMAGE])?)
    })?;
    steps.take("docker run", || {
        let words = ["run", "--rm", IMAGE, "sh", "-c", "echo hello from a container; uname -a"];
        workspace::run(&mut session.docker(&words)?)
    })?;
    steps.take("docker-machine ssh", || workspace::run(&mut session.machine(&["ssh", MACHINE, "uptime"])))?;
    steps.take("docker-machine rm", || workspace::run(&mut session.machine(&["rm", "-y", MACHINE])))
}

/// Prints a command line as one would type it.
fn show(program: &str, words: &[&str]) {
    let typed = words.iter().map(|w| if w.contains([' ', ';']) { format!("'{w}'") } else { (*w).to_owned() });
    println!("$ {program} {}", typed.collect::<Vec<_>>().join(" "));
}

/// This computer's docker client, or else the one of the lab's root file system.
fn docker_client(lab: &Lab) -> PathBuf {
    let own = machine_testkit::skip::find_program("docker");
    own.unwrap_or_else(|| lab.docker_client())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_reaches_the_client() {
        let store = tempfile::tempdir().unwrap();
        let program = store.path().join("docker-machine");
        // Stands in for the program: `env` as the reference prints it.
        let text = "#!/bin/sh\necho 'export DOCKER_HOST=\"tcp://10.0.0.1:2376\"'\necho '# Run this'\n";
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let session = Session { program, store: store.path().to_owned(), client: PathBuf::from("docker") };
        let docker = session.docker(&["ps"]).unwrap();
        let host = docker.get_envs().find(|(name, _)| *name == "DOCKER_HOST").and_then(|(_, value)| value);
        assert_eq!(host, Some("tcp://10.0.0.1:2376".as_ref()));
    }
}
