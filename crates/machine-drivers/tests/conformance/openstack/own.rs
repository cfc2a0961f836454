//! What only this driver does: every flag on the wire, lost replies, half-made machines, accounts, lists in pages.

use std::collections::BTreeMap;
use std::fs;

use machine_core::{
    AccountCx, Cx, Driver, DriverState, ErrorKind, FlagSpec, FlagValue, FlagValues, MachineName, Power,
    Secret, Seed, Silent, State,
};
use machine_drivers::openstack::Openstack;
use machine_testkit::conformance::{AUTHORIZED_KEY, Bench, Cut, Journal, STORE_ID, full_text};
use machine_testkit::double::{Double, Reply, Request, Trouble};
use serde_json::{Value, json};

use super::cloud::{self, APPLICATION, APPLICATION_SECRET, Cloud, FloatingIp, PASSWORD};
use super::{flags, start, text};

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A machine that was made with these flags.
struct Made {
    driver: Openstack,
    bench: Bench,
    double: Double<Cloud>,
    state: DriverState,
}

impl Made {
    fn with(more: &[(&str, FlagValue)]) -> Self {
        Self::on(start(), more)
    }

    fn on(double: Double<Cloud>, more: &[(&str, FlagValue)]) -> Self {
        let (driver, bench) = (Openstack::new(), Bench::new());
        let wish = bench.wish(&driver, &flags(&double.url(), more));
        let state = block_on(async {
            driver
                .precreate(&bench.cx(), &wish)
                .await
                .unwrap_or_else(|error| panic!("{}", full_text(&error)));
            driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)).await.unwrap()
        });
        Self { driver, bench, double, state }
    }

    fn remove(&self) {
        block_on(self.driver.remove(&self.bench.cx(), &self.state)).unwrap();
        assert_eq!(self.double.provider().resources(), 0, "something is left");
    }

    /// The bodies of all calls of a method and path since the last look.
    fn bodies(&self, method: &str, path: &str) -> Vec<Value> {
        let all = self.double.take_exchanges();
        let fits = |request: &Request| request.method == method && request.path.ends_with(path);
        all.iter().filter(|e| fits(&e.request)).map(|e| e.request.json()).collect()
    }
}

fn on(name: &str) -> (&str, FlagValue) {
    (name, FlagValue::Bool(true))
}

#[test]
fn flags_reach_the_server() {
    for (more, at, value) in [
        (vec![], "/server/name", json!("conformance")),
        (vec![], "/server/flavorRef", json!("1")),
        (vec![], "/server/imageRef", json!(cloud::IMAGE)),
        (vec![], "/server/networks/0/uuid", json!(cloud::NETWORK)),
        (vec![], "/server/key_name", json!(format!("conformance-{STORE_ID}"))),
        (vec![], "/server/metadata/docker-machine-store", json!(STORE_ID)),
        (vec![], "/server/metadata/docker-machine-name", json!("conformance")),
        (vec![("openstack-metadata", text("a,b,c,d,e"))], "/server/metadata/c", json!("d")),
        (
            vec![("openstack-flavor-name", text("")), ("openstack-flavor-id", text("2"))],
            "/server/flavorRef",
            json!("2"),
        ),
        (
            vec![("openstack-image-name", text("")), ("openstack-image-id", text(cloud::IMAGE))],
            "/server/imageRef",
            json!(cloud::IMAGE),
        ),
        (
            vec![("openstack-net-name", text("")), ("openstack-net-id", text(cloud::NETWORK))],
            "/server/networks",
            json!([{"uuid": cloud::NETWORK}]),
        ),
        (vec![("openstack-net-name", text(""))], "/server/networks", Value::Null),
        (vec![("openstack-availability-zone", text("nova"))], "/server/availability_zone", json!("nova")),
        (vec![on("openstack-config-drive")], "/server/config_drive", json!(true)),
        (
            vec![("openstack-sec-groups", text("default, web"))],
            "/server/security_groups",
            json!([{"name": "default"}, {"name": "web"}]),
        ),
        (
            vec![("openstack-server-group-name", text("apart"))],
            "/os:scheduler_hints/group",
            json!(cloud::SERVER_GROUP),
        ),
        (vec![("openstack-server-group-id", text("g"))], "/os:scheduler_hints/group", json!("g")),
        (
            vec![on("openstack-boot-from-volume")],
            "/server/block_device_mapping_v2/0/delete_on_termination",
            json!(true),
        ),
        (
            vec![on("openstack-boot-from-volume")],
            "/server/block_device_mapping_v2/0/source_type",
            json!("volume"),
        ),
        (
            vec![on("openstack-boot-from-volume"), ("openstack-volume-device-path", text("/dev/vdz"))],
            "/server/block_device_mapping_v2/0/device_name",
            json!("/dev/vdz"),
        ),
        (vec![on("openstack-boot-from-volume")], "/server/imageRef", Value::Null),
    ] {
        let made = Made::with(&more);
        let body = made.bodies("POST", "/servers").remove(0);
        assert_eq!(body.pointer(at).unwrap_or(&Value::Null), &value, "{at} of {body}");
        made.remove();
    }
}

