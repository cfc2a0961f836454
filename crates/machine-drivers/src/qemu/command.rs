//! QEMU's arguments, as data.

use std::ffi::OsString;
use std::path::PathBuf;

use machine_core::DriverError;
use machine_image::Arch;
use serde_json::{Value, json};

use super::accel::Accel;
use super::flags::CacheMode;
use super::monitor::Monitor;
use super::mount::{self, Folder};
use super::network::Network;
use super::publish::Publish;
use super::state::{ENGINE_PORT, Files, LOOPBACK, QemuState};

/// The name of the disk among QEMU's block devices.
pub(super) const DISK: &str = "disk";

/// All that decides how QEMU is started.
#[derive(Clone, Debug)]
pub(super) struct Launch<'a> {
    /// The machine.
    pub(super) state: &'a QemuState,
    /// Its files.
    pub(super) files: &'a Files,
    /// The accelerator.
    pub(super) accel: Accel,
    /// A file of firmware; `None` for QEMU's own.
    pub(super) firmware: Option<PathBuf>,
    /// Whether there is a seed.
    pub(super) seeded: bool,
    /// Whether the guest stands still until it is told to go.
    pub(super) paused: bool,
    /// Whether QEMU is asked to give up system calls.
    pub(super) sandbox: bool,
    /// Whether QEMU goes into the background itself.
    pub(super) daemonize: bool,
    /// Whether monitors are sockets in the machine's folder.
    pub(super) socket_files: bool,
}

/// Collects arguments.
#[derive(Default)]
struct Args(Vec<OsString>);

impl Args {
    fn flag(&mut self, name: &str) {
        self.0.push(name.into());
    }

    fn with(&mut self, name: &str, value: impl Into<OsString>) {
        self.0.push(name.into());
        self.0.push(value.into());
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.with(name, value.to_string());
    }
}

