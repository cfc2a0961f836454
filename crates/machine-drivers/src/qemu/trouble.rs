//! What QEMU says when it does not start, in sentences.

use machine_core::{DriverError, ErrorKind};

/// Why QEMU did not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// A port of this computer is taken; the forwarding rule is given.
    Port(String),
    /// The accelerator can't be used.
    Accel(String),
    /// This QEMU can't give up system calls.
    Sandbox,
    /// Another QEMU of this machine was faster: one that an interrupted call has left.
    TwoOfThem,
    /// Something else, and what to do.
    Other(String, Option<&'static str>),
}

/// What QEMU says, and what that means.
const KNOWN: &[(&str, &str, &str)] = &[
    (
        "Failed to get \"write\" lock",
        "its disk is used by another process",
        "look for another QEMU or qemu-img that has it open (`lsof`, `ps`)",
    ),
    (
        "No space left on device",
        "this computer's disk is full",
        "make room, e.g. by `docker-machine image prune`, and try again",
    ),
    (
        "unable to find CPU model",
        "QEMU does not know the processor model",
        "look at --qemu-arg; `qemu-system-x86_64 -cpu help` lists the models",
    ),
    (
        "Cannot allocate memory",
        "this computer has not enough memory for it",
        "give it less (`docker-machine resize --memory MIB`), or stop other machines",
    ),
    (
        "bridge helper failed",
        "QEMU's bridge helper did not let it into the bridge",
        "allow it in /etc/qemu/bridge.conf (a line `allow NAME`), and let the helper be setuid root",
    ),
    (
        "is not compiled into this binary",
        "this QEMU was built without something that it needs",
        "install a complete QEMU, e.g. your distribution's qemu-system package",
    ),
    (
        "There is no option group 'fsdev'",
        "this QEMU can't mount folders of this computer",
        "install a QEMU with 9p (VirtFS), or leave --qemu-mount out",
    ),
    (
        "cannot initialize fsdev",
        "a folder that it mounts can't be opened",
        "make the folder of --qemu-mount again, or change `Mounts` in the machine's config.json",
    ),
    (
        "Could not read qcow2 header",
        "its disk is damaged",
        "restore disk.qcow2 from a backup, or remove the machine and create it again",
    ),
    (
        "Could not open backing file",
        "the image that its disk is an overlay on can't be opened",
        "the image was removed or moved: put it back where the message says",
    ),
    (
        "gtk initialization failed",
        "there is no screen to show it on",
        "leave --qemu-display out, or use --qemu-display-type vnc=127.0.0.1:1",
    ),
];

/// Reads what QEMU said.
pub(super) fn read(said: &str) -> Trouble {
    let said = clean(said);
    if let Some((_, rest)) = said.split_once("Could not set up host forwarding rule '") {
        return Trouble::Port(rest.split('\'').next().unwrap_or_default().to_owned());
    }
    if said.contains("Cannot lock pid file") {
        return Trouble::TwoOfThem;
    }
    let sandbox = ["'sandbox'", "seccomp", "-sandbox"];
    if sandbox.iter().any(|word| said.contains(word)) {
        return Trouble::Sandbox;
    }
    if let Some((_, what, hint)) = KNOWN.iter().find(|(words, ..)| said.contains(words)) {
        return Trouble::Other(format!("{what} ({said})"), Some(hint));
    }
    // Some fail in the middle of QEMU: `target/i386/kvm/kvm.c: kvm_buf_set_msrs: Assertion … failed`.
    let accel = ["kvm", "hvf", "whpx", "accelerator"];
    let lower = said.to_lowercase();
    if accel.iter().any(|word| lower.contains(word)) {
        return Trouble::Accel(said);
    }
    Trouble::Other(said, None)
}

