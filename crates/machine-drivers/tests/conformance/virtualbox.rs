//! `virtualbox` against a stand-in for VBoxManage.

use std::fs;
use std::path::PathBuf;

use machine_core::{
    Cx, Driver, DriverError, DriverState, ErrorKind, FlagValue, FlagValues, MachineName, Power, Prospect,
    Resize, Secret, Seed, State,
};
use machine_drivers::virtualbox::Virtualbox;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, Subject, full_text};
use serde_json::{Value, json};

use super::standin::{self, fault, heal, image};
use super::{conforms, text, with};

const PROGRAMS: &[&str] = &["VBoxManage"];

struct Host(PathBuf);

impl Host {
    fn file(&self) -> PathBuf {
        self.0.join("vbox.json")
    }

    /// What VirtualBox has.
    fn has(&self) -> Value {
        fs::read_to_string(self.file()).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    fn vms(&self) -> Vec<Value> {
        self.has()["vms"].as_array().cloned().unwrap_or_default()
    }

    /// Changes what VirtualBox has.
    fn set(&self, change: impl FnOnce(&mut Value)) {
        let mut all = self.has();
        if all.is_null() {
            all = json!({
                "version": "7.0.10r158379", "vtx": true, "allowed": "192.168.56.", "deaf": false, "leases": false,
                "vms": [], "media": {}, "adapters": [], "dhcp": [], "bridged": [], "extra": {}
            });
        }
        change(&mut all);
        fs::write(self.file(), all.to_string()).unwrap();
    }

    /// The arguments of all calls, oldest first.
    fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.0.join("calls.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn count(&self, command: &str) -> usize {
        self.calls().iter().filter(|call| call[0] == command).count()
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("virtualbox-image", text(image(&self.0).to_str().unwrap())),
            ("virtualbox-disk-size", FlagValue::Int(16)),
        ];
        given.extend_from_slice(more);
        with("virtualbox", &given)
    }

    /// With a CD of boot2docker.
    fn boot2docker(&self) -> FlagValues {
        let iso = self.0.join("b2d.iso");
        let mut content = vec![0; 0x8800];
        content[0x8001..0x8006].copy_from_slice(b"CD001");
        fs::write(&iso, content).unwrap();
        with(
            "virtualbox",
            &[
                ("virtualbox-boot2docker-url", text(iso.to_str().unwrap())),
                ("virtualbox-disk-size", FlagValue::Int(30)),
            ],
        )
    }
}

