//! `libvirt` against a real libvirt with the real QEMU, in namespaces of its own: nothing of it is seen outside, and nothing is left. The guests
//! have no system on their disks: what is proved here is what libvirt does, not what a system does in it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use machine_core::{
    ConfigureContext, Cx, Driver, DriverSource, DriverState, ErrorKind, FlagValue, FlagValues, MachineName,
    Power, Resize, Secret, Seed, State,
};
use machine_drivers::Builtin;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, Subject, run};
use machine_testkit::skip;
use tempfile::TempDir;

const PROGRAMS: &[&str] = &[
    "libvirtd",
    "virtlogd",
    "virsh",
    "qemu-system-x86_64",
    "qemu-img",
    "dnsmasq",
    "iptables",
    "unshare",
    "setpriv",
    "ip",
];

const NETWORK: &str = "<network><name>default</name><forward mode='nat'/><bridge name='virbr0'/>\
    <ip address='192.168.122.1' netmask='255.255.255.0'><dhcp><range start='192.168.122.2' end='192.168.122.254'/></dhcp></ip></network>";

/// A libvirt with a storage pool and, if it is the system's, a network, both called `default`.
struct Libvirt {
    dir: TempDir,
    init: Child,
    /// `system` or `session`.
    kind: &'static str,
}

impl Libvirt {
    /// The system's; `None` where it can't be had here. Its pool has 64 MiB.
    fn system() -> Option<Self> {
        let libvirt = Self::new("system")?;
        libvirt.virsh(&["net-define", "/dev/stdin"], NETWORK);
        Some(libvirt)
    }

    /// One of an ordinary user's own; `None` where it can't be had here.
    fn session() -> Option<Self> {
        Self::new("session")
    }

    fn new(kind: &'static str) -> Option<Self> {
        if !(skip::require(PROGRAMS) && skip::require_root()) {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let init = Command::new("unshare")
            .args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/libvirtd.sh"))
            .arg(dir.path())
            .arg(kind)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut libvirt = Self { dir, init, kind };
        libvirt.wait();
        let pool = libvirt.dir.path().join("pool");
        libvirt.virsh(&["pool-define-as", "default", "dir", "--target", pool.to_str().unwrap()], "");
        Some(libvirt)
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("run/libvirt/libvirt-sock")
    }

    fn wait(&mut self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.socket().exists() {
            let ended = self.init.try_wait().unwrap();
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(ended.is_none(), "libvirtd ended: {ended:?}\n{}", log());
            assert!(Instant::now() < deadline, "libvirtd did not listen within 60 s\n{}", log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn uri(&self) -> String {
        format!("qemu+unix:///{}?socket={}", self.kind, self.socket().display())
    }

    /// What virsh prints, its failures with it.
    fn ask(&self, args: &[&str], input: &str) -> (bool, String) {
        let mut child = Command::new("virsh")
            .env("LC_ALL", "C")
            .args(["-q", "-c", &self.uri()])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).unwrap())
    }

    fn virsh(&self, args: &[&str], input: &str) -> String {
        let (good, said) = self.ask(args, input);
        assert!(good, "virsh {args:?}: {said}");
        said
    }

    fn lines(&self, args: &[&str]) -> Vec<String> {
        let (_, said) = self.ask(args, "");
        said.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("error:"))
            .map(str::to_owned)
            .collect()
    }

    fn image(&self) -> String {
        let file = self.dir.path().join("empty.qcow2");
        if !file.exists() {
            let made =
                Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&file).arg("32M").status();
            assert!(made.unwrap().success(), "qemu-img failed");
        }
        file.display().to_string()
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut flags = FlagValues::defaults(&Builtin.driver("libvirt").unwrap().spec().flags);
        let text = |value: String| FlagValue::Str(value);
        let given = [
            ("libvirt-uri", text(self.uri())),
            ("libvirt-image", text(self.image())),
            ("libvirt-type", text("qemu".into())),
            ("libvirt-cpu-count", FlagValue::Int(1)),
            ("libvirt-memory", FlagValue::Int(64)),
            ("libvirt-disk-size", FlagValue::Int(64)),
            // These guests hear nothing.
            ("libvirt-stop-timeout", FlagValue::Int(0)),
        ];
        for (flag, value) in given.iter().chain(more) {
            flags.set(*flag, value.clone());
        }
        flags
    }
}

