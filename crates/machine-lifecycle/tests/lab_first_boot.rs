//! A host that sets itself up by user data, read by the real cloud-init at a real boot, is the same as one that was set up
//! over SSH.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, ErrorKind, FlagValue, FlagValues, ImageEngine, ImageFacts, Known,
    MachineName, Observed, Power, Prospect, Silent, SshEndpoint, State, SwarmOptions,
};
use machine_lifecycle::{CertPaths, ConnectOptions, CreateRequest, InstallMethod, Lifecycle, Settings};
use machine_store::{Phase, Store};
use machine_testkit::lab::{Host, KeyKind, Lab, Options, Output, Spec, Variant};

/// Makes "virtual machines" of one lab host: its first boot with a seed is a reboot. Its name is that of the driver which
/// makes the other host, because the engine's label has it.
struct Seeder {
    spec: DriverSpec,
    host: Arc<Host>,
    /// What came to `create`.
    user_data: Mutex<String>,
}

const USER: &str = "docker";

impl Seeder {
    fn new(host: Arc<Host>) -> Self {
        let capabilities = Capabilities { ssh: true, user_data: true, ..Capabilities::default() };
        let spec = DriverSpec {
            name: "generic".into(),
            summary: "lab".into(),
            flags: Vec::new().into(),
            capabilities,
        };
        Self { spec, host, user_data: Mutex::default() }
    }

    fn write(&self, path: &str, text: &str) {
        // Over a file of the host's own folder, since a command line has a limit.
        let root = format!("/proc/{}/root{path}", self.host.init_pid().unwrap());
        std::fs::create_dir_all(Path::new(&root).parent().unwrap()).unwrap();
        std::fs::write(root, text).unwrap();
    }
}

#[async_trait]
impl Driver for Seeder {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, _: &FlagValues) -> Result<DriverState, DriverError> {
        let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_ed25519");
        let mut state = DriverState::default();
        state.0.insert("IPAddress".to_owned(), self.host.address().to_string().into());
        state.0.insert("SSHKeyPath".to_owned(), key.to_string_lossy().into());
        Ok(state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let ip = state.str("IPAddress").to_owned();
        let ssh = SshEndpoint {
            host: ip.clone(),
            port: self.host.ssh_port(),
            user: USER.to_owned(),
            key: Some(state.str("SSHKeyPath").into()),
        };
        Ok(Known { url: format!("tcp://{ip}:2376"), ip, ssh: Some(ssh), engine_port: Some(2376) })
    }

    async fn precreate(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }

