//! Host keys: what is pinned, by whom, and what a look leaves alone. A real host, which is its own jump host.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use machine_core::{
    EngineOptions, Event, FlagValue, FlagValues, MachineName, Reporter, Silent, State, SwarmOptions,
};
use machine_lifecycle::{ConnectOptions, CreateRequest, InstallMethod, Lifecycle, Settings};
use machine_store::{Journal, Store};
use machine_testkit::lab::{Host, KeyKind, Lab, Spec, Variant};

/// Not the key of any host here.
const OTHER_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl";

const JUMP_KEYS: &str = "jumpHostKeys";

struct World {
    lab: Lab,
    host: Host,
    root: tempfile::TempDir,
}

impl World {
    /// A host with a machine `web` made of it; `None`, with the reason printed, where there can be no lab.
    fn new(jumps: bool) -> Option<Self> {
        let lab = Lab::for_test().unwrap()?;
        let host = lab.host(Spec::new(Variant::Docker)).unwrap();
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir(root.path().join("ssh")).unwrap();
        std::fs::copy(lab.key(KeyKind::Rsa), root.path().join("ssh/id_rsa")).unwrap();
        let world = Self { lab, host, root };
        let jump = format!("root@{}:{}", world.host.address(), world.host.ssh_port());
        let lifecycle = world.lifecycle();
        block_on(lifecycle.create(world.request(jumps.then_some(jump)), &Silent)).unwrap();
        Some(world)
    }

    fn lifecycle(&self) -> Lifecycle {
        let root = self.root.path().join("store");
        let mut settings = Settings::for_store(&root);
        settings.ssh_dir = Some(self.root.path().join("ssh"));
        Lifecycle::new(Store::new(&root), Arc::new(machine_drivers::Builtin), settings)
    }

    fn request(&self, jump: Option<String>) -> CreateRequest {
        let mut flags = FlagValues::default();
        let key = self.lab.key(KeyKind::Rsa).to_string_lossy().into_owned();
        flags.set("generic-ip-address", FlagValue::Str(self.host.address().to_string()));
        flags.set("generic-ssh-user", FlagValue::Str("root".into()));
        flags.set("generic-ssh-key", FlagValue::Str(key));
        flags.set("generic-ssh-port", FlagValue::Int(self.host.ssh_port().into()));
        flags.set("generic-engine-port", FlagValue::Int(2376));
        CreateRequest {
            name: MachineName::new("web").unwrap(),
            driver: "generic".into(),
            flags,
            engine: EngineOptions::default(),
            swarm: SwarmOptions::default(),
            tls_sans: Vec::new(),
            key_algorithm: machine_tls::KeyAlgorithm::EcdsaP256,
            install: InstallMethod::None,
            registry_cas: Vec::new(),
            ssh_jumps: jump.into_iter().collect(),
            allow_from: Vec::new(),
            rollback: false,
        }
    }

    fn journal(&self) -> Journal {
        self.lifecycle().store().load_journal("web").unwrap().unwrap()
    }

    fn change_journal(&self, change: impl FnOnce(&mut Journal)) {
        change_journal(self.lifecycle().store().root(), change);
    }
}

fn change_journal(store: &Path, change: impl FnOnce(&mut Journal)) {
    let store = Store::new(store);
    let lock = store.lock_machine("web", Duration::from_secs(5)).unwrap();
    let mut journal = store.load_journal("web").unwrap().unwrap();
    change(&mut journal);
    store.save_journal(&lock, &journal).unwrap();
}

