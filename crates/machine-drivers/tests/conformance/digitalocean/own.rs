//! What the suite does not ask for.

use std::collections::BTreeMap;

use machine_core::{
    AccountCx, Cx, Driver, DriverError, DriverState, ErrorKind, FlagValue, Known, Observed, Power, State,
};
use machine_drivers::digitalocean::DigitalOcean;
use machine_testkit::conformance::{AUTHORIZED_KEY, Bench, Cut, Journal, STORE_ID, full_text};
use machine_testkit::double::{Reply, Request, Trouble};
use serde_json::{Value, json};

use super::double::{TOKEN, USERS_FINGERPRINT, USERS_KEY, VPC};
use super::{Cloud, text};
use crate::prism::Prism;
use machine_testkit::conformance::Subject;

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[track_caller]
fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

/// A machine to be, and what the driver has of it.
struct Machine {
    bench: Bench,
    driver: DigitalOcean,
    state: DriverState,
    networks: Vec<String>,
}

impl Machine {
    fn wish(cloud: &Cloud, flags: &[(&str, FlagValue)]) -> Self {
        let (bench, driver) = (Bench::new(), DigitalOcean::new());
        let state = bench.wish(&driver, &cloud.flags(flags));
        Self { bench, driver, state, networks: Vec::new() }
    }

    fn made(cloud: &Cloud, flags: &[(&str, FlagValue)]) -> Self {
        let mut machine = Self::wish(cloud, flags);
        ok(machine.create(&mut Journal::new(Cut::Never)));
        machine
    }

    /// With `--allow-from`.
    fn narrowed(mut self) -> Self {
        self.networks = vec!["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()];
        self
    }

    fn cx(&self) -> Cx<'_> {
        Cx { allow_from: &self.networks, ..self.bench.cx() }
    }

    fn create(&mut self, journal: &mut Journal) -> Result<(), DriverError> {
        match block(self.driver.create(&self.cx(), self.state.clone(), journal)) {
            Ok(state) => {
                self.state = state;
                Ok(())
            }
            Err(error) => {
                self.state = journal.last_or(&self.state);
                Err(error)
            }
        }
    }

    fn observe(&mut self) -> Result<State, DriverError> {
        let Observed { state, changed, .. } = block(self.driver.observe(&self.cx(), &self.state))?;
        self.state = changed.unwrap_or_else(|| self.state.clone());
        Ok(state)
    }

    fn power(&self, op: Power) -> Result<(), DriverError> {
        block(self.driver.power(&self.cx(), &self.state, op)).map(drop)
    }

    #[track_caller]
    fn remove(&self) {
        ok(block(self.driver.remove(&self.cx(), &self.state)));
    }

    fn known(&self) -> Known {
        ok(self.driver.known(&self.state))
    }
}

fn posts(path: &'static str) -> impl Fn(&Request) -> bool + Send {
    move |request| request.method == "POST" && request.path == path
}

