//! One host: brought up, used, hurt, taken down.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::{
    HostRecord, KeyKind, Lab, LabError, MirrorProxy, Spec, Variant,
    base::Base,
    boot,
    cgroup::Groups,
    command::{self, command, run, tail, wait_for},
    layer::Layer,
    lock, prepare, record,
};

/// How long a host may take until sshd answers. A second is usual; a busy machine needs more.
const BOOT_LIMIT: Duration = Duration::from_secs(60);
/// How long its engine may take from there.
const ENGINE_LIMIT: Duration = Duration::from_secs(60);

/// A user of the host. All of them accept every [`KeyKind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The superuser.
    Root,
    /// May sudo without a password.
    Debian,
    /// May sudo with the password [`super::ASKS_PASSWORD`].
    Asks,
    /// May not sudo.
    NoSudo,
}

impl Login {
    /// The user's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Debian => "debian",
            Self::Asks => "asks",
            Self::NoSudo => "nosudo",
        }
    }
}

/// What a command inside said.
#[derive(Debug, Clone)]
pub struct Output {
    /// How it ended.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained.
    pub stderr: String,
}

impl Output {
    /// Its stdout without the last line end.
    ///
    /// # Panics
    /// It failed; the message has its stderr.
    pub fn expect_success(&self) -> &str {
        assert!(self.status.success(), "{}: {}{}", self.status, self.stdout, self.stderr);
        self.stdout.trim_end()
    }
}

/// How long a host lives.
pub enum Lifetime {
    /// As long as the value that stands for it.
    Caller(lock::Slot),
    /// Until it is taken down.
    Lasting,
}

/// A host that is up. Dropping the value takes it down, unless it is a lasting one.
#[derive(Debug)]
pub struct Host {
    record: HostRecord,
    key: PathBuf,
    supervisor: Option<Child>,
    dismantle: bool,
    _mirror: Option<MirrorProxy>,
    _owner: Option<lock::Lock>,
    _slot: Option<lock::Slot>,
}

/// Makes the host's folder, link and groups, boots it, and waits until it can be used.
pub fn bring_up(lab: &Lab, spec: &Spec, lifetime: Lifetime) -> Result<Host, LabError> {
    let lasting = matches!(lifetime, Lifetime::Lasting);
    let mut host = reserve(lab, spec, lasting)?;
    if let Lifetime::Caller(slot) = lifetime {
        host._slot = Some(slot);
    }
    let record = &host.record;
    let groups = Groups::of(&record.subnet().namespace())?;
    groups.make()?;
    record.subnet().plug_in()?;
    let base = Base::of(lab.dir());
    prepare::write(record, &Layer::new(record.dir().join("upper"), base.rootfs()))?;
    let script = record.dir().join("boot.sh");
    fs::write(&script, boot::script(record, &base, &groups))
        .map_err(|e| LabError::file("write", &script, e))?;
    if spec.options.with_network && !lasting {
        host._mirror = Some(MirrorProxy::start(host.our_address())?);
    }
    host.supervisor = Some(start(&host.record, &script)?);
    host.wait_until_up()?;
    host.dismantle = !lasting;
    Ok(host)
}

/// Takes a number and a name. Under the lab's lock, so that nobody takes the new host for an abandoned one.
fn reserve(lab: &Lab, spec: &Spec, lasting: bool) -> Result<Host, LabError> {
    let _one_at_a_time = lock::exclusive(&lab.dir().join("lab.lock"))?;
    if let Some(name) = &spec.name {
        check_name(name)?;
        if record::folder(lab.dir(), name).exists() {
            return Err(LabError::NameTaken(name.clone()));
        }
    }
    let subnet = super::network::Subnet::claim()?;
    let name = spec.name.clone().unwrap_or_else(|| format!("lab-{}", subnet.0));
    let mut record = HostRecord::new(lab.dir(), &name, subnet, spec.variant, &spec.options);
    record.lasting = lasting;
    for folder in ["upper", "work", "m", "docker", "containerd"] {
        let folder = record.dir().join(folder);
        fs::create_dir_all(&folder).map_err(|e| LabError::file("make", &folder, e))?;
    }
    let owner = lock::exclusive(&record.owner_lock())?;
    record.save()?;
    Ok(Host {
        record,
        key: lab.key(KeyKind::Rsa),
        supervisor: None,
        dismantle: true,
        _mirror: None,
        _owner: Some(owner),
        _slot: None,
    })
}

fn check_name(name: &str) -> Result<(), LabError> {
    let fits = !name.is_empty()
        && name.len() <= 63
        && !name.starts_with('-')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if fits { Ok(()) } else { Err(LabError::BadName(name.to_owned())) }
}

