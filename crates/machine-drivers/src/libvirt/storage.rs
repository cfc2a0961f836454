//! Volumes in a storage pool. libvirt's own user must be able to read a disk, and it can't look into a machine's folder;
//! and a pool is there on other computers too. So everything goes through libvirt: the image is uploaded once, machines
//! have overlays on it, and the seed is a volume of its own.

use std::collections::hash_map::DefaultHasher;
use std::fs::{self, File};
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use machine_core::{Cx, DriverError, ErrorKind, Event};
use machine_image::CachedImage;
use machine_image::disk::Format;
use tokio::time::{Instant, sleep};

use super::domain::Boot;
use super::network::millis;
use super::state::LibvirtState;
use super::trouble::Trouble;
use super::uri;
use super::virsh::{LONG, Virsh};
use super::xml::Element;

/// All our volumes begin so.
const PREFIX: &str = "docker-machine";
/// Where libvirt's packages have the pool `default`.
const SYSTEM_FOLDER: &str = "/var/lib/libvirt/images";
/// Kinds of pools that hold files.
const FILE_POOLS: [&str; 4] = ["dir", "fs", "netfs", "vstorage"];
/// What an image may have besides the disk.
const KERNEL: &str = "kernel";
const INITRD: &str = "initrd";
const MIB: u64 = 1024 * 1024;
/// How long somebody else may take to upload the image that we need too.
const UPLOAD_LIMIT: Duration = Duration::from_secs(3600);

/// What is known of a pool.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Pool {
    Active,
    Inactive,
    Missing,
}

/// Looks for the pool.
///
/// # Errors
/// [`ErrorKind::Precreate`] where it does not hold files.
pub(super) async fn look(virsh: &Virsh, pool: &str) -> Result<Pool, DriverError> {
    let Some(xml) = virsh.unless(&[Trouble::NoPool], &["pool-dumpxml", "--pool", pool]).await? else {
        return Ok(Pool::Missing);
    };
    let kind = super::parse(&xml, "pool")?.root_element().attribute("type").unwrap_or_default().to_owned();
    if !FILE_POOLS.contains(&kind.as_str()) {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            format!("libvirt's storage pool {pool:?} is of type {kind:?}, which can't hold overlays"),
        )
        .with_hint("name a pool that is a folder with --libvirt-pool"));
    }
    let info = virsh.run(&["pool-info", "--pool", pool]).await?;
    Ok(if super::field(&info, "State") == Some("running") { Pool::Active } else { Pool::Inactive })
}

/// The folder of the pool `default` where there is none yet, as virt-install makes it.
fn default_folder(connection: &str) -> Result<PathBuf, DriverError> {
    if !uri::is_session(connection) {
        return Ok(PathBuf::from(SYSTEM_FOLDER));
    }
    let data = std::env::var_os("XDG_DATA_HOME").filter(|dir| !dir.is_empty()).map(PathBuf::from);
    let home = || std::env::home_dir().map(|home| home.join(".local/share"));
    let data = data.or_else(home).filter(|_| uri::is_local(connection));
    data.map(|dir| dir.join("libvirt/images")).ok_or_else(|| missing("default"))
}

fn missing(pool: &str) -> DriverError {
    DriverError::new(ErrorKind::Precreate, format!("libvirt has no storage pool {pool:?}")).with_hint(
        "`virsh pool-list --all` shows the pools, --libvirt-pool names one; \
         `virsh pool-define-as NAME dir --target FOLDER` makes one",
    )
}

/// Whether `create` can go on with this pool: it is there, or is the one that is made where it is missing.
///
/// # Errors
/// [`ErrorKind::Precreate`] where it can't.
pub(super) async fn check(virsh: &Virsh, pool: &str) -> Result<(), DriverError> {
    match look(virsh, pool).await? {
        Pool::Active | Pool::Inactive => Ok(()),
        Pool::Missing if pool == "default" => default_folder(virsh.uri()).map(drop),
        Pool::Missing => Err(missing(pool)),
    }
}

