//! What only Azure has: names, shared things, what a machine takes along, rules, marks, and how much is asked.

use machine_core::{
    AccountCx, Cx, Driver, DriverError, DriverState, ErrorKind, FlagValue, MachineName, Power, State,
};
use machine_testkit::conformance::{Bench, Cut, Journal, STORE_ID, Subject, full_text};
use machine_testkit::double::{Exchange, Trouble};
use serde_json::{Value, json};

use super::super::text;
use super::double::{CLIENT, SECRET, SUBSCRIPTION};
use super::{Cloud, driver, line, models};

/// Runs to its end.
pub fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

fn journal() -> Journal {
    Journal::new(Cut::Never)
}

fn create(driver: &dyn Driver, bench: &Bench, wish: &DriverState) -> Result<DriverState, DriverError> {
    block(driver.create(&bench.cx(), wish.clone(), &mut journal()))
}

/// A machine made with these flags.
fn made(cloud: &Cloud, bench: &Bench, more: &[(&str, FlagValue)]) -> DriverState {
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(more));
    ok(create(driver.as_ref(), bench, &wish))
}

fn remove(bench: &Bench, state: &DriverState) {
    ok(block(driver().remove(&bench.cx(), state)));
}

/// The resource group, which stays: whatever somebody has put into it would go with it.
fn group() -> String {
    format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/docker-machine")
}

fn account(bench: &Bench) -> AccountCx<'_> {
    AccountCx { store_id: STORE_ID, store_path: bench.cx().store_path, report: &bench.heard }
}

/// The same bench with a machine of another name.
fn named<'a>(bench: &'a Bench, name: &'a MachineName) -> Cx<'a> {
    Cx { name, ..bench.cx() }
}

/// A wish for a machine of another name.
fn wish_of(cloud: &Cloud, bench: &Bench, name: &MachineName, more: &[(&str, FlagValue)]) -> DriverState {
    let context = machine_core::ConfigureContext { name, store_path: bench.cx().store_path };
    ok(driver().configure(&context, &cloud.flags(more)))
}

fn names(list: &[&str]) -> FlagValue {
    FlagValue::List(list.iter().map(|one| (*one).to_owned()).collect())
}

/// The body that was put for things of a kind.
fn put(exchanges: &[Exchange], kind: &str) -> Value {
    let part = format!("/{kind}/");
    let of_kind = exchanges.iter().find(|exchange| {
        let request = &exchange.request;
        let rest = request.path.rsplit_once(&part).map(|(_, rest)| rest);
        request.method == "PUT" && rest.is_some_and(|rest| !rest.contains('/'))
    });
    of_kind.map_or(Value::Null, |exchange| exchange.request.json())
}

#[test]
fn every_flag_reaches_the_wire() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "#cloud-config\n").unwrap();
    let vm = "virtualMachines";
    let nic_ip = "/properties/ipConfigurations/0/properties";
    let yes = || FlagValue::Bool(true);
    let cases: Vec<(&str, FlagValue, &str, String, Value)> = vec![
        (
            "azure-size",
            text("Standard_D4s_v5"),
            vm,
            "/properties/hardwareProfile/vmSize".into(),
            json!("Standard_D4s_v5"),
        ),
        ("azure-location", text("West Europe"), vm, "/location".into(), json!("westeurope")),
        ("azure-ssh-user", text("me"), vm, "/properties/osProfile/adminUsername".into(), json!("me")),
        (
            "azure-image",
            text("Debian:debian-12:12-gen2:latest"),
            vm,
            "/properties/storageProfile/imageReference/publisher".into(),
            json!("Debian"),
        ),
        (
            "azure-image",
            text("/communityGalleries/g/images/i/versions/latest"),
            vm,
            "/properties/storageProfile/imageReference/communityGalleryImageId".into(),
            json!("/communityGalleries/g/images/i/versions/latest"),
        ),
        (
            "azure-image",
            text("/sharedGalleries/g/images/i/versions/1.0.0"),
            vm,
            "/properties/storageProfile/imageReference/sharedGalleryImageId".into(),
            json!("/sharedGalleries/g/images/i/versions/1.0.0"),
        ),
        (
            "azure-plan",
            text("p:o:n"),
            vm,
            "/plan".into(),
            json!({"publisher": "p", "product": "o", "name": "n"}),
        ),
        (
            "azure-disk-size",
            FlagValue::Int(64),
            vm,
            "/properties/storageProfile/osDisk/diskSizeGB".into(),
            json!(64),
        ),
        (
            "azure-storage-type",
            text("Premium_LRS"),
            vm,
            "/properties/storageProfile/osDisk/managedDisk/storageAccountType".into(),
            json!("Premium_LRS"),
        ),
        ("azure-availability-zone", text("2"), vm, "/zones".into(), json!(["2"])),
        (
            "azure-encryption-at-host",
            yes(),
            vm,
            "/properties/securityProfile/encryptionAtHost".into(),
            json!(true),
        ),
        ("azure-spot", yes(), vm, "/properties/billingProfile/maxPrice".into(), json!(-1.0)),
        ("azure-spot-max-price", text("0.05"), vm, "/properties/billingProfile/maxPrice".into(), json!(0.05)),
        ("azure-tags", text("team,a"), vm, "/tags/team".into(), json!("a")),
        ("azure-tags", text("team,a"), "networkInterfaces", "/tags/team".into(), json!("a")),
        ("azure-availability-set", text("mine"), "availabilitySets", "/sku/name".into(), json!("Aligned")),
        (
            "azure-fault-domain-count",
            FlagValue::Int(1),
            "availabilitySets",
            "/properties/platformFaultDomainCount".into(),
            json!(1),
        ),
        (
            "azure-update-domain-count",
            FlagValue::Int(7),
            "availabilitySets",
            "/properties/platformUpdateDomainCount".into(),
            json!(7),
        ),
        (
            "azure-accelerated-networking",
            yes(),
            "networkInterfaces",
            "/properties/enableAcceleratedNetworking".into(),
            json!(true),
        ),
        (
            "azure-private-ip-address",
            text("192.168.3.4"),
            "networkInterfaces",
            format!("{nic_ip}/privateIPAddress"),
            json!("192.168.3.4"),
        ),
        ("azure-no-public-ip", yes(), "networkInterfaces", format!("{nic_ip}/publicIPAddress"), Value::Null),
        ("azure-no-public-ip", yes(), "publicIPAddresses", String::new(), Value::Null),
        (
            "azure-dns",
            text("my-label"),
            "publicIPAddresses",
            "/properties/dnsSettings/domainNameLabel".into(),
            json!("my-label"),
        ),
        (
            "azure-static-public-ip",
            yes(),
            "publicIPAddresses",
            "/properties/publicIPAllocationMethod".into(),
            json!("Static"),
        ),
        (
            "azure-enable-public-ip-standard-sku",
            yes(),
            "publicIPAddresses",
            "/sku/name".into(),
            json!("Standard"),
        ),
        ("azure-subnet", text("part"), "virtualNetworks", "/properties/subnets/0/name".into(), json!("part")),
        (
            "azure-subnet-prefix",
            text("100.64.0.0/24"),
            "virtualNetworks",
            "/properties/addressSpace/addressPrefixes".into(),
            json!(["100.64.0.0/24"]),
        ),
        (
            "azure-docker-port",
            FlagValue::Int(4243),
            "networkSecurityGroups",
            "/properties/securityRules/1/properties/destinationPortRange".into(),
            json!("4243"),
        ),
        (
            "azure-ssh-port",
            FlagValue::Int(2222),
            "networkSecurityGroups",
            "/properties/securityRules/0/properties/destinationPortRange".into(),
            json!("2222"),
        ),
        (
            "azure-open-port",
            names(&["53/udp"]),
            "networkSecurityGroups",
            "/properties/securityRules/2/properties/protocol".into(),
            json!("Udp"),
        ),
        ("azure-managed-disks", yes(), vm, "/properties/storageProfile/osDisk/vhd".into(), Value::Null),
    ];
    for (flag, value, kind, pointer, wanted) in cases {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        let state = made(&cloud, &bench, &[(flag, value)]);
        let exchanges = cloud.double.take_exchanges();
        let body = put(&exchanges, kind);
        let seen = body.pointer(&pointer).cloned().unwrap_or_default();
        assert_eq!(seen, wanted, "--{flag}: {pointer} of {body}");
        models::check(&exchanges);
        remove(&bench, &state);
        assert_eq!(cloud.double.provider().ids(), [group()], "--{flag}");
    }
}

