//! Making a machine.

use std::path::PathBuf;
use std::thread::available_parallelism;

use machine_core::{
    Checkpoint, ConfigureContext, Cx, DriverError, DriverState, ErrorKind, Event, Mount, Prospect, State,
};
use machine_image::{Arch, Cache, disk as image_disk};

use super::cidr::Cidr;
use super::disk::{self, Media};
use super::host::{self, Version};
use super::network;
use super::power;
use super::state::{VirtualboxState, new_uuid};
use super::vboxmanage::{Trouble, VBoxManage};
use super::vm::{self, Vm};
use crate::base::Base;
use crate::boot2docker;
use crate::hypervisor_lock::{self, Turn};

/// What a guest of a cloud image prints at its serial port.
pub(super) const CONSOLE: &str = "console.log";
/// More processors than these the reference program never gives.
const CPUS_MAX: usize = 32;
/// The user and group that the first user of an image has.
const FIRST_USER: &str = "uid=1000,gid=1000";

/// Whether `create` can succeed.
///
/// # Errors
/// What stands in the way, in the reference program's words where it has some.
pub(super) async fn check(cx: &Cx<'_>, wish: &VirtualboxState) -> Result<(), DriverError> {
    let manage = VBoxManage::find()?;
    let version = host::check(cx, &manage, wish.no_vtx_check).await?;
    network::choose(&manage, version, &wish.host_only_cidr).await?;
    if let Some(vm) = vm::show(&manage, cx.name.as_str()).await? {
        let place = vm.settings().unwrap_or_default();
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("VirtualBox has a machine \"{}\" already ({})", cx.name, place.display()),
        )
        .with_hint("choose another name, or remove that machine in VirtualBox"));
    }
    if wish.is_boot2docker(cx.machine_dir) {
        return boot2docker::fetch(cx, &wish.boot2docker_url).await.map(drop);
    }
    if !wish.clone_of_uuid.is_empty() {
        return disk::clone_source(&manage, wish).await.map(drop);
    }
    image_disk::program()?;
    Cache::of_store(cx.store_path).fetch(&wish.image, Arch::host(), cx.report).await?;
    Ok(())
}

/// What is known of the machine to be: its address too, which is chosen here.
///
/// # Errors
/// Where VirtualBox can't be asked.
pub(super) async fn prospect(cx: &Cx<'_>, mut wish: VirtualboxState) -> Result<Prospect, DriverError> {
    let manage = VBoxManage::find()?;
    let version = host::version(&manage).await?;
    let seedless = wish.is_boot2docker(cx.machine_dir);
    settle(cx, &manage, version, &mut wish).await?;
    let mut facts = None;
    if !seedless && wish.clone_of_uuid.is_empty() {
        let image = Cache::of_store(cx.store_path).find(&wish.image, Arch::host())?;
        if let Some(image) = image.filter(|image| image.facts.is_some() && !image.id.is_empty()) {
            // What is said of this image must not be done with a newer one.
            wish.image = image.id;
            facts = image.facts;
        }
    }
    // Mounted when somebody looks into it, so that a guest without the file system boots as well.
    let mounts = network::share(&wish).into_iter().map(|(_, name)| Mount {
        target: format!("/{}", name.trim_start_matches('/')),
        source: name,
        kind: "vboxsf".to_owned(),
        options: format!("noauto,x-systemd.automount,{FIRST_USER}"),
    });
    let mounts = if seedless { Vec::new() } else { mounts.collect() };
    let wish = Some(DriverState::from_typed(&wish)?);
    Ok(Prospect { image: facts, private: true, mounts, wish, seedless, ..Prospect::default() })
}

/// Decides what the wish leaves open: id, network, address, port. Done once; asks nobody where all is decided.
async fn settle(
    cx: &Cx<'_>,
    manage: &VBoxManage,
    version: Version,
    state: &mut VirtualboxState,
) -> Result<(), DriverError> {
    if state.uuid.is_empty() {
        state.uuid = new_uuid()?;
        let cidr = network::choose(manage, version, &state.host_only_cidr).await?;
        if state.host_only_cidr.is_empty() && cidr.to_string() != network::CLASSIC {
            cx.report.report(Event::DriverLine(format!("Using the host-only network {cidr}.")));
        }
        state.host_only_cidr = cidr.to_string();
    }
    if !state.is_boot2docker(cx.machine_dir) && state.base.ip_address.is_empty() {
        let cidr = Cidr::parse(&state.host_only_cidr)?;
        state.base.ip_address = network::free_address(manage, cidr, &state.uuid).await?.to_string();
    }
    if state.base.ssh_port == 0 {
        state.base.ssh_port = network::free_port()?;
    }
    Ok(())
}

