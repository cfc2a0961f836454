//! `vmwarefusion` against stand-ins for `vmrun` and `vmware-vdiskmanager`.

use std::fs;
use std::path::{Path, PathBuf};

use machine_core::{
    ConfigureContext, Cx, Driver, DriverError, DriverState, ErrorKind, FlagValue, FlagValues, MachineName,
    Power, Resize, Secret, Seed, State,
};
use machine_drivers::vmwarefusion::VmwareFusion;
use machine_testkit::conformance::{Bench, Cut, Fault, Journal, Subject, full_text};
use serde_json::{Value, json};

use super::standin::{self, fault, heal, image};
use super::{conforms, text, with};

const PROGRAMS: &[&str] = &["vmrun", "vmware-vdiskmanager"];
const PASSWORD: &str = "correct-horse-battery";

struct Host(PathBuf);

impl Host {
    fn file(&self) -> PathBuf {
        self.0.join("vmware.json")
    }

    /// What VMware has.
    fn has(&self) -> Value {
        fs::read_to_string(self.file())
            .map_or(json!({"tools": false, "dhcp": true, "on": {}, "seen": [], "next": 1}), |text| {
                serde_json::from_str(&text).unwrap()
            })
    }

    fn set(&self, key: &str, value: Value) {
        let mut all = self.has();
        all[key] = value;
        fs::write(self.file(), all.to_string()).unwrap();
    }

    fn on(&self) -> usize {
        self.has()["on"].as_object().unwrap().len()
    }

    fn seen(&self) -> Vec<PathBuf> {
        self.has()["seen"]
            .as_array()
            .unwrap()
            .iter()
            .map(|path| PathBuf::from(path.as_str().unwrap()))
            .collect()
    }

    /// The programs that were called, with their arguments, oldest first.
    fn calls(&self) -> Vec<Vec<String>> {
        let text = fs::read_to_string(self.0.join("calls.jsonl")).unwrap_or_default();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn flags(&self, more: &[(&str, FlagValue)]) -> FlagValues {
        let mut given = vec![
            ("vmwarefusion-image", text(image(&self.0).to_str().unwrap())),
            ("vmwarefusion-disk-size", FlagValue::Int(16)),
            ("vmwarefusion-dhcp-leases", text(self.0.join("dhcpd.leases").to_str().unwrap())),
            ("vmwarefusion-ssh-password", text(PASSWORD)),
        ];
        given.extend_from_slice(more);
        with("vmwarefusion", &given)
    }
}

impl Subject for Host {
    fn good_flags(&self) -> FlagValues {
        self.flags(&[])
    }

    fn bad_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("no memory", self.flags(&[("vmwarefusion-memory-size", FlagValue::Int(0))])),
            ("a disk of nothing", self.flags(&[("vmwarefusion-disk-size", FlagValue::Int(-1))])),
            ("an option as user", self.flags(&[("vmwarefusion-ssh-user", text("-oProxyCommand=x"))])),
            ("an ISO and an image", self.flags(&[("vmwarefusion-boot2docker-url", text("/x.iso"))])),
            ("a line break", self.flags(&[("vmwarefusion-dhcp-leases", text("a\nb"))])),
        ]
    }

    fn unmet_flags(&self) -> Vec<(&'static str, FlagValues)> {
        vec![
            ("the image", self.flags(&[("vmwarefusion-image", text("/no/such/image.qcow2"))])),
            (
                "the configuration drive",
                self.flags(&[("vmwarefusion-configdrive-url", text("/no/such.iso"))]),
            ),
        ]
    }

    fn resources(&self) -> usize {
        let files = self.seen().into_iter().flat_map(|vmx| [vmx.with_extension("vmdk"), vmx]);
        self.on() + files.filter(|file| file.exists()).count()
    }

    fn inject(&self, what: Fault) -> bool {
        match what {
            Fault::LostReply => fault(&self.0, "start", "lost", 1),
            Fault::Unavailable => fault(&self.0, "start", "busy", 4),
            Fault::WrongCredentials => fault(&self.0, "start", "denied", -1),
            Fault::Quota => fault(&self.0, "start", "memory", -1),
            Fault::HostGone => {
                self.set("on", json!({}));
                for vmx in self.seen() {
                    let _ = fs::remove_file(vmx);
                }
            }
            _ => return false,
        }
        true
    }

    fn heal(&self) {
        heal(&self.0);
    }
}