#[test]
fn names_of_groups_and_networks_reach_the_wire() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    cloud.double.provider().have("resourceGroups/nets", json!({ "location": "westus" }));
    let flags = [("azure-resource-group", text("mine")), ("azure-vnet", text("nets:wide"))];
    let state = made(&cloud, &bench, &flags);
    let ids = cloud.double.provider().ids().join("\n");
    for part in [
        "/resourceGroups/mine/providers/Microsoft.Compute/virtualMachines/conformance",
        "/resourceGroups/mine/providers/Microsoft.Network/networkInterfaces/conformance-nic",
        "/resourceGroups/mine/providers/Microsoft.Network/publicIPAddresses/conformance-ip",
        "/resourceGroups/mine/providers/Microsoft.Network/networkSecurityGroups/conformance-firewall",
        "/resourceGroups/nets/providers/Microsoft.Network/virtualNetworks/wide/subnets/docker-machine",
    ] {
        assert!(ids.contains(part), "{part} in\n{ids}");
    }
    remove(&bench, &state);
    let group = |name: &str| format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/{name}");
    assert_eq!(cloud.double.provider().ids(), [group("mine"), group("nets")]);
}

/// What docker/machine v0.16.2 asks for a machine in a resource group that is there, by its source (drivers/azure):
/// `PreCreateCheck` a token, the providers, the machine; `Create` a token, the group, the set, the rules (PUT, operation,
/// GET), the network, the subnet, the address (3), the interface (3), the storage accounts, the machine (PUT, operation);
/// and libmachine, until it knows that it runs and where: the state and the address twice, a token each time.
const REFERENCE_CREATE: usize = 3 + (1 + 1 + 1 + 3 + 1 + 1 + 3 + 3 + 1 + 2) + 2 * (2 + 2);

#[test]
fn a_create_asks_little() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let first = MachineName::new("first").unwrap();
    // Of Azure's own clouds it is known where their directory is.
    let here = [("azure-authority-host", text(cloud.double.url()))];
    let wish = wish_of(&cloud, &bench, &first, &here);
    let driver = driver();
    ok(block(driver.create(&named(&bench, &first), wish, &mut journal())));
    cloud.asked();

    let driver = super::driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&here));
    ok(block(driver.precreate(&bench.cx(), &wish)));
    let state = ok(create(driver.as_ref(), &bench, &wish));
    let known = ok(driver.known(&state));
    assert!(known.url.starts_with("tcp://203.0.113."), "{known:?}");
    ok(block(driver.observe(&bench.cx(), &state)));
    let asked = cloud.asked();
    let most = REFERENCE_CREATE * 6 / 10;
    assert!(
        asked.len() <= most,
        "{} requests, more than {most} of {REFERENCE_CREATE}:\n{}",
        asked.len(),
        asked.join("\n")
    );
    eprintln!("create: {} requests, docker/machine {REFERENCE_CREATE}", asked.len());
}

