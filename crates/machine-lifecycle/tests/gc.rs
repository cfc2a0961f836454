//! Finding what has no record, and what is left alone: machines that are being made, what is shared, what came back. The
//! provider is made up: a list of things with marks, by account.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use machine_core::{
    AccountCx, Capabilities, Checkpoint, ConfigureContext, Cx, Driver, DriverError, DriverSource, DriverSpec,
    DriverState, EngineOptions, ErrorKind, FlagSpec, FlagValue, FlagValues, Known, MachineName, Observed,
    Owned, Power, Silent, State, SwarmOptions,
};
use machine_lifecycle::{
    AccountRubbish, CreateRequest, InstallMethod, Lifecycle, Outcome, Rubbish, Settings,
};
use machine_store::Store;
use tokio::sync::Notify;

/// What the provider has, and what it was asked.
#[derive(Default)]
struct World {
    /// The account of each thing, and the thing.
    things: Vec<(String, Owned)>,
    /// Accounts that don't answer.
    down: BTreeSet<String>,
    /// Hosts whose records have a password of last year.
    old: BTreeSet<String>,
    /// Whether the credentials at hand open another account, in which there is nothing.
    elsewhere: bool,
    /// Ids that can't be removed.
    stuck: BTreeSet<String>,
    /// What was removed, in order.
    removed: Vec<String>,
    /// With which store ids lists were asked for.
    asked: Vec<String>,
    /// How often many hosts were looked at in one call.
    batches: usize,
}

struct Cloud {
    spec: DriverSpec,
    world: Mutex<World>,
    /// `create` says that the instance is made, and waits to be let go on.
    made: Notify,
    go_on: Notify,
    waits: bool,
}

impl Cloud {
    fn world<T>(&self, with: impl FnOnce(&mut World) -> T) -> T {
        with(&mut self.world.lock().unwrap())
    }

    fn seen(&self, state: &DriverState) -> Result<Observed, DriverError> {
        self.world(|world| {
            if world.down.contains(state.str("Account")) {
                return Err(DriverError::new(ErrorKind::Unavailable, "nobody answers").with_hint("wait"));
            }
            let known = !world.elsewhere;
            let there = known && world.things.iter().any(|(_, thing)| thing.id == state.str("HostId"));
            if there {
                Ok(Observed { state: State::Running, ..Observed::default() })
            } else {
                Err(DriverError::new(ErrorKind::NotFound, "it is gone"))
            }
        })
    }
}

#[async_trait]
impl Driver for Cloud {
    fn spec(&self) -> &DriverSpec {
        &self.spec
    }

    fn configure(&self, cx: &ConfigureContext<'_>, flags: &FlagValues) -> Result<DriverState, DriverError> {
        let account = flags.str("cloud-account");
        if account.is_empty() {
            return Err(DriverError::new(ErrorKind::Config, "cloud driver requires --cloud-account"));
        }
        let mut state = DriverState::default();
        state.0.insert("Account".to_owned(), account.into());
        state.0.insert("HostId".to_owned(), format!("i-{}", cx.name).into());
        Ok(state)
    }

    fn known(&self, _: &DriverState) -> Result<Known, DriverError> {
        Ok(Known::default())
    }

    async fn precreate(&self, _: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        Ok(())
    }

    async fn create(
        &self,
        cx: &Cx<'_>,
        wish: DriverState,
        _: &mut dyn Checkpoint,
    ) -> Result<DriverState, DriverError> {
        let instance = thing("instance", wish.str("HostId"), cx.name.as_str());
        self.world(|world| world.things.push((wish.str("Account").to_owned(), instance)));
        if self.waits {
            self.made.notify_one();
            self.go_on.notified().await;
        }
        Ok(wish)
    }

    async fn observe(&self, _: &Cx<'_>, state: &DriverState) -> Result<Observed, DriverError> {
        self.seen(state)
    }

