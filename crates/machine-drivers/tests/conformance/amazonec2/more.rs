//! What the suite does not ask: shared groups, narrowed ones, what is left behind, how often EC2 is asked.

use std::time::Duration;

use machine_core::{
    AccountCx, Cx, Driver, DriverError, DriverSource, DriverState, ErrorKind, FlagValue, MachineName, Seed,
};
use machine_drivers::Builtin;
use machine_testkit::conformance::Subject;
use machine_testkit::conformance::{AUTHORIZED_KEY, Bench, Collected, Cut, Journal, STORE_ID, full_text};
use machine_testkit::double::{Reply, Request, Trouble};

use super::moto::{elements, refusal};
use super::{Cloud, action, text};

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// A machine of a name of its own.
struct Machine {
    name: MachineName,
    dir: tempfile::TempDir,
    seed: Seed,
    heard: Collected,
}

impl Machine {
    fn new(name: &str) -> Self {
        let seed = Seed {
            authorized_key: AUTHORIZED_KEY.to_owned(),
            user_data: machine_core::Secret::new("#cloud-config\n"),
        };
        Self {
            name: MachineName::new(name).unwrap(),
            dir: tempfile::TempDir::new().unwrap(),
            seed,
            heard: Collected::default(),
        }
    }

    fn cx<'a>(&'a self, allow_from: &'a [String]) -> Cx<'a> {
        Cx {
            name: &self.name,
            machine_dir: self.dir.path(),
            store_path: self.dir.path(),
            store_id: STORE_ID,
            report: &self.heard,
            seed: Some(&self.seed),
            allow_from,
            narrowed_later: false,
        }
    }

    fn create(
        &self,
        driver: &dyn Driver,
        cloud: &Cloud,
        more: &[(&str, FlagValue)],
        from: &[String],
    ) -> DriverState {
        let mut journal = Journal::new(Cut::Never);
        self.attempt(driver, cloud, more, from, &mut journal)
            .unwrap_or_else(|error| panic!("{}: {}", self.name, full_text(&error)))
    }

    fn attempt(
        &self,
        driver: &dyn Driver,
        cloud: &Cloud,
        more: &[(&str, FlagValue)],
        from: &[String],
        journal: &mut Journal,
    ) -> Result<DriverState, DriverError> {
        let cx = machine_core::ConfigureContext { name: &self.name, store_path: self.dir.path() };
        let wish = driver.configure(&cx, &cloud.flags(more)).unwrap();
        run(async {
            driver.precreate(&self.cx(from), &wish).await?;
            driver.create(&self.cx(from), wish, journal).await
        })
    }

    fn remove(&self, driver: &dyn Driver, state: &DriverState) {
        run(driver.remove(&self.cx(&[]), state)).unwrap_or_else(|error| panic!("{}", full_text(&error)));
    }
}

fn groups(cloud: &Cloud) -> Vec<String> {
    let text = cloud.front.provider().moto.admin(|admin| admin.list("DescribeSecurityGroups", &[]));
    let mut names = elements(&text, "groupName");
    names.retain(|name| name != "default");
    names
}

/// What a create asked since the last time. docker/machine v0.16.2 asks the same front 37 times in a whole `create`, and 40
/// times where it makes the group: 11 and 14 times in its driver, once for the state after that, and for the state or the
/// address 5 times beside 20 commands over SSH, each of which asks for the address. One look comes before the instance is
/// listed, as here. The rest of our `create` asks once more, for the state.
#[track_caller]
fn assert_asked(cloud: &Cloud, group: &[&str]) {
    let exchanges = cloud.front.take_exchanges();
    let mut asked: Vec<String> = exchanges.iter().map(|exchange| action(&exchange.request)).collect();
    let made = asked.split_off(5);
    asked.sort();
    // The one without a name of EC2's is the Systems Manager's, for the image. They are asked at once.
    let checks =
        ["", "DescribeInstanceTypes", "DescribeKeyPairs", "DescribeSecurityGroups", "DescribeSubnets"];
    assert_eq!(asked, checks);
    let looks = ["DescribeInstances"; 2];
    assert_eq!(made, [&["ImportKeyPair"], group, &["RunInstances"], &looks].concat());
}