#[test]
fn flags_reach_the_volume() {
    for (more, at, value) in [
        (vec![on("openstack-boot-from-volume")], "/volume/imageRef", json!(cloud::IMAGE)),
        // The flavor's disk.
        (vec![on("openstack-boot-from-volume")], "/volume/size", json!(1)),
        (vec![on("openstack-boot-from-volume")], "/volume/name", json!("conformance")),
        (vec![("openstack-volume-size", FlagValue::Int(7))], "/volume/size", json!(7)),
        (vec![("openstack-volume-size", FlagValue::Int(7))], "/volume/imageRef", Value::Null),
        (
            vec![("openstack-volume-size", FlagValue::Int(7)), ("openstack-volume-type", text("ssd"))],
            "/volume/volume_type",
            json!("ssd"),
        ),
        (
            vec![("openstack-volume-size", FlagValue::Int(7)), ("openstack-volume-name", text("data"))],
            "/volume/name",
            json!("data"),
        ),
        (
            vec![("openstack-volume-size", FlagValue::Int(7))],
            "/volume/metadata/docker-machine-store",
            json!(STORE_ID),
        ),
    ] {
        let made = Made::with(&more);
        let body = made.bodies("POST", "/volumes").remove(0);
        assert_eq!(body.pointer(at).unwrap_or(&Value::Null), &value, "{at} of {body}");
        made.remove();
    }
}

#[test]
fn a_root_volume_is_as_large_as_the_image_needs() {
    let windows = ("openstack-image-name", text("windows"));
    // The flavor has a disk of 1 GiB, which is not used.
    let made = Made::with(&[on("openstack-boot-from-volume"), windows.clone()]);
    assert_eq!(made.bodies("POST", "/volumes").remove(0)["volume"]["size"], 40);
    made.remove();
    let double = start();
    let small = [on("openstack-boot-from-volume"), windows, ("openstack-volume-size", FlagValue::Int(30))];
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &flags(&double.url(), &small));
    let error = block_on(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert!(error.to_string().contains("--openstack-volume-size is 30"), "{error}");
}

#[test]
fn a_volume_of_the_users_stays() {
    for more in [vec![], vec![on("openstack-boot-from-volume"), ("openstack-image-name", text(""))]] {
        let double = start();
        let volume =
            json!({"id": "v1", "name": "mine", "status": "available", "metadata": {}, "attachments": []});
        double.provider().volumes.insert("v1".to_owned(), volume);
        let mut more = more.clone();
        more.push(("openstack-volume-id", text("v1")));
        let made = Made::on(double, &more);
        assert_eq!(made.double.provider().volumes["v1"]["status"], "in-use");
        block_on(made.driver.remove(&made.bench.cx(), &made.state)).unwrap();
        let cloud = made.double.provider();
        assert_eq!((cloud.resources(), &cloud.volumes["v1"]["status"]), (1, &json!("available")));
    }
}

/// What `POST /auth/tokens` says.
fn asked(more: &[(&str, FlagValue)]) -> Value {
    let double = start();
    let (driver, bench) = (Openstack::new(), Bench::new());
    let state = bench.wish(&driver, &flags(&double.url(), more));
    block_on(driver.precreate(&bench.cx(), &state)).unwrap_or_else(|error| panic!("{}", full_text(&error)));
    let first = double.take_exchanges().remove(0).request;
    assert_eq!((first.method.as_str(), first.path.as_str()), ("POST", "/identity/v3/auth/tokens"));
    first.json()["auth"].clone()
}

