//! What drivers of clouds get from a lifecycle, and how often they are asked. The provider is made up, and is a folder; the engine is an
//! `openssl s_server` with the certificate that was made for it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, ErrorKind, FlagValues, Known, Machine, MachineName, Observed, Power,
    Prospect, Secret, Silent, SshEndpoint, State, SwarmOptions,
};
use machine_lifecycle::{
    AllowFrom, ConnectOptions, CreateRequest, Error, InstallMethod, Lifecycle, Settings,
};
use machine_store::Store;
use machine_testkit::skip;

/// What `precreate` and `create` were told.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    store_id: String,
    allow_from: Vec<String>,
}

#[derive(Default)]
struct World {
    prospect: Prospect,
    prechecked: Vec<Told>,
    created: Vec<Told>,
    removed: Vec<Told>,
    /// Where the engines of hosts are by now, by the machine's name.
    moved: Option<u16>,
    /// Whether the list of all hosts never comes.
    silent: bool,
    /// What happens to the store while a host is looked at.
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
    /// What looks at a host find, one after the other, and then the last of it for ever: a state, a sign of life and a port;
    /// `None` where the provider knows no such host yet.
    finds: Vec<Option<(State, &'static str, u16)>>,
}

struct Fake {
    spec: DriverSpec,
    world: Mutex<World>,
    looks: AtomicUsize,
    batches: AtomicUsize,
    /// Where the provider's resources are, and how many steps `create` has until the process is ended.
    provider: PathBuf,
    steps: Mutex<Option<usize>>,
}

impl Fake {
    fn told(cx: &Cx<'_>) -> Told {
        Told { store_id: cx.store_id.to_owned(), allow_from: cx.allow_from.to_vec() }
    }

    fn world<T>(&self, with: impl FnOnce(&mut World) -> T) -> T {
        with(&mut self.world.lock().unwrap())
    }

    fn seen(&self, state: &DriverState) -> Result<Observed, DriverError> {
        if let Some(meanwhile) = self.world(|world| world.meanwhile.take()) {
            meanwhile();
        }
        if state.str("Gone") == "yes" {
            return Err(DriverError::new(ErrorKind::NotFound, "there is no such host"));
        }
        let moved = self.world(|world| world.moved).map(|port| {
            let mut state = state.clone();
            state.0.insert("EnginePort".to_owned(), port.into());
            state
        });
        let changed = moved.filter(|moved| moved != state);
        Ok(Observed { state: State::Running, changed, ..Observed::default() })
    }

    /// One more step of `create`: the process may end before it.
    fn step(&self) {
        let mut steps = self.steps.lock().unwrap();
        match &mut *steps {
            Some(0) => {
                // What SIGKILL does: nothing is unwound or written.
                let _ = Command::new("kill").args(["-9", &std::process::id().to_string()]).status();
                std::thread::sleep(Duration::from_secs(60));
            }
            Some(left) => *left -= 1,
            None => {}
        }
    }
}

/// In the order in which they are made.
const RESOURCES: [&str; 4] = ["key", "group", "disk", "instance"];

#[async_trait]
impl Driver for Fake {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, _: &FlagValues) -> Result<DriverState, DriverError> {
        let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_ed25519");
        let mut state = DriverState::default();
        state.0.insert("SSHKeyPath".to_owned(), key.to_string_lossy().into());
        state.0.insert("SSHUser".to_owned(), "admin".into());
        state.0.insert("EnginePort".to_owned(), 0.into());
        Ok(state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let Some(port) = state.0.get("EnginePort").and_then(serde_json::Value::as_u64) else {
            return Err(DriverError::new(ErrorKind::Config, "EnginePort is broken"));
        };
        if port == 0 {
            return Ok(Known::default());
        }
        let key = Some(state.str("SSHKeyPath").into());
        // Nobody listens there.
        let of_server = state.0.get("SSHPort").and_then(serde_json::Value::as_u64);
        let ssh_port = of_server.and_then(|port| u16::try_from(port).ok()).unwrap_or(1);
        let ssh = SshEndpoint { host: "127.0.0.1".to_owned(), port: ssh_port, user: "admin".to_owned(), key };
        let url = format!("tcp://127.0.0.1:{port}");
        Ok(Known { ip: "127.0.0.1".to_owned(), url, ssh: Some(ssh), engine_port: None })
    }