/// Makes the pool `default` where it is missing, and starts what is off.
///
/// # Errors
/// Where there is no such pool, or it can't be started.
pub(super) async fn ensure_on(virsh: &Virsh, cx: &Cx<'_>, pool: &str) -> Result<(), DriverError> {
    match look(virsh, pool).await? {
        Pool::Active => return Ok(()),
        Pool::Inactive => {}
        Pool::Missing if pool == "default" => {
            let folder = default_folder(virsh.uri())?.display().to_string();
            cx.report.report(Event::DriverLine(format!(
                "Making libvirt's storage pool \"default\" in {folder}..."
            )));
            let made = ["pool-define-as", "--name", pool, "--type", "dir", "--target", &folder];
            virsh.unless(&[Trouble::Exists], &made).await?;
            virsh.run(&["pool-build", "--pool", pool]).await?;
            virsh.run(&["pool-autostart", "--pool", pool]).await?;
        }
        Pool::Missing => return Err(missing(pool)),
    }
    virsh.unless(&[Trouble::AlreadyActive], &["pool-start", "--pool", pool]).await.map(drop)
}

/// The names of the volumes that a machine is to have.
pub(super) fn name_volumes(state: &mut LibvirtState, image: Option<&CachedImage>) {
    let name: String = state.base.machine_name.chars().take(100).collect();
    let short = state.uuid.split('-').next().unwrap_or_default().to_owned();
    state.seed_volume = format!("{PREFIX}-{name}-{short}-seed.iso");
    match image {
        Some(image) => {
            let key = key(image);
            state.image_volume = format!("{PREFIX}-image-{key}.{}", image.format.extension());
            state.boot_cmdline = image.boot.as_ref().map(|boot| boot.cmdline.clone()).unwrap_or_default();
            state.disk_volume = format!("{PREFIX}-{name}-{short}.{key}.qcow2");
        }
        // A clone boots with its source's kernel, if that boots with one that is not on its disk.
        None => {
            let key = key_of_volume(&state.image_volume).map(|key| format!(".{key}")).unwrap_or_default();
            state.disk_volume = format!("{PREFIX}-{name}-{short}{key}.qcow2");
        }
    }
}

/// The volume of another file of an image: `kernel` or `initrd`.
fn volume_of(image_volume: &str, what: &str) -> Option<String> {
    key_of_volume(image_volume).map(|key| format!("{PREFIX}-image-{key}.{what}"))
}

