//! The images that are here: built ones, the user's own, damaged ones, used ones.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind, ImageEngine, ImageFacts, Silent};
use machine_image::disk::Format;
use machine_image::{Arch, Cache, CachedImage, DirectBoot, ImageError, NewImage, Origin};

const ARCH: Arch = Arch::X86_64;

struct Place {
    store: tempfile::TempDir,
    cache: Cache,
}

impl Place {
    fn new() -> Self {
        let store = tempfile::tempdir().unwrap();
        let cache = Cache::of_store(store.path());
        Self { store, cache }
    }

    /// An image that was built, with this content.
    fn add(&self, name: &str, content: &str) -> CachedImage {
        let workshop = self.cache.workshop().unwrap();
        let file = workshop.path().join("made");
        fs::write(&file, content).unwrap();
        self.cache.add(new(name, file)).unwrap()
    }

    fn machine(&self, name: &str) -> PathBuf {
        let dir = self.store.path().join("machines").join(name);
        fs::create_dir_all(&dir).unwrap();
        dir
    }

    fn hidden(&self) -> Vec<String> {
        let names = fs::read_dir(self.cache.folder()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with('.') && name != ".lock").collect()
    }
}

fn new(name: &str, file: PathBuf) -> NewImage {
    NewImage { name: name.into(), file, format: Format::Qcow2, arch: ARCH, facts: None, boot: None }
}

#[test]
fn a_built_image_is_kept_whole() {
    let place = Place::new();
    let workshop = place.cache.workshop().unwrap();
    let file = |name: &str| {
        let file = workshop.path().join(name);
        fs::write(&file, name).unwrap();
        file
    };
    let facts = ImageFacts {
        os_release: "ID=debian".into(),
        arch: "x86_64".into(),
        engine: Some(ImageEngine { package: "docker.io".into(), ..ImageEngine::default() }),
    };
    let boot =
        DirectBoot { kernel: file("vmlinuz-6"), initrd: file("initrd-6"), cmdline: "root=LABEL=root".into() };
    let got = place
        .cache
        .add(NewImage { facts: Some(facts.clone()), boot: Some(boot), ..new("mine", file("disk")) })
        .unwrap();
    drop(workshop);
    assert_eq!(place.hidden(), [] as [&str; 0]);
    assert_eq!((got.origin.clone(), got.facts.as_ref(), got.bytes), (Origin::Built, Some(&facts), 4));
    let boot = got.boot.as_ref().unwrap();
    assert_eq!(fs::read_to_string(&boot.kernel).unwrap(), "vmlinuz-6");
    assert_eq!(fs::read_to_string(&boot.initrd).unwrap(), "initrd-6");
    assert_eq!(fs::read_to_string(&got.file).unwrap(), "disk");
    for wanted in ["", "mine", &got.id] {
        assert_eq!(place.cache.find(wanted, ARCH).unwrap(), Some(got.clone()), "{wanted:?}");
    }
    // By its id it is what it is, whatever is asked for.
    assert_eq!(place.cache.find("mine", Arch::Aarch64).unwrap(), None);
    assert_eq!(place.cache.find(&got.id, Arch::Aarch64).unwrap(), Some(got));
}

#[test]
fn without_an_engine_it_is_not_the_default() {
    let place = Place::new();
    place.add("mine", "x");
    assert_eq!(place.cache.find("", ARCH).unwrap(), None);
}

#[test]
fn names_that_can_not_be_given() {
    let place = Place::new();
    let workshop = place.cache.workshop().unwrap();
    let file = workshop.path().join("made");
    fs::write(&file, "x").unwrap();
    for name in ["", "debian", "debian-13", "../x", ".x", "a b", &"x".repeat(200)] {
        let error = place.cache.add(new(name, file.clone())).unwrap_err();
        assert!(matches!(error, ImageError::BadName { .. }), "{name}: {error}");
    }
    assert!(file.exists());
}

