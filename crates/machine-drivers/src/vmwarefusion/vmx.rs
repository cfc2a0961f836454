//! A machine's configuration (`NAME.vmx`): what we write, and reading what VMware made of it.
//!
//! A line is `key = "value"`. In a value a quote, a bar and control characters stand as a bar and two hexadecimal digits.

use std::fs;
use std::io;
use std::path::Path;

use machine_image::Arch;

/// What a machine is made of.
pub(super) struct Hardware<'a> {
    pub(super) name: &'a str,
    pub(super) arch: Arch,
    pub(super) cpus: u32,
    /// MiB.
    pub(super) memory: u64,
    /// The disk's file, in the same folder.
    pub(super) disk: &'a str,
    /// CD images, in the order of the drives.
    pub(super) cds: Vec<String>,
    /// The seed as a further disk, where the guest may have no driver for a CD drive.
    pub(super) seed_disk: Option<&'a str>,
    /// Whether the machine boots boot2docker, from the first CD.
    pub(super) boot2docker: bool,
    /// A folder of this computer that the guest may mount: its name and its path.
    pub(super) share: Option<(&'a str, &'a str)>,
}

/// The text of a new machine's configuration.
pub(super) fn text(hardware: &Hardware<'_>) -> String {
    let mut lines = Lines(".encoding = \"UTF-8\"\n".to_owned());
    let (cpus, memory) = (hardware.cpus.to_string(), hardware.memory.to_string());
    lines.all(&[
        ("config.version", "8"),
        ("virtualHW.productCompatibility", "hosted"),
        ("displayName", hardware.name),
        ("numvcpus", &cpus),
        ("memsize", &memory),
        ("uuid.action", "create"),
        // Nobody is there to answer a question.
        ("msg.autoanswer", "TRUE"),
        ("answer.msg.serial.file.open", "Append"),
        ("powerType.powerOff", "soft"),
        ("powerType.powerOn", "soft"),
        ("powerType.reset", "soft"),
        ("powerType.suspend", "soft"),
        ("tools.syncTime", "TRUE"),
        ("floppy0.present", "FALSE"),
        ("pciBridge0.present", "TRUE"),
        ("vmci0.present", "TRUE"),
        ("ethernet0.present", "TRUE"),
        ("ethernet0.connectionType", "nat"),
        ("ethernet0.virtualDev", "vmxnet3"),
        ("ethernet0.wakeOnPcktRcv", "FALSE"),
        ("ethernet0.addressType", "generated"),
        ("ethernet0.linkStatePropagation.enable", "TRUE"),
        // What the guest says on its first serial port.
        ("serial0.present", "TRUE"),
        ("serial0.fileType", "file"),
        ("serial0.fileName", CONSOLE),
        ("serial0.yieldOnMsrRead", "TRUE"),
    ]);
    // PCI Express ports: without them there is no place for a paravirtual network card.
    for bridge in 4..=7 {
        lines.one(&format!("pciBridge{bridge}.present"), "TRUE");
        lines.one(&format!("pciBridge{bridge}.virtualDev"), "pcieRootPort");
        lines.one(&format!("pciBridge{bridge}.functions"), "8");
    }
    match hardware.arch {
        Arch::X86_64 => lines.x86(hardware),
        Arch::Aarch64 => lines.arm(hardware),
    }
    lines.share(hardware.share);
    lines.0
}

/// Where the guest's first serial port is written to, in the machine's folder.
pub(super) const CONSOLE: &str = "console.log";

struct Lines(String);

impl Lines {
    fn one(&mut self, key: &str, value: &str) {
        self.0.push_str(&format!("{key} = \"{}\"\n", escaped(value)));
    }

    fn all(&mut self, pairs: &[(&str, &str)]) {
        for (key, value) in pairs {
            self.one(key, value);
        }
    }

    /// The disk on VMware's own controller, which kernels made for clouds know; CD drives where those kernels have a
    /// driver for them: on IDE. boot2docker has them on SATA, as in the Go driver.
    fn x86(&mut self, hardware: &Hardware<'_>) {
        self.all(&[
            ("virtualHW.version", "10"),
            ("guestOS", "other3xlinux-64"),
            ("hpet0.present", "TRUE"),
            ("scsi0.present", "TRUE"),
            ("scsi0.virtualDev", "pvscsi"),
            ("scsi0:0.present", "TRUE"),
            ("scsi0:0.fileName", hardware.disk),
        ]);
        if hardware.boot2docker {
            self.one("sata0.present", "TRUE");
        }
        for (number, cd) in hardware.cds.iter().enumerate() {
            let drive =
                if hardware.boot2docker { format!("sata0:{}", number + 1) } else { format!("ide1:{number}") };
            self.cd(&drive, cd);
        }
    }