    async fn precreate(&self, cx: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        self.world(|world| world.prechecked.push(Self::told(cx)));
        Ok(())
    }

    async fn prospect(&self, _: &Cx<'_>, _: &DriverState) -> Result<Prospect, DriverError> {
        Ok(self.world(|world| world.prospect.clone()))
    }

    /// Each resource has a token that is on disk before it is asked for; asked for again, it is the same one.
    async fn create(
        &self,
        cx: &Cx<'_>,
        mut wish: DriverState,
        save: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        self.world(|world| world.created.push(Self::told(cx)));
        for kind in RESOURCES {
            if wish.str(kind).is_empty() {
                self.step();
                wish.0.insert(kind.to_owned(), format!("{kind}-of-{}", cx.name).into());
                save.save(&wish)?;
            }
            self.step();
            std::fs::write(self.provider.join(wish.str(kind)), cx.store_id).unwrap();
        }
        self.step();
        Ok(wish)
    }

    async fn observe(&self, _: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        let looks = self.looks.fetch_add(1, Ordering::SeqCst);
        let find = self.world(|world| world.finds.get(looks).or(world.finds.last()).copied());
        match find {
            None => self.seen(state),
            Some(None) => Err(DriverError::new(ErrorKind::NotFound, "there is no such host")),
            Some(Some((seen, sign, port))) => {
                let mut changed = state.clone();
                changed.0.insert("EnginePort".to_owned(), port.into());
                Ok(Observed { state: seen, changed: Some(changed), last_sign: sign.to_owned() })
            }
        }
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        self.batches.fetch_add(1, Ordering::SeqCst);
        if self.world(|world| world.silent) {
            std::future::pending::<()>().await;
        }
        hosts.iter().map(|(_, state)| self.seen(state)).collect()
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
        Ok(state.clone())
    }

    async fn remove(&self, cx: &Cx<'_>, state: &DriverState) -> Result<(), DriverError> {
        self.world(|world| world.removed.push(Self::told(cx)));
        for kind in RESOURCES.iter().rev().filter(|kind| !state.str(kind).is_empty()) {
            let _ = std::fs::remove_file(self.provider.join(state.str(kind)));
        }
        Ok(())
    }
}

struct Drivers(Arc<Fake>);

impl DriverSource for Drivers {
    fn driver(&self, _: &str) -> Result<Arc<dyn Driver>, DriverError> {
        Ok(self.0.clone())
    }

    fn names(&self) -> Vec<String> {
        vec!["fake".to_owned()]
    }
}

struct Test {
    root: PathBuf,
    _root: Option<tempfile::TempDir>,
    fake: Arc<Fake>,
}

fn cloud() -> Capabilities {
    Capabilities {
        ssh: true,
        user_data: true,
        batch: true,
        firewall: true,
        marks: true,
        ..Capabilities::default()
    }
}

impl Test {
    fn new(capabilities: Capabilities) -> Self {
        let root = tempfile::tempdir().unwrap();
        let test = Self::at(root_of(&root), capabilities, None);
        Self { _root: Some(root), ..test }
    }

    fn at(root: PathBuf, capabilities: Capabilities, steps: Option<usize>) -> Self {
        let spec = DriverSpec {
            name: "fake".into(),
            summary: "made up".into(),
            flags: Vec::new().into(),
            capabilities,
        };
        let provider = root.join("provider");
        std::fs::create_dir_all(&provider).unwrap();
        let fake = Fake {
            spec,
            world: Mutex::default(),
            looks: AtomicUsize::new(0),
            batches: AtomicUsize::new(0),
            provider,
            steps: Mutex::new(steps),
        };
        Self { root, _root: None, fake: Arc::new(fake) }
    }

    fn lifecycle(&self) -> Lifecycle {
        let store = self.store_root();
        let limit = Duration::from_secs(1);
        let settings = Settings {
            boot_limit: limit,
            reach_limit: limit,
            engine_limit: limit,
            ..Settings::for_store(&store)
        };
        Lifecycle::new(Store::new(&store), Arc::new(Drivers(Arc::clone(&self.fake))), settings)
    }