#[test]
fn two_hundred_machines_are_four_pages() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let below = "resourceGroups/docker-machine/providers/Microsoft.Compute/virtualMachines";
    for number in 0..199 {
        cloud.double.provider().have(&format!("{below}/m{number}"), json!({ "location": "westus" }));
    }
    let driver = driver();
    let names: Vec<MachineName> =
        (0..199).map(|number| MachineName::new(format!("m{number}")).unwrap()).collect();
    let states: Vec<DriverState> = names
        .iter()
        .map(|name| {
            let mut state = state.clone();
            state.0.insert("MachineName".into(), name.as_str().into());
            state
        })
        .collect();
    let mut hosts: Vec<(Cx<'_>, &DriverState)> =
        names.iter().zip(&states).map(|(name, state)| (named(&bench, name), state)).collect();
    hosts.push((bench.cx(), &state));
    cloud.asked();
    let answers = block(driver.observe_many(&hosts));
    assert!(answers.iter().all(Result::is_ok), "one was not seen");
    let lists: Vec<String> =
        cloud.asked().into_iter().filter(|line| line.contains("virtualMachines")).collect();
    assert_eq!(lists.len(), 4, "{lists:?}");

    // Who may not list the subscription looks at each.
    cloud.double.provider().narrow = true;
    let answers = block(driver.observe_many(&hosts[190..]));
    assert!(answers.iter().all(Result::is_ok), "one was not seen");
}

/// An endpoint that never answers costs its own machines their answers.
#[test]
fn a_silent_account_hurts_no_other() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    super::super::silence_hurts_nobody_else(driver().as_ref(), &bench, &state, "Endpoint");
    remove(&bench, &state);
}

#[test]
fn a_machine_takes_along_what_is_its_own_and_nothing_else() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let other = MachineName::new("other").unwrap();
    let wish = wish_of(&cloud, &bench, &other, &[]);
    let driver = driver();
    ok(block(driver.create(&named(&bench, &other), wish, &mut journal())));
    let held = cloud.double.provider().ids();
    let state = made(&cloud, &bench, &[]);
    assert_eq!(cloud.double.provider().count(), held.len() + 5, "machine, disk, interface, address, rules");
    cloud.asked();
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), held);
    let deleted: Vec<String> = cloud
        .asked()
        .into_iter()
        .filter(|line| line.starts_with("DELETE") && line.contains("Machines"))
        .collect();
    assert_eq!(deleted, ["DELETE  Compute/virtualMachines/conformance"]);
}

#[test]
fn what_others_have_is_left_alone() {
    for kind in [
        "networkInterfaces/conformance-nic",
        "publicIPAddresses/conformance-ip",
        "networkSecurityGroups/conformance-firewall",
    ] {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        cloud.double.provider().have("resourceGroups/docker-machine", json!({ "location": "westus" }));
        let theirs = format!("resourceGroups/docker-machine/providers/Microsoft.Network/{kind}");
        cloud.double.provider().have(&theirs, json!({ "location": "westus", "tags": { "whose": "theirs" } }));
        let held = cloud.double.provider().ids();
        let driver = driver();
        let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
        let error = block(driver.precreate(&bench.cx(), &wish)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precreate, "{}", full_text(&error));
        let mut journal = journal();
        let error = block(driver.create(&bench.cx(), wish.clone(), &mut journal)).unwrap_err();
        assert!(error.to_string().contains("already exists"), "{}", full_text(&error));
        remove(&bench, &journal.last_or(&wish));
        assert_eq!(cloud.double.provider().ids(), held, "{kind}");
    }
}

#[test]
fn shared_things_of_others_stay() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let network =
        "resourceGroups/docker-machine/providers/Microsoft.Network/virtualNetworks/docker-machine-vnet";
    {
        let mut azure = cloud.double.provider();
        azure.have("resourceGroups/docker-machine", json!({ "location": "westus" }));
        let space = json!({ "addressSpace": { "addressPrefixes": ["192.168.0.0/16"] } });
        azure.have(network, json!({ "location": "westus", "properties": space }));
    }
    let held = cloud.double.provider().ids();
    let state = made(&cloud, &bench, &[("azure-subnet-prefix", text("192.168.7.0/24"))]);
    assert!(cloud.double.provider().body(&format!("{network}/subnets/docker-machine")).is_some());
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), held, "the subnet that was made goes, the network stays");
}

#[test]
fn a_lost_reply_makes_nothing_twice() {
    let kinds = [
        "resourceGroups",
        "virtualNetworks",
        "availabilitySets",
        "networkSecurityGroups",
        "publicIPAddresses",
        "networkInterfaces",
        "virtualMachines",
    ];
    for kind in kinds {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        cloud.double.trouble(1, Trouble::LostReply, move |request| {
            let segments = request.segments();
            request.method == "PUT" && segments.get(segments.len().wrapping_sub(2)) == Some(&kind)
        });
        let state = made(&cloud, &bench, &[]);
        assert_eq!(cloud.double.provider().count(), 9, "{kind}: {:?}", cloud.double.provider().ids());
        remove(&bench, &state);
        assert_eq!(cloud.double.provider().ids(), [group()], "{kind}");
    }
}

#[test]
fn what_was_made_before_a_crash_is_found() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    let mut journal = Journal::new(Cut::After(2));
    block(driver.create(&bench.cx(), wish, &mut journal)).unwrap_err();
    let account = account(&bench);
    let state = journal.saved.last().unwrap().clone();
    // Lists lag behind.
    block(driver.owned(&account, &state)).unwrap();
    let owned = ok(block(driver.owned(&account, &state)));
    let seen: Vec<(&str, &str)> = owned.iter().map(|one| (one.kind.as_str(), one.machine.as_str())).collect();
    assert_eq!(
        seen,
        [
            ("network interface", "conformance"),
            ("public address", "conformance"),
            ("network security group", "conformance"),
            ("availability set", ""),
            ("virtual network", ""),
            ("resource group", ""),
        ]
    );
    let other = AccountCx { store_id: "another", ..account };
    assert_eq!(ok(block(driver.owned(&other, &state))), []);
    for one in &owned {
        ok(block(driver.remove_owned(&account, &state, one)));
        ok(block(driver.remove_owned(&account, &state, one)));
    }
    assert_eq!(cloud.double.provider().ids(), Vec::<String>::new());
    assert!(ok(driver.account(&state)).ends_with(SUBSCRIPTION));
}

