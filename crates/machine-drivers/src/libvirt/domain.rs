//! The domain as libvirt reads it: <https://libvirt.org/formatdomain.html>.

use std::path::{Path, PathBuf};

use machine_core::{DriverError, ErrorKind};
use machine_image::Arch;
use roxmltree::Document;

use super::network::{Forward, LOOPBACK, PASST};
use super::state::LibvirtState;
use super::xml::Element;

const QEMU_NAMESPACE: &str = "http://libvirt.org/schemas/domain/qemu/1.0";
/// Names our element in a domain's metadata. It tells whose a domain is that nobody remembers.
const OUR_NAMESPACE: &str = "urn:docker-machine:libvirt:1";
/// Where our own network card sits: libvirt counts up from 1, and its fixed devices are above.
const CARD_SLOT: &str = "0x10";

/// All that a domain is made of.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub state: &'a LibvirtState,
    pub arch: Arch,
    /// Hardware virtualisation, else emulation.
    pub kvm: bool,
    pub extra: Extra,
    /// Kernel and such where there is no boot loader.
    pub boot: Option<Boot>,
    /// Where the serial console is written to.
    pub console: Option<PathBuf>,
}

/// How a domain boots without a boot loader: files of the hypervisor's computer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Boot {
    pub kernel: String,
    pub initrd: String,
    pub cmdline: String,
}

impl Plan<'_> {
    /// The domain as XML.
    pub(super) fn render(&self) -> String {
        let state = self.state;
        let ours = Element::new("machine:machine")
            .with("xmlns:machine", OUR_NAMESPACE)
            .with("name", &state.base.machine_name)
            .with("store", &state.base.store_path);
        Element::new("domain")
            .with("type", if self.kvm { "kvm" } else { "qemu" })
            .with("xmlns:qemu", QEMU_NAMESPACE)
            .child(Element::text("name", &state.base.machine_name))
            .child(Element::text("uuid", &state.uuid))
            .child(Element::text("title", format!("Docker host {}", state.base.machine_name)))
            .child(Element::new("metadata").child(ours))
            .child(Element::text("memory", state.memory).with("unit", "MiB"))
            .child(Element::text("vcpu", state.cpu))
            .child(self.os())
            .child(self.features())
            .child(self.cpu())
            .child(Element::new("clock").with("offset", "utc"))
            .child(Element::text("on_poweroff", "destroy"))
            .child(Element::text("on_reboot", "restart"))
            .child(Element::text("on_crash", "destroy"))
            .child(self.devices())
            .children(self.command_line())
            .verbatim(self.extra.domain.clone())
            .to_string()
    }

    fn os(&self) -> Element {
        let machine = match self.arch {
            Arch::X86_64 => "q35",
            Arch::Aarch64 => "virt",
        };
        let kind = Element::text("type", "hvm").with("arch", self.arch.as_str()).with("machine", machine);
        let efi = match self.state.firmware.as_str() {
            "" => self.arch == Arch::Aarch64,
            firmware => firmware == "efi",
        };
        let os = Element::new("os");
        let os = if efi { os.with("firmware", "efi") } else { os };
        let os = os.child(kind);
        match &self.boot {
            Some(boot) => os
                .child(Element::text("kernel", &boot.kernel))
                .child(Element::text("initrd", &boot.initrd))
                .child(Element::text("cmdline", &boot.cmdline)),
            None => os.child(Element::new("boot").with("dev", "hd")),
        }
    }

    fn features(&self) -> Element {
        let features = Element::new("features").child(Element::new("acpi"));
        if self.arch == Arch::X86_64 { features.child(Element::new("apic")) } else { features }
    }

    fn cpu(&self) -> Element {
        let mode = if self.kvm { "host-passthrough" } else { "maximum" };
        Element::new("cpu").with("mode", mode)
    }

    fn devices(&self) -> Element {
        let state = self.state;
        let seed = (!state.seed_volume.is_empty()).then(|| seed(state));
        Element::new("devices")
            .child(disk(state))
            .children(seed)
            .child(Element::new("controller").with("type", "usb").with("model", "none"))
            .children(self.card())
            .child(self.serial())
            .child(
                Element::new("console")
                    .with("type", "pty")
                    .child(Element::new("target").with("type", "serial").with("port", 0)),
            )
            .child(
                Element::new("rng")
                    .with("model", "virtio")
                    .child(Element::text("backend", "/dev/urandom").with("model", "random")),
            )
            .child(Element::new("memballoon").with("model", "virtio"))
            .verbatim(self.extra.devices.clone())
    }

    fn serial(&self) -> Element {
        let log = self
            .console
            .as_ref()
            .map(|file| Element::new("log").with("file", file.display().to_string()).with("append", "off"));
        let target = Element::new("target").with("port", 0);
        Element::new("serial").with("type", "pty").children(log).child(target)
    }

    /// The network card, where libvirt makes it.
    fn card(&self) -> Option<Element> {
        let state = self.state;
        let card = match (state.is_forwarded(), state.forwarder == PASST) {
            (false, _) => Element::new("interface")
                .with("type", "network")
                .child(Element::new("source").with("network", &state.network)),
            (true, true) => Element::new("interface")
                .with("type", "user")
                .child(Element::new("backend").with("type", "passt"))
                .children(Forward::all(state).into_iter().map(port_forward)),
            (true, false) => return None,
        };
        let address = Element::new("mac").with("address", &state.mac);
        Some(card.child(address).child(Element::new("model").with("type", "virtio")))
    }

    /// The network card, where only QEMU itself can forward ports to it.
    fn command_line(&self) -> Option<Element> {
        let state = self.state;
        if !state.is_forwarded() || state.forwarder == PASST {
            return None;
        }
        let rules: Vec<String> = Forward::all(state).iter().map(Forward::rule).collect();
        let net = format!("user,id=machine0,{}", rules.join(","));
        let card = format!("virtio-net-pci,netdev=machine0,bus=pcie.0,addr={CARD_SLOT},mac={}", state.mac);
        let arg = |value: &str| Element::new("qemu:arg").with("value", value);
        Some(Element::new("qemu:commandline").children(["-netdev", &net, "-device", &card].map(arg)))
    }
}

