//! `cargo xtask demo --lab`: the same on a server that one has: a Debian host in namespaces, no virtual machine.

use std::error::Error;

use machine_testkit::lab::{Host, Lab, Spec, Variant};

use super::{IMAGE, MACHINE, Session, Steps, docker_client, use_machine};
use crate::{Outcome, setup, workspace};

/// Makes the host and the machine, uses it, and takes both down again.
pub fn run(variant: Variant) -> Outcome {
    if !rustix::process::geteuid().is_root() {
        return Err("hosts of namespaces need root: run it with sudo, or without --lab".into());
    }
    let mut steps = Steps::default();
    say!(
        "This makes a Debian host in namespaces of this computer, a machine \"{MACHINE}\" on it in a store of its own,"
    );
    say!("runs a container there by the docker client, and removes all of it again.");
    steps.take("install what is missing", setup::packages)?;
    let lab = steps.take("make the root file system, unless it is there", || Ok(Lab::open()?))?;
    let program = steps.take("build docker-machine", || workspace::build("dev"))?;
    let host = steps
        .take("bring up a host: systemd, sshd, Debian's engine", || Ok(lab.host(Spec::new(variant))?))?;
    say!("it is at {}", host.address());
    let store = tempfile::tempdir()?;
    let client = docker_client().unwrap_or_else(|| lab.docker_client());
    let session = Session { program, store: store.path().to_owned(), client };
    make_and_use(&mut steps, &session, &lab, &host)?;
    steps.take("take the host down", || {
        drop(host);
        Ok(())
    })?;
    steps.print();
    Ok(())
}

fn make_and_use(steps: &mut Steps, session: &Session, lab: &Lab, host: &Host) -> Result<(), Box<dyn Error>> {
    let (address, key, port) =
        (host.address().to_string(), host.key().to_string_lossy().into_owned(), host.ssh_port().to_string());
    steps.take("docker-machine create", || {
        let mut words = vec!["create", "--driver", "generic", "--generic-ip-address", &address];
        words.extend(["--generic-ssh-user", "debian", "--generic-ssh-key", &key]);
        words.extend(["--generic-ssh-port", &port, MACHINE]);
        workspace::run(&mut session.machine(&words))
    })?;
    let tar = lab.image_tar();
    use_machine(steps, session, || {
        workspace::run(&mut session.docker(&["import", &tar.to_string_lossy(), IMAGE])?)?;
        Ok(IMAGE.to_owned())
    })
}
