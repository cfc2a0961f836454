//! Plans of all families of systems, and what makes a plan impossible.

mod host;

use std::fmt::Write as _;

use host::{bare, facts, wish};
use machine_core::{EngineOptions, MachineName, Secret};
use machine_provision::{
    Action, CloudInit, Content, EngineFacts, EngineState, EngineWish, Family, HostFacts, InitSystem,
    InstallMethod, OsRelease, PackageManager, Piece, Plan, PlanError, Privilege, RegistryCa,
    certificates_plan, plan, registry_plan, upgrade_plan,
};

/// Family, init system and package manager of a release, by its line in the data file.
fn releases() -> Vec<(String, OsRelease)> {
    let data = include_str!("data/os-release.txt");
    let lines = data.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (family, text) = line.split_once('|').expect("family and lines");
            (family.to_owned(), OsRelease::parse(&text.replace('|', "\n")))
        })
        .collect()
}

#[test]
fn every_release_has_its_family() {
    let releases = releases();
    assert!(releases.len() > 40);
    for (family, release) in releases {
        assert_eq!(format!("{:?}", Family::detect(&release)), family, "{release:?}");
    }
}

fn host_of(release: OsRelease) -> HostFacts {
    let family = Family::detect(&release);
    let packages = match family {
        Family::Debian | Family::Ubuntu => Some(PackageManager::Apt),
        Family::Sles | Family::OpenSuse => Some(PackageManager::Zypper),
        Family::Alpine => Some(PackageManager::Apk),
        Family::Arch => Some(PackageManager::Pacman),
        Family::Photon => Some(PackageManager::Tdnf),
        Family::Amazon2 => Some(PackageManager::Yum),
        Family::Flatcar | Family::Boot2Docker | Family::RancherOs | Family::Other => None,
        _ => Some(PackageManager::Dnf),
    };
    let init = match family {
        Family::Alpine => InitSystem::OpenRc,
        Family::Boot2Docker | Family::RancherOs => InitSystem::None,
        _ => InitSystem::Systemd,
    };
    HostFacts { os: release, family, init, packages, ..bare() }
}

/// What a plan does, to be read by people: one line a step, and the content of the file with the engine's options.
fn outline(plan: Result<Plan, PlanError>) -> String {
    let plan = match plan {
        Ok(plan) => plan,
        Err(error) => return format!("error: {error}\nhint: {}\n", error.hint().unwrap_or_default()),
    };
    let mut text = String::new();
    for step in &plan.steps {
        let Action::File(file) = &step.action else {
            let _ = writeln!(text, "{} [{} s]: {:?}", step.name, step.limit_s, step.action);
            continue;
        };
        let _ = writeln!(
            text,
            "{} [{} s]: {} {:o}, restarts: {}",
            step.name, step.limit_s, file.path, file.mode, file.restarts_engine
        );
        if step.name == "configure engine" {
            text.push_str(&content(file));
        }
    }
    for warning in &plan.warnings {
        let _ = writeln!(text, "warning: {warning}");
    }
    text
}

fn content(file: &machine_provision::File) -> String {
    let Content::Pieces(pieces) = &file.content else { panic!("{file:?}") };
    let text = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::DockerdPath => "<dockerd>".to_owned(),
    };
    pieces.iter().map(text).collect()
}

fn options_of(facts: &HostFacts, wish: &EngineWish) -> String {
    let plan = plan(facts, wish).unwrap();
    let file = plan.steps.iter().find_map(|step| match &step.action {
        Action::File(file) if step.name == "configure engine" => Some(content(file)),
        _ => None,
    });
    file.expect("a file with the engine's options")
}

fn with_options(engine: EngineOptions) -> EngineWish {
    EngineWish { engine, ..wish() }
}

fn list(values: &[&str]) -> Option<Vec<String>> {
    Some(values.iter().map(|value| (*value).to_owned()).collect())
}

#[test]
fn the_plan_of_each_family() {
    let mut text = String::new();
    for (family, release) in releases() {
        let facts = host_of(release);
        let title = format!("{} {} {}", facts.os.id, facts.os.version_id, family);
        let install = |install| plan(&facts, &EngineWish { install, set_hostname: false, ..wish() });
        let steps = |plan: Result<Plan, PlanError>| {
            let text = outline(plan);
            let install: Vec<&str> =
                text.lines().filter(|line| line.contains("install") || line.starts_with("error")).collect();
            install.join("\n  ")
        };
        let _ = writeln!(
            text,
            "{}\n  {}\n  {}",
            title.replace("  ", " "),
            steps(install(InstallMethod::default())),
            steps(install(InstallMethod::Distro))
        );
    }
    insta::assert_snapshot!("installs", text);
}