fn start(record: &HostRecord, script: &Path) -> Result<Child, LabError> {
    let console = record.dir().join("console.log");
    let log = File::create(&console).map_err(|e| LabError::file("write", &console, e))?;
    let errors = log.try_clone().map_err(|e| LabError::file("write", &console, e))?;
    let mut bash = command("bash")?;
    let child = bash
        .arg(script)
        .stdout(log)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|e| LabError::file("run", script, e))?;
    let pid = record.dir().join("boot.pid");
    fs::write(&pid, child.id().to_string()).map_err(|e| LabError::file("write", &pid, e))?;
    Ok(child)
}

/// Takes hold of a lasting host.
pub fn attach(lab: &Lab, record: HostRecord) -> Result<Host, LabError> {
    Ok(Host {
        record,
        key: lab.key(KeyKind::Rsa),
        supervisor: None,
        dismantle: false,
        _mirror: None,
        _owner: None,
        _slot: None,
    })
}

impl Host {
    /// What is written down about it.
    pub fn record(&self) -> &HostRecord {
        &self.record
    }

    /// Its name in the lab and its first host name.
    pub fn name(&self) -> &str {
        &self.record.name
    }

    /// Where it is reached.
    pub fn address(&self) -> Ipv4Addr {
        self.record.address()
    }

    /// The port of its sshd.
    pub fn ssh_port(&self) -> u16 {
        self.record.ssh_port()
    }

    /// Our end of its link: what it calls to reach a server of the test.
    pub fn our_address(&self) -> Ipv4Addr {
        self.record.our_address()
    }

    /// An RSA private key that every [`Login`] accepts; [`Lab::key`] has other kinds.
    pub fn key(&self) -> &Path {
        &self.key
    }

    /// PID 1 of the host, by its number out here. It changes at a reboot.
    ///
    /// # Errors
    /// The host is not booted.
    pub fn init_pid(&self) -> Result<i32, LabError> {
        let file = self.record.dir().join("init.pid");
        let text = fs::read_to_string(&file).map_err(|e| LabError::file("read", &file, e))?;
        text.trim().parse().map_err(|e| LabError::file("understand", &file, std::io::Error::other(e)))
    }

