//! The files of a machine: its disk, and the CDs that it starts with.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use machine_core::{Cx, DriverError, ErrorKind, Event, Seed};
use machine_image::disk::{self, Format};
use machine_image::seed::{self, NoCloud};
use machine_image::{Arch, Cache};

use super::flags::CONFIG_DRIVE;
use super::programs;
use super::state::VmwareFusionState;
use super::vmx::{self, Hardware, Vmx};
use crate::boot2docker;

/// Bytes in a MiB.
const MIB: u64 = 1024 * 1024;
/// The seed as a CD, and as a disk for guests that may have no driver for CD drives.
const SEED: &str = "seed.iso";
const SEED_DISK: &str = "seed.vmdk";
/// What is made on the way.
const OVERLAY: &str = "overlay.qcow2";
const RAW: &str = "disk.raw";

/// Makes all files of a new machine; the configuration last, so that a machine that has one has everything.
pub(super) async fn make(cx: &Cx<'_>, state: &VmwareFusionState, vmx: &Path) -> Result<(), DriverError> {
    let disk = format!("{}.vmdk", cx.name);
    let path = cx.machine_dir.join(&disk);
    if !path.exists() {
        make_disk(cx, state, &path).await?;
    }
    let mut cds = Vec::new();
    let mut seed_disk = None;
    if state.is_boot2docker() {
        cds.push(text(&boot2docker::iso_for(cx, &state.boot2docker_url).await?));
    } else if let Some(seed) = cx.seed {
        let iso = write_seed(cx, seed)?;
        if Arch::host() == Arch::Aarch64 {
            seed_disk = Some(write_seed_disk(&iso)?);
        } else {
            cds.push(text(&iso));
        }
    }
    if !state.config_drive_url.is_empty() {
        cds.push(text(&config_drive(cx, &state.config_drive_url).await?));
    }
    let hardware = Hardware {
        name: cx.name.as_str(),
        arch: if state.is_boot2docker() { Arch::X86_64 } else { Arch::host() },
        cpus: state.cpu.max(1),
        memory: state.memory,
        disk: &disk,
        cds,
        seed_disk: seed_disk.as_deref(),
        boot2docker: state.is_boot2docker(),
        share: (!state.no_share).then(share).flatten(),
    };
    replace(vmx, vmx::text(&hardware).as_bytes())
}

/// The folder of the users' homes, where the reference program shares it.
fn share() -> Option<(&'static str, &'static str)> {
    (cfg!(target_os = "macos") && Path::new("/Users").is_dir()).then_some(("Users", "/Users"))
}

async fn make_disk(cx: &Cx<'_>, state: &VmwareFusionState, to: &Path) -> Result<(), DriverError> {
    if state.is_boot2docker() {
        return boot2docker_disk(cx, state, to).await;
    }
    if state.clone_of_vmx.is_empty() {
        return from_image(cx, state, to).await;
    }
    cx.report.report(Event::DriverLine("Copying the disk...".to_owned()));
    programs::copy_disk(&clone_source(state)?, to).await
}

/// The disk of the machine that is to be copied, as that machine uses it now.
///
/// # Errors
/// [`ErrorKind::NotFound`] where that machine has none.
pub(super) fn clone_source(state: &VmwareFusionState) -> Result<PathBuf, DriverError> {
    let vmx = Path::new(&state.clone_of_vmx);
    let missing = || DriverError::new(ErrorKind::NotFound, format!("{} has no disk to copy", vmx.display()));
    let disk = Vmx::read(vmx).ok().and_then(|vmx| vmx.disk()).ok_or_else(missing)?;
    let disk = vmx.parent().unwrap_or(Path::new("")).join(disk);
    if disk.is_file() { Ok(disk) } else { Err(missing()) }
}

/// Makes the disk of a cloud image: an overlay of the wanted size, written out as a VMDK.
async fn from_image(cx: &Cx<'_>, state: &VmwareFusionState, to: &Path) -> Result<(), DriverError> {
    let image =
        Cache::of_store(cx.store_path).for_hardware().fetch(&state.image, Arch::host(), cx.report).await?;
    cx.report.report(Event::DriverLine(format!("Converting image {} to a VMDK...", image.name)));
    let overlay = cx.machine_dir.join(OVERLAY);
    remove_file(&overlay)?;
    disk::overlay(&image.file, image.format, &overlay, Some(state.disk_size)).await?;
    let converted = convert(cx, &overlay, Format::Qcow2, to).await;
    remove_file(&overlay)?;
    converted
}

