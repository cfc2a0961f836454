//! A host as a cloud has it: its user data can be read by others, its address is known once it runs, and its image has no
//! engine. The real cloud-init reads the user data at a real boot; the provider is made up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, Event, FlagValues, ImageFacts, Known, MachineName, Observed, Power, Prospect,
    Reporter, Secret, SshEndpoint, State, SwarmOptions,
};
use machine_lifecycle::{
    AllowFrom, ConnectOptions, CreateRequest, Error, InstallMethod, Lifecycle, Settings,
};
use machine_ssh::{ExecLimits, HostKeyOutcome};
use machine_store::{Journal, Status, Store};
use machine_testkit::lab::{Host, Lab, Options, Spec, Variant};

const USER: &str = "admin";

/// Makes one "instance" of a lab host: its first boot with the seed is a reboot.
struct Cloud {
    spec: DriverSpec,
    host: Arc<Host>,
    user_data: String,
    /// How often an instance was made.
    made: AtomicUsize,
    /// What `create` was told, and then each narrowing.
    rules: Mutex<Vec<Vec<String>>>,
    /// The user data that came to `create`.
    seed: Mutex<String>,
    /// Where the instance is by now.
    address: Mutex<String>,
}

impl Cloud {
    fn new(host: Arc<Host>, user_data: &str) -> Self {
        let capabilities = Capabilities {
            ssh: true,
            user_data: true,
            marks: true,
            firewall: true,
            batch: true,
            ..Capabilities::default()
        };
        let spec = DriverSpec {
            name: "cloud".into(),
            summary: "lab".into(),
            flags: Vec::new().into(),
            capabilities,
        };
        Self {
            spec,
            address: Mutex::new(host.address().to_string()),
            host,
            user_data: user_data.to_owned(),
            made: AtomicUsize::new(0),
            rules: Mutex::default(),
            seed: Mutex::default(),
        }
    }

    fn write(&self, path: &str, text: &str) {
        let root = format!("/proc/{}/root{path}", self.host.init_pid().unwrap());
        std::fs::create_dir_all(Path::new(&root).parent().unwrap()).unwrap();
        std::fs::write(root, text).unwrap();
    }
}

#[async_trait]
impl Driver for Cloud {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, _: &FlagValues) -> Result<DriverState, DriverError> {
        let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_ed25519");
        let mut state = DriverState::default();
        state.0.insert("IPAddress".to_owned(), "".into());
        state.0.insert("SSHUser".to_owned(), USER.into());
        state.0.insert("SSHKeyPath".to_owned(), key.to_string_lossy().into());
        Ok(state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let ip = state.str("IPAddress").to_owned();
        if ip.is_empty() {
            return Ok(Known::default());
        }
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
        let os_release = inside(&self.host, "cat /etc/os-release");
        let image = ImageFacts { os_release, arch: "x86_64".to_owned(), engine: None };
        let user_data = Some(Secret::new(self.user_data.as_str()));
        Ok(Prospect { image: Some(image), user_data, ..Prospect::default() })
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        mut wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        assert_eq!(cx.store_id.len(), 32);
        self.rules.lock().unwrap().push(cx.allow_from.to_vec());
        if wish.str("InstanceId").is_empty() {
            let seed = cx.seed.unwrap();
            seed.user_data.expose().clone_into(&mut self.seed.lock().unwrap());
            self.write("/var/lib/cloud/seed/nocloud/user-data", seed.user_data.expose());
            self.write("/var/lib/cloud/seed/nocloud/meta-data", "instance-id: i-1\n");
            wish.0.insert("InstanceId".to_owned(), "i-1".into());
            save.save(&wish)?;
            self.made.fetch_add(1, Ordering::SeqCst);
            self.host.reboot().unwrap();
        }
        Ok(wish)
    }

    async fn observe(&self, _: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let mut now = state.clone();
        now.0.insert("IPAddress".to_owned(), self.address.lock().unwrap().as_str().into());
        let changed = (now != *state).then_some(now);
        Ok(Observed { state: State::Running, changed, last_sign: "cloud-init[1]: hello".to_owned() })
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
        Ok(state.clone())
    }

    async fn allow_from(
        &self,
        _: &Cx<'_>,
        state: &DriverState,
        networks: &[String],
    ) -> Result<DriverState, DriverError> {
        self.rules.lock().unwrap().push(networks.to_vec());
        Ok(state.clone())
    }

