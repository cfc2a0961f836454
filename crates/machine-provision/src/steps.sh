# What the steps of a plan are made of. POSIX sh. Every function returns 0 when its work is done, and sets dm_changed=1 where it
# changed something. dm_root is a prefix of the paths that it writes, empty except in tests.

dm_say() { printf '%s %s\n' "$dm_token" "$*"; }
dm_has() { command -v "$1" >/dev/null 2>&1; }
dm_note() { printf '%s\n' "$*"; }

# Seconds since boot, which no correction of the clock can change, in dm_now.
dm_clock() {
  if read -r dm_now _ 2>/dev/null </proc/uptime; then dm_now=${dm_now%%.*}; else dm_now=$(date +%s); fi
}

# Fails when the step's time is up; else dm_rest is what is left.
dm_in_time() {
  dm_clock
  dm_rest=$((dm_deadline - dm_now))
  [ "$dm_rest" -gt 0 ] && return 0
  dm_timed_out=limit
  return 1
}

# TEXT: tells that the step waits, at most every other second.
dm_waiting() {
  [ "$dm_now" -ge "$dm_next_word" ] || return 0
  dm_next_word=$((dm_now + 2))
  dm_say step "$dm_index" wait $((dm_limit - dm_rest)) "$dm_limit" "$*"
}

dm_pause() { sleep 0.25 2>/dev/null || sleep 1; }