impl Launch<'_> {
    /// The arguments.
    ///
    /// # Errors
    /// Where the record has what makes no sense.
    pub(super) fn args(&self) -> Result<Vec<OsString>, DriverError> {
        let (state, arch) = (self.state, self.state.arch()?);
        let mut args = Args::default();
        args.flag("-nodefaults");
        args.flag("-no-user-config");
        args.with("-name", format!("docker-machine-{}", state.base.machine_name));
        args.with("-uuid", &*state.uuid);
        self.board(arch, &mut args);
        self.boot(&mut args);
        self.disks(&mut args);
        self.network(&mut args)?;
        self.mounts(&mut args)?;
        self.consoles(arch, &mut args);
        self.process(&mut args);
        args.0.extend(state.args.iter().map(OsString::from));
        Ok(args.0)
    }

    fn board(&self, arch: Arch, args: &mut Args) {
        let state = self.state;
        args.with(
            "-machine",
            match arch {
                Arch::X86_64 => "q35",
                Arch::Aarch64 => "virt",
            },
        );
        args.with("-accel", self.accel.name());
        if let Some(cpu) = cpu_model(arch, self.accel) {
            args.with("-cpu", cpu);
        }
        let cpus = state.cpus();
        args.with("-smp", format!("{cpus},sockets=1,cores={cpus},threads=1"));
        args.with("-m", format!("{}M", state.memory));
        args.with("-device", "virtio-rng-pci");
        // Memory that the guest does not need goes back to this computer.
        args.with("-device", "virtio-balloon-pci,free-page-reporting=on");
    }

    fn boot(&self, args: &mut Args) {
        if let Some(firmware) = &self.firmware {
            args.with("-bios", firmware);
        }
        if let Some(direct) = self.state.direct_boot.as_ref().filter(|_| self.state.booted_directly) {
            args.with("-kernel", &direct.kernel);
            args.with("-initrd", &direct.initrd);
            args.with("-append", &*direct.cmdline);
        }
    }

    fn disks(&self, args: &mut Args) {
        let mode = CacheMode::of_name(&self.state.cache_mode);
        let cache = json!({"direct": mode.direct, "no-flush": mode.no_flush});
        let path = |path: PathBuf| path.to_string_lossy().into_owned();
        args.json(
            "-blockdev",
            &json!({
                "driver": "qcow2",
                "node-name": DISK,
                "cache": cache,
                "discard": "unmap",
                "file": {"driver": "file", "filename": path(self.files.disk()), "cache": cache, "discard": "unmap"},
            }),
        );
        let write_cache = if mode.write_through { "off" } else { "on" };
        // The first place is that of a kernel that QEMU loads: it takes it itself, and does not start where it is taken.
        args.with(
            "-device",
            format!("virtio-blk-pci,drive={DISK},id={DISK},bootindex=1,write-cache={write_cache}"),
        );
        if self.seeded {
            // Also a virtio disk: kernels for clouds have no other kind.
            args.json(
                "-blockdev",
                &json!({
                    "driver": "raw",
                    "node-name": "seed",
                    "read-only": true,
                    "file": {"driver": "file", "filename": path(self.files.seed()), "read-only": true},
                }),
            );
            args.with("-device", "virtio-blk-pci,drive=seed,id=seed");
        }
    }

    fn network(&self, args: &mut Args) -> Result<(), DriverError> {
        let state = self.state;
        let mut user = format!("user,id=net0,hostfwd={},hostfwd={}", ssh_rule(state), engine_rule(state));
        for publish in Publish::all(state)? {
            user.push_str(&format!(",hostfwd={}", publish.rule()));
        }
        args.with("-netdev", user);
        // Without ROMs: machines boot from their disk.
        args.with("-device", format!("virtio-net-pci,netdev=net0,id=net0,mac={},romfile=", state.mac(0)));
        if let Some(second) = Network::parse(&state.network)?.netdev() {
            args.with("-netdev", second);
            args.with("-device", format!("virtio-net-pci,netdev=net1,id=net1,mac={},romfile=", state.mac(1)));
        }
        Ok(())
    }

    fn mounts(&self, args: &mut Args) -> Result<(), DriverError> {
        for (number, folder) in mount::all(self.state)?.iter().enumerate() {
            let tag = Folder::tag(number);
            let read_only = if folder.read_only { ",readonly=on" } else { "" };
            let mut value = OsString::from(format!(
                "local,id={tag},security_model=none,multidevs=remap{read_only},path="
            ));
            value.push(doubled_commas(&folder.host.to_string_lossy()));
            args.with("-fsdev", value);
            args.with("-device", format!("virtio-9p-pci,fsdev={tag},mount_tag={tag},id={tag}"));
        }
        Ok(())
    }

    fn consoles(&self, arch: Arch, args: &mut Args) {
        let serial = doubled_commas(&self.files.serial().to_string_lossy());
        args.with("-chardev", format!("file,id=serial,path={serial}"));
        args.with("-serial", "chardev:serial");
        let display = &self.state.display_type;
        let headless = display.is_empty() || display == "none";
        args.with("-display", if headless { "none" } else { &**display });
        if !headless {
            args.with(
                "-device",
                match arch {
                    Arch::X86_64 => "virtio-vga",
                    Arch::Aarch64 => "virtio-gpu-pci",
                },
            );
            args.with("-device", "qemu-xhci");
            args.with("-device", "usb-kbd");
            args.with("-device", "usb-tablet");
        }
        for monitor in Monitor::ALL {
            args.with("-qmp", monitor.option(self.state, self.socket_files));
        }
    }

    fn process(&self, args: &mut Args) {
        if self.paused {
            args.flag("-S");
        }
        args.with("-pidfile", self.files.pid());
        // By its name alone: QEMU would read a percent sign in a path as a pattern.
        args.with("-D", Files::LOG);
        if self.sandbox {
            // Programs that QEMU starts and groups that it leaves are forbidden by none of these: it must still go into the background.
            args.with("-sandbox", "on,obsolete=deny,resourcecontrol=deny");
        }
        if self.daemonize {
            args.flag("-daemonize");
        }
    }
}

/// The processor that the guest sees; `None` for QEMU's choice.
fn cpu_model(arch: Arch, accel: Accel) -> Option<&'static str> {
    match (accel, arch) {
        (Accel::Kvm | Accel::Hvf, _) => Some("host"),
        (Accel::Whpx, _) => None,
        // Page tables of five levels only cost time when they are emulated.
        (Accel::Tcg, Arch::X86_64) => Some("max,la57=off"),
        // The architecture's own way to sign pointers is very slow when it is emulated.
        (Accel::Tcg, Arch::Aarch64) => Some("max,pauth-impdef=on"),
    }
}

/// The forwarding of the machine's SSH port, as QEMU's `hostfwd` has it and repeats it in errors.
pub(super) fn ssh_rule(state: &QemuState) -> String {
    format!("tcp:{LOOPBACK}:{}-:22", state.base.ssh_port)
}

/// The forwarding of the engine's port.
pub(super) fn engine_rule(state: &QemuState) -> String {
    format!("tcp:{LOOPBACK}:{}-:{ENGINE_PORT}", state.engine_port)
}