    async fn remove(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }
}

struct Drivers(Arc<Cloud>);

impl DriverSource for Drivers {
    fn driver(&self, _: &str) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }

    fn names(&self) -> Vec<String> {
        vec!["cloud".to_owned()]
    }
}

/// Keeps what it is told; the process "is killed" at the event which has that text.
#[derive(Default)]
struct Events {
    killed_at: Option<&'static str>,
    told: Mutex<Vec<String>>,
}

impl Events {
    fn has(&self, text: &str) -> bool {
        self.told.lock().unwrap().iter().any(|told| told.contains(text))
    }
}

impl Reporter for Events {
    fn report(&self, event: Event) {
        let told = format!("{event:?}");
        let kill = self.killed_at.is_some_and(|at| told.contains(at));
        self.told.lock().unwrap().push(told);
        // Nothing that is on disk knows this from a kill: nothing is written while it unwinds.
        assert!(!kill, "killed");
    }
}

fn inside(host: &Host, line: &str) -> String {
    host.shell_inside(line).unwrap().expect_success().to_owned()
}

fn host_of_image(lab: &Lab) -> Host {
    let options = Options { with_network: true, ..Options::default() };
    let host = lab.host(Spec::new(Variant::Bare).with(options)).unwrap();
    inside(&host, "apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install cloud-init");
    inside(
        &host,
        "printf '%s\\n' 'datasource_list: [NoCloud]' 'network: {config: disabled}' >/etc/cloud/cloud.cfg.d/99-lab.cfg; \
         sed -i '/^ *- locale$/d' /etc/cloud/cloud.cfg",
    );
    host
}

struct Test {
    root: tempfile::TempDir,
    cloud: Arc<Cloud>,
}

impl Test {
    fn new(lab: &Lab, user_data: &str) -> Self {
        let host = Arc::new(host_of_image(lab));
        Self { root: tempfile::tempdir().unwrap(), cloud: Arc::new(Cloud::new(host, user_data)) }
    }

    fn lifecycle(&self) -> Lifecycle {
        let store = self.root.path().join("store");
        let drivers = Arc::new(Drivers(Arc::clone(&self.cloud)));
        Lifecycle::new(Store::new(&store), drivers, Settings::for_store(&store))
    }

    fn create(&self, events: &Events) -> Result<(), Error> {
        let request = CreateRequest {
            name: MachineName::new("web").unwrap(),
            driver: "cloud".into(),
            flags: FlagValues::default(),
            engine: EngineOptions::default(),
            swarm: SwarmOptions::default(),
            tls_sans: Vec::new(),
            key_algorithm: machine_tls::KeyAlgorithm::EcdsaP256,
            install: InstallMethod::Distro,
            registry_cas: Vec::new(),
            ssh_jumps: Vec::new(),
            allow_from: vec![AllowFrom::Me, AllowFrom::parse("192.0.2.7/24").unwrap()],
            rollback: false,
        };
        block_on(self.lifecycle().create(request, events)).map(drop)
    }

    fn journal(&self) -> Journal {
        self.lifecycle().store().load_journal("web").unwrap().unwrap()
    }

