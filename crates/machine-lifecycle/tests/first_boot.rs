//! Hosts that are told before their first boot what they are: what the driver is given, what is kept where, and what happens when
//! the host does not come up as it should. The driver is made up; the engine is an `openssl s_server` with the certificate
//! that was made for it.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, ErrorKind, Event, FlagValues, ImageEngine, ImageFacts, Known, Machine,
    MachineName, Observed, Power, Prospect, Reporter, Seed, Silent, SshEndpoint, State, SwarmOptions,
};
use machine_lifecycle::{CreateRequest, Error, InstallMethod, Left, Lifecycle, Settings};
use machine_store::{Journal, Phase, Status, Store};
use machine_testkit::skip;

const PATIENCE: Duration = Duration::from_secs(600);

/// What the driver is to do, and what it saw.
#[derive(Default)]
struct World {
    /// What `prospect` says.
    prospect: Prospect,
    /// Whether an engine answers once the host is made.
    engine_starts: bool,
    /// What a look finds; running where there is nothing.
    seen: Option<Observed>,
    /// Whether `create` fails after it was told all.
    create_fails: bool,
    /// The port of the engine on this computer moves there while it is waited for.
    moves_to: Option<u16>,
    /// What `create` was given, each time.
    seeds: Vec<Seed>,
    engines: Vec<Engine>,
    /// Where the engine is, as a driver with forwarded ports has it.
    port: u16,
}

/// Ends with its value.
struct Engine(Child);

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Fake {
    spec: DriverSpec,
    world: Mutex<World>,
}

impl Fake {
    fn world<T>(&self, with: impl FnOnce(&mut World) -> T) -> T {
        with(&mut self.world.lock().unwrap())
    }
}

#[async_trait]
impl Driver for Fake {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, _: &FlagValues) -> Result<DriverState, DriverError> {
        let mut state = DriverState::default();
        let key = cx.store_path.join("machines").join(cx.name.as_str()).join("id_ed25519");
        state.0.insert("SSHKeyPath".to_owned(), key.to_string_lossy().into());
        state.0.insert("SSHUser".to_owned(), "docker".into());
        state.0.insert("EnginePort".to_owned(), 0.into());
        Ok(state)
    }

    fn known(&self, state: &DriverState) -> Result<Known, DriverError> {
        let port = state.0["EnginePort"].as_u64().unwrap();
        let ssh = SshEndpoint {
            host: "127.0.0.1".to_owned(),
            // Nobody listens there.
            port: 1,
            user: state.str("SSHUser").to_owned(),
            key: Some(state.str("SSHKeyPath").into()),
        };
        Ok(Known {
            ip: "127.0.0.1".to_owned(),
            url: if port == 0 { String::new() } else { format!("tcp://127.0.0.1:{port}") },
            ssh: Some(ssh),
            engine_port: Some(2376),
        })
    }

    async fn precreate(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }

    async fn prospect(&self, _: &Cx<'_>, _: &DriverState) -> Result<Prospect, DriverError> {
        Ok(self.world(|world| world.prospect.clone()))
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        mut wish: DriverState,
        _: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let seed = cx.seed.cloned().ok_or_else(|| DriverError::new(ErrorKind::Other, "no seed"))?;
        self.world(|world| {
            world.seeds.push(seed);
            if world.create_fails {
                return Err(DriverError::new(ErrorKind::Other, "there is no room"));
            }
            let port = world.moves_to.unwrap_or(world.port);
            if world.engine_starts {
                world.engines.push(engine(cx.machine_dir, port));
            }
            wish.0.insert("EnginePort".to_owned(), world.port.into());
            Ok(wish)
        })
    }

    async fn observe(&self, _: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        self.world(|world| {
            let mut seen =
                world.seen.clone().unwrap_or(Observed { state: State::Running, ..Observed::default() });
            if let Some(port) = world.moves_to {
                let mut state = state.clone();
                state.0.insert("EnginePort".to_owned(), port.into());
                seen.changed = Some(state);
            }
            Ok(seen)
        })
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
        Ok(state.clone())
    }

    fn clone_wish(&self, cx: &ConfigureContext<'_>, _: &DriverState) -> Result<DriverState, DriverError> {
        self.configure(cx, &FlagValues::default())
    }

    async fn remove(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }
}

