# Who may log in, which SSH host key the host has, and what is mounted there: for the first boot, where root runs this before
# most else. POSIX sh. Few programs are started: each takes its time where a processor is emulated.

# USER: its home in dm_home; fails where there is no such user.
dm_home_of() {
  while IFS=: read -r dm_a _ _ _ _ dm_home _; do
    [ "$dm_a" != "$1" ] || return 0
  done </etc/passwd
  return 1
}

# GROUP: whether there is one.
dm_is_group() {
  while IFS=: read -r dm_a _; do
    [ "$dm_a" != "$1" ] || return 0
  done </etc/group
  return 1
}

# FILE LINE: whether it is in the file.
dm_has_line() {
  while IFS= read -r dm_a || [ -n "$dm_a" ]; do
    [ "$dm_a" != "$2" ] || return 0
  done 2>/dev/null <"$1"
  return 1
}

# USER KEY: lets USER log in with the key and become root.
dm_login() {
  if ! dm_home_of "$1"; then
    # There may be a group of this name, e.g. the engine's.
    if dm_is_group "$1"; then set -- "$1" "$2" -g "$1"; else set -- "$1" "$2" -U; fi
    useradd -m -s /bin/bash "$3" ${4:+"$4"} "$1" && dm_home_of "$1" || return 1
  fi
  dm_keys=$dm_home/.ssh/authorized_keys
  if ! dm_has_line "$dm_keys" "$2"; then
    (umask 077 && mkdir -p "$dm_home/.ssh" && printf '%s\n' "$2" >>"$dm_keys") && chown -R "$1:" "$dm_home/.ssh" || return 1
  fi
  if [ "$1" != root ] && [ -d /etc/sudoers.d ]; then
    rm -f /etc/sudoers.d/90-docker-machine
    (umask 0337 && printf '%s ALL=(ALL) NOPASSWD:ALL\n' "$1" >/etc/sudoers.d/90-docker-machine) || return 1
  fi
}

# PRIVATE-FUNCTION PUBLIC: the host's only key.
dm_host_key() {
  rm -f /etc/ssh/ssh_host_*
  dm_key=/etc/ssh/ssh_host_ed25519_key
  (umask 077 && "$1" >"$dm_key") && (umask 022 && printf '%s\n' "$2" >"$dm_key.pub")
}

# FOLDER LINE: a line of fstab, and the folder on which it mounts.
dm_mount() {
  mkdir -p "$1" || return 1
  if dm_has_line /etc/fstab "$2"; then return 0; fi
  printf '%s\n' "$2" >>/etc/fstab || return 1
  # Else systemd does it.
  if [ -z "$BEFORE_INIT" ]; then mount "$1" || :; fi
}