fn forget_pins(journal: &mut Journal) {
    journal.host_keys.clear();
    journal.extra.remove(JUMP_KEYS);
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[derive(Default)]
struct Notices(Mutex<Vec<String>>);

impl Reporter for Notices {
    fn report(&self, event: Event) {
        if let Event::Notice(text) | Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

/// A look behind jump hosts has to log in. It must not pin what nobody was told of, nor wait for the machine's lock,
/// which `restart` and its like hold while they look.
#[test]
fn a_look_pins_nothing_and_needs_no_lock() {
    let Some(world) = World::new(true) else { return };
    assert_eq!(world.journal().host_keys.len(), 1);
    assert!(world.journal().extra.contains_key(JUMP_KEYS));
    world.change_journal(forget_pins);

    let lifecycle = world.lifecycle();
    let lock = lifecycle.store().lock_machine("web", Duration::from_secs(5)).unwrap();
    let notices = Notices::default();
    assert_eq!(block_on(lifecycle.status("web", &notices)).unwrap(), State::Running);
    let seen = block_on(lifecycle.observe(&["web".to_owned()], Duration::from_secs(20)));
    assert_eq!(seen[0].state, State::Running, "{seen:?}");
    drop(lock);
    let journal = world.journal();
    assert!(journal.host_keys.is_empty() && !journal.extra.contains_key(JUMP_KEYS), "{journal:?}");
    assert!(notices.0.lock().unwrap().is_empty());

    // A connection for use says so, and pins both.
    block_on(lifecycle.connect("web", &ConnectOptions::default(), &notices)).unwrap();
    assert_eq!(notices.0.lock().unwrap().len(), 2);
    let journal = world.journal();
    assert!(journal.host_keys.len() == 1 && journal.extra.contains_key(JUMP_KEYS), "{journal:?}");

    // A changed key stops a look as well.
    world.change_journal(|journal| journal.host_keys = vec![OTHER_KEY.to_owned()]);
    let error = block_on(lifecycle.status("web", &Silent)).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
}

/// Another process makes first contact while this one is on its way.
struct AnotherIsFaster<'a>(&'a Path);

impl Reporter for AnotherIsFaster<'_> {
    fn report(&self, event: Event) {
        if let Event::Notice(text) = event {
            assert!(text.contains("first contact"), "{text}");
            change_journal(self.0, |journal| journal.host_keys = vec![OTHER_KEY.to_owned()]);
        }
    }
}

#[test]
fn of_two_first_contacts_that_saw_different_keys_one_is_refused() {
    let Some(world) = World::new(false) else { return };
    let lifecycle = world.lifecycle();
    world.change_journal(forget_pins);
    let report = AnotherIsFaster(lifecycle.store().root());
    let error = block_on(lifecycle.connect("web", &ConnectOptions::default(), &report)).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    assert!(error.hint().unwrap().contains("--accept-new-host-key"));
    assert_eq!(world.journal().host_keys, [OTHER_KEY], "the first pin stays");
}

#[test]
fn a_jump_hosts_changed_key_is_refused_until_it_is_accepted() {
    let Some(world) = World::new(true) else { return };
    let lifecycle = world.lifecycle();
    let jump = format!("root@{}:{}", world.host.address(), world.host.ssh_port());
    let pinned = world.journal().extra[JUMP_KEYS].clone();
    world.change_journal(|journal| {
        journal.extra[JUMP_KEYS][jump.as_str()] = vec![OTHER_KEY].into();
    });
    let error = block_on(lifecycle.connect("web", &ConnectOptions::default(), &Silent)).unwrap_err();
    assert!(error.to_string().contains("jump host") && error.to_string().contains("has changed"), "{error}");
    assert!(error.hint().unwrap().contains("--accept-new-host-key"), "{error}");

    let accept = ConnectOptions { accept_new_host_key: true, ..ConnectOptions::default() };
    let notices = Notices::default();
    block_on(lifecycle.connect("web", &accept, &notices)).unwrap();
    assert!(notices.0.lock().unwrap()[0].contains("new host key of jump host"), "{:?}", notices.0);
    assert_eq!(world.journal().extra[JUMP_KEYS], pinned);
    block_on(lifecycle.connect("web", &ConnectOptions::default(), &Silent)).unwrap();
}