impl Drop for Libvirt {
    fn drop(&mut self) {
        // The first process of the namespace dies with it, and takes all others along.
        let _ = self.init.kill();
        let _ = self.init.wait();
    }
}

fn text(value: &str) -> FlagValue {
    FlagValue::Str(value.into())
}

impl Subject for Libvirt {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no processor", self.flags(&[("libvirt-cpu-count", FlagValue::Int(0))])),
            ("no memory", self.flags(&[("libvirt-memory", FlagValue::Int(0))])),
            ("an unknown type", self.flags(&[("libvirt-type", text("xen"))])),
            ("an option as network", self.flags(&[("libvirt-network", text("--all"))])),
            ("an option as pool", self.flags(&[("libvirt-pool", text("-x"))])),
            ("another hypervisor", self.flags(&[("libvirt-uri", text("xen:///system"))])),
            (
                "forwarded ports of another computer",
                self.flags(&[
                    ("libvirt-uri", text("qemu+ssh://h/system")),
                    ("libvirt-network", text("user")),
                ]),
            ),
            (
                "a port to nowhere",
                self.flags(&[
                    ("libvirt-publish", FlagValue::List(vec!["80".into()])),
                    ("libvirt-network", text("user")),
                ]),
            ),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("a daemon", self.flags(&[("libvirt-uri", text("qemu+unix:///system?socket=/no/such/socket"))])),
            ("a network", self.flags(&[("libvirt-network", text("nosuch"))])),
            ("a pool", self.flags(&[("libvirt-pool", text("nosuch"))])),
            ("an image", self.flags(&[("libvirt-image", text("/no/such/image.qcow2"))])),
            ("extra XML", self.flags(&[("libvirt-extra-xml", text("/no/such/file"))])),
        ]
    }

    fn resources(&self) -> usize {
        let domains = self.lines(&["list", "--all", "--name"]).len();
        let volumes = self.lines(&["vol-list", "default"]);
        let ours = volumes.iter().filter(|line| line.starts_with("docker-machine")).count();
        let network = self.ask(&["net-dumpxml", "default"], "").1;
        domains + ours + network.matches("<host ").count()
    }

    fn inject(&self, fault: Fault) -> bool {
        match fault {
            Fault::HostGone => {
                for name in self.lines(&["list", "--all", "--name"]) {
                    self.ask(&["destroy", &name], "");
                    self.virsh(&["undefine", &name], "");
                }
                true
            }
            Fault::Quota => {
                self.ask(&["pool-start", "default"], "");
                let info = self.virsh(&["pool-info", "--bytes", "default"], "");
                let line = info.lines().find(|line| line.starts_with("Available")).unwrap();
                let bytes: u64 = line.split_whitespace().last().unwrap().parse().unwrap();
                let all = (bytes - 16 * 1024).to_string();
                self.virsh(&["vol-create-as", "default", "filler", &all, "--allocation", &all], "");
                true
            }
            _ => false,
        }
    }

    fn heal(&self) {
        self.ask(&["vol-delete", "--pool", "default", "filler"], "");
    }
}

fn driver() -> std::sync::Arc<dyn Driver> {
    Builtin.driver("libvirt").unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn libvirt_conforms() {
    if let Some(libvirt) = Libvirt::system() {
        block_on(run(driver().as_ref(), &libvirt));
    }
}

/// A machine, with a seed.
struct Machine<'a> {
    libvirt: &'a Libvirt,
    bench: &'a Bench,
    driver: std::sync::Arc<dyn Driver>,
    state: DriverState,
}

fn seed() -> Seed {
    Seed { authorized_key: "ssh-ed25519 AAAA".into(), user_data: Secret::new("#cloud-config\n") }
}