#[test]
fn machines_share_a_group_which_goes_with_the_last() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let (one, other) = (Machine::new("one"), Machine::new("other"));
    let first = one.create(driver.as_ref(), &cloud, &[], &[]);
    let group = ["CreateSecurityGroup", "AuthorizeSecurityGroupIngress"];
    assert_asked(&cloud, &group);
    let second = other.create(driver.as_ref(), &cloud, &[], &[]);
    assert_asked(&cloud, &[]);
    assert_eq!(groups(&cloud), ["docker-machine"]);
    one.remove(driver.as_ref(), &first);
    assert_eq!(groups(&cloud), ["docker-machine"], "another machine is in it");
    other.remove(driver.as_ref(), &second);
    assert_eq!(cloud.resources(), 0);
}

/// All of them see before that there is no group, one makes it, and EC2 does not know it everywhere at once.
#[test]
fn machines_made_at_the_same_time_share_a_group_that_nobody_lists_yet() {
    let Some(cloud) = Cloud::new() else { return };
    cloud.front.provider().late_groups = Duration::from_secs(2);
    let driver = Builtin.driver("amazonec2").unwrap();
    let machines = ["one", "two", "three"].map(Machine::new);
    let wishes = machines.each_ref().map(|machine| {
        let cx = machine_core::ConfigureContext { name: &machine.name, store_path: machine.dir.path() };
        driver.configure(&cx, &cloud.flags(&[])).unwrap()
    });
    let states = run(async {
        for (machine, wish) in machines.iter().zip(&wishes) {
            driver.precreate(&machine.cx(&[]), wish).await.unwrap();
        }
        let [a, b, c] = [0, 1, 2].map(|at: usize| {
            let (machine, wish, driver) = (&machines[at], wishes[at].clone(), &driver);
            async move { driver.create(&machine.cx(&[]), wish, &mut Journal::new(Cut::Never)).await }
        });
        let (a, b, c) = tokio::join!(a, b, c);
        [a, b, c]
    });
    assert_eq!(groups(&cloud), ["docker-machine"]);
    for (machine, state) in machines.iter().zip(states) {
        machine.remove(driver.as_ref(), &state.unwrap_or_else(|error| panic!("{}", full_text(&error))));
    }
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn a_machine_that_only_some_may_reach_has_a_group_of_its_own() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let machine = Machine::new("narrow");
    let me = ["198.51.100.7/32".to_owned()];
    let state = machine.create(driver.as_ref(), &cloud, &[], &me);
    assert_eq!(groups(&cloud), ["docker-machine-narrow-01234567"]);
    let networks = || {
        let text = cloud.front.provider().moto.admin(|admin| {
            admin.list(
                "DescribeSecurityGroups",
                &[("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "docker-machine-narrow-01234567")],
            )
        });
        let mut all = elements(&text, "cidrIp");
        // What may go out is not of interest.
        all.retain(|network| network != "0.0.0.0/0");
        all
    };
    assert_eq!(networks(), ["198.51.100.7/32", "198.51.100.7/32"]);
    let office = ["203.0.113.0/24".to_owned()];
    let home = ["192.0.2.1/32".to_owned()];
    let revokes = |request: &Request| action(request) == "RevokeSecurityGroupIngress";
    // EC2 takes out nothing where one of the rules is gone; in a default VPC it does not even say so.
    let gone = refusal(
        400,
        "InvalidPermission.NotFound",
        "The specified rule does not exist in this security group.",
    );
    let nothing = Reply::text(
        200,
        "text/xml",
        "<RevokeSecurityGroupIngressResponse><return>true</return></RevokeSecurityGroupIngressResponse>",
    );
    let mut state = state;
    for (answer, to) in [(None, &office), (Some(gone), &home), (Some(nothing), &office)] {
        if let Some(answer) = answer {
            cloud.front.trouble(1, Trouble::Answer(answer), revokes);
        }
        state = run(driver.allow_from(&machine.cx(&[]), &state, to)).unwrap();
        assert_eq!(networks(), [to[0].as_str(), to[0].as_str()]);
    }
    machine.remove(driver.as_ref(), &state);
    assert_eq!(cloud.resources(), 0);

    let shared = Machine::new("shared");
    let state = shared.create(driver.as_ref(), &cloud, &[], &[]);
    let error = run(driver.allow_from(&shared.cx(&[]), &state, &office)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    shared.remove(driver.as_ref(), &state);
}

/// With `--allow-from me` the networks are known only when the host is there.
#[test]
fn a_machine_that_is_narrowed_later_begins_with_a_group_of_its_own() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let machine = Machine::new("later");
    let context = machine_core::ConfigureContext { name: &machine.name, store_path: machine.dir.path() };
    let wish = driver.configure(&context, &cloud.flags(&[])).unwrap();
    let cx = Cx { narrowed_later: true, ..machine.cx(&[]) };
    let state = run(async {
        driver.precreate(&cx, &wish).await?;
        driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await
    });
    let state = state.unwrap_or_else(|error| panic!("{}", full_text(&error)));
    assert_eq!(groups(&cloud), ["docker-machine-later-01234567"]);
    let networks = || {
        let text = cloud.front.provider().moto.admin(|admin| {
            let own =
                [("Filter.1.Name", "group-name"), ("Filter.1.Value.1", "docker-machine-later-01234567")];
            admin.list("DescribeSecurityGroups", &own)
        });
        elements(&text, "cidrIp")
    };
    assert_eq!(networks(), ["0.0.0.0/0"; 3], "SSH, the engine, and all that goes out");
    let me = ["198.51.100.7/32".to_owned()];
    let state = run(driver.allow_from(&machine.cx(&[]), &state, &me)).unwrap();
    let mut left = networks();
    left.sort();
    assert_eq!(left, ["0.0.0.0/0", "198.51.100.7/32", "198.51.100.7/32"]);
    machine.remove(driver.as_ref(), &state);
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn whatever_reply_is_lost_nothing_is_made_twice() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    for lost in ["ImportKeyPair", "CreateSecurityGroup", "AuthorizeSecurityGroupIngress", "RunInstances"] {
        let machine = Machine::new("lost");
        cloud.front.trouble(1, Trouble::LostReply, move |request| action(request) == lost);
        let state = machine.create(driver.as_ref(), &cloud, &[], &[]);
        // Instance, volume, key pair, group.
        assert_eq!(cloud.resources(), 4, "{lost}");
        machine.remove(driver.as_ref(), &state);
        assert_eq!(cloud.resources(), 0, "{lost}");
    }
}

/// The first try makes the instance and its answer gets lost; the last one says something of itself only.
#[test]
fn a_refused_second_try_says_nothing_about_the_first() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let once_again = [("amazonec2-retries", FlagValue::Int(1))];
    let refusals = [
        refusal(503, "RequestLimitExceeded", "Request limit exceeded."),
        refusal(400, "RequestExpired", "Request has expired."),
        refusal(401, "AuthFailure", "AWS was not able to validate the provided access credentials"),
        Reply::text(403, "text/html", "<html><body>Log in to this network</body></html>"),
    ];
    for second in refusals {
        for resumed in [false, true] {
            let machine = Machine::new("lost");
            let launch = |request: &Request| action(request) == "RunInstances";
            cloud.front.trouble(1, Trouble::LostReply, launch);
            cloud.front.trouble(usize::MAX, Trouble::Answer(second.clone()), launch);
            let mut journal = Journal::new(Cut::Never);
            let failed = machine.attempt(driver.as_ref(), &cloud, &once_again, &[], &mut journal);
            let what = full_text(&failed.unwrap_err());
            cloud.front.heal();
            let mut left = journal.saved.last().expect("a checkpoint").clone();
            if resumed {
                left = run(driver.create(&machine.cx(&[]), left, &mut Journal::new(Cut::Never)))
                    .unwrap_or_else(|error| panic!("{}", full_text(&error)));
                // Instance, volume, key pair, group.
                assert_eq!(cloud.resources(), 4, "{what}");
            }
            machine.remove(driver.as_ref(), &left);
            assert_eq!(cloud.resources(), 0, "resumed: {resumed}; {what}");
        }
    }
}

/// `rm` a moment after the request: EC2 may neither list the instance nor know its id, and it runs all the same.
#[test]
fn an_instance_that_is_too_new_to_be_known_is_not_taken_for_gone() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let asked = |state: &&DriverState| state.0.get("AskedAt").is_some_and(|at| at.as_u64() > Some(0));
    for (known, hidden) in [(true, 2), (false, 8)] {
        let machine = Machine::new("new");
        let mut journal = Journal::new(Cut::Never);
        let state = machine.attempt(driver.as_ref(), &cloud, &[], &[], &mut journal);
        let state = state.unwrap_or_else(|error| panic!("{}", full_text(&error)));
        assert_eq!(state.0["AskedAt"], 0, "EC2 lists it");
        let then = journal.saved.iter().filter(asked).find(|state| {
            !state.str("ClientToken").is_empty() && state.str("InstanceId").is_empty() != known
        });
        cloud.front.provider().hide_all(Duration::from_secs(hidden));
        machine.remove(driver.as_ref(), then.expect("a checkpoint"));
        assert_eq!(cloud.resources(), 0, "id on record: {known}");
        // What is gone, and was known, is not waited for.
        let begin = std::time::Instant::now();
        machine.remove(driver.as_ref(), &state);
        assert!(begin.elapsed() < Duration::from_secs(5));
    }
}

