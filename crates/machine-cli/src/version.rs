//! The version that the program says it has.

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What was built: the commit that a release was made of, set when it is compiled.
pub const BUILD: &str = match option_env!("MACHINE_BUILD") {
    Some(build) => build,
    None => "source",
};

/// The line of `version`; callers read it as `docker-machine version (.+), build (.+)`.
pub fn line() -> String {
    format!("docker-machine version {VERSION}, build {BUILD}")
}