/// What tells an image from all others: of its checksum, or, for a file of the user's own, of what file it is.
fn key(image: &CachedImage) -> String {
    if image.sha256.len() >= 16 {
        return image.sha256.chars().take(16).collect();
    }
    let mut hasher = DefaultHasher::new();
    image.file.hash(&mut hasher);
    image.bytes.hash(&mut hasher);
    fs::metadata(&image.file).and_then(|meta| meta.modified()).ok().hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The part of a disk's name that tells which image it is an overlay on.
fn key_of_volume(image_volume: &str) -> Option<&str> {
    let rest = image_volume.strip_prefix(PREFIX)?.strip_prefix("-image-")?;
    rest.split_once('.').map(|(key, _)| key)
}

/// Checks that libvirt can have machines on an image of this format.
///
/// # Errors
/// [`ErrorKind::Precreate`].
pub(super) fn check_format(image: &CachedImage) -> Result<(), DriverError> {
    if [Format::Qcow2, Format::Raw].contains(&image.format) {
        return Ok(());
    }
    Err(DriverError::new(
        ErrorKind::Precreate,
        format!(
            "the image {} is {}; this driver takes qcow2 and raw",
            image.file.display(),
            image.format.qemu()
        ),
    )
    .with_hint("`qemu-img convert -O qcow2` makes one of it"))
}

/// A volume that is there.
struct Volume {
    path: String,
    /// Length of its file.
    bytes: u64,
    /// Size of the disk in it, bytes.
    capacity: u64,
}

async fn volume(virsh: &Virsh, pool: &str, name: &str) -> Result<Option<Volume>, DriverError> {
    let args = ["vol-dumpxml", "--pool", pool, "--vol", name];
    let Some(xml) = virsh.unless(&[Trouble::NoVolume], &args).await? else { return Ok(None) };
    let document = super::parse(&xml, "volume")?;
    let text = |name: &str| {
        let mut nodes = document.descendants().filter(|node| node.tag_name().name() == name);
        nodes.next().and_then(|node| node.text()).unwrap_or_default().to_owned()
    };
    let number = |name: &str| text(name).parse().unwrap_or_default();
    Ok(Some(Volume { path: text("path"), bytes: number("physical"), capacity: number("capacity") }))
}

fn description(name: &str, bytes: u64, format: &str, mode: &str, backing: Option<Element>) -> String {
    let target = Element::new("target")
        .child(Element::new("format").with("type", format))
        .child(Element::new("permissions").child(Element::text("mode", mode)));
    let target = if format == "qcow2" { target.child(Element::text("compat", "1.1")) } else { target };
    Element::new("volume")
        .child(Element::text("name", name))
        .child(Element::text("capacity", bytes).with("unit", "bytes"))
        .child(Element::text("allocation", 0).with("unit", "bytes"))
        .child(target)
        .children(backing)
        .to_string()
}

/// A file as a volume: uploaded where it is not there yet, whole.
async fn ensure_file(
    virsh: &Virsh,
    cx: &Cx<'_>,
    pool: &str,
    name: &str,
    file: &Path,
) -> Result<Volume, DriverError> {
    let bytes = fs::metadata(file).map(|meta| meta.len()).map_err(|error| {
        DriverError::new(ErrorKind::Other, format!("{} can't be read: {error}", file.display()))
            .with_source(error)
    })?;
    let begin = Instant::now();
    while begin.elapsed() < UPLOAD_LIMIT {
        match volume(virsh, pool, name).await? {
            Some(found) if found.bytes == bytes => return Ok(found),
            Some(_) => {
                // What a crash left, or what somebody else's program is uploading: libvirt deletes nothing that is being written.
                let args = ["vol-delete", "--pool", pool, "--vol", name];
                if virsh.unless(&[Trouble::Busy], &args).await?.is_none() {
                    cx.report.report(Event::Waiting {
                        what: "the image, which another program is uploading".to_owned(),
                        for_ms: millis(begin.elapsed()),
                        limit_ms: millis(UPLOAD_LIMIT),
                        last: String::new(),
                    });
                    sleep(Duration::from_secs(1)).await;
                }
            }
            None => {
                cx.report.report(Event::DriverLine(format!(
                    "Copying {} into libvirt's storage pool {pool:?} ({} MiB)...",
                    file.display(),
                    bytes.div_ceil(MIB)
                )));
                // Raw, and as long as the file: what comes is the file, and libvirt finds out afterwards what it is.
                create(virsh, pool, &description(name, bytes, "raw", "0644", None)).await?;
                upload(virsh, pool, name, &file.display().to_string(), &[]).await?;
            }
        }
    }
    Err(DriverError::new(
        ErrorKind::Unavailable,
        format!(
            "the image {name} did not get into libvirt's storage pool {pool:?} within {} s",
            UPLOAD_LIMIT.as_secs()
        ),
    ))
}

async fn create(virsh: &Virsh, pool: &str, description: &str) -> Result<(), DriverError> {
    let args = ["vol-create", "--pool", pool, "--file", "/dev/stdin"];
    virsh.long_unless(&[Trouble::Exists], &args, description.as_bytes(), LONG).await.map(drop)
}

async fn upload(virsh: &Virsh, pool: &str, name: &str, file: &str, input: &[u8]) -> Result<(), DriverError> {
    let args = ["vol-upload", "--pool", pool, "--vol", name, "--file", file];
    Ok(virsh.ask(&args, input, LONG).await?.map(drop)?)
}

/// Makes the machine's disk: an overlay on the image, or a copy of another machine's disk. What is there stays.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn ensure_disk(
    virsh: &Virsh,
    cx: &Cx<'_>,
    state: &mut LibvirtState,
    image: Option<&CachedImage>,
) -> Result<(), DriverError> {
    if let Some(there) = volume(virsh, &state.pool, &state.disk_volume).await? {
        state.disk_size = there.capacity / MIB;
        return Ok(());
    }
    let wanted = state.disk_size * MIB;
    let Some(image) = image else { return copy_disk(virsh, cx, state).await };
    let _lock = lock(cx).await?;
    let there = ensure_file(virsh, cx, &state.pool, &state.image_volume, &image.file).await?;
    if let Some(boot) = &image.boot {
        for (what, file) in [(KERNEL, &boot.kernel), (INITRD, &boot.initrd)] {
            let name = volume_of(&state.image_volume, what).unwrap_or_default();
            ensure_file(virsh, cx, &state.pool, &name, file).await?;
        }
    }
    let backing = Element::new("backingStore")
        .child(Element::text("path", &there.path))
        .child(Element::new("format").with("type", image.format.qemu()));
    let bytes = wanted.max(there.capacity).next_multiple_of(MIB);
    create(virsh, &state.pool, &description(&state.disk_volume, bytes, "qcow2", "0600", Some(backing)))
        .await?;
    state.disk_size = bytes / MIB;
    Ok(())
}

