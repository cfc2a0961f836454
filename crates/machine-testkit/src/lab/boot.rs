//! The script that boots a host: namespaces, mounts, then systemd as PID 1.

use std::path::Path;

use super::{HostRecord, Variant, base::Base, cgroup::Groups};

/// The environment that PID 1 starts with. systemd takes `container` as word that it has no kernel of its own.
const ENVIRONMENT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=lxc";

/// Writes the whole script for a host. It runs itself twice more: `init` becomes PID 1 of the new namespaces, joins
/// the host's control groups and only then gets a control group namespace rooted there, `root` builds the host's
/// view of the file system and hands over to systemd.
pub fn script(record: &HostRecord, base: &Base, groups: &Groups) -> String {
    let dir = quote(record.dir());
    let namespace = record.subnet().namespace();
    let name = &record.name;
    let join: String = groups.folders().map(|f| format!("echo 0 > {}/cgroup.procs\n", quote(&f))).collect();
    let lower = match record.variant {
        Variant::Bare => format!("{}:{}", base.bare_layer().display(), base.rootfs().display()),
        _ => base.rootfs().display().to_string(),
    };
    let disk = if record.options.full_disk { SMALL_DISK } else { "" };
    let fill = if record.options.full_disk { FILL_DISK } else { "" };
    let cgroups = mount_groups(groups);
    format!(
        r#"#!/bin/bash
S={dir}
case ${{1:-}} in
init)
set -e
# /proc is still the outer one: its self is our number out there
read -r outer rest < /proc/self/stat
{join}exec unshare --cgroup bash "$0" root "$outer"
;;
root)
set -e
hostname {name}
M=$S/m
D=$S
{disk}mount -t overlay overlay -o "lowerdir={lower},upperdir=$D/upper,workdir=$D/work" "$M"
mkdir -p "$M/var/lib/docker" "$M/var/lib/containerd"
mount --bind "$D/docker" "$M/var/lib/docker"
mount --bind "$D/containerd" "$M/var/lib/containerd"
mount -t proc proc "$M/proc"
mount -t sysfs sysfs "$M/sys"
mount -t tmpfs -o mode=755 tmpfs "$M/dev"
for d in null zero full random urandom tty fuse; do
  [ -e /dev/$d ] && : > "$M/dev/$d" && mount --bind /dev/$d "$M/dev/$d"
done
mkdir "$M/dev/pts" "$M/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$M/dev/pts"
mount -t tmpfs -o mode=1777 tmpfs "$M/dev/shm"
ln -s pts/ptmx "$M/dev/ptmx"
ln -s /proc/self/fd "$M/dev/fd"
for n in 0:stdin 1:stdout 2:stderr; do ln -s "fd/${{n%%:*}}" "$M/dev/${{n#*:}}"; done
mount -t tmpfs -o mode=755 tmpfs "$M/run"
mkdir -p "$M/run/lock"
{cgroups}echo "$2" > "$S/init.pid.new"
mv "$S/init.pid.new" "$S/init.pid"
cd "$M"
{fill}mkdir -p "$M/run/old"
pivot_root . run/old
cd /
umount -l /run/old
rmdir /run/old
exec env -i {ENVIRONMENT} /lib/systemd/systemd --system systemd.unit=multi-user.target
;;
*)
cd /
# A reboot inside ends PID 1 with SIGHUP, a power-off with SIGINT (reboot(2)).
while :; do
  status=0
  nsenter --net=/run/netns/{namespace} unshare --mount --propagation private --uts --ipc --pid --fork --kill-child \
    bash "$0" init || status=$?
  echo "PID 1 ended: $status"
  [ $status = 129 ] || exit $status
done
;;
esac
"#
    )
}

/// The writable side of the root file system on a small memory disk. Its files are copied at each boot.
const SMALL_DISK: &str = r#"D=$S/disk
mkdir -p "$D"
mount -t tmpfs -o mode=755,size=16m tmpfs "$D"
mkdir "$D/work" "$D/docker" "$D/containerd"
cp -a "$S/upper" "$D/upper"
"#;

/// Fills what is left of it.
const FILL_DISK: &str = r#"head -c 64m /dev/zero > "$M/var/fill" 2>/dev/null || true
"#;

/// The host's own view of the control groups, laid out as this machine's is.
fn mount_groups(groups: &Groups) -> String {
    let top = Path::new("/sys/fs/cgroup");
    if groups.hierarchies().iter().any(|h| h.mount == top) {
        return "mount -t cgroup2 cgroup2 \"$M/sys/fs/cgroup\"\n".to_owned();
    }
    let mut script = "mount -t tmpfs -o mode=755 tmpfs \"$M/sys/fs/cgroup\"\n".to_owned();
    for hierarchy in groups.hierarchies() {
        let folder = format!("\"$M\"{}", quote(&hierarchy.mount));
        script += &format!("mkdir -p {folder}\n");
        script += &match &hierarchy.v1_options {
            Some(options) => format!("mount -t cgroup -o {options} cgroup {folder}\n"),
            None => format!("mount -t cgroup2 cgroup2 {folder}\n"),
        };
    }
    script
}

/// A path as one word of the shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', r"'\''"))
}
