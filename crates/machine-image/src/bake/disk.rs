//! The disk around the file system: partition table, boot loader, compression.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use super::host::{self, Host, Mode};
use super::recipe::{OFFSET, open};
use super::{SMALL_LIMIT, run};
use crate::ImageError;

/// Bytes of the first sector that are the boot loader's; the disk's signature and the partition table come after them.
const MBR_CODE: usize = 440;
const SECTOR: u64 = 512;

/// What the boot loader needs to find a kernel in the file system.
const MODULES: [&str; 9] =
    ["biosdisk", "part_msdos", "ext2", "linux", "normal", "configfile", "serial", "terminal", "echo"];

/// An empty disk with one partition.
pub async fn partition(host: &Host, raw: &Path, disk_mib: u64) -> Result<(), ImageError> {
    let file = File::create_new(raw).map_err(ImageError::io("made", raw))?;
    file.set_len(disk_mib << 20).map_err(ImageError::io("made", raw))?;
    if host.mode == Mode::Unshare {
        open(raw, 0o666)?;
    }
    let failed = "the disk could not be partitioned";
    let table = format!("label: dos\nstart={}, type=83, bootable\n", OFFSET / SECTOR);
    let args = ["--quiet".to_owned(), raw.display().to_string()];
    let output = host.sfdisk.output(&args, table.as_bytes(), SMALL_LIMIT).await;
    let output = output.map_err(|source| ImageError::BuildStep { failed, source })?;
    if output.status.success() {
        return Ok(());
    }
    let said = output.said();
    Err(ImageError::BuildTold { failed, said })
}

/// Lays GRUB between the partition table and the partition. Source: GRUB's manual, "BIOS installation": `boot.img` is the first sector, and
/// loads what follows from the second sector on.
pub async fn boot_loader(host: &Host, bench: &Path, raw: &Path) -> Result<(), ImageError> {
    let core = bench.join("core.img");
    let mut args: Vec<String> =
        ["-O", "i386-pc", "-d", host::GRUB, "-p", "(hd0,msdos1)/boot/grub", "-o"].map(str::to_owned).into();
    args.push(core.display().to_string());
    args.extend(MODULES.map(str::to_owned));
    run(&host.grub_mkimage, &args, "the boot loader could not be made", SMALL_LIMIT).await?;
    let first = host::grub().join("boot.img");
    let read = |file: &Path| fs::read(file).map_err(ImageError::io("read", file));
    write_boot_loader(raw, &read(&first)?, &read(&core)?)
}

fn write_boot_loader(raw: &Path, first: &[u8], core: &[u8]) -> Result<(), ImageError> {
    let failed = "the boot loader could not be made";
    let (Some(code), true) = (first.get(..MBR_CODE), core.len() as u64 <= OFFSET - SECTOR) else {
        return Err(ImageError::BuildTold {
            failed,
            said: "its parts have not the sizes that they should".to_owned(),
        });
    };
    let write = || -> std::io::Result<()> {
        let mut disk = File::options().write(true).open(raw)?;
        disk.write_all(code)?;
        disk.seek(SeekFrom::Start(SECTOR))?;
        disk.write_all(core)?;
        disk.sync_all()
    };
    write().map_err(ImageError::io("written", raw))
}

/// A smaller file with the same content.
pub async fn compress(host: &Host, raw: &Path, qcow2: &Path) -> Result<(), ImageError> {
    let mut args: Vec<String> = ["convert", "-f", "raw", "-O", "qcow2", "-c", "-o", "compression_type=zstd"]
        .map(str::to_owned)
        .into();
    args.extend([raw.display().to_string(), qcow2.display().to_string()]);
    run(&host.qemu_img, &args, "the image could not be compressed", SMALL_LIMIT).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_loader_leaves_the_partition_table_alone() {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk");
        fs::write(&raw, vec![0xee; 4096]).unwrap();
        write_boot_loader(&raw, &[1; 512], &[2; 700]).unwrap();
        let disk = fs::read(&raw).unwrap();
        assert!(disk[..440].iter().all(|b| *b == 1) && disk[440..512].iter().all(|b| *b == 0xee));
        assert!(disk[512..1212].iter().all(|b| *b == 2) && disk[1212..].iter().all(|b| *b == 0xee));
    }

    #[test]
    fn a_boot_loader_that_would_reach_into_the_partition_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let raw = dir.path().join("disk");
        fs::write(&raw, "").unwrap();
        assert!(write_boot_loader(&raw, &[1; 512], &vec![2; 1 << 20]).is_err());
        assert!(write_boot_loader(&raw, &[1; 100], &[2; 100]).is_err());
        assert_eq!(fs::read(&raw).unwrap(), b"");
    }
}