fn disk(state: &LibvirtState) -> Element {
    let driver = Element::new("driver").with("name", "qemu").with("type", "qcow2").with("discard", "unmap");
    let driver = if state.cache_mode.is_empty() { driver } else { driver.with("cache", &state.cache_mode) };
    volume(state, &state.disk_volume, driver, "vda")
}

/// The seed is a disk and no CD: the small kernels of cloud images have no driver for the controllers of those.
fn seed(state: &LibvirtState) -> Element {
    let driver = Element::new("driver").with("name", "qemu").with("type", "raw");
    volume(state, &state.seed_volume, driver, "vdb").with("snapshot", "no").child(Element::new("readonly"))
}

fn volume(state: &LibvirtState, name: &str, driver: Element, device: &str) -> Element {
    Element::new("disk")
        .with("type", "volume")
        .with("device", "disk")
        .child(driver)
        .child(Element::new("source").with("pool", &state.pool).with("volume", name))
        .child(Element::new("target").with("dev", device).with("bus", "virtio"))
}

fn port_forward(forward: Forward) -> Element {
    let range = Element::new("range").with("start", forward.host).with("to", forward.guest);
    Element::new("portForward").with("proto", forward.protocol).with("address", &forward.address).child(range)
}

/// What the user's own file adds to a domain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extra {
    /// What goes into `<devices>`.
    devices: Vec<String>,
    /// What else goes into `<domain>`.
    domain: Vec<String>,
}

