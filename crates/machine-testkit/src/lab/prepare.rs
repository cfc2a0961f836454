//! What makes a host differ from the base, written into its layer before it boots.

use super::{
    HostRecord, LabError, Variant,
    command::{command, output},
    layer::Layer,
    mirror::{Mirrors, PORT},
};

/// The unit folder of the administrator, which wins over the packages' one.
const UNITS: &str = "etc/systemd/system";

/// Writes names, host keys, the engine's units and every trap that was asked for.
pub fn write(record: &HostRecord, layer: &Layer) -> Result<(), LabError> {
    layer.write("etc/hostname", &format!("{}\n", record.name), 0o644)?;
    let hosts = format!("127.0.0.1\tlocalhost\n127.0.1.1\t{}\n", record.name);
    layer.write("etc/hosts", &hosts, 0o644)?;
    host_keys(layer)?;
    engine(record, layer)?;
    traps(record, layer)?;
    if record.options.with_network { package_sources(record, layer) } else { Ok(()) }
}

/// Each host has keys of its own, as real ones do.
fn host_keys(layer: &Layer) -> Result<(), LabError> {
    for kind in ["ed25519", "ecdsa"] {
        let file = layer.room_for(&format!("etc/ssh/ssh_host_{kind}_key"))?;
        let mut ssh_keygen = command("ssh-keygen")?;
        ssh_keygen.args(["-q", "-N", "", "-C", "lab", "-t", kind, "-f"]).arg(file);
        output(&mut ssh_keygen)?;
    }
    Ok(())
}

fn engine(record: &HostRecord, layer: &Layer) -> Result<(), LabError> {
    if record.variant == Variant::Bare {
        return Ok(());
    }
    if !record.options.dockerd_in_sbin {
        layer.link("usr/bin/dockerd", "../sbin/dockerd")?;
    }
    if record.variant == Variant::Socket {
        return Ok(());
    }
    // Debian's unit without socket activation, as docker.com's older packages and hand-made hosts have it.
    let stock = layer.below("lib/systemd/system/docker.service")?;
    let unit: Vec<String> = stock
        .lines()
        .filter(|line| *line != "Requires=docker.socket")
        .map(|line| line.replace("-H fd://", "-H unix:///var/run/docker.sock"))
        .collect();
    layer.write(&format!("{UNITS}/docker.service"), &(unit.join("\n") + "\n"), 0o644)?;
    layer.hide(&format!("{UNITS}/sockets.target.wants/docker.socket"))?;
    layer.link(&format!("{UNITS}/docker.socket"), "/dev/null")?;
    if record.variant == Variant::Stopped {
        layer.hide(&format!("{UNITS}/multi-user.target.wants/docker.service"))?;
    }
    Ok(())
}

fn traps(record: &HostRecord, layer: &Layer) -> Result<(), LabError> {
    let options = &record.options;
    let mut sshd = layer.below("etc/ssh/sshd_config.d/lab.conf")?;
    if let Some(port) = options.ssh_port {
        sshd += &format!("Port {port}\n");
    }
    if options.one_session {
        sshd += "MaxSessions 1\n";
    }
    layer.write("etc/ssh/sshd_config.d/lab.conf", &sshd, 0o644)?;
    if options.noisy_bashrc {
        let noise = "echo 'Welcome to this server'\necho 'maintenance tonight' >&2\nsleep 1\n";
        for home in ["root", "home/debian", "home/asks", "home/nosudo"] {
            layer.write(&format!("{home}/.bashrc"), noise, 0o644)?;
        }
    }
    if let Some(seconds) = options.clock_offset {
        layer.write("usr/local/bin/date", &wrong_date(seconds), 0o755)?;
    }
    if options.no_sudo {
        layer.hide("usr/bin/sudo")?;
    }
    if let Some(text) = &options.os_release {
        layer.write("usr/lib/os-release", text, 0o644)?;
    }
    Ok(())
}

/// A `date` before the real one on PATH (and on sudo's) that is wrong whenever it is asked for now.
fn wrong_date(seconds: i64) -> String {
    format!(
        "#!/bin/sh\nfor word; do\n  case $word in -d*|--date*|-r*|--reference*|-f*|--file*) exec /bin/date \"$@\";; esac\n\
         done\nexec /bin/date -d \"@$(( $(/bin/date +%s) + {seconds} ))\" \"$@\"\n"
    )
}

/// apt's sources as this machine has them, through the proxy on our end of the link.
fn package_sources(record: &HostRecord, layer: &Layer) -> Result<(), LabError> {
    layer.write("etc/apt/sources.list", &(Mirrors::find()?.sources().join("\n") + "\n"), 0o644)?;
    let proxy = format!("http://{}:{PORT}", record.our_address());
    let conf = format!("Acquire::http::Proxy \"{proxy}\";\nAcquire::https::Proxy \"{proxy}\";\n");
    layer.write("etc/apt/apt.conf.d/80lab-proxy", &conf, 0o644)
}