impl Subject for Host {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no memory", self.flags(&[("virtualbox-memory", FlagValue::Int(0))])),
            ("no disk", self.flags(&[("virtualbox-disk-size", FlagValue::Int(-20))])),
            ("a network's address", self.flags(&[("virtualbox-hostonly-cidr", text("192.168.56.0/24"))])),
            ("no network", self.flags(&[("virtualbox-hostonly-cidr", text("here"))])),
            ("no mode", self.flags(&[("virtualbox-hostonly-nicpromisc", text("yes"))])),
            ("no way to show it", self.flags(&[("virtualbox-ui-type", text("hologram"))])),
            ("an ISO and an image", self.flags(&[("virtualbox-boot2docker-url", text("/x.iso"))])),
            ("an import", self.flags(&[("virtualbox-import-boot2docker-vm", text("boot2docker-vm"))])),
            ("an option as image", self.flags(&[("virtualbox-image", text("--help"))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("the image", with("virtualbox", &[("virtualbox-image", text("/no/such/image.qcow2"))])),
            ("an allowed network", self.flags(&[("virtualbox-hostonly-cidr", text("10.11.12.1/24"))])),
        ]
    }

    /// The host-only network is everybody's, and stays.
    fn resources(&self) -> usize {
        let all = self.has();
        let entries = |key: &str| all[key].as_object().map_or(0, serde_json::Map::len);
        self.vms().len() + entries("media") + entries("extra")
    }

    fn inject(&self, what: Fault) -> bool {
        match what {
            Fault::LostReply => fault(&self.0, "createvm", "lost", 1),
            Fault::Unavailable => fault(&self.0, "startvm", "down", 1),
            Fault::Throttled => fault(&self.0, "modifyvm", "locked", 2),
            Fault::Quota => fault(&self.0, "createvm", "full", -1),
            Fault::HostGone => self.set(|all| (all["vms"], all["media"]) = (json!([]), json!({}))),
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        heal(&self.0);
    }
}

#[test]
fn virtualbox_conforms() {
    standin::with("virtualbox::virtualbox_conforms", PROGRAMS, &["qemu-img"], |dir| {
        conforms("virtualbox", &Host(dir.to_owned()))
    });
}

/// A machine that was made, with all that is needed to go on with it.
struct Made {
    bench: Bench,
    state: DriverState,
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn seed() -> Seed {
    Seed { authorized_key: "ssh-ed25519 AAAA dev".into(), user_data: Secret::new("#cloud-config\n{}\n") }
}

/// Makes one as the lifecycle does.
fn make(flags: &FlagValues) -> Result<Made, DriverError> {
    let (bench, seed) = (Bench::new(), seed());
    let wish = bench.wish(&Virtualbox::new(), flags);
    let cx = Cx { seed: Some(&seed), ..bench.cx() };
    let state = block(async {
        Virtualbox::new().precreate(&cx, &wish).await?;
        let Prospect { wish, .. } = Virtualbox::new().prospect(&cx, &wish).await?;
        Virtualbox::new().create(&cx, wish.unwrap(), &mut Journal::new(Cut::Never)).await
    })?;
    Ok(Made { bench, state })
}

fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

fn power(made: &mut Made, op: Power) -> Result<(), DriverError> {
    made.state = block(Virtualbox::new().power(&made.bench.cx(), &made.state, op))?;
    Ok(())
}

fn observe(made: &Made) -> State {
    ok(block(Virtualbox::new().observe(&made.bench.cx(), &made.state))).state
}

fn remove(made: &Made) {
    ok(block(Virtualbox::new().remove(&made.bench.cx(), &made.state)));
}

#[test]
fn a_machine_is_as_the_flags_say() {
    standin::with("virtualbox::a_machine_is_as_the_flags_say", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let share = format!("{}:it's \"data\"; $(id)", dir.display());
        let made = ok(make(&host.flags(&[
            ("virtualbox-cpu-count", FlagValue::Int(3)),
            ("virtualbox-memory", FlagValue::Int(1500)),
            ("virtualbox-hostonly-nictype", text("82545EM")),
            ("virtualbox-hostonly-nicpromisc", text("allow-vms")),
            ("virtualbox-hostonly-cidr", text("192.168.56.1/24")),
            ("virtualbox-host-dns-resolver", FlagValue::Bool(true)),
            ("virtualbox-no-dns-proxy", FlagValue::Bool(true)),
            ("virtualbox-ui-type", text("separate")),
            ("virtualbox-share-folder", text(share)),
        ])));
        let vm = &host.vms()[0];
        let set = &vm["settings"];
        for (flag, want) in [
            ("--cpus", "3"),
            ("--memory", "1500"),
            ("--nictype1", "virtio"),
            ("--nictype2", "82545EM"),
            ("--nicpromisc2", "allow-vms"),
            ("--natdnshostresolver1", "on"),
            ("--natdnsproxy1", "off"),
            ("--boot1", "disk"),
        ] {
            assert_eq!(set[flag], want, "{flag}");
        }
        assert_eq!(vm["shares"], json!({"it's \"data\"; $(id)": dir.to_str().unwrap()}));
        let start = host.calls().into_iter().find(|call| call[0] == "startvm").unwrap();
        assert_eq!(start[2..], ["--type", "separate"]);
        let known = ok(Virtualbox::new().known(&made.state));
        assert_eq!(known.url, format!("tcp://{}:2376", known.ip));
        let ssh = known.ssh.unwrap();
        assert_eq!(vm["natpf"]["ssh"], format!("ssh,tcp,127.0.0.1,{},,22", ssh.port));
        assert_eq!(ssh.key.unwrap(), made.bench.cx().machine_dir.join("id_rsa"));
        let seed = fs::read(made.bench.cx().machine_dir.join("seed.iso")).unwrap();
        let seed = String::from_utf8_lossy(&seed).into_owned();
        assert!(seed.contains("#cloud-config") && seed.contains(&format!("- \"{}/24\"", known.ip)));
        let mac = set["--macaddress2"].as_str().unwrap().to_lowercase();
        let mac: Vec<&str> = (0..6).map(|pair| &mac[2 * pair..2 * pair + 2]).collect();
        assert!(seed.contains(&mac.join(":")), "the seed names the card by its address");
        remove(&made);
        assert_eq!(host.has()["extra"], json!({}), "the address is given back");
        let left: Vec<_> =
            fs::read_dir(made.bench.cx().machine_dir).unwrap().map(|e| e.unwrap().path()).collect();
        assert!(left.is_empty(), "{left:?}");
    });
}

#[test]
fn machines_share_a_network_and_no_address() {
    standin::with("virtualbox::machines_share_a_network_and_no_address", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.flags(&[])));
        host.set(|all| all["vms"][0]["name"] = json!("another"));
        let second = ok(make(&host.flags(&[])));
        assert_ne!(made.state.str("IPAddress"), second.state.str("IPAddress"));
        assert_eq!(host.has()["adapters"].as_array().unwrap().len(), 1);
        assert_eq!(made.state.str("HostOnlyCIDR"), "192.168.56.1/24", "it is what VirtualBox allows");
        // Machines that choose their address need no DHCP server.
        assert_eq!(host.count("dhcpserver"), 0);
    });
}