    /// That the host is known by one of its pins, and what it says.
    fn ask(&self, command: &str) -> String {
        block_on(async {
            let lifecycle = self.lifecycle();
            let options = ConnectOptions::default();
            // An SSH server that reads its keys again is away for a moment.
            let mut tries = 0;
            let session = loop {
                match lifecycle.connect("web", &options, &Events::default()).await {
                    Ok(session) => break session,
                    Err(Error::Ssh { source, .. }) if source.is_transient() && tries < 100 => tries += 1,
                    Err(error) => panic!("{error}"),
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            };
            assert_eq!(session.host_key_outcome(), HostKeyOutcome::Matched);
            let output = session.exec(command, "", &ExecLimits::default()).await.unwrap();
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        })
    }

    fn host_key_file(&self) -> std::path::PathBuf {
        self.root.path().join("store/machines/web/ssh_host_ed25519_key")
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// As bad as it can be for us: it wants its lists and keys to replace all others.
const THE_USERS: &str = "#cloud-config
merge_how:
- name: list
  settings: [replace]
- name: dict
  settings: [replace]
users:
- name: bob
  shell: /bin/sh
ssh_deletekeys: false
ssh_keys:
  ed25519_private: nonsense
write_files:
- path: /etc/from-the-user
  content: hello
";

/// The moments of an exchange of host keys at which a process may be killed. What comes after the last of them is the same on disk.
const MOMENTS: [&str; 4] = ["to be made", "to be pinned", "to be put in place", "to be seen"];

#[test]
fn a_host_at_a_provider_installs_itself_and_makes_its_own_host_key() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let test = Test::new(&lab, THE_USERS);
    // Killed at each moment of the first contact; it is known after each.
    for (round, moment) in MOMENTS.into_iter().enumerate() {
        let events = Events { killed_at: Some(moment), ..Events::default() };
        let ended = catch_unwind(AssertUnwindSafe(|| match round {
            0 => test.create(&events),
            _ => block_on(test.lifecycle().resume("web", &events)).map(drop),
        }));
        let told = events.told.into_inner().unwrap();
        assert!(ended.is_err(), "not killed at {moment:?}: {ended:?}\n{}", told.join("\n"));
        assert_eq!(test.ask("echo in"), "in", "killed at {moment:?}");
        assert_eq!(test.journal().status, Status::Running);
    }
    let exposed = test.journal().host_keys[0].clone();
    assert!(test.cloud.seed.lock().unwrap().contains(&exposed), "it stands in the user data");
    assert!(test.host_key_file().exists() && test.journal().host_keys.len() > 1);

    let events = Events::default();
    block_on(test.lifecycle().resume("web", &events)).unwrap();
    let journal = test.journal();
    assert_eq!((journal.host_keys.len(), &journal.status), (1, &Status::Done));
    assert_ne!(journal.host_keys[0], exposed);
    assert!(!journal.extra.contains_key("exposedHostKeys") && !test.host_key_file().exists());
    let of_host = inside(&test.cloud.host, "cat /etc/ssh/ssh_host_ed25519_key.pub");
    assert_eq!(of_host.trim(), journal.host_keys[0]);
    assert_eq!(inside(&test.cloud.host, "ls /etc/ssh | grep -c docker-machine || :"), "0");

    // It was made once, and has installed its engine by itself while it was waited for.
    assert_eq!(test.cloud.made.load(Ordering::SeqCst), 1);
    let log = inside(&test.cloud.host, "cat /var/log/cloud-init-output.log");
    assert!(log.contains(" step 1 changed"), "{log}");
    assert!(!events.has("Installing Docker"), "over SSH: {:?}", events.told);
    assert!(!log.contains("PRIVATE KEY"));

    // What the user wanted is there beside what must be.
    assert_eq!(inside(&test.cloud.host, "cat /etc/from-the-user; echo; id -un bob"), "hello\nbob");
    assert_eq!(test.ask("sudo -n id -u; id -un"), format!("0\n{USER}"));

    // Open at first, because only the host could say who we are.
    let rules = test.cloud.rules.lock().unwrap().clone();
    let ours = vec![format!("{}/32", test.cloud.host.our_address()), "192.0.2.0/24".to_owned()];
    assert_eq!(
        (rules.first(), rules.iter().filter(|rule| **rule == ours).count()),
        (Some(&Vec::new()), 1),
        "{rules:?}"
    );

    // Later boots leave the host's key as it is, and provisioning has nothing left to do.
    test.cloud.host.reboot().unwrap();
    assert_eq!(test.ask("cloud-init status --wait >/dev/null; echo in"), "in");
    block_on(test.lifecycle().provision("web", &events)).unwrap();
    assert_eq!(test.journal().host_keys, journal.host_keys);
    let machine = test.lifecycle().store().load("web").unwrap();
    block_on(test.lifecycle().check_connection(&machine, false)).unwrap();

    // The instance comes up at another address: its engine gets a certificate for it, and `env` is right.
    let before = test.cloud.host.address().to_string();
    let now = before.rsplit_once('.').unwrap().0.to_owned() + ".77";
    let moves = format!("ip addr del {before}/24 dev eth0; ip addr add {now}/24 dev eth0");
    inside(&test.cloud.host, &moves);
    test.cloud.address.lock().unwrap().clone_from(&now);
    let settings = Settings {
        dial_limit: Duration::from_secs(3),
        ..Settings::for_store(&test.root.path().join("store"))
    };
    let lifecycle = Lifecycle::new(
        Store::new(test.root.path().join("store")),
        Arc::new(Drivers(Arc::clone(&test.cloud))),
        settings,
    );
    let events = Events::default();
    let (machine, connection) = block_on(lifecycle.connection(machine, false, &events)).unwrap();
    assert_eq!(connection.url, format!("tcp://{now}:2376"));
    assert_eq!(lifecycle.known(&machine).unwrap().ip, now);
    assert!(events.has("gets a new one"), "{:?}", events.told);
    block_on(lifecycle.check_connection(&lifecycle.store().load("web").unwrap(), false)).unwrap();
}

/// apt-get is away as long as cloud-init is at work.
const BREAKS_APT: &str = "#!/bin/sh
mv /usr/bin/apt-get /usr/bin/apt-get.away
systemd-run --quiet sh -c 'until [ -e /run/cloud-init/result.json ]; do sleep 0.05; done; mv /usr/bin/apt-get.away /usr/bin/apt-get'
";

#[test]
fn an_installation_that_fails_at_the_first_boot_is_told_and_done_over_ssh() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let test = Test::new(&lab, BREAKS_APT);
    let events = Events::default();
    test.create(&events).unwrap_or_else(|error| panic!("{error}\n{:#?}", events.told));
    assert!(
        events.has("Waiting for cloud-init to finish") || events.has("cloud-init of"),
        "{:#?}",
        events.told
    );
    assert!(events.has("cloud-init of \\\"web\\\" failed: "), "{:#?}", events.told);
    assert!(events.has("Installing Docker"), "{:#?}", events.told);
    assert!(events.has("everybody can reach the host's ports until"), "{:#?}", events.told);
    let machine = test.lifecycle().store().load("web").unwrap();
    block_on(test.lifecycle().check_connection(&machine, false)).unwrap();
}

/// Its account is the one that we log in by, and its keys are others; it is not all ASCII; and the host restarts when it is done.
const THE_SAME_ACCOUNT: &str = "#cloud-config
# Müller – łódź 日本
users:
- name: admin
  shell: /bin/bash
  ssh_authorized_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl bob]