#[test]
fn a_group_with_something_in_it_is_not_removed() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let theirs = "resourceGroups/docker-machine/providers/Microsoft.Compute/disks/theirs";
    cloud.double.provider().have(theirs, json!({ "location": "westus" }));
    let account = account(&bench);
    let driver = driver();
    let owned = block(async {
        driver.owned(&account, &state).await.unwrap();
        driver.owned(&account, &state).await.unwrap()
    });
    let shared = owned.iter().find(|one| one.kind == "resource group").unwrap();
    let error = block(driver.remove_owned(&account, &state, shared)).unwrap_err();
    assert!(error.to_string().contains("conformance is in it"), "{}", full_text(&error));
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), [group(), format!("/subscriptions/{SUBSCRIPTION}/{theirs}")]);
}

#[test]
fn a_machine_that_fails_later_says_why() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    cloud.double.provider().fails =
        Some(("AllocationFailed".into(), "Allocation failed. We do not have sufficient capacity.".into()));
    cloud.double.provider().reserved = 2;
    let state = made(&cloud, &bench, &[]);
    let driver = driver();
    let error = block(async {
        loop {
            match driver.observe(&bench.cx(), &state).await {
                Ok(seen) => assert_eq!(seen.state, State::Starting),
                Err(error) => break error,
            }
        }
    });
    assert_eq!(error.kind(), ErrorKind::Quota, "{}", full_text(&error));
    assert!(
        error.to_string().contains("sufficient capacity") && error.hint().is_some(),
        "{}",
        full_text(&error)
    );
    // Called again, it removes what failed, and makes it.
    let again = ok(create(driver.as_ref(), &bench, &state));
    block(async { while driver.observe(&bench.cx(), &again).await.unwrap().state != State::Running {} });
    remove(&bench, &again);
    assert_eq!(cloud.double.provider().ids(), [group()]);
}

#[test]
fn an_interface_that_is_reserved_is_waited_for() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    let mut journal = Journal::new(Cut::After(2));
    block(driver.create(&bench.cx(), wish, &mut journal)).unwrap_err();
    cloud.double.provider().reserved = 2;
    remove(&bench, journal.saved.last().unwrap());
    assert_eq!(cloud.double.provider().ids(), [group()]);
}

#[test]
fn who_may_connect_is_narrowed() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[("azure-open-port", names(&["80"]))]));
    let networks = ["198.51.100.0/24".to_owned()];
    let cx = Cx { allow_from: &networks, ..bench.cx() };
    let state = ok(block(driver.create(&cx, wish, &mut journal())));
    let group = "resourceGroups/docker-machine/providers/Microsoft.Network/networkSecurityGroups/conformance-firewall";
    let from = |rule: usize| {
        let azure = cloud.double.provider();
        let rule = &azure.body(group).unwrap()["properties"]["securityRules"][rule]["properties"];
        (rule["sourceAddressPrefixes"].clone(), rule["sourceAddressPrefix"].clone())
    };
    assert_eq!(from(0), (json!(["198.51.100.0/24"]), Value::Null));
    assert_eq!(from(1), (json!(["198.51.100.0/24"]), Value::Null));
    assert_eq!(from(2), (Value::Null, json!("*")), "the user's own port is for everybody");
    let later = ["203.0.113.7/32".to_owned(), "2001:db8::/32".to_owned()];
    let state = ok(block(driver.allow_from(&bench.cx(), &state, &later)));
    assert_eq!(from(1).0, json!(["203.0.113.7/32"]), "Azure takes no rule with both families");
    assert!(bench.heard.text().contains("2001:db8::/32 gets no rule"));
    assert_eq!(from(2).1, json!("*"));
    models::check(&cloud.double.take_exchanges());
    remove(&bench, &state);
}

#[test]
fn a_group_of_rules_that_is_named_is_used_as_it_is() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let theirs = "resourceGroups/nets/providers/Microsoft.Network/networkSecurityGroups/theirs";
    {
        let mut azure = cloud.double.provider();
        azure.have("resourceGroups/nets", json!({ "location": "westus" }));
        azure.have(theirs, json!({ "location": "westus", "properties": { "securityRules": [] } }));
    }
    let id = format!("/subscriptions/{SUBSCRIPTION}/{theirs}");
    let state = made(&cloud, &bench, &[("azure-nsg", text(id.as_str()))]);
    let error = block(driver().allow_from(&bench.cx(), &state, &["10.0.0.0/8".into()])).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    remove(&bench, &state);
    assert!(cloud.double.provider().body(theirs).is_some());

    // A name that is not there yet is made for all who name it, and goes with the last of them.
    let shared = [("azure-nsg", text("shared"))];
    let state = made(&cloud, &bench, &shared);
    let other = MachineName::new("other").unwrap();
    let wish = wish_of(&cloud, &bench, &other, &shared);
    let second = ok(block(driver().create(&named(&bench, &other), wish, &mut journal())));
    remove(&bench, &state);
    let group = "resourceGroups/docker-machine/providers/Microsoft.Network/networkSecurityGroups/shared";
    assert!(cloud.double.provider().body(group).is_some(), "somebody uses it");
    ok(block(driver().remove(&named(&bench, &other), &second)));
    assert!(cloud.double.provider().body(group).is_none());
}

#[test]
fn a_new_subscription_is_registered() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    cloud.double.provider().registered.clear();
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    ok(block(driver.precreate(&bench.cx(), &wish)));
    let state = ok(create(driver.as_ref(), &bench, &wish));
    assert_eq!(cloud.double.provider().registered.len(), 2);
    remove(&bench, &state);
}

#[test]
fn private_addresses_and_names() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    for flag in ["azure-use-private-ip", "azure-no-public-ip"] {
        let state = made(&cloud, &bench, &[(flag, FlagValue::Bool(true))]);
        assert!(ok(driver().known(&state)).ip.starts_with("192.168."), "{flag}");
        remove(&bench, &state);
    }
    let state = made(&cloud, &bench, &[("azure-dns", text("my-label"))]);
    assert_eq!(ok(driver().known(&state)).url, "tcp://my-label.westus.cloudapp.azure.com:2376");
    remove(&bench, &state);
}