# PID: a process and all that it started, one id a line.
dm_tree() {
  echo "$1"
  for dm_stat in /proc/[0-9]*/stat; do
    read -r dm_child dm_text 2>/dev/null <"$dm_stat" || continue
    # 812 (name) S PARENT ...
    dm_text=${dm_text##*) }
    dm_text=${dm_text#* }
    if [ "${dm_text%% *}" = "$1" ]; then (dm_tree "$dm_child"); fi
  done
}

# COMMAND...: runs it for as long as the step has time, then ends it with all that it started. (timeout is not on every host, and
# busybox's ends only the command itself, whose children then keep the connection open.)
dm_run() {
  dm_in_time || return 124
  "$@" &
  dm_pid=$!
  (
    dm_n=$dm_rest
    while [ "$dm_n" -gt 0 ]; do
      sleep 1
      kill -0 "$dm_pid" 2>/dev/null || exit 0
      dm_n=$((dm_n - 1))
    done
    dm_tree=$(dm_tree "$dm_pid")
    for dm_child in $dm_tree; do kill -TERM "$dm_child"; done
    # A package manager is given some time to leave its data in order.
    for dm_n in 1 2 3 4 5 6 7 8 9 10; do
      dm_left=
      for dm_child in $dm_tree; do
        if kill -0 "$dm_child"; then dm_left="$dm_left $dm_child"; fi
      done
      [ -n "$dm_left" ] || exit 0
      sleep 1
    done
    for dm_child in $dm_left; do kill -KILL "$dm_child"; done
  ) >/dev/null 2>&1 &
  dm_watch=$!
  wait "$dm_pid"
  dm_status=$?
  if ! dm_in_time; then
    wait "$dm_watch"
    return 124
  fi
  # It would keep the connection open for its last second. This signal is the one that no shell has a word for.
  kill -PIPE "$dm_watch" 2>/dev/null
  return "$dm_status"
}

# INDEX LIMIT FUNCTION: runs one step and says what came of it.
dm_step() {
  dm_index=$1 dm_limit=$2 dm_timed_out='' dm_next_word=0
  dm_previous=$dm_changed dm_changed=0
  dm_clock
  dm_deadline=$((dm_now + dm_limit))
  dm_say step "$dm_index" start
  "$3"
  dm_code=$?
  if [ "$dm_code" -ne 0 ]; then
    dm_say step "$dm_index" failed "$dm_code" "$dm_timed_out"
    return 1
  fi
  if [ "$dm_changed" = 1 ]; then dm_say step "$dm_index" changed; else dm_say step "$dm_index" unchanged; fi
}

# ---- waiting

dm_wait_cloud_init() {
  while [ "$(dm_cloud_init)" = running ]; do
    if ! dm_in_time; then
      dm_note "cloud-init is still at work: $dm_stage"
      return 1
    fi
    dm_stage=$(sed -n 's/.*"stage": *"\([^"]*\)".*/stage \1/p' "$dm_root/run/cloud-init/status.json" 2>/dev/null | head -n 1)
    dm_waiting "cloud-init is at work${dm_stage:+, }$dm_stage"
    dm_pause
  done
}

dm_wait_locks() {
  while dm_holders=$(dm_lock_holders) && [ -n "$dm_holders" ]; do
    dm_holders=$(printf '%s\n' "$dm_holders" | while read -r dm_a dm_b dm_c; do printf '%s' "$dm_c is held by $dm_b (pid $dm_a) "; done)
    if ! dm_in_time; then
      dm_note "$dm_holders"
      return 1
    fi
    dm_waiting "$dm_holders"
    dm_pause
  done
  return 0
}

# PORT: whether something listens there. State 0A is LISTEN.
dm_listens() {
  dm_hex=$(printf '%04X' "$1")
  grep -qs ":$dm_hex [0-9A-F]*:0000 0A " "$dm_root/proc/net/tcp" "$dm_root/proc/net/tcp6"
}

dm_wait_port() {
  until dm_listens "$1"; do
    if ! dm_in_time || dm_engine_failed; then
      dm_note "nothing listens on port $1; the engine is $(dm_engine_state)"
      dm_engine_log
      return 1
    fi
    dm_waiting "nothing listens on port $1 yet; the engine is $(dm_engine_state)"
    dm_pause
  done
}

# ---- files

dm_hash() { sha256sum 2>/dev/null <"$1" || cksum <"$1"; }

# FOLDER: says why nothing could be written there; shells only say that it failed.
dm_why_not() {
  dm_a=$(df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ _ _ dm_b _ && echo "$dm_b"; })
  if [ "${dm_a:-99}" -lt 16 ]; then dm_note "$1: No space left on device"; else dm_note "$1: can't be written"; fi
}

# FILE MODE: 0 where it has this mode and is root's.
dm_mode_is() {
  dm_a=$(stat -c '%a %u' "$1" 2>/dev/null) || return 1
  [ "$dm_a" = "$2 $dm_uid" ]
}

# PATH MODE RESTARTS KEEP CONTENT-FUNCTION: makes a file what it should be. It is there whole or not at all, and never readable
# for others before it has its mode.
dm_file() {
  dm_path=$dm_root$1
  dm_dir=${dm_path%/*}
  if [ ! -d "$dm_dir" ]; then mkdir -p "$dm_dir" || return 1; fi
  dm_tmp=$dm_dir/.docker-machine.$$
  rm -f "$dm_tmp"
  if ! (umask 077 && "$5" >"$dm_tmp"); then
    rm -f "$dm_tmp"
    dm_why_not "$dm_dir"
    return 1
  fi
  if [ -f "$dm_path" ] && [ "$(dm_hash "$dm_path")" = "$(dm_hash "$dm_tmp")" ]; then
    rm -f "$dm_tmp"
    if dm_mode_is "$dm_path" "$2"; then return 0; fi
    chown "$dm_uid" "$dm_path" && chmod "$2" "$dm_path" || return 1
    dm_changed=1
    return 0
  fi
  if [ "$4" = 1 ] && [ -f "$dm_path" ] && [ ! -e "$dm_path.before-docker-machine" ] &&
    ! grep -q 'Written by docker-machine' "$dm_path"; then
    cp -p "$dm_path" "$dm_path.before-docker-machine" || return 1
  fi
  # Before the file is in its place, so that a restart that is due is not forgotten when the connection breaks.
  if [ "$3" = 1 ]; then dm_restart_is_due || return 1; fi
  if ! chmod "$2" "$dm_tmp" || ! mv -f "$dm_tmp" "$dm_path"; then
    rm -f "$dm_tmp"
    dm_why_not "$dm_dir"
    return 1
  fi
  if dm_has restorecon; then restorecon "$dm_path" 2>/dev/null; fi
  dm_changed=1
}

# PATH CONTENT-FUNCTION: writes a file of the system, which may be mounted by itself and then can't be replaced.
dm_system_file() {
  dm_path=$dm_root$1
  mkdir -p "${dm_path%/*}" || return 1
  dm_tmp=$dm_path.docker-machine.$$
  if "$2" >"$dm_tmp" && chmod 644 "$dm_tmp" && mv -f "$dm_tmp" "$dm_path" 2>/dev/null; then :; else
    rm -f "$dm_tmp"
    "$2" >"$dm_path" || return 1
  fi
  if dm_has restorecon; then restorecon "$dm_path" 2>/dev/null; fi
  dm_changed=1
}

# NAME
dm_hosts_entry() {
  dm_hosts=$dm_root/etc/hosts
  if [ -f "$dm_hosts" ]; then
    while read -r dm_a dm_text || [ -n "$dm_a" ]; do
      case $dm_a in \#*) continue ;; esac
      case " ${dm_text%%#*} " in *[[:space:]]"$1"[[:space:]]*) return 0 ;; esac
    done <"$dm_hosts"
  fi
  # The new name comes first on the line of 127.0.1.1 if there is one; the old names stay.
  dm_hosts_text=
  if [ -f "$dm_hosts" ]; then
    dm_hosts_text=$(sed "s/^127\.0\.1\.1[[:space:]][[:space:]]*/127.0.1.1 $1 /" "$dm_hosts") || return 1
  else
    dm_hosts_text=$(printf '127.0.0.1 localhost\n::1 localhost')
  fi
  case $dm_hosts_text in
  *"127.0.1.1 $1"*) ;;
  *) dm_hosts_text=$(printf '%s\n%s' "$dm_hosts_text" "127.0.1.1 $1") ;;
  esac
  dm_system_file /etc/hosts dm_hosts_content
}
dm_hosts_content() { printf '%s\n' "$dm_hosts_text"; }