/// In one line, without the program's name and the options that QEMU repeats before an error: they are long.
fn clean(said: &str) -> String {
    let lines = said.lines().map(str::trim).filter(|line| !line.is_empty() && !line.contains("warning: "));
    let lines: Vec<&str> = lines
        .map(|line| match line.split_once(": ") {
            Some((program, rest)) if program.contains("qemu") && !program.contains(' ') => rest,
            _ => line,
        })
        .map(|line| match line.rsplit_once("}: ") {
            Some((_, rest)) if line.starts_with("-blockdev") => rest,
            _ => line,
        })
        .collect();
    lines.join("; ")
}

impl Trouble {
    /// As an error of a machine's start.
    pub(super) fn error(self) -> DriverError {
        let error =
            |kind, why: &str| DriverError::new(kind, format!("QEMU did not start the machine: {why}"));
        match self {
            Self::Port(rule) => error(
                ErrorKind::Other,
                &format!("a port of this computer is in use or not to be had: {}", port_of(&rule)),
            )
            .with_hint("end what uses it (`ss -ltnp` shows it), or change `Publish` in the machine's config.json"),
            Self::Accel(said) => error(ErrorKind::Other, &format!("the accelerator can't be used: {said}"))
                .with_hint("use --qemu-accel auto, which tries what there is, or tcg, which is slow and works everywhere"),
            Self::Sandbox => error(ErrorKind::Other, "it was built without seccomp"),
            Self::TwoOfThem => error(ErrorKind::Other, "another QEMU of this machine is running")
                .with_hint("look with `docker-machine ls`, and with `ps` for who else starts it"),
            Self::Other(said, hint) => {
                let said = if said.is_empty() { "it did not say why".to_owned() } else { said };
                let error = error(ErrorKind::Other, &said);
                match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error.with_hint("the machine's qemu.log has all that QEMU said"),
                }
            }
        }
    }
}

/// `tcp 127.0.0.1:80` of `tcp:127.0.0.1:80-:80`.
fn port_of(rule: &str) -> String {
    let here = rule.split("-:").next().unwrap_or(rule);
    match here.split_once(':') {
        Some((kind, address)) => format!("{kind} {address}"),
        None => here.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_qemu_says_is_understood() {
        let port = read(
            "qemu-system-x86_64: -netdev user,id=n,hostfwd=tcp:127.0.0.1:22-:22: Could not set up host forwarding rule 'tcp:127.0.0.1:22-:22'\n",
        );
        assert_eq!(port, Trouble::Port("tcp:127.0.0.1:22-:22".into()));
        assert_eq!(
            port.error().to_string(),
            "QEMU did not start the machine: a port of this computer is in use or not to be had: tcp 127.0.0.1:22"
        );
        let kvm = "Could not access KVM kernel module: Permission denied\nqemu-system-x86_64: failed to initialize kvm: Permission denied\n";
        assert!(
            matches!(read(kvm), Trouble::Accel(said) if said.ends_with("failed to initialize kvm: Permission denied"))
        );
        assert!(matches!(
            read("qemu-system-x86_64: -accel whpx: invalid accelerator whpx"),
            Trouble::Accel(_)
        ));
        assert_eq!(
            read("qemu-system-x86_64: -sandbox on: There is no option group 'sandbox'"),
            Trouble::Sandbox
        );
        assert_eq!(
            read(
                "qemu-system-x86_64: cannot create PID file: Cannot lock pid file: Resource temporarily unavailable"
            ),
            Trouble::TwoOfThem
        );
        let lock = "qemu-system-x86_64: -blockdev {\"driver\":\"qcow2\",\"file\":{\"filename\":\"/m/disk.qcow2\"}}: Failed to get \"write\" lock\nIs another process using the image [/m/disk.qcow2]?";
        let error = read(lock).error();
        assert_eq!(
            error.to_string(),
            "QEMU did not start the machine: its disk is used by another process (Failed to get \"write\" lock; Is another process using the image [/m/disk.qcow2]?)"
        );
        assert!(error.hint().is_some());
        assert_eq!(read("").error().to_string(), "QEMU did not start the machine: it did not say why");
        assert_eq!(read("qemu-system-x86_64: warning: x\nboo"), Trouble::Other("boo".into(), None));
    }
}