/// What docker/machine v0.16.2 writes.
const GO: &str = r#"{"IPAddress":"","MachineName":"conformance","SSHUser":"docker-user","SSHPort":22,"SSHKeyPath":"","StorePath":"/s","SwarmMaster":false,"SwarmHost":"tcp://0.0.0.0:3376","SwarmDiscovery":"","ClientID":"CLIENT","ClientSecret":"SECRET","Environment":"AzurePublicCloud","SubscriptionID":"SUBSCRIPTION","ResourceGroup":"docker-machine","DockerPort":2376,"Location":"westus","Size":"Standard_A2","Image":"canonical:UbuntuServer:16.04.0-LTS:latest","VirtualNetwork":"docker-machine-vnet","SubnetName":"docker-machine","SubnetPrefix":"192.168.0.0/16","AvailabilitySet":"docker-machine","StorageType":"Standard_LRS","OpenPorts":null,"PrivateIPAddr":"","UsePrivateIP":false,"NoPublicIP":false,"DNSLabel":"","StaticPublicIP":false,"CustomDataFile":""}"#;

#[test]
fn a_machine_of_docker_machines_is_taken_over() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let group = "resourceGroups/docker-machine";
    {
        let mut azure = cloud.double.provider();
        azure.registered.insert("microsoft.storage".into());
        azure.have(group, json!({ "location": "westus" }));
        let at = |kind: &str| format!("{group}/providers/Microsoft.{kind}");
        let id = |kind: &str| format!("/subscriptions/{SUBSCRIPTION}/{}", at(kind));
        azure.have(
            &at("Network/publicIPAddresses/conformance-ip"),
            json!({ "location": "westus", "properties": { "ipAddress": "203.0.113.9" } }),
        );
        azure
            .have(&at("Network/networkSecurityGroups/conformance-firewall"), json!({ "location": "westus" }));
        let ip = json!({ "publicIPAddress": { "id": id("Network/publicIPAddresses/conformance-ip") } });
        azure.have(
            &at("Network/networkInterfaces/conformance-nic"),
            json!({ "location": "westus", "properties": {
            "networkSecurityGroup": { "id": id("Network/networkSecurityGroups/conformance-firewall") },
            "ipConfigurations": [{ "name": "ip", "properties": ip }],
        } }),
        );
        azure.have(&at("Compute/virtualMachines/conformance"), json!({ "location": "westus", "properties": {
            "networkProfile": { "networkInterfaces": [{ "id": id("Network/networkInterfaces/conformance-nic") }] },
            "storageProfile": { "osDisk": { "vhd": { "uri": "https://vhdsabc.blob.core.windows.net/vhd-conformance/conformance-os-disk.vhd" } } },
        } }));
        azure.have(&at("Storage/storageAccounts/vhdsabc"), json!({ "location": "westus" }));
        azure.have(
            &at("Storage/storageAccounts/vhdsabc/blobServices/default/containers/vhd-conformance"),
            json!({}),
        );
    }
    let go = GO
        .replace("CLIENT\"", &format!("{CLIENT}\""))
        .replace("\"SECRET", &format!("\"{SECRET}"))
        .replace("SUBSCRIPTION\"", &format!("{SUBSCRIPTION}\""));
    let mut state: DriverState = serde_json::from_str(&go).unwrap();
    state.0.insert("Endpoint".into(), cloud.double.url().into());
    let driver = driver();
    let seen = ok(block(driver.observe(&bench.cx(), &state)));
    assert_eq!(seen.state, State::Running);
    let state = seen.changed.unwrap();
    assert_eq!(ok(driver.known(&state)).url, "tcp://203.0.113.9:2376");
    ok(block(driver.power(&bench.cx(), &state, Power::Stop)));
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), [format!("/subscriptions/{SUBSCRIPTION}/{group}")]);
}

#[test]
fn what_is_too_much_is_said_before_anything_is_made() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "x".repeat(70_000)).unwrap();
    let flags = [("azure-custom-data", text(file.path().to_str().unwrap()))];
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&flags));
    let error = block(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert!(error.to_string().contains("65535"), "{}", full_text(&error));

    let mut seed = bench.cx().seed.unwrap().clone();
    seed.user_data = machine_core::Secret::new("x".repeat(70_000));
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    let cx = Cx { seed: Some(&seed), ..bench.cx() };
    let error = block(driver.create(&cx, wish, &mut journal())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precreate, "{}", full_text(&error));
    assert_eq!(cloud.resources(), 0);
}

#[test]
fn power_operations_are_those_of_docker_machine() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let driver = driver();
    cloud.asked();
    for (op, wanted) in [
        (Power::Stop, "POST  Compute/virtualMachines/conformance/powerOff"),
        (Power::Kill, "POST  Compute/virtualMachines/conformance/powerOff"),
        (Power::Start, "POST  Compute/virtualMachines/conformance/start"),
        (Power::Restart, "POST  Compute/virtualMachines/conformance/restart"),
    ] {
        ok(block(driver.power(&bench.cx(), &state, op)));
        let exchanges = cloud.double.take_exchanges();
        let order = exchanges
            .iter()
            .find(|exchange| exchange.request.method == "POST" && !exchange.request.path.contains("oauth2"))
            .unwrap();
        assert_eq!(line(order), wanted, "{op:?}");
        let skip = order.request.query("skipShutdown");
        assert_eq!(
            skip,
            match op {
                Power::Stop => "false",
                Power::Kill => "true",
                _ => "",
            },
            "{op:?}"
        );
    }
    assert!(bench.heard.text().contains("not deallocate"));
    remove(&bench, &state);
}

