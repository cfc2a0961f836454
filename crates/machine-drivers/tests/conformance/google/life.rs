//! Lives of machines: what is asked for, what is left, what is found again.

use machine_core::{AccountCx, ErrorKind, Observed, Owned, Power};
use machine_testkit::conformance::STORE_ID;

use super::*;

fn strings(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

fn rule(project: &Project, name: &str) -> Value {
    project.double.provider().rules.get(name).cloned().unwrap_or_default()
}

async fn owned(made: &Made) -> Vec<Owned> {
    let cx =
        AccountCx { store_id: STORE_ID, store_path: made.bench.cx().store_path, report: &made.bench.heard };
    ok(made.driver.owned(&cx, &made.state).await)
}

async fn sweep(made: &Made) {
    let cx =
        AccountCx { store_id: STORE_ID, store_path: made.bench.cx().store_path, report: &made.bench.heard };
    for thing in owned(made).await {
        ok(made.driver.remove_owned(&cx, &made.state, &thing).await);
    }
}

/// The Go driver (0.16.2) makes 10 requests where the rule is there and every operation is done at the first look:
/// projects.get, instances.get, firewalls.get, disks.get, instances.insert, zoneOperations.get, instances.get,
/// instances.setMetadata, zoneOperations.get, and instances.get for the state; 12 where the rule is not there
/// (firewalls.insert, globalOperations.get). Then instances.get for the address before each of 20 commands over SSH (19 on
/// Ubuntu, where it does not look for sudo), and three times more for the certificate and the engine's URL: 33 and 35 in
/// all, beside a token for each look at the state or address.
#[test]
fn a_create_asks_for_little() {
    let project = Project::new();
    block(async {
        let mut first = ok(Made::of(&project.flags(&[])).await);
        let calls = project.calls();
        let zone = "zones/us-central1-a";
        assert_eq!(calls[0..2].iter().filter(|call| call.contains(zone)).count(), 2, "{calls:?}");
        let rest: Vec<&str> =
            calls[2..].iter().map(|call| call.split("/operation-").next().unwrap()).collect();
        assert_eq!(
            rest,
            [
                "GET global/firewalls/docker-machines",
                "POST global/firewalls",
                "POST global/operations",
                &format!("POST {zone}/instances"),
                &format!("POST {zone}/operations"),
            ]
        );
        first.settles(State::Running).await;
        project.calls();
        let other = {
            let (driver, bench) = (Google::new(), Bench::new());
            let flags = project.flags(&[("google-zone", text("us-central1-b"))]);
            let wish = bench.wish(&driver, &flags);
            ok(driver.precreate(&bench.cx(), &wish).await);
            let state = ok(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never)).await);
            let calls = project.calls();
            assert_eq!(calls.len(), 5, "{calls:?}");
            ok(driver.observe(&bench.cx(), &state).await);
            assert_eq!(
                project.calls().len(),
                1,
                "and one look; 6 of 10, and of 33 with what the address costs"
            );
            Made { driver, bench, state }
        };
        let known = ok(first.driver.known(&first.state));
        assert_eq!(known.url, format!("tcp://{}:2376", known.ip));
        assert!(project.calls().is_empty(), "what is known is not asked for");
        other.remove().await;
        first.remove().await;
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn one_list_is_for_all_machines_of_a_zone() {
    let project = Project::new();
    let driver = Google::new();
    block(async {
        let (mut benches, mut states) = (Vec::new(), Vec::new());
        for zone in [ZONE, "us-central1-b"] {
            let made = ok(Made::of(&project.flags(&[("google-zone", text(zone))])).await);
            states.push(made.state);
            benches.push(made.bench);
        }
        for number in 0..40 {
            let name = format!("dev-{number}");
            let mut state = states[0].clone();
            state.0.insert("MachineName".into(), json!(name));
            let labels = json!({ "docker-machine-store": STORE_ID, "docker-machine-name": name });
            let access = json!([{ "natIP": format!("203.0.113.{number}") }]);
            let interfaces = json!([{ "networkIP": "10.0.0.2", "accessConfigs": access }]);
            let body = json!({ "name": name, "status": "RUNNING", "labels": labels, "networkInterfaces": interfaces });
            project.double.provider().put_vm(ZONE, body);
            states.push(state);
            benches.push(Bench::new());
        }
        project.double.provider().put_vm(ZONE, json!({ "name": "dev-0x", "status": "RUNNING" }));
        project.calls();
        let hosts: Vec<(Cx<'_>, &DriverState)> = benches.iter().map(Bench::cx).zip(&states).collect();
        for answer in driver.observe_many(&hosts).await {
            let seen = ok(answer);
            assert!(matches!(seen.state, State::Running | State::Starting));
        }
        assert_eq!(project.calls().len(), 2, "two zones, two lists");

        project.double.provider().page = 7;
        let answers = driver.observe_many(&hosts).await;
        let last = answers.into_iter().next_back().map(ok).unwrap();
        let changed = last.changed.expect("its address is new");
        assert_eq!(changed.str("IPAddress"), "203.0.113.39");
        assert_eq!(project.calls().len(), 7, "six pages of one zone, one of the other");

        // Somebody took the labels of one away, and another one is gone: that is looked into.
        project.double.provider().page = 0;
        project.double.provider().vms.get_mut(&(ZONE.into(), "dev-3".into())).unwrap().body["labels"] =
            json!({});
        project.double.provider().vms.remove(&(ZONE.into(), "dev-4".into()));
        let answers = driver.observe_many(&hosts).await;
        assert_eq!(answers[5].as_ref().unwrap().state, State::Running);
        assert_eq!(answers[6].as_ref().unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(project.calls().len(), 4);

        // Many are gone: one list more, whatever their number.
        for number in 10..30 {
            project.double.provider().vms.remove(&(ZONE.into(), format!("dev-{number}")));
        }
        let answers = driver.observe_many(&hosts).await;
        let gone = |seen: &&Result<Observed, DriverError>| {
            seen.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
        };
        assert_eq!(answers.iter().filter(gone).count(), 21);
        assert_eq!(answers[5].as_ref().unwrap().state, State::Running, "it has no labels");
        assert_eq!(project.calls().len(), 3);

        // The Go driver's have no labels, also where a firewall was made for one later: all are listed at once.
        for state in &mut states {
            state.0.remove("RequestIDs");
        }
        let hosts: Vec<(Cx<'_>, &DriverState)> = benches.iter().map(Bench::cx).zip(&states).collect();
        driver.observe_many(&hosts).await;
        let lists = project.double.take_exchanges();
        assert_eq!(lists.len(), 2);
        assert!(lists.iter().all(|list| list.request.query("filter").is_empty()));
        discovery::check(&lists);
        driver.observe_many(&hosts).await;
        discovery::check(&project.double.take_exchanges());
    });
}

/// An endpoint that never answers costs its own machines their answers.
#[test]
fn a_silent_account_hurts_no_other() {
    let project = Project::new();
    let made = block(async { ok(Made::of(&project.flags(&[])).await) });
    super::super::silence_hurts_nobody_else(&made.driver, &made.bench, &made.state, "Endpoint");
    block(made.remove());
}

#[test]
fn the_rule_is_shared_and_goes_with_the_last() {
    let project = Project::new();
    block(async {
        let first = ok(Made::of(&project.flags(&[])).await);
        let made = rule(&project, "docker-machines");
        assert_eq!(made["allowed"], json!([{ "IPProtocol": "tcp", "ports": ["2376"] }]));
        assert_eq!(
            (&made["sourceRanges"], &made["targetTags"]),
            (&json!(["0.0.0.0/0"]), &json!(["docker-machine"]))
        );
        let other = ok(Made::of(&project.flags(&[
            ("google-zone", text("us-central1-b")),
            ("google-open-port", FlagValue::List(strings(&["8080", "53/udp", "2376"]))),
            ("swarm-master", FlagValue::Bool(true)),
            ("swarm-host", text("tcp://0.0.0.0:3376")),
        ]))
        .await);
        let allowed = &rule(&project, "docker-machines")["allowed"];
        assert_eq!(
            allowed,
            &json!([
                { "IPProtocol": "tcp", "ports": ["2376"] },
                { "IPProtocol": "tcp", "ports": ["3376", "8080"] },
                { "IPProtocol": "udp", "ports": ["53"] },
            ])
        );
        first.remove().await;
        assert!(rule(&project, "docker-machines").is_object(), "the other one needs it");
        other.remove().await;
        discovery::check(&project.double.take_exchanges());
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn rules_of_others_stay() {
    let project = Project::new();
    let network = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/default");
    project.double.provider().rules.insert(
        "docker-machines".into(),
        json!({ "name": "docker-machines", "network": network, "targetTags": ["docker-machine"],
            "allowed": [{ "IPProtocol": "tcp", "ports": ["2376"] }] }),
    );
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        made.remove().await;
        assert!(rule(&project, "docker-machines").is_object());
        // That of another network does nothing here.
        let made = ok(Made::of(&project.flags(&[("google-network", text("lab"))])).await);
        let own = rule(&project, "docker-machines-lab");
        assert!(own["network"].as_str().unwrap().ends_with("/global/networks/lab"));
        made.remove().await;
        let made = ok(Made::of(&project.flags(&[("google-subnetwork", text("shared-runners"))])).await);
        let own = rule(&project, "docker-machines-shared-net");
        assert!(own["network"].as_str().unwrap().ends_with("/global/networks/shared-net"));
        made.remove().await;
    });
    assert_eq!(project.resources(), 1, "the rule of somebody else");
}

#[test]
fn a_rule_that_is_needed_again_is_put_back() {
    let project = Project::new();
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        // Another machine is made between the look and the removal.
        let tagged = json!({ "name": "other", "status": "RUNNING", "tags": { "items": ["docker-machine"] },
            "networkInterfaces": [{ "network": rule(&project, "docker-machines")["network"] }] });
        project.double.trouble(1, Trouble::Slow(Duration::from_millis(300)), |request| {
            request.method == "DELETE" && request.path.ends_with("/firewalls/docker-machines")
        });
        let late = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            while !project.double.provider().vms.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
            project.double.provider().put_vm("us-central1-f", tagged);
        };
        tokio::join!(made.remove(), late);
        let again = rule(&project, "docker-machines");
        assert_eq!(again["allowed"], json!([{ "IPProtocol": "tcp", "ports": ["2376"] }]));
        assert!(again["description"].as_str().unwrap().contains(STORE_ID));
        discovery::check(&project.double.take_exchanges());
    });
}

#[test]
fn whoever_may_connect_is_narrowed() {
    let project = Project::new();
    let from = strings(&["198.51.100.0/24", "2001:db8::/32"]);
    block(async {
        let flags = project
            .flags(&[("google-open-port", FlagValue::List(strings(&["80"]))), ("google-tags", text("web"))]);
        let mut made = ok(Made::with(&flags, &from).await);
        let own = made.state.str("OwnRules").to_owned();
        assert!(own.starts_with("docker-machine-conformance-"), "{own}");
        let vm = project.double.provider().vm(NAME).clone();
        assert_eq!(vm["tags"]["items"], json!([own, "web"]), "the shared rule is not for it");
        let ports = json!([{ "IPProtocol": "tcp", "ports": ["22", "2376"] }]);
        let allow = rule(&project, &format!("{own}-allow"));
        assert_eq!((&allow["allowed"], &allow["sourceRanges"]), (&ports, &json!(["198.51.100.0/24"])));
        let deny = rule(&project, &format!("{own}-deny"));
        assert_eq!((&deny["denied"], &deny["sourceRanges"]), (&ports, &json!(["0.0.0.0/0"])));
        assert!(allow["priority"].as_u64() < deny["priority"].as_u64());
        assert!(deny["priority"].as_u64() < Some(1000), "before default-allow-ssh");
        let open = rule(&project, &format!("{own}-open"));
        assert_eq!(open["allowed"], json!([{ "IPProtocol": "tcp", "ports": ["80"] }]));
        assert_eq!(open["targetTags"], json!([own]));
        assert!(!project.double.provider().rules.contains_key("docker-machines"));

        let to = strings(&["203.0.113.7/32"]);
        made.state = ok(made.driver.allow_from(&made.bench.cx(), &made.state, &to).await);
        assert_eq!(rule(&project, &format!("{own}-allow"))["sourceRanges"], json!(to));
        let things = owned(&made).await;
        assert_eq!(
            things.iter().filter(|thing| thing.kind == "firewall rule" && thing.machine == NAME).count(),
            3
        );
        made.remove().await;
        assert_eq!(project.resources(), 0);

        // A machine that shares its rule gets its own, which count before it; the others keep theirs.
        let mut made = ok(Made::of(&project.flags(&[])).await);
        made.state = ok(made.driver.allow_from(&made.bench.cx(), &made.state, &to).await);
        let own = made.state.str("OwnRules").to_owned();
        assert_eq!(project.double.provider().vm(NAME)["tags"]["items"], json!(["docker-machine", own]));
        assert_eq!(rule(&project, &format!("{own}-deny"))["denied"], ports);
        assert_eq!(rule(&project, "docker-machines")["sourceRanges"], json!(["0.0.0.0/0"]));
        made.state.0.shift_remove("OwnRules");
        made.remove().await;
        assert_eq!(project.resources(), 0, "rules are found by their mark, too");

        for (flags, from) in [
            (project.flags(&[]), strings(&["2001:db8::/32"])),
            (
                project.flags(&[("google-skip-firewall-create", FlagValue::Bool(true))]),
                strings(&["10.0.0.0/8"]),
            ),
        ] {
            assert!(Made::with(&flags, &from).await.is_err());
        }
        discovery::check(&project.double.take_exchanges());
    });
    assert_eq!(project.resources(), 0);
}

/// Nothing is recorded before `allow_from` is over.
#[test]
fn narrowing_that_was_cut_off_is_gone_on_with() {
    let project = Project::new();
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        let narrow = async |to: &str| {
            ok(made.driver.allow_from(&made.bench.cx(), &made.state, &strings(&[to])).await)
                .str("OwnRules")
                .to_owned()
        };
        let first = narrow("198.51.100.7/32").await;
        let own = narrow("203.0.113.7/32").await;
        assert_eq!(own, first);
        assert_eq!(rule(&project, &format!("{own}-allow"))["sourceRanges"], json!(["203.0.113.7/32"]));
        assert_eq!(rule(&project, &format!("{own}-deny"))["sourceRanges"], json!(["0.0.0.0/0"]));
        assert_eq!(project.double.provider().rules.len(), 3, "the shared one, and two");
        assert_eq!(project.double.provider().vm(NAME)["tags"]["items"], json!(["docker-machine", own]));
        discovery::check(&project.double.take_exchanges());
        made.remove().await;
        assert_eq!(project.resources(), 0);
        // Another instance of the name has other rules.
        let made = ok(Made::of(&project.flags(&[])).await);
        let to = strings(&["203.0.113.7/32"]);
        let again = ok(made.driver.allow_from(&made.bench.cx(), &made.state, &to).await);
        assert_ne!(again.str("OwnRules"), own);
        made.remove().await;
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn ranchers_prefixes_name_the_rules() {
    let project = Project::new();
    block(async {
        let made = ok(Made::of(&project.flags(&[
            ("google-external-firewall-rule-prefix", text("prod")),
            ("google-internal-firewall-rule-prefix", text("prod")),
            ("google-open-port", FlagValue::List(strings(&["443"]))),
        ]))
        .await);
        let external = rule(&project, "prod-external-rancher-nodes");
        assert_eq!(external["allowed"][0]["ports"], json!(["2376", "443"]));
        let internal = rule(&project, "prod-internal-rancher-nodes");
        assert_eq!(internal["sourceTags"], json!(["prod-internal-rancher-nodes"]));
        let tags = &project.double.provider().vm(NAME)["tags"]["items"].clone();
        assert_eq!(tags, &json!(["prod-external-rancher-nodes", "prod-internal-rancher-nodes"]));
        made.remove().await;
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn no_rule_is_made_where_none_is_wanted() {
    let project = Project::new();
    let flags = project.flags(&[("google-skip-firewall-create", FlagValue::Bool(true))]);
    block(async {
        let made = ok(Made::of(&flags).await);
        made.remove().await;
        assert!(!project.calls().iter().any(|call| call.contains("firewalls")));
    });
}

#[test]
fn an_instance_that_is_there_is_taken_over() {
    let project = Project::new();
    let network = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/lab");
    let there = json!({
        "name": NAME, "status": "RUNNING", "tags": { "items": ["web"], "fingerprint": "t1" },
        "metadata": { "fingerprint": "m1", "items": [{ "key": "ssh-keys", "value": "me:ssh-rsa AAAA me" },
            { "key": "startup-script", "value": "true" }] },
        "networkInterfaces": [{ "network": network, "networkIP": "10.0.0.9", "accessConfigs": [{ "natIP": "203.0.113.9" }] }],
        "disks": [],
    });
    block(async {
        let flags = project.flags(&[("google-use-existing", FlagValue::Bool(true))]);
        project.double.provider().put_vm(ZONE, {
            let mut off = there.clone();
            off["status"] = json!("TERMINATED");
            off
        });
        assert!(why(Made::of(&flags).await.map(|made| made.state)).contains("TERMINATED, not RUNNING"));
        project.double.provider().put_vm(ZONE, there);
        let made = ok(Made::of(&flags).await);
        let vm = project.double.provider().vm(NAME).clone();
        assert_eq!(vm["tags"]["items"], json!(["web", "docker-machine"]));
        let metadata = metadata(&vm);
        assert!(metadata["ssh-keys"].starts_with("me:ssh-rsa AAAA me\ndocker-user:ssh-ed25519 "));
        assert_eq!(metadata["startup-script"], "true", "nothing else is lost");
        assert_eq!(metadata["enable-oslogin"], "FALSE", "the project may have it on");
        assert!(rule(&project, "docker-machines")["network"].as_str().unwrap().ends_with("/lab"));
        assert_eq!(ok(made.driver.known(&made.state)).ip, "203.0.113.9");
        assert_eq!(made.state.str("MachineType"), "", "as in the Go driver");

        // Called again, it has nothing to do.
        let mut journal = Journal::new(Cut::Never);
        project.calls();
        ok(made.driver.create(&made.bench.cx(), made.state.clone(), &mut journal).await);
        assert!(project.calls().iter().all(|call| call.starts_with("GET")));
        made.remove().await;
        discovery::check(&project.double.take_exchanges());
    });
    assert_eq!(project.resources(), 0, "as the Go driver does");
}

#[test]
fn flags_for_an_instance_that_is_there() {
    let project = Project::new();
    let there = |login: &str| {
        json!({
            "name": NAME, "status": "RUNNING", "tags": { "items": ["web"], "fingerprint": "t1" },
            "metadata": { "fingerprint": "m1", "items": [{ "key": "enable-oslogin", "value": login }] },
            "networkInterfaces": [{ "network": "n", "networkIP": "10.0.0.9" }], "disks": [],
        })
    };
    let existing = ("google-use-existing", FlagValue::Bool(true));
    let inside = ("google-use-internal-ip", FlagValue::Bool(true));
    block(async {
        project.double.provider().put_vm(ZONE, there("FALSE"));
        let said =
            why(Made::of(&project.flags(std::slice::from_ref(&existing))).await.map(|made| made.state));
        assert!(said.contains("no external address") && said.contains("--google-use-internal-ip"), "{said}");
        project.double.provider().put_vm(ZONE, there("TRUE"));
        let flags = project.flags(&[
            existing,
            inside,
            ("google-tags", text("db")),
            ("google-label", FlagValue::List(strings(&["a:b"]))),
            ("google-machine-type", text("n1-standard-1")),
        ]);
        let said = why(Made::of(&flags).await.map(|made| made.state));
        assert!(said.contains("OS Login") && said.contains("enable-oslogin=FALSE"), "{said}");
        project.double.provider().put_vm(ZONE, there("FALSE"));
        // Something else changes it at the same time.
        let stale = json!({ "error": { "code": 412, "message": "Supplied fingerprint does not match current metadata fingerprint.",
            "errors": [{ "domain": "global", "reason": "conditionNotMet" }] } });
        let changing =
            |request: &Request| request.path.ends_with("/setTags") || request.path.ends_with("/setMetadata");
        project.double.trouble(2, Trouble::Answer(Reply::json(412, &stale)), changing);
        let made = ok(Made::of(&flags).await);
        assert_eq!(ok(made.driver.known(&made.state)).ip, "10.0.0.9");
        let vm = project.double.provider().vm(NAME).clone();
        assert_eq!(vm["tags"]["items"], json!(["web", "docker-machine", "db"]));
        let said = made.bench.heard.text();
        assert!(said.contains("do nothing: --google-machine-type, --google-label"), "{said}");
        assert!(!made.state.0.contains_key("UnheededFlags"));

        project.double.provider().put_vm(ZONE, there("FALSE"));
        project.double.trouble(9, Trouble::Answer(Reply::json(412, &stale)), changing);
        let error = Made::of(&flags).await.map(|made| made.state).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "no rule of an organisation: {}", full_text(&error));
        project.double.heal();
    });
}

#[test]
fn an_instance_of_somebody_else_is_left_alone() {
    let project = Project::new();
    block(async {
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, &project.flags(&[]));
        project.double.provider().put_vm(ZONE, json!({ "name": NAME, "status": "RUNNING" }));
        let said = why(driver.precreate(&bench.cx(), &wish).await);
        assert!(said.contains("already exists in zone"), "{said}");
        let mut journal = Journal::new(Cut::Never);
        let said = why(driver.create(&bench.cx(), wish.clone(), &mut journal).await);
        assert!(said.contains("already exists in zone"), "{said}");
        ok(driver.remove(&bench.cx(), &journal.last_or(&wish)).await);
        assert!(bench.heard.text().contains("is left alone"), "{}", bench.heard.text());
        assert_eq!(project.resources(), 1);
    });
}

#[test]
fn a_disk_of_somebody_else_is_left_alone() {
    let project = Project::new();
    let key = (ZONE.to_owned(), "conformance-disk".to_owned());
    project
        .double
        .provider()
        .disks
        .insert(key, json!({ "name": "conformance-disk", "labels": { "a": "b" } }));
    block(async {
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, &project.flags(&[]));
        let set = |key: &str, value: Value| {
            let key_of_disk = (ZONE.to_owned(), "conformance-disk".to_owned());
            project.double.provider().disks.get_mut(&key_of_disk).unwrap()[key] = value;
        };
        let said = why(driver.precreate(&bench.cx(), &wish).await);
        let remove = format!("gcloud compute disks delete conformance-disk --zone {ZONE}");
        assert!(said.contains("conformance-disk") && said.contains(&remove), "{said}");
        set("users", json!(["https://x/instances/other"]));
        let said = why(driver.precreate(&bench.cx(), &wish).await);
        assert!(said.contains("disk of the instance \"other\"") && !said.contains("delete"), "{said}");
        set("users", json!([]));
        set("labels", json!({ "docker-machine-store": STORE_ID }));
        let said = why(driver.precreate(&bench.cx(), &wish).await);
        assert!(said.contains("docker-machine gc"), "{said}");
        set("labels", json!({ "a": "b" }));
        let mut journal = Journal::new(Cut::Never);
        let said = why(driver.create(&bench.cx(), wish.clone(), &mut journal).await);
        assert!(said.contains("RESOURCE_ALREADY_EXISTS"), "{said}");
        ok(driver.remove(&bench.cx(), &journal.last_or(&wish)).await);
    });
    assert_eq!(project.resources(), 1);
}

#[test]
fn a_lost_answer_makes_nothing_twice() {
    let rule = |request: &Request| request.method == "POST" && request.path.ends_with("/firewalls");
    let deleting = |request: &Request| request.method == "DELETE";
    for lost in [making as fn(&Request) -> bool, rule, deleting] {
        let project = Project::new();
        project.double.trouble(1, Trouble::LostReply, lost);
        block(async {
            let made = ok(Made::of(&project.flags(&[])).await);
            assert_eq!(project.resources(), 3, "an instance, its disk, a rule");
            made.remove().await;
        });
        assert_eq!(project.resources(), 0);
    }
}

#[test]
fn what_is_under_way_is_waited_for_and_removed() {
    for bulk in [false, true] {
        let project = Project::new();
        project.double.provider().shy = 100;
        let flags = if bulk { as_bulk(&project) } else { project.flags(&[]) };
        block(async {
            let (driver, bench) = (Google::new(), Bench::new());
            let wish = bench.wish(&driver, &flags);
            // The answer arrives, and what it says does not get on disk any more.
            let mut journal = Journal::new(Cut::Never);
            project.double.trouble(8, Trouble::Refused, |request| {
                request.path.ends_with("/wait") && !request.path.contains("global")
            });
            let limit = Duration::from_secs(2);
            let cut =
                tokio::time::timeout(limit, driver.create(&bench.cx(), wish.clone(), &mut journal)).await;
            assert!(cut.is_err(), "it waits");
            project.double.heal();
            let mut left = journal.last_or(&wish);
            left.0.shift_remove("InstanceID");
            assert_eq!(project.resources(), 3);
            ok(driver.remove(&bench.cx(), &left).await);
            assert!(
                project.calls().iter().any(|call| call.ends_with("/operations")),
                "operations were looked at"
            );
        });
        assert_eq!(project.resources(), 0);
    }
}

fn as_bulk(project: &Project) -> FlagValues {
    project.flags(&[("google-bulk-insert", FlagValue::Bool(true)), ("google-region", text("us-central1"))])
}

#[test]
fn what_failed_is_asked_for_anew() {
    let project = Project::new();
    let full =
        Room::Fails("ZONE_RESOURCE_POOL_EXHAUSTED", "The zone does not have enough resources available.");
    project.double.provider().room = full;
    block(async {
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, &project.flags(&[]));
        let mut journal = Journal::new(Cut::Never);
        let error = driver.create(&bench.cx(), wish.clone(), &mut journal).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota);
        assert!(error.hint().unwrap().contains("--google-bulk-insert"), "{}", full_text(&error));
        project.double.provider().room = Room::Plenty;
        let state = ok(driver.create(&bench.cx(), journal.last_or(&wish), &mut journal).await);
        ok(driver.remove(&bench.cx(), &state).await);
        discovery::check(&project.double.take_exchanges());
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn a_refused_machine_leaves_nothing() {
    let project = Project::new();
    project.double.provider().room = Room::Refused(403, "quotaExceeded", "Quota 'CPUS' exceeded.");
    block(async {
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, &project.flags(&[]));
        let mut journal = Journal::new(Cut::Never);
        let error = driver.create(&bench.cx(), wish.clone(), &mut journal).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota);
        ok(driver.remove(&bench.cx(), &journal.last_or(&wish)).await);
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn operations_are_waited_for_as_the_flags_say() {
    let project = Project::new();
    project.double.provider().slow_waits = 3;
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        assert!(project.calls().iter().filter(|call| call.ends_with("/wait")).count() >= 4);
        made.remove().await;
        // 0 is no limit, as in GitLab's driver; and what it wrote may grow as it likes.
        project.double.provider().slow_waits = 2;
        let mut made = ok(Made::of(&project.flags(&[
            ("google-operation-backoff-max-elapsed-time", FlagValue::Int(0)),
            ("google-operation-backoff-max-interval", FlagValue::Int(0)),
        ]))
        .await);
        let backoff = made.state.0.get_mut("OperationBackoffFactory").unwrap();
        backoff["Multiplier"] = json!(1e300);
        project.double.provider().slow_waits = 3;
        made.remove().await;
        project.double.provider().slow_waits = 1000;
        let limit = ("google-operation-backoff-max-elapsed-time", FlagValue::Int(1));
        let (driver, bench) = (Google::new(), Bench::new());
        let wish = bench.wish(&driver, &project.flags(&[limit]));
        let mut journal = Journal::new(Cut::Never);
        let error = driver.create(&bench.cx(), wish.clone(), &mut journal).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(error.to_string().starts_with("waited 1 s for Google's operation"), "{error}");
        project.double.provider().slow_waits = 0;
        ok(driver.remove(&bench.cx(), &journal.last_or(&wish)).await);
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn refusals_say_what_to_do() {
    let api = |status: u16, reason: &str, message: &str| {
        let errors = json!([{ "domain": "global", "reason": reason, "message": message }]);
        Reply::json(status, &json!({ "error": { "code": status, "message": message, "errors": errors } }))
    };
    let permission =
        "Required 'compute.instances.create' permission for 'projects/acme-dev-4711/zones/z/instances/x'";
    for (reply, kind, said, hint) in [
        (
            api(403, "forbidden", permission),
            ErrorKind::Credentials,
            "compute.instances.create",
            "Instance Admin",
        ),
        (
            api(403, "accessNotConfigured", "Compute Engine API has not been used in project 1 before."),
            ErrorKind::Credentials,
            "has not been used",
            "compute.googleapis.com?project=acme-dev-4711",
        ),
        (
            api(403, "quotaExceeded", "Quota 'IN_USE_ADDRESSES' exceeded."),
            ErrorKind::Quota,
            "IN_USE",
            "quotas",
        ),
        (
            api(412, "conditionNotMet", "Constraint constraints/compute.vmExternalIpAccess violated"),
            ErrorKind::Config,
            "vmExternalIpAccess",
            "--google-use-internal-ip-only",
        ),
        (api(403, "billingDisabled", "Billing is disabled"), ErrorKind::Other, "Billing", "enable billing"),
        (api(400, "invalid", "Invalid value for field 'resource.disks'"), ErrorKind::Config, "disks", ""),
    ] {
        let project = Project::new();
        project.double.trouble(1, Trouble::Answer(reply), making);
        let error = block(Made::of(&project.flags(&[]))).map(|made| made.state).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", full_text(&error));
        assert!(error.to_string().contains(said), "{error}");
        assert!(error.hint().unwrap_or_default().contains(hint), "{}", full_text(&error));
    }
}

#[test]
fn on_and_off() {
    let project = Project::new();
    block(async {
        let mut made = ok(Made::of(&project.flags(&[])).await);
        made.settles(State::Running).await;
        let before = ok(made.driver.known(&made.state)).ip;
        made.state = ok(made.driver.power(&made.bench.cx(), &made.state, Power::Restart).await);
        let after = ok(made.driver.known(&made.state)).ip;
        assert!(!after.is_empty() && after != before, "its address is another one: {after}");
        made.state = ok(made.driver.power(&made.bench.cx(), &made.state, Power::Kill).await);
        assert_eq!(ok(made.driver.known(&made.state)).ip, "", "as in the Go driver");
        let sent = project.double.take_exchanges();
        assert!(
            sent.iter()
                .any(|e| e.request.path.ends_with("/stop") && e.request.query == "noGracefulShutdown=true")
        );
        discovery::check(&sent);
        project.double.provider().settle();
        project.double.provider().full_zones.push(ZONE);
        let error = made.driver.power(&made.bench.cx(), &made.state, Power::Start).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Quota, "{}", full_text(&error));
        made.remove().await;
        let error = made.driver.power(&made.bench.cx(), &made.state, Power::Start).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
    });
    assert_eq!(project.resources(), 0);
}

#[test]
fn the_internal_address_is_taken_where_asked_for() {
    let project = Project::new();
    block(async {
        for flag in ["google-use-internal-ip", "google-use-internal-ip-only"] {
            let mut made = ok(Made::of(&project.flags(&[(flag, FlagValue::Bool(true))])).await);
            made.settles(State::Running).await;
            let known = ok(made.driver.known(&made.state));
            assert!(known.ip.starts_with("10.128.0."), "{}", known.ip);
            assert_eq!(known.ssh.unwrap().user, "docker-user");
            made.remove().await;
        }
    });
}

#[test]
fn what_has_no_record_is_found() {
    let project = Project::new();
    block(async {
        let made = ok(Made::of(&project.flags(&[])).await);
        let from = strings(&["10.0.0.0/8"]);
        let narrow = ok(Made::with(&project.flags(&[("google-zone", text("us-central1-b"))]), &from).await);
        let alone = json!({ "name": "lost-disk", "labels": { "docker-machine-store": STORE_ID, "docker-machine-name": "lost" },
            "zone": format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}") });
        project.double.provider().disks.insert((ZONE.into(), "lost-disk".into()), alone);
        project.double.provider().put_vm(ZONE, json!({ "name": "foreign", "status": "RUNNING" }));
        project.double.provider().page = 2;
        let things = owned(&made).await;
        let kinds: Vec<(&str, &str)> = things.iter().map(|t| (t.kind.as_str(), t.machine.as_str())).collect();
        assert_eq!(
            kinds,
            [
                ("instance", NAME),
                ("instance", NAME),
                ("disk", "lost"),
                ("firewall rule", NAME),
                ("firewall rule", NAME),
                ("firewall rule", ""),
            ]
        );
        assert_eq!(things[0].id, format!("{ZONE}/{NAME}"));
        let cx = AccountCx {
            store_id: "another",
            store_path: made.bench.cx().store_path,
            report: &made.bench.heard,
        };
        assert_eq!(ok(made.driver.owned(&cx, &made.state).await), []);
        let shared = things.last().unwrap();
        let cx = AccountCx { store_id: STORE_ID, ..cx };
        let error = made.driver.remove_owned(&cx, &made.state, shared).await.unwrap_err();
        assert!(error.to_string().contains("it stays"), "{error}");
        sweep(&made).await;
        assert_eq!(owned(&made).await, []);
        ok(made.driver.remove_owned(&cx, &made.state, shared).await);
        assert_eq!(project.resources(), 1, "what is somebody else's");
        let account = made.driver.account(&narrow.state).unwrap();
        assert_eq!(account, format!("{}/{PROJECT}", project.double.url()));
        discovery::check(&project.double.take_exchanges());
    });
}

#[test]
fn names_that_google_refuses_are_seen_before() {
    let project = Project::new();
    let driver = Google::new();
    for name in ["Dev", "dev.example", "9lives", &"a".repeat(64)] {
        let bench = Bench::new();
        let name = machine_core::MachineName::new(name).unwrap();
        let cx = bench.configure_context();
        let cx = machine_core::ConfigureContext { name: &name, ..cx };
        let wish = ok(driver.configure(&cx, &project.flags(&[])));
        let said = why(block(driver.precreate(&Cx { name: &name, ..bench.cx() }, &wish)));
        assert!(said.contains("is no name that Google takes"), "{said}");
    }
    assert!(project.calls().is_empty());
}

/// What docker-machine 0.16.2 has in config.json, by its source.
fn of_go(project: &Project) -> Value {
    json!({
        "IPAddress": "", "MachineName": NAME, "SSHUser": "docker-user", "SSHPort": 22, "SSHKeyPath": "", "StorePath": "/s",
        "SwarmMaster": false, "SwarmHost": "", "SwarmDiscovery": "", "Zone": ZONE, "MachineType": "n1-standard-1",
        "MachineImage": "ubuntu-os-cloud/global/images/ubuntu-1604-xenial-v20170721", "DiskType": "pd-standard",
        "Address": "", "Network": "default", "Subnetwork": "", "Preemptible": false, "UseInternalIP": false,
        "UseInternalIPOnly": false, "ServiceAccount": "default", "Scopes": "https://www.googleapis.com/auth/logging.write",
        "DiskSize": 10, "Project": PROJECT, "Tags": "", "UseExisting": false, "OpenPorts": null,
        // What the Go driver finds in its environment.
        "Auth": STANDARD.encode(project.service_account().to_string()), "Endpoint": project.double.url(),
    })
}

#[test]
fn a_machine_of_the_go_driver_is_taken_over() {
    let project = Project::new();
    let network = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/global/networks/default");
    project.double.provider().put_vm(
        ZONE,
        json!({ "name": NAME, "status": "RUNNING", "tags": { "items": ["docker-machine"] },
            "networkInterfaces": [{ "network": network, "networkIP": "10.0.0.4", "accessConfigs": [{ "natIP": "203.0.113.4" }] }],
            "disks": [{ "source": format!("https://x/zones/{ZONE}/disks/conformance-disk"), "autoDelete": false }] }),
    );
    project
        .double
        .provider()
        .disks
        .insert((ZONE.into(), "conformance-disk".into()), json!({ "name": "conformance-disk" }));
    block(async {
        let state: DriverState = serde_json::from_value(of_go(&project)).unwrap();
        let mut made = Made { driver: Google::new(), bench: Bench::new(), state };
        let known = ok(made.driver.known(&made.state));
        assert_eq!((known.ip.as_str(), known.url.as_str()), ("", ""), "the Go driver keeps no address");
        let hosts = [(made.bench.cx(), &made.state)];
        let many = made.driver.observe_many(&hosts).await;
        assert_eq!(many[0].as_ref().unwrap().state, State::Running, "although it has no mark");
        made.settles(State::Running).await;
        assert_eq!(ok(made.driver.known(&made.state)).url, "tcp://203.0.113.4:2376");
        made.state = ok(made.driver.power(&made.bench.cx(), &made.state, Power::Stop).await);
        project.double.provider().settle();
        made.settles(State::Stopped).await;
        made.state = ok(made.driver.power(&made.bench.cx(), &made.state, Power::Start).await);
        made.settles(State::Running).await;
        made.remove().await;
    });
    assert_eq!(project.resources(), 0, "its disk goes too");
}

#[test]
fn the_keys_stand_in_the_order_of_the_go_driver() {
    let project = Project::new();
    let (driver, bench) = (Google::new(), Bench::new());
    let wish = bench.wish(&driver, &project.flags(&[]));
    let ours: Vec<String> = wish.0.keys().cloned().collect();
    let go = of_go(&project);
    let go: Vec<String> = go
        .as_object()
        .unwrap()
        .keys()
        .filter(|k| !["Auth", "Endpoint"].contains(&k.as_str()))
        .cloned()
        .collect();
    assert_eq!(ours[..go.len()], go[..]);
    assert_eq!(
        ours[go.len()..],
        ["OperationBackoffFactory", "Auth", "Endpoint", "RequestIDs"].map(String::from)
    );
    assert_eq!(wish.0["SSHKeyPath"], json!(bench.cx().machine_dir.join("id_rsa")));
}

#[test]
fn states_of_the_forks_are_read() {
    let project = Project::new();
    let driver = Google::new();
    let with = |more: Value| {
        let mut state = of_go(&project);
        state.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value::<DriverState>(state).unwrap()
    };
    let gitlab = with(json!({ "BulkInsert": true, "Region": "us-central1", "ResolvedZone": "us-central1-f",
        "ResolvedMachineType": "n2-standard-2", "Labels": ["a:b"], "Metadata": { "k": "v" }, "MetadataFromFile": null,
        "FlexMachineTypes": null, "LocationZones": null, "IPAddress": "203.0.113.5",
        "OperationBackoffFactory": { "InitialInterval": 1000000000, "RandomizationFactor": 0.5, "Multiplier": 2,
            "MaxInterval": 30000000000_u64, "MaxElapsedTime": 300000000000_u64 } }));
    let rancher = with(
        json!({ "Labels": "team,blue", "Userdata": "#cloud-config", "ExternalFirewallRulePrefix": "prod" }),
    );
    for state in [gitlab, rancher] {
        ok(driver.known(&state));
        let bench = Bench::new();
        let error = block(driver.observe(&bench.cx(), &state)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", full_text(&error));
        ok(block(driver.remove(&bench.cx(), &state)));
    }
    let calls = project.calls();
    assert!(calls.iter().any(|call| call.contains("zones/us-central1-f/instances")), "{calls:?}");
}
