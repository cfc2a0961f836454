# The engine: installing, upgrading, starting it.

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
  # What is in this folder is run as root: it must be one that nobody else has made.
  if ! dm_work=$(mktemp -d 2>/dev/null); then
    dm_work=/var/tmp/docker-machine.$$
    (umask 077 && mkdir "$dm_work") || return 1
  fi
  dm_script=$dm_work/install.sh
  dm_fetch_and_run "$1"
  dm_status=$?
  rm -rf "$dm_work"
  [ "$dm_status" -eq 0 ] || return "$dm_status"
  dm_engine_is_there
}

# FILE URL: what begins encrypted stays so, whatever it is redirected to.
dm_curl() {
  case $2 in
  https:*) dm_run curl -fsSL --proto-redir =https --connect-timeout 30 --retry 3 -o "$1" "$2" ;;
  *) dm_run curl -fsSL --connect-timeout 30 --retry 3 -o "$1" "$2" ;;
  esac
}

dm_fetch_and_run() {
  if dm_has curl; then
    dm_curl "$dm_script" "$1" || return
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
      dm_curl "$dm_repository.new" "$1" || return
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
  if [ "$dm_before" = "$dm_after" ]; then
    [ -n "$dm_stale" ] || return 0
    dm_note "whether there is a newer engine than $dm_after is not known: the package lists could not be fetched"
    return 1
  fi
  dm_note "$dm_before -> $dm_after"
  dm_changed=1
  # Most packages restart the engine themselves; once is enough.
  if [ "$dm_since" = "$(dm_engine_since)" ]; then dm_restart_is_due; fi
}

# The service.

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
  # One that is starting just now is not disturbed.
  while [ "$dm_a" = activating ] && [ -z "$dm_why" ] && ! dm_listens "$2" && dm_in_time && [ "$dm_rest" -gt $((dm_limit / 2)) ]; do
    dm_waiting "the engine is starting"
    dm_pause
    dm_a=$(dm_engine_state)
  done
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