#[test]
fn vmwarefusion_conforms() {
    standin::with("vmwarefusion::vmwarefusion_conforms", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        conforms("vmwarefusion", &host);
        for call in host.calls() {
            assert!(!call.iter().any(|word| word.contains(PASSWORD) || word == "-gp"), "{call:?}");
        }
    });
}

/// A machine that was made, with all that is needed to go on with it.
struct Made {
    bench: Bench,
    state: DriverState,
}

impl Made {
    fn file(&self, name: &str) -> PathBuf {
        self.bench.cx().machine_dir.join(name)
    }
}

fn block<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn make(flags: &FlagValues) -> Result<Made, DriverError> {
    let seed =
        Seed { authorized_key: "ssh-ed25519 AAAA dev".into(), user_data: Secret::new("#cloud-config\n{}\n") };
    let (bench, driver) = (Bench::new(), VmwareFusion::new());
    let wish = bench.wish(&driver, flags);
    let cx = Cx { seed: Some(&seed), ..bench.cx() };
    let state = block(async {
        driver.precreate(&cx, &wish).await?;
        driver.create(&cx, wish, &mut Journal::new(Cut::Never)).await
    })?;
    Ok(Made { bench, state })
}

fn ok<T>(result: Result<T, DriverError>) -> T {
    result.unwrap_or_else(|error| panic!("{}", full_text(&error)))
}

#[test]
fn a_machine_is_as_the_flags_say() {
    standin::with("vmwarefusion::a_machine_is_as_the_flags_say", PROGRAMS, &["qemu-img"], |dir| {
        use std::os::unix::fs::PermissionsExt;
        let host = Host(dir.to_owned());
        let iso = cd(dir, "config.iso");
        let made = ok(make(&host.flags(&[
            ("vmwarefusion-cpu-count", FlagValue::Int(3)),
            ("vmwarefusion-memory-size", FlagValue::Int(1500)),
            ("vmwarefusion-configdrive-url", text(iso.to_str().unwrap())),
        ])));
        let vmx = fs::read_to_string(made.file("conformance.vmx")).unwrap();
        for line in ["numvcpus = \"3\"", "memsize = \"1500\"", "displayName = \"conformance\""] {
            assert!(vmx.contains(line), "{line} is not in\n{vmx}");
        }
        assert_eq!(fs::read(made.file("configdrive.iso")).unwrap(), fs::read(iso).unwrap());
        assert!(vmx.contains(made.file("configdrive.iso").to_str().unwrap()));
        let seed = made.file("seed.iso");
        assert!(String::from_utf8_lossy(&fs::read(&seed).unwrap()).contains("#cloud-config"));
        assert_eq!(fs::metadata(seed).unwrap().permissions().mode() & 0o77, 0);
        let known = ok(VmwareFusion::new().known(&made.state));
        assert_eq!((known.ip.as_str(), known.url.as_str()), ("172.16.78.128", "tcp://172.16.78.128:2376"));
        assert_eq!(known.ssh.unwrap().key.unwrap(), made.file("id_rsa"));
        let observed = block(async { ok(VmwareFusion::new().observe(&made.bench.cx(), &made.state).await) });
        assert_eq!(observed.last_sign, "[    0.000000] Linux version 6.12");
        assert!(host.calls().iter().all(|call| call[0] != "vmrun" || call[1..3] == ["-T", "ws"]));
    });
}

fn cd(dir: &Path, name: &str) -> PathBuf {
    let iso = dir.join(name);
    let mut content = vec![0; 0x8800];
    content[0x8001..0x8006].copy_from_slice(b"CD001");
    fs::write(&iso, content).unwrap();
    iso
}

#[test]
fn boot2docker_gets_its_key_by_the_disk() {
    standin::with("vmwarefusion::boot2docker_gets_its_key_by_the_disk", PROGRAMS, &["qemu-img"], |dir| {
        if cfg!(target_arch = "aarch64") {
            return;
        }
        let host = Host(dir.to_owned());
        let url = text(cd(dir, "b2d.iso").to_str().unwrap());
        let made =
            ok(make(&host.flags(&[("vmwarefusion-image", text("")), ("vmwarefusion-boot2docker-url", url)])));
        let vmx = fs::read_to_string(made.file("conformance.vmx")).unwrap();
        assert!(vmx.contains(&format!("sata0:1.fileName = \"{}\"", made.file("boot2docker.iso").display())));
        let raw = made.file("raw");
        let converted = std::process::Command::new("qemu-img")
            .args(["convert", "-f", "vmdk", "-O", "raw"])
            .args([made.file("conformance.vmdk"), raw.clone()])
            .status()
            .unwrap();
        assert!(converted.success());
        let disk = fs::read(raw).unwrap();
        assert!(disk.starts_with(b"boot2docker, please format-me"));
        assert!(String::from_utf8_lossy(&disk[..8192]).contains("ssh-ed25519 AAAA dev"));
        assert_eq!(disk.len(), 16 << 20);
    });
}

