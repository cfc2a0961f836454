//! The lab itself: what other tests build on is what it says.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Command, Stdio},
    time::Duration,
};

use machine_testkit::lab::{ASKS_PASSWORD, Host, Lab, LabError, Login, Options, Spec, Variant};

type Outcome = Result<(), LabError>;

fn host(variant: Variant, options: Options) -> Result<Option<Host>, LabError> {
    let Some(lab) = Lab::for_test()? else { return Ok(None) };
    lab.host(Spec::new(variant).with(options)).map(Some)
}

fn inside(host: &Host, line: &str) -> Result<String, LabError> {
    Ok(host.shell_inside(line)?.expect_success().to_owned())
}

/// `systemctl is-active` as a word; its exit status only repeats it.
fn unit_state(host: &Host, unit: &str) -> Result<String, LabError> {
    Ok(host.exec_inside(["systemctl", "is-active", unit])?.stdout.trim().to_owned())
}

#[test]
fn a_docker_host_runs_containers_with_limits() -> Outcome {
    let Some(host) = host(Variant::Docker, Options::default())? else { return Ok(()) };
    assert_eq!(unit_state(&host, "docker.service")?, "active");
    assert_eq!(unit_state(&host, "docker.socket")?, "inactive");
    host.import_image("lab/busybox")?;
    let line = "docker run --rm -m 64m --pids-limit 50 lab/busybox sh -c 'echo from-$(hostname | wc -c)'";
    assert_eq!(host.ssh(Login::Root, line)?.expect_success(), "from-13");
    Ok(())
}

#[test]
fn a_published_port_is_reached_from_outside() -> Outcome {
    let Some(host) = host(Variant::Docker, Options::default())? else { return Ok(()) };
    host.import_image("lab/busybox")?;
    inside(&host, "docker run -d -p 8080:80 lab/busybox httpd -f -p 80 -h /etc")?;
    let at = SocketAddr::from((host.address(), 8080));
    let stream = TcpStream::connect_timeout(&at, Duration::from_secs(10));
    assert!(stream.is_ok(), "{stream:?}");
    Ok(())
}

#[test]
fn variants_differ_in_their_engine() -> Outcome {
    let Some(socket) = host(Variant::Socket, Options::default())? else { return Ok(()) };
    assert_eq!(unit_state(&socket, "docker.socket")?, "active");
    drop(socket);
    let Some(stopped) = host(Variant::Stopped, Options::default())? else { return Ok(()) };
    assert_eq!(unit_state(&stopped, "docker.service")?, "inactive");
    assert!(inside(&stopped, "docker --version")?.starts_with("Docker version 20.10"));
    drop(stopped);
    let Some(bare) = host(Variant::Bare, Options::default())? else { return Ok(()) };
    assert!(!bare.shell_inside("command -v docker dockerd containerd")?.status.success());
    assert!(!bare.shell_inside("dpkg -s docker.io")?.status.success());
    Ok(())
}

#[test]
fn each_user_may_what_its_name_says() -> Outcome {
    let Some(host) = host(Variant::Bare, Options::default())? else { return Ok(()) };
    assert_eq!(host.ssh(Login::Root, "id -un")?.expect_success(), "root");
    assert_eq!(host.ssh(Login::Debian, "sudo -n id -un")?.expect_success(), "root");
    assert!(host.ssh(Login::Asks, "sudo -n id -un")?.stderr.contains("a password is required"));
    let with_password = format!("echo {ASKS_PASSWORD} | sudo -S id -un");
    assert_eq!(host.ssh(Login::Asks, &with_password)?.expect_success(), "root");
    let refused = host.ssh(Login::NoSudo, &format!("echo {ASKS_PASSWORD} | sudo -S id -un"))?;
    assert!(!refused.status.success());
    Ok(())
}

#[test]
fn traps_are_set() -> Outcome {
    let options = Options {
        dockerd_in_sbin: true,
        noisy_bashrc: true,
        ssh_port: Some(2222),
        one_session: true,
        clock_offset: Some(-86_400 * 400),
        no_sudo: true,
        os_release: Some("ID=foreign\nVERSION_ID=1\n".to_owned()),
        ..Options::default()
    };
    let Some(host) = host(Variant::Stopped, options)? else { return Ok(()) };
    assert_eq!(host.ssh_port(), 2222);
    let said = host.ssh(Login::Debian, "cat /etc/os-release; command -v sudo")?;
    assert!(said.stdout.starts_with("Welcome to this server\nID=foreign\n"), "{}", said.stdout);
    assert!(said.stderr.contains("maintenance tonight") && !said.stdout.contains("sudo"));
    assert!(!host.shell_inside("test -e /usr/bin/dockerd")?.status.success());
    let wrong: u64 = inside(&host, "date +%s")?.parse().expect("seconds");
    let right: u64 = inside(&host, "/bin/date +%s")?.parse().expect("seconds");
    assert!(right - wrong >= 86_400 * 400);
    let settings = inside(&host, "sshd -T")?;
    assert!(settings.contains("maxsessions 1\n"), "{settings}");
    Ok(())
}

#[test]
fn a_full_disk_takes_no_byte_more() -> Outcome {
    let Some(host) = host(Variant::Stopped, Options { full_disk: true, ..Options::default() })? else {
        return Ok(());
    };
    for file in ["/etc/new", "/var/lib/docker/new", "/tmp/new"] {
        let write = host.ssh(Login::Root, &format!("head -c 1M /dev/zero > {file}"))?;
        assert!(write.stderr.contains("No space left"), "{file}: {}", write.stderr);
    }
    Ok(())
}