#[test]
fn all_ways_to_log_in() {
    let none = [
        ("openstack-username", text("")),
        ("openstack-password", text("")),
        ("openstack-tenant-name", text("")),
    ];
    let instead = |more: &[(&'static str, FlagValue)]| [&none[..], more].concat();
    let plain = asked(&[]);
    assert_eq!(plain["identity"]["password"]["user"]["domain"], json!({"id": "default"}));
    assert_eq!(plain["scope"]["project"], json!({"name": "demo", "domain": {"id": "default"}}));

    let domains =
        asked(&[("openstack-domain-name", text("Shared")), ("openstack-user-domain-name", text("Users"))]);
    assert_eq!(domains["identity"]["password"]["user"]["domain"], json!({"name": "Users"}));
    assert_eq!(domains["scope"]["project"]["domain"], json!({"name": "Shared"}));

    let ids = asked(&[
        ("openstack-tenant-name", text("")),
        ("openstack-project-id", text(cloud::PROJECT)),
        ("openstack-user-id", text("32c98af7c506443ea3dbadeaf97f6f91")),
    ]);
    assert_eq!(ids["scope"]["project"], json!({"id": cloud::PROJECT}));
    assert_eq!(ids["identity"]["password"]["user"]["domain"], Value::Null);

    let secret = ("openstack-application-credential-secret", text(APPLICATION_SECRET));
    let by_id =
        asked(&instead(&[("openstack-application-credential-id", text(APPLICATION)), secret.clone()]));
    assert_eq!(by_id["identity"]["methods"], json!(["application_credential"]));
    assert_eq!(by_id.get("scope"), None);
    let by_name = asked(&instead(&[
        ("openstack-application-credential-name", text("ci")),
        ("openstack-username", text("demo")),
        secret,
    ]));
    let user = json!({"name": "demo", "domain": {"id": "default"}});
    assert_eq!(by_name["identity"]["application_credential"]["user"], user);
}

#[test]
fn a_token_and_addresses_of_other_versions() {
    let double = start();
    let first = Openstack::new();
    let bench = Bench::new();
    block_on(first.precreate(&bench.cx(), &bench.wish(&first, &flags(&double.url(), &[])))).unwrap();
    let reply = double.take_exchanges().remove(0).reply;
    let token = reply.headers.iter().find(|(name, _)| name == "x-subject-token").unwrap().1.clone();
    for end in ["", "/", "/v2.0", "/v2.0/", "/v3", "/v3/"] {
        let given = flags(
            &double.url(),
            &[
                ("openstack-auth-url", text(format!("{}/identity{end}", double.url()))),
                ("openstack-username", text("")),
                ("openstack-password", text("")),
                ("openstack-token", text(token.clone())),
            ],
        );
        let driver = Openstack::new();
        block_on(driver.precreate(&bench.cx(), &bench.wish(&driver, &given))).unwrap();
    }
}

#[test]
fn keystone_says_of_a_token_that_ended_that_it_is_not_found() {
    let double = start();
    let given = [
        ("openstack-username", text("")),
        ("openstack-password", text("")),
        ("openstack-token", text("gAAAAABended")),
    ];
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &flags(&double.url(), &given));
    let error = block_on(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error:?}");
    assert!(error.hint().unwrap().contains("the token ended"), "{error:?}");
    assert!(!full_text(&error).contains("gAAAAABended"), "{error:?}");
}

#[test]
fn an_address_that_is_not_keystones() {
    let versions = json!({"choices": [{"id": "v2.1", "status": "CURRENT", "links": []}]});
    for reply in [Reply::json(300, &versions), Reply::text(404, "text/html", "<html>404 Not Found</html>")] {
        let double = start();
        double.trouble(1, Trouble::Answer(reply), |_| true);
        let (driver, bench) = (Openstack::new(), Bench::new());
        let wish = bench.wish(&driver, &flags(&double.url(), &[]));
        let error = block_on(driver.precreate(&bench.cx(), &wish)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error:?}");
        assert!(error.to_string().starts_with("no keystone answers at http://127.0.0.1:"), "{error:?}");
        assert!(error.hint().is_some());
    }
}

/// A service's answer to a call for which an application credential has no access rule.
#[test]
fn a_call_without_an_access_rule() {
    let double = start();
    let error = json!({"code": 401, "title": "Unauthorized", "message": "The request you have made requires authentication."});
    let reply = Reply::json(401, &json!({ "error": error }));
    double.trouble(9, Trouble::Answer(reply), |request| request.path.starts_with("/image/"));
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &flags(&double.url(), &[]));
    let error = block_on(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{error:?}");
    assert!(error.hint().unwrap().contains("access rules"), "{error:?}");
    let logins = double.take_exchanges().iter().filter(|e| e.request.path.ends_with("/auth/tokens")).count();
    assert_eq!(logins, 2, "one more token is tried, and no third");
}

#[test]
fn a_token_that_ended_is_renewed() {
    let made = Made::with(&[]);
    made.double.provider().forget_tokens();
    let seen = block_on(made.driver.observe(&made.bench.cx(), &made.state)).unwrap();
    assert_eq!(seen.state, State::Running);
    let calls: Vec<String> =
        made.double.take_exchanges().iter().rev().take(3).map(|e| e.request.method.clone()).collect();
    assert_eq!(calls, ["GET", "POST", "GET"]);
    made.remove();
}

#[test]
fn clouds_yaml() {
    let double = start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clouds.yaml");
    let given = |more: &[(&str, FlagValue)]| {
        let mut all = vec![
            ("openstack-cloud", text("mine")),
            ("openstack-client-config-file", text(file.to_str().unwrap())),
            ("openstack-auth-url", text("")),
            ("openstack-username", text("")),
            ("openstack-password", text("")),
            ("openstack-tenant-name", text("")),
            ("openstack-region", text("")),
        ];
        all.extend_from_slice(more);
        flags(&double.url(), &all)
    };
    let check = |more: &[(&str, FlagValue)]| {
        let (driver, bench) = (Openstack::new(), Bench::new());
        block_on(driver.precreate(&bench.cx(), &bench.wish(&driver, &given(more))))
    };
    assert_eq!(check(&[]).unwrap_err().kind(), ErrorKind::Config, "there is no such file");
    fs::write(
        &file,
        format!(
            "clouds:\n  mine:\n    profile: house\n    auth:\n      username: demo\n      project_name: demo\n    \
             region_name: RegionOne\n  bare:\n    auth: {{auth_url: '{0}/identity'}}\n  app:\n    auth_type: \
             v3applicationcredential\n    auth:\n      auth_url: {0}/identity/v3\n      application_credential_id: \
             {APPLICATION}\n      application_credential_secret: {APPLICATION_SECRET}\n    interface: internal\n    \
             regions: [RegionOne]\n",
            double.url()
        ),
    )
    .unwrap();
    fs::write(
        dir.path().join("secure.yaml"),
        format!("clouds: {{mine: {{auth: {{password: {PASSWORD}}}}}}}"),
    )
    .unwrap();
    let public =
        format!("public-clouds:\n  house:\n    auth: {{auth_url: '{}/identity/v3'}}\n", double.url());
    fs::write(dir.path().join("clouds-public.yaml"), public).unwrap();
    check(&[]).unwrap();
    check(&[("openstack-cloud", text("app"))]).unwrap();
    let unknown = check(&[("openstack-cloud", text("other"))]).unwrap_err();
    assert!(unknown.hint().unwrap().contains("app, bare, mine"), "{unknown:?}");
    let bare = check(&[("openstack-cloud", text("bare"))]).unwrap_err();
    assert_eq!(bare.kind(), ErrorKind::Credentials);
    let region = check(&[("openstack-region", text("Mars"))]).unwrap_err();
    assert!(region.hint().unwrap().contains("RegionTwo"), "a flag counts more: {region:?}");
    fs::write(dir.path().join("secure.yaml"), "clouds: {mine: {auth: {password: 'hunter2hunter2}").unwrap();
    let torn = check(&[]).unwrap_err();
    assert!(torn.to_string().contains("secure.yaml") && !full_text(&torn).contains("hunter2"), "{torn:?}");
}

/// An entry as the dashboard writes it, with ids and names, and flags that say something else.
#[test]
fn flags_count_more_than_the_ids_of_clouds_yaml() {
    let double = start();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("clouds.yaml");
    let entry = |auth: &str| {
        let auth_url = format!("{}/identity/v3", double.url());
        format!("{{region_name: RegionOne, auth: {{auth_url: '{auth_url}', {auth}}}}}")
    };
    let clouds = format!(
        "clouds:\n  mine: {}\n  app: {}\n",
        entry(
            "user_id: U, username: eve, password: theirs, project_id: P, project_name: prod, user_domain_id: UD, \
             project_domain_id: PD, domain_id: D"
        ),
        entry("application_credential_id: A, application_credential_secret: theirs, token: T")
    );
    fs::write(&file, clouds).unwrap();
    let asked = |cloud: &str, more: &[(&'static str, &str)]| {
        let none = ["auth-url", "username", "password", "tenant-name", "region"];
        let mut all: Vec<(String, FlagValue)> =
            none.iter().map(|name| (format!("openstack-{name}"), text(""))).collect();
        all.push(("openstack-cloud".to_owned(), text(cloud)));
        all.push(("openstack-client-config-file".to_owned(), text(file.to_str().unwrap())));
        all.extend(more.iter().map(|(name, value)| (format!("openstack-{name}"), text(*value))));
        let all: Vec<(&str, FlagValue)> =
            all.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        let (driver, bench) = (Openstack::new(), Bench::new());
        let wish = bench.wish(&driver, &flags(&double.url(), &all));
        // Whether keystone knows them is not the matter here.
        let _ = block_on(driver.precreate(&bench.cx(), &wish));
        double.take_exchanges().remove(0).request.json()["auth"].clone()
    };
    let plain = asked("mine", &[]);
    assert_eq!(plain["scope"]["project"], json!({"id": "P"}));
    assert_eq!(plain["identity"]["password"]["user"], json!({"id": "U", "password": "theirs"}));
    for (more, at, value) in [
        (
            vec![("project-name", "staging")],
            "/scope/project",
            json!({"name": "staging", "domain": {"id": "PD"}}),
        ),
        (vec![("tenant-id", "Q")], "/scope/project", json!({"id": "Q"})),
        (
            vec![("project-name", "staging"), ("project-domain-name", "Own")],
            "/scope/project/domain",
            json!({"name": "Own"}),
        ),
        (
            vec![("project-name", "staging"), ("domain-name", "Own")],
            "/scope/project/domain",
            json!({"name": "Own"}),
        ),
        (
            vec![("username", "me")],
            "/identity/password/user",
            json!({"name": "me", "domain": {"id": "UD"}, "password": "theirs"}),
        ),
        (
            vec![("username", "me"), ("user-domain-name", "Own")],
            "/identity/password/user/domain",
            json!({"name": "Own"}),
        ),
        (vec![("token", "mine")], "/identity/token", json!({"id": "mine"})),
        (
            vec![("application-credential-id", "B"), ("application-credential-secret", "mine")],
            "/identity/application_credential",
            json!({"id": "B", "secret": "mine"}),
        ),
    ] {
        let said = asked("mine", &more);
        assert_eq!(said.pointer(at), Some(&value), "{more:?}: {said}");
    }
    // Another kind of proof than the file's.
    let own = asked("app", &[("username", "me"), ("password", "mine"), ("project-name", "staging")]);
    assert_eq!(own["identity"]["methods"], json!(["password"]));
    assert_eq!(asked("app", &[("token", "mine")])["identity"]["token"]["id"], "mine");
    let named = asked("app", &[("application-credential-name", "ci"), ("username", "me")]);
    assert_eq!(named["identity"]["application_credential"]["name"], "ci");
    assert_eq!(asked("app", &[])["identity"]["application_credential"]["id"], "A");
}

#[test]
fn an_application_credential_of_another_project_is_refused() {
    let double = start();
    let check = |project: &str| {
        let given = [
            ("openstack-username", text("")),
            ("openstack-password", text("")),
            ("openstack-tenant-name", text(project)),
            ("openstack-application-credential-id", text(APPLICATION)),
            ("openstack-application-credential-secret", text(APPLICATION_SECRET)),
        ];
        let (driver, bench) = (Openstack::new(), Bench::new());
        block_on(driver.precreate(&bench.cx(), &bench.wish(&driver, &flags(&double.url(), &given))))
    };
    check("demo").unwrap();
    let error = check("staging").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("\"demo\"") && error.to_string().contains("staging"), "{error}");
}

#[test]
fn the_record_of_a_cloud_names_its_file() {
    let (driver, bench) = (Openstack::new(), Bench::new());
    let state = bench.wish(
        &driver,
        &flags(
            "",
            &[
                ("openstack-cloud", text("mine")),
                ("openstack-client-config-file", text("c.yaml")),
                ("openstack-auth-url", text("")),
            ],
        ),
    );
    let prospect = block_on(driver.prospect(&bench.cx(), &state)).unwrap();
    let wish = prospect.wish.unwrap();
    let file = std::env::current_dir().unwrap().join("c.yaml");
    assert_eq!(wish.str("ClientConfigFile"), file.to_str().unwrap());
    // Whoever names the same file in short means the same account.
    let account = format!("{}:mine/RegionOne", file.display());
    assert_eq!(driver.account(&wish).unwrap(), account);
    assert_eq!(driver.account(&state).unwrap(), account);
}

/// Each call that makes something: its reply gets lost, and afterwards nothing is there twice, and all of it goes.
#[test]
fn every_lost_reply() {
    let all = [on("openstack-boot-from-volume")];
    for path in
        ["/os-keypairs", "/security-groups", "/security-group-rules", "/volumes", "/servers", "/floatingips"]
    {
        for again in [false, true] {
            let double = start();
            let (driver, bench) = (Openstack::new(), Bench::new());
            let networks = ["198.51.100.0/24".to_owned(), "2001:db8::/32".to_owned()];
            let cx = || Cx { allow_from: &networks, ..bench.cx() };
            let wish = bench.wish(&driver, &flags(&double.url(), &all));
            let lost = move |request: &Request| request.method == "POST" && request.path.ends_with(path);
            double.trouble(1, Trouble::LostReply, lost);
            // Nor can it be looked for.
            if again {
                let look = move |request: &Request| {
                    request.method == "GET"
                        && (request.path.ends_with(path) || request.path.ends_with("/detail"))
                        && (request.query.contains("description")
                            || request.path.contains("servers")
                            || request.path.contains("volumes"))
                };
                double.trouble(100, Trouble::Answer(machine_testkit::double::Reply::empty(404)), look);
            }
            let mut journal = Journal::new(Cut::Never);
            let first = block_on(driver.create(&cx(), wish.clone(), &mut journal));
            double.heal();
            let made = match first {
                Ok(made) => made,
                Err(_) => block_on(driver.create(&cx(), journal.last_or(&wish), &mut journal)).unwrap(),
            };
            let cloud = double.provider();
            let held = (
                cloud.keys.len(),
                cloud.groups.len(),
                cloud.volumes.len(),
                cloud.servers.len(),
                cloud.addresses.len(),
            );
            assert_eq!((held, cloud.rules.len()), ((1, 1, 1, 1, 1), 4), "{path}");
            drop(cloud);
            block_on(driver.remove(&cx(), &made)).unwrap();
            assert_eq!(double.provider().resources(), 0, "{path}");
        }
    }
}

#[test]
fn a_server_that_cannot_be_built_says_why() {
    let double = start();
    double.provider().fault =
        Some("No valid host was found. There are not enough hosts available.".to_owned());
    let (driver, bench) = (Openstack::new(), Bench::new());
    let wish = bench.wish(&driver, &flags(&double.url(), &[]));
    let mut journal = Journal::new(Cut::Never);
    let error = block_on(driver.create(&bench.cx(), wish.clone(), &mut journal)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Quota);
    assert!(
        error.to_string().contains("No valid host") && error.hint().unwrap().contains("flavor"),
        "{error:?}"
    );
    let left = journal.last_or(&wish);
    let seen = block_on(driver.observe(&bench.cx(), &left)).unwrap_err();
    assert!(seen.kind() == ErrorKind::Quota && seen.to_string().contains("No valid host"), "{seen:?}");
    block_on(driver.remove(&bench.cx(), &left)).unwrap();
    assert_eq!(double.provider().resources(), 0);
}

#[test]
fn a_database_that_is_behind() {
    let double = start();
    double.provider().late = 3;
    Made::on(double, &[("openstack-floatingip-pool", text(""))]).remove();
}

#[test]
fn names_that_are_nearly_right() {
    let double = start();
    let check = |more: &[(&str, FlagValue)]| {
        let (driver, bench) = (Openstack::new(), Bench::new());
        block_on(driver.precreate(&bench.cx(), &bench.wish(&driver, &flags(&double.url(), more))))
            .unwrap_err()
    };
    for (flag, value, said, near) in [
        ("openstack-flavor-name", "m1.tyni", "Unable to find flavor named m1.tyni", "m1.tiny"),
        ("openstack-image-name", "Ubuntu", "Unable to find image named Ubuntu", "ubuntu"),
        ("openstack-net-name", "private", "Unable to find network named private", "priv"),
        ("openstack-floatingip-pool", "ext", "Unable to find network named ext", "ext-net"),
    ] {
        let error = check(&[(flag, text(value))]);
        assert_eq!(error.to_string(), said);
        assert!(error.hint().unwrap().contains(near), "{error:?}");
    }
}

#[test]
fn where_no_more_floating_ips_may_be_made_a_free_one_is_used() {
    let double = start();
    {
        let mut cloud = double.provider();
        cloud.max_addresses = 1;
        let free = FloatingIp {
            address: "172.24.4.77".to_owned(),
            description: "mine".to_owned(),
            ..FloatingIp::default()
        };
        cloud.addresses.insert("f1".to_owned(), free);
    }
    let made = Made::on(double, &[]);
    assert_eq!(made.state.str("IPAddress"), "172.24.4.77");
    block_on(made.driver.remove(&made.bench.cx(), &made.state)).unwrap();
    let cloud = made.double.provider();
    assert_eq!((cloud.resources(), &cloud.addresses["f1"].port), (1, &None));
}

#[test]
fn a_floating_ip_that_was_taken_is_found_again() {
    let free = || {
        let double = start();
        let mut cloud = double.provider();
        cloud.max_addresses = 2;
        for (id, last) in [("f1", 77), ("f2", 78)] {
            let address = format!("172.24.4.{last}");
            cloud.addresses.insert(id.to_owned(), FloatingIp { address, ..FloatingIp::default() });
        }
        drop(cloud);
        double
    };
    // The reply got lost: the same request once more is refused, for the address is not as it was.
    let double = free();
    double.trouble(1, Trouble::LostReply, |request| {
        request.method == "PUT" && request.path.contains("/floatingips/")
    });
    let mut made = Made::on(double, &[]);
    assert_eq!(made.state.str("IPAddress"), "172.24.4.77");
    // What it took did not get into the record.
    for key in ["IPAddress", "FloatingIpId"] {
        made.state.0.insert(key.to_owned(), "".into());
    }
    made.state.0.insert("ExistingFloatingIp".to_owned(), false.into());
    let cx = made.bench.cx();
    let again = block_on(made.driver.create(&cx, made.state.clone(), &mut Journal::new(Cut::Never)));
    made.state = again.unwrap_or_else(|error| panic!("{}", full_text(&error)));
    assert_eq!(made.state.str("IPAddress"), "172.24.4.77");
    block_on(made.driver.remove(&made.bench.cx(), &made.state)).unwrap();
    let cloud = made.double.provider();
    assert_eq!((cloud.resources(), &cloud.addresses["f1"].port), (2, &None), "it was there before");
}

#[test]
fn without_neutron_novas_own_floating_ips_are_used() {
    let double = start();
    double.provider().neutron = false;
    let made = Made::on(double, &[on("openstack-nova-network"), ("openstack-net-name", text(""))]);
    assert_eq!(made.state.str("IPAddress"), "172.24.4.10");
    made.remove();
}

#[test]
fn a_fixed_address_of_either_version() {
    let none = ("openstack-floatingip-pool", text(""));
    let made = Made::with(std::slice::from_ref(&none));
    assert_eq!(made.driver.known(&made.state).unwrap().url, "tcp://10.9.0.10:2376");
    made.remove();
    let made = Made::with(&[none, ("openstack-ip-version", FlagValue::Int(6))]);
    assert_eq!(made.driver.known(&made.state).unwrap().url, "tcp://[2001:db8::10]:2376");
    made.remove();
}

#[test]
fn user_data_that_is_too_long() {
    let double = start();
    let (driver, bench) = (Openstack::new(), Bench::new());
    let seed = Seed { authorized_key: AUTHORIZED_KEY.to_owned(), user_data: Secret::new("x".repeat(50_000)) };
    let cx = Cx { seed: Some(&seed), ..bench.cx() };
    let wish = bench.wish(&driver, &flags(&double.url(), &[]));
    let error = block_on(driver.create(&cx, wish, &mut Journal::new(Cut::Never))).unwrap_err();
    assert!(error.kind() == ErrorKind::Config && error.to_string().contains("65535"), "{error:?}");
    assert_eq!(double.provider().resources(), 0);
}

#[test]
fn a_key_pair_of_the_users_stays() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("id");
    fs::write(&key, "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n")
        .unwrap();
    let double = start();
    double.provider().keys.insert("mine".to_owned(), AUTHORIZED_KEY.to_owned());
    let given = [
        ("openstack-keypair-name", text("mine")),
        ("openstack-private-key-file", text(key.to_str().unwrap())),
    ];
    let made = Made::on(double, &given);
    assert_eq!(made.double.provider().keys.len(), 1);
    let copy = made.driver.known(&made.state).unwrap().ssh.unwrap().key.unwrap();
    assert!(fs::read_to_string(&copy).unwrap().contains("AAAA"));
    block_on(made.driver.remove(&made.bench.cx(), &made.state)).unwrap();
    assert_eq!(made.double.provider().resources(), 1);
}