#[test]
fn a_subscription_that_nobody_may_see_is_no_machine_that_is_gone() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let held = cloud.double.provider().ids();
    cloud.double.provider().hidden = true;
    let driver = driver();
    let looked = block(driver.observe(&bench.cx(), &state)).unwrap_err();
    let listed = block(driver.observe_many(&[(bench.cx(), &state)])).remove(0).unwrap_err();
    let removed = block(driver.remove(&bench.cx(), &state)).unwrap_err();
    let account = account(&bench);
    let owned = block(driver.owned(&account, &state)).unwrap_err();
    for error in [looked, listed, removed, owned] {
        assert_eq!(error.kind(), ErrorKind::Credentials, "{}", full_text(&error));
        assert!(error.hint().unwrap().contains("--azure-subscription-id"), "{}", full_text(&error));
    }
    cloud.double.provider().hidden = false;
    assert_eq!(cloud.double.provider().ids(), held);
    remove(&bench, &state);
}

#[test]
fn a_404_of_somebody_between_is_no_machine_that_is_gone() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let page = machine_testkit::double::Reply::text(404, "text/html", "<html>nothing here</html>");
    let lost = || {
        let page = Trouble::Answer(page.clone());
        cloud.double.trouble(1, page, |request| request.path.contains("/virtualMachines"));
    };
    let driver = driver();
    lost();
    let looked = block(driver.observe(&bench.cx(), &state)).unwrap_err();
    lost();
    let listed = block(driver.observe_many(&[(bench.cx(), &state)])).remove(0).unwrap_err();
    lost();
    let removed = block(driver.remove(&bench.cx(), &state)).unwrap_err();
    for error in [looked, listed, removed] {
        assert_ne!(error.kind(), ErrorKind::NotFound, "{}", full_text(&error));
    }
    remove(&bench, &state);
}

#[test]
fn an_image_in_a_gallery_is_found() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let image = "resourceGroups/pictures/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0";
    {
        let mut azure = cloud.double.provider();
        azure.have("resourceGroups/pictures", json!({ "location": "westus" }));
        azure.have(image, json!({ "location": "westus" }));
    }
    let driver = driver();
    let wish = |image: &str| {
        let id = format!("/subscriptions/{SUBSCRIPTION}/{image}");
        bench.wish(driver.as_ref(), &cloud.flags(&[("azure-image", text(id))]))
    };
    ok(block(driver.precreate(&bench.cx(), &wish(image))));
    let error = block(driver.precreate(&bench.cx(), &wish(&image.replace("1.0.0", "2.0.0")))).unwrap_err();
    assert!(error.to_string().contains("there is no image"), "{}", full_text(&error));
}

#[test]
fn rights_on_the_resource_group_are_enough() {
    let elsewhere = |what: &str| format!("/subscriptions/{SUBSCRIPTION}/resourceGroups/x/providers/{what}");
    let theirs = "resourceGroups/x/providers/Microsoft.Network/networkSecurityGroups/theirs";
    for flags in [
        vec![],
        vec![("azure-image", text(elsewhere("Microsoft.Compute/images/i")))],
        vec![("azure-nsg", text(format!("/subscriptions/{SUBSCRIPTION}/{theirs}")))],
    ] {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        {
            let mut azure = cloud.double.provider();
            azure.have("resourceGroups/docker-machine", json!({ "location": "westus" }));
            azure.have("resourceGroups/x", json!({ "location": "westus" }));
            azure.have(theirs, json!({ "location": "westus", "properties": { "securityRules": [] } }));
            azure.narrow = true;
        }
        let held = cloud.double.provider().ids();
        let driver = driver();
        let wish = bench.wish(driver.as_ref(), &cloud.flags(&flags));
        ok(block(driver.precreate(&bench.cx(), &wish)));
        let state = ok(create(driver.as_ref(), &bench, &wish));
        remove(&bench, &state);
        assert_eq!(cloud.double.provider().ids(), held);
    }
}

#[test]
fn a_group_that_lists_show_empty_is_not_removed() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    cloud.double.provider().lag = 1000;
    let (driver, other) = (driver(), MachineName::new("other").unwrap());
    let wish = wish_of(&cloud, &bench, &other, &[]);
    let second = ok(block(driver.create(&named(&bench, &other), wish, &mut journal())));
    let held = cloud.double.provider().ids();
    let state = made(&cloud, &bench, &[]);
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), held, "the other machine lives");
    // Nor by `gc`: its lists lag, too, but those of each kind do not.
    let owned = machine_core::Owned { kind: "resource group".into(), id: group(), ..Default::default() };
    let error = block(driver.remove_owned(&account(&bench), &second, &owned)).unwrap_err();
    assert!(error.to_string().contains("other is in it"), "{}", full_text(&error));
    assert_eq!(cloud.double.provider().ids(), held);
    ok(block(driver.remove(&named(&bench, &other), &second)));
    // What lists still show of what is gone holds nobody up.
    ok(block(driver.remove_owned(&account(&bench), &second, &owned)));
    assert_eq!(cloud.double.provider().ids(), Vec::<String>::new());
}

#[test]
fn what_machines_share_stays_while_one_is_being_made() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    remove(&bench, &state);
    let file = bench.cx().store_path.join(format!("credentials/azure/{SUBSCRIPTION}.shared.lock"));
    let making = std::fs::File::open(file).unwrap();
    making.lock_shared().unwrap();
    let owned = machine_core::Owned { kind: "resource group".into(), id: group(), ..Default::default() };
    let error = block(driver().remove_owned(&account(&bench), &state, &owned)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", full_text(&error));
    drop(making);
    ok(block(driver().remove_owned(&account(&bench), &state, &owned)));
    assert_eq!(cloud.double.provider().ids(), Vec::<String>::new());
}

