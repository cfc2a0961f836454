//! Disk images by the real `qemu-img`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use machine_core::{Event, Reporter, Silent};
use machine_image::ImageError;
use machine_image::disk::{self, Format};
use machine_testkit::skip;

const MIB: u64 = 1024 * 1024;

/// A disk of 3 MiB with something in its first and last sector; it is a raw one.
fn raw(dir: &Path) -> PathBuf {
    let file = dir.join("disk.raw");
    let mut bytes = vec![0; 3 * MIB as usize];
    bytes[..4].copy_from_slice(b"head");
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(b"tail");
    fs::write(&file, bytes).unwrap();
    file
}

#[tokio::test]
async fn overlays_grow_and_know_their_backing() {
    if !skip::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (base, over) = (raw(dir.path()), dir.path().join("over.qcow2"));
    disk::overlay(&base, Format::Raw, &over, None).await.unwrap();
    let info = disk::info(&over, None).await.unwrap();
    assert_eq!((info.format, info.virtual_bytes), (Format::Qcow2, 3 * MIB));
    assert_eq!(info.backing.as_deref(), Some(base.as_path()));
    assert!(info.actual_bytes > 0);
    // It is in nobody's way.
    let error = disk::overlay(&base, Format::Raw, &over, None).await.unwrap_err();
    assert!(matches!(error, ImageError::Exists { .. }), "{error}");
    for (wanted, has) in [(2, 3), (3, 3), (10, 10)] {
        fs::remove_file(&over).unwrap();
        disk::overlay(&base, Format::Raw, &over, Some(wanted)).await.unwrap();
        assert_eq!(disk::info(&over, None).await.unwrap().virtual_bytes, has * MIB);
    }
    disk::resize(&over, Format::Qcow2, 20).await.unwrap();
    disk::resize(&over, Format::Qcow2, 20).await.unwrap();
    assert_eq!(disk::info(&over, Some(Format::Qcow2)).await.unwrap().virtual_bytes, 20 * MIB);
    let error = disk::resize(&over, Format::Qcow2, 19).await.unwrap_err();
    assert!(matches!(error, ImageError::Shrink { has_mib: 20, wanted_mib: 19, .. }), "{error}");
    let error =
        disk::overlay(&dir.path().join("no"), Format::Raw, &dir.path().join("x"), None).await.unwrap_err();
    assert!(matches!(error, ImageError::QemuImg(_)) && error.to_string().contains("No such file"), "{error}");
}

/// What a guest writes at the beginning of its raw disk must not make it another format, which could name any file
/// here.
#[tokio::test]
async fn a_raw_disk_stays_one_whatever_is_in_it() {
    if !skip::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner.qcow2");
    let secret = raw(dir.path());
    disk::overlay(&secret, Format::Raw, &inner, None).await.unwrap();
    // The qcow2 file's bytes are the content of a raw disk.
    let over = dir.path().join("over.qcow2");
    disk::overlay(&inner, Format::Raw, &over, None).await.unwrap();
    let out = dir.path().join("out.raw");
    disk::convert(&over, Format::Qcow2, &out, Format::Raw, &Silent).await.unwrap();
    let content = fs::read(&out).unwrap();
    assert!(content.starts_with(b"QFI\xfb"));
}

/// What was said of bytes on their way.
#[derive(Default)]
struct Said(Mutex<Vec<Event>>);

impl Reporter for Said {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

#[tokio::test]
async fn all_formats_have_the_same_disk() {
    if !skip::require(&["qemu-img"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let base = raw(dir.path());
    let over = dir.path().join("over.qcow2");
    disk::overlay(&base, Format::Raw, &over, Some(4)).await.unwrap();
    for format in Format::ALL {
        let there = dir.path().join(format!("there.{}", format.extension()));
        let said = Said::default();
        disk::convert(&over, Format::Qcow2, &there, format, &said).await.unwrap();
        assert_eq!(disk::format_of(&there).unwrap(), format);
        let info = disk::info(&there, None).await.unwrap();
        assert_eq!((info.format, info.virtual_bytes, info.backing), (format, 4 * MIB, None));
        let last = said.0.lock().unwrap().pop();
        assert!(
            matches!(&last, Some(Event::Transfer { done, total: Some(total), .. }) if done == total),
            "{last:?}"
        );
        let back = dir.path().join("back.raw");
        disk::convert(&there, format, &back, Format::Raw, &Silent).await.unwrap();
        let mut want = fs::read(&base).unwrap();
        want.resize(4 * MIB as usize, 0);
        assert!(fs::read(&back).unwrap() == want, "{format:?}");
    }
    // What fails leaves nothing, and what was there stays.
    let (bad, to) = (dir.path().join("bad.qcow2"), dir.path().join("there.vdi"));
    fs::write(&bad, b"QFI\xfb").unwrap();
    let before = fs::read(&to).unwrap();
    assert!(disk::convert(&bad, Format::Qcow2, &to, Format::Vdi, &Silent).await.is_err());
    assert!(fs::read(&to).unwrap() == before && !dir.path().join("there.vdi.part").exists());
}

#[tokio::test]
async fn what_is_no_disk_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("x.qcow2");
    fs::write(&file, b"<html>sign in</html>").unwrap();
    let error = disk::info(&file, None).await.unwrap_err();
    assert!(error.to_string().ends_with("is not a disk image but a web page"), "{error}");
}

#[tokio::test]
async fn snapshots_inside() {
    if !skip::require(&["qemu-img", "qemu-io"]) {
        return;
    }
    // A folder whose name QEMU could take for options.
    let dir = tempfile::Builder::new().prefix("a,b=c:d ").tempdir().unwrap();
    let base = raw(dir.path());
    let over = dir.path().join("over.qcow2");
    disk::overlay(&base, Format::Raw, &over, None).await.unwrap();
    let write = |byte: &str| {
        let command = format!("write -P {byte} 0 512");
        let file = over.to_string_lossy().replace(',', ",,");
        let image = format!("driver=qcow2,file.driver=file,file.filename={file}");
        let done = Command::new("qemu-io").args(["--image-opts", &image, "-c", &command]).output().unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    let first = || async {
        let out = dir.path().join("out.raw");
        disk::convert(&over, Format::Qcow2, &out, Format::Raw, &Silent).await.unwrap();
        fs::read(&out).unwrap()[0]
    };
    assert!(disk::snapshots(&over).await.unwrap().is_empty());
    write("1");
    disk::take_snapshot(&over, "2").await.unwrap();
    write("2");
    disk::take_snapshot(&over, "1").await.unwrap();
    write("3");
    let names: Vec<_> = disk::snapshots(&over).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["2", "1"]);
    assert!(
        disk::snapshots(&over)
            .await
            .unwrap()
            .iter()
            .all(|one| one.taken_s > 1_600_000_000 && !one.with_memory)
    );
    let error = disk::take_snapshot(&over, "1").await.unwrap_err();
    assert!(matches!(error, ImageError::SnapshotExists { .. }), "{error}");
    // Names that look like the ids of others.
    disk::restore_snapshot(&over, "2").await.unwrap();
    assert_eq!(first().await, 1);
    disk::restore_snapshot(&over, "1").await.unwrap();
    assert_eq!(first().await, 2);
    disk::remove_snapshot(&over, "2").await.unwrap();
    let names: Vec<_> = disk::snapshots(&over).await.unwrap().into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["1"]);
    for error in [disk::restore_snapshot(&over, "2").await, disk::remove_snapshot(&over, "2").await] {
        assert!(matches!(error, Err(ImageError::NoSnapshot { .. })), "{error:?}");
    }
}
