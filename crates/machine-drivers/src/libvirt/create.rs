//! From a wish to a running domain.

use std::path::PathBuf;

use machine_core::{Checkpoint, Cx, DriverError, DriverState, ErrorKind, Event, State};
use machine_image::{Arch, Cache, CachedImage, seed};

use super::domain::{Extra, Plan};
use super::host::{self, Host};
use super::state::LibvirtState;
use super::trouble::Trouble;
use super::virsh::Virsh;
use super::{network, observe, power, storage, uri};

/// Looks whether [`create`] can succeed; makes nothing.
pub(super) async fn check(cx: &Cx<'_>, mut wish: LibvirtState) -> Result<(), DriverError> {
    Extra::read(&wish.extra_xml)?;
    let virsh = host::connect(cx, &mut wish).await?;
    let host = Host::ask(&virsh).await?;
    host.accelerate(cx, &wish)?;
    host::check_name_is_free(&virsh, &wish.base.machine_name).await?;
    if !wish.is_forwarded() {
        let xml = virsh.run(&["net-dumpxml", "--network", &wish.network]).await?;
        if !uri::is_local(&wish.uri) && network::is_hidden(&xml)? {
            cx.report.report(Event::Warning(format!(
                "addresses of libvirt's network {:?} can only be reached from the computer that libvirt runs on, unless you have a route there",
                wish.network
            )));
        }
    }
    super::check_publish(&wish)?;
    storage::check(&virsh, &wish.pool).await?;
    if wish.clone_of_uuid.is_empty() {
        let cache = Cache::of_store(cx.store_path);
        cache.check(&wish.image, host.arch)?;
        return cache.find(&wish.image, host.arch)?.map_or(Ok(()), |image| storage::check_format(&image));
    }
    match observe::look(&virsh, &wish.clone_of_uuid).await?.state {
        State::Stopped => Ok(()),
        state => Err(DriverError::new(
            ErrorKind::Precreate,
            format!("a machine can only be cloned while it is off; this one is {state}"),
        )
        .with_hint("stop it with `docker-machine stop`")),
    }
}

/// Decides what the user left open, as far as this needs no image. What is decided already stays.
pub(super) async fn settle(virsh: &Virsh, state: &mut LibvirtState) -> Result<(), DriverError> {
    if state.uuid.is_empty() {
        state.uuid = uuid()?;
    }
    if state.mac.is_empty() {
        state.mac = mac()?;
    }
    if state.is_forwarded() {
        if state.forwarder.is_empty() {
            let said = virsh.try_run(&["domcapabilities"]).await?.unwrap_or_default();
            state.forwarder = network::forwarder(&said).to_owned();
        }
        for port in [&mut state.base.ssh_port, &mut state.engine_port] {
            if *port == 0 {
                *port = network::free_port()?;
            }
        }
    } else if state.base.ip_address.is_empty()
        && let Some(address) = network::free_address(virsh, state).await?
    {
        state.base.ip_address = address.to_string();
        state.address_reserved = true;
    }
    Ok(())
}

/// Makes the machine, or goes on.
pub(super) async fn create(
    cx: &Cx<'_>,
    mut state: LibvirtState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    let extra = Extra::read(&state.extra_xml)?;
    let virsh = host::connect(cx, &mut state).await?;
    let host = Host::ask(&virsh).await?;
    let image = image(cx, &state, host.arch).await?;
    settle(&virsh, &mut state).await?;
    name_volumes(&virsh, cx, &mut state, image.as_ref()).await?;
    save.save(&DriverState::from_typed(&state)?)?;

    if is_running(&virsh, &state).await? {
        return finish(&virsh, cx, state, save).await;
    }
    storage::ensure_on(&virsh, cx, &state.pool).await?;
    storage::ensure_disk(&virsh, cx, &mut state, image.as_ref()).await?;
    if let Some(seed) = cx.seed {
        let hostname = state.base.machine_name.as_str();
        let (instance_id, user_data) = (state.uuid.as_str(), &seed.user_data);
        let content = seed::NoCloud { instance_id, hostname, user_data, network_config: None };
        storage::put_seed(&virsh, &state, &seed::iso(&content)).await?;
    }
    if !state.is_forwarded() {
        network::ensure_on(&virsh, cx, &state.network).await?;
    }
    if state.address_reserved {
        network::reserve(&virsh, &state).await?;
    }
    let kvm = host.accelerate(cx, &state)?;
    let boot = storage::boot(&virsh, &state).await?;
    let plan = Plan { state: &state, arch: host.arch, kvm, extra, boot, console: console(cx, &state) };
    let state = start(&virsh, cx, plan).await?;
    finish(&virsh, cx, state, save).await
}

