//! From its creation to its removal.

use machine_core::ErrorKind;

use super::*;

#[tokio::test]
async fn a_whole_life() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("whole", &[]);
    assert_eq!(machine.seen().await, State::NotFound);
    lab.driver.precreate(&machine.cx(), &machine.state).await.unwrap();
    assert_eq!(files_in(&machine.dir), [""; 0], "precreate made something");
    machine.create().await;
    assert_eq!(machine.seen().await, State::Running);

    machine.power(Power::Pause).await;
    assert_eq!(machine.seen().await, State::Paused);
    assert_eq!(machine.try_power(Power::Pause).await.unwrap_err().kind(), ErrorKind::AlreadyDone);
    machine.power(Power::Resume).await;
    assert_eq!(machine.seen().await, State::Running);
    assert_eq!(machine.try_power(Power::Start).await.unwrap_err().kind(), ErrorKind::AlreadyDone);

    // The firmware does not hear that it should stop: it is turned off after the limit, with a word about it.
    machine.power(Power::Stop).await;
    assert!(machine.said("did not stop within 1 s"));
    assert_eq!(machine.seen().await, State::Stopped);
    assert_eq!(machine.try_power(Power::Stop).await.unwrap_err().kind(), ErrorKind::AlreadyDone);
    assert!(machine.try_power(Power::Pause).await.is_err());
    machine.power(Power::Restart).await;
    let first = machine.pid();
    machine.power(Power::Restart).await;
    assert_ne!(machine.pid(), first);
    machine.power(Power::Kill).await;
    assert_eq!(machine.seen().await, State::Stopped);
    machine.power(Power::Start).await;

    for _ in 0..2 {
        machine.remove().await;
        assert_eq!(files_in(&machine.dir), [""; 0], "remove left something");
        assert_eq!(machine.seen().await, State::NotFound);
    }
}

#[tokio::test]
async fn what_is_known_and_where_it_is() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("known", &[]);
    let before = lab.driver.known(&machine.state).unwrap();
    assert_eq!((before.ip.as_str(), before.url.as_str(), before.engine_port), ("127.0.0.1", "", Some(2376)));
    assert_eq!(before.ssh.unwrap().key.unwrap(), machine.dir.join("id_ed25519"));
    let prospect = lab.driver.prospect(&machine.cx(), &machine.state).await.unwrap();
    assert!(prospect.private && prospect.image.is_none() && prospect.mounts.is_empty());
    machine.create().await;
    let known = lab.driver.known(&machine.state).unwrap();
    let typed = machine.typed();
    assert_eq!(known.url, format!("tcp://127.0.0.1:{}", typed.engine_port));
    assert_eq!(known.ssh.unwrap().port, typed.base.ssh_port);
    // QEMU takes connections on both, for the guest.
    for port in [typed.engine_port, typed.base.ssh_port] {
        assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    }
    machine.remove().await;
    for port in [typed.engine_port, typed.base.ssh_port] {
        assert!(super::super::ports::is_free(port), "remove left the port {port}");
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_secret_is_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("secret", &[]);
    machine.create().await;
    let seed = machine.files().seed();
    assert_eq!(seed.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(String::from_utf8_lossy(&std::fs::read(&seed).unwrap()).contains("very secret"));
    let line = std::fs::read(format!("/proc/{}/cmdline", machine.pid())).unwrap();
    let line = String::from_utf8_lossy(&line);
    assert!(line.contains("docker-machine-secret") && !line.contains("very secret"), "{line}");
    assert!(!machine.said("very secret"));
    machine.remove().await;
}

#[tokio::test]
async fn a_folder_may_be_very_deep() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("deep", &[]);
    machine.dir = machine.dir.join("d".repeat(100)).join("50% more, or less").join("e".repeat(100));
    std::fs::create_dir_all(&machine.dir).unwrap();
    machine.create().await;
    assert_eq!(machine.seen().await, State::Running);
    machine.power(Power::Kill).await;
    assert_eq!(machine.seen().await, State::Stopped);
    machine.remove().await;
    assert_eq!(files_in(&machine.dir), [""; 0]);
}

#[tokio::test]
async fn two_at_once() {
    let Some(lab) = Lab::new() else { return };
    let (mut one, mut other) = (lab.machine("one", &[]), lab.machine("other", &[]));
    tokio::join!(one.create(), other.create());
    let (a, b) = (one.typed(), other.typed());
    let mut ports = vec![a.base.ssh_port, a.engine_port, b.base.ssh_port, b.engine_port];
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 4, "ports are shared: {ports:?}");
    assert_ne!(a.uuid, b.uuid);
    assert_eq!((one.seen().await, other.seen().await), (State::Running, State::Running));
    one.remove().await;
    assert_eq!(other.seen().await, State::Running);
    other.remove().await;
}

#[tokio::test]
async fn folders_and_ports_and_networks_are_taken_by_qemu() {
    let Some(lab) = Lab::new() else { return };
    let shared = lab.store.path().join("a, shared folder");
    std::fs::create_dir(&shared).unwrap();
    let published = free_port();
    let mut machine = lab.machine(
        "more",
        &[
            ("qemu-mount", list(&[&format!("{}:/src:ro", shared.display())])),
            ("qemu-publish", list(&[&format!("{published}:80")])),
            ("qemu-network", text("socket=mcast=230.0.0.1:12345")),
            ("qemu-cache-mode", text("unsafe")),
            ("qemu-arg", list(&["-device", "virtio-serial-pci"])),
        ],
    );
    let mounts = lab.driver.prospect(&machine.cx(), &machine.state).await.unwrap().mounts;
    assert_eq!((mounts[0].source.as_str(), mounts[0].target.as_str()), ("mount0", "/src"));
    assert!(mounts[0].options.ends_with(",ro"));
    machine.create().await;
    assert!(std::net::TcpStream::connect(("127.0.0.1", published)).is_ok());
    let seed = std::fs::read(machine.files().seed()).unwrap();
    assert!(
        String::from_utf8_lossy(&seed).contains(&machine.typed().mac(1)),
        "the second card is not configured"
    );
    machine.remove().await;
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
