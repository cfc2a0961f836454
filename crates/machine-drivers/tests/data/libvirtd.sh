#!/bin/sh
# A libvirt of its own: run as the first process of new mount, network and process namespaces, with an empty folder.
# Whoever ends this process ends the daemons and the virtual machines with it.
#   libvirtd.sh FOLDER [session]
set -e
dir=$1
mount --make-rprivate /
mount -t proc proc /proc
ip link set lo up

# An ordinary user's own libvirt.
if [ "$2" = session ]; then
    mkdir -p "$dir/run" "$dir/home" "$dir/pool"
    chmod 755 "$dir"
    chown -R nobody:nogroup "$dir/run" "$dir/home" "$dir/pool"
    setpriv --reuid nobody --regid nogroup --clear-groups \
        env HOME="$dir/home" XDG_RUNTIME_DIR="$dir/run" XDG_CONFIG_HOME="$dir/home" XDG_CACHE_HOME="$dir/home" XDG_DATA_HOME="$dir/home" \
        libvirtd &
    wait $!
    exit
fi

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