    fn store_root(&self) -> PathBuf {
        self.root.join("store")
    }

    fn create(&self, allow_from: &[&str]) -> Result<Machine, Error> {
        let request = CreateRequest {
            name: MachineName::new("dev").unwrap(),
            driver: "fake".to_owned(),
            flags: FlagValues::default(),
            engine: EngineOptions::default(),
            swarm: SwarmOptions::default(),
            tls_sans: Vec::new(),
            key_algorithm: machine_tls::KeyAlgorithm::EcdsaP256,
            install: InstallMethod::None,
            registry_cas: Vec::new(),
            ssh_jumps: Vec::new(),
            allow_from: allow_from.iter().map(|text| AllowFrom::parse(text).unwrap()).collect(),
            rollback: false,
        };
        block_on(self.lifecycle().create(request, &Silent))
    }

    /// Records of machines, as if they had been made: their engines would be at that port.
    fn records(&self, names: &[String], port: u16) {
        let first = names.first().unwrap();
        let whole =
            Test::at(self.root.clone(), Capabilities { ssh: false, ..cloud() }, None).create(&[]).unwrap();
        let store = self.lifecycle().store().clone();
        for name in names {
            let mut machine = Machine { name: name.clone(), ..whole.clone() };
            machine.driver.0.insert("EnginePort".to_owned(), port.into());
            let lock = store.reserve(&MachineName::new(name).unwrap(), Duration::ZERO).unwrap();
            store.create(&lock, &machine, &machine_store::Journal::default()).unwrap();
        }
        assert_ne!(first, "dev");
        block_on(self.lifecycle().remove("dev", false, &Silent)).unwrap();
    }

    fn change(&self, name: &str, key: &str, value: serde_json::Value) {
        let store = self.lifecycle().store().clone();
        let lock = store.lock_machine(name, Duration::ZERO).unwrap();
        let mut machine = store.load(name).unwrap();
        machine.driver.0.insert(key.to_owned(), value);
        store.save(&lock, &machine).unwrap();
    }

    fn port_of(&self, name: &str) -> u64 {
        self.lifecycle().store().load(name).unwrap().driver.0["EnginePort"].as_u64().unwrap()
    }

    /// (looks, batches) since the last time.
    fn counts(&self) -> (usize, usize) {
        (self.fake.looks.swap(0, Ordering::SeqCst), self.fake.batches.swap(0, Ordering::SeqCst))
    }

    fn resources(&self) -> usize {
        std::fs::read_dir(self.root.join("provider")).unwrap().count()
    }
}

fn root_of(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().to_owned()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("m{index}")).collect()
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Ends with its value.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What answers in the place of an engine: with a certificate of the store's CA, to clients of it only.
fn engine(certs: &Path, port: u16) -> Engine {
    let read = |file: &str| std::fs::read_to_string(certs.join(file)).unwrap();
    let ca = machine_tls::Authority::from_pem(&read("ca.pem"), &read("ca-key.pem")).unwrap();
    let issued =
        ca.issue_server(machine_tls::KeyAlgorithm::EcdsaP256, "me.dev", &["127.0.0.1".to_owned()]).unwrap();
    std::fs::write(certs.join("engine.pem"), &issued.certificate_pem).unwrap();
    std::fs::write(certs.join("engine-key.pem"), issued.key_pem.expose()).unwrap();
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]).arg("-cert");
    openssl.arg(certs.join("engine.pem")).arg("-key").arg(certs.join("engine-key.pem")).arg("-CAfile");
    openssl.arg(certs.join("ca.pem")).args(["-Verify", "1", "-verify_return_error"]);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let engine = Engine(openssl.spawn().unwrap());
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_millis(20));
    }
    engine
}

#[test]
fn only_a_driver_with_a_firewall_narrows() {
    let test = Test::new(Capabilities { firewall: false, ..cloud() });
    let error = test.create(&["198.51.100.0/24"]).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(
        error.to_string().contains("--allow-from") && error.hint().unwrap().contains("firewall"),
        "{error}"
    );
    assert!(!test.lifecycle().store().exists("dev"));
    assert!(test.fake.world(|world| world.prechecked.is_empty() && world.created.is_empty()));
}

