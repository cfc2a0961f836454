//! What a test does on a machine that lacks something: it says so and passes, or, where nothing may be missing,
//! it fails.
//!
//! CI sets `MACHINE_TEST_REQUIRE_ALL=1`; there a skipped test would be a test that nobody runs.

use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf};

/// The variable that turns every skip into a failure.
pub const REQUIRE_ALL: &str = "MACHINE_TEST_REQUIRE_ALL";

/// True where a missing program must fail the test (`MACHINE_TEST_REQUIRE_ALL` is set, not empty and not `0`).
pub fn requires_all() -> bool {
    env::var_os(REQUIRE_ALL).is_some_and(|v| !v.is_empty() && v != "0")
}

/// Can the test go on? True when every program is found; otherwise prints what is missing and returns false, so
/// that the test can return.
///
/// # Panics
/// Where [`requires_all`] holds.
///
/// ```
/// # use machine_testkit::skip;
/// if !skip::require(&["sh", "cat"]) {
///     return;
/// }
/// ```
#[must_use]
pub fn require(programs: &[&str]) -> bool {
    let missing: Vec<&str> = programs.iter().copied().filter(|p| find_program(p).is_none()).collect();
    missing.is_empty()
        || because(&format!("no program {} here; `cargo xtask setup` installs it", missing.join(", ")))
}

/// Can the test go on as root? The lab needs it: it makes namespaces, mounts and links.
///
/// # Panics
/// Where [`requires_all`] holds and the process is not root.
#[must_use]
pub fn require_root() -> bool {
    rustix::process::geteuid().is_root() || because("it needs root (namespaces, mounts, network links)")
}

/// Says that the running test is skipped and why; returns false for the caller's `return`.
///
/// # Panics
/// Where [`requires_all`] holds.
pub fn because(reason: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("test").to_owned();
    assert!(!requires_all(), "{test} can't run: {reason} ({REQUIRE_ALL} is set)");
    eprintln!("skipped: {test}: {reason}");
    false
}

/// Where a program is: `PATH` first, then the system folders that a user's `PATH` often leaves out.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| fs::metadata(file).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_there_and_only_that() {
        assert!(find_program("sh").is_some_and(|p| p.is_absolute()));
        assert_eq!(find_program("no-such-program-anywhere"), None);
        assert!(require(&["sh"]));
    }

    #[test]
    fn a_folder_of_that_name_is_not_a_program() {
        assert_eq!(find_program("../bin"), None);
    }
}