    async fn observe_many(&self, hosts: &[(Cx<'_>, &DriverState)]) -> Vec<Result<Observed, DriverError>> {
        self.world(|world| world.batches += 1);
        hosts.iter().map(|(_, state)| self.seen(state)).collect()
    }

    async fn power(&self, _: &Cx<'_>, state: &DriverState, _: Power) -> Result<DriverState, DriverError> {
        Ok(state.clone())
    }

    fn account(&self, state: &DriverState) -> Result<String, DriverError> {
        match state.str("Account") {
            "" => Err(DriverError::new(ErrorKind::Config, "the record has no account")),
            account => Ok(account.to_owned()),
        }
    }

    fn made_in(&self, state: &DriverState) -> Option<String> {
        state.0.get("Owner").and_then(|owner| owner.as_str()).map(str::to_owned)
    }

    async fn owned(&self, cx: &AccountCx<'_>, state: &DriverState) -> Result<Vec<Owned>, DriverError> {
        self.world(|world| {
            world.asked.push(cx.store_id.to_owned());
            // Key `B2` opens account `B`, as a second key of one account does.
            let account = &state.str("Account")[..1];
            if world.down.contains(state.str("Account")) {
                return Err(DriverError::new(ErrorKind::Credentials, format!("{account}: wrong token")));
            }
            if world.old.contains(state.str("HostId")) {
                return Err(DriverError::new(ErrorKind::Credentials, "the password is an old one"));
            }
            if world.elsewhere {
                return Ok(Vec::new());
            }
            Ok(world.things.iter().filter(|(of, _)| of == account).map(|(_, thing)| thing.clone()).collect())
        })
    }

    async fn remove_owned(
        &self,
        _: &AccountCx<'_>,
        state: &DriverState,
        owned: &Owned,
    ) -> Result<(), DriverError> {
        self.world(|world| {
            if world.old.contains(state.str("HostId")) {
                return Err(DriverError::new(ErrorKind::Credentials, "the password is an old one"));
            }
            if world.stuck.contains(&owned.id) {
                return Err(DriverError::new(ErrorKind::Other, "it is in use").with_hint("detach it"));
            }
            world.things.retain(|(_, thing)| thing != owned);
            world.removed.push(owned.id.clone());
            Ok(())
        })
    }

    async fn remove(&self, cx: &Cx<'_>, _: &DriverState) -> Result<(), DriverError> {
        self.world(|world| {
            world.things.retain(|(_, thing)| thing.machine != cx.name.as_str());
            world.removed.push(format!("all of {}", cx.name));
        });
        Ok(())
    }
}

fn thing(kind: &str, id: &str, machine: &str) -> Owned {
    Owned { kind: kind.into(), id: id.into(), machine: machine.into(), about: String::new() }
}

/// `cloud` marks what it makes; `plain` is the same and does not.
struct Drivers {
    cloud: Arc<Cloud>,
    plain: Arc<Cloud>,
}

impl DriverSource for Drivers {
    fn driver(&self, name: &str) -> Result<Arc<dyn Driver>, DriverError> {
        match name {
            "cloud" => Ok(self.cloud.clone()),
            "plain" => Ok(self.plain.clone()),
            _ => Err(DriverError::new(ErrorKind::NotFound, "no such driver")),
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["cloud".to_owned(), "plain".to_owned()]
    }
}

struct Test {
    root: tempfile::TempDir,
    cloud: Arc<Cloud>,
    lifecycle: Lifecycle,
}

impl Test {
    fn new(waits: bool) -> Self {
        let driver = |name: &'static str, marks: bool| {
            let spec = DriverSpec {
                name: name.into(),
                summary: "made up".into(),
                flags: vec![FlagSpec::str("cloud-account", "", "", "")].into(),
                capabilities: Capabilities { marks, batch: true, ..Capabilities::default() },
            };
            let (made, go_on) = (Notify::new(), Notify::new());
            Arc::new(Cloud { spec, world: Mutex::default(), made, go_on, waits })
        };
        let (cloud, plain) = (driver("cloud", true), driver("plain", false));
        let root = tempfile::tempdir().unwrap();
        let store = root.path().join("store");
        let drivers = Arc::new(Drivers { cloud: Arc::clone(&cloud), plain });
        let lifecycle = Lifecycle::new(Store::new(&store), drivers, Settings::for_store(&store));
        Self { root, cloud, lifecycle }
    }

    fn store(&self) -> &Store {
        self.lifecycle.store()
    }

    fn request(&self, driver: &str, name: &str, account: &str) -> CreateRequest {
        CreateRequest {
            name: MachineName::new(name).unwrap(),
            driver: driver.to_owned(),
            flags: flags(account),
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

    /// A machine with its instance.
    async fn machine(&self, name: &str, account: &str) {
        self.lifecycle.create(self.request("cloud", name, account), &Silent).await.unwrap();
        self.store().store_id().unwrap();
    }

    fn add(&self, account: &str, things: &[(&str, &str, &str)]) {
        self.cloud.world(|world| {
            for (kind, id, machine) in things {
                world.things.push((account.to_owned(), thing(kind, id, machine)));
            }
        });
    }

    async fn look(&self) -> Rubbish {
        self.lifecycle.rubbish(None, &Silent).await.unwrap()
    }

    async fn look_at(&self, account: &str) -> Rubbish {
        self.lifecycle.rubbish(Some(("cloud", &flags(account))), &Silent).await.unwrap()
    }

    async fn collect(&self, rubbish: &Rubbish) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        for account in &rubbish.accounts {
            let collected = self.lifecycle.collect(account, &Silent).await;
            assert_eq!(collected.resources.len(), account.resources.len());
            assert_eq!(collected.hosts.len(), account.hosts.len());
            outcomes.extend(collected.resources);
            outcomes.extend(collected.hosts);
        }
        outcomes
    }

    fn removed(&self) -> Vec<String> {
        self.cloud.world(|world| std::mem::take(&mut world.removed))
    }
}

fn flags(account: &str) -> FlagValues {
    let mut flags = FlagValues::default();
    flags.set("cloud-account", FlagValue::Str(account.to_owned()));
    flags
}

fn ids(account: &AccountRubbish) -> Vec<&str> {
    account.resources.iter().map(|owned| owned.id.as_str()).collect()
}

fn gone(account: &AccountRubbish) -> Vec<&str> {
    account.hosts.iter().map(|host| host.machine.as_str()).collect()
}

fn in_use(outcome: &Outcome, text: &str) -> bool {
    matches!(outcome, Outcome::InUse(why) if why.contains(text))
}

#[tokio::test(flavor = "current_thread")]
async fn what_has_no_record_is_found_and_removed_in_the_drivers_order() {
    let test = Test::new(false);
    test.machine("dev", "A").await;
    test.machine("far", "B").await;
    test.add(
        "A",
        &[
            ("instance", "i-old", "old"),
            ("instance", "i-older", "older"),
            ("volume", "v-dev", "dev"),
            ("volume", "v-old-1", "old"),
            ("volume", "v-old-2", "old"),
            ("key pair", "k-old", "old"),
            ("security group", "sg", ""),
        ],
    );
    let rubbish = test.look().await;
    let [a, b] = &rubbish.accounts[..] else { panic!("{rubbish:?}") };
    assert_eq!((a.driver.as_str(), a.account.as_str(), b.account.as_str()), ("cloud", "A", "B"));
    // What is shared is in use by dev.
    assert_eq!(ids(a), ["i-old", "i-older", "v-old-1", "v-old-2", "k-old"]);
    assert!(b.resources.is_empty() && a.hosts.is_empty() && b.hosts.is_empty() && a.problems.is_empty());
    assert_eq!(test.cloud.world(|world| world.batches), 2, "one question an account");
    let id = test.store().known_id().unwrap().unwrap();
    assert_eq!(test.cloud.world(|world| world.asked.clone()), [id.clone(), id]);

    let outcomes = test.collect(&rubbish).await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Removed)), "{outcomes:?}");
    let removed = test.removed();
    assert_eq!(removed[2..], ["v-old-1", "v-old-2", "k-old"], "{removed:?}");
    assert_eq!(BTreeSet::from_iter(&removed[..2]), BTreeSet::from_iter(&["i-old".into(), "i-older".into()]));
    assert!(test.look().await.accounts.iter().all(|account| account.resources.is_empty()));
    assert_eq!(test.store().machine_names().unwrap(), ["dev", "far"]);
}