#[test]
fn networks_go_to_the_driver_and_who_we_are_is_asked_first() {
    for (asked, networks) in [
        (&["198.51.100.7/24", "2001:db8::1"][..], &["198.51.100.0/24", "2001:db8::1/128"][..]),
        // Open until the host has said who we are.
        (&["198.51.100.7/24", "me"], &[]),
        (&[], &[]),
    ] {
        let test = Test::new(cloud());
        test.create(asked).unwrap_err();
        block_on(test.lifecycle().resume("dev", &Silent)).unwrap_err();
        let (prechecked, created) =
            test.fake.world(|world| (world.prechecked.clone(), world.created.clone()));
        assert_eq!((prechecked.len(), created.len()), (1, 2));
        for told in prechecked.iter().chain(&created) {
            assert_eq!(told.allow_from, networks, "{asked:?}");
        }
    }
}

#[test]
fn what_is_made_is_marked_with_the_stores_id() {
    let test = Test::new(cloud());
    test.create(&[]).unwrap_err();
    block_on(test.lifecycle().remove("dev", false, &Silent)).unwrap();
    let id = std::fs::read_to_string(test.store_root().join(".store-id")).unwrap();
    let told = test
        .fake
        .world(|world| [world.prechecked.clone(), world.created.clone(), world.removed.clone()].concat());
    assert_eq!(told.iter().map(|told| told.store_id.trim()).collect::<Vec<_>>(), [id.trim(); 3]);
    // Only a create makes one.
    std::fs::remove_file(test.store_root().join(".store-id")).unwrap();
    test.records(&names(1), 1);
    std::fs::remove_file(test.store_root().join(".store-id")).unwrap();
    block_on(test.lifecycle().status("m0", &Silent)).unwrap();
    assert!(!test.store_root().join(".store-id").exists());

    // What has no marks needs none.
    let test = Test::new(Capabilities { marks: false, ..cloud() });
    test.create(&[]).unwrap_err();
    assert!(!test.store_root().join(".store-id").exists());
    assert_eq!(test.fake.world(|world| world.created[0].store_id.clone()), "");
}

#[test]
fn user_data_that_can_not_be_read_is_refused_before_anything_is_made() {
    let test = Test::new(cloud());
    for bad in ["", "packages: [hunter2]\n", "#cloud-config\n\tusers: []\n", "\u{1f}\u{8b}\u{8}"] {
        test.fake.world(|world| world.prospect.user_data = Some(Secret::new(bad)));
        let error = test.create(&[]).unwrap_err();
        assert_eq!(error.exit_code(), 3, "{error}");
        assert!(error.to_string().contains("user data can't be used"), "{error}");
        assert!(error.hint().unwrap().contains("#cloud-config") && !error.to_string().contains("hunter2"));
        assert!(!test.lifecycle().store().exists("dev"));
    }
    assert!(test.fake.world(|world| world.created.is_empty()));
}

#[test]
fn all_machines_of_a_driver_are_one_question() {
    let test = Test::new(cloud());
    let names = names(12);
    test.records(&names, free_port());
    test.counts();
    test.change("m3", "EnginePort", "broken".into());
    test.change("m4", "Gone", "yes".into());
    std::fs::write(test.store_root().join("machines/m5/config.json"), "{").unwrap();
    let seen = block_on(test.lifecycle().observe(&names, Duration::from_secs(20)));
    assert_eq!(test.counts(), (0, 1));
    let states: Vec<State> = seen.iter().map(|seen| seen.state).collect();
    for (index, state) in states.iter().enumerate() {
        let expected = match index {
            3 | 5 => State::Error,
            4 => State::NotFound,
            _ => State::Running,
        };
        assert_eq!(*state, expected, "{:?}", seen[index]);
    }
    assert!(
        seen[3].error.contains("EnginePort is broken") && seen[4].error.contains("no such host"),
        "{seen:?}"
    );
    assert!(seen[0].error.contains("Cannot connect"), "{:?}", seen[0]);
    let order: Vec<&String> = seen.iter().map(|seen| &seen.name).collect();
    assert_eq!(order, names.iter().collect::<Vec<_>>());
}

