//! Snapshots, copies, other sizes.

use machine_core::{ErrorKind, Resize, Snapshot};
use machine_image::disk;

use super::*;

impl Machine<'_> {
    async fn snapshots(&self) -> Vec<Snapshot> {
        self.lab.driver.snapshots(&self.cx(), &self.state).await.unwrap()
    }

    async fn take(&mut self, name: &str) {
        let taken = self.lab.driver.take_snapshot(&self.cx(), &self.state, name).await;
        self.state = taken.unwrap_or_else(|error| panic!("take: {}", full_text(&error)));
    }

    async fn restore(&mut self, name: &str) {
        let restored = self.lab.driver.restore_snapshot(&self.cx(), &self.state, name).await;
        self.state = restored.unwrap_or_else(|error| panic!("restore: {}", full_text(&error)));
    }

    async fn forget(&mut self, name: &str) {
        self.state = self.lab.driver.remove_snapshot(&self.cx(), &self.state, name).await.unwrap();
    }
}

#[tokio::test]
async fn snapshots_of_a_machine_that_runs_have_its_memory() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("snap", &[]);
    machine.create().await;
    machine.take("first").await;
    assert_eq!(machine.seen().await, State::Running);
    let twice = lab.driver.take_snapshot(&machine.cx(), &machine.state, "first").await.unwrap_err();
    assert_eq!(twice.kind(), ErrorKind::AlreadyDone);
    let all = machine.snapshots().await;
    assert_eq!((all.len(), all[0].name.as_str(), all[0].with_memory), (1, "first", true));
    assert!(all[0].taken_s > 1_600_000_000 && all[0].bytes.is_some());
    let pid = machine.pid();
    machine.restore("first").await;
    assert_eq!((machine.seen().await, machine.pid()), (State::Running, pid));

    // Off, with other sizes since then: it runs again, with those that its memory needs.
    machine.power(Power::Kill).await;
    let bigger = Resize { cpus: Some(2), memory_mib: Some(256), disk_mib: None };
    machine.state = lab.driver.resize(&machine.cx(), &machine.state, bigger).await.unwrap();
    machine.restore("first").await;
    assert_eq!(machine.seen().await, State::Running);
    assert_eq!((machine.typed().cpu, machine.typed().memory), (1, 128));
    machine.forget("first").await;
    assert!(machine.snapshots().await.is_empty() && machine.typed().snapshots.is_empty());
    let gone = lab.driver.restore_snapshot(&machine.cx(), &machine.state, "first").await.unwrap_err();
    assert_eq!(gone.kind(), ErrorKind::NotFound);
    machine.remove().await;
}

#[tokio::test]
async fn snapshots_of_a_machine_that_is_off() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("snap-off", &[]);
    machine.create().await;
    machine.power(Power::Kill).await;
    machine.take("clean").await;
    assert!(!machine.snapshots().await[0].with_memory);
    machine.restore("clean").await;
    assert_eq!(machine.seen().await, State::Stopped);
    // Restored while it runs, it runs then, from its beginning.
    machine.power(Power::Start).await;
    let pid = machine.pid();
    machine.restore("clean").await;
    assert_eq!(machine.seen().await, State::Running);
    assert_ne!(machine.pid(), pid);
    machine.power(Power::Kill).await;
    machine.forget("clean").await;
    assert!(machine.snapshots().await.is_empty());
    let bad = lab.driver.take_snapshot(&machine.cx(), &machine.state, "1").await.unwrap_err();
    assert_eq!(bad.kind(), ErrorKind::Config);
    machine.remove().await;
}

#[tokio::test]
async fn where_memory_can_not_be_kept_the_disk_is() {
    let Some(lab) = Lab::new() else { return };
    // A device whose state nobody can write down.
    let mut machine = lab.machine(
        "blocked",
        &[(
            "qemu-arg",
            list(&[
                "-device",
                "ivshmem-plain,memdev=m,master=off",
                "-object",
                "memory-backend-ram,id=m,size=1M,share=on",
            ]),
        )],
    );
    machine.create().await;
    machine.take("disk-only").await;
    let all = machine.snapshots().await;
    assert!(!all[0].with_memory && machine.said("can't be part of the snapshot"), "{}", machine.heard.text());
    machine.restore("disk-only").await;
    assert_eq!(machine.seen().await, State::Running);
    machine.remove().await;
}

#[tokio::test]
async fn other_sizes() {
    let Some(lab) = Lab::new() else { return };
    let mut machine = lab.machine("sizes", &[]);
    machine.create().await;
    let to = Resize { cpus: Some(2), memory_mib: Some(192), disk_mib: Some(48) };
    let running = lab.driver.resize(&machine.cx(), &machine.state, to).await.unwrap_err();
    assert!(running.hint().unwrap().contains("docker-machine stop sizes"));
    machine.power(Power::Kill).await;
    machine.state = lab.driver.resize(&machine.cx(), &machine.state, to).await.unwrap();
    let now = machine.typed();
    assert_eq!((now.cpu, now.memory, now.disk_size), (2, 192, 48));
    let size = disk::info(&machine.files().disk(), None).await.unwrap().virtual_bytes;
    assert_eq!(size, 48 << 20);
    let smaller = Resize { disk_mib: Some(20), ..Resize::default() };
    let refused = lab.driver.resize(&machine.cx(), &machine.state, smaller).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Config);
    machine.power(Power::Start).await;
    assert_eq!(machine.seen().await, State::Running);
    machine.remove().await;
}

#[tokio::test]
async fn a_copy_is_a_machine_of_its_own() {
    let Some(lab) = Lab::new() else { return };
    let mut source = lab.machine("source", &[("qemu-publish", list(&["18080:80"]))]);
    source.create().await;
    source.take("with-memory").await;
    let name = MachineName::new("copy").unwrap();
    let context = ConfigureContext { name: &name, store_path: lab.store.path() };
    let wish = lab.driver.clone_wish(&context, &source.state).unwrap();
    let mut copy = Machine::new(&lab, name.clone(), wish);
    let running = lab.driver.precreate(&copy.cx(), &copy.state).await.unwrap_err();
    assert!(running.hint().unwrap().contains("docker-machine stop source"), "{running}");
    source.power(Power::Kill).await;
    lab.driver.precreate(&copy.cx(), &copy.state).await.unwrap();
    copy.create().await;
    source.power(Power::Start).await;
    let (a, b) = (source.typed(), copy.typed());
    assert_ne!(a.uuid, b.uuid);
    assert_ne!(a.mac(0), b.mac(0));
    assert_ne!(a.base.ssh_port, b.base.ssh_port);
    assert_eq!((b.base.machine_name.as_str(), b.memory, b.publish.len()), ("copy", 128, 0));
    assert!(b.base.ssh_key_path.ends_with("copy/id_ed25519") || cfg!(windows));
    assert!(copy.snapshots().await.is_empty(), "a copy must not have its source's memory");
    assert_eq!(source.snapshots().await.len(), 1);
    let backing = disk::info(&copy.files().disk(), None).await.unwrap().backing;
    assert_eq!(backing, Some(lab.store.path().join("empty.qcow2")));
    source.remove().await;
    assert_eq!(copy.seen().await, State::Running);
    copy.remove().await;
}
