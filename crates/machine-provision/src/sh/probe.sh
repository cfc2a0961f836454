# Runs on the host, as root where that is possible, and prints what it finds: one fact a line.
dm_tell() { printf '%s %s %s\n' "$dm_mark" "$1" "$2"; }
dm_has() { command -v "$1" >/dev/null 2>&1; }
# KEY FILE: each line of a file is a fact.
dm_tell_file() {
  [ -r "$2" ] || return 0
  while IFS= read -r dm_line || [ -n "$dm_line" ]; do dm_tell "$1" "$dm_line"; done <"$2"
}

dm_tell kernel "$(uname -s) $(uname -r)"
dm_tell arch "$(uname -m)"
if [ -r "$dm_root/etc/os-release" ]; then
  dm_tell_file os-release "$dm_root/etc/os-release"
else
  dm_tell_file os-release "$dm_root/usr/lib/os-release"
fi
dm_name=
if [ -r "$dm_root/proc/sys/kernel/hostname" ]; then read -r dm_name <"$dm_root/proc/sys/kernel/hostname" || :; fi
dm_tell hostname "${dm_name:-$(uname -n)}"
dm_tell clock "$(date +%s)"
# Other words after each start; PID 1's where the kernel is somebody else's.
dm_a=
if [ -r "$dm_root/proc/sys/kernel/random/boot_id" ]; then read -r dm_a <"$dm_root/proc/sys/kernel/random/boot_id" || :; fi
dm_tell boot "$dm_a $(cut -d' ' -f22 "$dm_root/proc/1/stat" 2>/dev/null)"

if [ -d "$dm_root/run/systemd/system" ]; then
  dm_init=systemd
elif dm_has openrc-run || [ -d "$dm_root/run/openrc" ]; then
  dm_init=openrc
else
  dm_init=none
fi
dm_tell init "$dm_init"
for dm_i in apt-get dnf yum zypper apk pacman tdnf curl wget; do
  if dm_has "$dm_i"; then dm_tell program "$dm_i"; fi
done

dm_free() { df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ _ _ dm_a _ && echo "$dm_a"; }; }
dm_tell free-root "$(dm_free "$dm_root/")"
dm_data=$dm_root/var/lib/docker
[ -d "$dm_data" ] || dm_data=$dm_root/var/lib
dm_tell free-engine "$(dm_free "$dm_data")"
dm_tell engine-filesystem "$(stat -f -c %T "$dm_data" 2>/dev/null)"
while read -r _ dm_a _ dm_b _; do
  case $dm_a,$dm_b, in /tmp,*,noexec,*) dm_tell tmp-noexec yes ;; esac
done 2>/dev/null <"$dm_root/proc/mounts"
if [ -e "$dm_root/sys/fs/cgroup/cgroup.controllers" ]; then dm_tell cgroup 2; else dm_tell cgroup 1; fi
if [ -r "$dm_root/sys/fs/selinux/enforce" ]; then
  read -r dm_a <"$dm_root/sys/fs/selinux/enforce" || :
  if [ "$dm_a" = 1 ]; then dm_tell selinux enforcing; else dm_tell selinux permissive; fi
fi
if [ -r "$dm_root/sys/module/apparmor/parameters/enabled" ]; then
  read -r dm_a <"$dm_root/sys/module/apparmor/parameters/enabled" || :
  if [ "$dm_a" = Y ]; then dm_tell apparmor yes; fi
fi
dm_tell cloud-init "$(dm_cloud_init)"
dm_tell_file cloud-init-result "$dm_root/run/cloud-init/result.json"
dm_tell_file cloud-init-status "$dm_root/run/cloud-init/status.json"
dm_lock_holders | while IFS= read -r dm_line; do dm_tell lock "$dm_line"; done

