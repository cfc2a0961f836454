//! The seed's CD image, read by other programs.

use std::path::Path;
use std::process::Command;

use machine_core::Secret;
use machine_image::seed::{NoCloud, iso};
use machine_testkit::skip;
use proptest::prelude::*;

/// Runs a program; what it printed.
fn run(program: &str, args: &[&str], file: &Path) -> Vec<u8> {
    let output = Command::new(program).args(args).arg(file).output().expect("it starts");
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn seed<'a>(user_data: &'a Secret, network_config: Option<&'a str>) -> NoCloud<'a> {
    NoCloud { instance_id: "dev-1", hostname: "dev", user_data, network_config }
}

#[test]
fn others_read_it() {
    if !skip::require(&["bsdtar", "isoinfo", "blkid"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("seed.iso");
    let user_data = Secret::new("#cloud-config\nhostname: dev\n");
    let image = iso(&seed(&user_data, Some("version: 2\n")));
    assert_eq!(image, iso(&seed(&user_data, Some("version: 2\n"))), "the same input gives the same bytes");
    assert_eq!(image.len() % 2048, 0);
    std::fs::write(&file, image).unwrap();
    let text = |program, args: &[&str]| String::from_utf8(run(program, args, &file)).unwrap();
    let mut names: Vec<_> = text("bsdtar", &["-tf"]).lines().map(str::to_owned).collect();
    names.sort();
    assert_eq!(names, [".", "meta-data", "network-config", "user-data"]);
    let meta = String::from_utf8(
        Command::new("bsdtar").arg("-xOf").arg(&file).arg("meta-data").output().unwrap().stdout,
    );
    assert_eq!(meta.unwrap(), "instance-id: \"dev-1\"\nlocal-hostname: \"dev\"\n");
    // How cloud-init finds it.
    let found = text("blkid", &["-p", "-o", "export"]);
    assert!(found.lines().any(|line| line == "LABEL=cidata"), "{found}");
    assert!(found.lines().any(|line| line == "TYPE=iso9660"), "{found}");
    let joliet = text("isoinfo", &["-J", "-f", "-i"]);
    assert!(joliet.lines().any(|line| line == "/user-data"), "{joliet}");
    let plain = text("isoinfo", &["-f", "-i"]);
    assert!(plain.lines().any(|line| line == "/USERDATA.;1"), "{plain}");
    let without = iso(&seed(&user_data, None));
    std::fs::write(&file, without).unwrap();
    assert!(!text("bsdtar", &["-tf"]).contains("network-config"));
}

#[test]
fn names_are_quoted() {
    let user_data = Secret::new("");
    let odd = NoCloud {
        instance_id: "a\": b\n- c",
        hostname: "x # y",
        user_data: &user_data,
        network_config: None,
    };
    let image = iso(&odd);
    let wanted = b"instance-id: \"a\\\": b\\n- c\"\nlocal-hostname: \"x # y\"\n";
    assert!(image.windows(wanted.len()).any(|part| part == wanted));
}

/// As Linux sees it.
#[test]
fn mounted() {
    if !skip::require(&["mount", "umount", "losetup"]) || !skip::require_root() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, at) = (dir.path().join("seed.iso"), dir.path().join("at"));
    std::fs::create_dir(&at).unwrap();
    let user_data = Secret::new("#!/bin/sh\n".repeat(1000));
    std::fs::write(&file, iso(&seed(&user_data, None))).unwrap();
    let mount =
        Command::new("mount").args(["-t", "iso9660", "-o", "ro,loop"]).arg(&file).arg(&at).output().unwrap();
    if !mount.status.success() {
        let said = String::from_utf8_lossy(&mount.stderr);
        // Not required anywhere: whether there are loop devices is the kernel's affair, and other tests read the
        // image too.
        eprintln!("skipped: no loop mounts here: {}", said.trim());
        return;
    }
    let mut names: Vec<_> = std::fs::read_dir(&at)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let content = std::fs::read_to_string(at.join("user-data"));
    let umount = Command::new("umount").arg(&at).status().unwrap();
    names.sort();
    assert_eq!(names, ["meta-data", "user-data"]);
    assert_eq!(content.unwrap(), user_data.expose());
    assert!(umount.success());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_goes_in_comes_out(
        user_data in "\\PC{0,6000}",
        network in proptest::option::of("\\PC{0,3000}"),
    ) {
        if !skip::require(&["bsdtar"]) {
            return Ok(());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("seed.iso");
        let secret = Secret::new(user_data.clone());
        std::fs::write(&file, iso(&seed(&secret, network.as_deref()))).unwrap();
        let read = |name: &str| {
            let output = Command::new("bsdtar").arg("-xOf").arg(&file).arg(name).output().unwrap();
            output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
        };
        prop_assert_eq!(read("user-data"), Some(user_data));
        prop_assert_eq!(read("network-config"), network);
    }
}
