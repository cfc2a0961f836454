//! From facts and wishes to steps.

use machine_core::Secret;

use super::layout::Layout;
use super::{Action, Content, File, Install, Plan, PlanError, Step, When, daemon, install};
use crate::{CloudInit, EngineState, EngineWish, Family, HostFacts, PackageManager, Privilege, RegistryCa};

/// What an engine takes on the disk when it is installed, roughly, with the packages themselves.
const INSTALL_MIB: u64 = 600;
/// What the files of a plan need, with room for the engine's log.
const FILES_MIB: u64 = 2;
/// How long the package manager may be somebody else's, in seconds.
const LOCK_S: u32 = 900;
/// How long the installation of curl may take, in seconds.
const CURL_S: u32 = 600;
/// How long that of the engine may take, in seconds.
const INSTALL_S: u32 = 1800;
/// How long cloud-init may take for what the user wants of it, in seconds.
const OWN_S: u32 = 900;
/// How long cloud-init may take in all, in seconds: it may have been told to do what else is done over SSH.
const CLOUD_INIT_S: u32 = OWN_S + LOCK_S + CURL_S + INSTALL_S;
/// The kernel takes no longer name (`HOST_NAME_MAX`).
pub(crate) const HOSTNAME_MAX: usize = 64;

/// What has to be done so that the host has the engine that is wanted. It can be run again: then nothing is changed or restarted.
///
/// # Errors
/// [`PlanError`] where the host can't be provisioned, or a value can't be written down.
pub fn plan(facts: &HostFacts, wish: &EngineWish) -> Result<Plan, PlanError> {
    may_become_root(facts)?;
    let layout = Layout::of(facts)?;
    engine_can_be_used(facts)?;
    let mut plan = Plan::new(wish);
    plan.wait_for_cloud_init(facts);
    if wish.set_hostname {
        plan.hostname(wish, &layout);
    }
    // RancherOS runs the engine in a container of its own; only the client is in sight.
    let hidden = facts.family == Family::RancherOs && facts.engine.docker_path.is_some();
    if facts.engine.state == EngineState::Absent && !hidden {
        plan.install(facts, wish)?;
    } else {
        enough_room(facts, FILES_MIB)?;
    }
    plan.warn_of_storage(facts, wish);
    plan.certificates(wish, &layout);
    plan.registry_cas(facts, &layout, &wish.registry_cas)?;
    plan.file("configure engine", daemon::options_file(facts, wish, &layout)?);
    plan.run_engine(wish.port);
    Ok(plan)
}

/// Waits until cloud-init has finished what it is doing to the host; `None` where it is not at work. What a host is can be said
/// only then: it may be installing the engine.
#[must_use]
pub fn wait_plan(facts: &HostFacts) -> Option<Plan> {
    let mut plan = Plan { steps: Vec::new(), warnings: Vec::new(), environment: Vec::new() };
    plan.wait_for_cloud_init(facts);
    (!plan.steps.is_empty()).then_some(plan)
}

/// The engine's certificates and key, and a restart if they are new.
///
/// # Errors
/// [`PlanError`] where the host can't be provisioned, or has no engine.
pub fn certificates_plan(facts: &HostFacts, wish: &EngineWish) -> Result<Plan, PlanError> {
    let layout = existing_engine(facts)?;
    let mut plan = Plan::new(wish);
    plan.certificates(wish, &layout);
    plan.restart(wish.port);
    Ok(plan)
}

/// Only the certificate authorities of registries. The engine reads those of single registries when it needs them; only an
/// authority for all of them takes a restart.
///
/// # Errors
/// [`PlanError`] where the host can't be provisioned, has no engine, or a registry's name is none.
pub fn registry_plan(facts: &HostFacts, wish: &EngineWish) -> Result<Plan, PlanError> {
    let layout = existing_engine(facts)?;
    let mut plan = Plan::new(wish);
    plan.registry_cas(facts, &layout, &wish.registry_cas)?;
    if wish.registry_cas.iter().any(|ca| ca.registry.is_none()) {
        plan.restart(wish.port);
    }
    Ok(plan)
}

