//! Every wait ends: servers that do not listen, never speak, or speak something else, with limits of two seconds instead
//! of minutes. What listens here stands in for hosts that are down, hung, or no SSH servers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use machine_core::{
    DriverSource, EngineOptions, Event, FlagValue, FlagValues, MachineName, Reporter, Silent, State,
    SwarmOptions,
};
use machine_lifecycle::{CreateRequest, Error, InstallMethod, Left, Lifecycle, Settings};
use machine_store::Store;
use machine_testkit::skip;

const LIMIT: Duration = Duration::from_secs(2);

struct World {
    root: tempfile::TempDir,
}

#[derive(Default)]
struct Events(Mutex<Vec<Event>>);

impl Reporter for Events {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl World {
    /// `None`, with the reason printed, where there is no `ssh-keygen`.
    fn new() -> Option<Self> {
        if !skip::require(&["ssh-keygen"]) {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        let mut keygen = Command::new("ssh-keygen");
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(root.path().join("key"));
        assert!(keygen.status().unwrap().success());
        Some(Self { root })
    }

    fn lifecycle(&self) -> Lifecycle {
        let store = self.root.path().join("store");
        let settings = Settings {
            reach_limit: LIMIT,
            engine_limit: LIMIT,
            dial_limit: LIMIT,
            ..Settings::for_store(&store)
        };
        Lifecycle::new(Store::new(&store), Arc::new(machine_drivers::Builtin), settings)
    }

    fn request(&self, name: &str, at: SocketAddr) -> CreateRequest {
        let driver = machine_drivers::Builtin.driver("generic").unwrap();
        let mut flags = FlagValues::defaults(&driver.spec().flags);
        let key = self.root.path().join("key").to_str().unwrap().to_owned();
        flags.set("generic-ip-address", FlagValue::Str(at.ip().to_string()));
        flags.set("generic-ssh-port", FlagValue::Int(at.port().into()));
        flags.set("generic-ssh-key", FlagValue::Str(key));
        CreateRequest {
            name: MachineName::new(name).unwrap(),
            driver: "generic".to_owned(),
            flags,
            engine: EngineOptions::default(),
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
}

/// A port on which nobody listens.
fn closed() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A server that says that to everybody and then nothing, for as long as the test runs.
fn server(says: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut kept = Vec::new();
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(says);
            kept.push(stream);
        }
    });
    address
}

/// The create fails, keeps a record that says why, and that can be removed.
async fn fails_to_reach(world: &World, at: SocketAddr, texts: &[&str]) -> Vec<Event> {
    let (lifecycle, events) = (world.lifecycle(), Events::default());
    let error = lifecycle.create(world.request("m", at), &events).await.unwrap_err();
    let said = format!("{error}\n{}", error.hint().unwrap_or_default());
    let Error::Create { left: Left::Record, .. } = &error else { panic!("{error:?}") };
    let address = at.to_string();
    for text in texts.iter().chain([&"\"m\"", &address.as_str(), &"create --resume m"]) {
        assert!(said.contains(text), "no {text:?} in: {said}");
    }
    assert_eq!(error.exit_code(), 1);
    let seen = lifecycle.observe(&["m".to_owned()], LIMIT).await.remove(0);
    assert!(seen.error.starts_with("creating failed in phase "), "{seen:?}");
    assert!(seen.incomplete.is_some());
    assert_eq!(seen.docker_version, "Unknown");
    // Going on fails in the same way, and removing works.
    assert!(matches!(lifecycle.resume("m", &Silent).await, Err(Error::Create { .. })));
    lifecycle.remove("m", false, &Silent).await.unwrap();
    assert!(!lifecycle.store().exists("m"));
    events.0.into_inner().unwrap()
}

#[tokio::test(flavor = "current_thread")]
async fn nobody_listens() {
    let Some(world) = World::new() else { return };
    let events = fails_to_reach(&world, closed(), &["refused", "firewalls"]).await;
    let waits =
        events.iter().any(|event| matches!(event, Event::Waiting { last, .. } if last.contains("refused")));
    assert!(waits, "nobody was told of the wait: {events:?}");
}

#[tokio::test(flavor = "current_thread")]
async fn somebody_accepts_and_never_speaks() {
    let Some(world) = World::new() else { return };
    fails_to_reach(&world, server(b""), &["the port is open but silent", "longer than 2.0 s"]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn somebody_speaks_something_else() {
    let Some(world) = World::new() else { return };
    let at = server(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    fails_to_reach(&world, at, &["not an SSH server", "HTTP/1.1 400", "--generic-ssh-port"]).await;
}

#[tokio::test(flavor = "current_thread")]
async fn somebody_begins_to_speak_ssh_and_stops() {
    let Some(world) = World::new() else { return };
    fails_to_reach(&world, server(b"SSH-2.0-OpenSSH_9.2\r\n"), &["the key exchange took longer than 2.0 s"])
        .await;
}

/// An engine's port that accepts and says nothing costs no more than the limit.
#[tokio::test(flavor = "current_thread")]
async fn an_engine_that_never_answers() {
    let Some(world) = World::new() else { return };
    let lifecycle = world.lifecycle();
    let url = format!("tcp://{}", server(b""));
    let driver = machine_drivers::Builtin.driver("none").unwrap();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    flags.set("url", FlagValue::Str(url.clone()));
    let request = CreateRequest { driver: "none".to_owned(), flags, ..world.request("m", closed()) };
    let machine = lifecycle.create(request, &Silent).await.unwrap();
    let error = lifecycle.check_connection(&machine, false).await.unwrap_err();
    assert!(error.to_string().contains(url.trim_start_matches("tcp://")), "{error}");
    assert!(lifecycle.engine_version(&machine).await.is_err());
    let seen = lifecycle.observe(&["m".to_owned()], Duration::from_millis(300)).await.remove(0);
    assert!(seen.state == State::Timeout || !seen.error.is_empty(), "{seen:?}");
    assert_eq!(seen.docker_version, "Unknown");
}