    async fn prospect(&self, _: &Cx<'_>, _: &DriverState) -> Result<Prospect, DriverError> {
        let engine = ImageEngine {
            package: "docker.io".to_owned(),
            version: "20.10.24".to_owned(),
            dockerd: "/usr/sbin/dockerd".to_owned(),
        };
        let os_release = inside(&self.host, "cat /etc/os-release").to_owned();
        let image = ImageFacts { os_release, arch: "x86_64".to_owned(), engine: Some(engine) };
        Ok(Prospect { image: Some(image), private: true, ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        _: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let seed = cx.seed.ok_or_else(|| DriverError::new(ErrorKind::Other, "no seed"))?;
        self.user_data.lock().unwrap().push_str(seed.user_data.expose());
        self.write("/var/lib/cloud/seed/nocloud/user-data", seed.user_data.expose());
        self.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: first\n");
        self.host.reboot().unwrap();
        Ok(wish)
    }

    async fn observe(&self, _: &Cx<'_>, _: &DriverState) -> Result<Observed, DriverError> {
        Ok(Observed { state: State::Running, ..Observed::default() })
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
        Ok(state.clone())
    }

    async fn remove(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }
}

struct Drivers(Arc<Seeder>);

impl DriverSource for Drivers {
    fn driver(&self, _: &str) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }

    fn names(&self) -> Vec<String> {
        vec!["generic".to_owned()]
    }
}

/// A host like one that comes from an image: cloud-init in it, the engine installed and enabled, and never started.
fn host_of_image(lab: &Lab) -> Host {
    let options = Options { with_network: true, dockerd_in_sbin: true, ..Options::default() };
    let host = lab.host(Spec::new(Variant::Stopped).with(options)).unwrap();
    inside(&host, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install cloud-init");
    // There are no disks, no links to configure, and no other source of seeds here.
    inside(
        &host,
        "printf '%s\\n' 'datasource_list: [NoCloud]' 'network: {config: disabled}' >/etc/cloud/cloud.cfg.d/99-lab.cfg; \
         sed -i '/^ *- locale$/d' /etc/cloud/cloud.cfg; rm -rf /etc/docker; systemctl enable docker",
    );
    host
}

fn inside(host: &Host, line: &str) -> String {
    let output: Output = host.shell_inside(line).unwrap();
    output.expect_success().to_owned()
}

fn request(flags: FlagValues) -> CreateRequest {
    CreateRequest {
        name: MachineName::new("web.example").unwrap(),
        driver: "generic".into(),
        flags,
        engine: EngineOptions {
            labels: Some(vec!["a=b c\"$d%e".to_owned()]),
            env: Some(vec!["NO_PROXY=a,b".to_owned()]),
            ..EngineOptions::default()
        },
        swarm: SwarmOptions::default(),
        tls_sans: Vec::new(),
        key_algorithm: machine_tls::KeyAlgorithm::EcdsaP256,
        install: InstallMethod::None,
        registry_cas: Vec::new(),
        ssh_jumps: Vec::new(),
        allow_from: Vec::new(),
        rollback: false,
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What is different for a reason: who logs in, this host's own keys and certificate, what only cloud-init leaves, and the names of
/// who was there first.
const OWN: &[&str] = &[
    "/etc/cloud/",
    "/etc/group",
    "/etc/gshadow",
    "/etc/passwd",
    "/etc/shadow",
    "/etc/subgid",
    "/etc/subuid",
    "/etc/sudoers.d/90-docker-machine",
    "/etc/ssh/",
    "/etc/apt/",
    "/etc/fstab",
    "/etc/machine-id",
    "/etc/.pwd.lock",
];

/// Files of /etc with owner, mode, and content where that is not the host's own.
fn files(host: &Host) -> BTreeMap<String, String> {
    let list = inside(
        host,
        "cd /; find /etc -type f -printf '%p %u %g %m ' -exec sha256sum {} \\; ; find /etc -type l -printf '%p -> %l\\n'",
    );
    let files = list.lines().filter(|line| !OWN.iter().any(|own| line.starts_with(own)));
    files
        .map(|line| {
            let (path, rest) = line.split_once(' ').unwrap();
            let rest = match path {
                // The lab's name of the host is in the third; the engine makes up the last.
                "/etc/docker/server.pem"
                | "/etc/docker/server-key.pem"
                | "/etc/hosts"
                | "/etc/docker/key.json" => rest.rsplit_once("  ").unwrap().0.rsplit_once(' ').unwrap().0,
                _ => rest,
            };
            (path.to_owned(), rest.to_owned())
        })
        .collect()
}

/// What the two hosts must agree on beside files.
fn facts(host: &Host) -> BTreeMap<&'static str, String> {
    let questions = [
        ("hostname", "hostname"),
        ("hosts", "sed 's/lab-[0-9]*/LAB/g' /etc/hosts"),
        ("enabled", "systemctl is-enabled docker.service"),
        ("active", "systemctl is-active docker.service"),
        ("command line", "tr '\\0' '\\n' </proc/$(pidof dockerd)/cmdline"),
        ("environment", "tr '\\0' '\\n' </proc/$(pidof dockerd)/environ | grep PROXY"),
        (
            "restart due",
            "ls /run/docker-machine.restart 2>&1 | wc -l; ls /run | grep -c machine.restart || :",
        ),
    ];
    questions.into_iter().map(|(what, line)| (what, inside(host, line))).collect()
}

/// It has finished without an error, and has nothing to say against what it was told.
fn cloud_init_is_content(host: &Host) {
    let said = host.shell_inside("cloud-init status --wait --long").unwrap().stdout;
    let log =
        "grep -A8 -E 'WARN|Traceback' /var/log/cloud-init.log; tail -n 40 /var/log/cloud-init-output.log";
    let log = host.shell_inside(log).unwrap().stdout;
    assert!(said.contains("status: done") && !log.contains("[WARNING]"), "{said}\n{log}");
}

/// How often the engine was started since the host's boot.
fn starts(host: &Host) -> usize {
    let log = inside(host, "journalctl -b -u docker.service -o cat");
    log.lines().filter(|line| line.starts_with("Starting docker.service")).count()
}

#[test]
fn a_host_that_sets_itself_up_is_the_same_as_one_that_was_set_up_over_ssh() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let root = tempfile::tempdir().unwrap();
    let lifecycle = |store: &str, drivers: Arc<dyn DriverSource>| {
        let store = root.path().join(store);
        let cert_paths = CertPaths::in_folder(&root.path().join("certs"));
        let settings = Settings { cert_paths, ..Settings::for_store(&store) };
        Lifecycle::new(Store::new(&store), drivers, settings)
    };
    let (seeded, told) = std::thread::scope(|scope| {
        let told = scope.spawn(|| host_of_image(&lab));
        (Arc::new(host_of_image(&lab)), told.join().unwrap())
    });

    let seeder = Arc::new(Seeder::new(Arc::clone(&seeded)));
    let by_seed = lifecycle("seeded", Arc::new(Drivers(Arc::clone(&seeder))));
    let machine = block_on(by_seed.create(request(FlagValues::default()), &Silent)).unwrap();
    assert_eq!(machine.host_options.auth_options.server_key_remote_path, "/etc/docker/server-key.pem");
    let journal = by_seed.store().load_journal("web.example").unwrap().unwrap();
    assert!(!journal.timings.contains_key(&Phase::Provision), "it needed SSH: {journal:?}");
    // The script at the end of the boot has nothing left to do.
    cloud_init_is_content(&seeded);
    assert_eq!(starts(&seeded), 1);
    // The key that was pinned beforehand is the host's, and the user may become root.
    block_on(async {
        let session = by_seed.connect("web.example", &ConnectOptions::default(), &Silent).await.unwrap();
        assert_eq!(session.host_key_outcome(), machine_ssh::HostKeyOutcome::Matched);
        let limits = machine_ssh::ExecLimits::default();
        let output = session.exec("sudo -n id -u && id -gn", "", &limits).await.unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "0\ndocker\n");
    });

    let mut flags = FlagValues::default();
    let key = lab.key(KeyKind::Rsa).to_string_lossy().into_owned();
    flags.set("generic-ip-address", FlagValue::Str(told.address().to_string()));
    flags.set("generic-ssh-user", FlagValue::Str("root".into()));
    flags.set("generic-ssh-key", FlagValue::Str(key));
    flags.set("generic-ssh-port", FlagValue::Int(told.ssh_port().into()));
    flags.set("generic-engine-port", FlagValue::Int(2376));
    let by_ssh = lifecycle("told", Arc::new(machine_drivers::Builtin));
    block_on(by_ssh.create(request(flags), &Silent)).unwrap();

    assert_eq!(facts(&seeded), facts(&told));
    let (ours, theirs) = (files(&seeded), files(&told));
    let differs = |path: &&String| ours.get(*path) != theirs.get(*path);
    let different: BTreeSet<&String> = ours.keys().chain(theirs.keys()).filter(differs).collect();
    let both = different.iter().map(|path| (path, ours.get(*path), theirs.get(*path)));
    assert!(different.is_empty(), "{:#?}", both.collect::<Vec<_>>());
    assert!(ours.contains_key("/etc/systemd/system/docker.service.d/10-machine.conf"));

    // Set up once more over SSH, it is as it should be already.
    let before = starts(&seeded);
    block_on(by_seed.provision("web.example", &Silent)).unwrap();
    assert_eq!(starts(&seeded), before);

    // New certificates are not overwritten by the seed when it boots again.
    block_on(by_seed.regenerate_server_certs("web.example", &Silent)).unwrap();
    let certificate = inside(&seeded, "cat /etc/docker/server.pem");
    seeded.reboot().unwrap();
    cloud_init_is_content(&seeded);
    assert_eq!(inside(&seeded, "cat /etc/docker/server.pem"), certificate);
    block_on(by_seed.check_connection(&machine, false)).unwrap();
}