impl Extra {
    /// Reads `--libvirt-extra-xml`; an empty path is no file.
    ///
    /// # Errors
    /// [`ErrorKind::Precreate`] where it can't be read or is not what it should be.
    pub(super) fn read(path: &str) -> Result<Self, DriverError> {
        if path.is_empty() {
            return Ok(Self::default());
        }
        let wrong = |why: String| {
            DriverError::new(
                ErrorKind::Precreate,
                format!("the file of --libvirt-extra-xml, {path:?}, {why}"),
            )
            .with_hint(
                "it must be <domain> with what is to be added, e.g. <domain><devices>…</devices></domain>",
            )
        };
        let text = std::fs::read_to_string(Path::new(path))
            .map_err(|error| wrong(format!("can't be read: {error}")))?;
        Self::parse(&text).map_err(wrong)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let document = Document::parse(text).map_err(|error| format!("is not XML: {error}"))?;
        let root = document.root_element();
        if root.tag_name().name() != "domain" {
            return Err(format!("begins with <{}>", root.tag_name().name()));
        }
        let mut extra = Self::default();
        let source = |node: roxmltree::Node<'_, '_>| text[node.range()].to_owned();
        for child in root.children().filter(roxmltree::Node::is_element) {
            match child.tag_name().name() {
                "devices" => {
                    extra.devices.extend(child.children().filter(roxmltree::Node::is_element).map(source));
                }
                "name" | "uuid" => {
                    return Err(format!("has a <{}>, which is ours to give", child.tag_name().name()));
                }
                _ => extra.domain.push(source(child)),
            }
        }
        Ok(extra)
    }
}

