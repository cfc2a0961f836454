//! The whole way on a virtual machine of this computer.

use std::{
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::Command as Process,
    time::{Duration, Instant},
};

use super::{IMAGE, MACHINE, Session, Steps, container, docker_client, use_machine};
use crate::{Outcome, setup, workspace};

/// How long one command may take. Without hardware virtualisation a boot takes some minutes.
const LIMIT: Duration = Duration::from_secs(600);
/// How long an image may take: its packages are loaded, or it is itself.
const IMAGE_LIMIT: Duration = Duration::from_secs(1800);

/// Makes the machine, uses it, and removes it. What is of use again stays in `target/demo`: the image above all.
pub fn run() -> Outcome {
    let folder = workspace::target().join("demo");
    let mut steps = Steps::default();
    say!(
        "This makes a virtual machine \"{MACHINE}\" with an engine, runs a container there by the docker client, and"
    );
    say!("removes the machine. Its image stays in {} and is used again.", folder.display());
    if !Path::new("/dev/kvm").exists() {
        say!("There is no hardware virtualisation here: a boot takes minutes instead of seconds.");
    }
    steps.take("install what is missing", || setup::programs(&setup::virtual_machines()))?;
    let program = steps.take("build docker-machine", || workspace::build("dev"))?;
    fs::create_dir_all(&folder)?;
    let client = steps.take("find a docker client", || client(&folder))?;
    let session = Session { program, store: folder.join("store"), client };
    remove_left_over(&session)?;
    steps.take("get an image with an engine in it", || image(&session))?;
    let used = make_and_use(&mut steps, &session, &folder);
    if used.is_err() {
        // The error is what counts; what is left says so itself.
        let _ = remove_left_over(&session);
    }
    used?;
    steps.print();
    Ok(())
}

fn make_and_use(steps: &mut Steps, session: &Session, folder: &Path) -> Outcome {
    steps.take("docker-machine create", || {
        within(LIMIT, &mut session.machine(&["create", "-d", "qemu", MACHINE]))?;
        phases(session)
    })?;
    use_machine(steps, session, || image_of_container(session, folder))
}

/// This computer's docker client, or the one of a package, which is unpacked and not installed: a client is wanted, not
/// an engine that begins to run here.
fn client(folder: &Path) -> Result<PathBuf, Box<dyn Error>> {
    if let Some(own) = docker_client() {
        say!("{}", own.display());
        return Ok(own);
    }
    let mut why = String::new();
    for package in ["docker-cli", "docker.io"] {
        match setup::unpacked(package, folder) {
            Ok(unpacked) if unpacked.join("usr/bin/docker").exists() => {
                say!("the one of Debian's package {package}");
                return Ok(unpacked.join("usr/bin/docker"));
            }
            Ok(_) => why = format!("the package {package} has no client in it"),
            Err(error) => why = error.to_string(),
        }
    }
    Err(format!("no docker client is here, and none could be had ({why}): install one").into())
}

/// A machine that an earlier demo left because it was interrupted.
fn remove_left_over(session: &Session) -> Outcome {
    let names = workspace::read(&mut session.quietly(&["ls", "-q"]))?;
    if names.lines().any(|name| name == MACHINE) {
        within(LIMIT, &mut session.machine(&["rm", "-f", "-y", MACHINE]))?;
    }
    Ok(())
}

/// The image that is there; else one is built from packages, or else fetched.
fn image(session: &Session) -> Outcome {
    let there = workspace::read(&mut session.machine(&["image", "ls", "-q"]))?;
    if !there.trim().is_empty() {
        say!("there already: {}", there.trim().replace('\n', ", "));
        return Ok(());
    }
    let built = setup::programs(&setup::image_building())
        .and_then(|()| within(IMAGE_LIMIT, &mut session.machine(&["image", "build"])));
    let Err(why) = built else { return Ok(()) };
    say!("{why}");
    say!("No image could be built; one is fetched, and gets its engine in the machine, which takes longer.");
    within(IMAGE_LIMIT, &mut session.machine(&["image", "pull"]))
}

/// The phases of the create with their times, as the machine's journal has them.
fn phases(session: &Session) -> Outcome {
    let journal = session.store.join("machines").join(MACHINE).join("state.json");
    let journal: serde_json::Value = serde_json::from_slice(&fs::read(journal)?)?;
    let timings = journal["timings"].as_object().into_iter().flatten();
    for (phase, ms) in timings.filter_map(|(phase, ms)| Some((phase, ms.as_u64()?))) {
        say!("{:>8}.{:02} s  {phase}", ms / 1000, ms % 1000 / 10);
    }
    Ok(())
}

/// A small image on the machine's engine, where no registry may be in reach. Without Debian's packages it is one of the
/// registry after all.
fn image_of_container(session: &Session, folder: &Path) -> Result<String, Box<dyn Error>> {
    match container::tar(folder) {
        Ok(tar) => {
            within(LIMIT, &mut session.docker(&["import", &tar.to_string_lossy(), IMAGE])?)?;
            Ok(IMAGE.to_owned())
        }
        Err(why) => {
            say!("{why}; the registry's image is taken");
            within(LIMIT, &mut session.docker(&["pull", "busybox"])?)?;
            Ok("busybox".to_owned())
        }
    }
}

/// Runs it with our output, and no longer than this; then it is asked to end, as by Ctrl-C.
fn within(limit: Duration, command: &mut Process) -> Outcome {
    let line = workspace::line(command);
    let mut child = command.spawn().map_err(|e| format!("{line}: {e}"))?;
    let end = Instant::now() + limit;
    let mut asked = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > end + LIMIT / 10 {
            child.kill()?;
        } else if Instant::now() > end && !asked {
            asked = true;
            let id = i32::try_from(child.id())?;
            if let Some(id) = rustix::process::Pid::from_raw(id) {
                rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
            }
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    if asked {
        return Err(format!("`{line}` did not end within {} minutes", limit.as_secs() / 60).into());
    }
    if status.success() { Ok(()) } else { Err(format!("`{line}` failed ({status})").into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_long_is_ended() {
        let mut sleep = workspace::command("sleep");
        let why = within(Duration::ZERO, sleep.arg("600")).unwrap_err().to_string();
        assert_eq!(why, "`sleep 600` did not end within 0 minutes");
        let why = within(LIMIT, workspace::command("sh").args(["-c", "exit 3"])).unwrap_err().to_string();
        assert!(why.contains("exit status: 3"), "{why}");
    }
}
