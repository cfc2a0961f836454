//! os-release: whatever a host calls itself, it has a family or none, and a name that can be shown.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine_provision::{Family, OsRelease};

fuzz_target!(|text: &str| {
    let release = OsRelease::parse(text);
    let family = Family::detect(&release);
    let _ = family.known_to_get_docker_com(&release);
    let _ = release.major();
    assert!(!release.display_name().is_empty());
});