impl<'a> Machine<'a> {
    async fn create(libvirt: &'a Libvirt, bench: &'a Bench, more: &[(&str, FlagValue)]) -> Self {
        let driver = driver();
        let wish = bench.wish(driver.as_ref(), &libvirt.flags(more));
        let seed = seed();
        let cx = Cx { seed: Some(&seed), ..bench.cx() };
        driver.precreate(&cx, &wish).await.unwrap();
        let prospect = driver.prospect(&cx, &wish).await.unwrap();
        assert!(prospect.private, "the user data stays here");
        let wish = prospect.wish.expect("a better wish");
        let ip = driver.known(&wish).unwrap().ip;
        assert!(!ip.is_empty(), "the address is known before there is a machine");
        let state = driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await.unwrap();
        assert_eq!(driver.known(&state).unwrap().ip, ip, "the address is the one that was promised");
        Self { libvirt, bench, driver, state }
    }

    async fn power(&mut self, op: Power) {
        self.state = self.driver.power(&self.bench.cx(), &self.state, op).await.unwrap();
    }

    async fn is(&self, state: State) {
        let seen = self.driver.observe(&self.bench.cx(), &self.state).await.unwrap();
        assert_eq!(seen.state, state);
    }

    fn uuid(&self) -> &str {
        self.state.str("UUID")
    }

    async fn remove(self) {
        self.driver.remove(&self.bench.cx(), &self.state).await.unwrap();
    }
}

/// Everything that only libvirt's own network and pool can show, on one machine.
#[test]
fn a_machine_is_paused_saved_snapshot_resized_cloned_and_leaves_nothing() {
    let Some(libvirt) = Libvirt::system() else { return };
    block_on(async {
        let (bench, before) = (Bench::new(), libvirt.resources());
        let mut machine =
            Machine::create(&libvirt, &bench, &[("libvirt-autostart", FlagValue::Bool(true))]).await;
        let xml = libvirt.virsh(&["dumpxml", machine.uuid()], "");
        assert!(xml.contains("<machine:machine") && xml.contains("name=\"conformance\""), "{xml}");
        assert!(xml.contains("<readonly/>"), "the seed is there: {xml}");
        let network = libvirt.virsh(&["net-dumpxml", "default"], "");
        assert!(network.contains(&machine.driver.known(&machine.state).unwrap().ip), "{network}");
        assert!(
            machine.driver.observe(&bench.cx(), &machine.state).await.unwrap().last_sign.contains("computed")
        );

        machine.power(Power::Pause).await;
        machine.is(State::Paused).await;
        machine.power(Power::Resume).await;
        machine.is(State::Running).await;
        libvirt.virsh(&["managedsave", machine.uuid()], "");
        machine.is(State::Saved).await;
        let many = machine.driver.observe_many(&[(bench.cx(), &machine.state)]).await;
        assert_eq!(many[0].as_ref().unwrap().state, State::Saved);
        machine.power(Power::Start).await;
        machine.is(State::Running).await;

        snapshots(&mut machine).await;
        sizes(&mut machine).await;
        clones(&machine).await;
        libvirt.virsh(&["net-destroy", "default"], "");
        libvirt.virsh(&["pool-destroy", "default"], "");
        machine.power(Power::Start).await;
        machine.is(State::Running).await;
        machine.remove().await;
        assert_eq!(libvirt.resources(), before, "remove left something");
    });
}