#[tokio::test]
async fn damage_is_found_and_healed() {
    let place = Place::new();
    let got = place.add("mine", "content");
    place.cache.verify(&got, false).await.unwrap();
    place.cache.verify(&got, true).await.unwrap();
    assert!(place.cache.looks_unchanged(&got));
    // Touched, but the same.
    fs::set_permissions(&got.file, fs::Permissions::from_mode(0o644)).unwrap();
    fs::write(&got.file, "content").unwrap();
    assert!(!place.cache.looks_unchanged(&got));
    place.cache.verify(&got, false).await.unwrap();
    assert!(place.cache.looks_unchanged(&got));
    for damage in ["c0ntent", "cont", ""] {
        fs::set_permissions(&got.file, fs::Permissions::from_mode(0o644)).unwrap();
        fs::write(&got.file, damage).unwrap();
        let error = place.cache.verify(&got, false).await.unwrap_err();
        assert!(matches!(error, ImageError::Corrupt { .. }), "{error}");
        assert!(error.hint().unwrap().contains("docker-machine image build"));
        let error = place.cache.fetch("mine", ARCH, &Silent).await.unwrap_err();
        assert!(error.to_string().starts_with("the image \"mine\" is damaged: "), "{error}");
        // Machines that use it get it back where it was.
        let again = place.add("mine", "content");
        assert_eq!(again.file, got.file);
        place.cache.verify(&got, true).await.unwrap();
    }
    fs::remove_file(&got.file).unwrap();
    assert!(matches!(place.cache.verify(&got, false).await, Err(ImageError::Corrupt { .. })));
    fs::remove_dir_all(got.file.parent().unwrap()).unwrap();
    assert!(matches!(place.cache.verify(&got, false).await, Err(ImageError::Gone { .. })));
}

#[test]
fn what_machines_use_stays() {
    let place = Place::new();
    let (a, b) = (place.add("a", "a"), place.add("b", "b"));
    let (one, two) = (place.machine("one"), place.machine("two"));
    place.cache.used_by(&a, &one).unwrap();
    place.cache.used_by(&a, &two).unwrap();
    place.cache.used_by(&a, &two).unwrap();
    assert_eq!(place.cache.usage(&a).unwrap().machines, ["one", "two"]);
    let error = place.cache.remove(&a, false).unwrap_err();
    assert_eq!(error.to_string(), "the image \"a\" is used by one, two");
    // Another image now.
    place.cache.used_by(&b, &two).unwrap();
    assert_eq!(place.cache.usage(&a).unwrap().machines, ["one"]);
    assert_eq!(place.cache.usage(&b).unwrap().machines, ["two"]);
    assert!(place.cache.prune().unwrap().images.is_empty());
    place.cache.released_by(&two).unwrap();
    let pruned = place.cache.prune().unwrap();
    assert_eq!(pruned.images, std::slice::from_ref(&b.id));
    assert!(pruned.bytes > 0 && !b.file.exists());
    // The machine's folder is gone, however that came.
    fs::remove_dir_all(&one).unwrap();
    assert!(place.cache.usage(&a).unwrap().machines.is_empty());
    place.cache.remove(&a, false).unwrap();
    assert!(place.cache.list().unwrap().is_empty() && place.hidden().is_empty());
    let error = place.cache.used_by(&a, &two).unwrap_err();
    assert!(matches!(error, ImageError::Gone { .. }), "{error}");
    assert!(place.cache.remove(&a, false).is_err());
}

#[test]
fn force_removes_what_is_used() {
    let place = Place::new();
    let a = place.add("a", "a");
    place.cache.used_by(&a, &place.machine("one")).unwrap();
    place.cache.remove(&a, true).unwrap();
    assert!(place.cache.list().unwrap().is_empty());
}

#[test]
fn a_machine_of_the_same_name_in_another_place_is_another() {
    let place = Place::new();
    let a = place.add("a", "a");
    place.cache.used_by(&a, &place.machine("one")).unwrap();
    let elsewhere = place.store.path().join("elsewhere").join("one");
    place.cache.released_by(&elsewhere).unwrap();
    assert_eq!(place.cache.usage(&a).unwrap().machines, ["one"]);
}

