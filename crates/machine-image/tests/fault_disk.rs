//! A full disk: a small tmpfs, which needs root.

#[path = "../../machine-http/tests/server/mod.rs"]
mod server;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use machine_core::Silent;
use machine_http::Settings;
use machine_image::disk::{self, Format};
use machine_image::{Arch, Cache, ImageError, NewImage};
use machine_testkit::skip;
use server::{Answer, Server};

const MIB: usize = 1024 * 1024;

/// A file system of so many MiB.
struct Small {
    dir: tempfile::TempDir,
}

impl Small {
    fn new(mib: usize) -> Option<Self> {
        if !skip::require(&["mount", "umount"]) || !skip::require_root() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let done = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs"])
            .arg(dir.path())
            .output()
            .unwrap();
        if !done.status.success() {
            skip::because(&format!("no tmpfs: {}", String::from_utf8_lossy(&done.stderr).trim()));
            return None;
        }
        Some(Self { dir })
    }

    fn resize(&self, mib: usize) {
        let options = format!("remount,size={mib}m");
        assert!(
            Command::new("mount").args(["-o", &options]).arg(self.dir.path()).status().unwrap().success()
        );
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.dir.path()).status();
    }
}

fn raw(len: usize) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
    bytes[510..512].copy_from_slice(b"\x55\xaa");
    bytes
}

#[tokio::test]
async fn a_download_that_does_not_fit_goes_on_when_there_is_room() {
    let Some(small) = Small::new(4) else { return };
    let server = Server::start();
    let image = raw(8 * MIB);
    server.page("/a.img", Answer::ok(image.clone()).etag("\"1\""));
    let http = Settings { proxies: false, extra_ca: None, ..Settings::default() };
    let cache = Cache::of_store(small.path()).with_http(http);
    let url = server.url("/a.img");
    let error = cache.fetch(&url, Arch::X86_64, &Silent).await.unwrap_err();
    assert!(matches!(error, ImageError::DiskFull { .. }), "{error:?}");
    assert!(error.to_string().ends_with(": no space left on the disk"), "{error}");
    assert!(error.hint().unwrap().contains("docker-machine image prune"));
    let parts: Vec<PathBuf> =
        fs::read_dir(cache.folder().join(".download")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let part = parts.iter().find(|path| path.extension().is_some_and(|end| end == "part")).unwrap();
    let there = part.metadata().unwrap().len();
    assert!(there > 2 * MIB as u64, "{there} bytes are kept");
    small.resize(20);
    server.take_requests();
    let got = cache.fetch(&url, Arch::X86_64, &Silent).await.unwrap();
    assert!(fs::read(&got.file).unwrap() == image);
    assert_eq!(server.take_requests()[0].header("range"), format!("bytes={there}-"));
}

#[tokio::test]
async fn a_conversion_that_does_not_fit_leaves_nothing() {
    if !skip::require(&["qemu-img"]) {
        return;
    }
    let Some(small) = Small::new(4) else { return };
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("disk.raw");
    fs::write(&from, raw(16 * MIB)).unwrap();
    for format in [Format::Qcow2, Format::Vdi] {
        let to = small.path().join("to");
        let error = disk::convert(&from, Format::Raw, &to, format, &Silent).await.unwrap_err();
        assert!(matches!(error, ImageError::DiskFull { .. }), "{error:?}");
        assert_eq!(fs::read_dir(small.path()).unwrap().count(), 0);
    }
}

/// An image that was built elsewhere and must be copied.
#[test]
fn an_image_that_does_not_fit_is_not_added() {
    let Some(small) = Small::new(4) else { return };
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::of_store(small.path());
    let file = dir.path().join("disk.raw");
    fs::write(&file, raw(16 * MIB)).unwrap();
    let new = |file| NewImage {
        name: "mine".into(),
        file,
        format: Format::Raw,
        arch: Arch::X86_64,
        facts: None,
        boot: None,
    };
    let error = cache.add(new(file.clone())).unwrap_err();
    assert!(matches!(error, ImageError::DiskFull { .. }), "{error:?}");
    assert!(file.exists() && cache.list().unwrap().is_empty());
    let left: Vec<_> =
        fs::read_dir(cache.folder()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, [".lock"]);
    small.resize(40);
    let got = cache.add(new(file.clone())).unwrap();
    assert!(!file.exists() && got.bytes == 16 * MIB as u64);
}