#[tokio::test(flavor = "current_thread")]
async fn the_account_of_flags_is_looked_into_and_nothing_is_made() {
    let test = Test::new(false);
    test.add("A", &[("instance", "i-old", "old"), ("security group", "sg", "")]);
    // A store without an id has marked nothing: whose these are is not known.
    let rubbish = test.look_at("A").await;
    assert!(rubbish.accounts[0].resources.is_empty());
    assert!(test.cloud.world(|world| world.asked.is_empty()));
    assert!(!test.store().root().exists());

    test.store().store_id().unwrap();
    let rubbish = test.look_at("A").await;
    assert_eq!(ids(&rubbish.accounts[0]), ["i-old", "sg"]);
    let made: Vec<_> = std::fs::read_dir(test.root.path().join("store")).unwrap().collect();
    assert_eq!(made.len(), 1, "only the id that was there: {made:?}");
    assert_eq!(test.collect(&rubbish).await.len(), 2);
    assert_eq!(test.removed(), ["i-old", "sg"]);

    let error = test.lifecycle.rubbish(Some(("cloud", &flags(""))), &Silent).await.unwrap_err();
    assert!(error.to_string().contains("requires --cloud-account"), "{error}");
    let error = test.lifecycle.rubbish(Some(("plain", &flags("A"))), &Silent).await.unwrap_err();
    assert_eq!(error.to_string(), "the driver \"plain\" can't find what it made");
}