#[test]
fn a_host_reboots_and_gets_new_host_keys() -> Outcome {
    let Some(host) = host(Variant::Docker, Options::default())? else { return Ok(()) };
    let key = "cat /etc/ssh/ssh_host_ed25519_key.pub";
    let (boot, before) = (host.init_pid()?, inside(&host, key)?);
    inside(&host, "echo kept > /root/note")?;
    host.reboot()?;
    assert_ne!(host.init_pid()?, boot);
    assert_eq!(inside(&host, "cat /root/note")?, "kept");
    assert_eq!(inside(&host, key)?, before);
    host.change_host_key()?;
    assert_ne!(inside(&host, key)?, before);
    Ok(())
}

#[test]
fn pause_and_partition_silence_a_host_until_undone() -> Outcome {
    let Some(host) = host(Variant::Bare, Options::default())? else { return Ok(()) };
    let at = SocketAddr::from((host.address(), 22));
    let answers = || {
        let connected = TcpStream::connect_timeout(&at, Duration::from_millis(500));
        connected.and_then(|stream| {
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            std::io::Read::read(&mut &stream, &mut [0; 4])
        })
    };
    host.pause()?;
    let accepted = TcpStream::connect_timeout(&at, Duration::from_secs(5));
    assert!(accepted.is_ok(), "the kernel still accepts: {accepted:?}");
    assert!(answers().is_err());
    host.resume()?;
    host.wait_for_ssh()?;
    host.partition()?;
    assert!(answers().is_err());
    host.heal()?;
    host.wait_for_ssh()
}

#[test]
fn apt_reaches_the_mirror_when_asked_for_and_only_then() -> Outcome {
    let Some(alone) = host(Variant::Bare, Options::default())? else { return Ok(()) };
    assert!(!alone.shell_inside("apt-get install -y --no-install-recommends hello")?.status.success());
    drop(alone);
    let options = Options { with_network: true, ..Options::default() };
    let Some(host) = host(Variant::Bare, options)? else { return Ok(()) };
    inside(&host, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y hello")?;
    assert_eq!(inside(&host, "hello")?, "Hello, world!");
    Ok(())
}

#[test]
fn nothing_is_left_of_a_dropped_host() -> Outcome {
    let Some(lab) = Lab::for_test()? else { return Ok(()) };
    let host = lab.host(Spec::new(Variant::Docker))?;
    let record = host.record().clone();
    drop(host);
    assert!(!record.dir().exists());
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    assert!(!mounts.contains(record.dir().to_str().unwrap_or("?")), "{mounts}");
    assert!(matches!(lab.attach(&record.name), Err(LabError::NoHost(_))));
    Ok(())
}

/// Not a test of its own: what [`a_killed_tests_host_goes_when_the_lab_is_opened_again`] starts and kills.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn holds_a_host_until_it_is_killed() -> Outcome {
    let Some(lab) = Lab::for_test()? else { return Ok(()) };
    let host =
        lab.host(Spec::new(Variant::Bare).named(&std::env::var("LAB_TEST_HOST").unwrap_or_default()))?;
    println!("up: {}", host.name());
    std::thread::sleep(Duration::from_secs(600));
    Ok(())
}

#[test]
fn a_killed_tests_host_goes_when_the_lab_is_opened_again() -> Outcome {
    let Some(lab) = Lab::for_test()? else { return Ok(()) };
    let name = format!("orphan-{}", std::process::id());
    let mut child = Command::new(std::env::current_exe().expect("this test's program"))
        .args(["--ignored", "--exact", "--nocapture", "holds_a_host_until_it_is_killed"])
        .env("LAB_TEST_HOST", &name)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test's program runs");
    let output = BufReader::new(child.stdout.take().expect("stdout was asked for"));
    let up = output.lines().map_while(Result::ok).any(|line| line.contains(&format!("up: {name}")));
    let init = lab.attach(&name).and_then(|host| host.init_pid());
    let stays = lab.reap().and_then(|()| lab.attach(&name).map(drop));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    assert!(up, "the other process made no host");
    let init = init?;
    stays?; // a host whose maker lives is not taken down
    Lab::open()?;
    assert!(matches!(lab.attach(&name), Err(LabError::NoHost(_))));
    // Its entry may wait for this computer's PID 1 to collect it, but it runs nothing.
    assert!(std::fs::read(format!("/proc/{init}/cmdline")).unwrap_or_default().is_empty());
    Ok(())
}

#[test]
fn names_are_checked_and_taken_once() -> Outcome {
    let Some(lab) = Lab::for_test()? else { return Ok(()) };
    for bad in ["", "../up", "a b", "-x"] {
        assert!(
            matches!(lab.host(Spec::new(Variant::Bare).named(bad)), Err(LabError::BadName(_))),
            "{bad:?}"
        );
    }
    let name = format!("twice-{}", std::process::id());
    let _first = lab.host(Spec::new(Variant::Bare).named(&name))?;
    let second = lab.host(Spec::new(Variant::Bare).named(&name));
    assert!(matches!(second, Err(LabError::NameTaken(_))));
    Ok(())
}