# NAME FILE
dm_hostname() {
  dm_a=
  if [ -r "$dm_root$2" ]; then read -r dm_a <"$dm_root$2" || :; fi
  if [ "$dm_a" != "$1" ]; then
    dm_hostname_name=$1
    dm_system_file "$2" dm_hostname_content || return 1
  fi
  dm_a=
  read -r dm_a 2>/dev/null <"$dm_root/proc/sys/kernel/hostname" || dm_a=$(uname -n)
  [ "$dm_a" != "$1" ] || return 0
  dm_changed=1
  if dm_has sethostname; then
    sethostname "$1"
  elif dm_has hostname; then
    hostname "$1"
  elif dm_has hostnamectl; then
    dm_run hostnamectl set-hostname "$1"
  else
    printf '%s\n' "$1" >"$dm_root/proc/sys/kernel/hostname"
  fi
}
dm_hostname_content() { printf '%s\n' "$dm_hostname_name"; }

# ---- packages

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

# MANAGER: learns which packages there are. A source that fails need not be the one that is needed, so it stops nothing.
dm_refresh() {
  case $1 in
  apt) dm_apt update || dm_note "not all package lists could be fetched; going on with those that are there" ;;
  apk) dm_run apk update || : ;;
  zypper) dm_run zypper -n --gpg-auto-import-keys refresh || : ;;
  pacman) dm_run pacman -Sy --noconfirm --noprogressbar || : ;;
  esac
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

# ---- the engine

# Ends with success if there is an engine, as the end of each way of installing one.
dm_engine_is_there() {
  if dm_find_dockerd; then
    dm_changed=1
    return 0
  fi
  dm_note "the installation reported success, but there is no dockerd on the host"
  return 1
}

# URL
dm_install_by_script() {
  if dm_find_dockerd; then return 0; fi
  dm_work=$(mktemp -d 2>/dev/null) || dm_work=/var/tmp/docker-machine.$$
  (umask 077 && mkdir -p "$dm_work") || return 1
  dm_script=$dm_work/install.sh
  dm_fetch_and_run "$1"
  dm_status=$?
  rm -rf "$dm_work"
  [ "$dm_status" -eq 0 ] || return "$dm_status"
  dm_engine_is_there
}