/// How a machine boots without a boot loader, where its image is made for that.
///
/// # Errors
/// [`ErrorKind::NotFound`] where kernel or initial RAM disk are gone.
pub(super) async fn boot(virsh: &Virsh, state: &LibvirtState) -> Result<Option<Boot>, DriverError> {
    if state.boot_cmdline.is_empty() {
        return Ok(None);
    }
    let mut paths = Vec::new();
    for what in [KERNEL, INITRD] {
        let name = volume_of(&state.image_volume, what).unwrap_or_default();
        let found = volume(virsh, &state.pool, &name).await?.ok_or_else(|| {
            DriverError::new(ErrorKind::NotFound, format!("the {what} of the machine, {name}, is gone"))
        })?;
        paths.push(found.path);
    }
    let initrd = paths.pop().unwrap_or_default();
    let kernel = paths.pop().unwrap_or_default();
    Ok(Some(Boot { kernel, initrd, cmdline: state.boot_cmdline.clone() }))
}

/// Copies the disk of the machine that this one is a clone of. libvirt copies what the image below it has too.
async fn copy_disk(virsh: &Virsh, cx: &Cx<'_>, state: &mut LibvirtState) -> Result<(), DriverError> {
    let source = volume(virsh, &state.pool, &state.clone_of_volume).await?.ok_or_else(|| {
        DriverError::new(
            ErrorKind::NotFound,
            format!("the disk {} of the source is gone", state.clone_of_volume),
        )
    })?;
    cx.report.report(Event::DriverLine("Copying the disk...".into()));
    let made = description(&state.disk_volume, source.capacity, "qcow2", "0600", None);
    let args =
        ["vol-create-from", "--pool", &state.pool, "--file", "/dev/stdin", "--vol", &state.clone_of_volume];
    let args = [&args[..], &["--inputpool", &state.pool]].concat();
    virsh.ask(&args, made.as_bytes(), LONG).await?.map(drop)?;
    state.disk_size = source.capacity / MIB;
    Ok(())
}

/// Puts the seed into its volume, in the place of an older one.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn put_seed(virsh: &Virsh, state: &LibvirtState, iso: &[u8]) -> Result<(), DriverError> {
    delete(virsh, &state.pool, &state.seed_volume).await?;
    let length = u64::try_from(iso.len()).unwrap_or(u64::MAX);
    create(virsh, &state.pool, &description(&state.seed_volume, length, "raw", "0600", None)).await?;
    upload(virsh, &state.pool, &state.seed_volume, "/dev/stdin", iso).await
}

/// Makes the disk of a machine that is off larger.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn grow(virsh: &Virsh, state: &LibvirtState, mib: u64) -> Result<(), DriverError> {
    let size = format!("{mib}MiB");
    virsh
        .run(&["vol-resize", "--pool", &state.pool, "--vol", &state.disk_volume, "--capacity", &size])
        .await
        .map(drop)
}

/// Deletes a volume; one that is gone, or whose pool is gone, is deleted.
async fn delete(virsh: &Virsh, pool: &str, name: &str) -> Result<(), DriverError> {
    if name.is_empty() {
        return Ok(());
    }
    let args = ["vol-delete", "--pool", pool, "--vol", name];
    virsh.unless(&[Trouble::NoVolume, Trouble::NoPool], &args).await.map(drop)
}

/// Deletes a machine's volumes, and the image that nobody else has a disk on.
///
/// # Errors
/// What libvirt refused.
pub(super) async fn remove(virsh: &Virsh, cx: &Cx<'_>, state: &LibvirtState) -> Result<(), DriverError> {
    if state.disk_volume.is_empty() && state.seed_volume.is_empty() {
        return Ok(());
    }
    match look(virsh, &state.pool).await? {
        Pool::Missing => return Ok(()),
        Pool::Inactive => ensure_on(virsh, cx, &state.pool).await?,
        Pool::Active => {}
    }
    delete(virsh, &state.pool, &state.seed_volume).await?;
    let _lock = lock(cx).await?;
    delete(virsh, &state.pool, &state.disk_volume).await?;
    let Some(key) = key_of_volume(&state.image_volume) else { return Ok(()) };
    let volumes = virsh.run(&["vol-list", "--pool", &state.pool]).await?;
    if is_used(&volumes, key) {
        return Ok(());
    }
    for name in names(&volumes).filter(|name| key_of_volume(name) == Some(key)) {
        // Somebody else's program may be uploading it at this moment.
        let args = ["vol-delete", "--pool", &state.pool, "--vol", name];
        virsh.unless(&[Trouble::NoVolume, Trouble::Busy], &args).await?;
    }
    Ok(())
}