    /// There is no IDE on ARM, and whether a cloud's kernel knows SATA is not certain: the seed is a disk.
    fn arm(&mut self, hardware: &Hardware<'_>) {
        self.all(&[
            ("virtualHW.version", "20"),
            ("guestOS", "arm-debian-64"),
            ("firmware", "efi"),
            ("nvme0.present", "TRUE"),
            ("nvme0:0.present", "TRUE"),
            ("nvme0:0.fileName", hardware.disk),
        ]);
        if let Some(seed) = hardware.seed_disk {
            self.all(&[("nvme0:1.present", "TRUE"), ("nvme0:1.fileName", seed)]);
        }
        if !hardware.cds.is_empty() {
            self.one("sata0.present", "TRUE");
        }
        for (number, cd) in hardware.cds.iter().enumerate() {
            self.cd(&format!("sata0:{}", number + 1), cd);
        }
    }

    fn cd(&mut self, drive: &str, file: &str) {
        self.one(&format!("{drive}.present"), "TRUE");
        self.one(&format!("{drive}.deviceType"), "cdrom-image");
        self.one(&format!("{drive}.fileName"), file);
        self.one(&format!("{drive}.startConnected"), "TRUE");
    }

    fn share(&mut self, share: Option<(&str, &str)>) {
        self.all(&[("hgfs.mapRootShare", "FALSE"), ("hgfs.linkRootShare", "FALSE")]);
        let Some((name, path)) = share else { return };
        self.all(&[
            ("isolation.tools.hgfs.disable", "FALSE"),
            ("sharedFolder.maxNum", "1"),
            ("sharedFolder0.present", "TRUE"),
            ("sharedFolder0.enabled", "TRUE"),
            ("sharedFolder0.readAccess", "TRUE"),
            ("sharedFolder0.writeAccess", "TRUE"),
            ("sharedFolder0.hostPath", path),
            ("sharedFolder0.guestName", name),
            ("sharedFolder0.expiration", "never"),
        ]);
    }
}

fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for c in value.chars() {
        if c == '"' || c == '|' || c.is_ascii_control() {
            text.push_str(&format!("|{:02X}", u32::from(c)));
        } else {
            text.push(c);
        }
    }
    text
}

fn unescaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('|') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(code) => {
                text.push(char::from(code));
                rest = &rest[at + 3..];
            }
            None => {
                text.push('|');
                rest = &rest[at + 1..];
            }
        }
    }
    text.push_str(rest);
    text
}

/// A configuration as it is now.
pub(super) struct Vmx(String);