dm_fetch_and_run() {
  if dm_has curl; then
    dm_run curl -fsSL --connect-timeout 30 --retry 3 -o "$dm_script" "$1" || return
  else
    dm_run wget -q -T 30 -O "$dm_script" "$1" || {
      dm_status=$?
      dm_note "wget could not fetch $1 (exit status $dm_status)"
      return "$dm_status"
    }
  fi
  if [ ! -s "$dm_script" ]; then
    dm_note "nothing came from $1"
    return 1
  fi
  read -r dm_line <"$dm_script" || :
  case $dm_line in
  '#!'*) ;;
  *)
    dm_note "what came from $1 is no shell script; it begins with:"
    head -n 3 "$dm_script" | cut -c 1-200 | tr -d '\000-\010\013-\037\177'
    return 1
    ;;
  esac
  dm_run sh "$dm_script"
}

# URL: docker.com's packages for relatives of Red Hat.
dm_install_by_repository() {
  if dm_find_dockerd; then return 0; fi
  if dm_has dnf; then dm_manager=dnf; else dm_manager=yum; fi
  dm_repository=$dm_root/etc/yum.repos.d/docker-ce.repo
  if [ ! -s "$dm_repository" ]; then
    if dm_has curl; then
      dm_run curl -fsSL --connect-timeout 30 --retry 3 -o "$dm_repository.new" "$1" || return
    else
      dm_run wget -q -T 30 -O "$dm_repository.new" "$1" || return
    fi
    if ! grep -q '^\[docker-ce' "$dm_repository.new"; then
      rm -f "$dm_repository.new"
      dm_note "what came from $1 is no package repository"
      return 1
    fi
    mv -f "$dm_repository.new" "$dm_repository" || return 1
  fi
  dm_run "$dm_manager" -y install docker-ce docker-ce-cli containerd.io || return
  dm_engine_is_there
}

# MANAGER "NAME..." "WANTED...": the distribution's packages, and those that are taken as well where they exist.
dm_install_by_packages() {
  if dm_find_dockerd; then return 0; fi
  dm_refresh "$1" || return 1
  # Amazon Linux 2 has the engine in a repository that must be turned on.
  if dm_has amazon-linux-extras; then dm_run amazon-linux-extras enable docker >/dev/null || :; fi
  dm_names=$2
  for dm_i in $3; do
    if dm_available "$1" "$dm_i"; then dm_names="$dm_names $dm_i"; fi
  done
  # shellcheck disable=SC2086
  dm_install "$1" $dm_names || return
  dm_engine_is_there
}

# MANAGER NAME...: which of these packages are installed, and brings them to their newest version.
dm_upgrade() {
  dm_manager=$1
  shift
  dm_present=
  for dm_i in "$@"; do
    if dm_installed "$dm_manager" "$dm_i"; then dm_present="$dm_present $dm_i"; fi
  done
  if [ -z "$dm_present" ]; then
    dm_note "none of these packages is installed: $*"
    return 1
  fi
  dm_find_dockerd || return 1
  dm_before=$("$dm_root$dm_dockerd" --version 2>/dev/null) dm_since=$(dm_engine_since)
  dm_refresh "$dm_manager" || return 1
  # shellcheck disable=SC2086
  case $dm_manager in
  apt) dm_apt --only-upgrade install $dm_present || return ;;
  apk) dm_run apk add --upgrade $dm_present || return ;;
  zypper) dm_run zypper -n update $dm_present || return ;;
  pacman) dm_run pacman -S --noconfirm --noprogressbar --needed $dm_present || return ;;
  tdnf) dm_run tdnf -y update $dm_present || return ;;
  dnf) dm_run dnf -y --refresh upgrade $dm_present || return ;;
  *) dm_run "$dm_manager" -y upgrade $dm_present || return ;;
  esac
  dm_after=$("$dm_root$dm_dockerd" --version 2>/dev/null)
  [ "$dm_before" != "$dm_after" ] || return 0
  dm_note "$dm_before -> $dm_after"
  dm_changed=1
  # Most packages restart the engine themselves; once is enough.
  if [ "$dm_since" = "$(dm_engine_since)" ]; then dm_restart_is_due; fi
}

# ---- the service

dm_marker=$dm_root/run/docker-machine.restart

dm_restart_is_due() { mkdir -p "$dm_root/run" && : >"$dm_marker"; }

# What starts services here.
dm_supervisor() {
  if [ -d "$dm_root/run/systemd/system" ]; then
    echo systemd
  elif dm_has rc-service; then
    echo openrc
  elif dm_has system-docker; then
    echo rancheros
  else
    echo init
  fi
}

