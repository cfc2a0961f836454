//! Disks that are full, read-only or not ours, and stores that somebody's hand or a crash has hurt.

mod fault_support;

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fault_support::{NOWHERE, Place, Snapshot, assert_clean, assert_unlocked, run};
use machine_testkit::skip;

/// A mount, as long as the value lives.
struct Mount(PathBuf);

impl Mount {
    #[track_caller]
    fn new(words: &[&str], at: &Path) -> Self {
        mount(words, at);
        Self(at.to_owned())
    }

    #[track_caller]
    fn again(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}")], &self.0);
    }
}

#[track_caller]
fn mount(words: &[&str], at: &Path) {
    let output = Command::new("mount").args(words).arg(at).output().unwrap();
    assert!(output.status.success(), "mount {words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn may_mount() -> bool {
    skip::require_root() && skip::require(&["mount", "umount"])
}

fn quick_create(place: &Place, name: &str) -> Command {
    place.command(&["create", "-d", "none", "--url", NOWHERE, "--tls-key-algorithm", "ecdsa-p256", name])
}

#[test]
fn a_disk_that_fills_up_at_any_write_leaves_nothing_half_made() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    let mut failures = 0;
    // A page more each time: every file of a first create is once the first that does not fit.
    for pages in 1..=12 {
        let disk =
            Mount::new(&["-t", "tmpfs", "-o", &format!("size={}k", pages * 4), "tmpfs"], &place.store());
        let ended = run(quick_create(&place, "web"));
        assert_unlocked(&place.store());
        if ended.code != 0 {
            failures += 1;
            ended.fails_saying(1, &["no space left on device", "Hint: "]);
            let left = place.run(&["ls", "-q"]);
            for name in left.ok().lines() {
                place.run(&["rm", "-y", name]).ok();
            }
            disk.again("size=1m");
            run(quick_create(&place, "web")).ok();
        }
        assert_clean(&place.store());
        assert_eq!(place.run(&["ls", "-q"]).ok(), "web\n");
    }
    assert!(failures > 3, "the disk was never full");
}

#[test]
fn what_is_there_stays_usable_on_a_full_disk() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    fs::create_dir(place.store()).unwrap();
    let disk = Mount::new(&["-t", "tmpfs", "-o", "size=256k", "tmpfs"], &place.store());
    run(quick_create(&place, "one")).ok();
    run(quick_create(&place, "two")).ok();
    let full = "dd if=/dev/zero of=store/filling bs=1k >/dev/null 2>&1; test -s store/filling";
    assert!(Command::new("sh").arg("-c").arg(full).current_dir(place.root()).status().unwrap().success());
    let before = Snapshot::of(&place.machine_dir("one"));
    run(quick_create(&place, "three")).fails_saying(1, &["no space left on device", "Free some space"]);
    assert_eq!(place.run(&["ls", "-q"]).ok(), "one\ntwo\n");
    assert_eq!(place.run(&["url", "one"]).ok(), format!("{NOWHERE}\n"));
    place.run(&["inspect", "one"]).ok();
    before.assert_same(&place.machine_dir("one"));
    // A removal needs no space.
    place.run(&["rm", "-y", "two"]).ok();
    assert_eq!(place.run(&["ls", "-q"]).ok(), "one\n");
    assert_clean(&place.store());
    drop(disk);
}

#[test]
fn a_read_only_store_can_be_read_and_nothing_else() {
    if !may_mount() {
        return;
    }
    let place = Place::new();
    run(quick_create(&place, "web")).ok();
    let readonly = Mount::new(&["--bind", place.store().to_str().unwrap()], &place.store());
    readonly.again("bind,ro");
    let before = Snapshot::of(&place.store());
    assert_eq!(place.run(&["ls", "-q"]).ok(), "web\n");
    assert!(place.row("web").unwrap().contains("Unable to query docker version"));
    for words in [&["url", "web"][..], &["ip", "web"], &["inspect", "web"], &["status", "web"]] {
        place.run(words).ok();
    }
    place.run(&["env", "web"]).fails_saying(1, &["Error checking TLS connection"]);
    run(quick_create(&place, "new")).fails_saying(1, &["read-only file system", "--storage-path"]);
    place.run(&["rm", "-y", "web"]).fails_saying(1, &["read-only file system", "--storage-path"]);
    // The reference program's `rm -f` never fails; it must not say that it removed anything, though.
    let forced = place.run(&["rm", "-f", "web"]);
    forced.fails_saying(0, &["read-only file system", "Can't remove \"web\""]);
    assert!(!forced.stdout.contains("Successfully removed"), "{forced}");
    before.assert_same(&place.store());
}