#[test]
fn boot2docker_gets_its_key_by_the_disk() {
    standin::with("virtualbox::boot2docker_gets_its_key_by_the_disk", PROGRAMS, &[], |dir| {
        let host = Host(dir.to_owned());
        let flags = host.boot2docker();
        // Guest additions say the address; where there are none, VirtualBox's DHCP server.
        for (leases, address) in [(false, "192.168.56.100"), (true, "192.168.56.101")] {
            host.set(|all| all["leases"] = json!(leases));
            let made = ok(make(&flags));
            let vm = &host.vms()[0];
            let folder = made.bench.cx().machine_dir;
            assert_eq!(vm["attached"]["SATA-0"], folder.join("boot2docker.iso").to_str().unwrap());
            let disk = fs::read(vm["attached"]["SATA-1"].as_str().unwrap()).unwrap();
            let head = String::from_utf8_lossy(&disk[..4096]).into_owned();
            assert!(head.contains("boot2docker, please format-me") && head.contains("ssh-ed25519 AAAA dev"));
            let resized = host.has()["resized"].as_array().unwrap().last().unwrap()[1].clone();
            assert_eq!(resized, 30, "it is made as large as wished");
            assert_eq!(
                (vm["settings"]["--boot1"].as_str(), vm["settings"]["--nictype1"].as_str()),
                (Some("dvd"), Some("82540EM"))
            );
            assert_eq!(made.state.str("IPAddress"), address);
            let dhcp = &host.has()["dhcp"][0];
            assert_eq!(
                (dhcp["enabled"].as_str(), dhcp["lower"].as_str()),
                (Some("Yes"), Some("192.168.56.100"))
            );
            let error = block(Virtualbox::new().resize(
                &made.bench.cx(),
                &made.state,
                Resize { disk_mib: Some(60), ..Resize::default() },
            ));
            assert!(error.is_err());
            remove(&made);
        }
    });
}

#[test]
fn a_machine_of_the_go_program_is_taken_over() {
    standin::with("virtualbox::a_machine_of_the_go_program_is_taken_over", PROGRAMS, &[], |dir| {
        let host = Host(dir.to_owned());
        let mut made = ok(make(&host.boot2docker()));
        // What the Go program keeps of it, and does not.
        for key in ["VMUUID", "Boot2DockerURL"] {
            made.state.0.remove(key);
        }
        made.state.0.insert("Boot2DockerURL".into(), json!(""));
        let keys = |state: &DriverState| state.0.keys().cloned().collect::<Vec<_>>();
        let before = keys(&made.state);
        assert_eq!(observe(&made), State::Running);
        ok(power(&mut made, Power::Stop));
        assert_eq!(observe(&made), State::Stopped);
        ok(power(&mut made, Power::Start));
        assert_eq!(made.state.str("IPAddress"), "192.168.56.100");
        assert!(keys(&made.state).iter().all(|key| before.contains(key)), "{:?}", made.state);
        let many = block(Virtualbox::new().observe_many(&[(made.bench.cx(), &made.state)]));
        assert_eq!(many.into_iter().next().map(|seen| ok(seen).state), Some(State::Running));
        remove(&made);
        assert!(host.vms().is_empty());
    });
}