/// A text as a value of QEMU's options: a comma is written twice.
fn doubled_commas(text: &str) -> String {
    text.replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::state::Direct;
    use super::*;

    fn state() -> QemuState {
        let mut state = QemuState {
            engine_port: 32_001,
            cpu: 2,
            memory: 2048,
            arch: "x86_64".into(),
            uuid: "11111111-2222-4333-8444-555555555555".into(),
            display_type: "none".into(),
            network: "user".into(),
            cache_mode: "default".into(),
            ..QemuState::default()
        };
        state.base.machine_name = "dev".into();
        state.base.ssh_port = 32_000;
        state
    }

    fn args_of(state: &QemuState, accel: Accel) -> String {
        let files = Files::new(Path::new("/m, 1"));
        let launch = Launch {
            state,
            files: &files,
            accel,
            firmware: None,
            seeded: true,
            paused: false,
            sandbox: true,
            daemonize: true,
            socket_files: true,
        };
        let args = launch.args().unwrap();
        args.iter().map(|arg| arg.to_str().unwrap()).fold(String::new(), |mut text, arg| {
            if arg.starts_with('-') && !text.is_empty() {
                text.push('\n');
            } else if !text.is_empty() {
                text.push(' ');
            }
            text + arg
        })
    }

    #[cfg(unix)]
    #[test]
    fn the_usual_machine() {
        let expected = r#"-nodefaults
-no-user-config
-name docker-machine-dev
-uuid 11111111-2222-4333-8444-555555555555
-machine q35
-accel kvm
-cpu host
-smp 2,sockets=1,cores=2,threads=1
-m 2048M
-device virtio-rng-pci
-device virtio-balloon-pci,free-page-reporting=on
-blockdev {"driver":"qcow2","node-name":"disk","cache":{"direct":false,"no-flush":false},"discard":"unmap","file":{"driver":"file","filename":"/m, 1/disk.qcow2","cache":{"direct":false,"no-flush":false},"discard":"unmap"}}
-device virtio-blk-pci,drive=disk,id=disk,bootindex=1,write-cache=on
-blockdev {"driver":"raw","node-name":"seed","read-only":true,"file":{"driver":"file","filename":"/m, 1/seed.iso","read-only":true}}
-device virtio-blk-pci,drive=seed,id=seed
-netdev user,id=net0,hostfwd=tcp:127.0.0.1:32000-:22,hostfwd=tcp:127.0.0.1:32001-:2376
-device virtio-net-pci,netdev=net0,id=net0,mac=MAC,romfile=
-chardev file,id=serial,path=/m,, 1/serial.log
-serial chardev:serial
-display none
-qmp unix:qmp.sock,server=on,wait=off
-qmp unix:look.sock,server=on,wait=off
-pidfile /m, 1/qemu.pid
-D qemu.log
-sandbox on,obsolete=deny,resourcecontrol=deny
-daemonize"#;
        let state = state();
        assert_eq!(args_of(&state, Accel::Kvm), expected.replace("MAC", &state.mac(0)));
    }

    #[cfg(unix)]
    #[test]
    fn a_machine_with_everything() {
        let state = QemuState {
            display_type: "vnc=127.0.0.1:1".into(),
            network: "bridge=br0".into(),
            publish: vec!["8080:80".into(), "0.0.0.0:53:53/udp".into()],
            mounts: vec!["/a,b:/src:ro".into()],
            args: vec!["-device".into(), "x y".into()],
            cache_mode: "directsync".into(),
            direct_boot: Some(Direct {
                kernel: "/i/vmlinuz".into(),
                initrd: "/i/initrd".into(),
                cmdline: "root=LABEL=root ro".into(),
            }),
            booted_directly: true,
            ..state()
        };
        let args = args_of(&state, Accel::Tcg);
        for line in [
            "-cpu max,la57=off",
            "-kernel /i/vmlinuz",
            "-append root=LABEL=root ro",
            ",hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp::53-:53\n",
            "-netdev bridge,id=net1,br=br0\n-device virtio-net-pci,netdev=net1",
            "-fsdev local,id=mount0,security_model=none,multidevs=remap,readonly=on,path=/a,,b",
            "mount_tag=mount0",
            "-display vnc=127.0.0.1:1",
            "-device virtio-vga",
            "write-cache=off",
            r#""cache":{"direct":true,"no-flush":false}"#,
        ] {
            assert!(args.contains(line), "{line} is not in\n{args}");
        }
        assert!(args.ends_with("-daemonize\n-device x y"), "{args}");
        let later = QemuState { booted_directly: false, ..state };
        assert!(!args_of(&later, Accel::Tcg).contains("-kernel"));
    }

    #[test]
    fn the_other_processor() {
        let state = QemuState { arch: "aarch64".into(), ..state() };
        let args = args_of(&state, Accel::Tcg);
        assert!(args.contains("-machine virt") && args.contains("pauth-impdef=on"), "{args}");
    }
}