#[test]
fn the_disk_is_the_images_in_a_form_that_vmware_knows() {
    standin::with(
        "vmwarefusion::the_disk_is_the_images_in_a_form_that_vmware_knows",
        PROGRAMS,
        &["qemu-img"],
        |dir| {
            let host = Host(dir.to_owned());
            let made = ok(make(&host.good_flags()));
            let said = std::process::Command::new("qemu-img")
                .args(["info", "-f", "vmdk", "--output=json"])
                .arg(made.file("conformance.vmdk"))
                .output()
                .unwrap();
            let info: Value = serde_json::from_slice(&said.stdout).unwrap();
            assert_eq!(info["virtual-size"], 16 << 20);
            assert_eq!(info["format-specific"]["data"]["create-type"], "monolithicSparse");
            let checked = std::process::Command::new("qemu-img")
                .args(["check", "-q", "-f", "vmdk"])
                .arg(made.file("conformance.vmdk"))
                .status();
            assert!(checked.unwrap().success());
        },
    );
}

#[test]
fn the_address_is_leased_or_told() {
    standin::with("vmwarefusion::the_address_is_leased_or_told", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        host.set("dhcp", json!(false));
        host.set("tools", json!(true));
        let made = ok(make(&host.good_flags()));
        assert_eq!(made.state.str("IPAddress"), "172.16.78.128");
        assert!(host.calls().iter().any(|call| call.get(3).is_some_and(|word| word == "getGuestIPAddress")));
        // The guest came back with another address.
        let lease = "lease 172.16.78.200 {\n starts 2 2026/11/24 00:00:00;\n ends 2 2099/11/24 00:00:00;\n \
                     hardware ethernet 00:0c:29:00:00:01;\n}\n";
        fs::write(dir.join("dhcpd.leases"), lease).unwrap();
        let observed = block(async { ok(VmwareFusion::new().observe(&made.bench.cx(), &made.state).await) });
        assert_eq!(observed.changed.unwrap().str("IPAddress"), "172.16.78.200");
    });
}