#[test]
fn what_crashes_left_is_swept() {
    let place = Place::new();
    let kept = place.add("a", "a");
    place.cache.used_by(&kept, &place.machine("one")).unwrap();
    let workshop = place.cache.workshop().unwrap();
    for name in [".new-1", ".removed-2", ".work-3"] {
        let folder = place.cache.folder().join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("file"), vec![0; 1000]).unwrap();
    }
    // Who adds an image sweeps, too.
    place.add("b", "b");
    assert_eq!(place.hidden().len(), 1, "the workshop: {:?}", place.hidden());
    fs::create_dir(place.cache.folder().join(".new-1")).unwrap();
    fs::write(place.cache.folder().join(".new-1/file"), vec![0; 3000]).unwrap();
    // A record that makes no sense is no image.
    let broken = place.cache.folder().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("image.json"), "{").unwrap();
    assert_eq!(place.cache.list().unwrap().len(), 2);
    let pruned = place.cache.prune().unwrap();
    assert_eq!(pruned.images.len(), 2);
    assert!(pruned.images[0].starts_with("b-amd64-") && pruned.images[1] == "broken", "{:?}", pruned.images);
    assert!(pruned.bytes >= 3000);
    assert!(workshop.path().is_dir(), "somebody works there");
    drop(workshop);
    assert!(place.hidden().is_empty(), "{:?}", place.hidden());
    assert!(place.cache.prune().unwrap().images.is_empty());
    // Where there is no cache there is nothing to do.
    let none = Cache::of_store(Path::new("/no/such/store"));
    assert_eq!((none.prune().unwrap().bytes, none.list().unwrap().len()), (0, 0));
    none.released_by(Path::new("/no/such/machine")).unwrap();
}

#[tokio::test]
async fn a_file_of_the_user_s_own() {
    let place = Place::new();
    let file = place.store.path().join("my disk.img");
    let mut content = vec![0; 1024];
    content[510..512].copy_from_slice(b"\x55\xaa");
    fs::write(&file, content).unwrap();
    let wanted = file.to_str().unwrap();
    let got = place.cache.fetch(wanted, Arch::Aarch64, &Silent).await.unwrap();
    assert_eq!((got.file.as_path(), got.format, got.arch), (file.as_path(), Format::Raw, Arch::Aarch64));
    assert_eq!((got.origin.clone(), got.bytes, got.id.as_str()), (Origin::Local, 1024, ""));
    place.cache.used_by(&got, &place.machine("one")).unwrap();
    place.cache.verify(&got, true).await.unwrap();
    place.cache.remove(&got, true).unwrap();
    assert!(file.exists() && !place.cache.folder().exists());
    fs::write(&file, "text").unwrap();
    let error = place.cache.fetch(wanted, ARCH, &Silent).await.unwrap_err();
    assert!(matches!(error, ImageError::NotADisk { .. }), "{error}");
    let error = place.cache.fetch("./no-such.img", ARCH, &Silent).await.unwrap_err();
    assert!(error.to_string().starts_with("./no-such.img could not be read: "), "{error}");
}

#[test]
fn errors_for_drivers() {
    let error = DriverError::from(ImageError::NoQemuImg);
    assert_eq!(error.kind(), ErrorKind::Precreate);
    assert!(error.hint().unwrap().contains("install it"));
    let error = Cache::of_store(Path::new("/x")).find("ftp://x/y", ARCH).unwrap_err();
    assert_eq!(DriverError::from(error).kind(), ErrorKind::Config);
}

/// Many at once: whoever marked an image has it, whoever prunes meanwhile.
#[test]
fn nobody_loses_what_was_marked() {
    let place = Place::new();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let pruner = scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                place.cache.prune().unwrap();
            }
        });
        let users: Vec<_> = (0..4)
            .map(|user| {
                let place = &place;
                scope.spawn(move || {
                    for round in 0..25 {
                        let machine = place.machine(&format!("machine-{user}"));
                        // Two users have the same image now and then.
                        let image = place.add("mine", &format!("content {}", (user + round) % 3));
                        match place.cache.used_by(&image, &machine) {
                            Ok(()) => {
                                assert!(image.file.is_file(), "it was removed under its user");
                                assert!(
                                    place
                                        .cache
                                        .usage(&image)
                                        .unwrap()
                                        .machines
                                        .contains(&format!("machine-{user}"))
                                );
                            }
                            // Pruned before it was marked: that is said.
                            Err(ImageError::Gone { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                })
            })
            .collect();
        users.into_iter().for_each(|user| user.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        pruner.join().unwrap();
    });
    for user in 0..4 {
        fs::remove_dir_all(place.machine(&format!("machine-{user}"))).unwrap();
    }
    place.cache.prune().unwrap();
    assert!(place.cache.list().unwrap().is_empty() && place.hidden().is_empty(), "{:?}", place.hidden());
}
