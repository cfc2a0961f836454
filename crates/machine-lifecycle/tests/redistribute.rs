//! New client certificates reach every machine that shares them, whatever is the matter with the others.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use machine_core::{
    DriverSource, EngineOptions, Event, FlagValue, FlagValues, MachineName, Reporter, Silent, SwarmOptions,
};
use machine_lifecycle::{CreateRequest, InstallMethod, Lifecycle, Settings};
use machine_store::Store;
use machine_tls::KeyAlgorithm;

#[derive(Default)]
struct Asides(Mutex<Vec<String>>);

impl Reporter for Asides {
    fn report(&self, event: Event) {
        if let Event::Notice(text) | Event::Warning(text) = event {
            self.0.lock().unwrap().push(text);
        }
    }
}

fn request(name: &str) -> CreateRequest {
    let driver = machine_drivers::Builtin.driver("none").unwrap();
    let mut flags = FlagValues::defaults(&driver.spec().flags);
    flags.set("url", FlagValue::Str("tcp://203.0.113.7:2376".into()));
    CreateRequest {
        name: MachineName::new(name).unwrap(),
        driver: "none".into(),
        flags,
        engine: EngineOptions::default(),
        swarm: SwarmOptions::default(),
        tls_sans: Vec::new(),
        key_algorithm: KeyAlgorithm::EcdsaP256,
        install: InstallMethod::None,
        registry_cas: Vec::new(),
        ssh_jumps: Vec::new(),
        allow_from: Vec::new(),
        rollback: false,
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_machine_in_the_way_does_not_stop_the_others() {
    let root = tempfile::tempdir().unwrap();
    let mut settings = Settings::for_store(root.path());
    settings.lock_limit = Duration::from_millis(100);
    let store = Store::new(root.path());
    let lifecycle = Lifecycle::new(store.clone(), Arc::new(machine_drivers::Builtin), settings);
    for name in ["broken", "busy", "free", "without"] {
        lifecycle.create(request(name), &Silent).await.unwrap();
    }
    for name in ["busy", "free"] {
        for file in ["ca.pem", "cert.pem", "key.pem"] {
            fs::copy(store.certs_dir().join(file), store.machine_dir(name).join(file)).unwrap();
        }
    }
    fs::write(store.machine_dir("broken").join("ca.pem"), [0xff, 0xfe]).unwrap();
    let old = fs::read(store.certs_dir().join("cert.pem")).unwrap();

    let busy = store.lock_machine("busy", Duration::ZERO).unwrap();
    let asides = Asides::default();
    lifecycle.regenerate_client_certs(KeyAlgorithm::EcdsaP256, &[], &asides).await.unwrap();
    drop(busy);

    let new = fs::read(store.certs_dir().join("cert.pem")).unwrap();
    let cert_of = |name: &str| fs::read(store.machine_dir(name).join("cert.pem")).ok();
    assert_ne!(new, old);
    assert_eq!(cert_of("free"), Some(new));
    assert_eq!(cert_of("busy"), Some(old), "whoever works on it has its folder to himself");
    assert_eq!((cert_of("without"), cert_of("broken")), (None, None));
    let said = asides.0.into_inner().unwrap();
    let told = |text: &str| said.iter().any(|line| line.contains(text));
    assert!(told("not copied to the folder of \"busy\": machine \"busy\" is in use by"), "{said:?}");
    assert!(told("not copied to the folder of \"broken\""), "{said:?}");
    assert!(!told("keep the CA certificate"), "the CA is the same, so that engines need nothing: {said:?}");
}
