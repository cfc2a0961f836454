//! `hyperv` against a stand-in for Windows PowerShell with the Hyper-V module.

use std::fs;
use std::path::{Path, PathBuf};

use machine_core::{
    Cx, Driver, DriverError, DriverState, ErrorKind, FlagValue, FlagValues, MachineName, Power, Resize,
    Secret, Seed, State,
};
use machine_drivers::hyperv::Hyperv;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, Subject, full_text};
use serde_json::{Value, json};

use super::standin::{self, fault, heal, image};
use super::{conforms, text, with};

const PROGRAMS: &[&str] = &["powershell.exe"];

struct Host(PathBuf);

impl Host {
    fn file(&self) -> PathBuf {
        self.0.join("hyperv.json")
    }

    /// What Hyper-V has.
    fn has(&self) -> Value {
        fs::read_to_string(self.file()).map_or(Value::Null, |text| serde_json::from_str(&text).unwrap())
    }

    fn vms(&self) -> Vec<Value> {
        self.has()["vms"].as_array().cloned().unwrap_or_default()
    }

    /// Changes what Hyper-V has.
    fn set(&self, change: impl FnOnce(&mut Value)) {
        let mut all = self.has();
        if all.is_null() {
            all = json!({
                "module": true, "administrator": true, "member": true, "talkative": false, "vms": [], "disks": [],
                "next": 1,
                "switches": [
                    {"id": "c08cb7b8-9b3c-408e-8e30-5e16a3aeb444", "name": "Default Switch", "type": "Internal"},
                ],
            });
        }
        change(&mut all);
        fs::write(self.file(), all.to_string()).unwrap();
    }

    /// The operations that were asked for, oldest first.
    fn calls(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.0.join("calls.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("hyperv-image", text(image(&self.0).to_str().unwrap())),
            ("hyperv-disk-size", FlagValue::Int(16)),
        ];
        given.extend_from_slice(more);
        with("hyperv", &given)
    }
}