/// Makes a boot2docker machine's disk: its first bytes tell boot2docker to format it, and have the key.
async fn boot2docker_disk(cx: &Cx<'_>, state: &VmwareFusionState, to: &Path) -> Result<(), DriverError> {
    let seed = cx.seed.ok_or_else(|| {
        DriverError::new(ErrorKind::Other, "there is no SSH key to put into the boot2docker machine")
    })?;
    let raw = cx.machine_dir.join(RAW);
    let written = File::create(&raw).and_then(|mut file| {
        file.write_all(&boot2docker::disk_head(&seed.authorized_key))?;
        file.set_len(state.disk_size * MIB)
    });
    written.map_err(|error| unwritten(&raw, error))?;
    let converted = convert(cx, &raw, Format::Raw, to).await;
    remove_file(&raw)?;
    converted
}

/// Writes a disk out as a VMDK in one file that grows (`monolithicSparse`, which is what Fusion and Workstation make,
/// too; `streamOptimized` is for transport only). It appears when it is whole.
async fn convert(cx: &Cx<'_>, from: &Path, format: Format, to: &Path) -> Result<(), DriverError> {
    let part = to.with_extension("new.vmdk");
    remove_file(&part)?;
    disk::convert(from, format, &part, Format::Vmdk, cx.report).await?;
    let name = to.file_name().unwrap_or_default().to_string_lossy();
    describe(&part, &name).map_err(|error| unwritten(&part, error))?;
    fs::rename(&part, to).map_err(|error| unwritten(to, error))
}

/// Mends the description in a sparse VMDK: the file's own name stands in it, and the controller that it is for, which for
/// `qemu-img` is IDE (VMware, "Virtual Disk Format 5.0": the embedded descriptor).
fn describe(file: &Path, name: &str) -> io::Result<()> {
    let broken = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut disk = OpenOptions::new().read(true).write(true).open(file)?;
    let mut header = [0; 512];
    disk.read_exact(&mut header)?;
    if !header.starts_with(b"KDMV") {
        return Err(broken("it is no sparse VMDK"));
    }
    let number =
        |at: usize| header[at..at + 8].iter().rev().fold(0_u64, |sum, byte| (sum << 8) | u64::from(*byte));
    let (capacity, at, sectors) = (number(12), number(28), number(36));
    if sectors == 0 || sectors > 1024 {
        return Err(broken("its description is missing"));
    }
    let mut bytes = vec![0; usize::try_from(sectors * 512).unwrap_or(0)];
    disk.seek(SeekFrom::Start(at * 512))?;
    disk.read_exact(&mut bytes)?;
    let text: String = String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
    let mut mended = described(&text, name, capacity).into_bytes();
    if mended.len() > bytes.len() {
        return Err(broken("its description has no room"));
    }
    mended.resize(bytes.len(), 0);
    disk.seek(SeekFrom::Start(at * 512))?;
    disk.write_all(&mended)?;
    disk.sync_all()
}

fn described(text: &str, name: &str, sectors: u64) -> String {
    let line = |line: &str| {
        let key = line.split('=').next().unwrap_or_default().trim();
        match key {
            "ddb.adapterType" => "ddb.adapterType = \"lsilogic\"".to_owned(),
            "ddb.geometry.heads" => "ddb.geometry.heads = \"255\"".to_owned(),
            "ddb.geometry.sectors" => "ddb.geometry.sectors = \"63\"".to_owned(),
            "ddb.geometry.cylinders" => {
                format!("ddb.geometry.cylinders = \"{}\"", (sectors / (255 * 63)).max(1))
            }
            _ if line.starts_with("RW ") && line.contains("\"") => {
                format!("{}\"{name}\"", line.split('"').next().unwrap_or_default())
            }
            _ => line.to_owned(),
        }
    };
    text.lines().map(|text| line(text) + "\n").collect()
}

/// Writes the CD from which cloud-init reads. It may have keys in it.
fn write_seed(cx: &Cx<'_>, seed: &Seed) -> Result<PathBuf, DriverError> {
    let file = cx.machine_dir.join(SEED);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let iso = seed::iso(&NoCloud {
        instance_id: &format!("{}-{now}", cx.name),
        hostname: cx.name.as_str(),
        user_data: &seed.user_data,
        network_config: None,
    });
    replace(&file, &iso)?;
    Ok(file)
}

/// The same as a disk: cloud-init looks for the label on any block device.
fn write_seed_disk(iso: &Path) -> Result<String, DriverError> {
    let bytes = fs::metadata(iso).map_err(|error| unwritten(iso, error))?.len();
    replace(&iso.with_file_name(SEED_DISK), vmx::flat_disk(SEED, bytes).as_bytes())?;
    Ok(SEED_DISK.to_owned())
}