/// Makes the machine, or goes on with it.
///
/// # Errors
/// What failed; what was made is found again by the next call, and by `remove`.
pub(super) async fn create(
    cx: &Cx<'_>,
    mut state: VirtualboxState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let manage = VBoxManage::find()?;
    let version = host::version(&manage).await?;
    settle(cx, &manage, version, &mut state).await?;
    save.save(&DriverState::from_typed(&state)?)?;
    let cidr = Cidr::parse(&state.host_only_cidr)?;
    let is_boot2docker = state.is_boot2docker(cx.machine_dir);
    let there = vm::show(&manage, &state.uuid).await?;
    if there.is_none_or(|vm| vm.state() == State::Stopped) {
        // Without the turn: it takes long, and VirtualBox has no part in it.
        let media = if !is_boot2docker && state.clone_of_uuid.is_empty() {
            Some(disk::from_image(cx, &state, cidr).await?)
        } else {
            None
        };
        let turn = hypervisor_lock::turn(super::NAME, cx.report).await?;
        let media = match media {
            Some(media) => media,
            None if is_boot2docker => disk::boot2docker(&manage, &turn, cx, &state).await?,
            None => disk::from_clone(&manage, &turn, cx, &state, cidr).await?,
        };
        cx.report.report(Event::DriverLine("Creating VirtualBox VM...".to_owned()));
        if !is_boot2docker {
            network::reserve(&manage, &turn, &state).await?;
        }
        let vm = register(&manage, &turn, cx, &state).await?;
        shape(&manage, &turn, cx, &state).await?;
        attach(&manage, &turn, cx, &vm, &state, &media).await?;
        folders(&manage, &turn, cx, &vm, &state).await?;
        cx.report.report(Event::DriverLine("Starting the VM...".to_owned()));
        power::start_in(&manage, &turn, cx, version, &mut state).await?;
    } else {
        let turn = hypervisor_lock::turn(super::NAME, cx.report).await?;
        power::go_on(&manage, &turn, &state).await?;
    }
    if is_boot2docker {
        state.base.ip_address = power::wait_for_address(&manage, cx, &state).await?.to_string();
    }
    let state = DriverState::from_typed(&state)?;
    save.save(&state)?;
    Ok(state)
}

/// Makes the machine known to VirtualBox, under the id that was chosen for it.
async fn register(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    state: &VirtualboxState,
) -> Result<Vm, DriverError> {
    if let Some(vm) = vm::show(manage, &state.uuid).await? {
        return Ok(vm);
    }
    disk::remove_settings(cx)?;
    let folder = cx.machine_dir.to_string_lossy();
    let mut args =
        vec!["createvm", "--basefolder", &folder, "--name", cx.name.as_str(), "--uuid", &state.uuid];
    if is_arm() {
        args.extend(["--platform-architecture", "arm", "--ostype", "Debian_arm64"]);
    }
    args.push("--register");
    manage.change(turn, &args).await?;
    vm::show(manage, &state.uuid).await?.ok_or_else(|| vm::gone(cx.name.as_str()))
}

fn is_arm() -> bool {
    Arch::host() == Arch::Aarch64
}

/// Sizes, devices and how it boots: as the reference program has it.
async fn shape(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    state: &VirtualboxState,
) -> Result<(), DriverError> {
    let on = |on: bool| if on { "on" } else { "off" }.to_owned();
    let is_boot2docker = state.is_boot2docker(cx.machine_dir);
    let mut args: Vec<String> = vec!["modifyvm".into(), state.uuid.clone()];
    let mut add = |pairs: &[(&str, String)]| {
        args.extend(pairs.iter().flat_map(|(flag, value)| [(*flag).to_owned(), value.clone()]));
    };
    if !is_arm() {
        add(&[
            ("--firmware", "bios".into()),
            ("--bioslogofadein", "off".into()),
            ("--bioslogofadeout", "off".into()),
            ("--bioslogodisplaytime", "0".into()),
            ("--biosbootmenu", "disabled".into()),
            ("--ostype", "Linux26_64".into()),
            ("--acpi", "on".into()),
            ("--ioapic", "on".into()),
            ("--rtcuseutc", "on".into()),
            ("--cpuhotplug", "off".into()),
            ("--pae", "on".into()),
            ("--hpet", "on".into()),
            ("--hwvirtex", "on".into()),
            ("--nestedpaging", "on".into()),
            ("--largepages", "on".into()),
            ("--vtxvpid", "on".into()),
            ("--accelerate3d", "off".into()),
        ]);
    }
    add(&[
        ("--cpus", cpus(state.cpu).to_string()),
        ("--memory", state.memory.to_string()),
        ("--natdnshostresolver1", on(state.host_dns_resolver)),
        ("--natdnsproxy1", on(state.dns_proxy)),
        ("--boot1", if is_boot2docker { "dvd" } else { "disk" }.into()),
        ("--nic1", "nat".into()),
        ("--nictype1", state.nat_nic_type.clone()),
        ("--cableconnected1", "on".into()),
        ("--macaddress1", state.mac(1)),
        ("--macaddress2", state.mac(2)),
    ]);
    if !is_boot2docker && !is_arm() {
        let console = cx.machine_dir.join(CONSOLE).to_string_lossy().into_owned();
        args.extend(["--uart1", "0x3F8", "4", "--uartmode1", "file"].map(str::to_owned));
        args.push(console);
    }
    manage.change(turn, &args).await?;
    Ok(())
}