/// Somebody else's machine of our name, as docker/machine makes one, whole and just made: no list shows it.
fn theirs(cloud: &Cloud) -> Vec<String> {
    let mut azure = cloud.double.provider();
    let group = "resourceGroups/docker-machine";
    azure.have(group, json!({ "location": "westus" }));
    for kind in [
        "Compute/virtualMachines/conformance",
        "Network/networkInterfaces/conformance-nic",
        "Network/publicIPAddresses/conformance-ip",
        "Network/networkSecurityGroups/conformance-firewall",
    ] {
        azure.have(&format!("{group}/providers/Microsoft.{kind}"), json!({ "location": "westus" }));
    }
    azure.unlist(1000);
    azure.ids()
}

#[test]
fn a_record_of_which_nothing_was_asked_for_yet_removes_nothing() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let held = theirs(&cloud);
    let wish = bench.wish(driver().as_ref(), &cloud.flags(&[]));
    remove(&bench, &wish);
    assert_eq!(cloud.double.provider().ids(), held);
    // Nor is it looked at, or turned off.
    for error in [
        block(driver().observe(&bench.cx(), &wish)).unwrap_err(),
        block(driver().power(&bench.cx(), &wish, Power::Kill)).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::NotFound, "{}", full_text(&error));
    }
    assert!(cloud.asked().is_empty(), "nobody has to be asked, nor to sign in");
    let listed = block(driver().observe_many(&[(bench.cx(), &wish)])).remove(0).unwrap_err();
    assert_eq!(listed.kind(), ErrorKind::NotFound, "{}", full_text(&listed));

    // The mark of another store counts for records of docker/machine's, too.
    let group = "resourceGroups/docker-machine/providers/Microsoft.Compute/virtualMachines/conformance";
    cloud.double.provider().retag(group, &json!({ "docker-machine-store": "another" }));
    let mut go = wish.clone();
    go.0.insert("MadeHere".into(), false.into());
    remove(&bench, &go);
    assert!(cloud.double.provider().body(group).is_some());
    assert!(bench.heard.text().contains("left alone"));
}

#[test]
fn a_machine_that_lists_do_not_show_is_not_written_over() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let held = theirs(&cloud);
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    let error = block(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    assert!(error.to_string().contains("Virtual Machine with name conformance already exists"));
    let mut journal = journal();
    let error = block(driver.create(&bench.cx(), wish.clone(), &mut journal)).unwrap_err();
    assert!(error.to_string().contains("already exists"), "{}", full_text(&error));
    assert!(!cloud.asked().iter().any(|line| line.starts_with("PUT")), "something was put");
    remove(&bench, &journal.last_or(&wish));
    assert_eq!(cloud.double.provider().ids(), held);
}

#[test]
fn a_machine_that_comes_between_is_not_written_over() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    cloud.double.provider().have("resourceGroups/docker-machine", json!({ "location": "westus" }));
    ok(block(driver.precreate(&bench.cx(), &wish)));
    let vm = "resourceGroups/docker-machine/providers/Microsoft.Compute/virtualMachines/conformance";
    let body = json!({ "location": "westus", "tags": { "whose": "theirs" } });
    cloud.double.provider().have(vm, body.clone());
    let mut journal = journal();
    let error = block(driver.create(&bench.cx(), wish, &mut journal)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precreate, "{}", full_text(&error));
    assert_eq!(cloud.double.provider().body(vm), Some(&body));
    remove(&bench, journal.saved.last().unwrap());
    let left = cloud.double.provider().ids();
    assert_eq!(left, [group(), format!("/subscriptions/{SUBSCRIPTION}/{vm}")]);
}

#[test]
fn a_name_can_be_used_again_at_once() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    cloud.double.provider().lag = 1000;
    let state = made(&cloud, &bench, &[]);
    cloud.double.provider().unlist(0);
    remove(&bench, &state);
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[]));
    ok(block(driver.precreate(&bench.cx(), &wish)));
    remove(&bench, &ok(create(driver.as_ref(), &bench, &wish)));
}

#[test]
fn a_machine_that_lost_its_tags_is_removed_all_the_same() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let below = "resourceGroups/docker-machine/providers/Microsoft";
    let all = [
        "Compute/virtualMachines/conformance",
        "Network/networkInterfaces/conformance-nic",
        "Network/publicIPAddresses/conformance-ip",
        "Network/networkSecurityGroups/conformance-firewall",
    ];
    for one in all {
        cloud.double.provider().retag(&format!("{below}.{one}"), &json!({ "cost": "42" }));
    }
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), [group()]);
    assert!(!bench.heard.text().contains("left alone"));
}

#[test]
fn a_free_disk_is_found_by_its_name_and_no_other_is() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let state = made(&cloud, &bench, &[]);
    let disk = state.str("OSDiskName").to_owned();
    let vm = "resourceGroups/docker-machine/providers/Microsoft.Compute/virtualMachines/conformance";
    let at = |name: &str| format!("resourceGroups/docker-machine/providers/Microsoft.Compute/disks/{name}");
    remove(&bench, &state);
    {
        let mut azure = cloud.double.provider();
        assert!(azure.body(vm).is_none());
        for name in [disk.as_str(), "prod-os-disk-old", "conformance-os-disk-0f8fad5b"] {
            azure.have(&at(name), json!({ "location": "westus" }));
        }
    }
    let owned = ok(block(driver().owned(&account(&bench), &state)));
    let disks: Vec<&machine_core::Owned> = owned.iter().filter(|one| one.kind == "disk").collect();
    assert_eq!(disks.len(), 1, "{owned:?}");
    assert!(disks[0].id.ends_with(&disk) && disks[0].machine == "conformance", "{owned:?}");
}

#[test]
fn the_longest_name_can_be_made() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let name = MachineName::new("m".repeat(64)).unwrap();
    let wish = wish_of(&cloud, &bench, &name, &[]);
    let state = ok(block(driver().create(&named(&bench, &name), wish, &mut journal())));
    ok(block(driver().remove(&named(&bench, &name), &state)));
    assert_eq!(cloud.double.provider().ids(), [group()]);
}