/// Starts the domain. Where hardware virtualisation is our choice and turns out not to work, emulation does.
async fn start(virsh: &Virsh, cx: &Cx<'_>, plan: Plan<'_>) -> Result<LibvirtState, DriverError> {
    let with = if plan.kvm { "KVM" } else { "emulation, which is slow" };
    cx.report.report(Event::DriverLine(format!("Starting the virtual machine with {with}...")));
    define(virsh, &plan).await?;
    let (state, sure) = (plan.state, plan.state.domain_type != AUTO);
    let trouble = match power::start(virsh, cx, state.clone()).await {
        Ok(started) if !plan.kvm || sure || host::gets_anywhere(virsh, cx, &state.uuid).await? => {
            return Ok(started);
        }
        Ok(_) => "nothing happens in the machine".to_owned(),
        Err(error) if plan.kvm && !sure && error.kind() == ErrorKind::Other => error.to_string(),
        Err(error) => return Err(error),
    };
    cx.report.report(Event::Warning(format!(
        "KVM does not work here: {trouble}; going on with emulation, which is slow (--libvirt-type kvm insists on KVM)"
    )));
    virsh.unless(&[Trouble::NotRunning], &["destroy", "--domain", &state.uuid]).await?;
    define(virsh, &Plan { kvm: false, ..plan }).await?;
    let started = power::start(virsh, cx, state.clone()).await?;
    // Only now it is sure that it was KVM.
    host::remember(cx, &state.uri);
    Ok(started)
}

/// The domain type that lets us choose.
pub(super) const AUTO: &str = "auto";

/// Waits for an address where none is known, and saves what there is.
async fn finish(
    virsh: &Virsh,
    cx: &Cx<'_>,
    mut state: LibvirtState,
    save: &mut dyn Checkpoint,
) -> Result<DriverState, DriverError> {
    if state.base.ip_address.is_empty() {
        state.base.ip_address = network::wait_for_address(virsh, cx, &state.uuid).await?.to_string();
    }
    let made = DriverState::from_typed(&state)?;
    save.save(&made)?;
    Ok(made)
}

/// Gets the image here; a clone needs none.
async fn image(cx: &Cx<'_>, state: &LibvirtState, arch: Arch) -> Result<Option<CachedImage>, DriverError> {
    if !state.clone_of_uuid.is_empty() {
        return Ok(None);
    }
    let image = Cache::of_store(cx.store_path).fetch(&state.image, arch, cx.report).await?;
    storage::check_format(&image)?;
    Ok(Some(image))
}

/// Names the volumes. A create that goes on keeps its disk where that was made; else the image may be another by now.
async fn name_volumes(
    virsh: &Virsh,
    cx: &Cx<'_>,
    state: &mut LibvirtState,
    image: Option<&CachedImage>,
) -> Result<(), DriverError> {
    if !state.disk_volume.is_empty() {
        let asked = ["vol-info", "--pool", &state.pool, "--vol", &state.disk_volume];
        if virsh.try_run(&asked).await?.is_ok() {
            return Ok(());
        }
        storage::remove(virsh, cx, state).await?;
    }
    storage::name_volumes(state, image);
    if cx.seed.is_none() {
        state.seed_volume.clear();
    }
    Ok(())
}

async fn is_running(virsh: &Virsh, state: &LibvirtState) -> Result<bool, DriverError> {
    match observe::look(virsh, &state.uuid).await {
        Ok(seen) => Ok(seen.state == State::Running),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

async fn define(virsh: &Virsh, plan: &Plan<'_>) -> Result<(), DriverError> {
    virsh.feed(&["define", "--file", "/dev/stdin"], plan.render().as_bytes()).await?;
    if plan.state.autostart {
        virsh.run(&["autostart", "--domain", &plan.state.uuid]).await?;
    }
    Ok(())
}

/// A user's own libvirt can write the console into the machine's folder; the system's may not, and nobody else could read it elsewhere.
pub(super) fn console(cx: &Cx<'_>, state: &LibvirtState) -> Option<PathBuf> {
    (uri::is_session(&state.uri) && uri::is_local(&state.uri)).then(|| cx.machine_dir.join("console.log"))
}

/// A random id (RFC 9562, version 4).
fn uuid() -> Result<String, DriverError> {
    let mut b = random::<16>()?;
    b[6] = b[6] & 0x0f | 0x40;
    b[8] = b[8] & 0x3f | 0x80;
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    Ok([&b[..4], &b[4..6], &b[6..8], &b[8..10], &b[10..]].map(hex).join("-"))
}

/// A random hardware address under the prefix of QEMU and KVM.
fn mac() -> Result<String, DriverError> {
    let [a, b, c] = random::<3>()?;
    Ok(format!("52:54:00:{a:02x}:{b:02x}:{c:02x}"))
}

fn random<const N: usize>() -> Result<[u8; N], DriverError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("the system gives no random numbers: {error}"))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_addresses_are_well_formed() {
        let id = uuid().unwrap();
        assert!(super::super::is_uuid(&id), "{id}");
        assert_eq!(&id[14..15], "4");
        assert_ne!(id, uuid().unwrap());
        let mac = mac().unwrap();
        assert!(mac.starts_with("52:54:00:") && mac.len() == 17, "{mac}");
    }
}