write_files:
- path: /etc/from-the-user
  content: \"grüße – 日本\"
power_state:
  mode: reboot
";

#[test]
fn user_data_may_have_our_account_and_restart_the_host() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let test = Test::new(&lab, THE_SAME_ACCOUNT);
    let events = Events::default();
    test.create(&events).unwrap_or_else(|error| panic!("{error}\n{:#?}", events.told));
    assert!(events.has("the host may be restarting"), "{:#?}", events.told);
    assert_eq!(inside(&test.cloud.host, "cat /etc/from-the-user"), "grüße – 日本");
    assert_eq!(test.ask("sudo -n id -u; id -un; grep -c '' .ssh/authorized_keys"), format!("0\n{USER}\n2"));
    assert!(!test.journal().extra.contains_key("lateLogin"));
    assert_eq!(test.cloud.made.load(Ordering::SeqCst), 1);
    let machine = test.lifecycle().store().load("web").unwrap();
    block_on(test.lifecycle().check_connection(&machine, false)).unwrap();
}

/// It restarts the host while cloud-init is at work, once.
const RESTARTS_AT_ONCE: &str = "#cloud-config
runcmd:
- |
  [ ! -e /etc/restarted ] || exit 0
  touch /etc/restarted
  until [ -e /etc/sudoers.d/90-cloud-init-users ] && grep -q sshd /proc/[0-9]*/comm; do sleep 0.1; done
  sleep 5
  systemctl --no-block reboot
  sleep 60
";

#[test]
fn a_host_that_restarts_while_cloud_init_is_waited_for_is_waited_for_again() {
    let Some(lab) = Lab::for_test().unwrap() else { return };
    let test = Test::new(&lab, RESTARTS_AT_ONCE);
    let events = Events::default();
    test.create(&events).unwrap_or_else(|error| panic!("{error}\n{:#?}", events.told));
    assert!(events.has("the host may be restarting"), "{:#?}", events.told);
    let machine = test.lifecycle().store().load("web").unwrap();
    block_on(test.lifecycle().check_connection(&machine, false)).unwrap();
}