dm_engine_state() {
  case $dm_supervisor in
  systemd)
    dm_a=$(systemctl is-active docker.service 2>/dev/null)
    printf '%s\n' "${dm_a:-unknown}"
    ;;
  openrc) if rc-service docker status >/dev/null 2>&1; then echo active; else echo inactive; fi ;;
  rancheros) if system-docker inspect -f '{{.State.Running}}' docker 2>/dev/null | grep -q true; then echo active; else echo inactive; fi ;;
  *) if "$dm_root/etc/init.d/docker" status >/dev/null 2>&1; then echo active; else echo inactive; fi ;;
  esac
}

dm_engine_failed() { [ "$(dm_engine_state)" = failed ]; }

# When it was started, or nothing where that can't be told.
dm_engine_since() {
  if [ "$dm_supervisor" = systemd ]; then
    systemctl show -p ActiveEnterTimestampMonotonic docker.service 2>/dev/null
  else
    echo unknown
  fi
}

# The engine's last words, since it was started here.
dm_engine_log() {
  case $dm_supervisor in
  systemd) journalctl -u docker.service "--since=@${dm_started:-0}" -n 15 --no-pager -o cat 2>/dev/null | cut -c 1-500 ;;
  *) tail -n 15 "$dm_root/var/log/docker.log" 2>/dev/null | cut -c 1-500 ;;
  esac
}

# SERVICE
dm_enable() {
  case $dm_supervisor in
  systemd)
    if systemctl is-enabled --quiet "$1.service" 2>/dev/null; then return 0; fi
    dm_run systemctl enable "$1.service" || return
    ;;
  openrc)
    if rc-update show default 2>/dev/null | grep -q "^ *$1 *|"; then return 0; fi
    dm_run rc-update add "$1" default || return
    ;;
  *) return 0 ;;
  esac
  dm_changed=1
}

# SERVICE PORT
dm_restart() {
  dm_why=
  if [ -e "$dm_marker" ]; then dm_why="what it reads at its start has changed"; fi
  dm_a=$(dm_engine_state)
  case $dm_a in
  active | reloading | activating) [ -n "$dm_why" ] || dm_listens "$2" || dm_why="it does not listen on port $2" ;;
  *) dm_why="it is $dm_a" ;;
  esac
  [ -n "$dm_why" ] || return 0
  dm_note "starting the engine: $dm_why"
  dm_started=$(date +%s)
  case $dm_supervisor in
  systemd)
    dm_run systemctl daemon-reload || return
    # An engine that has failed too often is not started again before this.
    systemctl reset-failed "$1.service" 2>/dev/null
    dm_run systemctl restart "$1.service"
    ;;
  openrc) dm_run rc-service "$1" restart ;;
  rancheros) dm_run system-docker restart "$1" ;;
  *) dm_run "$dm_root/etc/init.d/$1" restart ;;
  esac
  dm_status=$?
  if [ "$dm_status" -ne 0 ]; then
    dm_engine_log
    return "$dm_status"
  fi
  rm -f "$dm_marker"
  dm_changed=1
}

# PORT: lets clients through the firewalls that are active here.
dm_open_port() {
  if dm_has firewall-cmd && firewall-cmd --state >/dev/null 2>&1; then
    if ! firewall-cmd -q --query-port="$1/tcp"; then
      dm_run firewall-cmd -q --add-port="$1/tcp" || return
      dm_changed=1
    fi
    if ! firewall-cmd -q --permanent --query-port="$1/tcp"; then
      dm_run firewall-cmd -q --permanent --add-port="$1/tcp" || return
      dm_changed=1
    fi
  fi
  if dm_has ufw && ufw status 2>/dev/null | grep -q '^Status: active'; then
    if ! ufw status | grep -q "^$1/tcp *ALLOW"; then
      dm_run ufw allow "$1/tcp" || return
      dm_changed=1
    fi
  fi
  return 0
}

# COMMAND...: only where the step before it changed something. That a change is due is not forgotten when the connection breaks.
dm_if_changed() {
  [ "$dm_previous" = 1 ] || return 0
  dm_run "$@" || return
  dm_changed=1
}