/// Brings the engine to the newest version that its packages have, with a restart if that made another version of it.
///
/// # Errors
/// [`PlanError::NotFromPackage`] where it comes from no package, and others where the host can't be provisioned.
pub fn upgrade_plan(facts: &HostFacts, wish: &EngineWish) -> Result<Plan, PlanError> {
    existing_engine(facts)?;
    if facts.family.image_based() {
        return Err(PlanError::NotFromPackage);
    }
    let package = facts.engine.package.as_deref().ok_or(PlanError::NotFromPackage)?;
    let names = install::parts(package).map_or_else(
        || vec![package.to_owned()],
        |parts| parts.iter().map(|name| (*name).to_owned()).collect(),
    );
    let manager = install::manager(facts)?;
    enough_room(facts, INSTALL_MIB / 2)?;
    let mut plan = Plan::new(wish);
    plan.wait_for_cloud_init(facts);
    plan.step("wait for the package manager", LOCK_S, Action::WaitForPackageLock(manager));
    plan.step("upgrade engine", 1200, Action::UpgradePackages { manager, names });
    plan.restart(wish.port);
    Ok(plan)
}

fn may_become_root(facts: &HostFacts) -> Result<(), PlanError> {
    let user = || facts.user.clone();
    match &facts.privilege {
        Privilege::Root | Privilege::Sudo | Privilege::Doas => Ok(()),
        Privilege::SudoRefuses(said) => Err(PlanError::SudoRefuses { user: user(), said: said.clone() }),
        Privilege::None => Err(PlanError::NoRoot { user: user() }),
    }
}

fn engine_can_be_used(facts: &HostFacts) -> Result<(), PlanError> {
    let engine = &facts.engine;
    if engine.snap {
        return Err(PlanError::Snap);
    }
    if engine.rootless && engine.state != EngineState::Running {
        return Err(PlanError::Rootless { user: facts.user.clone() });
    }
    match engine.rival_drop_ins.first() {
        Some(path) => Err(PlanError::RivalDropIn { path: path.clone() }),
        None => Ok(()),
    }
}

fn existing_engine(facts: &HostFacts) -> Result<Layout, PlanError> {
    may_become_root(facts)?;
    let layout = Layout::of(facts)?;
    engine_can_be_used(facts)?;
    if facts.engine.state == EngineState::Absent { Err(PlanError::NoEngine) } else { Ok(layout) }
}

fn enough_room(facts: &HostFacts, needed_mib: u64) -> Result<(), PlanError> {
    match facts.free_root_kib.map(|kib| kib / 1024) {
        Some(free_mib) if free_mib < needed_mib => {
            Err(PlanError::DiskFull { path: "/", free_mib, needed_mib })
        }
        _ => Ok(()),
    }
}

impl Plan {
    fn new(wish: &EngineWish) -> Self {
        Self { steps: Vec::new(), warnings: Vec::new(), environment: proxies(wish) }
    }

    fn step(&mut self, name: impl Into<String>, limit_s: u32, action: Action) {
        self.steps.push(Step { name: name.into(), limit_s, action });
    }

    fn wait_for_cloud_init(&mut self, facts: &HostFacts) {
        if facts.cloud_init == CloudInit::Running {
            self.step("wait for cloud-init", CLOUD_INIT_S, Action::WaitForCloudInit);
        }
    }

    fn file(&mut self, name: &str, file: File) {
        self.step(name, 60, Action::File(file));
    }

    /// The entry comes first: once the host has a name that does not resolve, sudo waits for DNS each time.
    fn hostname(&mut self, wish: &EngineWish, layout: &Layout) {
        let name = wish.machine.as_str();
        if name.len() > HOSTNAME_MAX {
            self.warnings.push(format!(
                "the host keeps its name, because {name:?} is longer than the {HOSTNAME_MAX} characters which Linux takes"
            ));
            return;
        }
        let name = name.to_owned();
        self.step("add name to /etc/hosts", 60, Action::HostsEntry { name: name.clone() });
        let file = layout.hostname_file.to_owned();
        self.step("set hostname", 60, Action::Hostname { name, file });
    }