#[test]
fn a_list_that_takes_too_long_costs_what_has_no_engine_only() {
    if !skip::require(&["openssl"]) {
        return;
    }
    let test = Test::new(cloud());
    let port = free_port();
    test.records(&names(2), free_port());
    let _engine = engine(&test.store_root().join("certs"), port);
    test.fake.world(|world| world.silent = true);
    test.change("m1", "EnginePort", port.into());
    let seen = block_on(test.lifecycle().observe(&names(2), Duration::from_secs(3)));
    assert_eq!(seen[0].state, State::Timeout, "{seen:?}");
    // It is no Docker, so that it has no version; but the question was not how the list goes.
    assert!(seen[1].state == State::Timeout || seen[1].state == State::Running, "{seen:?}");
}

#[test]
fn a_new_address_is_kept_where_nobody_is_at_work() {
    let test = Test::new(cloud());
    test.records(&names(2), free_port());
    let elsewhere = free_port();
    test.fake.world(|world| world.moved = Some(elsewhere));
    let store = test.lifecycle().store().clone();
    let lock = store.lock_machine("m1", Duration::ZERO).unwrap();
    let started = std::time::Instant::now();
    let seen = block_on(test.lifecycle().observe(&names(2), Duration::from_secs(20)));
    assert!(started.elapsed() < Duration::from_secs(15), "it waited for a lock");
    let url = format!("tcp://127.0.0.1:{elsewhere}");
    assert!(seen.iter().all(|seen| seen.url == url), "{seen:?}");
    drop(lock);
    assert_eq!(test.port_of("m0"), u64::from(elsewhere));
    assert_ne!(test.port_of("m1"), u64::from(elsewhere));
    assert_eq!(test.counts(), (0, 1));
}

#[test]
fn what_changed_in_the_record_while_a_host_was_looked_at_stays() {
    let test = Test::new(cloud());
    test.records(&names(1), free_port());
    let elsewhere = free_port();
    let store = test.lifecycle().store().clone();
    let meanwhile = move || {
        let lock = store.try_lock_machine("m0").unwrap();
        let mut machine = store.load("m0").unwrap();
        machine.host_options.auth_options.server_cert_remote_path = "/etc/docker/server.pem".to_owned();
        store.save(&lock, &machine).unwrap();
    };
    test.fake.world(|world| {
        world.moved = Some(elsewhere);
        world.meanwhile = Some(Box::new(meanwhile));
    });
    block_on(test.lifecycle().observe(&names(1), Duration::from_secs(20)));
    let now = test.lifecycle().store().load("m0").unwrap();
    assert_eq!(test.port_of("m0"), u64::from(elsewhere));
    assert_eq!(now.host_options.auth_options.server_cert_remote_path, "/etc/docker/server.pem");
}

#[test]
fn provisioning_asks_first_where_the_host_is() {
    let test = Test::new(cloud());
    test.records(&names(1), free_port());
    let key = machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "test").unwrap();
    std::fs::write(test.root.join("key"), key.private_pem.as_bytes()).unwrap();
    test.change("m0", "SSHKeyPath", test.root.join("key").to_string_lossy().into());
    test.counts();
    // It is off: nothing is dialled.
    test.fake.world(|world| world.finds = vec![Some((State::Stopped, "", 7))]);
    for work in ["provision", "regenerate"] {
        let lifecycle = test.lifecycle();
        let done = match work {
            "provision" => block_on(lifecycle.provision("m0", &Silent)),
            _ => block_on(lifecycle.regenerate_server_certs("m0", &Silent)),
        };
        let error = done.unwrap_err();
        assert_eq!(error.to_string(), "machine \"m0\" is not running: its host is stopped", "{work}");
        assert!(error.hint().unwrap().contains("start m0"));
        assert_eq!(test.counts().0, 1);
    }
    // It is somewhere else by now.
    let elsewhere = free_port();
    test.fake.world(|world| world.finds = vec![Some((State::Running, "", elsewhere))]);
    let error = block_on(test.lifecycle().provision("m0", &Silent)).unwrap_err();
    assert!(matches!(error, Error::Ssh { .. }), "{error}");
    assert_eq!((test.port_of("m0"), test.counts().0), (u64::from(elsewhere), 1));
    // It is gone.
    test.fake.world(|world| world.finds = vec![None]);
    let error = block_on(test.lifecycle().provision("m0", &Silent)).unwrap_err();
    assert_eq!(error.to_string(), "there is no such host");
}