/// The user's own configuration drive.
async fn config_drive(cx: &Cx<'_>, url: &str) -> Result<PathBuf, DriverError> {
    let own = cx.machine_dir.join(CONFIG_DRIVE);
    if !own.is_file() {
        let source = fetch_config_drive(cx, url).await?;
        let part = own.with_extension("part");
        let copied = fs::copy(&source, &part).and_then(|_| fs::rename(&part, &own));
        copied.map_err(|error| unwritten(&own, error))?;
    }
    Ok(own)
}

/// Gets the user's configuration drive to this computer. It is a CD image, which is got as that of boot2docker is.
///
/// # Errors
/// Where it can't be had, or is no CD image.
pub(super) async fn fetch_config_drive(cx: &Cx<'_>, url: &str) -> Result<PathBuf, DriverError> {
    boot2docker::fetch(cx, url).await.map_err(|error| {
        DriverError::new(error.kind(), format!("the configuration drive can't be had: {error}"))
            .with_hint("--vmwarefusion-configdrive-url takes the URL or path of a CD image (ISO 9660)")
            .with_source(error)
    })
}

/// Writes a file of which nobody else can read anything, whole or not at all.
pub(super) fn replace(file: &Path, content: &[u8]) -> Result<(), DriverError> {
    let mut new = file.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    remove_file(&new)?;
    let written = options.open(&new).and_then(|mut to| {
        to.write_all(content)?;
        to.sync_all()
    });
    written.and_then(|()| fs::rename(&new, file)).map_err(|error| unwritten(file, error))
}

/// Removes what was made in the machine's folder, and what VMware made there of it.
///
/// # Errors
/// Where something can't be removed.
pub(super) fn remove(machine_dir: &Path, name: &str) -> Result<(), DriverError> {
    for entry in fs::read_dir(machine_dir).into_iter().flatten().flatten() {
        let file = entry.file_name().to_string_lossy().into_owned();
        if is_ours(&file, name) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            match removed {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(DriverError::new(
                        ErrorKind::Other,
                        format!("{} could not be removed: {error}", path.display()),
                    )
                    .with_source(error));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Whether a file of the machine's folder belongs to the virtual machine.
fn is_ours(file: &str, name: &str) -> bool {
    const ENDS: [&str; 11] =
        [".vmx", ".vmxf", ".vmdk", ".vmsd", ".vmsn", ".vmss", ".vmem", ".nvram", ".lck", ".part", ".new"];
    const FILES: [&str; 8] =
        [SEED, SEED_DISK, OVERLAY, RAW, CONFIG_DRIVE, boot2docker::ISO, vmx::CONSOLE, "quicklook-cache.png"];
    let log = file.starts_with("vmware") && file.ends_with(".log");
    FILES.contains(&file) || log || (file.starts_with(name) && ENDS.iter().any(|end| file.ends_with(end)))
}

fn remove_file(file: &Path) -> Result<(), DriverError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(unwritten(file, error)),
        _ => Ok(()),
    }
}

fn unwritten(file: &Path, error: io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => ErrorKind::Quota,
        _ => ErrorKind::Other,
    };
    DriverError::new(kind, format!("{} could not be written: {error}", file.display())).with_source(error)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_described_as_vmware_does() {
        let text = "# Disk DescriptorFile\nversion=1\nCID=1234abcd\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n\
                    # Extent description\nRW 32768 SPARSE \"dev.new.vmdk.part\"\n\n# The Disk Data Base\n#DDB\n\n\
                    ddb.virtualHWVersion = \"4\"\nddb.geometry.cylinders = \"32\"\nddb.geometry.heads = \"16\"\n\
                    ddb.geometry.sectors = \"63\"\nddb.adapterType = \"ide\"\n";
        let mended = described(text, "dev.vmdk", 32_768_000);
        assert!(mended.contains("\nRW 32768 SPARSE \"dev.vmdk\"\n"), "{mended}");
        assert!(
            mended.contains("adapterType = \"lsilogic\"") && mended.contains("heads = \"255\""),
            "{mended}"
        );
        assert!(mended.contains("cylinders = \"2039\"") && mended.contains("CID=1234abcd\n"), "{mended}");
    }

    #[test]
    fn only_the_virtual_machines_files_go() {
        for file in
            ["dev.vmx", "dev-000001.vmdk", "dev.vmx.lck", "vmware-2.log", "seed.iso", "dev-Snapshot1.vmsn"]
        {
            assert!(is_ours(file, "dev"), "{file}");
        }
        for file in ["config.json", "id_rsa", "id_rsa.pub", "server.pem", "state.json", "other.vmx"] {
            assert!(!is_ours(file, "dev"), "{file}");
        }
    }
}