#[test]
fn somebody_elses_machine_of_that_name_is_left_alone() {
    standin::with(
        "virtualbox::somebody_elses_machine_of_that_name_is_left_alone",
        PROGRAMS,
        &["qemu-img"],
        |dir| {
            let host = Host(dir.to_owned());
            let theirs = ok(make(&host.flags(&[])));
            let Err(error) = make(&host.flags(&[])) else { panic!("a second machine of that name was made") };
            assert!(error.to_string().contains("already") && error.hint().is_some(), "{error}");
            assert_eq!(error.kind(), ErrorKind::Precreate);
            // A record without an id, in another store.
            let other = Bench::new();
            let mut state = other.wish(&Virtualbox::new(), &host.flags(&[]));
            state.0.remove("VMUUID");
            let error = block(Virtualbox::new().observe(&other.cx(), &state)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            ok(block(Virtualbox::new().remove(&other.cx(), &state)));
            assert_eq!(observe(&theirs), State::Running);
        },
    );
}

#[test]
fn pause_snapshots_sizes_and_clones() {
    standin::with("virtualbox::pause_snapshots_sizes_and_clones", PROGRAMS, &["qemu-img"], |dir| {
        let (host, driver) = (Host(dir.to_owned()), Virtualbox::new());
        let mut made = ok(make(&host.flags(&[])));
        ok(power(&mut made, Power::Pause));
        assert_eq!(observe(&made), State::Paused);
        assert_eq!(power(&mut made, Power::Pause).unwrap_err().kind(), ErrorKind::AlreadyDone);
        ok(power(&mut made, Power::Resume));
        assert_eq!(observe(&made), State::Running);

        ok(block(driver.take_snapshot(&made.bench.cx(), &made.state, "it runs")));
        ok(power(&mut made, Power::Stop));
        ok(block(driver.take_snapshot(&made.bench.cx(), &made.state, "off")));
        let again = block(driver.take_snapshot(&made.bench.cx(), &made.state, "off")).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyDone);
        let all = ok(block(driver.snapshots(&made.bench.cx(), &made.state)));
        let seen: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.with_memory)).collect();
        assert_eq!(seen, [("it runs", true), ("off", false)]);
        assert_eq!(all[0].taken_s, 1_795_492_800);
        let larger = Resize { cpus: Some(2), memory_mib: Some(2048), disk_mib: Some(32) };
        let error = block(driver.resize(&made.bench.cx(), &made.state, larger)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        made.state = ok(block(driver.restore_snapshot(&made.bench.cx(), &made.state, "it runs")));
        assert_eq!(observe(&made), State::Running);
        made.state = ok(block(driver.restore_snapshot(&made.bench.cx(), &made.state, "off")));
        assert_eq!(observe(&made), State::Stopped);
        for name in ["off", "it runs"] {
            made.state = ok(block(driver.remove_snapshot(&made.bench.cx(), &made.state, name)));
        }
        let error = block(driver.remove_snapshot(&made.bench.cx(), &made.state, "off")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);

        made.state = ok(block(driver.resize(&made.bench.cx(), &made.state, larger)));
        let set = &host.vms()[0]["settings"];
        assert_eq!((&set["--cpus"], &set["--memory"]), (&json!("2"), &json!("2048")));
        assert_eq!(made.state.0["DiskSize"], 32);
        let smaller = Resize { disk_mib: Some(8), ..Resize::default() };
        assert!(block(driver.resize(&made.bench.cx(), &made.state, smaller)).is_err());

        clone(&host, &made);
        remove(&made);
        assert!(host.vms().is_empty());
    });
}

fn clone(host: &Host, source: &Made) {
    let driver = Virtualbox::new();
    let (bench, seed) = (Bench::new(), seed());
    let name = MachineName::new("copy").unwrap();
    let folder = bench.configure_context().store_path.join("machines/copy");
    fs::create_dir_all(&folder).unwrap();
    let cx = Cx { name: &name, machine_dir: &folder, seed: Some(&seed), ..bench.cx() };
    let configure = machine_core::ConfigureContext { name: &name, store_path: cx.store_path };
    let wish = ok(driver.clone_wish(&configure, &source.state));
    let copy = block(async {
        driver.precreate(&cx, &wish).await?;
        let wish = driver.prospect(&cx, &wish).await?.wish.unwrap();
        driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await
    });
    let copy = ok(copy);
    assert_eq!(host.count("clonemedium"), 1);
    for key in ["VMUUID", "IPAddress", "SSHPort", "MachineName", "SSHKeyPath"] {
        assert_ne!(copy.0.get(key), source.state.0.get(key), "{key} is the copy's own");
    }
    ok(block(driver.remove(&cx, &copy)));
}