impl Subject for Host {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no processor", self.flags(&[("hyperv-cpu-count", FlagValue::Int(0))])),
            ("no memory", self.flags(&[("hyperv-memory", FlagValue::Int(-5))])),
            ("a VLAN that can't be", self.flags(&[("hyperv-vlan-id", FlagValue::Int(4095))])),
            ("no address of a card", self.flags(&[("hyperv-static-macaddress", text("00:15:5d"))])),
            ("an address of a group", self.flags(&[("hyperv-static-macaddress", text("01155d000001"))])),
            ("generation 3", self.flags(&[("hyperv-generation", FlagValue::Int(3))])),
            (
                "secure boot without firmware for it",
                self.flags(&[
                    ("hyperv-secure-boot", FlagValue::Bool(true)),
                    ("hyperv-generation", FlagValue::Int(1)),
                ]),
            ),
            ("an ISO and an image", self.flags(&[("hyperv-boot2docker-url", text("/x.iso"))])),
            ("a line break", self.flags(&[("hyperv-virtual-switch", text("a\nb"))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("the switch", self.flags(&[("hyperv-virtual-switch", text("no'such \"switch\"; exit"))])),
            ("the image", with("hyperv", &[("hyperv-image", text("/no/such/image.qcow2"))])),
        ]
    }

    fn resources(&self) -> usize {
        let disks = self.has()["disks"].as_array().cloned().unwrap_or_default();
        let left = disks.iter().filter(|disk| Path::new(disk.as_str().unwrap()).exists()).count();
        self.vms().len() + left
    }

    fn inject(&self, what: Fault) -> bool {
        match what {
            Fault::LostReply => fault(&self.0, "new", "lost", 1),
            Fault::Unavailable => fault(&self.0, "new", "busy", 1),
            Fault::WrongCredentials => {
                self.set(|all| (all["administrator"], all["member"]) = (json!(false), json!(false)))
            }
            Fault::Quota => fault(&self.0, "power", "memory", -1),
            Fault::HostGone => self.set(|all| all["vms"] = json!([])),
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        heal(&self.0);
        self.set(|all| (all["administrator"], all["member"]) = (json!(true), json!(true)));
    }
}

#[test]
fn hyperv_conforms() {
    standin::with("hyperv::hyperv_conforms", PROGRAMS, &["qemu-img"], |dir| {
        conforms("hyperv", &Host(dir.to_owned()))
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

fn make(flags: &FlagValues) -> Result<Made, DriverError> {
    let (bench, seed) = (Bench::new(), seed());
    let wish = bench.wish(&Hyperv::new(), flags);
    let cx = Cx { seed: Some(&seed), ..bench.cx() };
    let state = block(async {
        Hyperv::new().precreate(&cx, &wish).await?;
        Hyperv::new().create(&cx, wish, &mut Journal::new(Cut::Never)).await
    })?;
    Ok(Made { bench, state })
}

fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

#[test]
fn values_are_data_whatever_is_in_them() {
    standin::with("hyperv::values_are_data_whatever_is_in_them", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let name = "it's \"$(Stop-VM *)\"; `id` \u{e9}%PATH%";
        host.set(|all| all["switches"] = json!([{"id": "1", "name": name, "type": "External"}]));
        let made = ok(make(&host.flags(&[("hyperv-virtual-switch", text(name))])));
        assert_eq!(host.vms()[0]["switch"], name);
        block(async { ok(Hyperv::new().remove(&made.bench.cx(), &made.state).await) });
    });
}

#[test]
fn a_machine_is_as_the_flags_say() {
    standin::with("hyperv::a_machine_is_as_the_flags_say", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.flags(&[
            ("hyperv-cpu-count", FlagValue::Int(3)),
            ("hyperv-memory", FlagValue::Int(1500)),
            ("hyperv-static-macaddress", text("00:15:5d:aa:bb:cc")),
            ("hyperv-vlan-id", FlagValue::Int(7)),
            ("hyperv-disable-dynamic-memory", FlagValue::Bool(true)),
            ("hyperv-generation", FlagValue::Int(2)),
            ("hyperv-secure-boot", FlagValue::Bool(true)),
        ])));
        let vm = &host.vms()[0];
        assert_eq!((&vm["cpus"], &vm["memory"], &vm["vlan"]), (&json!(3), &json!(1500_u64 << 20), &json!(7)));
        assert_eq!((&vm["mac"], &vm["generation"]), (&json!("00155DAABBCC"), &json!(2)));
        assert_eq!((&vm["static_memory"], &vm["secure_boot"]), (&json!(true), &json!(true)));
        let dvd = fs::read(vm["dvd"].as_str().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&dvd).contains("#cloud-config"));
        let known = ok(Hyperv::new().known(&made.state));
        assert_eq!(known.ip, "172.20.0.2");
        assert_eq!(known.url, "tcp://172.20.0.2:2376");
        let ssh = known.ssh.unwrap();
        assert_eq!(
            (ssh.user.as_str(), ssh.key.unwrap()),
            ("docker", made.bench.cx().machine_dir.join("id_rsa"))
        );
    });
}

#[test]
fn boot2docker_gets_its_key_by_the_disk() {
    standin::with("hyperv::boot2docker_gets_its_key_by_the_disk", PROGRAMS, &[], |dir| {
        let host = Host(dir.to_owned());
        let iso = dir.join("b2d.iso");
        let mut content = vec![0; 0x8800];
        content[0x8001..0x8006].copy_from_slice(b"CD001");
        fs::write(&iso, content).unwrap();
        for administrator in [true, false] {
            host.set(|all| {
                all["administrator"] = json!(administrator);
                all["talkative"] = json!(true);
            });
            let url = text(iso.to_str().unwrap());
            let flags =
                with("hyperv", &[("hyperv-boot2docker-url", url), ("hyperv-disk-size", FlagValue::Int(30))]);
            let made = ok(make(&flags));
            let vm = host.vms().remove(0);
            assert_eq!(vm["generation"], 1);
            assert_eq!(vm["dvd"], made.bench.cx().machine_dir.join("boot2docker.iso").to_str().unwrap());
            let disk = fs::read(vm["disks"][0].as_str().unwrap()).unwrap();
            let head = String::from_utf8_lossy(&disk[..4096]).into_owned();
            assert!(
                head.starts_with("boot2docker, please format-me") && head.contains("ssh-ed25519 AAAA dev")
            );
            // Who may not resize makes it large at once.
            assert_eq!(disk.len(), (if administrator { 10 << 20 } else { 30 << 20 }) + 512);
            block(async { ok(Hyperv::new().remove(&made.bench.cx(), &made.state).await) });
            let left: Vec<_> = fs::read_dir(made.bench.cx().machine_dir).unwrap().collect();
            assert!(left.is_empty(), "{left:?}");
        }
    });
}

