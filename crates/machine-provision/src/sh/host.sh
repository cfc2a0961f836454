# Questions to a host that both the probe and the provisioning script ask. POSIX sh; dm_root is a prefix of every path,
# empty except in tests.

# The path of the engine's program, in dm_dockerd; empty where there is none.
dm_find_dockerd() {
  dm_dockerd=
  for dm_i in "$dm_root/usr/bin/dockerd" "$dm_root/usr/sbin/dockerd" "$dm_root/usr/local/bin/dockerd" \
    "$dm_root/usr/local/sbin/dockerd" "$dm_root/opt/bin/dockerd" "$dm_root/usr/lib/coreos/dockerd"; do
    if [ -x "$dm_i" ]; then
      dm_dockerd=${dm_i#"$dm_root"}
      return 0
    fi
  done
  [ -z "$dm_root" ] && dm_i=$(command -v dockerd 2>/dev/null) || return 1
  case $dm_i in /*) dm_dockerd=$dm_i ;; *) return 1 ;; esac
}

# One line for each process that holds a lock of a package manager: PID NAME FILE.
dm_lock_holders() {
  for dm_i in /var/lib/dpkg/lock-frontend /var/lib/dpkg/lock /var/lib/apt/lists/lock /var/cache/apt/archives/lock \
    /var/lib/rpm/.rpm.lock /usr/lib/sysimage/rpm/.rpm.lock /var/cache/dnf/metadata_lock.pid /lib/apk/db/lock; do
    dm_i=$dm_root$dm_i
    [ -e "$dm_i" ] || continue
    dm_inode=$(ls -i "$dm_i" 2>/dev/null) || continue
    dm_inode=${dm_inode#"${dm_inode%%[! ]*}"}
    dm_inode=${dm_inode%% *}
    # Lines of /proc/locks: 1: POSIX  ADVISORY  WRITE 812 fe:01:131 0 EOF
    while read -r _ dm_a dm_b _ dm_c dm_d _; do
      [ "$dm_a" != '->' ] || continue
      case $dm_b:$dm_d in
      *:*":$dm_inode") dm_lock_line "$dm_c" "${dm_i#"$dm_root"}" ;;
      esac
    done 2>/dev/null <"$dm_root/proc/locks"
  done
  # These managers say so by a file with a process id in it; pacman by a file alone.
  for dm_i in /run/yum.pid /var/run/yum.pid /run/zypp.pid /var/run/zypp.pid; do
    [ -s "$dm_root$dm_i" ] || continue
    read -r dm_c <"$dm_root$dm_i" || :
    case $dm_c in '' | *[!0-9]*) continue ;; esac
    [ ! -d "$dm_root/proc/$dm_c" ] || dm_lock_line "$dm_c" "$dm_i"
  done
  if [ -e "$dm_root/var/lib/pacman/db.lck" ]; then
    dm_lock_line 0 /var/lib/pacman/db.lck
  fi
}

# PID FILE: prints the line, with the process's name. A process outside of the host's view has the id 0.
dm_lock_line() {
  dm_name=unknown
  if [ -r "$dm_root/proc/$1/comm" ]; then read -r dm_name <"$dm_root/proc/$1/comm" || dm_name=unknown; fi
  case $dm_name in
  unattended-upgr*) dm_name=unattended-upgrades ;;
  '') dm_name=unknown ;;
  esac
  printf '%s %s %s\n' "$1" "$(printf %s "$dm_name" | tr ' ' _)" "$2"
}

# absent, running or done. Only the results of this boot count, and they are in /run.
dm_cloud_init() {
  if [ ! -d "$dm_root/run/cloud-init" ] || [ -e "$dm_root/run/cloud-init/disabled" ]; then
    echo absent
  elif [ -e "$dm_root/run/cloud-init/result.json" ]; then
    echo 'done'
  elif [ -d "$dm_root/run/systemd/system" ]; then
    # Without a result it is at work, or waiting for its turn, or it was stopped and will never have one.
    dm_a=$(systemctl show -p ActiveState cloud-init-local.service cloud-init.service cloud-init-main.service \
      cloud-init-network.service cloud-config.service cloud-final.service 2>/dev/null)
    dm_b=$(systemctl list-jobs --no-legend 2>/dev/null)
    case $dm_a$dm_b in
    *=activating* | *cloud-init* | *cloud-config* | *cloud-final*) echo running ;;
    *) echo 'done' ;;
    esac
  elif [ -e "$dm_root/run/cloud-init/status.json" ]; then
    echo running
  else
    echo 'done'
  fi
}