/// Each flag, and what of it DigitalOcean is told.
#[test]
fn every_flag_reaches_the_wire() {
    let cloud = Cloud::new();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("user-data");
    std::fs::write(&data, "#!/bin/sh\necho hello\n").unwrap();
    let yes = || FlagValue::Bool(true);
    let table: Vec<(&str, FlagValue, &str, Value)> = vec![
        ("digitalocean-image", text("debian-12-x64"), "/image", json!("debian-12-x64")),
        ("digitalocean-image", text("155133621"), "/image", json!(155_133_621)),
        ("digitalocean-region", text("fra1"), "/region", json!("fra1")),
        ("digitalocean-size", text("s-2vcpu-4gb"), "/size", json!("s-2vcpu-4gb")),
        ("digitalocean-ipv6", yes(), "/ipv6", json!(true)),
        ("digitalocean-backups", yes(), "/backups", json!(true)),
        ("digitalocean-monitoring", yes(), "/monitoring", json!(true)),
        ("digitalocean-private-networking", yes(), "/private_networking", json!(true)),
        ("digitalocean-vpc-uuid", text(VPC), "/vpc_uuid", json!(VPC)),
        ("digitalocean-droplet-agent", text("false"), "/with_droplet_agent", json!(false)),
        ("digitalocean-droplet-agent", text("true"), "/with_droplet_agent", json!(true)),
        ("digitalocean-tags", text("web, env:prod"), "/tags/1", json!("env:prod")),
        (
            "digitalocean-ssh-key-fingerprint",
            text(USERS_FINGERPRINT),
            "/ssh_keys",
            json!([USERS_FINGERPRINT]),
        ),
        ("digitalocean-ssh-key-fingerprint", text("512190"), "/ssh_keys", json!([USERS_KEY])),
    ];
    for (flag, value, pointer, wanted) in table {
        let mut machine = Machine::wish(&cloud, &[(flag, value)]);
        ok(block(machine.driver.precreate(&machine.cx(), &machine.state)));
        ok(machine.create(&mut Journal::new(Cut::Never)));
        let asked = cloud.double.provider().asked.pop().unwrap();
        assert_eq!(asked.pointer(pointer), Some(&wanted), "--{flag}: {asked}");
        machine.remove();
    }
    // What nobody asked for is left to DigitalOcean.
    let machine = Machine::made(&cloud, &[]);
    let asked = cloud.double.provider().asked.pop().unwrap();
    for key in ["vpc_uuid", "with_droplet_agent", "private_networking"] {
        assert_eq!(asked.get(key), None, "{asked}");
    }
    assert_eq!(asked["user_data"], "#cloud-config\nssh_pwauth: false\n", "the seed");
    assert_eq!(asked["name"], "conformance");
    let tags = json!([
        format!("docker-machine-store:{STORE_ID}"),
        format!("docker-machine-name:conformance:{STORE_ID}")
    ]);
    assert_eq!(asked["tags"], tags);
    machine.remove();

    // Without a seed (the key is in the user's agent), the user's own data goes out as it is.
    let flags = [
        ("digitalocean-userdata", text(data.to_str().unwrap())),
        ("digitalocean-ssh-key-fingerprint", text("512190")),
    ];
    let machine = Machine::wish(&cloud, &flags);
    let prospect = ok(block(machine.driver.prospect(&machine.cx(), &machine.state)));
    assert_eq!(prospect.user_data.unwrap().expose(), "#!/bin/sh\necho hello\n");
    assert!(prospect.image.is_some() && !prospect.private);
    let cx = Cx { seed: None, ..machine.cx() };
    let made = ok(block(machine.driver.create(&cx, machine.state.clone(), &mut Journal::new(Cut::Never))));
    assert_eq!(cloud.double.provider().asked.pop().unwrap()["user_data"], "#!/bin/sh\necho hello\n");
    ok(block(machine.driver.remove(&cx, &made)));
    // It is not known what is in an image that the user names.
    let machine = Machine::wish(&cloud, &[("digitalocean-image", text("debian-12-x64"))]);
    assert_eq!(ok(block(machine.driver.prospect(&machine.cx(), &machine.state))).image, None);
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn ports_and_users_are_known() {
    let cloud = Cloud::new();
    let flags = [("digitalocean-ssh-user", text("core")), ("digitalocean-ssh-port", FlagValue::Int(2222))];
    let mut machine = Machine::made(&cloud, &flags);
    assert_eq!(machine.known(), Known::default(), "it has no address yet");
    assert_eq!(machine.observe().unwrap(), State::Running);
    cloud.checked();
    let known = machine.known();
    let ssh = known.ssh.unwrap();
    assert_eq!((ssh.user.as_str(), ssh.port), ("core", 2222));
    assert!(ssh.key.unwrap().ends_with("machines/conformance/id_rsa"));
    assert!(known.ip.starts_with("203.0.113."), "{}", known.ip);
    assert_eq!(known.url, format!("tcp://{}:2376", known.ip));
    assert!(machine.state.str("PrivateIPAddress").starts_with("10.10.10."));
    assert_eq!(cloud.checked(), Vec::<String>::new(), "what is in the record costs no call");
    machine.remove();
}

/// docker/machine 0.16.2 makes 7 calls where the droplet boots at once (regions, key, droplet, its address, its state, and its
/// state again for each of two URLs), and more the longer it boots.
#[test]
fn a_create_takes_four_calls() {
    let cloud = Cloud::new();
    let mut machine = Machine::wish(&cloud, &[]);
    ok(block(machine.driver.precreate(&machine.cx(), &machine.state)));
    ok(machine.create(&mut Journal::new(Cut::Never)));
    assert_eq!(machine.observe().unwrap(), State::Running);
    let droplet = machine.state.0["DropletID"].to_string();
    assert_eq!(
        cloud.checked(),
        [
            "GET /v2/regions",
            "POST /v2/account/keys",
            "POST /v2/droplets",
            format!("GET /v2/droplets/{droplet}").as_str()
        ]
    );
    machine.remove();
    assert_eq!(cloud.checked().len(), 3, "droplet, key, tag");
}

#[test]
fn a_droplet_may_not_show_at_first() {
    let cloud = Cloud::new();
    {
        let mut account = cloud.double.provider();
        (account.late, account.slowness) = (true, 3);
    }
    let mut machine = Machine::made(&cloud, &[]);
    let mut seen = vec![machine.observe().unwrap()];
    while *seen.last().unwrap() != State::Running {
        assert!(seen.len() < 9, "{seen:?}");
        seen.push(machine.observe().unwrap());
    }
    assert_eq!(seen[0], State::Starting);
    machine.remove();
    assert_eq!(cloud.resources(), 0);

    // Removed while it does not show: it is waited for.
    let machine = Machine::made(&cloud, &[]);
    machine.remove();
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn a_lost_reply_makes_nothing_twice() {
    for path in ["/v2/account/keys", "/v2/tags", "/v2/firewalls", "/v2/droplets"] {
        let cloud = Cloud::new();
        cloud.double.trouble(1, Trouble::LostReply, posts(path));
        let mut machine = Machine::wish(&cloud, &[]).narrowed();
        ok(machine.create(&mut Journal::new(Cut::Never)));
        let account = cloud.double.provider();
        assert_eq!(
            (account.droplets.len(), account.keys.len(), account.firewalls.len()),
            (1, 2, 1),
            "{path}"
        );
        drop(account);
        assert_eq!(machine.observe().unwrap(), State::Running, "{path}");
        machine.remove();
        assert_eq!(cloud.resources(), 0, "{path}");
    }
}

/// With a firewall, as the suite has none.
#[test]
fn a_create_that_is_cut_off_anywhere_goes_on_and_can_be_removed() {
    let cloud = Cloud::new();
    let mut machine = Machine::wish(&cloud, &[]).narrowed();
    let mut journal = Journal::new(Cut::Never);
    ok(machine.create(&mut journal));
    machine.remove();
    assert_eq!(cloud.resources(), 0);
    // An id that was not saved is found, one that was saved is used.
    for number in 0..journal.calls() {
        for goes_on in [false, true] {
            let mut machine = Machine::wish(&cloud, &[]).narrowed();
            machine.create(&mut Journal::new(Cut::Before(number))).unwrap_err();
            if goes_on {
                ok(machine.create(&mut Journal::new(Cut::Never)));
                assert_eq!(machine.observe().unwrap(), State::Running);
                let account = cloud.double.provider();
                let held = (account.droplets.len(), account.keys.len(), account.firewalls.len());
                assert_eq!(held, (1, 2, 1), "cut off before checkpoint {number}");
            }
            machine.remove();
            assert_eq!(cloud.resources(), 0, "cut off before checkpoint {number}");
        }
    }
}

#[test]
fn keys_of_others_stay() {
    let cloud = Cloud::new();
    // One that the user names.
    let machine = Machine::made(&cloud, &[("digitalocean-ssh-key-fingerprint", text("512190"))]);
    assert_eq!(machine.known().ssh, None);
    assert_eq!(machine.state.str("SSHKeyPath"), "", "it is the one that ssh takes");
    machine.remove();
    assert_eq!(cloud.double.provider().keys.len(), 1);
    // One that was in the account before, under another name.
    let blob = AUTHORIZED_KEY.split(' ').nth(1).unwrap();
    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, blob).unwrap();
    let pairs: Vec<String> = md5::compute(bytes).0.iter().map(|byte| format!("{byte:02x}")).collect();
    let theirs =
        json!({"id": 7, "fingerprint": pairs.join(":"), "public_key": AUTHORIZED_KEY, "name": "theirs"});
    cloud.double.provider().keys.push(theirs);
    let machine = Machine::made(&cloud, &[]);
    assert_eq!(machine.state.str("SSHKeyFingerprint"), pairs.join(":"));
    assert_eq!(cloud.double.provider().asked[1]["ssh_keys"], json!([pairs.join(":")]));
    machine.remove();
    assert_eq!(cloud.double.provider().keys.len(), 2);
    assert_eq!(cloud.double.provider().droplets.len(), 0);
}

#[test]
fn a_key_file_of_the_user_is_copied() {
    let cloud = Cloud::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("id_mine");
    std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
        .unwrap();
    let flags = [
        ("digitalocean-ssh-key-path", text(file.to_str().unwrap())),
        ("digitalocean-ssh-key-fingerprint", text("512190")),
    ];
    let mut machine = Machine::wish(&cloud, &flags);
    assert_eq!(machine.state.str("SSHKeyPath"), file.to_str().unwrap());
    ok(block(machine.driver.precreate(&machine.cx(), &machine.state)));
    ok(machine.create(&mut Journal::new(Cut::Never)));
    let copy = machine.cx().machine_dir.join("id_mine");
    assert_eq!(machine.state.str("SSHKeyPath"), copy.to_str().unwrap());
    assert!(copy.is_file());
    machine.remove();
}

#[test]
fn a_firewall_is_there_before_the_droplet_and_can_be_narrowed() {
    let cloud = Cloud::new();
    let mut machine = Machine::wish(&cloud, &[("digitalocean-ssh-port", FlagValue::Int(2222))]).narrowed();
    ok(machine.create(&mut Journal::new(Cut::Never)));
    let calls = cloud.checked();
    let at = |call: &str| calls.iter().position(|one| one == call).unwrap();
    assert!(at("POST /v2/firewalls") < at("POST /v2/droplets"), "{calls:?}");
    let rules = |cloud: &Cloud| cloud.double.provider().firewalls[0]["inbound_rules"].clone();
    let narrow = json!({"addresses": ["198.51.100.0/24", "2001:db8::/32"]});
    let wanted = json!([
        {"protocol": "tcp", "ports": "2222", "sources": narrow}, {"protocol": "tcp", "ports": "2376", "sources": narrow}
    ]);
    assert_eq!(rules(&cloud), wanted);
    let tag = cloud.double.provider().firewalls[0]["tags"][0].clone();
    assert!(cloud.double.provider().droplets[0]["tags"].as_array().unwrap().contains(&tag));

    // What the user added stays.
    let web = json!({"protocol": "tcp", "ports": "80", "sources": {"addresses": ["0.0.0.0/0"]}});
    cloud.double.provider().firewalls[0]["inbound_rules"].as_array_mut().unwrap().push(web.clone());
    let me = ["203.0.113.9/32".to_owned()];
    machine.state = ok(block(machine.driver.allow_from(&machine.cx(), &machine.state, &me)));
    let now = rules(&cloud);
    assert_eq!((now.as_array().unwrap().len(), &now[0]), (3, &web));
    assert_eq!(now[1]["sources"], json!({"addresses": me}));
    assert_eq!(cloud.double.provider().firewalls[0]["tags"][0], tag);
    machine.remove();
    assert_eq!(cloud.resources(), 0);

    // A machine that had none gets one.
    let mut machine = Machine::made(&cloud, &[]);
    ok(machine.observe());
    machine.state = ok(block(machine.driver.allow_from(&machine.cx(), &machine.state, &me)));
    let account = cloud.double.provider();
    assert_eq!(account.firewalls[0]["droplet_ids"], json!([machine.state.0["DropletID"]]));
    assert_eq!(account.firewalls[0]["id"], machine.state.0["FirewallID"]);
    drop(account);
    machine.remove();
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn power_waits_and_says_what_is_so() {
    let cloud = Cloud::new();
    let mut machine = Machine::made(&cloud, &[]);
    assert_eq!(machine.observe().unwrap(), State::Running);
    assert_eq!(machine.power(Power::Start).unwrap_err().kind(), ErrorKind::AlreadyDone);
    cloud.double.provider().slowness = 3;
    ok(machine.power(Power::Stop));
    assert_eq!(machine.observe().unwrap(), State::Stopped);
    assert_eq!(machine.power(Power::Kill).unwrap_err().kind(), ErrorKind::AlreadyDone);
    ok(machine.power(Power::Start));
    // Something else is being done to it; then it is done.
    let busy = json!({"id": "unprocessable_entity", "message": "Droplet already has a pending event."});
    cloud
        .double
        .trouble(2, Trouble::Answer(Reply::json(422, &busy)), |request| request.path.ends_with("/actions"));
    ok(machine.power(Power::Restart));
    // A system that does not listen.
    cloud.double.provider().deaf = true;
    let error = machine.power(Power::Stop).unwrap_err();
    assert!(error.hint().unwrap().contains("kill"), "{}", full_text(&error));
    ok(machine.power(Power::Kill));
    assert_eq!(machine.observe().unwrap(), State::Stopped);
    assert_eq!(machine.power(Power::Pause).unwrap_err().kind(), ErrorKind::Unsupported);
    machine.remove();
}

/// What docker/machine 0.16.2 keeps of a droplet.
fn of_the_go_program(cloud: &Cloud, droplet: u64, key: u64) -> DriverState {
    let Value::Object(map) = json!({
        "IPAddress": "203.0.113.9", "MachineName": "old", "SSHUser": "root", "SSHPort": 22,
        "SSHKeyPath": "/home/u/.docker/machine/machines/old/id_rsa", "StorePath": "/home/u/.docker/machine",
        "SwarmMaster": false, "SwarmHost": "tcp://0.0.0.0:3376", "SwarmDiscovery": "", "AccessToken": TOKEN,
        "DropletID": droplet, "DropletName": "", "Image": "ubuntu-16-04-x64", "Region": "nyc3", "SSHKeyID": key,
        "SSHKeyFingerprint": "", "SSHKey": "", "Size": "s-1vcpu-1gb", "IPv6": false, "Backups": false,
        "PrivateNetworking": false, "UserDataFile": "", "Monitoring": false, "Tags": "", "Endpoint": cloud.double.url()
    }) else {
        unreachable!()
    };
    DriverState(map)
}

#[test]
fn a_machine_of_the_go_program_is_taken_over() {
    let cloud = Cloud::new();
    let made = Machine::made(&cloud, &[]);
    let id = |key: &str| made.state.0[key].as_u64().unwrap();
    let keys = |state: &DriverState| state.0.keys().cloned().collect::<Vec<_>>();
    let old = of_the_go_program(&cloud, id("DropletID"), id("SSHKeyID"));
    cloud.double.provider().droplets[0]["tags"] = json!([]);
    let mut machine = Machine { state: old.clone(), ..Machine::wish(&cloud, &[]) };
    assert_eq!(machine.observe().unwrap(), State::Running);
    let mut wanted = keys(&old);
    wanted.insert(wanted.len() - 1, "PrivateIPAddress".to_owned());
    assert_eq!(keys(&machine.state), wanted, "in their order, and ours behind them");
    ok(machine.power(Power::Stop));
    assert_eq!(machine.observe().unwrap(), State::Stopped);
    ok(machine.power(Power::Start));
    machine.remove();
    let account = cloud.double.provider();
    assert_eq!((account.droplets.len(), account.keys.len()), (0, 1));
}

/// Many machines, of which the account has some.
fn many(cloud: &Cloud, count: u64) -> Vec<DriverState> {
    let made = Machine::made(cloud, &[]);
    let template = {
        let mut account = cloud.double.provider();
        let mut template = account.droplets.pop().unwrap();
        template["status"] = json!("active");
        template
    };
    let mut states = Vec::new();
    for number in 1..=count {
        let mut droplet = template.clone();
        droplet["id"] = json!(number);
        cloud.double.provider().droplets.push(droplet);
        let mut state = made.state.clone();
        state.0.insert("DropletID".into(), json!(number));
        state.0.insert("IPAddress".into(), json!("203.0.113.9"));
        state.0.remove("CreateActionID");
        states.push(state);
    }
    cloud.checked();
    states
}

fn look_at(states: &[DriverState]) -> Vec<Result<State, ErrorKind>> {
    let bench = Bench::new();
    let hosts: Vec<_> = states.iter().map(|state| (bench.cx(), state)).collect();
    let seen = block(DigitalOcean::new().observe_many(&hosts));
    seen.into_iter().map(|one| one.map(|one| one.state).map_err(|error| error.kind())).collect()
}

#[test]
fn one_list_shows_all_machines_of_an_account() {
    let cloud = Cloud::new();
    let mut states = many(&cloud, 450);
    let seen = look_at(&states);
    assert!(seen.len() == 450 && seen.iter().all(|one| *one == Ok(State::Running)));
    assert_eq!(cloud.checked(), ["GET /v2/droplets"; 3], "three pages of 200");

    // One is gone: it is asked for alone. More are gone: all droplets are listed.
    cloud.double.provider().droplets.remove(0);
    let seen = look_at(&states);
    assert_eq!((seen[0], seen[1]), (Err(ErrorKind::NotFound), Ok(State::Running)));
    assert_eq!(cloud.checked().len(), 4);
    cloud.double.provider().droplets.drain(..9);
    let seen = look_at(&states);
    assert_eq!(seen.iter().filter(|one| **one == Err(ErrorKind::NotFound)).count(), 10);
    assert_eq!(cloud.checked().len(), 6);

    // One of the Go program has no tag: one list of everything.
    let old = of_the_go_program(&cloud, 450, 1);
    cloud.double.provider().droplets.last_mut().unwrap()["tags"] = json!([]);
    states.truncate(449);
    states.push(old);
    assert_eq!(look_at(&states)[449], Ok(State::Running));
    let calls = cloud.double.take_exchanges();
    assert!(calls.iter().all(|call| call.request.query("tag_name").is_empty()), "{}", calls.len());
    assert_eq!(calls.len(), 3);

    // Another account is asked on its own, and one that refuses does not hurt it.
    let mut other = states[20].clone();
    other.0.insert("AccessToken".into(), json!("dop_v1_expired"));
    let seen = look_at(&[states[20].clone(), other, states[21].clone()]);
    assert_eq!(seen, [Ok(State::Running), Err(ErrorKind::Credentials), Ok(State::Running)]);
}

#[test]
fn what_has_no_record_is_found_by_its_mark() {
    let cloud = Cloud::new();
    let mut machine = Machine::wish(&cloud, &[]).narrowed();
    ok(machine.create(&mut Journal::new(Cut::Never)));
    ok(machine.observe());
    // Somebody else's, of another store.
    let mut theirs = cloud.double.provider().droplets[0].clone();
    (theirs["id"], theirs["tags"]) = (json!(9), json!(["docker-machine-store:feed"]));
    cloud.double.provider().droplets.push(theirs);
    let (store, heard) = (machine.cx().store_path.to_owned(), machine_core::Silent);
    let cx = AccountCx { store_id: STORE_ID, store_path: &store, report: &heard };
    let found = ok(block(machine.driver.owned(&cx, &machine.state)));
    let kinds: BTreeMap<_, _> = found.iter().map(|one| (one.kind.as_str(), one.machine.as_str())).collect();
    assert_eq!(
        kinds,
        BTreeMap::from([("droplet", "conformance"), ("firewall", "conformance"), ("SSH key", "conformance")])
    );
    assert!(found[0].about.starts_with("active, 203.0.113."), "{:?}", found[0]);
    for one in &found {
        ok(block(machine.driver.remove_owned(&cx, &machine.state, one)));
        ok(block(machine.driver.remove_owned(&cx, &machine.state, one)));
    }
    assert_eq!(cloud.resources(), 1, "theirs");
    assert_eq!(ok(block(machine.driver.owned(&cx, &machine.state))), []);
    let account = ok(machine.driver.account(&machine.state));
    assert!(account.contains("/token-") && !account.contains(TOKEN), "{account}");
}

#[test]
fn refusals_have_a_kind_and_say_what_to_do() {
    let cloud = Cloud::new();
    let table = [
        (401, "unauthorized", "Unable to authenticate you", ErrorKind::Credentials, "tokens"),
        (
            403,
            "forbidden",
            "You are not authorized to perform this operation",
            ErrorKind::Credentials,
            "scopes",
        ),
        (
            422,
            "unprocessable_entity",
            "creating this/these droplet(s) will exceed your droplet limit",
            ErrorKind::Quota,
            "gc",
        ),
        (
            422,
            "unprocessable_entity",
            "Size is not available in this region.",
            ErrorKind::Quota,
            "--digitalocean-region",
        ),
        (
            422,
            "unprocessable_entity",
            "You specified an invalid size for Droplet creation.",
            ErrorKind::Config,
            "size",
        ),
        (
            422,
            "unprocessable_entity",
            "You specified an invalid image for Droplet creation.",
            ErrorKind::Config,
            "image",
        ),
        (
            503,
            "service_unavailable",
            "Server was unable to give you a response.",
            ErrorKind::Unavailable,
            "resume",
        ),
    ];
    for (status, id, message, kind, hint) in table {
        let body =
            json!({"id": id, "message": message, "request_id": "4d9d8375-3c56-4925-a3e7-eb137fed17e9"});
        cloud.double.trouble(1, Trouble::Answer(Reply::json(status, &body)), posts("/v2/droplets"));
        let mut machine = Machine::wish(&cloud, &[]);
        let error = machine.create(&mut Journal::new(Cut::Never)).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", full_text(&error));
        assert!(error.hint().is_some_and(|said| said.contains(hint)), "{}", full_text(&error));
        assert!(error.to_string().contains(message) && error.to_string().contains("4d9d8375"), "{error}");
        machine.remove();
    }
    let big = machine_core::Seed {
        authorized_key: AUTHORIZED_KEY.to_owned(),
        user_data: machine_core::Secret::new("#".repeat(64 * 1024 + 1)),
    };
    let machine = Machine::wish(&cloud, &[]);
    let cx = Cx { seed: Some(&big), ..machine.cx() };
    let error =
        block(machine.driver.create(&cx, machine.state.clone(), &mut Journal::new(Cut::Never))).unwrap_err();
    assert!(error.to_string().contains("65537 bytes"), "{error}");
    assert_eq!(cloud.resources(), 0);
}

/// Our judge of requests and answers is not the only one.
#[test]
fn prism_finds_nothing_wrong() {
    let cloud = Cloud::new();
    let Some(prism) = Prism::before(cloud.double.url().as_str(), "digitalocean.openapi.json") else { return };
    let mut machine = Machine::wish(&cloud, &[("digitalocean-endpoint", text(prism.url()))]).narrowed();
    block(machine.driver.precreate(&machine.cx(), &machine.state)).unwrap();
    ok(machine.create(&mut Journal::new(Cut::Never)));
    assert_eq!(machine.observe().unwrap(), State::Running);
    ok(machine.power(Power::Stop));
    assert_eq!(machine.observe().unwrap(), State::Stopped);
    ok(machine.power(Power::Start));
    machine.remove();
    assert_eq!(cloud.resources(), 0);
    assert!(cloud.checked().len() >= 10, "what was asked went through Prism");
}