#[test]
fn others_of_the_same_name_are_left_alone() {
    standin::with("hyperv::others_of_the_same_name_are_left_alone", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.good_flags()));
        let other = json!({
            "id": "11111111-1111-1111-1111-111111111111", "name": "CONFORMANCE", "path": "/elsewhere/conformance",
            "state": "Running", "generation": 2, "disks": [], "mac": "00155D999999", "looks": 9,
            "address": "172.20.0.99", "checkpoints": [],
        });
        host.set(|all| all["vms"].as_array_mut().unwrap().insert(0, other.clone()));
        // As of the Go program: without the identifier.
        let mut old = made.state.clone();
        old.0.remove("VMId");
        let cx = made.bench.cx();
        block(async {
            assert_eq!(ok(Hyperv::new().observe(&cx, &old).await).state, State::Running);
            ok(Hyperv::new().remove(&cx, &old).await);
            let gone = Hyperv::new().observe(&cx, &old).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
            let taken = Hyperv::new().precreate(&cx, &old).await.unwrap_err();
            assert!(
                taken.to_string().starts_with("Hyper-V has a machine \"CONFORMANCE\" already"),
                "{taken}"
            );
        });
        let left = host.vms();
        assert_eq!((left.len(), &left[0]["id"], &left[0]["state"]), (1, &other["id"], &json!("Running")));
    });
}

#[test]
fn what_is_missing_is_said_in_the_reference_programs_words() {
    standin::with(
        "hyperv::what_is_missing_is_said_in_the_reference_programs_words",
        PROGRAMS,
        &["qemu-img"],
        |dir| {
            let host = Host(dir.to_owned());
            let refused = |key: &str, value: Value| {
                host.set(|all| all[key] = value);
                let error = make(&host.good_flags()).map(drop).unwrap_err();
                assert!(error.hint().is_some());
                fs::remove_file(host.file()).unwrap();
                error.to_string()
            };
            assert_eq!(refused("module", json!(false)), "Hyper-V PowerShell Module is not available");
            assert_eq!(
                refused("switches", json!([])),
                "no External vswitch found. A valid vswitch must be available for this command to run. Check \
             https://docs.docker.com/machine/drivers/hyper-v/"
            );
            host.set(|all| (all["administrator"], all["member"]) = (json!(false), json!(false)));
            let error = make(&host.good_flags()).map(drop).unwrap_err();
            assert_eq!(error.to_string(), "Hyper-v commands have to be run as an Administrator");
            host.set(|all| (all["administrator"], all["member"]) = (json!(false), json!(true)));
            ok(make(&host.good_flags()));
            let error = make(&host.flags(&[("hyperv-virtual-switch", text("lan"))])).map(drop).unwrap_err();
            assert_eq!(error.to_string(), "vswitch \"lan\" not found");
        },
    );
}

#[test]
fn a_guest_that_does_not_shut_down_is_turned_off() {
    standin::with("hyperv::a_guest_that_does_not_shut_down_is_turned_off", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.good_flags()));
        host.set(|all| all["deaf"] = json!(true));
        let cx = made.bench.cx();
        let off = block(async { ok(Hyperv::new().power(&cx, &made.state, Power::Stop).await) });
        assert_eq!(off.str("IPAddress"), "");
        assert_eq!(host.vms()[0]["state"], "Off");
        assert!(made.bench.heard.text().contains("The machine did not shut down"));
    });
}