/// A machine's record with another server in it.
fn other(state: &DriverState, id: &str) -> DriverState {
    let mut state = state.clone();
    state.0.insert("MachineId".to_owned(), id.into());
    state
}

#[test]
fn two_hundred_machines_by_one_list_a_page() {
    let made = Made::with(&[]);
    let states: Vec<DriverState> = {
        let mut cloud = made.double.provider();
        let (first, server) = cloud.servers.iter().next().map(|(id, s)| (id.clone(), s.clone())).unwrap();
        let more = (0..199).map(|n| format!("f{n:07}-0000-4000-8000-000000000000"));
        let ids: Vec<String> = std::iter::once(first).chain(more).collect();
        for id in &ids[1..] {
            cloud.servers.insert(id.clone(), server.clone());
        }
        ids.iter().map(|id| other(&made.state, id)).collect()
    };
    for (page, calls) in [(1000, 1), (100, 2), (90, 3)] {
        made.double.provider().page = page;
        made.double.take_exchanges();
        let hosts: Vec<(Cx<'_>, &DriverState)> =
            states.iter().map(|state| (made.bench.cx(), state)).collect();
        let seen = block_on(made.driver.observe_many(&hosts));
        assert!(seen.iter().all(|seen| seen.as_ref().unwrap().state == State::Running));
        assert_eq!(made.double.take_exchanges().len(), calls);
    }
    let gone = other(&made.state, "nosuch");
    let hosts = [(made.bench.cx(), &gone), (made.bench.cx(), &made.state)];
    let seen = block_on(made.driver.observe_many(&hosts));
    assert_eq!(seen[0].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
    assert!(seen[1].is_ok());
}

/// A keystone that never answers costs its own machines their answers.
#[test]
fn a_silent_account_hurts_no_other() {
    let made = Made::with(&[]);
    super::super::silence_hurts_nobody_else(&made.driver, &made.bench, &made.state, "AuthUrl");
    made.remove();
}

/// docker-machine 0.16.2 with the same flags, where everything is ready at the first look, counted in its source: versions of
/// keystone, token, network, flavor, image, network of the pool, tenant, key pair, server, a look at it, floating IPs, ports,
/// floating IP; then a look for its being up, for its certificate, for the check of the engine.
const REFERENCE_CALLS: usize = 16;

#[test]
fn a_create_makes_few_calls() {
    let made = Made::with(&[]);
    block_on(made.driver.observe(&made.bench.cx(), &made.state)).unwrap();
    let calls: Vec<String> = made
        .double
        .take_exchanges()
        .iter()
        .map(|e| format!("{} {}", e.request.method, e.request.path))
        .collect();
    assert!(calls.len() * 10 <= REFERENCE_CALLS * 6, "{} calls: {calls:#?}", calls.len());
    let known = made.driver.known(&made.state).unwrap();
    assert!(!known.ip.is_empty());
    assert_eq!(made.double.take_exchanges().len(), 0, "known asks nobody");
    made.remove();
}

#[test]
fn a_machine_of_the_go_program() {
    let made = Made::with(&[("openstack-floatingip-pool", text(""))]);
    let server = made.state.str("MachineId").to_owned();
    // docker-machine 0.16.2's struct, in its order.
    let go = json!({
        "IPAddress": "10.9.0.10", "MachineName": "conformance", "SSHUser": "ubuntu", "SSHPort": 22, "SSHKeyPath": "",
        "StorePath": "/s", "SwarmMaster": false, "SwarmHost": "tcp://0.0.0.0:3376", "SwarmDiscovery": "",
        "AuthUrl": format!("{}/identity/v2.0", made.double.url()), "ActiveTimeout": 200, "Insecure": false, "CaCert": "",
        "DomainID": "default", "DomainName": "", "Username": "demo", "Password": PASSWORD, "TenantName": "demo",
        "TenantId": "", "Region": "RegionOne", "AvailabilityZone": "", "EndpointType": "publicURL", "MachineId": server,
        "FlavorName": "m1.tiny", "FlavorId": "1", "ImageName": "ubuntu", "ImageId": cloud::IMAGE,
        "KeyPairName": format!("conformance-{STORE_ID}"), "NetworkName": "priv", "NetworkId": cloud::NETWORK,
        "UserData": null, "PrivateKeyFile": "", "SecurityGroups": null, "FloatingIpPool": "", "ComputeNetwork": false,
        "FloatingIpPoolId": "", "IpVersion": 4, "ConfigDrive": false, "ExistingKey": false
    });
    let state: DriverState = serde_json::from_value(go.clone()).unwrap();
    let (driver, cx) = (Openstack::new(), made.bench.cx());
    block_on(async {
        assert_eq!(driver.observe(&cx, &state).await.unwrap().state, State::Running);
        let typed: machine_drivers::openstack::OpenstackState = state.typed().unwrap();
        let keys: Vec<String> = typed.write().unwrap().0.keys().cloned().collect();
        let first: Vec<String> = go.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys[..first.len()], first[..], "the Go program's order");
        driver.power(&cx, &state, Power::Stop).await.unwrap();
        super::settles(&driver, &cx, &state, State::Stopped).await;
        driver.remove(&cx, &state).await.unwrap();
    });
    assert_eq!(made.double.provider().resources(), 0);
}

#[test]
fn ranchers_domain_is_read() {
    let state: DriverState =
        serde_json::from_value(json!({"DomainId": "abc", "SecurityGroups": ["a"]})).unwrap();
    let typed: machine_drivers::openstack::OpenstackState = state.typed().unwrap();
    assert_eq!(typed.domain_id, "abc");
}

#[test]
fn what_has_no_record_is_found_and_removed() {
    let made = Made::with(&[("openstack-volume-size", FlagValue::Int(1))]);
    let cx = made.bench.cx();
    let account = AccountCx { store_id: STORE_ID, store_path: cx.store_path, report: &Silent };
    // Somebody else's.
    made.double.provider().keys.insert("conformance-ffff".to_owned(), AUTHORIZED_KEY.to_owned());
    block_on(async {
        let found = made.driver.owned(&account, &made.state).await.unwrap();
        let kinds: Vec<&str> = found.iter().map(|owned| owned.kind.as_str()).collect();
        assert_eq!(kinds, ["floating IP", "server", "volume", "key pair"]);
        for owned in &found {
            made.driver.remove_owned(&account, &made.state, owned).await.unwrap();
            made.driver.remove_owned(&account, &made.state, owned).await.unwrap();
        }
        assert_eq!(made.driver.owned(&account, &made.state).await.unwrap(), []);
    });
    assert_eq!(made.double.provider().resources(), 1);
    let said = made.driver.account(&made.state).unwrap();
    assert!(said.contains("demo") && said.contains("RegionOne") && !said.contains(PASSWORD), "{said}");
}

/// As `--allow-from me` has it: who may connect is known when the server is there.
#[test]
fn a_machine_that_was_open_gets_a_group_of_its_own() {
    let networks = ["203.0.113.7/32".to_owned()];
    for (given, beside) in [("", &[][..]), ("web", &["9e2"][..])] {
        let made = Made::with(&[("openstack-sec-groups", text(given))]);
        let narrow = || block_on(made.driver.allow_from(&made.bench.cx(), &made.state, &networks));
        let narrowed = narrow().unwrap();
        let own = narrowed.str("SecurityGroupId").to_owned();
        {
            let cloud = made.double.provider();
            let server = cloud.servers.values().next().unwrap();
            assert_eq!(server.groups[0], own, "instead of the project's default");
            assert_eq!(server.groups[1..], *beside);
            let opened: Vec<(u64, &str)> = cloud
                .rules
                .values()
                .map(|r| (r["port_range_min"].as_u64().unwrap(), r["remote_ip_prefix"].as_str().unwrap()))
                .collect();
            assert_eq!(opened, [(22, networks[0].as_str()), (2376, networks[0].as_str())]);
        }
        assert_eq!(made.bench.heard.text().contains("web are not narrowed"), given == "web");
        // Its record got lost: there is one group for all that, and it goes with the machine.
        assert_eq!(narrow().unwrap().str("SecurityGroupId"), own);
        assert_eq!(made.double.provider().groups.len(), 1);
        made.remove();
    }
}

#[test]
fn a_machine_without_a_group_of_its_own_goes_without_a_look_at_groups() {
    let made = Made::with(&[]);
    let refused = Reply::json(401, &json!({"error": {"code": 401, "title": "Unauthorized"}}));
    made.double.trouble(9, Trouble::Answer(refused), |request| request.path.ends_with("/security-groups"));
    made.remove();
}

#[test]
fn a_shared_group_is_not_narrowed() {
    let made = Made::with(&[("openstack-sec-groups", text("web"))]);
    let networks = ["203.0.113.7/32".to_owned()];
    let refused = |state: &DriverState| {
        let refused = block_on(made.driver.allow_from(&made.bench.cx(), state, &networks));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Unsupported);
    };
    // Another program's machine, whose groups may be anybody's.
    let mut other = made.state.clone();
    other.0.insert("StoreId".to_owned(), "".into());
    refused(&other);
    made.double.provider().neutron = false;
    block_on(async {
        let driver = Openstack::new();
        let refused = driver.allow_from(&made.bench.cx(), &made.state, &networks).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unsupported, "{}", full_text(&refused));
    });
    made.double.provider().neutron = true;
    made.remove();
}