# The engine.
dm_docker=$(command -v docker 2>/dev/null) || dm_docker=
if [ -n "$dm_docker" ]; then dm_tell docker "$dm_docker"; fi
if dm_find_dockerd; then
  dm_tell dockerd "$dm_dockerd"
  case $(readlink -f "$dm_root$dm_dockerd" 2>/dev/null) in */snap/*) dm_tell snap yes ;; esac
  dm_tell version "$("$dm_root$dm_dockerd" --version 2>/dev/null </dev/null)"
elif [ -n "$dm_docker" ]; then
  dm_tell client-version "$("$dm_docker" --version 2>/dev/null </dev/null)"
fi
if [ -d "$dm_root/var/snap/docker" ] && [ -z "$dm_dockerd" ]; then dm_tell snap yes; fi
if [ -n "$dm_dockerd" ]; then
  if dm_has dpkg-query; then
    for dm_i in docker-ce docker.io moby-engine docker-engine; do
      case $(dpkg-query -W -f '${Status}' "$dm_i" 2>/dev/null) in
      'install ok installed' | 'hold ok installed') dm_tell package "$dm_i" ;;
      esac
    done
  elif dm_has rpm; then
    dm_a=$(rpm -qf --qf '%{NAME}\n' "$dm_root$dm_dockerd" 2>/dev/null) && dm_tell package "${dm_a%% *}"
  elif dm_has apk; then
    apk info -e docker-engine >/dev/null 2>&1 && dm_tell package docker
  elif dm_has pacman; then
    pacman -Qq docker >/dev/null 2>&1 && dm_tell package docker
  fi
fi

# Which engines run: root's, and those of users.
for dm_i in "$dm_root"/proc/[0-9]*; do
  dm_a=
  if [ -r "$dm_i/comm" ]; then read -r dm_a <"$dm_i/comm" || :; fi 2>/dev/null
  [ "$dm_a" = dockerd ] || continue
  while read -r dm_a dm_b _; do
    if [ "$dm_a" = Uid: ]; then
      # Rootless engines are root in a user namespace of their own, and another user outside of it.
      if [ "$dm_b" = 0 ]; then dm_tell running root; else dm_tell running "$dm_b"; fi
    fi
  done 2>/dev/null <"$dm_i/status"
done
if [ "$dm_init" = systemd ]; then
  dm_tell service "$(systemctl is-active docker.service 2>/dev/null)"
  dm_tell socket "$(systemctl is-active docker.socket 2>/dev/null)"
  dm_tell enabled "$(systemctl is-enabled docker.service 2>/dev/null)"
elif [ "$dm_init" = openrc ]; then
  if rc-service docker status >/dev/null 2>&1; then dm_tell service active; fi
  if rc-update show default 2>/dev/null | grep -q '^ *docker *|'; then dm_tell enabled enabled; fi
elif [ -x "$dm_root/etc/init.d/docker" ]; then
  if "$dm_root/etc/init.d/docker" status >/dev/null 2>&1; then dm_tell service active; fi
fi

# What it is told, and what it has.
if [ -e "$dm_root/etc/docker/daemon.json" ]; then dm_tell daemon-json-exists yes; fi
dm_tell_file daemon-json "$dm_root/etc/docker/daemon.json"
dm_tell_file drop-in "$dm_root/etc/systemd/system/docker.service.d/10-machine.conf"
for dm_i in etc/systemd/system run/systemd/system usr/local/lib/systemd/system usr/lib/systemd/system lib/systemd/system; do
  for dm_a in "$dm_root/$dm_i"/docker.service.d/*.conf; do
    if grep -q '^[[:space:]]*ExecStart[[:space:]]*=' "$dm_a" 2>/dev/null; then dm_tell exec-start "${dm_a#"$dm_root"}"; fi
  done
done
if grep -q -e '^[^#]*--selinux-enabled' "$dm_root/etc/sysconfig/docker" 2>/dev/null; then dm_tell selinux-enabled yes; fi
for dm_i in "$dm_root"/var/lib/docker/image/*/imagedb; do
  [ -d "$dm_i" ] || continue
  dm_i=${dm_i%/imagedb}
  dm_tell data-of "${dm_i##*/}"
done
# With containerd's image store there is no image folder; the folder rootfs is where its containers are mounted.
for dm_i in "$dm_root"/var/lib/docker/rootfs/*; do
  if [ -d "$dm_i" ]; then dm_tell data-of "${dm_i##*/}"; fi
done

for dm_i in etc/docker var/lib/boot2docker var/lib/rancher/conf; do
  for dm_a in ca.pem server.pem server-key.pem; do set -- "$@" "$dm_root/$dm_i/$dm_a"; done
done
set -- "$@" "$dm_root/etc/systemd/system/docker.service.d/10-machine.conf" "$dm_root/etc/conf.d/docker" \
  "$dm_root/var/lib/boot2docker/profile" "$dm_root/var/lib/rancher/conf/docker" "$dm_root"/etc/docker/certs.d/*/ca.crt
for dm_i in "$@"; do
  [ -f "$dm_i" ] || continue
  dm_a=$(sha256sum <"$dm_i" 2>/dev/null) || dm_a=
  dm_tell file "${dm_a%% *} $(stat -c %a "$dm_i" 2>/dev/null) ${dm_i#"$dm_root"}"
done
