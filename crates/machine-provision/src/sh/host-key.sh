# A new SSH host key, made on the host itself. POSIX sh, as root.

dm_key=/etc/ssh/ssh_host_ed25519_key
dm_new=$dm_key.docker-machine

# The public half of the key that will take its place. One that is there already was made by a run that did not get further.
dm_make() {
  ssh-keygen -y -f "$dm_new" 2>/dev/null && return 0
  rm -f "$dm_new" "$dm_new.pub"
  ssh-keygen -q -t ed25519 -N '' -C '' -f "$dm_new" && ssh-keygen -y -f "$dm_new"
}

# An sshd that finds the public half of another pair beside a private key refuses both: it goes first, and comes last.
dm_place() {
  sync "$dm_new" 2>/dev/null || sync
  rm -f "$dm_key.pub" "$dm_key-cert.pub"
  mv -f "$dm_new" "$dm_key" && mv -f "$dm_new.pub" "$dm_key.pub" && chmod 644 "$dm_key.pub" || return
  if command -v restorecon >/dev/null 2>&1; then restorecon "$dm_key" "$dm_key.pub"; fi
  dm_reload
}

# Sessions go on. One that is started for each connection needs to be told nothing.
dm_reload() {
  if [ -d /run/systemd/system ]; then
    for dm_i in ssh.service sshd.service; do
      if systemctl is-active --quiet "$dm_i"; then
        systemctl reload "$dm_i" || systemctl restart "$dm_i"
        return
      fi
    done
  elif command -v rc-service >/dev/null 2>&1; then
    rc-service sshd reload
  elif read -r dm_i 2>/dev/null </run/sshd.pid; then
    kill -HUP "$dm_i"
  fi
}