#[test]
fn pause_snapshots_sizes_and_copies() {
    standin::with("hyperv::pause_snapshots_sizes_and_copies", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let (made, driver) = (ok(make(&host.good_flags())), Hyperv::new());
        let cx = made.bench.cx();
        let state = |state: DriverState, driver: &Hyperv| {
            block(async { ok(driver.observe(&cx, &state).await).state })
        };
        block(async {
            let mut now = ok(driver.power(&cx, &made.state, Power::Pause).await);
            assert_eq!(ok(driver.observe(&cx, &now).await).state, State::Paused);
            assert_eq!(
                driver.power(&cx, &now, Power::Pause).await.unwrap_err().kind(),
                ErrorKind::AlreadyDone
            );
            now = ok(driver.power(&cx, &now, Power::Resume).await);
            assert_eq!(now.str("IPAddress"), "172.20.0.2");

            ok(driver.take_snapshot(&cx, &now, "warm").await);
            let twice = driver.take_snapshot(&cx, &now, "warm").await.unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::AlreadyDone);
            let sizes = Resize { cpus: Some(2), memory_mib: Some(512), disk_mib: Some(64) };
            assert!(driver.resize(&cx, &now, sizes).await.unwrap_err().to_string().contains("must be off"));
            now = ok(driver.power(&cx, &now, Power::Stop).await);
            ok(driver.take_snapshot(&cx, &now, "cold").await);
            let all = ok(driver.snapshots(&cx, &now).await);
            let short: Vec<_> = all.iter().map(|one| (one.name.as_str(), one.with_memory)).collect();
            assert_eq!(short, [("warm", true), ("cold", false)]);
            assert!(all[0].taken_s > 1_600_000_000);

            now = ok(driver.resize(&cx, &now, sizes).await);
            assert_eq!((&host.vms()[0]["cpus"], &host.vms()[0]["disk_bytes"]), (&json!(2), &json!(64 << 20)));
            let small = Resize { disk_mib: Some(32), ..Resize::default() };
            assert_eq!(driver.resize(&cx, &now, small).await.unwrap_err().kind(), ErrorKind::Config);

            now = ok(driver.restore_snapshot(&cx, &now, "warm").await);
            assert_eq!(ok(driver.observe(&cx, &now).await).state, State::Running);
            ok(driver.remove_snapshot(&cx, &now, "warm").await);
            let gone = driver.restore_snapshot(&cx, &now, "warm").await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
        });
        assert_eq!(state(made.state.clone(), &driver), State::Running);

        let name = MachineName::new("copy").unwrap();
        let dir = made.bench.cx().store_path.join("machines/copy");
        fs::create_dir_all(&dir).unwrap();
        let to = machine_core::ConfigureContext { name: &name, store_path: cx.store_path };
        let wish = ok(driver.clone_wish(&to, &made.state));
        let cx = Cx { name: &name, machine_dir: &dir, ..made.bench.cx() };
        block(async {
            let running = driver.precreate(&cx, &wish).await.unwrap_err();
            assert!(running.to_string().contains("is not off"), "{running}");
            let source = made.bench.cx();
            ok(driver.power(&source, &made.state, Power::Kill).await);
            ok(driver.precreate(&cx, &wish).await);
            let copy = ok(driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await);
            assert_ne!(copy.str("VMId"), made.state.str("VMId"));
            assert_eq!(
                fs::read(dir.join("disk.vhdx")).unwrap(),
                fs::read(source.machine_dir.join("disk.vhdx")).unwrap()
            );
            ok(driver.remove(&cx, &copy).await);
            assert_eq!(host.vms().len(), 1);
        });
    });
}

#[test]
fn what_powershell_answers_wrongly_is_an_error() {
    standin::with("hyperv::what_powershell_answers_wrongly_is_an_error", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let (made, driver) = (ok(make(&host.good_flags())), Hyperv::new());
        let cx = made.bench.cx();
        block(async {
            fault(dir, "list", "garbage", -1);
            let error = driver.observe(&cx, &made.state).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains("gave no answer"), "{error}");
            // Once is ridden out.
            for kind in ["garbage", "busy", "lost"] {
                fault(dir, "list", kind, 2);
                ok(driver.observe(&cx, &made.state).await);
            }
            fault(dir, "power", "denied", 1);
            let error = driver.power(&cx, &made.state, Power::Pause).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Credentials);
            fault(dir, "remove", "lost", 1);
            ok(driver.remove(&cx, &made.state).await);
        });
        assert!(host.vms().is_empty());
    });
}

#[test]
fn many_machines_are_one_question() {
    standin::with("hyperv::many_machines_are_one_question", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.good_flags()));
        let before = host.calls().len();
        let hosts: Vec<_> = (0..20).map(|_| (made.bench.cx(), &made.state)).collect();
        let answers = block(Hyperv::new().observe_many(&hosts));
        assert!(answers.into_iter().all(|answer| ok(answer).state == State::Running));
        assert_eq!(host.calls().len() - before, 1);
    });
}