#[test]
fn who_may_connect_is_not_narrowed_where_the_rules_are_others() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let networks = ["198.51.100.7/32".to_owned()];
    let sixes = ["2001:db8::/32".to_owned()];
    for (nsg, allow_from, kind) in
        [("team", &networks, ErrorKind::Unsupported), ("", &sixes, ErrorKind::Config)]
    {
        let driver = driver();
        let wish = bench.wish(driver.as_ref(), &cloud.flags(&[("azure-nsg", text(nsg))]));
        let cx = || Cx { allow_from, ..bench.cx() };
        let error = block(driver.precreate(&cx(), &wish)).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", full_text(&error));
        let error = block(driver.create(&cx(), wish, &mut journal())).unwrap_err();
        assert_eq!(error.kind(), kind, "{}", full_text(&error));
        assert_eq!(cloud.double.provider().count(), 0);
    }
}

#[test]
fn a_set_of_the_old_kind_is_left_out() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let set = |name: &str| {
        format!("resourceGroups/docker-machine/providers/Microsoft.Compute/availabilitySets/{name}")
    };
    {
        let mut azure = cloud.double.provider();
        azure.have("resourceGroups/docker-machine", json!({ "location": "westus" }));
        for name in ["docker-machine", "mine"] {
            azure.have(&set(name), json!({ "location": "westus", "sku": { "name": "Classic" } }));
        }
    }
    let held = cloud.double.provider().ids();
    let state = made(&cloud, &bench, &[]);
    assert_eq!(
        put(&cloud.double.take_exchanges(), "virtualMachines")["properties"]["availabilitySet"],
        Value::Null
    );
    assert!(bench.heard.text().contains("stands in none"));
    remove(&bench, &state);
    // One that was asked for is an error.
    let wish = bench.wish(driver().as_ref(), &cloud.flags(&[("azure-availability-set", text("mine"))]));
    let error = create(driver().as_ref(), &bench, &wish).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Precreate, "{}", full_text(&error));
    assert!(error.hint().unwrap().contains("--azure-availability-set"));
    assert_eq!(cloud.double.provider().ids(), held);
}

#[test]
fn what_is_shared_in_another_region_is_seen_before_anything_is_put() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let first = MachineName::new("first").unwrap();
    let wish = wish_of(&cloud, &bench, &first, &[]);
    ok(block(driver().create(&named(&bench, &first), wish, &mut journal())));
    let held = cloud.double.provider().ids();
    let there = ("azure-location", text("West Europe"));
    let vnet = ("azure-vnet", text("europe"));
    for (flags, hint) in [
        (vec![there.clone()], "--azure-vnet"),
        (vec![there.clone(), vnet.clone()], "--azure-availability-set"),
    ] {
        let wish = bench.wish(driver().as_ref(), &cloud.flags(&flags));
        let error = create(driver().as_ref(), &bench, &wish).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Precreate, "{}", full_text(&error));
        assert!(error.hint().unwrap().contains(hint), "{}", full_text(&error));
        assert_eq!(cloud.double.provider().ids(), held);
    }
    let state = made(&cloud, &bench, &[there, vnet, ("azure-availability-set", text("europe"))]);
    remove(&bench, &state);
    assert_eq!(cloud.double.provider().ids(), held);
}

#[test]
fn a_size_of_generation_1_wants_an_image_of_it() {
    let (cloud, bench) = (Cloud::new(), Bench::new());
    let size = ("azure-size", text("Standard_D2_v2"));
    let driver = driver();
    let wish = bench.wish(driver.as_ref(), &cloud.flags(std::slice::from_ref(&size)));
    let error = block(driver.precreate(&bench.cx(), &wish)).unwrap_err();
    let hint = error.hint().unwrap().to_owned();
    let image = hint.split_whitespace().find(|word| word.contains(":latest")).unwrap().trim_end_matches(',');
    let wish = bench.wish(driver.as_ref(), &cloud.flags(&[size, ("azure-image", text(image))]));
    ok(block(driver.precreate(&bench.cx(), &wish)));
    assert!(ok(block(driver.prospect(&bench.cx(), &wish))).image.is_some());
    remove(&bench, &ok(create(driver.as_ref(), &bench, &wish)));
}

#[test]
fn a_subnet_in_a_network_of_others_is_never_forgotten() {
    let refused = || {
        let body = json!({ "error": { "code": "PublicIPCountLimitReached", "message": "no more" } });
        Trouble::Answer(machine_testkit::double::Reply::json(400, &body))
    };
    let network = "resourceGroups/net-rg/providers/Microsoft.Network/virtualNetworks/corp";
    for (kind, trouble) in [
        ("publicIPAddresses", refused()),
        ("networkSecurityGroups", refused()),
        ("subnets", Trouble::LostReply),
    ] {
        let (cloud, bench) = (Cloud::new(), Bench::new());
        {
            let mut azure = cloud.double.provider();
            azure.have("resourceGroups/net-rg", json!({ "location": "westus" }));
            let space = json!({ "addressSpace": { "addressPrefixes": ["192.168.0.0/16"] } });
            azure.have(network, json!({ "location": "westus", "properties": space }));
        }
        let held = cloud.double.provider().ids();
        cloud.double.trouble(1, trouble, move |request| {
            request.method == "PUT" && request.path.contains(&format!("/{kind}/"))
        });
        let driver = driver();
        let wish = bench.wish(driver.as_ref(), &cloud.flags(&[("azure-vnet", text("net-rg:corp"))]));
        let mut journal = journal();
        let made = block(driver.create(&bench.cx(), wish.clone(), &mut journal));
        assert_eq!(made.is_ok(), kind == "subnets", "{kind}");
        assert!(
            cloud.double.provider().body(&format!("{network}/subnets/docker-machine")).is_some(),
            "{kind}"
        );
        // It goes on, and still knows.
        let state = ok(create(driver.as_ref(), &bench, &journal.last_or(&wish)));
        remove(&bench, &state);
        let mut left = cloud.double.provider().ids();
        left.retain(|id| *id != group());
        assert_eq!(left, held, "{kind}");
    }
}