#[test]
fn a_store_that_is_a_file_stays_one() {
    let place = Place::new();
    fs::write(place.store(), "mine").unwrap();
    let storage = place.store().display().to_string();
    for words in [
        &["ls"][..],
        &["ls", "-q"],
        &["env", "web"],
        &["inspect", "web"],
        &["create", "-d", "none", "--url", NOWHERE, "web"],
        &["create", "--resume", "web"],
    ] {
        place.run(words).fails_saying(1, &[&storage, "not a directory"]);
    }
    place.run(&["rm", "-y", "web"]).fails_saying(1, &["web"]);
    assert_eq!(fs::read_to_string(place.store()).unwrap(), "mine");
}

#[test]
fn a_home_that_is_not_ours_is_named() {
    /// Debian's and everybody's `nobody`.
    const NOBODY: u32 = 65534;
    if !skip::require_root() {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.root(), fs::Permissions::from_mode(0o755)).unwrap();
    let home = place.root().join("home");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).unwrap();
    // Where the build's folder is may be closed to others.
    let binary = place.root().join("docker-machine");
    fs::copy(env!("CARGO_BIN_EXE_docker-machine"), &binary).unwrap();
    let as_nobody = |words: &[&str]| {
        let mut command = Command::new(&binary);
        command.args(words).env_clear().env("HOME", &home).env("PATH", "/usr/bin:/bin");
        run({
            command.uid(NOBODY).gid(NOBODY).current_dir("/");
            command
        })
    };
    for words in [
        &["ls"][..],
        &["ls", "-q"],
        &["env", "web"],
        &["create", "-d", "none", "--url", NOWHERE, "web"],
        &["rm", "-y", "web"],
    ] {
        as_nobody(words).fails_saying(1, &["permission denied", ".docker/machine"]);
    }
    assert_eq!(fs::read_dir(&home).unwrap().count(), 0);
}

#[test]
fn a_hurt_record_is_one_row_and_hurts_no_other() {
    let place = Place::new();
    for name in ["good", "torn", "journal", "empty", "dir"] {
        run(quick_create(&place, name)).ok();
    }
    let config = |name: &str| place.machine_dir(name).join("config.json");
    let whole = fs::read(config("torn")).unwrap();
    fs::write(config("torn"), &whole[..whole.len() / 2]).unwrap();
    fs::write(place.machine_dir("journal").join("state.json"), "{\"phase\": \"ho").unwrap();
    fs::write(config("empty"), "").unwrap();
    fs::remove_file(config("dir")).unwrap();
    fs::create_dir(config("dir")).unwrap();
    let row = |name: &str| place.row(name).unwrap_or_else(|| panic!("no row of {name}"));
    assert!(row("good").starts_with("Running Unable to query"), "{}", row("good"));
    // The reference program's words for a record that is not whole.
    for (name, why) in [("torn", "unexpected end of JSON input"), ("journal", "state.json")] {
        let row = row(name);
        assert!(row.starts_with("Error ") && row.contains(why), "{name}: {row}");
    }
    assert!(row("empty").starts_with("Error "), "{}", row("empty"));
    assert!(row("dir").starts_with("Error "), "{}", row("dir"));
    assert_eq!(place.run(&["ls", "-q"]).ok().lines().count(), 5);
    for name in ["torn", "journal", "empty", "dir"] {
        let refused = place.run(&["rm", "-y", name]);
        assert_eq!(refused.code, 1, "{refused}");
        assert!(place.machine_dir(name).exists(), "rm without -f keeps what it can't read");
        let forced = place.run(&["rm", "-f", name]);
        assert!(forced.ok().contains(&format!("Successfully removed {name}")), "{forced}");
        assert!(!forced.stderr.is_empty(), "it says what it could not do");
        assert!(!place.machine_dir(name).exists());
    }
    assert_eq!(place.run(&["ls", "-q"]).ok(), "good\n");
    assert_clean(&place.store());
}

