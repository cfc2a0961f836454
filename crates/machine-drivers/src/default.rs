//! The driver where none is named: VirtualBox where it is installed, as in the reference program, else qemu.

use crate::virtualbox;

/// The driver of the reference program where none is named.
const VIRTUALBOX: &str = "virtualbox";
/// The one for everybody else.
const QEMU: &str = "qemu";

/// Which driver is meant where neither `-d` nor `MACHINE_DRIVER` says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DefaultDriver {
    /// Its name.
    pub name: &'static str,
    /// Why this one.
    pub why: &'static str,
}

impl DefaultDriver {
    /// Looks whether VirtualBox's program is there. Starts no process.
    #[must_use]
    pub fn look() -> Self {
        Self::of(virtualbox::find_program().is_some())
    }

    fn of(virtualbox: bool) -> Self {
        if virtualbox {
            Self { name: VIRTUALBOX, why: "VirtualBox is installed" }
        } else {
            Self { name: QEMU, why: "VirtualBox is not installed" }
        }
    }

    /// What the user is told of the choice.
    #[must_use]
    pub fn notice(self) -> String {
        format!("Driver: {} ({}; -d chooses another)", self.name, self.why)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_said_with_its_reason() {
        assert_eq!(
            DefaultDriver::of(false).notice(),
            "Driver: qemu (VirtualBox is not installed; -d chooses another)"
        );
        assert_eq!(DefaultDriver::of(true).name, "virtualbox");
    }
}
