#!/bin/sh
# A libvirt of its own: run as the first process of new mount, network and process namespaces, with an empty folder.
# Whoever ends this process ends the daemons and the virtual machines with it.
set -e
dir=$1
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up

# libvirt looks for the users of Debian's packages, which need not be there.
for file in passwd group; do
    cp "/etc/$file" "$dir/$file"
    grep -q '^libvirt-qemu:' "/etc/$file" || case $file in
        passwd) echo 'libvirt-qemu:x:64055:64055::/var/lib/libvirt:/usr/sbin/nologin' >>"$dir/$file" ;;
        group) echo 'libvirt-qemu:x:64055:' >>"$dir/$file" ;;
    esac
    mount --bind "$dir/$file" "/etc/$file"
done

for folder in run var/lib/libvirt var/cache/libvirt var/log/libvirt etc/libvirt; do
    mkdir -p "$dir/$folder" "/$folder"
done
cat >"$dir/etc/libvirt/qemu.conf" <<'END'
user = "root"
group = "root"
security_driver = "none"
cgroup_controllers = []
namespaces = []
END
echo 'auth_unix_rw = "none"' >"$dir/etc/libvirt/libvirtd.conf"
for folder in run var/lib/libvirt var/cache/libvirt var/log/libvirt etc/libvirt; do
    mount --bind "$dir/$folder" "/$folder"
done
mkdir -p /run/libvirt "$dir/pool"
mount -t tmpfs -o size=64m tmpfs "$dir/pool"

virtlogd -d
libvirtd &
# This shell waits for all children, also for those that others leave to it.
wait $!
