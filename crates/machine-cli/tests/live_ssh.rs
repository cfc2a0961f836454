//! `ssh`, `scp`, `mount`, changed host keys and jump hosts, on real hosts.

mod support;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use machine_testkit::lab::{Login, Variant};
use machine_testkit::skip;
use support::relay::Relay;
use support::{World, assert_works, inside};

#[test]
fn commands() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    world.create_as(&host, "m", Login::Debian, &[]).ok();
    // As words, as one word, with and without the dashes; the remote shell reads them, as ssh has it.
    for args in [vec!["ssh", "m", "echo", "a  b", "$USER"], vec!["ssh", "m", "--", "echo a b $USER"]] {
        assert_eq!(world.answer(&args), "a b debian\n");
    }
    for status in [1, 42, 255] {
        let run = world.run(&["ssh", "m", &format!("echo out; echo err >&2; exit {status}")]);
        assert_eq!((run.code, run.stdout.as_str()), (status, "out\n"), "{run}");
        assert!(run.stderr.starts_with("err\n"), "{run}");
    }
    // A command's own options are the command's.
    assert_eq!(world.answer(&["ssh", "m", "echo", "-n", "-f", "--help"]), "-f --help");
    // Options of ssh before the command.
    assert_eq!(world.answer(&["ssh", "m", "-o", "LogLevel=ERROR", "--", "echo", "opts"]), "opts\n");
    assert_eq!(world.answer(&["ssh", "m", "-o", "SendEnv=X", "-v", "echo opts"]), "opts\n");
    // Bytes in both directions, more than any window holds.
    let big: Vec<u8> = (0..20_000_000u32).map(|n| (n * 7 + n / 251) as u8).collect();
    let mut command = world.command(&["ssh", "m", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut stdin, sent) = (child.stdin.take().unwrap(), big.clone());
    let writer = std::thread::spawn(move || stdin.write_all(&sent));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success() && output.stdout == big, "{} bytes came back", output.stdout.len());
    assert_eq!(
        world.run_with_input(&["ssh", "m", "sha256sum"], b"").ok().split(' ').next(),
        Some(EMPTY_SHA256)
    );
    let unknown = world.run(&["ssh", "nobody", "true"]);
    unknown.fails_saying(1, &["\"nobody\" does not exist"]);
    sessions(&world);
}

