//! The system's own programs with our arguments, against a real sshd.

mod support;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use machine_ssh::Target;
use machine_ssh::system::{CopyPath, LogLevel, SystemClient, SystemHop};
use support::{Sshd, have, have_sshd, keygen, public_of};

fn hop(server: &Sshd) -> SystemHop {
    SystemHop { target: server.target(), pins: server.host_keys.clone(), key_files: vec![server.key.clone()] }
}

/// A client whose files lie in a folder with a name that asks for trouble.
fn client(folder: &Path, server: &Sshd, jumps: &[&Sshd]) -> SystemClient {
    let odd = folder.join("it's \"100%\" $HOME, odd");
    fs::create_dir_all(&odd).expect("folder");
    let move_key = |hop: SystemHop| {
        let key = odd.join(format!("key {}", hop.target.port));
        fs::copy(&hop.key_files[0], &key).expect("copy");
        SystemHop { key_files: vec![key], ..hop }
    };
    let client = SystemClient {
        host: move_key(hop(server)),
        jumps: jumps.iter().map(|server| move_key(hop(server))).collect(),
        known_hosts: odd.join("known hosts"),
        log_level: LogLevel::Error,
        connect_timeout: Duration::from_secs(10),
    };
    fs::write(&client.known_hosts, client.known_hosts_text()).expect("known_hosts");
    client
}

fn start(argv: &[OsString]) -> Output {
    Command::new(&argv[0])
        .args(&argv[1..])
        .stdin(Stdio::null())
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .expect("start")
}

fn ok(argv: &[OsString]) -> String {
    let output = start(argv);
    assert!(output.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn ssh_runs_commands_and_takes_only_the_pinned_key() {
    if !have_sshd() || !have(&["ssh"]) {
        return;
    }
    let server = Sshd::start();
    let folder = tempfile::tempdir().expect("folder");
    let client = client(folder.path(), &server, &[]);
    assert_eq!(ok(&client.ssh(&[], &["echo".into(), "-n".into(), "'a  b'".into()])), "a  b");
    // Taken for an option it would leave ssh with a login shell, which ends well; the shell there complains of it.
    let dashed = start(&client.ssh(&[], &["-v".into()])).status.code();
    assert!(matches!(dashed, Some(2 | 127)), "{dashed:?}");
    assert_eq!(start(&client.ssh(&["-T".into()], &["exit 7".into()])).status.code(), Some(7));

    let other = public_of(&keygen(folder.path(), "other", &["-t", "ed25519"]));
    let changed = SystemClient { host: SystemHop { pins: vec![other], ..client.host.clone() }, ..client };
    fs::write(&changed.known_hosts, changed.known_hosts_text()).expect("known_hosts");
    let output = start(&changed.ssh(&[], &["true".into()]));
    assert_eq!(output.status.code(), Some(255));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("REMOTE HOST IDENTIFICATION HAS CHANGED"),
        "{output:?}"
    );
}

#[test]
fn ssh_passes_through_jump_hosts_with_their_own_keys_and_pins() {
    if !have_sshd() || !have(&["ssh"]) {
        return;
    }
    let (first, second, goal) = (Sshd::start(), Sshd::start(), Sshd::start());
    let folder = tempfile::tempdir().expect("folder");
    for jumps in [vec![&first], vec![&first, &second]] {
        let client = client(folder.path(), &goal, &jumps);
        let said = ok(&client.ssh(&[], &["echo $SSH_CONNECTION".into()]));
        assert!(said.trim().ends_with(&goal.port.to_string()), "{said}");
    }
    assert_eq!(first.log().matches("Accepted publickey").count(), 2);
    assert_eq!(second.log().matches("Accepted publickey").count(), 1);
    // The jump host's key is pinned as well.
    let mut client = client(folder.path(), &goal, &[&first]);
    client.jumps[0].pins = goal.host_keys.clone();
    fs::write(&client.known_hosts, client.known_hosts_text()).expect("known_hosts");
    assert_eq!(start(&client.ssh(&[], &["true".into()])).status.code(), Some(255));
}

#[test]
fn scp_sftp_and_rsync_copy() {
    if !have_sshd() || !have(&["scp", "sftp", "rsync"]) {
        return;
    }
    let server = Sshd::start();
    let folder = tempfile::tempdir().expect("folder");
    let client = client(folder.path(), &server, &[]);
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file:with colon"), "content").expect("write");
    let from = CopyPath::Local(at("file:with colon"));
    let there = |name: &str| CopyPath::Remote(at(name).into_os_string());
    ok(&client.scp(&["-q".into()], &from, &there("by scp")));
    ok(&client.scp(&["-q".into()], &there("by scp"), &CopyPath::Local(at("back"))));
    assert_eq!(fs::read(at("back")).expect("read"), b"content");
    ok(&client.rsync(&["-a".into()], &from, &there("by-rsync")));
    assert_eq!(fs::read(at("by-rsync")).expect("read"), b"content");

    fs::write(at("batch"), format!("get {} {}\n", at("by-rsync").display(), at("by-sftp").display()))
        .expect("write");
    ok(&client.sftp(&["-q".into(), "-b".into(), at("batch").into()]));
    assert_eq!(fs::read(at("by-sftp")).expect("read"), b"content");
}

#[test]
fn sshfs_mounts() {
    if !have_sshd() || !have(&["sshfs", "fusermount3", "/dev/fuse"]) {
        return;
    }
    let (server, jump) = (Sshd::start(), Sshd::start());
    let folder = tempfile::tempdir().expect("folder");
    let client = client(folder.path(), &server, &[&jump]);
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("there")).expect("folder");
    fs::create_dir(at("mounted")).expect("folder");
    fs::write(at("there/file"), "content").expect("write");
    let output = start(&client.sshfs(at("there").as_os_str(), at("mounted").as_os_str(), &[]));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let read = fs::read(at("mounted/file"));
    let unmounted = Command::new("fusermount3").arg("-u").arg(at("mounted")).output().expect("fusermount3");
    assert!(output.status.success(), "{said}");
    assert_eq!(read.expect("read"), b"content");
    assert!(unmounted.status.success(), "{unmounted:?}");
}

#[test]
fn ipv6_addresses_stand_in_brackets_where_programs_want_them() {
    let host =
        SystemHop { target: Target::new("::1", 2222, "admin"), pins: Vec::new(), key_files: Vec::new() };
    let client = SystemClient {
        host,
        jumps: Vec::new(),
        known_hosts: PathBuf::from("/tmp/known_hosts"),
        log_level: LogLevel::Quiet,
        connect_timeout: Duration::from_secs(1),
    };
    let ssh = client.ssh(&[], &[]);
    assert_eq!(ssh.last().expect("host"), "::1");
    let scp = client.scp(&[], &CopyPath::Local("a:b".into()), &CopyPath::Remote("~/x".into()));
    assert_eq!(scp[scp.len() - 2..], ["./a:b", "admin@[::1]:~/x"]);
    assert!(scp.contains(&"HostKeyAlias=__1_2222".into()) && scp.contains(&"LogLevel=QUIET".into()));
    assert!(client.sshfs("/x".as_ref(), "/mnt".as_ref(), &[]).contains(&"admin@[::1]:/x".into()));
}