#[test]
fn too_much_user_data_is_refused_before_anything_is_made() {
    let test = Test::new(cloud());
    let own = format!("#cloud-config\nfinal_message: {}\n", "x".repeat(3000));
    let limit = |bytes| {
        let image = machine_core::ImageFacts {
            os_release: "ID=ubuntu\nVERSION_ID=\"24.04\"\n".to_owned(),
            arch: "x86_64".to_owned(),
            engine: None,
        };
        test.fake.world(|world| {
            world.prospect = Prospect {
                image: Some(image),
                user_data: Some(Secret::new(own.as_str())),
                user_data_limit: Some(bytes),
                ..Prospect::default()
            };
        });
        let error = test.create(&[]).unwrap_err();
        let made = test.fake.world(|world| world.created.len());
        if test.lifecycle().store().exists("dev") {
            block_on(test.lifecycle().remove("dev", false, &Silent)).unwrap();
        }
        (error, made)
    };
    let (error, made) = limit(4000);
    assert_eq!((error.exit_code(), made), (3, 0), "{error}");
    let said = error.to_string();
    assert!(said.contains("the provider takes 4000") && error.hint().unwrap().contains("#include"), "{said}");
    let bytes: usize = said.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    // What was said is what it would have been, to the byte.
    assert_eq!(limit(bytes - 1).0.exit_code(), 3);
    let (error, made) = limit(bytes);
    assert_eq!((error.exit_code(), made), (1, 1), "{error}");
}

#[test]
fn only_what_this_process_left_of_a_create_is_undone() {
    let test = Test::new(cloud());
    let lifecycle = test.lifecycle();
    let undo = |lifecycle: &Lifecycle| block_on(lifecycle.undo_create("dev", &Silent)).unwrap();
    assert!(!undo(&lifecycle));
    // It can't be reached.
    test.create(&[]).unwrap_err();
    assert!(!undo(&lifecycle) && !lifecycle.has_begun("dev"), "it is another's");
    block_on(lifecycle.resume("dev", &Silent)).unwrap_err();
    assert!(lifecycle.has_begun("dev"));
    // Another process goes on with it.
    let store = lifecycle.store();
    let set = |pid| {
        let lock = store.try_lock_machine("dev").unwrap();
        let mut journal = store.load_journal("dev").unwrap().unwrap();
        journal.actor.pid = pid;
        store.save_journal(&lock, &journal).unwrap();
    };
    set(std::process::id() + 1);
    assert!(!undo(&lifecycle));
    assert!(store.exists("dev") && test.resources() > 0);
    set(std::process::id());
    assert!(undo(&lifecycle));
    assert!(!store.exists("dev") && test.resources() == 0);
}

/// An SSH server that lets nobody in. It shows this key.
struct Door;

impl russh::server::Handler for Door {
    type Error = russh::Error;
}

async fn door(listener: &tokio::net::TcpListener, key: &russh::keys::PrivateKey) {
    let config = russh::server::Config { keys: vec![key.clone()], ..russh::server::Config::default() };
    let (stream, _) = listener.accept().await.unwrap();
    if let Ok(session) = russh::server::run_stream(Arc::new(config), stream, Door).await {
        tokio::spawn(session);
    }
}

