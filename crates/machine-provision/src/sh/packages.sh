# Packages, by each package manager.

# apt-get ...: waits for locks by itself, and tries again where another program was faster.
dm_apt() {
  while :; do
    dm_wait_locks || return 1
    dm_in_time || return 124
    # What a broken installation has left undone stops every other one.
    if [ -n "$(ls "$dm_root/var/lib/dpkg/updates" 2>/dev/null)" ]; then dm_run dpkg --force-confold --configure -a || return 1; fi
    dm_run apt-get -o "DPkg::Lock::Timeout=$dm_rest" -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold \
      -o APT::Color=0 -o Dpkg::Use-Pty=0 -q -y "$@" && return 0
    dm_status=$?
    [ -z "$dm_timed_out" ] && [ -n "$(dm_lock_holders)" ] || return "$dm_status"
  done
}

# MANAGER NAME: whether a package is installed.
dm_installed() {
  case $1 in
  apt) case $(dpkg-query -W -f '${Status}' "$2" 2>/dev/null) in *' installed') return 0 ;; *) return 1 ;; esac ;;
  apk) apk info -e "$2" >/dev/null 2>&1 ;;
  pacman) pacman -Q "$2" >/dev/null 2>&1 ;;
  *) rpm -q "$2" >/dev/null 2>&1 ;;
  esac
}

# MANAGER NAME: whether a package can be had.
dm_available() {
  case $1 in
  apt) [ -n "$(apt-cache show "$2" 2>/dev/null | head -n 1)" ] ;;
  apk) [ -n "$(apk search -e "$2" 2>/dev/null)" ] ;;
  pacman) pacman -Si "$2" >/dev/null 2>&1 ;;
  zypper) zypper -n se -x "$2" >/dev/null 2>&1 ;;
  *) "$1" -q info "$2" >/dev/null 2>&1 ;;
  esac
}

# MANAGER: learns which packages there are. A source that fails need not be the one that is needed, so it stops nothing,
# but dm_stale says so.
dm_refresh() {
  dm_stale=
  case $1 in
  # Without the mode, apt-get takes a mirror that it can't reach for a success.
  apt) dm_apt -o APT::Update::Error-Mode=any update || dm_stale=1 ;;
  apk) dm_run apk update || dm_stale=1 ;;
  zypper) dm_run zypper -n refresh || dm_stale=1 ;;
  pacman) dm_run pacman -Sy --noconfirm --noprogressbar || dm_stale=1 ;;
  esac
  [ -z "$dm_stale" ] || dm_note "not all package lists could be fetched; going on with those that are there"
  dm_in_time
}

# MANAGER NAME...: installs packages, which are known to be missing.
dm_install() {
  dm_manager=$1
  shift
  case $dm_manager in
  apt) dm_apt --no-install-recommends install "$@" ;;
  apk) dm_run apk add "$@" ;;
  zypper) dm_run zypper -n install --no-recommends "$@" ;;
  pacman) dm_run pacman -S --noconfirm --noprogressbar --needed "$@" ;;
  *) dm_run "$dm_manager" -y install "$@" ;;
  esac
}

# MANAGER NAME...
dm_packages() {
  dm_manager=$1
  shift
  dm_missing=
  for dm_i in "$@"; do
    dm_installed "$dm_manager" "$dm_i" || dm_missing="$dm_missing $dm_i"
  done
  [ -n "$dm_missing" ] || return 0
  dm_refresh "$dm_manager" || return 1
  # Names of packages have nothing that a shell would divide or expand.
  # shellcheck disable=SC2086
  dm_install "$dm_manager" $dm_missing || return
  dm_changed=1
}
