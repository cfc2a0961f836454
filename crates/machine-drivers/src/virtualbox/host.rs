//! What VirtualBox and this computer are.

use machine_core::{Cx, DriverError, ErrorKind, Event};

use super::vboxmanage::{VBoxManage, after};

/// VirtualBox's version, e.g. `7.0.10`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Version(pub u32, pub u32, pub u32);

impl Version {
    /// Since then host-only adapters of Linux, macOS and Solaris get addresses only where `/etc/vbox/networks.conf` allows.
    pub(super) const RESTRICTED: Self = Self(6, 1, 28);
    /// Since then macOS has host-only networks instead of adapters, and virtual machines of another kind of processor exist.
    pub(super) const NETWORKS: Self = Self(7, 0, 0);
    /// Since then it runs beside Hyper-V, if slowly.
    pub(super) const BESIDE_HYPERV: Self = Self(6, 0, 0);

    /// Reads `VBoxManage --version`: `7.0.10r158379`, `5.0.8_Debianr103449`, `6.1.50_Ubuntur161033`; warnings may stand before it.
    fn read(said: &str) -> Option<Self> {
        let line = said.lines().map(str::trim).rfind(|line| !line.is_empty())?;
        let mut numbers = line.splitn(3, '.');
        let whole = |text: &str| {
            let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
            digits.parse::<u32>().ok()
        };
        let major = numbers.next()?.parse().ok()?;
        let minor = whole(numbers.next()?)?;
        Some(Self(major, minor, numbers.next().and_then(whole).unwrap_or(0)))
    }
}

/// Asks for the version.
///
/// # Errors
/// [`ErrorKind::Precreate`] in the reference program's words where it is too old, or no version.
pub(super) async fn version(manage: &VBoxManage) -> Result<Version, DriverError> {
    let said = manage.ask(&["--version"]).await?;
    let version = Version::read(&said).filter(|version| *version >= Version(4, 3, 0));
    version.ok_or_else(|| {
        let shown = said.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        DriverError::new(
            ErrorKind::Precreate,
            format!(
                "We support Virtualbox starting with version 5. Your VirtualBox install is {shown:?}. Please upgrade at \
                 https://www.virtualbox.org"
            ),
        )
        .with_hint("where it is new enough, see what `VBoxManage --version` says in a terminal")
    })
}

/// Whether VirtualBox can run virtual machines here.
///
/// # Errors
/// [`ErrorKind::Precreate`], in the reference program's words where it has some.
pub(super) async fn check(
    cx: &Cx<'_>,
    manage: &VBoxManage,
    no_vtx_check: bool,
) -> Result<Version, DriverError> {
    // VirtualBox's script warns on this way of a kernel module that is missing, and goes on.
    let said = manage.ask(&["--version"]).await?;
    if said.contains("WARNING:") {
        let warning: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        cx.report.report(Event::Warning(format!("VirtualBox: {}", warning.join(" "))));
    }
    let version = version(manage).await?;
    if version < Version(5, 0, 0) {
        cx.report.report(Event::Warning(format!(
            "You are using version {}.{}.{} of VirtualBox. If you encounter issues, you might want to upgrade to version 5 at \
             https://www.virtualbox.org",
            version.0, version.1, version.2
        )));
    }
    if no_vtx_check {
        return Ok(version);
    }
    if hyperv_runs().await {
        if version < Version::BESIDE_HYPERV {
            return Err(DriverError::new(
                ErrorKind::Precreate,
                "This computer is running Hyper-V. VirtualBox won't boot a 64bits VM when Hyper-V is activated. Either use Hyper-V as a driver, \
                 or disable the Hyper-V hypervisor. (To skip this check, use --virtualbox-no-vtx-check)",
            )
            .with_hint("use `-d hyperv`, or VirtualBox 6 or later"));
        }
        cx.report.report(Event::Warning(
            "This computer is running Hyper-V. VirtualBox runs beside it, but slowly: the driver hyperv is faster.".to_owned(),
        ));
        // It then has the processor's virtualisation, and VirtualBox says that there is none.
        return Ok(version);
    }
    let info = manage.ask(&["list", "hostinfo"]).await?;
    if has_virtualisation(&info) == Some(false) {
        return Err(DriverError::new(
            ErrorKind::Precreate,
            "This computer doesn't have VT-X/AMD-v enabled. Enabling it in the BIOS is mandatory",
        )
        .with_hint(
            "in a virtual machine, nested virtualisation must be on. --virtualbox-no-vtx-check skips this check; `-d qemu` needs no \
             virtualisation, but is slow without",
        ));
    }
    Ok(version)
}

/// What `list hostinfo` says: `Processor supports HW virtualization: yes`; `None` where it says nothing of it.
fn has_virtualisation(info: &str) -> Option<bool> {
    info.lines()
        .find_map(|line| after(line, "Processor supports HW virtualization"))
        .map(|value| value.eq_ignore_ascii_case("yes"))
}

/// Whether Windows itself runs in a virtual machine of Hyper-V's hypervisor, as it does where Hyper-V, the virtual machine platform or memory
/// integrity is on.
#[cfg(windows)]
async fn hyperv_runs() -> bool {
    use machine_process::Program;
    let limit = std::time::Duration::from_secs(30);
    // Hyper-V's service is only there where it is installed; the other question takes a second.
    if Program::find(&["vmms"], &[]).is_err() {
        return false;
    }
    let Ok(shell) = Program::find(&["powershell"], &[]) else { return false };
    let ask = [
        "-NoProfile",
        "-NonInteractive",
        "-Command",
        "(Get-CimInstance Win32_ComputerSystem).HypervisorPresent",
    ];
    shell.run(&ask, limit).await.is_ok_and(|output| output.stdout.trim() == "True")
}

/// There is no Hyper-V elsewhere.
#[cfg(not(windows))]
async fn hyperv_runs() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Versions as packages of Oracle, Debian and Ubuntu say them.
    #[test]
    fn versions() {
        for (said, want) in [
            ("7.0.10r158379\n", Some(Version(7, 0, 10))),
            ("5.0.8_Debianr103449\n", Some(Version(5, 0, 8))),
            ("6.1.50_Ubuntur161033\n", Some(Version(6, 1, 50))),
            ("4.3\n", Some(Version(4, 3, 0))),
            (
                "WARNING: The vboxdrv kernel module is not loaded. Either there is no module\n         available.\n7.1.4r165100\n",
                Some(Version(7, 1, 4)),
            ),
            ("X.Y", None),
            ("", None),
        ] {
            assert_eq!(Version::read(said), want, "{said}");
        }
        assert!(Version(6, 1, 26) < Version::RESTRICTED && Version(7, 0, 0) > Version::RESTRICTED);
    }

    /// Lines of `VBoxManageList.cpp`: `listHostInfo`.
    #[test]
    fn virtualisation() {
        let info = |word| {
            format!(
                "Host Information:\n\nProcessor count: 2\nProcessor supports HW virtualization: {word}\nProcessor supports PAE: yes\n"
            )
        };
        assert_eq!(has_virtualisation(&info("yes")), Some(true));
        assert_eq!(has_virtualisation(&info("no")), Some(false));
        assert_eq!(has_virtualisation("Host Information:\n"), None);
    }
}