/// A create whose request for the instance was carried out, and whose answer got lost for good: what is on record then.
fn cut_off(machine: &Machine, driver: &dyn Driver, cloud: &Cloud) -> DriverState {
    let cx = machine_core::ConfigureContext { name: &machine.name, store_path: machine.dir.path() };
    let flags = cloud.flags(&[("amazonec2-retries", FlagValue::Int(0))]);
    let wish = driver.configure(&cx, &flags).unwrap();
    cloud.front.trouble(1, Trouble::LostReply, |request| action(request) == "RunInstances");
    let mut journal = Journal::new(Cut::Never);
    let error = run(driver.create(&machine.cx(&[]), wish, &mut journal)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", full_text(&error));
    let state = journal.saved.pop().unwrap();
    assert_eq!((state.str("InstanceId"), state.str("ClientToken").is_empty()), ("", false));
    assert_eq!(cloud.resources(), 4);
    cloud.front.take_exchanges();
    state
}

/// EC2 lists nothing by tags for as long as `create` looks for what it may have made.
fn list_late(cloud: &Cloud) {
    let nothing = Reply::text(
        200,
        "text/xml",
        "<DescribeInstancesResponse><reservationSet/></DescribeInstancesResponse>",
    );
    let by_tag = |request: &Request| {
        let form = request.form();
        action(request) == "DescribeInstances" && form["Filter.1.Name"].starts_with("tag:")
    };
    cloud.front.trouble(11, Trouble::Answer(nothing), by_tag);
}

/// The codes with which requests for an instance were refused.
fn refused(cloud: &Cloud) -> Vec<String> {
    let exchanges = cloud.front.take_exchanges();
    let runs = exchanges.iter().filter(|exchange| action(&exchange.request) == "RunInstances");
    let codes = runs.map(|exchange| elements(&String::from_utf8_lossy(&exchange.reply.body), "Code"));
    codes.flatten().collect()
}

#[test]
fn user_data_that_changed_meanwhile_make_no_second_instance() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    for (late, codes) in [(false, vec![]), (true, vec!["IdempotentParameterMismatch"])] {
        let mut machine = Machine::new("changed");
        let state = cut_off(&machine, driver.as_ref(), &cloud);
        machine.seed.user_data = machine_core::Secret::new("#cloud-config\npackages: [git]\n");
        if late {
            list_late(&cloud);
        }
        let token = state.str("ClientToken").to_owned();
        let made = run(driver.create(&machine.cx(&[]), state, &mut Journal::new(Cut::Never)));
        let made = made.unwrap_or_else(|error| panic!("{late}: {}", full_text(&error)));
        assert_eq!(refused(&cloud), codes);
        assert_eq!(made.str("ClientToken"), token);
        let living = cloud.front.provider().moto.admin(|admin| admin.instances());
        assert_eq!(living, [made.str("InstanceId")]);
        machine.remove(driver.as_ref(), &made);
        assert_eq!(cloud.resources(), 0);
    }
}

