//! What goes wrong with real hosts: each is a clear failure with the machine, the cause and the way on, in the answer,
//! in the journal and in `ls`; with the cause gone `create --resume` completes it, and `rm` removes it.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use machine_testkit::lab::{Host, Login, Options, Variant};
use support::{Ended, World, assert_works, clients, inside};

/// The failure says what all failures say, and so do the journal and the list.
#[track_caller]
fn assert_told(world: &World, run: &Ended, name: &str, phase: &str, texts: &[&str]) {
    run.fails_saying(1, texts);
    run.fails_saying(
        1,
        &[
            "Error creating machine: ",
            &format!("machine \"{name}\""),
            "Hint: ",
            &format!("`docker-machine create --resume {name}` goes on where it stopped"),
            &format!("`docker-machine rm {name}` removes it"),
        ],
    );
    let journal = world.journal(name);
    assert_eq!(journal["operation"], "create", "{journal}");
    assert_eq!(journal["phase"], phase, "{journal}");
    assert_eq!(journal["status"]["state"], "failed", "{journal}");
    let column = world.ls_error(name);
    assert!(column.starts_with(&format!("creating failed in phase {phase}: ")), "{column}");
    assert!(column.contains(texts[0]), "{column}");
    assert!(!column.contains('\n'), "{column}");
    // Programs look for the record of a failed create too.
    assert_eq!(world.config(name)["Name"], name);
    assert!(world.run(&["env", name]).code != 0);
}

#[test]
fn users_who_may_not() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let before = engine_of(&host);
    for login in [Login::Asks, Login::NoSudo] {
        let run = world.create_as(&host, login.name(), login, &[]);
        let user = format!("{:?}", login.name());
        let cause = ["does not let the user", &user, "sudo: a password is required", "/etc/sudoers.d"];
        assert_told(&world, &run, login.name(), "provision", &cause);
    }
    // Nothing was done to the host.
    assert_eq!(engine_of(&host), before);
    assert_eq!(inside(&host, "find /etc/systemd/system -name '10-machine.conf'"), "");
    let rule = "echo '%s ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/zz-%s";
    for login in [Login::Asks, Login::NoSudo] {
        inside(&host, &rule.replace("%s", login.name()));
        world.answer(&["create", "--resume", login.name()]);
        assert_works(&world, login.name());
    }
    let again = world.run(&["create", "--resume", "asks"]);
    assert!(again.ok().contains("there is nothing to resume"), "{again}");
    world.answer(&["rm", "-y", "asks", "nosudo"]);
    assert_eq!(world.answer(&["ls", "-q"]), "");
}

/// Since when the engine runs, and as which process.
fn engine_of(host: &Host) -> String {
    inside(host, "systemctl show docker -p MainPID -p ActiveEnterTimestampMonotonic")
}

#[test]
fn no_sudo_program() {
    let Some(world) = World::new() else { return };
    let host = world.host_with(Variant::Docker, Options { no_sudo: true, ..Options::default() });
    let run = world.create_as(&host, "m", Login::Debian, &[]);
    assert_told(
        &world,
        &run,
        "m",
        "provision",
        &["neither sudo nor doas", "the user \"debian\" is not root"],
    );
    // Root needs none.
    world.create(&host, "r", &[]).ok();
    assert_works(&world, "r");
    // The program of the root file system, brought there as a package would.
    let rootfs = world.lab.docker_client().ancestors().nth(3).unwrap().to_owned();
    let there = format!("/proc/{}/root/usr/bin/sudo", host.init_pid().unwrap());
    fs::copy(rootfs.join("usr/bin/sudo"), &there).unwrap();
    fs::set_permissions(&there, fs::Permissions::from_mode(0o4755)).unwrap();
    world.answer(&["create", "--resume", "m"]);
    assert_works(&world, "m");
}

#[test]
fn a_host_with_every_oddity_at_once_works() {
    let Some(world) = World::new() else { return };
    let odd = Options {
        dockerd_in_sbin: true,
        noisy_bashrc: true,
        ssh_port: Some(2222),
        one_session: true,
        clock_offset: Some(-3 * 365 * 86400),
        ..Options::default()
    };
    let host = world.host_with(Variant::Socket, odd);
    let run = world.create_as(&host, "odd", Login::Debian, &[]);
    run.ok();
    assert!(run.stderr.contains("WARNING: the clock of \"odd\" is 9460"), "{run}");
    assert_works(&world, "odd");
    world.image(&host);
    clients::assert_containers_run(&world, "odd");
    assert!(inside(&host, "pgrep -a dockerd").contains("/usr/sbin/dockerd -H tcp://0.0.0.0:2376"));
    // What the profile prints is the user's; what we say of the host is not mixed with it.
    assert!(!run.stdout.contains("Welcome"), "{run}");
    world.answer(&["provision", "odd"]);
    fs::write(world.root().join("file"), "as it is\n").unwrap();
    // Nobody's scp gets through such a start-up file; ours says why.
    let copied = world.run(&["scp", "file", "odd:/tmp/file"]);
    copied.fails_saying(1, &["does a start-up file of the shell there print something?"]);
    inside(&host, "mv /home/debian/.bashrc /home/debian/.bashrc.old");
    world.answer(&["scp", "file", "odd:/tmp/file"]);
    assert_eq!(inside(&host, "cat /tmp/file"), "as it is");
    assert_eq!(world.run(&["ssh", "odd", "exit 7"]).code, 7);
}