    fn install(&mut self, facts: &HostFacts, wish: &EngineWish) -> Result<(), PlanError> {
        let how = install::choose(facts, &wish.install)?;
        enough_room(facts, INSTALL_MIB)?;
        if facts.engine.podman {
            self.warnings.push(
                "docker on the host is podman under another name; an engine is installed beside it"
                    .to_owned(),
            );
        }
        let manager = install::manager(facts);
        if let Ok(manager) = manager {
            self.step("wait for the package manager", LOCK_S, Action::WaitForPackageLock(manager));
        }
        if matches!(how, Install::Script { .. }) && !facts.curl && !facts.wget {
            let names = ["curl", "ca-certificates"].map(str::to_owned).to_vec();
            self.step("install curl", CURL_S, Action::Packages { manager: manager?, names });
        }
        self.step("install engine", INSTALL_S, Action::InstallEngine(how));
        Ok(())
    }

    fn warn_of_storage(&mut self, facts: &HostFacts, wish: &EngineWish) {
        let wished = &wish.engine.storage_driver;
        let data_of = &facts.engine.data_of;
        if !wished.is_empty() && !data_of.is_empty() && !data_of.contains(wished) {
            self.warnings.push(format!(
                "the engine on the host has data of the storage driver {}; with {wished} its images and containers are out of sight",
                data_of.join(", ")
            ));
        }
    }

    fn certificates(&mut self, wish: &EngineWish, layout: &Layout) {
        let dir = layout.certificates_dir;
        let file = |name: &str, content: Content, mode: u32| File {
            path: format!("{dir}/{name}"),
            content,
            mode,
            restarts_engine: true,
            keep_original: false,
        };
        let certificates = &wish.certificates;
        self.file("write CA certificate", file("ca.pem", certificates.ca_pem.clone().into(), 0o644));
        self.file(
            "write server certificate",
            file("server.pem", certificates.server_cert_pem.clone().into(), 0o644),
        );
        let key: Secret = certificates.server_key_pem.clone();
        self.file("write server key", file("server-key.pem", Content::Secret(key), 0o600));
    }

    /// All authorities of one registry go into one file.
    fn registry_cas(
        &mut self,
        facts: &HostFacts,
        layout: &Layout,
        cas: &[RegistryCa],
    ) -> Result<(), PlanError> {
        let mut files: Vec<(Option<&str>, String)> = Vec::new();
        for ca in cas {
            let mut pem = ca.pem.trim_end().to_owned();
            pem.push('\n');
            match files.iter_mut().find(|(registry, _)| *registry == ca.registry.as_deref()) {
                Some((_, pems)) => pems.push_str(&pem),
                None => files.push((ca.registry.as_deref(), pem)),
            }
        }
        files.into_iter().try_for_each(|(registry, pem)| self.registry_ca(facts, layout, registry, &pem))
    }

    fn registry_ca(
        &mut self,
        facts: &HostFacts,
        layout: &Layout,
        registry: Option<&str>,
        pem: &str,
    ) -> Result<(), PlanError> {
        let file = |path: String, restarts_engine: bool| File {
            path,
            content: pem.to_owned().into(),
            mode: 0o644,
            restarts_engine,
            keep_original: false,
        };
        let Some(registry) = registry else {
            let (path, argv) = trust_store(facts, layout);
            self.file("write registry CA", file(path, true));
            if !argv.is_empty() {
                let argv = argv.iter().map(|word| (*word).to_owned()).collect();
                self.step("update trusted CAs", 120, Action::Command { argv, when: When::PreviousChanged });
            }
            return Ok(());
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
        if registry.is_empty() || registry.starts_with('.') || !registry.chars().all(plain) {
            return Err(PlanError::BadValue {
                what: "--engine-registry-ca",
                value: registry.to_owned(),
                why: "a registry is HOST or HOST:PORT",
            });
        }
        let path = format!("/etc/docker/certs.d/{registry}/ca.crt");
        self.file(&format!("write CA of registry {registry}"), file(path, false));
        Ok(())
    }

    fn run_engine(&mut self, port: u16) {
        let service = "docker".to_owned();
        self.step("enable engine at boot", 60, Action::Enable { service });
        self.step("open firewall for the engine", 60, Action::OpenPort { port });
        self.restart(port);
    }

    fn restart(&mut self, port: u16) {
        self.step(
            "restart engine",
            180,
            Action::RestartEngineIfChanged { service: "docker".to_owned(), port },
        );
        self.step("wait for engine", 120, Action::WaitForPort { port });
    }

    /// The folder of the engine's certificates on the host: `/etc/docker`, except on live systems.
    ///
    /// # Errors
    /// [`PlanError::NoInitSystem`] where the host can have no engine.
    pub fn certificates_dir(facts: &HostFacts) -> Result<&'static str, PlanError> {
        Layout::of(facts).map(|layout| layout.certificates_dir)
    }
}

