//! What goes wrong around a machine.

use std::net::TcpListener;
use std::process::Stdio;

use machine_core::ErrorKind;

use super::super::run::Run;
use super::*;

#[tokio::test]
async fn a_killed_qemu_is_a_stopped_machine() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("killed", &[]);
    machine.create().await;
    let pid_file = machine.files().pid();
    let leaving = process::Leaving::of(&pid_file).unwrap();
    kill_hard(machine.pid());
    assert!(leaving.gone_within(std::time::Duration::from_secs(60), |_| ()).await.unwrap());
    assert!(machine.files().pid().exists(), "a killed QEMU leaves its pid file");
    assert_eq!(machine.seen().await, State::Stopped);
    machine.power(Power::Start).await;
    assert_eq!(machine.seen().await, State::Running);
    machine.remove().await;
}

#[tokio::test]
async fn a_pid_file_that_was_left_over_is_no_machine() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("stale", &[]);
    machine.create().await;
    machine.power(Power::Kill).await;
    // The number of a process that lives, and is not ours to end: this one.
    std::fs::write(machine.files().pid(), format!("{}\n", std::process::id())).unwrap();
    assert_eq!(machine.seen().await, State::Stopped);
    assert_eq!(machine.try_power(Power::Kill).await.unwrap_err().kind(), ErrorKind::AlreadyDone);
    machine.power(Power::Start).await;
    assert_ne!(machine.pid(), std::process::id());
    machine.remove().await;
    assert_eq!(files_in(&machine.dir), [""; 0]);
}

#[tokio::test]
async fn a_qemu_that_answers_nothing_is_ended_all_the_same() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("mute", &[]);
    machine.create().await;
    for file in ["qmp.sock", "look.sock"] {
        std::fs::remove_file(machine.dir.join(file)).unwrap();
    }
    assert_eq!(machine.seen().await, State::Starting);
    machine.power(Power::Kill).await;
    assert_eq!(machine.seen().await, State::Stopped);
    machine.remove().await;
}

#[tokio::test]
async fn ports_that_others_took_are_chosen_anew() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("ports", &[]);
    machine.create().await;
    machine.power(Power::Kill).await;
    let before = machine.typed();
    let _other = TcpListener::bind(("127.0.0.1", before.engine_port)).unwrap();
    machine.power(Power::Start).await;
    let after = machine.typed();
    assert_ne!(after.engine_port, before.engine_port);
    assert_eq!(after.base.ssh_port, before.base.ssh_port);
    assert!(machine.said(&format!("the engine is at port {} now", after.engine_port)));
    machine.remove().await;
}

#[tokio::test]
async fn a_published_port_that_is_taken_is_named() {
    let Some(lab) = Lab::new() else { return };
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let mut machine = lab.machine("published", &[("qemu-publish", list(&[&format!("{port}:80")]))]);
    let error = lab.driver.precreate(&machine.cx(), &machine.state).await.unwrap_err();
    assert!(error.to_string().contains(&port.to_string()), "{error}");
    let error = machine.try_create().await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "QEMU did not start the machine: a port of this computer is in use or not to be had: tcp 127.0.0.1:{port}"
        )
    );
    assert!(!machine.runs());
    drop(other);
    machine.create().await;
    machine.remove().await;
}

#[tokio::test]
async fn a_start_that_nobody_wrote_down_is_found_with_its_ports() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("unwritten", &[]);
    let wish = machine.state.clone();
    machine.create().await;
    let (real, pid) = (machine.typed(), machine.pid());
    // The record as it was before: a look brings it up to what is.
    machine.state = wish;
    assert_eq!(machine.seen().await, State::Running);
    assert_eq!(
        (machine.typed().engine_port, machine.typed().base.ssh_port),
        (real.engine_port, real.base.ssh_port)
    );
    // A create that goes on finds its process.
    machine.create().await;
    assert_eq!(machine.pid(), pid);
    let mut again = machine.typed();
    assert!(!Run::bring_up(&mut again, &machine.files()), "there is nothing new");
    machine.remove().await;
}