#[test]
fn the_options_of_each_layout() {
    let engine = EngineOptions {
        labels: list(&["a=it's"]),
        insecure_registry: list(&["hub:5000"]),
        registry_mirror: list(&["https://mirror.example"]),
        arbitrary_flags: list(&["dns=8.8.8.8", "log-opt max-size=10m", "--ipv6"]),
        env: list(&["A=b c"]),
        ..EngineOptions::default()
    };
    let running = EngineFacts {
        state: EngineState::Running,
        dockerd_path: Some("/usr/bin/dockerd".to_owned()),
        version: Some("28.2.2".to_owned()),
        ..EngineFacts::default()
    };
    let mut text = String::new();
    for id in ["debian", "alpine", "flatcar", "boot2docker", "rancheros"] {
        let facts = HostFacts { engine: running.clone(), ..host_of(OsRelease::parse(&format!("ID={id}"))) };
        let _ = writeln!(text, "== {id}\n{}", outline(plan(&facts, &with_options(engine.clone()))));
    }
    insta::assert_snapshot!("layouts", text);
}

#[test]
fn a_storage_driver_is_named_only_where_that_does_no_harm() {
    let named = |facts: &HostFacts, wish: &EngineWish| {
        let text = options_of(facts, wish);
        text.split_once("--storage-driver ")
            .map(|(_, rest)| rest.split(' ').next().unwrap_or_default().to_owned())
    };
    let engine = |change: fn(&mut EngineFacts)| {
        let mut facts = facts();
        change(&mut facts.engine);
        facts
    };
    let chosen =
        with_options(EngineOptions { storage_driver: "btrfs".to_owned(), ..EngineOptions::default() });
    let overlay2 = Some("overlay2".to_owned());
    assert_eq!(named(&facts(), &wish()), overlay2, "as the reference program");
    assert_eq!(named(&facts(), &chosen), Some("btrfs".to_owned()), "the user knows");
    assert_eq!(named(&bare(), &wish()), None, "a fresh engine chooses");
    assert_eq!(
        named(&engine(|e| e.version = Some("29.0.1".to_owned())), &wish()),
        None,
        "containerd's image store"
    );
    assert_eq!(named(&engine(|e| e.version = None), &wish()), None);
    assert_eq!(
        named(&engine(|e| e.data_of = vec!["zfs".to_owned()]), &wish()),
        None,
        "data of another driver"
    );
    assert_eq!(named(&engine(|e| e.data_of = vec!["overlay2".to_owned()]), &wish()), overlay2);
    assert_eq!(named(&engine(|e| e.filesystem = "btrfs".to_owned()), &wish()), None);
    let named_before = engine(|e| {
        e.version = Some("29.0.1".to_owned());
        e.drop_in = Some(
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H x --storage-driver overlay2 --tlsverify\n"
                .to_owned(),
        );
    });
    assert_eq!(named(&named_before, &wish()), overlay2, "an upgrade keeps the engine's data in sight");
    let not_named_before =
        engine(|e| e.drop_in = Some("[Service]\nExecStart=\nExecStart=/usr/bin/dockerd -H x\n".to_owned()));
    assert_eq!(named(&not_named_before, &wish()), None, "nothing changes from run to run");
    let in_file = engine(|e| e.daemon_json = Some(r#"{"storage-driver":"btrfs"}"#.to_owned()));
    assert_eq!(named(&in_file, &wish()), None);
    assert_eq!(named(&in_file, &chosen), None, "both agree, and dockerd refuses to be told twice");
    let hidden = plan(&engine(|e| e.data_of = vec!["overlay2".to_owned()]), &chosen).unwrap();
    assert!(hidden.warnings[0].contains("out of sight"), "{:?}", hidden.warnings);
}

#[test]
fn hosts_that_can_not_be_provisioned() {
    let mut text = String::new();
    let mut case = |title: &str, facts: HostFacts, wish: EngineWish| {
        let _ = writeln!(text, "== {title}\n{}", outline(plan(&facts, &wish)));
    };
    case("no sudo", HostFacts { privilege: Privilege::None, user: "debian".to_owned(), ..facts() }, wish());
    let refuses = Privilege::SudoRefuses("sudo: a password is required".to_owned());
    case("sudo asks", HostFacts { privilege: refuses, user: "debian".to_owned(), ..facts() }, wish());
    case("a container", HostFacts { init: InitSystem::None, ..facts() }, wish());
    let engine = |change: fn(&mut EngineFacts)| {
        let mut facts = facts();
        change(&mut facts.engine);
        facts
    };
    case("rootless", engine(|e| e.rootless = true), wish());
    case("snap", engine(|e| e.snap = true), wish());
    case(
        "hosts in daemon.json",
        engine(|e| e.daemon_json = Some(r#"{"hosts":[],"labels":[],"debug":true}"#.to_owned())),
        wish(),
    );
    case("broken daemon.json", engine(|e| e.daemon_json = Some("{".to_owned())), wish());
    let later = "/etc/systemd/system/docker.service.d/override.conf";
    case("a later drop-in", engine(|e| e.rival_drop_ins.push(later_drop_in())), wish());
    assert_eq!(later_drop_in(), later);
    case("no engine wanted", bare(), EngineWish { install: InstallMethod::None, ..wish() });
    case("full disk", HostFacts { free_root_kib: Some(90_000), ..bare() }, wish());
    case(
        "no package manager",
        HostFacts { packages: None, curl: false, ..host_of(OsRelease::parse("ID=void")) },
        wish(),
    );
    for (title, options) in [
        (
            "label",
            EngineOptions { labels: list(&["a=b\nExecStartPre=/bin/evil"]), ..EngineOptions::default() },
        ),
        ("label without =", EngineOptions { labels: list(&["a"]), ..EngineOptions::default() }),
        ("env", EngineOptions { env: list(&["1A=b"]), ..EngineOptions::default() }),
        ("flag", EngineOptions { arbitrary_flags: list(&["--"]), ..EngineOptions::default() }),
    ] {
        case(title, facts(), with_options(options));
    }
    let registry_cas = vec![RegistryCa { registry: Some("../../x".to_owned()), pem: String::new() }];
    case("registry", facts(), EngineWish { registry_cas, ..wish() });
    insta::assert_snapshot!("refusals", text);
}

fn later_drop_in() -> String {
    "/etc/systemd/system/docker.service.d/override.conf".to_owned()
}

#[test]
fn an_empty_daemon_json_and_harmless_keys_are_no_conflict() {
    for text in ["", "  \n", "{}", r#"{"debug":true,"features":{"buildkit":true}}"#] {
        let mut facts = facts();
        facts.engine.daemon_json = Some(text.to_owned());
        assert!(plan(&facts, &wish()).is_ok(), "{text:?}");
    }
}

#[test]
fn only_what_was_asked_for() {
    let names = |plan: Plan| plan.steps.into_iter().map(|step| step.name).collect::<Vec<_>>();
    let certificates = names(certificates_plan(&facts(), &wish()).unwrap());
    assert_eq!(
        certificates,
        [
            "write CA certificate",
            "write server certificate",
            "write server key",
            "restart engine",
            "wait for engine"
        ]
    );
    assert_eq!(names(registry_plan(&facts(), &wish()).unwrap()), Vec::<String>::new());
    assert!(matches!(certificates_plan(&bare(), &wish()), Err(PlanError::NoEngine)));
    assert!(matches!(upgrade_plan(&bare(), &wish()), Err(PlanError::NoEngine)));
    let mut unknown = facts();
    unknown.engine.package = None;
    assert!(matches!(upgrade_plan(&unknown, &wish()), Err(PlanError::NotFromPackage)));

    let first = names(plan(&HostFacts { cloud_init: CloudInit::Running, ..facts() }, &wish()).unwrap());
    assert_eq!(first[..3], ["wait for cloud-init", "add name to /etc/hosts", "set hostname"]);
    let kept = plan(&facts(), &EngineWish { set_hostname: false, ..wish() }).unwrap();
    assert!(!names(kept).contains(&"set hostname".to_owned()));
    let long = EngineWish { machine: MachineName::new("a".repeat(65)).unwrap(), ..wish() };
    let long = plan(&facts(), &long).unwrap();
    assert!(long.warnings[0].contains("keeps its name"), "{:?}", long.warnings);
}

#[test]
fn a_wrong_clock_is_seen() {
    let at = |clock_s| HostFacts { clock_s, ..facts() };
    assert_eq!(at(Some(1_000_000)).clock_skew_s(1_003_600), Some(-3600));
    assert_eq!(at(Some(2_000_000)).clock_skew_s(1_000_000), Some(1_000_000));
    assert_eq!(at(None).clock_skew_s(5), None);
}

#[test]
fn nothing_secret_is_shown() {
    let wish = EngineWish {
        proxies: vec![("HTTPS_PROXY".to_owned(), Secret::new("http://me:hunter2@proxy"))],
        ..with_options(EngineOptions { env: list(&["TOKEN=hunter2"]), ..EngineOptions::default() })
    };
    let plan = plan(&facts(), &wish).unwrap();
    let script = machine_provision::render::script(&plan);
    let shown = format!("{plan:?} {script:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("real"), "{shown}");
    assert!(options_of(&facts(), &wish).contains("\"HTTPS_PROXY=http://me:hunter2@proxy\""));
    assert!(!script.command(&facts()).contains("PRIVATE"));
    let options = plan.steps.iter().find_map(|step| match &step.action {
        Action::File(file) if step.name == "configure engine" => Some(file.mode),
        _ => None,
    });
    assert_eq!(options, Some(0o600), "a password in a proxy's address is for root only");
}