/// What answers in the place of an engine: with the machine's certificate, to clients of the machine's CA only.
fn engine(dir: &Path, port: u16) -> Engine {
    let mut openssl = Command::new("openssl");
    openssl.args(["s_server", "-quiet", "-www", "-accept", &format!("127.0.0.1:{port}")]).arg("-cert");
    openssl.arg(dir.join("server.pem")).arg("-key").arg(dir.join("server-key.pem")).arg("-CAfile");
    openssl.arg(dir.join("ca.pem")).args(["-Verify", "1", "-verify_return_error"]);
    openssl.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Engine(openssl.spawn().unwrap())
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Reporter for Events {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

struct Test {
    root: tempfile::TempDir,
    fake: Arc<Fake>,
}

impl Test {
    /// `None`, with the reason printed, where there is no `openssl`.
    fn new() -> Option<Self> {
        if !skip::require(&["openssl"]) {
            return None;
        }
        let capabilities =
            Capabilities { ssh: true, user_data: true, clone: true, ..Capabilities::default() };
        let spec = DriverSpec {
            name: "fake".into(),
            summary: "made up".into(),
            flags: Vec::new().into(),
            capabilities,
        };
        let engine = ImageEngine {
            package: "docker.io".to_owned(),
            version: "20.10.24".to_owned(),
            dockerd: "/usr/sbin/dockerd".to_owned(),
        };
        let image = ImageFacts {
            os_release: "ID=debian\nVERSION_ID=12\n".to_owned(),
            arch: "x86_64".to_owned(),
            engine: Some(engine),
        };
        let world = World {
            prospect: Prospect { image: Some(image), private: true, ..Prospect::default() },
            engine_starts: true,
            port: free_port(),
            ..World::default()
        };
        let fake = Arc::new(Fake { spec, world: Mutex::new(world) });
        Some(Self { root: tempfile::tempdir().unwrap(), fake })
    }

    fn with(self, change: impl FnOnce(&mut World)) -> Self {
        self.fake.world(change);
        self
    }

    fn lifecycle(&self, boot_limit: Duration) -> Lifecycle {
        let store = self.root.path().join("store");
        let limit = Duration::from_secs(2);
        let settings =
            Settings { boot_limit, reach_limit: limit, engine_limit: limit, ..Settings::for_store(&store) };
        Lifecycle::new(Store::new(&store), Arc::new(Drivers(Arc::clone(&self.fake))), settings)
    }

    async fn create(&self, boot_limit: Duration, report: &dyn Reporter) -> Result<Machine, Error> {
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
            allow_from: Vec::new(),
            rollback: false,
        };
        self.lifecycle(boot_limit).create(request, report).await
    }

    fn dir(&self, machine: &str) -> PathBuf {
        self.root.path().join("store/machines").join(machine)
    }

    fn journal(&self, machine: &str) -> Journal {
        self.lifecycle(PATIENCE).store().load_journal(machine).unwrap().unwrap()
    }

    fn seeds(&self) -> Vec<Seed> {
        self.fake.world(|world| world.seeds.clone())
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

/// The lines of a private key, as a shell or JSON text has them.
fn has_key(user_data: &str, key: &str) -> bool {
    user_data.contains(key.lines().nth(1).unwrap())
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_that_sets_itself_up_needs_no_ssh() {
    let Some(test) = Test::new() else { return };
    let machine = test.create(PATIENCE, &Silent).await.unwrap();
    let (dir, journal, seeds) = (test.dir("dev"), test.journal("dev"), test.seeds());
    assert_eq!((seeds.len(), &journal.status), (1, &Status::Done));
    let phases: Vec<&str> = journal.timings.keys().map(Phase::as_str).collect();
    assert_eq!(phases, ["certificates", "check", "record", "host", "ready"]);

    let user_data = seeds[0].user_data.expose();
    assert!(user_data.contains("text/cloud-boothook") && user_data.contains("-H tcp://0.0.0.0:2376"));
    assert!(has_key(user_data, &read(&dir.join("server-key.pem"))), "the engine's key");
    assert_eq!(seeds[0].authorized_key, read(&dir.join("id_ed25519.pub")).trim());
    assert!(user_data.contains(&seeds[0].authorized_key));
    assert_eq!(mode(&dir.join("id_ed25519")), 0o600);
    assert!(!user_data.contains(read(&dir.join("id_ed25519")).lines().nth(3).unwrap()), "it stays here");
    // The host's key is pinned, and nobody needs the other half here any more.
    assert_eq!(journal.host_keys.len(), 1);
    assert!(user_data.contains(&journal.host_keys[0]));
    assert!(!dir.join("ssh_host_ed25519_key").exists() && !dir.join("ssh_host_ed25519_key.pub").exists());
    assert_eq!(machine.host_options.auth_options.server_cert_remote_path, "/etc/docker/server.pem");
    // What runs already is not made again.
    test.lifecycle(PATIENCE).resume("dev", &Silent).await.unwrap();
    assert_eq!(test.seeds().len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn a_create_that_goes_on_seeds_the_same_keys() {
    let Some(test) = Test::new() else { return };
    let test = test.with(|world| world.create_fails = true);
    let error = test.create(PATIENCE, &Silent).await.unwrap_err();
    assert!(matches!(&error, Error::Create { left: Left::Record, .. }), "{error:?}");
    let host_key = read(&test.dir("dev").join("ssh_host_ed25519_key"));
    assert_eq!(mode(&test.dir("dev").join("ssh_host_ed25519_key")), 0o600);
    let pinned = test.journal("dev").host_keys;
    assert_eq!(pinned.len(), 1);

    test.fake.world(|world| world.create_fails = false);
    test.lifecycle(PATIENCE).resume("dev", &Silent).await.unwrap();
    let seeds = test.seeds();
    assert_eq!(seeds[0].authorized_key, seeds[1].authorized_key);
    assert!(seeds.iter().all(|seed| has_key(seed.user_data.expose(), &host_key)));
    assert_eq!(test.journal("dev").host_keys, pinned);
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_that_goes_down_is_not_waited_for() {
    let Some(test) = Test::new() else { return };
    for state in [State::Stopped, State::Error, State::NotFound] {
        let seen = Observed { state, last_sign: "Kernel panic - not syncing".to_owned(), changed: None };
        test.fake.world(|world| (world.engine_starts, world.seen) = (false, Some(seen)));
        // Longer than any test may take.
        let error = test.create(PATIENCE, &Silent).await.unwrap_err();
        let said = format!("{error}\n{}", error.hint().unwrap());
        for text in ["\"dev\" went down", "Kernel panic", "create --resume dev"] {
            assert!(said.contains(text), "no {text:?} in {said}");
        }
        assert_eq!(test.journal("dev").phase, Phase::Ready);
        test.lifecycle(PATIENCE).remove("dev", false, &Silent).await.unwrap();
        assert!(!test.dir("dev").exists());
    }
}

#[tokio::test(flavor = "current_thread")]
async fn an_engine_that_never_answers_is_looked_for_over_ssh_and_both_are_told() {
    let Some(test) = Test::new() else { return };
    let seen = Observed { state: State::Running, last_sign: "Reached target".to_owned(), changed: None };
    let test = test.with(|world| (world.engine_starts, world.seen) = (false, Some(seen)));
    let events = Events::default();
    let error = test.create(Duration::from_secs(4), &events).await.unwrap_err();
    let said = format!("{error}\n{}", error.hint().unwrap());
    for text in ["waited 4 s", "refused", "Reached target", "over SSH: ", "create --resume dev"] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let events = events.0.into_inner().unwrap();
    assert!(
        events.iter().any(|event| matches!(event, Event::Warning(text) if text.contains("over SSH now")))
    );
    assert_eq!(test.journal("dev").phase, Phase::Reach);

    // Somebody repairs it.
    test.fake.world(|world| world.engine_starts = true);
    test.lifecycle(PATIENCE).resume("dev", &Silent).await.unwrap();
    assert_eq!(test.journal("dev").status, Status::Done);
}

#[tokio::test(flavor = "current_thread")]
async fn a_port_that_moves_while_it_is_waited_for_is_followed_and_kept() {
    let Some(test) = Test::new() else { return };
    let other = free_port();
    let test = test.with(|world| world.moves_to = Some(other));
    let machine = test.create(PATIENCE, &Silent).await.unwrap();
    assert_eq!(machine.driver.0["EnginePort"], other);
    let kept = test.lifecycle(PATIENCE).store().load("dev").unwrap();
    assert_eq!(kept.driver.0["EnginePort"], other);
}

#[tokio::test(flavor = "current_thread")]
async fn secrets_are_only_in_user_data_that_stays_here() {
    let Some(test) = Test::new() else { return };
    let changes: [fn(&mut World); 2] = [
        |world| world.prospect.private = false,
        |world| (world.prospect.private, world.prospect.image) = (true, None),
    ];
    for change in changes {
        test.fake.world(change);
        // It is then set up over SSH, which nobody answers here.
        let error = test.create(Duration::from_secs(2), &Silent).await.unwrap_err();
        assert!(error.to_string().contains("ssh"), "{error}");
        let seed = test.seeds().pop().unwrap();
        let user_data = seed.user_data.expose();
        assert!(user_data.contains("cloud-config") && !user_data.contains("boothook"), "{user_data}");
        assert!(user_data.contains("ssh_keys") && !test.dir("dev").join("server-key.pem").exists());
        assert_eq!(test.journal("dev").host_keys.len(), 1);
        test.lifecycle(PATIENCE).remove("dev", false, &Silent).await.unwrap();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_host_that_reads_no_seed_has_nothing_pinned() {
    let Some(test) = Test::new() else { return };
    let test = test.with(|world| world.prospect.seedless = true);
    test.create(Duration::from_secs(2), &Silent).await.unwrap_err();
    let seed = test.seeds().pop().unwrap();
    assert!(seed.user_data.is_empty() && seed.authorized_key.starts_with("ssh-ed25519 "));
    assert!(test.journal("dev").host_keys.is_empty());
    assert!(!test.dir("dev").join("ssh_host_ed25519_key").exists());
}

#[tokio::test(flavor = "current_thread")]
async fn a_key_of_the_user_is_never_replaced() {
    let Some(test) = Test::new() else { return };
    let test = test.with(|world| world.create_fails = true);
    test.create(PATIENCE, &Silent).await.unwrap_err();
    let key = test.dir("dev").join("id_ed25519");
    let before = read(&key);
    std::fs::remove_file(test.dir("dev").join("id_ed25519.pub")).unwrap();
    test.lifecycle(PATIENCE).resume("dev", &Silent).await.unwrap_err();
    assert_eq!(read(&key), before);
    assert_eq!(test.seeds()[1].authorized_key, read(&test.dir("dev").join("id_ed25519.pub")).trim());
    // One that can't be read stops it before a host is made.
    std::fs::write(&key, "not a key\n").unwrap();
    let error = test.lifecycle(PATIENCE).resume("dev", &Silent).await.unwrap_err();
    assert!(error.to_string().contains("id_ed25519"), "{error}");
    assert_eq!((test.seeds().len(), read(&key).as_str()), (2, "not a key\n"));
}

#[tokio::test(flavor = "current_thread")]
async fn a_clone_has_an_identity_of_its_own() {
    let Some(test) = Test::new() else { return };
    test.create(PATIENCE, &Silent).await.unwrap();
    test.fake.world(|world| world.port = free_port());
    let clone = test.lifecycle(PATIENCE).clone_machine("dev", "twin", &Silent).await.unwrap();
    assert_eq!(clone.name, "twin");
    let file = |machine: &str, name: &str| read(&test.dir(machine).join(name));
    for name in ["id_ed25519", "server.pem", "server-key.pem"] {
        assert_ne!(file("dev", name), file("twin", name), "{name}");
    }
    assert_eq!(file("dev", "ca.pem"), file("twin", "ca.pem"));
    assert_ne!(test.journal("dev").host_keys, test.journal("twin").host_keys);
    let error = test.lifecycle(PATIENCE).clone_machine("dev", "twin", &Silent).await.unwrap_err();
    assert!(matches!(error, Error::Taken { .. }), "{error:?}");
    let error = test.lifecycle(PATIENCE).clone_machine("nobody", "other", &Silent).await.unwrap_err();
    assert!(!test.dir("other").exists(), "{error}");
}