#[test]
fn in_the_place_of_an_instance_that_ended_meanwhile_another_is_made() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let cases = [
        (false, false, vec![]),
        (true, false, vec!["IdempotentInstanceTerminated"]),
        (true, true, vec!["IdempotentParameterMismatch"]),
    ];
    for (late, changed, codes) in cases {
        let mut machine = Machine::new("ended");
        let state = cut_off(&machine, driver.as_ref(), &cloud);
        cloud.front.provider().end_all();
        if late {
            list_late(&cloud);
        }
        if changed {
            machine.seed.user_data = machine_core::Secret::new("#cloud-config\npackages: [git]\n");
        }
        let token = state.str("ClientToken").to_owned();
        let mut journal = Journal::new(Cut::Never);
        let made = run(driver.create(&machine.cx(&[]), state, &mut journal));
        let made = made.unwrap_or_else(|error| panic!("{late} {changed}: {}", full_text(&error)));
        assert_eq!(refused(&cloud), codes);
        assert_ne!(made.str("ClientToken"), token);
        let before = journal.saved.iter().find(|state| state.str("ClientToken") == made.str("ClientToken"));
        assert_eq!(before.unwrap().str("InstanceId"), "", "the new token is on record before the request");
        let living = cloud.front.provider().moto.admin(|admin| admin.instances());
        assert_eq!(living, [made.str("InstanceId")]);
        machine.remove(driver.as_ref(), &made);
        assert_eq!(cloud.resources(), 0);
    }
}

