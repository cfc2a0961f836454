//! An SSH host key that is made on the host itself, in two steps: so that its public half is known, and can be pinned,
//! before the host shows it to anybody.

/// The command that the scripts are given to, on standard input: root's shell, by whatever way to root there is.
pub const COMMAND: &str = "if [ \"$(id -u)\" = 0 ]; then exec sh -s; \
     elif command -v sudo >/dev/null 2>&1; then exec sudo -n sh -s; else exec doas -n sh -s; fi";

/// Makes a key (Ed25519) beside the host's, or finds the one that an earlier run made, and prints its public half.
#[must_use]
pub fn make_script() -> String {
    script("dm_make")
}

/// Puts the key that [`make_script`] made in the host's key's place, and has the SSH server read it. Sessions go on.
#[must_use]
pub fn place_script() -> String {
    script("dm_place")
}

/// The braces make the shell read all of it before it runs any of it.
fn script(what: &str) -> String {
    format!(
        "{{\nLC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; export LC_ALL PATH\n\
         umask 077\n{FUNCTIONS}{what} </dev/null\nexit $?\n}}\n"
    )
}

const FUNCTIONS: &str = include_str!("sh/host-key.sh");