#[test]
fn pause_snapshots_sizes_and_copies() {
    standin::with("vmwarefusion::pause_snapshots_sizes_and_copies", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let (made, driver) = (ok(make(&host.good_flags())), VmwareFusion::new());
        let cx = made.bench.cx();
        block(async {
            let mut now = ok(driver.power(&cx, &made.state, Power::Pause).await);
            assert_eq!(ok(driver.observe(&cx, &now).await).state, State::Paused);
            assert_eq!(
                driver.power(&cx, &now, Power::Pause).await.unwrap_err().kind(),
                ErrorKind::AlreadyDone
            );
            now = ok(driver.power(&cx, &now, Power::Resume).await);
            assert_eq!(ok(driver.observe(&cx, &now).await).state, State::Running);

            ok(driver.take_snapshot(&cx, &now, "warm").await);
            let twice = driver.take_snapshot(&cx, &now, "warm").await.unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::AlreadyDone);
            let sizes = Resize { cpus: Some(2), memory_mib: Some(512), disk_mib: Some(64) };
            assert!(driver.resize(&cx, &now, sizes).await.unwrap_err().to_string().contains("must be off"));
            now = ok(driver.power(&cx, &now, Power::Stop).await);
            ok(driver.take_snapshot(&cx, &now, "cold").await);
            let all = ok(driver.snapshots(&cx, &now).await);
            let short: Vec<_> =
                all.iter().map(|one| (one.name.as_str(), one.with_memory, one.taken_s)).collect();
            assert_eq!(short, [("warm", true, 1_700_000_000), ("cold", false, 1_700_000_001)]);

            now = ok(driver.resize(&cx, &now, sizes).await);
            let vmx = fs::read_to_string(made.file("conformance.vmx")).unwrap();
            assert!(vmx.contains("memsize = \"512\"") && vmx.contains("numvcpus = \"2\""));
            assert_eq!(fs::read_to_string(made.file("conformance.vmdk.size")).unwrap(), "64MB");
            let small = Resize { disk_mib: Some(32), ..Resize::default() };
            assert_eq!(driver.resize(&cx, &now, small).await.unwrap_err().kind(), ErrorKind::Config);

            let mut state = ok(driver.restore_snapshot(&cx, &now, "warm").await);
            assert_eq!(ok(driver.observe(&cx, &state).await).state, State::Running);
            ok(driver.remove_snapshot(&cx, &state, "warm").await);
            let gone = driver.restore_snapshot(&cx, &state, "warm").await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::NotFound);
            state = ok(driver.restore_snapshot(&cx, &state, "cold").await);
            assert_eq!(ok(driver.observe(&cx, &state).await).state, State::Stopped);
            ok(driver.power(&cx, &state, Power::Start).await);
        });

        let name = MachineName::new("copy").unwrap();
        let folder = cx.store_path.join("machines/copy");
        fs::create_dir_all(&folder).unwrap();
        let to = ConfigureContext { name: &name, store_path: cx.store_path };
        let wish = ok(driver.clone_wish(&to, &made.state));
        let copy = Cx { name: &name, machine_dir: &folder, ..made.bench.cx() };
        block(async {
            let running = driver.precreate(&copy, &wish).await.unwrap_err();
            assert!(running.to_string().contains("is not off"), "{running}");
            ok(driver.power(&cx, &made.state, Power::Kill).await);
            ok(driver.precreate(&copy, &wish).await);
            let state = ok(driver.create(&copy, wish, &mut Journal::new(Cut::Never)).await);
            assert_ne!(state.str("IPAddress"), made.state.str("IPAddress"));
            ok(driver.remove(&copy, &state).await);
            assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        });
    });
}

#[test]
fn a_guest_without_tools_is_turned_off_and_one_with_tools_is_asked() {
    let name = "vmwarefusion::a_guest_without_tools_is_turned_off_and_one_with_tools_is_asked";
    standin::with(name, PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let (made, driver) = (ok(make(&host.good_flags())), VmwareFusion::new());
        let cx = made.bench.cx();
        let hard =
            || host.calls().iter().filter(|call| call.last().is_some_and(|word| word == "hard")).count();
        block(async {
            let off = ok(driver.power(&cx, &made.state, Power::Stop).await);
            assert_eq!((off.str("IPAddress"), host.on(), hard()), ("", 0, 1));
            assert!(made.bench.heard.text().contains("The machine did not shut down"));
            host.set("tools", json!(true));
            let on = ok(driver.power(&cx, &off, Power::Start).await);
            ok(driver.power(&cx, &on, Power::Stop).await);
            assert_eq!((host.on(), hard()), (0, 1));
        });
    });
}

#[test]
fn what_vmrun_answers_wrongly_is_an_error() {
    standin::with("vmwarefusion::what_vmrun_answers_wrongly_is_an_error", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let (made, driver) = (ok(make(&host.good_flags())), VmwareFusion::new());
        let cx = made.bench.cx();
        block(async {
            fault(dir, "list", "garbage", -1);
            let error = driver.observe(&cx, &made.state).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            for kind in ["garbage", "busy", "lost"] {
                fault(dir, "list", kind, 2);
                ok(driver.observe(&cx, &made.state).await);
            }
            fault(dir, "stop", "lost", 1);
            ok(driver.power(&cx, &made.state, Power::Kill).await);
            fault(dir, "deleteVM", "lost", 1);
            ok(driver.remove(&cx, &made.state).await);
        });
        assert_eq!((host.on(), host.resources()), (0, 0));
    });
}

#[test]
fn many_machines_are_one_question() {
    standin::with("vmwarefusion::many_machines_are_one_question", PROGRAMS, &["qemu-img"], |dir| {
        let host = Host(dir.to_owned());
        let made = ok(make(&host.good_flags()));
        let before = host.calls().len();
        let hosts: Vec<_> = (0..20).map(|_| (made.bench.cx(), &made.state)).collect();
        let answers = block(VmwareFusion::new().observe_many(&hosts));
        assert!(answers.into_iter().all(|answer| ok(answer).state == State::Running));
        assert_eq!(host.calls().len() - before, 1);
    });
}