    /// Runs a program inside, as root, without SSH. Its environment has a `PATH` and a `HOME` only.
    ///
    /// # Errors
    /// The host is not booted, or `nsenter` can't be started; a program that fails is in [`Output::status`].
    pub fn exec_inside<A: AsRef<OsStr>>(
        &self,
        argv: impl IntoIterator<Item = A>,
    ) -> Result<Output, LabError> {
        let mut nsenter = command("nsenter")?;
        nsenter.arg("-t").arg(self.init_pid()?.to_string());
        nsenter.args(["-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]).args(argv);
        nsenter.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        collect(nsenter.env("HOME", "/root"))
    }

    /// Runs a line of shell inside, as [`Host::exec_inside`] does.
    ///
    /// # Errors
    /// As [`Host::exec_inside`].
    pub fn shell_inside(&self, line: &str) -> Result<Output, LabError> {
        self.exec_inside(["sh", "-c", line])
    }

    /// The system's `ssh` to the host, ready for a command; it keeps no known hosts and asks nothing.
    ///
    /// # Errors
    /// There is no `ssh` here.
    pub fn ssh_command(&self, login: Login) -> Result<Command, LabError> {
        let mut ssh = command("ssh")?;
        ssh.arg("-i").arg(&self.key).arg("-p").arg(self.ssh_port().to_string());
        for option in
            ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        {
            ssh.arg("-o").arg(option);
        }
        ssh.args(["-o", "IdentitiesOnly=yes", "-F", "none"]).arg(format!(
            "{}@{}",
            login.name(),
            self.address()
        ));
        Ok(ssh)
    }

    /// Runs a command line by the system's `ssh`.
    ///
    /// # Errors
    /// There is no `ssh` here; a remote failure is in [`Output::status`].
    pub fn ssh(&self, login: Login, line: &str) -> Result<Output, LabError> {
        collect(self.ssh_command(login)?.arg(line))
    }

    /// Stops every process of the host where it is. Its addresses stay up: connections are accepted by
    /// the kernel and never answered.
    ///
    /// # Errors
    /// The freezer can't be written to.
    pub fn pause(&self) -> Result<(), LabError> {
        self.groups()?.freeze(true)
    }

    /// Lets the processes go on.
    ///
    /// # Errors
    /// The freezer can't be written to.
    pub fn resume(&self) -> Result<(), LabError> {
        self.groups()?.freeze(false)
    }

    /// Cuts the link: packets go nowhere, in both directions.
    ///
    /// # Errors
    /// `ip` failed.
    pub fn partition(&self) -> Result<(), LabError> {
        self.record.subnet().set_link(false)
    }

    /// Mends the link.
    ///
    /// # Errors
    /// `ip` failed.
    pub fn heal(&self) -> Result<(), LabError> {
        self.record.subnet().set_link(true)
    }

    /// Reboots from the inside and waits until the host can be used again.
    ///
    /// # Errors
    /// It did not come up again.
    pub fn reboot(&self) -> Result<(), LabError> {
        let before = self.init_pid()?;
        self.shell_inside("systemctl --no-block reboot")?;
        wait_for("the reboot", BOOT_LIMIT, || match self.init_pid() {
            Ok(now) if now != before => Ok(()),
            other => Err(format!("PID 1 is {other:?} still; {}", self.console())),
        })?;
        self.wait_until_up()
    }

    /// Gives sshd new host keys, as a host has that was installed anew at the same address.
    ///
    /// # Errors
    /// A step of it failed inside.
    pub fn change_host_key(&self) -> Result<(), LabError> {
        let line = "rm /etc/ssh/ssh_host_*_key* && ssh-keygen -A && systemctl restart ssh";
        let done = self.shell_inside(line)?;
        if done.status.success() {
            return self.wait_for_ssh();
        }
        Err(LabError::Command { line: line.to_owned(), status: done.status.to_string(), said: done.stderr })
    }

    /// Makes a real image on the host's engine, where no registry can be reached: a static busybox.
    ///
    /// # Errors
    /// The engine refused it.
    pub fn import_image(&self, name: &str) -> Result<(), LabError> {
        let lab = self.record.dir().ancestors().nth(2).unwrap_or(Path::new("/"));
        let tar = File::open(lab.join("busybox.tar")).map_err(|e| LabError::file("read", lab, e))?;
        let mut ssh = self.ssh_command(Login::Root)?;
        command::output(ssh.arg(format!("docker import - {name}")).stdin(tar)).map(drop)
    }

    /// Waits until sshd says its version.
    ///
    /// # Errors
    /// It did not within a minute.
    pub fn wait_for_ssh(&self) -> Result<(), LabError> {
        let at = SocketAddr::from((self.address(), self.ssh_port()));
        wait_for(&format!("ssh at {at}"), BOOT_LIMIT, || {
            banner(at).map_err(|e| format!("{e}; {}", self.console()))
        })
    }

    /// Waits until the engine answers on its socket.
    ///
    /// # Errors
    /// It did not within a minute.
    pub fn wait_for_engine(&self) -> Result<(), LabError> {
        wait_for("the engine", ENGINE_LIMIT, || self.ping_engine().map_err(|e| e.to_string()))
    }

    fn ping_engine(&self) -> Result<(), LabError> {
        let socket = format!("/proc/{}/root/run/docker.sock", self.init_pid()?);
        let ping = |stream: UnixStream| {
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            (&stream).write_all(b"GET /_ping HTTP/1.0\r\n\r\n")?;
            let mut answer = [0; 12];
            (&stream).read_exact(&mut answer)?;
            if answer.ends_with(b" 200") { Ok(()) } else { Err(std::io::Error::other("no 200 to /_ping")) }
        };
        UnixStream::connect(&socket).and_then(ping).map_err(|e| LabError::file("ask", &socket, e))
    }

    fn wait_until_up(&self) -> Result<(), LabError> {
        self.wait_for_ssh()?;
        let runs = self.record.variant == Variant::Docker && !self.record.options.full_disk;
        if runs { self.wait_for_engine() } else { Ok(()) }
    }

    fn groups(&self) -> Result<Groups, LabError> {
        Groups::of(&self.record.subnet().namespace())
    }

    fn console(&self) -> String {
        let log = fs::read_to_string(self.record.dir().join("console.log")).unwrap_or_default();
        format!("console: {}", tail(&log, 5))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if !self.dismantle {
            return;
        }
        let killed = tear_down(&self.record);
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.wait();
        }
        if let Err(e) = killed {
            eprintln!("lab host {}: {e}", self.record.name);
        }
    }
}

fn collect(command: &mut Command) -> Result<Output, LabError> {
    let output = command.output().map_err(|e| LabError::file("run", command.get_program(), e))?;
    Ok(Output {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

fn banner(at: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    let mut start = [0; 4];
    stream.read_exact(&mut start)?;
    if start == *b"SSH-" { Ok(()) } else { Err(std::io::Error::other("it does not speak SSH")) }
}

/// Ends all processes of a host and removes what is left of it. What is gone already is fine.
pub fn tear_down(record: &HostRecord) -> Result<(), LabError> {
    let groups = Groups::of(&record.subnet().namespace())?;
    // Frozen processes can't even die.
    let _ = groups.freeze(false);
    if let Some(group) = record.process_group().filter(|pid| boots(*pid, record)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
    for pid in groups.processes().into_iter().filter_map(Pid::from_raw) {
        let _ = kill_process(pid, Signal::KILL);
    }
    groups.remove()?;
    record.subnet().unplug()?;
    // Mounts lived in the host's own namespace and went with its last process.
    run("rm", [OsStr::new("-rf"), record.dir().as_os_str()])?;
    record.subnet().release()
}

/// Is that process the one that boots this host, and not a later one of the same number?
fn boots(pid: Pid, record: &HostRecord) -> bool {
    let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
    let script = record.dir().join("boot.sh");
    line.split(|b| *b == 0).any(|word| word == script.as_os_str().as_encoded_bytes())
}