/// How many processors the machine gets.
pub(super) fn cpus(wanted: i64) -> usize {
    let all = available_parallelism().map_or(1, usize::from);
    usize::try_from(wanted).ok().filter(|wanted| *wanted > 0).unwrap_or(all).min(CPUS_MAX)
}

/// The controller, and what hangs on it. Kernels that are made for clouds know IDE and virtio, but no AHCI.
struct Layout {
    controller: &'static str,
    bus: &'static str,
    disk: usize,
    dvd: usize,
}

impl Layout {
    fn of(is_boot2docker: bool) -> Self {
        match () {
            () if is_boot2docker => Self { controller: "SATA", bus: "sata", disk: 1, dvd: 0 },
            () if is_arm() => Self { controller: "SCSI", bus: "virtio-scsi", disk: 0, dvd: 1 },
            () => Self { controller: "IDE", bus: "ide", disk: 0, dvd: 1 },
        }
    }
}

async fn attach(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    vm: &Vm,
    state: &VirtualboxState,
    media: &Media,
) -> Result<(), DriverError> {
    let layout = Layout::of(state.is_boot2docker(cx.machine_dir));
    let controller = layout.controller;
    if !vm.has_controller(controller) {
        let args =
            ["storagectl", &state.uuid, "--name", controller, "--add", layout.bus, "--hostiocache", "on"];
        manage.unless(turn, &[Trouble::Exists], &args).await?;
    }
    let mut all = vec![(layout.disk, "hdd", media.disk.clone())];
    all.extend(media.dvd.clone().map(|dvd| (layout.dvd, "dvddrive", dvd)));
    for (port, kind, file) in all {
        if vm.attached(controller, port).as_ref() == Some(&file) {
            continue;
        }
        let (port, file) = (port.to_string(), file.to_string_lossy());
        let args =
            ["storageattach", &state.uuid, "--storagectl", controller, "--port", &port, "--device", "0"];
        manage.change(turn, &[&args[..], &["--type", kind, "--medium", &file]].concat()).await?;
    }
    Ok(())
}

/// The folder of this computer that the machine sees.
async fn folders(
    manage: &VBoxManage,
    turn: &Turn,
    cx: &Cx<'_>,
    vm: &Vm,
    state: &VirtualboxState,
) -> Result<(), DriverError> {
    let uuid = &state.uuid;
    if state.is_boot2docker(cx.machine_dir) {
        // Guest additions then mount each folder at /NAME.
        for key in ["MountPrefix", "MountDir"] {
            let key = format!("/VirtualBox/GuestAdd/SharedFolders/{key}");
            manage.change(turn, &["guestproperty", "set", uuid, &key, "/"]).await?;
        }
    }
    let Some((folder, name)) = network::share(state) else { return Ok(()) };
    if !vm.has_share(&name) {
        let folder = folder.to_string_lossy();
        let args = ["sharedfolder", "add", uuid, "--name", &name, "--hostpath", &folder, "--automount"];
        manage.unless(turn, &[Trouble::Exists], &args).await?;
    }
    let links = format!("VBoxInternal2/SharedFoldersEnableSymlinksCreate/{name}");
    manage.change(turn, &["setextradata", uuid, &links, "1"]).await?;
    Ok(())
}

/// The wish for a machine whose disk begins as a copy of this one's.
pub(super) fn clone_wish(
    cx: &ConfigureContext<'_>,
    source: VirtualboxState,
) -> Result<DriverState, DriverError> {
    let old = source.base;
    let mut base = base(cx);
    base.swarm_master = old.swarm_master;
    base.swarm_host = old.swarm_host;
    base.swarm_discovery = old.swarm_discovery;
    DriverState::from_typed(&VirtualboxState {
        base,
        clone_of: old.machine_name,
        clone_of_uuid: source.uuid,
        uuid: String::new(),
        ..source
    })
}

/// What every machine of this driver begins with.
pub(super) fn base(cx: &ConfigureContext<'_>) -> Base {
    let key: PathBuf = cx.store_path.join("machines").join(cx.name.as_str()).join("id_rsa");
    Base {
        ssh_user: super::USER.to_owned(),
        ssh_key_path: key.to_string_lossy().into_owned(),
        ..Base::new(cx)
    }
}
