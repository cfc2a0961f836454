//! Builds a real image from packages. The image stays in the cache of `target/machines` (or of the store that `MACHINE_TEST_STORE` names), so
//! that tests with virtual machines can use it; one that is there is not built again.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use machine_core::{Event, Reporter, StepStatus};
use machine_image::bake::{self, BuildOptions};
use machine_image::{Arch, Cache, Origin, disk};

#[derive(Clone, Default)]
struct Steps(Arc<Mutex<Vec<String>>>);

impl Reporter for Steps {
    fn report(&self, event: Event) {
        if let Event::Step { name, status: StepStatus::Changed } = event {
            self.0.lock().unwrap().push(name);
        }
    }
}

/// Where images of tests are kept between runs.
fn store() -> PathBuf {
    let target = || {
        let exe = std::env::current_exe().unwrap();
        exe.ancestors().find(|path| path.join("CACHEDIR.TAG").exists()).unwrap().to_owned()
    };
    std::env::var_os("MACHINE_TEST_STORE").map_or_else(|| target().join("machines"), PathBuf::from)
}

#[tokio::test]
async fn an_image_is_built_from_packages() {
    if !machine_testkit::skip::require(&["mmdebstrap", "sfdisk", "grub-mkimage", "qemu-img", "mke2fs"])
        || !machine_testkit::skip::require_root()
    {
        return;
    }
    let cache = Cache::of_store(&store());
    let options = BuildOptions { name: "debian-docker".to_owned(), ..BuildOptions::default() };
    if cache.find(&options.name, Arch::host()).unwrap().is_none() {
        let steps = Steps::default();
        bake::build(&options, &cache, &steps).await.unwrap();
        assert_eq!(steps.0.lock().unwrap().len(), 3);
    }

    let image = cache
        .find("", Arch::host())
        .unwrap()
        .expect("what was built is what is used where no image is named");
    assert_eq!((image.name.as_str(), &image.origin), ("debian-docker", &Origin::Built));
    cache.verify(&image, true).await.unwrap();
    let facts = image.facts.expect("what is in it is known");
    let engine = facts.engine.expect("there is an engine in it");
    assert_eq!((engine.package.as_str(), engine.dockerd.as_str()), ("docker.io", "/usr/sbin/dockerd"));
    assert!(engine.version.starts_with(|c: char| c.is_ascii_digit()), "{}", engine.version);
    assert!(facts.os_release.contains("ID=debian"), "{}", facts.os_release);
    let boot = image.boot.expect("it boots without a boot loader, too");
    assert!(boot.cmdline.contains("root=LABEL=root") && boot.kernel.exists() && boot.initrd.exists());
    let info = disk::info(&image.file, Some(image.format)).await.unwrap();
    assert_eq!((info.virtual_bytes >> 20, info.backing), (bake::DISK_MIB, None));
    let left = std::fs::read_dir(cache.folder()).unwrap().flatten();
    let left: Vec<_> =
        left.map(|e| e.file_name()).filter(|n| n.to_string_lossy().starts_with(".work")).collect();
    assert!(left.is_empty(), "{left:?}");
}