#[test]
fn narrowing_replaces_the_rules() {
    let double = start();
    let (driver, bench) = (Openstack::new(), Bench::new());
    let (wide, narrow) = (["198.51.100.0/24".to_owned()], ["203.0.113.7/32".to_owned()]);
    let cx = || Cx { allow_from: &wide, ..bench.cx() };
    let open = || -> BTreeMap<u64, String> {
        let cloud = double.provider();
        let rules = cloud.rules.values();
        rules
            .map(|r| {
                (r["port_range_min"].as_u64().unwrap(), r["remote_ip_prefix"].as_str().unwrap().to_owned())
            })
            .collect()
    };
    block_on(async {
        let wish =
            bench.wish(&driver, &flags(&double.url(), &[("openstack-ssh-port", FlagValue::Int(2222))]));
        let made = driver.create(&cx(), wish, &mut Journal::new(Cut::Never)).await.unwrap();
        assert_eq!(open(), BTreeMap::from([(2222, wide[0].clone()), (2376, wide[0].clone())]));
        let made = driver.allow_from(&cx(), &made, &narrow).await.unwrap();
        assert_eq!(open(), BTreeMap::from([(2222, narrow[0].clone()), (2376, narrow[0].clone())]));
        driver.remove(&cx(), &made).await.unwrap();
    });
    assert_eq!(double.provider().resources(), 0);
}