#[tokio::test]
async fn a_start_that_was_interrupted_as_it_began_is_ended() {
    let Some(lab) = Lab::new() else { return };
    // The first time there are two: what an interrupted call left, which comes up first, and ours.
    let program = lab.store.path().join("qemu");
    let script =
        "#!/bin/sh\nmkdir once 2>/dev/null && qemu-system-x86_64 \"$@\"\nexec qemu-system-x86_64 \"$@\"\n";
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut machine = lab.machine("twice", &[("qemu-program", text(program.to_str().unwrap()))]);
    machine.create().await;
    assert!(machine.dir.join("once").is_dir());
    assert_eq!(machine.seen().await, State::Running);
    std::fs::remove_dir(machine.dir.join("once")).unwrap();
    machine.remove().await;
    assert!(!machine.runs());
    assert_eq!(files_in(&machine.dir), [""; 0]);
}

#[tokio::test]
async fn a_disk_that_another_process_uses_is_left_alone() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("locked", &[]);
    machine.create().await;
    machine.power(Power::Kill).await;
    let mut other = Command::new("qemu-system-x86_64")
        .args([
            "-machine",
            "q35",
            "-nodefaults",
            "-display",
            "none",
            "-S",
            "-qmp",
            "unix:q,server=on,wait=off",
        ])
        .args(["-drive", "if=virtio,format=qcow2,file=disk.qcow2"])
        .current_dir(&machine.dir)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Its monitor is there after its disk.
    while !machine.dir.join("q").exists() {
        assert!(other.try_wait().unwrap().is_none(), "the other QEMU ended");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    let mut error = machine.try_power(Power::Start).await;
    for _ in 0..100 {
        if error.is_err() {
            break;
        }
        machine.power(Power::Kill).await;
        error = machine.try_power(Power::Start).await;
    }
    other.kill().unwrap();
    other.wait().unwrap();
    let error = error.unwrap_err();
    assert!(error.to_string().contains("its disk is used by another process"), "{error}");
    assert!(!machine.runs());
    machine.power(Power::Start).await;
    machine.remove().await;
}

#[tokio::test]
async fn a_removal_needs_neither_disk_nor_qemu_nor_a_good_record() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("gone", &[]);
    machine.create().await;
    std::fs::remove_file(machine.files().disk()).unwrap();
    machine.remove().await;
    assert!(!machine.runs());

    machine.create().await;
    let good = machine.state.clone();
    machine.state.0.insert("Memory".into(), "much".into());
    machine.state.0.insert("Program".into(), "/no/such/qemu".into());
    machine.remove().await;
    assert!(!machine.runs());
    assert_eq!(files_in(&machine.dir), [""; 0]);

    machine.state = good;
    machine.state.0.insert("Program".into(), "/no/such/qemu".into());
    let error = machine.try_create().await.unwrap_err();
    assert!(error.to_string().contains("/no/such/qemu") && error.hint().is_some(), "{error}");
    machine.remove().await;
    assert_eq!(files_in(&machine.dir), [""; 0]);
}

#[tokio::test]
async fn a_machine_without_a_disk_says_so() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("diskless", &[]);
    let error = machine.try_power(Power::Start).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    machine.state.0.insert("Boot2DockerURL".into(), "".into());
    let error = machine.try_power(Power::Start).await.unwrap_err();
    assert!(error.to_string().contains("docker-machine-driver-qemu"), "{error}");
}

#[tokio::test]
async fn what_qemu_does_not_understand_is_its_words() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("words", &[("qemu-arg", list(&["-device", "no-such-device"]))]);
    let error = machine.try_create().await.unwrap_err();
    assert!(error.to_string().contains("no-such-device"), "{error}");
    assert!(!machine.runs());
    machine.remove().await;
    assert_eq!(files_in(&machine.dir), [""; 0]);
}

#[tokio::test]
async fn an_accelerator_that_is_not_there_is_named_when_it_is_insisted_on() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("accel", &[("qemu-accel", text("whpx"))]);
    let error = machine.try_create().await.unwrap_err();
    assert!(error.to_string().contains("the accelerator can't be used"), "{error}");
    assert!(error.hint().unwrap().contains("--qemu-accel auto"));
    machine.remove().await;
}