#[test]
fn what_is_left_behind_is_found_by_its_mark_and_removed() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let machine = Machine::new("left");
    let state = machine.create(driver.as_ref(), &cloud, &[], &[]);
    let heard = Collected::default();
    let cx = AccountCx { store_id: STORE_ID, store_path: machine.dir.path(), report: &heard };
    let found = run(driver.owned(&cx, &state)).unwrap_or_else(|error| panic!("{}", full_text(&error)));
    let kinds: Vec<(&str, &str)> =
        found.iter().map(|one| (one.kind.as_str(), one.machine.as_str())).collect();
    assert_eq!(kinds, [("instance", "left"), ("key pair", "left"), ("security group", "")]);
    let stranger = AccountCx { store_id: "ffff", store_path: machine.dir.path(), report: &heard };
    assert_eq!(run(driver.owned(&stranger, &state)).unwrap(), []);
    for time in ["", "again"] {
        for one in &found {
            run(driver.remove_owned(&cx, &state, one))
                .unwrap_or_else(|error| panic!("{time} {one:?}: {}", full_text(&error)));
        }
    }
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn who_may_only_look_is_told_which_permission_is_missing() {
    let Some(cloud) = Cloud::new() else { return };
    let policy = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"ec2:Describe*","Resource":"*"}]}"#;
    let reader = cloud.front.provider().moto.user("reader", policy);
    let driver = Builtin.driver("amazonec2").unwrap();
    let bench = Bench::new();
    let flags = cloud
        .flags(&[("amazonec2-access-key", text(&reader.id)), ("amazonec2-secret-key", text(&reader.secret))]);
    let wish = bench.wish(driver.as_ref(), &flags);
    let error = run(driver.create(&bench.cx(), wish, &mut Journal::new(Cut::Never))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
    // EC2 says UnauthorizedOperation, moto AccessDenied.
    assert!(error.to_string().contains("ec2:ImportKeyPair"), "{error}");
    assert!(error.hint().unwrap().contains("permission"));
    assert_eq!(cloud.resources(), 0);
}

/// moto's account.
const HOME: &str = "123456789012";

#[test]
fn credentials_that_open_another_account_do_not_make_machines_gone() {
    let Some(cloud) = Cloud::new() else { return };
    let driver = Builtin.driver("amazonec2").unwrap();
    let machine = Machine::new("here");
    let state = machine.create(driver.as_ref(), &cloud, &[], &[]);
    assert_eq!(state.str("OwnerId"), HOME);
    let asked = |cloud: &Cloud| {
        let all = cloud.front.take_exchanges();
        all.iter().filter(|exchange| action(&exchange.request) == "GetCallerIdentity").count()
    };
    assert_eq!(asked(&cloud), 0, "EC2's answers have it");
    // The request went out, and its answer has not come yet.
    let mut early = state.clone();
    early.0.insert("InstanceId".to_owned(), "".into());
    let resources = cloud.resources();

    cloud.front.provider().elsewhere = Some("999999999999");
    let cx = machine.cx(&[]);
    let (one, again) =
        (run(driver.observe(&cx, &state)), run(driver.observe_many(&[(machine.cx(&[]), &state)])));
    let removed = [run(driver.remove(&cx, &state)), run(driver.remove(&cx, &early))];
    let resumed = run(driver.create(&cx, early.clone(), &mut Journal::new(Cut::Never)));
    let errors = [one.map(drop), again.into_iter().next().unwrap().map(drop), resumed.map(drop)];
    for error in errors.into_iter().chain(removed) {
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
        assert!(error.to_string().contains(HOME) && error.to_string().contains("999999999999"), "{error}");
        assert!(error.hint().unwrap().contains("AWS_PROFILE"));
    }
    assert!(asked(&cloud) > 0);
    cloud.front.provider().elsewhere = None;
    assert_eq!(cloud.resources(), resources);

    // A record that does not say is taken at EC2's word, and says it after the first look.
    let mut old = state.clone();
    old.0.remove("OwnerId");
    let seen = run(driver.observe(&machine.cx(&[]), &old)).unwrap();
    assert_eq!(seen.changed.unwrap().str("OwnerId"), HOME);
    assert_eq!(driver.made_in(&old), None);

    // At home gone is gone.
    let mut gone = state.clone();
    gone.0.insert("InstanceId".to_owned(), "i-00000000000000000".into());
    assert_eq!(run(driver.observe(&machine.cx(&[]), &gone)).unwrap_err().kind(), ErrorKind::NotFound);
    machine.remove(driver.as_ref(), &state);
    machine.remove(driver.as_ref(), &state);
    assert_eq!(cloud.resources(), 0);
}