#[test]
fn all_flags_of_the_reference_and_the_fork_are_there() {
    let driver = Openstack::new();
    let specs = &driver.spec().flags;
    let find = |name: &str| -> &FlagSpec {
        specs.iter().find(|spec| spec.name == name).unwrap_or_else(|| panic!("there is no --{name}"))
    };
    assert_eq!(find("openstack-ssh-user").default_value(), text("root"));
    assert_eq!(find("openstack-active-timeout").default_value(), FlagValue::Int(200));
    for (name, env) in [
        ("openstack-auth-url", "OS_AUTH_URL"),
        ("openstack-net-id", "OS_NETWORK_ID"),
        ("openstack-metadata", "OS_METADATA"),
        ("openstack-tenant-domain-id", "OS_TENANT_DOMAIN_ID"),
        ("openstack-application-credential-secret", "OS_APPLICATION_CREDENTIAL_SECRET"),
        ("openstack-server-group-name", "OS_SERVER_GROUP_NAME"),
        ("openstack-volume-device-path", ""),
    ] {
        assert_eq!(find(name).env, env);
    }
    assert!(specs.len() >= 46);
    let all = FlagValues::defaults(specs);
    assert_eq!(all.int("openstack-ip-version"), 4);
}

#[test]
fn a_name_that_nova_would_refuse() {
    let double = start();
    let (driver, bench) = (Openstack::new(), Bench::new());
    let name = MachineName::new("a".repeat(240)).unwrap();
    let wish = bench.wish(&driver, &flags(&double.url(), &[]));
    let cx = Cx { name: &name, ..bench.cx() };
    assert_eq!(block_on(driver.precreate(&cx, &wish)).unwrap_err().kind(), ErrorKind::Config);
}