async fn snapshots(machine: &mut Machine<'_>) {
    let (driver, bench) = (machine.driver.clone(), machine.bench);
    let state = driver.take_snapshot(&bench.cx(), &machine.state, "running").await.unwrap();
    let error = driver.take_snapshot(&bench.cx(), &state, "running").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyDone);
    machine.power(Power::Kill).await;
    driver.take_snapshot(&bench.cx(), &state, "off").await.unwrap();
    let all = driver.snapshots(&bench.cx(), &state).await.unwrap();
    let mut seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.with_memory)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [("off", false), ("running", true)]);
    assert!(all.iter().all(|one| one.taken_s > 0));
    driver.restore_snapshot(&bench.cx(), &state, "running").await.unwrap();
    machine.is(State::Running).await;
    driver.restore_snapshot(&bench.cx(), &state, "off").await.unwrap();
    machine.is(State::Stopped).await;
    for missing in [
        driver.restore_snapshot(&bench.cx(), &state, "nosuch").await.unwrap_err(),
        driver.remove_snapshot(&bench.cx(), &state, "nosuch").await.unwrap_err(),
    ] {
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
    driver.remove_snapshot(&bench.cx(), &state, "running").await.unwrap();
    assert_eq!(driver.snapshots(&bench.cx(), &state).await.unwrap().len(), 1);
    driver.remove_snapshot(&bench.cx(), &state, "off").await.unwrap();
}

async fn sizes(machine: &mut Machine<'_>) {
    let (driver, bench) = (machine.driver.clone(), machine.bench);
    let to = Resize { cpus: Some(2), memory_mib: Some(96), disk_mib: Some(80) };
    machine.state = driver.resize(&bench.cx(), &machine.state, to).await.unwrap();
    let info = machine.libvirt.virsh(&["dominfo", machine.uuid()], "");
    assert!(info.contains("CPU(s):         2") && info.contains("98304 KiB"), "{info}");
    let volume = machine.state.str("DiskVolume").to_owned();
    let info = machine.libvirt.virsh(&["vol-info", "--bytes", "--pool", "default", &volume], "");
    assert!(info.contains(&(80 * 1024 * 1024).to_string()), "{info}");
    let smaller = Resize { disk_mib: Some(64), ..Resize::default() };
    let error = driver.resize(&bench.cx(), &machine.state, smaller).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
}

async fn clones(machine: &Machine<'_>) {
    let (driver, bench) = (machine.driver.clone(), machine.bench);
    let name = MachineName::new("copy").unwrap();
    let store = bench.cx().store_path;
    let wish =
        driver.clone_wish(&ConfigureContext { name: &name, store_path: store }, &machine.state).unwrap();
    let cx = Cx { name: &name, ..bench.cx() };
    driver.precreate(&cx, &wish).await.unwrap();
    let copy = driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await.unwrap();
    assert_eq!(driver.observe(&cx, &copy).await.unwrap().state, State::Running);
    let again = driver.clone_wish(&ConfigureContext { name: &name, store_path: store }, &copy).unwrap();
    let other = MachineName::new("other").unwrap();
    let cx_of_other = Cx { name: &other, ..bench.cx() };
    assert!(driver.precreate(&cx_of_other, &again).await.is_err(), "a clone of a running machine");
    driver.remove(&cx, &copy).await.unwrap();
}

/// Ports of this computer, and what happens where somebody else takes them.
#[test]
fn forwarded_ports_that_are_taken_are_exchanged() {
    let Some(libvirt) = Libvirt::session() else { return };
    block_on(async {
        let (bench, before) = (Bench::new(), libvirt.resources());
        // The user's daemon writes the console into the machine's folder, as root's process here could not let it.
        for folder in [bench.cx().store_path, bench.cx().machine_dir] {
            std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).unwrap();
        }
        let mut machine = Machine::create(&libvirt, &bench, &[]).await;
        let known = machine.driver.known(&machine.state).unwrap();
        assert_eq!((known.ip.as_str(), known.engine_port), ("127.0.0.1", Some(2376)));
        let port = known.ssh.unwrap().port;
        machine.power(Power::Kill).await;
        // QEMU listens in the namespace, so this is the driver's own look.
        let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        machine.power(Power::Start).await;
        machine.is(State::Running).await;
        let now = machine.driver.known(&machine.state).unwrap();
        assert_ne!(now.ssh.unwrap().port, port);
        assert_eq!(now.url, known.url, "the other port stays");
        assert!(bench.cx().machine_dir.join("console.log").exists(), "the console is written");
        machine.remove().await;
        assert_eq!(libvirt.resources(), before, "remove left something");
    });
}
