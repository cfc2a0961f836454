# Files, the host's name and its entry in /etc/hosts.

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