#[test]
fn a_host_whose_port_opens_late_may_show_the_images_key_first() {
    let test = Test::new(cloud());
    test.records(&names(1), free_port());
    let key = machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "test").unwrap();
    std::fs::write(test.root.join("key"), key.private_pem.as_bytes()).unwrap();
    test.change("m0", "SSHKeyPath", test.root.join("key").to_string_lossy().into());
    let port = free_port();
    test.change("m0", "SSHPort", port.into());
    let new_key = || machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "host").unwrap();
    let (images, seeded) = (new_key(), new_key());
    let store = test.lifecycle().store().clone();
    let lock = store.try_lock_machine("m0").unwrap();
    let line = machine_ssh::keys::public_key_line(&seeded.public);
    let line = line.rsplit_once(' ').unwrap().0.to_owned();
    let mut journal = store.load_journal("m0").unwrap().unwrap();
    journal.host_keys = vec![line.clone()];
    journal.extra.insert("exposedHostKeys".to_owned(), vec![line].into());
    store.save_journal(&lock, &journal).unwrap();
    drop(lock);

    let grace = Duration::from_secs(2);
    let settings = Settings {
        boot_limit: Duration::from_secs(10),
        key_grace: grace,
        ..Settings::for_store(&test.store_root())
    };
    let drivers = Arc::new(Drivers(Arc::clone(&test.fake)));
    let lifecycle = Lifecycle::new(Store::new(test.store_root()), drivers, settings);
    let parsed = |pair: &machine_ssh::keys::KeyPair| {
        russh::keys::PrivateKey::from_openssh(pair.private_pem.as_bytes()).unwrap()
    };
    let (images, seeded) = (parsed(&images), parsed(&seeded));
    let error = block_on(async {
        let host = async {
            // Longer than the grace.
            tokio::time::sleep(grace + Duration::from_secs(1)).await;
            let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
            door(&listener, &images).await;
            loop {
                door(&listener, &seeded).await;
            }
        };
        tokio::select! {
            done = lifecycle.provision("m0", &Silent) => done.unwrap_err(),
            () = host => unreachable!(),
        }
    });
    let said = error.to_string();
    assert!(!said.contains("has changed") && matches!(error, Error::Ssh { .. }), "{said}");
    assert!(
        said.contains("none of the keys") || said.contains("refused") || said.contains("offered"),
        "{said}"
    );
}

#[test]
fn a_thousand_machines_fit_into_little_memory() {
    let test = Test::new(cloud());
    let names = names(1000);
    test.records(&names, 1);
    test.counts();
    let seen = block_on(test.lifecycle().observe(&names, Duration::from_secs(300)));
    assert!(seen.iter().all(|seen| seen.state == State::Running));
    assert_eq!(test.counts(), (0, 1));
    // The test runner gives each test a process of its own; the plain one does not.
    if std::env::var_os("NEXTEST").is_some() {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        let kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(kib < 60 * 1024, "{kib} KiB");
    }
}