#[test]
fn a_full_disk() {
    let Some(world) = World::new() else { return };
    let host = world.host_with(Variant::Docker, Options { full_disk: true, ..Options::default() });
    let run = world.create(&host, "m", &[]);
    assert_told(&world, &run, "m", "provision", &["free on the host", "make room"]);
    inside(&host, "rm /var/fill");
    inside(&host, "systemctl reset-failed docker; systemctl restart containerd docker");
    world.answer(&["create", "--resume", "m"]);
    assert_works(&world, "m");
}

#[test]
fn keys_and_users_that_do_not_fit() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let address = host.address().to_string();
    let wrong = world.root().join("wrong");
    let mut keygen = Command::new("ssh-keygen");
    keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&wrong);
    assert!(keygen.status().unwrap().success());
    let wrong = wrong.to_str().unwrap();
    let create = |key: &str, user: &str, name: &str| {
        let mut args = vec!["create", "-d", "generic", "--generic-ip-address", &address];
        args.extend(["--generic-ssh-key", key, "--generic-ssh-user", user, name]);
        world.run(&args)
    };
    let key = world.key();
    for (key, user, name) in [(wrong, "root", "key"), (&key, "nobody-here", "user")] {
        let run = create(key, user, name);
        let who = format!("accepts none of our keys for user {user:?}");
        assert_told(&world, &run, name, "reach", &[&who, "authorized_keys", "SHA256:"]);
    }
    // The cause goes away on the host.
    let public = fs::read_to_string(format!("{wrong}.pub")).unwrap();
    inside(&host, &format!("echo '{}' >> /root/.ssh/authorized_keys", public.trim()));
    world.answer(&["create", "--resume", "key"]);
    assert_works(&world, "key");
    world.answer(&["rm", "-f", "user"]);
    // What is no key is found out before anything is made.
    fs::write(world.root().join("text"), "not a key\n").unwrap();
    for (file, why) in [("text", "not a private key"), ("missing", "does not exist"), ("key.pub", "")] {
        fs::write(world.root().join("key.pub"), &public).unwrap();
        let run = create(file, "root", "never");
        assert!(run.fails(3).contains(why) && run.stderr.contains(file), "{run}");
    }
    assert_eq!(world.answer(&["ls", "-q"]), "key\n");
}

#[test]
fn a_port_that_is_not_ssh() {
    let Some(world) = World::new() else { return };
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let mail = std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let mut word = [0; 4];
            let _ = stream.write_all(b"220 mail.example ESMTP\r\n");
            if stream.read(&mut word).is_ok_and(|n| &word[..n] == b"quit") {
                return;
            }
        }
    });
    let key = world.key();
    let mut args = vec!["create", "-d", "generic", "--generic-ip-address", "127.0.0.1"];
    args.extend(["--generic-ssh-key", &key, "--generic-ssh-port", &port, "m"]);
    let run = world.run(&args);
    let cause = "is not an SSH server; it said \"220 mail.example ESMTP\"";
    assert_told(&world, &run, "m", "reach", &[cause, &format!("127.0.0.1:{port}"), "--generic-ssh-port"]);
    world.answer(&["rm", "-y", "m"]);
    let mut stream = std::net::TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    stream.write_all(b"quit").unwrap();
    mail.join().unwrap();
    assert!(!Path::new(&world.machine_dir("m")).exists());
}

#[test]
fn settings_of_the_host_s_own_that_contradict() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    inside(
        &host,
        "echo '{\"hosts\": [\"unix:///var/run/docker.sock\"], \"debug\": true}' > /etc/docker/daemon.json",
    );
    let run = world.create(&host, "m", &[]);
    assert_told(
        &world,
        &run,
        "m",
        "provision",
        &["/etc/docker/daemon.json on the host sets hosts", "take these keys out"],
    );
    // What does not contradict stays.
    inside(&host, "echo '{\"debug\": true}' > /etc/docker/daemon.json");
    world.answer(&["create", "--resume", "m"]);
    assert_works(&world, "m");
    assert_eq!(clients::info(&world, "m")["Debug"], true);
}

#[test]
fn a_failed_create_can_be_rolled_back() {
    let Some(world) = World::new() else { return };
    let host = world.host(Variant::Docker);
    let run = world.create_as(&host, "m", Login::NoSudo, &["--rollback"]);
    run.fails_saying(1, &["sudo", "It was rolled back: nothing is left of \"m\""]);
    assert!(!world.machine_dir("m").exists());
    assert_eq!(world.answer(&["ls", "-q"]), "");
    // Its report says what happened, and a file of the user's stops that.
    let reports = world.store().join("crash-reports");
    let report = fs::read_dir(&reports).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(report).unwrap();
    assert!(text.contains("sudo") && !text.contains("PRIVATE KEY"), "{text}");
    fs::write(world.store().join("no-error-report"), "").unwrap();
    let count = fs::read_dir(&reports).unwrap().count();
    world.create_as(&host, "m", Login::NoSudo, &[]).fails(1);
    assert_eq!(fs::read_dir(&reports).unwrap().count(), count);
}
