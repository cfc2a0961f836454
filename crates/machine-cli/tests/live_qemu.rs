//! A machine on this computer, for real: an image baked from packages, a virtual machine under emulation, the engine in it.
//!
//! Boots are what costs, so that one machine lives through everything that needs one. The image is baked by
//! `docker-machine image build` once for a checkout and kept in `target/vm`.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use machine_testkit::skip;
use support::{IMAGE, World, assert_works, clients, eventually};

/// Programs that there must be for it.
const PROGRAMS: [&str; 4] = ["qemu-system-x86_64", "qemu-img", "mmdebstrap", "grub-mkimage"];

#[test]
fn a_machine_on_this_computer() {
    let Some(world) = World::new() else { return };
    if !skip::require(&PROGRAMS) {
        return;
    }
    let _ended = Emulators(&world);
    baked_image(&world);
    let shared = world.root().join("shared");
    fs::create_dir(&shared).unwrap();
    fs::write(shared.join("greeting"), "hello from this computer\n").unwrap();
    let published = free_port();

    timed("create", || created(&world, &shared, published));
    timed("use", || used(&world, published));
    timed("provision", || provisioned_again(&world));
    timed("pause, snapshots", || paused_and_kept(&world));
    timed("resize, start", || killed_resized_and_moved(&world));
    timed("stop, clone", || cloned(&world));
    timed("rm", || removed(&world, published));
}

/// Says how long a part took: where all of it becomes long, that tells why.
fn timed(what: &str, part: impl FnOnce()) {
    let begin = Instant::now();
    part();
    println!("{:>6.1} s  {what}", begin.elapsed().as_secs_f64());
}

/// Nobody logs in: the machine sets itself up while it boots, and the first connection finds the key that we gave it.
fn created(world: &World, shared: &Path, published: u16) {
    let mount = format!("{}:/mnt/shared", shared.display());
    let publish = format!("127.0.0.1:{published}:8080");
    let created = world.run(&[
        "create",
        "-d",
        "qemu",
        "--qemu-mount",
        &mount,
        "--qemu-publish",
        &publish,
        "--engine-label",
        "colour=blue",
        "dev",
    ]);
    created.ok();
    assert!(created.stdout.contains("Docker is up and running!"), "{created}");
    assert!(!created.stdout.contains("Waiting for SSH"), "no login stands in the way\n{created}");
    assert_works(world, "dev");
    let journal = world.journal("dev");
    assert_eq!(journal["hostKeys"].as_array().map(Vec::len), Some(1), "{journal}");
    assert_eq!(world.answer(&["ip", "dev"]), "127.0.0.1\n");
    let ssh = world.run(&["ssh", "dev", "hostname; sudo cat /etc/ssh/ssh_host_*_key.pub | wc -l"]);
    assert_eq!(ssh.ok(), "dev\n1\n");
    assert!(!ssh.stderr.contains("first contact"), "the host key is pinned before the host is there\n{ssh}");
    assert_eq!(starts_of_the_engine(world, "dev"), "1\n", "the engine was started once");
    let info = clients::info(world, "dev");
    let labels = info["Labels"].to_string();
    assert!(labels.contains("colour=blue") && labels.contains("provider=qemu"), "{labels}");
}

/// What people do with it.
fn used(world: &World, published: u16) {
    import_image(world, "dev");
    clients::assert_containers_run(world, "dev");
    let client = &clients::all(world)[0];
    let run = format!(
        "run --rm -v /mnt/shared:/shared {IMAGE} /bin/sh -c 'cat /shared/greeting; echo back > /shared/answer'"
    );
    assert_eq!(clients::docker(world, client, "dev", &run), "hello from this computer\n");
    assert_eq!(fs::read_to_string(world.root().join("shared/answer")).unwrap(), "back\n");
    let serve = "'mkdir /www && echo served > /www/index.html && exec httpd -f -p 80 -h /www'";
    clients::docker(
        world,
        client,
        "dev",
        &format!("run -d --name web -p 8080:80 {IMAGE} /bin/sh -c {serve}"),
    );
    eventually("the published port", || {
        let url = format!("http://127.0.0.1:{published}/");
        Command::new("curl")
            .args(["-sf", "-m", "5", &url])
            .output()
            .is_ok_and(|out| out.stdout == b"served\n")
    });
    clients::docker(world, client, "dev", "rm -f web");
}

/// The same plan over SSH finds nothing to do: both ways lead to the same host.
fn provisioned_again(world: &World) {
    let before = engine_since(world, "dev");
    let again = world.run(&["--debug", "provision", "dev"]);
    again.ok();
    let changed: Vec<&str> =
        again.stderr.lines().filter(|line| line.contains("step ") && line.ends_with(": changed")).collect();
    assert!(changed.is_empty(), "{changed:?}");
    assert!(again.stderr.contains("step write server key: nothing to do"), "{again}");
    assert_eq!(engine_since(world, "dev"), before, "the engine was not restarted");
}

/// Pause and resume; a snapshot with memory, and back to it.
fn paused_and_kept(world: &World) {
    world.run(&["pause", "dev"]).ok();
    assert_eq!(world.answer(&["status", "dev"]), "Paused\n");
    world.run(&["resume", "dev"]).ok();
    assert_works(world, "dev");

    world.run(&["snapshot", "create", "dev", "before"]).ok();
    assert_eq!(world.answer(&["snapshot", "ls", "-q", "dev"]), "before\n");
    world.run(&["ssh", "dev", "sudo touch /after && sync"]).ok();
    world.run(&["snapshot", "restore", "-y", "dev", "before"]).ok();
    assert_works(world, "dev");
    world.run(&["ssh", "dev", "test ! -e /after"]).ok();
    world.run(&["snapshot", "rm", "dev", "before"]).ok();
    assert_eq!(world.answer(&["snapshot", "ls", "-q", "dev"]), "");
}