#[test]
fn what_is_missing_is_said_before_anything_is_made() {
    standin::with(
        "virtualbox::what_is_missing_is_said_before_anything_is_made",
        PROGRAMS,
        &["qemu-img"],
        |dir| {
            let host = Host(dir.to_owned());
            for (key, value, says) in [
                (
                    "vtx",
                    json!(false),
                    "This computer doesn't have VT-X/AMD-v enabled. Enabling it in the BIOS is mandatory",
                ),
                (
                    "version",
                    json!("4.2.36r104064"),
                    "We support Virtualbox starting with version 5. Your VirtualBox install is \"4.2.36r104064\". Please upgrade at \
                     https://www.virtualbox.org",
                ),
                (
                    "bridged",
                    json!([{"name": "eth0", "ip": "192.168.56.7", "mask": "255.255.255.0"}]),
                    "host-only cidr conflicts with the network address of a host interface",
                ),
            ] {
                host.set(|all| all[key] = value);
                let asked = [("virtualbox-hostonly-cidr", text("192.168.56.1/24"))];
                let Err(error) = make(&host.flags(&asked)) else { panic!("made without {key}") };
                assert_eq!((error.to_string().as_str(), error.kind()), (says, ErrorKind::Precreate));
                fs::remove_file(host.file()).unwrap();
            }
            host.set(|all| all["vtx"] = json!(false));
            let made = ok(make(&host.flags(&[("virtualbox-no-vtx-check", FlagValue::Bool(true))])));
            remove(&made);
        },
    );
}

#[test]
fn faults_of_virtualbox_have_names() {
    standin::with("virtualbox::faults_of_virtualbox_have_names", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        for (operation, kind, says) in [
            ("startvm", "start", "VT-X/AMD-v"),
            ("startvm", "denied", "Unable to start the VM"),
            ("showvminfo", "garbage", ""),
            ("list", "garbage", ""),
            ("--version", "garbage", "We support Virtualbox"),
            ("storageattach", "denied", "storageattach"),
        ] {
            fault(dir, operation, kind, -1);
            if let Err(error) = make(&host.flags(&[])) {
                assert!(error.to_string().contains(says), "{operation} {kind}: {error}");
                assert!(!error.to_string().contains('\n'), "{error}");
            }
            heal(dir);
            // Where the first call failed, the stand-in has kept nothing yet.
            if host.file().exists() {
                fs::remove_file(host.file()).unwrap();
            }
        }
    });
}

#[test]
fn a_guest_that_does_not_listen_is_turned_off_and_ports_are_exchanged() {
    standin::with(
        "virtualbox::a_guest_that_does_not_listen_is_turned_off_and_ports_are_exchanged",
        PROGRAMS,
        &["qemu-img"],
        |dir| {
            let host = Host(dir.to_owned());
            let mut made = ok(make(&host.flags(&[])));
            ok(power(&mut made, Power::Kill));
            let port = ok(Virtualbox::new().known(&made.state)).ssh.unwrap().port;
            let _taken = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
            // Somebody removed the adapter.
            host.set(|all| all["adapters"] = json!([]));
            ok(power(&mut made, Power::Start));
            let now = ok(Virtualbox::new().known(&made.state)).ssh.unwrap().port;
            assert_ne!(now, port);
            assert_eq!(host.vms()[0]["natpf"]["ssh"], format!("ssh,tcp,127.0.0.1,{now},,22"));
            assert_eq!(host.has()["adapters"][0]["ip"], "192.168.56.1");
            // A machine that VirtualBox saved goes on.
            host.set(|all| all["vms"][0]["state"] = json!("saved"));
            assert_eq!(observe(&made), State::Saved);
            ok(power(&mut made, Power::Start));
            assert_eq!(observe(&made), State::Running);
            host.set(|all| all["vms"][0]["state"] = json!("saved"));
            ok(power(&mut made, Power::Kill));
            assert_eq!(observe(&made), State::Stopped);
            // Its folder is gone: VirtualBox calls it inaccessible.
            fs::remove_dir_all(made.bench.cx().machine_dir.join("conformance")).unwrap();
            remove(&made);
            assert!(host.vms().is_empty());
        },
    );
}

/// Looks do not wait for whoever changes something; changes do.
#[test]
fn changes_wait_for_their_turn() {
    standin::with("virtualbox::changes_wait_for_their_turn", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let mut made = ok(make(&host.flags(&[])));
        let lock = fs::File::open(dir.join(".docker/machine-hypervisors/virtualbox.lock")).unwrap();
        lock.lock().unwrap();
        assert_eq!(observe(&made), State::Running);
        std::thread::scope(|scope| {
            let paused = scope.spawn(|| power(&mut made, Power::Pause));
            // It can't have been done, however long this takes.
            assert_eq!(host.vms()[0]["state"], "running");
            lock.unlock().unwrap();
            ok(paused.join().unwrap());
        });
        assert_eq!(host.vms()[0]["state"], "paused");
    });
}