const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// A person at a terminal; `script` is the terminal.
fn sessions(world: &World) {
    if !skip::require(&["script"]) {
        return;
    }
    let terminal = |line: &str, typed: &[u8]| {
        let mut command = Command::new("script");
        world.environment(&mut command);
        command.args(["-qec", line, "/dev/null"]).env("TERM", "xterm-256color");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(typed).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(stdin);
        (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, said) = terminal("docker-machine ssh m", b"tty; echo $TERM; echo $((6*7))\nexit 5\n");
    assert_eq!(code, 5, "{said}");
    for text in ["/dev/pts/", "xterm-256color", "42"] {
        assert!(said.contains(text), "no {text}: {said}");
    }
    // A command gets no terminal unless it is asked for, as with ssh.
    let (_, said) = terminal("docker-machine ssh m tty", b"");
    assert!(said.contains("not a tty"), "{said}");
    let (code, said) = terminal("docker-machine ssh m -t tty", b"");
    assert!(code == 0 && said.contains("/dev/pts/"), "{said}");
}

/// Names that shells and old scp programs stumble over.
const ODD: &[&str] =
    &["a b", "ü'\"$x`y", "-dash", "tab\there", "new\nline", "semi;colon", "star*", "back\\slash"];

#[test]
fn copies() {
    let Some(world) = World::new() else { return };
    let (host, other) = (world.host(Variant::Docker), world.host(Variant::Docker));
    world.create_as(&host, "m", Login::Debian, &[]).ok();
    world.create(&other, "o", &[]).ok();
    let tree = world.root().join("tree");
    fs::create_dir_all(tree.join("a b/deep")).unwrap();
    for name in ODD {
        fs::write(tree.join("a b").join(name), format!("content of {name:?}")).unwrap();
    }
    fs::write(tree.join("a b/deep/program"), "#!/bin/sh\n").unwrap();
    Command::new("chmod").arg("755").arg(tree.join("a b/deep/program")).status().unwrap();

    // There and back.
    world.answer(&["scp", "-r", "tree", "m:there"]);
    assert_eq!(inside(&host, "stat -c '%a %U' '/home/debian/there/a b/deep/program'"), "755 debian");
    world.answer(&["scp", "-r", "m:there", "back"]);
    same(&tree, &world.root().join("back"));
    // From one host to the other, and as another user.
    world.answer(&["scp", "-r", "m:there", "o:/srv/"]);
    world.answer(&["scp", "-r", "o:/srv/there", "fromother"]);
    same(&tree, &world.root().join("fromother"));
    world.answer(&["scp", "tree/a b/a b", "debian@o:/tmp/"]);
    assert_eq!(inside(&other, "stat -c %U '/tmp/a b'"), "debian");
    for name in ODD {
        let (from, to) = (format!("m:there/a b/{name}"), world.root().join("one"));
        world.answer(&["scp", "-q", &from, to.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(to).unwrap(), format!("content of {name:?}"));
    }
    if skip::require(&["rsync"]) {
        world.answer(&["scp", "-r", "-d", "tree", "m:delta"]);
        world.answer(&["scp", "-r", "m:delta/tree", "fromdelta"]);
        same(&tree, &world.root().join("fromdelta"));
    }
    for (from, to, why) in [
        ("missing", "m:/tmp/", "missing"),
        ("m:/missing", ".", "missing"),
        ("tree", "m:/tmp/", "-r"),
        ("m:/etc/shadow", ".", "shadow"),
        ("nobody:/etc/hosts", ".", "\"nobody\" does not exist"),
    ] {
        world.run(&["scp", from, to]).fails_saying(1, &[why]);
    }
    mounts(&world);
}

#[track_caller]
fn same(one: &Path, other: &Path) {
    let output = Command::new("diff").arg("-r").args([one, other]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

fn mounts(world: &World) {
    if !skip::require(&["sshfs", "fusermount"]) || !fs::exists("/dev/fuse").unwrap() {
        skip::because("no /dev/fuse here");
        return;
    }
    fs::create_dir(world.root().join("mnt")).unwrap();
    world.answer(&["mount", "m:/home/debian/there", "mnt"]);
    let seen = fs::read_to_string(world.root().join("mnt/a b/a b"));
    let written = fs::write(world.root().join("mnt/written"), "from here");
    let unmounted = world.run(&["mount", "-u", "m:/home/debian/there", "mnt"]);
    assert_eq!(seen.unwrap(), "content of \"a b\"");
    written.unwrap();
    unmounted.ok();
    assert_eq!(fs::read_dir(world.root().join("mnt")).unwrap().count(), 0);
    assert_eq!(world.answer(&["ssh", "m", "cat", "there/written"]), "from here");
}

#[test]
fn a_host_key_that_changed() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let created = world.create(&host, "m", &[]);
    assert!(created.stderr.contains("first contact") && created.stderr.contains("SHA256:"), "{created}");
    assert_eq!(world.answer(&["ssh", "m", "echo same"]), "same\n");
    host.change_host_key().unwrap();
    fs::write(world.root().join("file"), "secret").unwrap();
    for args in [
        vec!["ssh", "m", "true"],
        vec!["ssh", "m", "-o", "LogLevel=ERROR", "true"],
        vec!["scp", "file", "m:/tmp/file"],
        vec!["scp", "-d", "file", "m:/tmp/file"],
        vec!["provision", "m"],
    ] {
        let run = world.run(&args);
        assert!(run.code != 0, "{run}");
        assert!(
            run.stderr.to_lowercase().contains("host key") || run.stderr.contains("HOST IDENTIFICATION"),
            "{run}"
        );
    }
    let told = world.run(&["ssh", "m", "true"]).stderr;
    assert!(told.contains("docker-machine ssh --accept-new-host-key m"), "{told}");
    assert_eq!(inside(&host, "ls /tmp/file 2>/dev/null || true"), "");
    // The engine's certificate has nothing to do with it.
    world.answer(&["env", "m"]);
    let accepted = world.run(&["ssh", "--accept-new-host-key", "m", "echo", "new"]);
    assert_eq!(accepted.ok(), "new\n");
    assert!(accepted.stderr.contains("SHA256:"), "{accepted}");
    assert_eq!(world.answer(&["ssh", "m", "echo again"]), "again\n");
    world.answer(&["provision", "m"]);
    assert_works(&world, "m");
}

/// The host is behind another one, which knows the user by a key in the agent. Here the host is known only under an address and ports that the bastion reaches, and the
/// relay there stands in for the network between the two.
#[test]
fn through_a_jump_host() {
    let Some(world) = World::new() else { return };
    let (host, bastion) = (world.host(Variant::Socket), world.host(Variant::Docker));
    let Some(agent) = Agent::start(&world) else { return };
    let run = |args: &[&str]| world.run_with(args, &[("SSH_AUTH_SOCK", agent.socket.to_str().unwrap())]);
    let ssh = Relay::start(bastion.our_address(), (host.address(), host.ssh_port()).into());
    let jump = format!("debian@{}:{}", bastion.address(), bastion.ssh_port());
    let (address, port, key) =
        (ssh.address().ip().to_string(), ssh.address().port().to_string(), world.key());
    let mut args =
        vec!["create", "-d", "generic", "--generic-ip-address", &address, "--generic-ssh-port", &port];
    args.extend([
        "--generic-ssh-user",
        Login::Debian.name(),
        "--generic-ssh-key",
        &key,
        "--ssh-jump",
        &jump,
        "m",
    ]);
    let created = run(&args);
    created.ok();
    // The engine has no relay: it can't be reached from here, and that is said.
    assert!(created.stderr.contains("WARNING") && created.stderr.contains("2376"), "{created}");
    assert!(inside(&host, "pgrep -a dockerd").contains("--tlsverify"));
    let accepted = "journalctl -u ssh --no-pager | grep -c 'Accepted publickey for debian'";
    let before: u32 = inside(&bastion, accepted).parse().unwrap();
    assert_eq!(run(&["ssh", "m", "hostname"]).ok(), "m\n");
    assert!(inside(&bastion, accepted).parse::<u32>().unwrap() > before, "the bastion saw nobody");
    fs::write(world.root().join("file"), "by way of another").unwrap();
    run(&["scp", "file", "m:/tmp/file"]).ok();
    assert_eq!(inside(&host, "cat /tmp/file"), "by way of another");
    assert_eq!(run(&["ssh", "m", "-o", "LogLevel=ERROR", "echo", "system"]).ok(), "system\n");
    assert_eq!(run(&["status", "m"]).ok(), "Running\n");
    // With the bastion's SSH server gone there is no way.
    inside(&bastion, "systemctl stop ssh.socket ssh; pkill sshd || true");
    run(&["ssh", "m", "true"]).fails_saying(1, &[&bastion.address().to_string()]);
}

/// A real ssh-agent with the lab's key.
struct Agent {
    child: Child,
    socket: PathBuf,
}

impl Agent {
    fn start(world: &World) -> Option<Self> {
        if !skip::require(&["ssh-agent", "ssh-add"]) {
            return None;
        }
        let socket = world.root().join("agent");
        let child =
            Command::new("ssh-agent").arg("-D").arg("-a").arg(&socket).stdout(Stdio::null()).spawn().unwrap();
        let agent = Self { child, socket };
        support::eventually("the agent", || agent.socket.exists());
        let mut add = Command::new("ssh-add");
        add.arg("-q").arg(world.key()).env("SSH_AUTH_SOCK", &agent.socket);
        assert!(add.status().unwrap().success());
        Some(agent)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