/// The emulator is killed, its ports are taken by somebody else: the machine comes back elsewhere, with another size.
fn killed_resized_and_moved(world: &World) {
    let pid = emulator(world, "dev").expect("it runs");
    kill(pid, "-KILL");
    // Its command line is gone before it has let go of its files.
    eventually("the end of the emulator", || world.answer(&["status", "dev"]) == "Stopped\n");
    let url = world.answer(&["inspect", "-f", "{{.Driver.EnginePort}}", "dev"]);
    let port: u16 = url.trim().parse().unwrap();
    let squatter = TcpListener::bind(("127.0.0.1", port)).unwrap();
    world.run(&["resize", "--cpus", "1", "--memory", "1200m", "--disk", "24g", "dev"]).ok();
    world.run(&["start", "--all"]).ok();
    drop(squatter);
    assert_works(world, "dev");
    let now = world.answer(&["url", "dev"]);
    assert!(!now.trim_end().ends_with(&format!(":{port}")), "the port is taken: {now}");
    let seen = world.answer(&["ssh", "dev", "nproc; df -BM --output=size / | tail -1 | tr -dc 0-9"]);
    let mut lines = seen.lines();
    assert_eq!(lines.next(), Some("1"));
    let mib: u64 = lines.next().unwrap().parse().unwrap();
    assert!(mib > 22_000, "the file system has grown: {mib} MiB");
}

/// A copy with an identity of its own, whose making is interrupted and resumed.
fn cloned(world: &World) {
    let busy = world.run(&["clone", "dev", "copy"]);
    assert_ne!(busy.code, 0, "the source runs\n{busy}");
    world.run(&["stop", "dev"]).ok();
    assert_eq!(world.answer(&["status", "dev"]), "Stopped\n");
    let mut clone = world.command(&["clone", "dev", "copy"]);
    let mut child = clone.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("the copy's emulator", || emulator(world, "copy").is_some());
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(world.ls_error("copy"), "creating, interrupted in phase host");
    world.run(&["create", "--resume", "copy"]).ok();
    assert_works(world, "copy");
    assert_eq!(world.answer(&["ssh", "copy", "hostname"]), "copy\n");
    assert_ne!(world.journal("copy")["hostKeys"], world.journal("dev")["hostKeys"]);
    let images = clients::docker(world, &clients::all(world)[0], "copy", "images -q");
    assert!(!images.is_empty(), "the source's images came with its disk");
}

/// Nothing stays: no process, no file, no port.
fn removed(world: &World, published: u16) {
    let pid = emulator(world, "copy").expect("it runs");
    world.run(&["rm", "-y", "copy", "dev"]).ok();
    assert!(emulator(world, "copy").is_none(), "the emulator {pid} still runs");
    for name in ["dev", "copy"] {
        assert!(!world.machine_dir(name).exists());
    }
    assert!(TcpListener::bind(("127.0.0.1", published)).is_ok(), "the published port is free");
    assert_eq!(world.answer(&["ls", "-q"]), "");
    let prune = world.answer(&["image", "ls", "--format", "json"]);
    assert!(prune.contains("debian"), "{prune}");
}

/// Has the baked image in the world's cache: the one that an earlier run baked, or a new one.
fn baked_image(world: &World) {
    let kept = target().join("vm");
    fs::create_dir_all(&kept).unwrap();
    let lock = fs::File::create(kept.join("lock")).unwrap();
    lock.lock().unwrap();
    let cache = kept.join("cache/images");
    if !cache.exists() {
        world.run(&["--storage-path", kept.to_str().unwrap(), "image", "build"]).ok();
    }
    let to = world.store().join("cache");
    fs::create_dir_all(&to).unwrap();
    // Links, not copies: nothing writes into a cached image.
    let linked = Command::new("cp").arg("-al").args([&cache, &to]).status().unwrap();
    assert!(linked.success());
}

fn target() -> PathBuf {
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_docker-machine"));
    binary.ancestors().nth(2).unwrap().to_owned()
}

/// [`IMAGE`] on a machine's engine.
fn import_image(world: &World, name: &str) {
    let tar = world.lab.image_tar();
    clients::docker(world, &clients::all(world)[0], name, &format!("import {} {IMAGE}", tar.display()));
}

/// No emulator of the world outlives its test, however that ends.
struct Emulators<'a>(&'a World);

impl Drop for Emulators<'_> {
    fn drop(&mut self) {
        for pid in ["dev", "copy"].iter().filter_map(|name| emulator(self.0, name)) {
            kill(pid, "-KILL");
        }
    }
}

fn starts_of_the_engine(world: &World, name: &str) -> String {
    world.answer(&["ssh", name, "sudo journalctl -u docker.service -o cat | grep -c 'Starting up'"])
}

fn engine_since(world: &World, name: &str) -> String {
    world.answer(&["ssh", name, "systemctl show -p ActiveEnterTimestampMonotonic docker.service"])
}

/// The process of the machine's emulator, if there is one.
fn emulator(world: &World, name: &str) -> Option<u32> {
    let dir = world.machine_dir(name);
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line);
        (line.contains("qemu-system") && line.contains(dir.join("disk.qcow2").to_str()?)).then_some(pid)
    })
}

fn kill(pid: u32, signal: &str) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
