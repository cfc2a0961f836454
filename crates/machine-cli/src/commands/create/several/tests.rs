//! Several machines of a made-up driver: some fail, some hang.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use machine_core::{
    Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, ErrorKind, FlagValues, Known, MachineName, Observed, Power, SwarmOptions,
};
use machine_lifecycle::{InstallMethod, Settings};
use machine_store::Store;

use super::*;

/// What the machine's name says is what happens to it.
struct Cloud {
    spec: DriverSpec,
    now: AtomicUsize,
    most: AtomicUsize,
    hanging: AtomicUsize,
}

#[async_trait]
impl Driver for Cloud {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, _: &ConfigureContext<'_>, _: &FlagValues) -> Result<DriverState, DriverError> {
        Ok(DriverState::default())
    }

    fn known(&self, _: &DriverState) -> Result<Known, DriverError> {
        Ok(Known::default())
    }

    async fn precreate(&self, cx: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        if cx.name.as_str().starts_with("unchecked") {
            return Err(DriverError::new(ErrorKind::Credentials, "no token").with_hint("get a token"));
        }
        Ok(())
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        _: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        // The later ones are ready first.
        tokio::time::sleep(Duration::from_millis(if cx.name.as_str().ends_with('1') { 150 } else { 100 }))
            .await;
        if cx.name.as_str().starts_with("hangs") {
            self.hanging.fetch_add(1, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        self.now.fetch_sub(1, Ordering::SeqCst);
        if cx.name.as_str().starts_with("fails") {
            return Err(DriverError::new(ErrorKind::Quota, "no room").with_hint("ask for more room"));
        }
        Ok(wish)
    }

    async fn observe(&self, _: &Cx<'_>, _: &DriverState) -> Result<Observed, DriverError> {
        Ok(Observed::default())
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
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

/// All that was said of all machines.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<String>>>);

struct Voice(String, Said);

impl Reporter for Voice {
    fn report(&self, event: Event) {
        let text = match event {
            Event::Line(line) | Event::Notice(line) => format!("({}) {line}", self.0),
            _ => return,
        };
        self.1.0.lock().unwrap().push(text);
    }
}

struct Test {
    _root: tempfile::TempDir,
    cloud: Arc<Cloud>,
    lifecycle: Lifecycle,
    said: Said,
}

impl Test {
    fn new() -> Self {
        let spec = DriverSpec {
            name: "cloud".into(),
            summary: "made up".into(),
            flags: Vec::new().into(),
            capabilities: Capabilities::default(),
        };
        let cloud = Arc::new(Cloud {
            spec,
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
            hanging: AtomicUsize::new(0),
        });
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        let drivers = Arc::new(Drivers(Arc::clone(&cloud)));
        let lifecycle = Lifecycle::new(Store::new(&store), drivers, Settings::for_store(&store));
        Self { _root: root, cloud, lifecycle, said: Said::default() }
    }

    async fn make(&self, names: &[&str], parallel: usize) -> Vec<Result<Machine, Error>> {
        let requests = names.iter().map(|name| asked(name)).collect();
        let reporter =
            |name: &str| -> Box<dyn Reporter> { Box::new(Voice(name.to_owned(), self.said.clone())) };
        make(&self.lifecycle, requests, parallel, reporter).await
    }

    fn said(&self, text: &str) -> usize {
        self.said.0.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

fn asked(name: &str) -> CreateRequest {
    CreateRequest {
        name: MachineName::new(name).unwrap(),
        driver: "cloud".to_owned(),
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
    }
}

fn failed<'a>(names: &[&'a str], made: Vec<Result<Machine, Error>>) -> Vec<(&'a str, Error)> {
    names.iter().copied().zip(made).filter_map(|(name, made)| Some((name, made.err()?))).collect()
}

#[tokio::test(flavor = "current_thread")]
async fn one_that_fails_does_not_hurt_the_rest() {
    let test = Test::new();
    let names = ["a1", "fails2", "b3", "unchecked4", "c5", "d6", "e7", "fails8", "f9"];
    let made = test.make(&names, 3).await;
    let ends: Vec<Result<&str, u8>> = made
        .iter()
        .map(|made| made.as_ref().map(|machine| machine.name.as_str()).map_err(Error::exit_code))
        .collect();
    let ok = |name| Ok::<&str, u8>(name);
    assert_eq!(ends, [ok("a1"), Err(1), ok("b3"), Err(3), ok("c5"), ok("d6"), ok("e7"), Err(1), ok("f9")]);
    let most = test.cloud.most.load(Ordering::SeqCst);
    assert!((2..=3).contains(&most), "{most} at the same time where 3 were allowed");
    assert_eq!(test.said("Creating CA: "), 1, "one CA for all");
    assert_eq!(test.said("(unchecked4) Error with pre-create check"), 1, "said when it happened");

    let json: Vec<Row<'_>> = names.iter().zip(&made).map(|(name, made)| row(name, made)).collect();
    let json = serde_json::to_value(json).unwrap();
    assert_eq!((&json[0]["Name"], &json[0]["DriverName"]), (&"a1".into(), &"cloud".into()));
    assert_eq!((&json[1]["Name"], &json[1]["Kept"]), (&"fails2".into(), &true.into()));
    assert_eq!((&json[3]["Name"], &json[3]["Kept"]), (&"unchecked4".into(), &false.into()));
    assert!(json[3]["Error"].as_str().unwrap().contains("no token"));

    let error = failure(names.len(), &failed(&names, made), "docker-machine");
    assert_eq!(
        error.message(),
        "3 of 9 machines could not be made:\n\
         fails2: Error creating machine: Error in driver during machine creation: no room\n\
         unchecked4: Error with pre-create check: \"no token\"\n\
         fails8: Error creating machine: Error in driver during machine creation: no room"
    );
    assert_eq!(
        error.hint().unwrap(),
        "ask for more room\n\
         get a token\n\
         What was made of fails2, fails8 is kept: `docker-machine create --resume NAME` goes on where it stopped; \
         `docker-machine rm fails2 fails8` removes it."
    );
    assert_eq!(error.code(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn none_gets_further_than_the_checks() {
    let test = Test::new();
    let names = ["unchecked1", "unchecked2"];
    let made = test.make(&names, 10).await;
    let error = failure(2, &failed(&names, made), "docker-machine");
    assert_eq!((error.code(), error.hint()), (3, Some("get a token")));
    assert!(test.lifecycle.store().machine_names().unwrap().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn what_an_interruption_leaves_is_named() {
    let test = Test::new();
    let names = ["a", "hangs1", "hangs2", "b"].map(str::to_owned);
    let words: Vec<&str> = names.iter().map(String::as_str).collect();
    let both_hang = async {
        while test.cloud.hanging.load(Ordering::SeqCst) < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = test.make(&words, 2) => panic!("two of them never end"),
        () = both_hang => {}
    }
    assert_eq!(
        what_is_left(&test.lifecycle, &names, "docker-machine"),
        "Ready: a.\n\
         What was made of hangs1, hangs2 is kept: `docker-machine create --resume NAME` goes on where it stopped; \
         `docker-machine rm hangs1 hangs2` removes it.\n\
         Nothing is left of b."
    );
}

#[tokio::test(flavor = "current_thread")]
async fn rolling_back_leaves_what_another_process_has_made() {
    let test = Test::new();
    let other = Lifecycle::new(
        Store::new(test.lifecycle.store().root()),
        Arc::new(Drivers(Arc::clone(&test.cloud))),
        Settings::for_store(test.lifecycle.store().root()),
    );
    let both_hang = async {
        while test.cloud.hanging.load(Ordering::SeqCst) < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // It has a name that is still to come here.
        other.create(asked("fails2"), &machine_core::Silent).await.unwrap_err();
    };
    tokio::select! {
        _ = test.make(&["hangs1", "fails2"], 1) => panic!("one of them never ends"),
        () = both_hang => {}
    }
    let names = ["hangs1", "fails2"].map(str::to_owned);
    let lifecycle = &test.lifecycle;
    std::thread::scope(|threads| threads.spawn(|| roll_back(lifecycle, &names, To::Stderr)).join().unwrap());
    assert_eq!(lifecycle.store().machine_names().unwrap(), ["fails2"]);
    assert_eq!(
        what_is_left(lifecycle, &names, "docker-machine"),
        "Nothing is left of hangs1.\nAnother process has these names: fails2."
    );
}

#[test]
fn names_are_checked_before_anything_is_made() {
    let test = Test::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    assert!(runtime.block_on(test.make(&["taken", "fails"], 2))[0].is_ok());
    let check = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        check_names(&test.lifecycle, &names).err().map(|error| error.message().to_owned())
    };
    assert_eq!(check(&["a", "b"]), None);
    assert_eq!(
        check(&["a", "b_c", "a", "taken"]).unwrap(),
        "\"b_c\": Error creating machine: Invalid hostname specified. Allowed hostname chars are: 0-9a-zA-Z . -\n\
         The name \"a\" is given twice\n\
         Docker machine \"taken\" already exists"
    );
    let names = ["a".to_owned(), "fails".to_owned()];
    let hint = check_names(&test.lifecycle, &names).unwrap_err().hint().unwrap().to_owned();
    assert!(hint.contains("`docker-machine create --resume fails`"), "{hint}");
}