#[test]
fn the_driver_is_asked_where_an_engine_is_only_if_it_is_not_found() {
    if !skip::require(&["openssl"]) {
        return;
    }
    let test = Test::new(cloud());
    let (here, there) = (free_port(), free_port());
    test.records(&names(1), here);
    let certs = test.store_root().join("certs");
    let machine = || test.lifecycle().store().load("m0").unwrap();
    let connect = || block_on(test.lifecycle().connection(machine(), false, &Silent));
    test.counts();

    let first = engine(&certs, here);
    assert_eq!(connect().unwrap().1.url, format!("tcp://127.0.0.1:{here}"));
    assert_eq!(test.counts(), (0, 0), "it answers");

    drop(first);
    let error = connect().unwrap_err();
    assert!(matches!(error, Error::Connection { .. }), "{error}");
    assert_eq!(test.counts(), (1, 0), "it may be somewhere else, and is not");

    let _second = engine(&certs, there);
    test.fake.world(|world| world.moved = Some(there));
    let (now, connection) = connect().unwrap();
    assert_eq!((test.counts(), connection.url), ((1, 0), format!("tcp://127.0.0.1:{there}")));
    assert_eq!((now.driver.0["EnginePort"].as_u64(), test.port_of("m0")), (Some(there.into()), there.into()));
    connect().unwrap();
    assert_eq!(test.counts(), (0, 0), "it was kept");

    // Without an address in the record.
    test.change("m0", "EnginePort", 0.into());
    assert!(test.lifecycle().lacks_address(&machine()).unwrap());
    let found = block_on(test.lifecycle().with_address(machine(), &Silent)).unwrap();
    assert_eq!((test.counts(), found.driver.0["EnginePort"].as_u64()), ((1, 0), Some(there.into())));
    block_on(test.lifecycle().with_address(machine(), &Silent)).unwrap();
    assert_eq!(test.counts(), (0, 0));

    // By SSH, where nobody answers.
    let key = machine_ssh::keys::generate(machine_ssh::keys::KeyKind::Ed25519, "test").unwrap();
    std::fs::write(test.root.join("key"), key.private_pem.as_bytes()).unwrap();
    std::fs::set_permissions(test.root.join("key"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    test.change("m0", "SSHKeyPath", test.root.join("key").to_string_lossy().into());
    let options = ConnectOptions::default();
    let error = block_on(test.lifecycle().connect("m0", &options, &Silent)).unwrap_err();
    assert!(matches!(error, Error::Ssh { .. }), "{error}");
    assert_eq!(test.counts(), (1, 0));
}

#[test]
fn a_new_host_is_waited_for_until_it_runs_and_has_an_address() {
    let create = |finds: &[Option<(State, &'static str, u16)>]| {
        // Looks cost nothing here.
        let test = Test::new(Capabilities { marks: false, ..cloud() });
        test.fake.world(|world| world.finds = finds.to_vec());
        let error = test.create(&[]).unwrap_err();
        (test, error.to_string())
    };
    let (test, said) = create(&[
        None,
        Some((State::Starting, "BIOS", 0)),
        Some((State::Running, "", 0)),
        Some((State::Running, "", 4711)),
    ]);
    assert!(said.contains("ssh") && said.contains("127.0.0.1:1"), "{said}");
    assert_eq!((test.port_of("dev"), test.counts().0), (4711, 4));

    let (_, said) = create(&[Some((State::Starting, "Loading Linux", 0))]);
    for text in ["to be running", "the driver says Starting", "the host: Loading Linux"] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let (_, said) = create(&[Some((State::Running, "Welcome", 0))]);
    assert!(said.contains("no address yet; the host: Welcome"), "{said}");
    let (test, said) = create(&[Some((State::Error, "no room", 0))]);
    assert!(said.contains("went down") && said.contains("no room"), "{said}");
    assert_eq!(test.counts().0, 1);
}

/// The process of the test below that is killed.
#[test]
#[ignore = "a process of another test"]
fn child_creates() {
    let (Ok(root), Ok(steps)) = (std::env::var("CLOUD_ROOT"), std::env::var("CLOUD_STEPS")) else { return };
    let capabilities = Capabilities { ssh: false, ..cloud() };
    let test = Test::at(root.into(), capabilities, Some(steps.parse().unwrap()));
    test.create(&[]).unwrap();
}

#[test]
fn a_create_that_is_killed_at_any_step_leaves_nothing_that_is_not_known() {
    let mut killed = 0;
    for steps in 0.. {
        let root = tempfile::tempdir().unwrap();
        let ended = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_creates", "--ignored", "--nocapture"])
            .env("CLOUD_ROOT", root.path())
            .env("CLOUD_STEPS", steps.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        if ended.success() {
            break;
        }
        killed += 1;
        let test = Test::at(root_of(&root), Capabilities { ssh: false, ..cloud() }, None);
        let journal = test.lifecycle().store().load_journal("dev").unwrap().unwrap();
        let reason = test.lifecycle().store().incomplete("dev", &journal).unwrap();
        assert_eq!(reason, "creating, interrupted in phase host", "killed at step {steps}");
        assert_eq!(test.resources(), (steps / 2).min(RESOURCES.len()), "killed at step {steps}");
        // Half of them are removed as they are, the others after they were completed.
        if steps % 2 == 0 {
            block_on(test.lifecycle().resume("dev", &Silent)).unwrap();
            assert_eq!(test.resources(), RESOURCES.len(), "killed at step {steps}");
        }
        block_on(test.lifecycle().remove("dev", false, &Silent)).unwrap();
        assert_eq!(test.resources(), 0, "killed at step {steps}");
        assert!(!test.lifecycle().store().exists("dev"));
    }
    assert_eq!(killed, 2 * RESOURCES.len() + 1);
}