#[test]
fn foreign_things_in_the_store_are_left_alone() {
    let place = Place::new();
    run(quick_create(&place, "good")).ok();
    let machines = place.store().join("machines");
    let outside = place.root().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::copy(place.machine_dir("good").join("config.json"), outside.join("config.json")).unwrap();
    fs::write(outside.join("precious"), "mine").unwrap();
    let untouched = Snapshot::of(&outside);
    symlink(&outside, machines.join("link")).unwrap();
    fs::write(machines.join("a-file"), "x").unwrap();
    for name in ["odd name", "-x", "tab\there", "$(reboot)", "déjà", "\u{1b}[31mred"] {
        fs::create_dir(machines.join(name)).unwrap();
        fs::write(machines.join(name).join("note"), "mine").unwrap();
    }
    fs::create_dir(machines.join(std::ffi::OsStr::from_bytes(b"not\xffutf8"))).unwrap();
    fs::create_dir(machines.join(".hidden")).unwrap();

    let listed = place.run(&["ls", "-t", "1"]);
    let rows: Vec<&str> = listed.ok().lines().collect();
    assert_eq!(rows.iter().filter(|row| row.contains("not found")).count(), 7, "{listed}");
    assert!(rows.iter().any(|row| row.starts_with("good ") && row.contains("Running")), "{listed}");
    assert!(!rows.iter().any(|row| row.starts_with(".hidden") || row.starts_with("a-file")), "{listed}");
    place.run(&["url", "good"]).ok();

    for name in ["odd name", "-x", "tab\there", "$(reboot)", "déjà", "\u{1b}[31mred"] {
        place.run(&["rm", "-y", "--", name]).fails_saying(1, &[]);
        place.run(&["rm", "-f", "--", name]).ok();
        assert!(!machines.join(name).exists(), "{name:?}");
    }
    // The link goes, what it leads to stays.
    place.run(&["rm", "-f", "link"]).ok();
    assert!(fs::symlink_metadata(machines.join("link")).is_err());
    untouched.assert_same(&outside);
    // Names that lead elsewhere are none of ours.
    for name in ["../../outside", "..", ".", "/", "../machines/good", ".hidden", ""] {
        let refused = place.run(&["rm", "-f", "--", name]);
        assert!(!refused.stdout.contains("Successfully"), "{refused}");
    }
    untouched.assert_same(&outside);
    assert!(machines.join(".hidden").exists() && machines.join("a-file").exists());
    assert_eq!(place.run(&["url", "good"]).ok(), format!("{NOWHERE}\n"));
}

#[test]
fn rm_without_force_keeps_what_no_driver_can_remove() {
    let place = Place::new();
    run(quick_create(&place, "gone")).ok();
    let config = place.machine_dir("gone").join("config.json");
    let text = fs::read_to_string(&config).unwrap();
    let other = text.replace("\"DriverName\": \"none\"", "\"DriverName\": \"retired-cloud\"");
    assert_ne!(text, other);
    fs::write(&config, other).unwrap();
    assert!(place.row("gone").unwrap().contains("retired-cloud"), "{:?}", place.row("gone"));
    place.run(&["rm", "-y", "gone"]).fails_saying(1, &["retired-cloud"]);
    assert!(config.exists());
    let forced = place.run(&["rm", "-f", "gone"]);
    assert!(forced.ok().contains("Successfully removed gone"));
    assert!(forced.stderr.contains("retired-cloud"), "{forced}");
    assert!(!place.machine_dir("gone").exists());
}
