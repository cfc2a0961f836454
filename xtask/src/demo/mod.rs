//! `cargo xtask demo`: the whole way from nothing to a container on a machine, with the time of each step.

mod container;
mod lab;
mod local;

use std::{
    error::Error,
    path::PathBuf,
    process::Command as Process,
    time::{Duration, Instant},
};

use clap::{Arg, ArgAction, ArgMatches, Command};

use crate::{Outcome, workspace};

/// The machine's name.
const MACHINE: &str = "demo";
/// The image of the container that is made for it, as no registry may be in reach.
const IMAGE: &str = "demo/busybox";

pub fn cli() -> Command {
    let lab = Arg::new("lab")
        .long("lab")
        .action(ArgAction::SetTrue)
        .help("On a server that is there already, made of namespaces (needs root; half a minute)");
    let variant = Arg::new("variant").long("variant").default_value("docker").requires("lab");
    Command::new("demo")
        .about(
            "Make a virtual machine with an engine, run a container there, and say how long each step took",
        )
        .arg(lab)
        .arg(variant.help("With --lab: what the host's engine is like: docker, socket, stopped"))
}

pub fn run(given: &ArgMatches) -> Outcome {
    if !given.get_flag("lab") {
        return local::run();
    }
    lab::run(given.get_one::<String>("variant").ok_or("no variant")?.parse()?)
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
        say!("\n── {what}");
        let start = Instant::now();
        let value = work().map_err(|e| format!("{what}: {e}"))?;
        self.0.push((what, start.elapsed()));
        Ok(value)
    }

    fn print(&self) {
        say!("\n── how long each step took");
        for (what, time) in &self.0 {
            say!("{:>8.2} s  {what}", time.as_secs_f64());
        }
    }
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
        self.quietly(words)
    }

    /// Our program.
    fn quietly(&self, words: &[&str]) -> Process {
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

/// Uses a machine that was made, and removes it. `image` gets an image onto its engine and returns the image's name.
fn use_machine(
    steps: &mut Steps,
    session: &Session,
    image: impl FnOnce() -> Result<String, Box<dyn Error>>,
) -> Outcome {
    steps.take("docker-machine ls", || workspace::run(&mut session.machine(&["ls"])))?;
    let image = steps.take("an image for a container, made on the spot", image)?;
    steps.take("docker run", || {
        let words = ["run", "--rm", &image, "sh", "-c", "echo hello from a container; uname -a"];
        workspace::run(&mut session.docker(&words)?)
    })?;
    steps.take("docker-machine ssh", || workspace::run(&mut session.machine(&["ssh", MACHINE, "uptime"])))?;
    steps.take("docker-machine rm", || workspace::run(&mut session.machine(&["rm", "-y", MACHINE])))
}

/// Prints a command line as one would type it.
fn show(program: &str, words: &[&str]) {
    let typed = words.iter().map(|w| if w.contains([' ', ';']) { format!("'{w}'") } else { (*w).to_owned() });
    say!("$ {program} {}", typed.collect::<Vec<_>>().join(" "));
}

/// This computer's docker client.
fn docker_client() -> Option<PathBuf> {
    machine_testkit::skip::find_program("docker")
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