#[tokio::test(flavor = "current_thread")]
async fn a_machine_that_is_being_made_is_no_rubbish() {
    let test = Test::new(true);
    test.store().store_id().unwrap();
    test.add("A", &[("instance", "i-dev", "dev"), ("security group", "sg", "")]);
    // Found before the create of that name began.
    let early = test.look_at("A").await;
    assert_eq!(ids(&early.accounts[0]), ["i-dev", "sg"]);

    let create = test.lifecycle.create(test.request("cloud", "dev", "A"), &Silent);
    let meanwhile = async {
        test.cloud.made.notified().await;
        let now = test.look().await;
        assert!(now.accounts[0].resources.is_empty() && now.accounts[0].hosts.is_empty(), "{now:?}");
        let outcomes = test.collect(&early).await;
        assert!(in_use(&outcomes[0], "is in use by"), "{outcomes:?}");
        assert!(in_use(&outcomes[1], "by now"), "{outcomes:?}");
        test.cloud.go_on.notify_one();
    };
    let (made, ()) = tokio::join!(create, meanwhile);
    made.unwrap();
    let outcomes = test.collect(&early).await;
    assert!(in_use(&outcomes[0], "\"dev\" has a record by now"), "{outcomes:?}");
    assert!(test.removed().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn records_whose_host_is_gone() {
    let test = Test::new(false);
    for name in ["dev", "here", "back", "busy"] {
        test.machine(name, "A").await;
    }
    test.add("A", &[("key pair", "k-dev", "dev")]);
    let lose = |names: &'static [&'static str]| {
        test.cloud.world(|world| {
            world
                .things
                .retain(|(_, thing)| thing.kind != "instance" || !names.contains(&thing.machine.as_str()))
        });
    };
    lose(&["dev", "back", "busy"]);
    let busy = test.store().lock_machine("busy", std::time::Duration::ZERO).unwrap();
    assert_eq!(gone(&test.look().await.accounts[0]), ["back", "dev"], "nobody is at work on these");
    drop(busy);
    let rubbish = test.look().await;
    assert_eq!(gone(&rubbish.accounts[0]), ["back", "busy", "dev"]);
    // The key pair is of a machine with a record; it goes with that.
    assert!(rubbish.accounts[0].resources.is_empty());

    let busy = test.store().lock_machine("busy", std::time::Duration::ZERO).unwrap();
    test.add("A", &[("instance", "i-back", "back")]);
    let outcomes = test.collect(&rubbish).await;
    assert!(in_use(&outcomes[0], "its host is there"), "{outcomes:?}");
    assert!(in_use(&outcomes[1], "is in use by"), "{outcomes:?}");
    assert!(matches!(outcomes[2], Outcome::Removed), "{outcomes:?}");
    drop(busy);
    assert_eq!(test.store().machine_names().unwrap(), ["back", "busy", "here"]);
    assert_eq!(test.removed(), ["all of dev"]);
    assert!(!test.cloud.world(|world| world.things.iter().any(|(_, thing)| thing.id == "k-dev")));
}

#[tokio::test(flavor = "current_thread")]
async fn one_account_that_fails_does_not_hurt_the_rest() {
    let test = Test::new(false);
    test.machine("dev", "A").await;
    test.machine("far", "B").await;
    test.add("A", &[("instance", "i-old", "old"), ("instance", "i-stuck", "stuck")]);
    test.cloud.world(|world| {
        world.down.insert("B".to_owned());
        world.stuck.insert("i-stuck".to_owned());
    });
    let rubbish = test.look().await;
    let [a, b] = &rubbish.accounts[..] else { panic!("{rubbish:?}") };
    assert_eq!(ids(a), ["i-old", "i-stuck"]);
    let said: Vec<String> = b.problems.iter().map(ToString::to_string).collect();
    assert_eq!(said, ["B: wrong token", "machine \"far\": nobody answers"]);
    assert_eq!(b.problems[1].hint().as_deref(), Some("wait"));
    assert!(b.hosts.is_empty(), "who does not answer is not gone");
    let outcomes = test.collect(&rubbish).await;
    assert!(matches!(outcomes[0], Outcome::Removed));
    let Outcome::Failed(error) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert_eq!((error.to_string().as_str(), error.hint().as_deref()), ("it is in use", Some("detach it")));
}

#[tokio::test(flavor = "current_thread")]
async fn what_is_shared_is_in_use_as_long_as_that_is_not_certain() {
    let test = Test::new(false);
    test.machine("dev", "A").await;
    test.add("A", &[("security group", "sg", "")]);
    // Another key of the same account: no record has it, but dev's instance is there.
    assert!(test.look_at("A2").await.accounts.iter().all(|account| account.resources.is_empty()));

    test.lifecycle.remove("dev", false, &Silent).await.unwrap();
    let early = test.look_at("A2").await;
    assert_eq!(ids(&early.accounts[0]), ["sg"]);
    // A record that can't be read may be of this account; one of a driver that is not here is not.
    let torn = test.store().machine_dir("torn");
    std::fs::create_dir_all(&torn).unwrap();
    std::fs::write(torn.join("config.json"), "{").unwrap();
    let now = test.look_at("A2").await;
    assert!(now.accounts[0].resources.is_empty());
    assert_eq!(now.unreadable[0].0, "torn");
    assert!(in_use(&test.collect(&early).await[0], "by now"));
    let other = r#"{"ConfigVersion":3,"Driver":{},"DriverName":"nosuch","HostOptions":{},"Name":"torn"}"#;
    std::fs::write(torn.join("config.json"), other).unwrap();
    let now = test.look_at("A2").await;
    assert_eq!((ids(&now.accounts[0]), now.unreadable.len()), (vec!["sg"], 0));
    test.collect(&now).await;
    assert_eq!(test.removed(), ["all of dev", "sg"]);
}

#[tokio::test(flavor = "current_thread")]
async fn a_mark_that_names_no_machine_is_left_to_the_user() {
    let test = Test::new(false);
    test.store().store_id().unwrap();
    test.add("A", &[("instance", "i-odd", "../odd")]);
    let rubbish = test.look_at("A").await;
    let outcomes = test.collect(&rubbish).await;
    let Outcome::Failed(error) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(error.to_string().contains("remove it at the provider"), "{error}");
    assert!(test.removed().is_empty());
}

#[tokio::test(flavor = "current_thread")]
async fn an_account_in_which_there_is_nothing_of_ours_is_probably_another_one() {
    let test = Test::new(false);
    for name in ["one", "two"] {
        test.machine(name, "A").await;
    }
    test.cloud.world(|world| world.elsewhere = true);
    let rubbish = test.look().await;
    let [a] = &rubbish.accounts[..] else { panic!("{rubbish:?}") };
    assert!(a.hosts.is_empty(), "{a:?}");
    let said = a.problems[0].to_string();
    assert!(said.contains("are said to be gone: one, two"), "{said}");
    assert!(a.problems[0].hint().unwrap().contains("the right account"));
    test.collect(&rubbish).await;
    assert_eq!(test.store().machine_names().unwrap(), ["one", "two"]);

    // A create that had asked for nothing yet has lost nothing.
    let lock = test.store().try_lock_machine("two").unwrap();
    let mut journal = test.store().load_journal("two").unwrap().unwrap();
    journal.phase = machine_store::Phase::Record;
    journal.status = machine_store::Status::Running;
    test.store().save_journal(&lock, &journal).unwrap();
    // Whose record names the account has been looked for there.
    let mut machine = test.store().load("one").unwrap();
    machine.driver.0.insert("Owner".to_owned(), "A".into());
    drop(lock);
    let lock = test.store().try_lock_machine("one").unwrap();
    test.store().save(&lock, &machine).unwrap();
    drop(lock);
    test.machine("three", "A").await;
    let rubbish = test.look().await;
    assert_eq!(gone(&rubbish.accounts[0]), ["one", "two"]);
    assert!(rubbish.accounts[0].problems[0].to_string().ends_with("gone: three"), "{rubbish:?}");

    // One host that is there, or anything with our mark, says that it is the right one.
    test.cloud.world(|world| {
        world.elsewhere = false;
        world.things.retain(|(_, thing)| thing.machine == "three");
    });
    assert_eq!(gone(&test.look().await.accounts[0]), ["one", "two"]);
    test.cloud.world(|world| world.things.clear());
    test.add("A", &[("key pair", "k", "three")]);
    assert_eq!(gone(&test.look().await.accounts[0]), ["one", "three", "two"]);
}

#[tokio::test(flavor = "current_thread")]
async fn an_account_is_opened_by_whichever_record_has_credentials_that_are_good() {
    let test = Test::new(false);
    for name in ["a-old", "b-new"] {
        test.machine(name, "A").await;
    }
    test.add("A", &[("instance", "i-left", "left")]);
    for old in ["i-a-old", "i-b-new"] {
        test.cloud.world(|world| world.old = BTreeSet::from([old.to_owned()]));
        let rubbish = test.look().await;
        assert_eq!(ids(&rubbish.accounts[0]), ["i-left"], "{rubbish:?}");
        assert!(rubbish.accounts[0].problems.is_empty());
        if old == "i-b-new" {
            assert!(matches!(test.collect(&rubbish).await[..], [Outcome::Removed]));
        }
    }
    test.cloud.world(|world| world.old = BTreeSet::from(["i-a-old", "i-b-new"].map(str::to_owned)));
    let rubbish = test.look().await;
    assert_eq!(rubbish.accounts[0].problems[0].to_string(), "the password is an old one");
}