/// The domain's XML with other ports of this computer that lead to SSH and the engine. All else stays as it is, even what
/// the user changed.
pub(super) fn with_ports(xml: &str, old: &LibvirtState, new: &LibvirtState) -> String {
    let pairs = [
        (old.base.ssh_port, new.base.ssh_port, 22),
        (old.engine_port, new.engine_port, super::state::ENGINE_PORT),
    ];
    let mut xml = xml.to_owned();
    for (from, to, guest) in pairs {
        let rule = |host: u16| format!("hostfwd=tcp:{LOOPBACK}:{host}-:{guest}");
        xml = xml.replace(&rule(from), &rule(to));
        for quote in ['\'', '"'] {
            let range = |host: u16| format!("start={quote}{host}{quote} to={quote}{guest}{quote}");
            xml = xml.replace(&range(from), &range(to));
        }
    }
    xml
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::base::Base;

    fn state() -> LibvirtState {
        LibvirtState {
            base: Base {
                machine_name: "dev".into(),
                store_path: "/home/a & b/<store>'".into(),
                ssh_port: 2222,
                ..Base::default()
            },
            uuid: "a2c4d1de-0a4f-4c3e-9c61-0123456789ab".into(),
            mac: "52:54:00:11:22:33".into(),
            cpu: 2,
            memory: 2048,
            network: "default".into(),
            engine_port: 2377,
            pool: "po'ol".into(),
            disk_volume: "disk.qcow2".into(),
            ..LibvirtState::default()
        }
    }

    fn plan(state: &LibvirtState) -> Plan<'_> {
        Plan { state, arch: Arch::X86_64, kvm: false, extra: Extra::default(), boot: None, console: None }
    }

    #[test]
    fn a_domain_is_what_was_asked_for() {
        let state = state();
        let xml = plan(&state).render();
        let document = Document::parse(&xml).unwrap();
        let texts = |name: &str| -> Vec<String> {
            let nodes = document.descendants().filter(|node| node.tag_name().name() == name);
            nodes.filter_map(|node| node.text().map(str::to_owned)).collect()
        };
        assert_eq!(
            (texts("name"), texts("memory"), texts("vcpu")),
            (vec!["dev".into()], vec!["2048".into()], vec!["2".into()])
        );
        let node = |name: &str| document.descendants().find(|node| node.tag_name().name() == name).unwrap();
        assert_eq!(node("machine").attribute("store"), Some("/home/a & b/<store>'"));
        assert_eq!(node("source").attribute("pool"), Some("po'ol"));
        assert_eq!(node("interface").attribute("type"), Some("network"));
        assert!(!xml.contains("qemu:commandline") && !xml.contains("vdb"));
    }

    #[test]
    fn architecture_and_acceleration() {
        let mut state = state();
        let arm = Plan { arch: Arch::Aarch64, kvm: true, ..plan(&state) }.render();
        assert!(
            arm.contains("firmware='efi'") && arm.contains("machine='virt'") && !arm.contains("<apic/>"),
            "{arm}"
        );
        assert!(arm.contains("type='kvm'") && arm.contains("host-passthrough"), "{arm}");
        let boot = Boot { kernel: "/k".into(), initrd: "/i".into(), cmdline: "root=LABEL=root quiet".into() };
        let direct = Plan { boot: Some(boot), ..plan(&state) }.render();
        assert!(
            direct.contains(
                "<kernel>/k</kernel><initrd>/i</initrd><cmdline>root=LABEL=root quiet</cmdline></os>"
            )
        );
        state.firmware = "efi".into();
        assert!(plan(&state).render().contains("<os firmware='efi'>"));
    }

    #[test]
    fn forwarded_ports_by_either_way_and_other_ones() {
        let mut state = state();
        state.network = super::super::network::USER.into();
        state.publish = vec!["8080:80".into()];
        let slirp = plan(&state).render();
        assert!(slirp.contains(
            "value='user,id=machine0,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=tcp:127.0.0.1:2377-:2376,hostfwd=tcp:127.0.0.1:8080-:80'"
        ));
        let mut moved = state.clone();
        (moved.base.ssh_port, moved.engine_port) = (3222, 3377);
        assert_eq!(with_ports(&slirp, &state, &moved), plan(&moved).render());
        (state.forwarder, moved.forwarder) = (PASST.into(), PASST.into());
        let passt = plan(&state).render();
        assert!(
            passt.contains("<backend type='passt'/>") && passt.contains("<range start='2377' to='2376'/>"),
            "{passt}"
        );
        assert_eq!(with_ports(&passt, &state, &moved), plan(&moved).render());
    }

    #[test]
    fn the_users_own_part() {
        let extra = Extra::parse(
            "<domain xmlns:q='x'><cputune><shares>9</shares></cputune><devices><sound model='ich9'/>\n<tpm/></devices></domain>",
        );
        let extra = extra.unwrap();
        assert_eq!(extra.devices, ["<sound model='ich9'/>", "<tpm/>"]);
        assert_eq!(extra.domain, ["<cputune><shares>9</shares></cputune>"]);
        for bad in ["", "<devices/>", "<domain><uuid>1</uuid></domain>", "<domain>"] {
            assert!(Extra::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(Extra::read("").unwrap(), Extra::default());
        assert_eq!(Extra::read("/no/such/file").unwrap_err().kind(), ErrorKind::Precreate);
        let state = state();
        let xml = Plan { extra, ..plan(&state) }.render();
        assert!(xml.contains("<tpm/></devices>") && Document::parse(&xml).is_ok());
    }

    proptest! {
        #[test]
        fn whatever_the_names_are_the_domain_stays_what_it_is(pool in "\\PC{0,40}", image in "\\PC{0,40}", store in any::<String>()) {
            let mut state = state();
            (state.pool, state.disk_volume, state.base.store_path) = (pool.clone(), image.clone(), store);
            let xml = plan(&state).render();
            let document = Document::parse(&xml).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let source = document.descendants().find(|node| node.tag_name().name() == "source").expect("a disk");
            prop_assert_eq!(source.attribute("pool"), Some(pool.as_str()));
            prop_assert_eq!(source.attribute("volume"), Some(image.as_str()));
        }
    }
}