impl Vmx {
    /// Reads it.
    ///
    /// # Errors
    /// Where there is none.
    pub(super) fn read(file: &Path) -> io::Result<Self> {
        fs::read(file).map(|bytes| Self(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// The value of a key, whose case does not matter; the last one where there are several.
    pub(super) fn get(&self, key: &str) -> Option<String> {
        let line = self.0.lines().rev().filter_map(pair).find(|(name, _)| name.eq_ignore_ascii_case(key));
        line.map(|(_, value)| unescaped(value))
    }

    /// The same with other values.
    pub(super) fn with(&self, changes: &[(&str, String)]) -> String {
        let is_changed = |line: &&str| {
            pair(line).is_some_and(|(name, _)| changes.iter().any(|(key, _)| name.eq_ignore_ascii_case(key)))
        };
        let kept = self.0.lines().filter(|line| !is_changed(line)).map(str::to_owned);
        let new = changes.iter().map(|(key, value)| format!("{key} = \"{}\"", escaped(value)));
        kept.chain(new).map(|line| line + "\n").collect()
    }

    /// The address of the network card: VMware writes it there at the first start. Small letters.
    pub(super) fn mac(&self) -> Option<String> {
        let mac = self.get("ethernet0.generatedAddress").or_else(|| self.get("ethernet0.address"));
        mac.map(|mac| mac.to_ascii_lowercase()).filter(|mac| !mac.is_empty())
    }

    /// The file of the disk as the machine uses it now: after a snapshot another one than at the beginning.
    pub(super) fn disk(&self) -> Option<String> {
        self.get("scsi0:0.fileName").or_else(|| self.get("nvme0:0.fileName"))
    }

    /// Whether the machine was suspended, to go on from there.
    pub(super) fn is_suspended(&self) -> bool {
        self.get("checkpoint.vmState").is_some_and(|file| !file.is_empty())
    }
}

fn pair(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.trim().split_once('=')?;
    let value = value.trim();
    let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(value);
    Some((key.trim(), inside)).filter(|(key, _)| !key.is_empty() && !key.starts_with('#'))
}

/// A disk whose content is this file as it is, so many bytes long: VMware's descriptor of a flat disk.
pub(super) fn flat_disk(file: &str, bytes: u64) -> String {
    let sectors = bytes.div_ceil(512);
    let cylinders = sectors.div_ceil(16 * 63).max(1);
    format!(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"monolithicFlat\"\n\
         RW {sectors} FLAT \"{file}\" 0\nddb.virtualHWVersion = \"10\"\nddb.adapterType = \"lsilogic\"\n\
         ddb.geometry.cylinders = \"{cylinders}\"\nddb.geometry.heads = \"16\"\nddb.geometry.sectors = \"63\"\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hardware<'a>() -> Hardware<'a> {
        Hardware {
            name: "dev",
            arch: Arch::X86_64,
            cpus: 2,
            memory: 1024,
            disk: "dev.vmdk",
            cds: vec!["seed.iso".into()],
            seed_disk: None,
            boot2docker: false,
            share: None,
        }
    }

    #[test]
    fn values_stay_in_their_line() {
        let evil = "a\"\nguestOS = \"|x";
        let text = text(&Hardware { name: evil, share: Some(("h", "/a \"b\"")), ..hardware() });
        assert_eq!(text.matches("guestOS").count(), 2);
        assert_eq!(text.lines().filter(|line| line.starts_with("guestOS")).count(), 1);
        let vmx = Vmx(text);
        assert_eq!(vmx.get("DISPLAYNAME").as_deref(), Some(evil));
        assert_eq!(vmx.get("sharedFolder0.hostPath").as_deref(), Some("/a \"b\""));
        for line in vmx.0.lines() {
            assert_eq!(line.matches('"').count(), 2, "{line}");
        }
    }

    #[test]
    fn drives_are_where_the_guest_finds_them() {
        let x86 = Vmx(text(&hardware()));
        assert_eq!(x86.get("ide1:0.fileName").as_deref(), Some("seed.iso"));
        assert_eq!((x86.disk().as_deref(), x86.get("firmware")), (Some("dev.vmdk"), None));
        let old = Vmx(text(&Hardware {
            boot2docker: true,
            cds: vec!["/b.iso".into(), "/c.iso".into()],
            ..hardware()
        }));
        assert_eq!(old.get("sata0:1.fileName").as_deref(), Some("/b.iso"));
        assert_eq!(old.get("sata0:2.fileName").as_deref(), Some("/c.iso"));
        let arm = Vmx(text(&Hardware {
            arch: Arch::Aarch64,
            cds: vec![],
            seed_disk: Some("seed.vmdk"),
            ..hardware()
        }));
        assert_eq!(arm.get("nvme0:1.fileName").as_deref(), Some("seed.vmdk"));
        assert_eq!((arm.disk().as_deref(), arm.get("firmware").as_deref()), (Some("dev.vmdk"), Some("efi")));
    }

    #[test]
    fn what_vmware_writes_is_read() {
        let vmx = Vmx("ethernet0.generatedAddress = \"00:0C:29:AB:cd:EF\"\r\n# x = \"1\"\nmemsize=\"512\"\n\
             checkpoint.vmState = \"\"\nscsi0:0.filename = \"dev-000002.vmdk\"\nmemsize = \"1024\"\n"
            .into());
        assert_eq!(vmx.mac().as_deref(), Some("00:0c:29:ab:cd:ef"));
        assert_eq!(vmx.get("memsize").as_deref(), Some("1024"));
        assert_eq!(vmx.disk().as_deref(), Some("dev-000002.vmdk"));
        assert!(!vmx.is_suspended());
        let changed = Vmx(vmx.with(&[("memsize", "2048".into()), ("checkpoint.vmState", "dev.vmss".into())]));
        assert_eq!(changed.get("memsize").as_deref(), Some("2048"));
        assert_eq!(changed.0.matches("memsize").count(), 1);
        assert!(changed.is_suspended());
    }

    proptest::proptest! {
        #[test]
        fn any_value_comes_back_as_it_was(value in "\\PC*|[\\x00-\\x7f]*") {
            let vmx = Vmx(Vmx(text(&hardware())).with(&[("displayName", value.clone())]));
            proptest::prop_assert_eq!(vmx.get("displayname"), Some(value));
            proptest::prop_assert_eq!(vmx.get("memsize"), Some("1024".to_owned()));
        }

        #[test]
        fn any_text_is_read(text in ".*", key in "[a-z.]*") {
            let vmx = Vmx(text);
            let _ = (vmx.get(&key), vmx.mac(), vmx.is_suspended(), vmx.with(&[("a", key)]));
        }
    }
}