/// The proxies that the engine is given are used for what is fetched on the host, too. Some programs look for the names in upper
/// case, and curl for `http_proxy` only.
fn proxies(wish: &EngineWish) -> Vec<(String, Secret)> {
    const NAMES: [&str; 5] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "FTP_PROXY", "NO_PROXY"];
    let of_engine = wish.engine.env.iter().flatten().filter_map(|assignment| assignment.split_once('='));
    let of_engine = of_engine.map(|(name, value)| (name.to_owned(), Secret::new(value)));
    let mut variables: Vec<(String, Secret)> = Vec::new();
    for (name, value) in of_engine.chain(wish.proxies.iter().cloned()) {
        if !NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)) {
            continue;
        }
        for name in [name.to_ascii_uppercase(), name.to_ascii_lowercase()] {
            if !variables.iter().any(|(known, _)| *known == name) {
                variables.push((name, value.clone()));
            }
        }
    }
    variables
}

/// Where a system takes further certificate authorities, and the command that makes it take them.
fn trust_store(facts: &HostFacts, layout: &Layout) -> (String, &'static [&'static str]) {
    const NAME: &str = "docker-machine-registry";
    let (dir, end, argv): (&str, &str, &'static [&'static str]) = match facts.family {
        Family::Boot2Docker => {
            return (
                format!("{}/certs/{NAME}.pem", layout.certificates_dir),
                &["/etc/init.d/docker", "restart"],
            );
        }
        Family::RedHat
        | Family::RedHatClone
        | Family::Fedora
        | Family::FedoraCoreOs
        | Family::Amazon2
        | Family::Amazon2023 => ("/etc/pki/ca-trust/source/anchors", "crt", &["update-ca-trust", "extract"]),
        Family::Arch => ("/etc/ca-certificates/trust-source/anchors", "crt", &["update-ca-trust"]),
        Family::Sles | Family::OpenSuse => ("/etc/pki/trust/anchors", "crt", &["update-ca-certificates"]),
        Family::Flatcar => ("/etc/ssl/certs", "pem", &["update-ca-certificates"]),
        Family::Photon => ("/etc/ssl/certs", "pem", &["rehash_ca_certificates.sh"]),
        Family::Other if matches!(facts.packages, Some(PackageManager::Dnf | PackageManager::Yum)) => {
            ("/etc/pki/ca-trust/source/anchors", "crt", &["update-ca-trust", "extract"])
        }
        _ => ("/usr/local/share/ca-certificates", "crt", &["update-ca-certificates"]),
    };
    (format!("{dir}/{NAME}.{end}"), argv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cloud_init_has_the_time_for_what_it_is_told_to_do() {
        let wish = EngineWish {
            machine: machine_core::MachineName::new("dev").unwrap(),
            set_hostname: true,
            port: 2376,
            engine: machine_core::EngineOptions::default(),
            provider: "cloud".to_owned(),
            certificates: crate::Certificates {
                ca_pem: String::new(),
                server_cert_pem: String::new(),
                server_key_pem: Secret::default(),
            },
            install: crate::InstallMethod::Url("https://get.example".to_owned()),
            registry_cas: Vec::new(),
            proxies: Vec::new(),
        };
        let image = machine_core::ImageFacts {
            os_release: "ID=ubuntu\nVERSION_ID=\"24.04\"\n".to_owned(),
            arch: "x86_64".to_owned(),
            engine: None,
        };
        let bare = HostFacts { curl: false, wget: false, ..HostFacts::of_image(&image, "ubuntu") };
        let told = crate::user_data::ahead_of(&plan(&bare, &wish).unwrap());
        assert_eq!(told.len(), 3, "{told:?}");
        let needed: u32 = told.iter().map(|step| step.limit_s).sum();
        let running = HostFacts { cloud_init: CloudInit::Running, ..bare };
        let wait = wait_plan(&running).unwrap();
        assert!(wait.steps[0].limit_s >= needed + OWN_S, "{} s for {needed} s", wait.steps[0].limit_s);
    }
}