/// The names in a list of volumes.
fn names(volumes: &str) -> impl Iterator<Item = &str> {
    volumes.lines().filter_map(|line| line.split_whitespace().next())
}

/// Whether a disk in this list is an overlay on the image of this key.
fn is_used(volumes: &str, key: &str) -> bool {
    let end = format!(".{key}.qcow2");
    names(volumes).any(|name| name.ends_with(&end))
}

/// Keeps two processes of one store from uploading the same image, and from deleting one that the other is about to use.
async fn lock(cx: &Cx<'_>) -> Result<File, DriverError> {
    let path = cx.store_path.join("cache").join("libvirt.lock");
    let failed = |error: io::Error| {
        DriverError::new(ErrorKind::Other, format!("{} can't be locked: {error}", path.display()))
            .with_source(error)
    };
    let file = open(&path).map_err(failed)?;
    let begin = Instant::now();
    let mut pause = Duration::from_millis(50);
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::Error(error)) => return Err(failed(error)),
            Err(fs::TryLockError::WouldBlock) if begin.elapsed() >= UPLOAD_LIMIT => {
                return Err(DriverError::new(
                    ErrorKind::Unavailable,
                    format!(
                        "another docker-machine held {} for {} s",
                        path.display(),
                        UPLOAD_LIMIT.as_secs()
                    ),
                ));
            }
            Err(fs::TryLockError::WouldBlock) => {}
        }
        cx.report.report(Event::Waiting {
            what: "another docker-machine, which works with the same storage pool".to_owned(),
            for_ms: millis(begin.elapsed()),
            limit_ms: millis(UPLOAD_LIMIT),
            last: String::new(),
        });
        sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

fn open(path: &Path) -> io::Result<File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    File::options().create(true).truncate(false).write(true).open(path)
}

#[cfg(test)]
mod tests {
    use machine_image::{Arch, Origin};

    use super::*;

    fn image(sha256: &str) -> CachedImage {
        CachedImage {
            id: String::new(),
            name: "debian".into(),
            file: "/no/such.qcow2".into(),
            format: Format::Qcow2,
            arch: Arch::X86_64,
            origin: Origin::Local,
            sha256: sha256.into(),
            bytes: 10,
            added_s: 0,
            facts: None,
            boot: None,
        }
    }

    #[test]
    fn names_tell_machines_and_images_apart() {
        let mut state =
            LibvirtState { uuid: "a2c4d1de-0a4f-4c3e-9c61-0123456789ab".into(), ..LibvirtState::default() };
        state.base.machine_name = "dev".into();
        name_volumes(&mut state, Some(&image(&"0123456789abcdef".repeat(4))));
        assert_eq!(state.image_volume, "docker-machine-image-0123456789abcdef.qcow2");
        assert_eq!(state.disk_volume, "docker-machine-dev-a2c4d1de.0123456789abcdef.qcow2");
        assert_eq!(state.seed_volume, "docker-machine-dev-a2c4d1de-seed.iso");
        let of_image = key_of_volume(&state.image_volume).unwrap();
        let list = format!(" {}   /pool/x\n {}   /pool/y\n", state.image_volume, state.disk_volume);
        assert!(is_used(&list, of_image));
        assert!(!is_used(list.lines().next().unwrap(), of_image), "an image does not use itself");
        name_volumes(&mut state, None);
        assert_eq!(state.disk_volume, "docker-machine-dev-a2c4d1de.0123456789abcdef.qcow2");
        state.image_volume.clear();
        name_volumes(&mut state, None);
        assert_eq!(state.disk_volume, "docker-machine-dev-a2c4d1de.qcow2");
        assert_eq!(
            volume_of("docker-machine-image-0123.qcow2", KERNEL).as_deref(),
            Some("docker-machine-image-0123.kernel")
        );
        assert_eq!(key(&image("")).len(), 16);
    }

    #[test]
    fn formats_that_can_be_below_a_disk() {
        assert!(check_format(&image("")).is_ok());
        let vdi = CachedImage { format: Format::Vdi, ..image("") };
        assert!(check_format(&vdi).unwrap_err().hint().unwrap().contains("qemu-img"));
    }

    #[test]
    fn where_a_missing_default_pool_is_made() {
        assert_eq!(default_folder("qemu+ssh://h/system").unwrap(), Path::new(SYSTEM_FOLDER));
        assert!(default_folder("qemu+ssh://h/session").is_err());
        assert!(default_folder(uri::SESSION).unwrap().ends_with("libvirt/images"));
    }
}
