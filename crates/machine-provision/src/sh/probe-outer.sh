# Runs on the host as the user who logged in, and runs the rest as root where that is possible.
dm_tell() { printf '%s %s %s\n' "$dm_mark" "$1" "$2"; }
dm_tell begin
dm_tell user "$(id -un 2>/dev/null || id -u)"
if [ "$(id -u)" = 0 ]; then
  dm_tell privilege root
  sh -c "$dm_inner" </dev/null 2>/dev/null
elif command -v sudo >/dev/null 2>&1 && dm_said=$(sudo -n true 2>&1 </dev/null); then
  dm_tell privilege sudo
  sudo -n sh -c "$dm_inner" </dev/null 2>/dev/null
elif command -v doas >/dev/null 2>&1 && doas -n true >/dev/null 2>&1 </dev/null; then
  dm_tell privilege doas
  doas -n sh -c "$dm_inner" </dev/null 2>/dev/null
else
  if command -v sudo >/dev/null 2>&1; then
    dm_tell sudo-refuses "$(printf '%s\n' "$dm_said" | { read -r dm_line; printf %s "$dm_line"; })"
  fi
  dm_tell privilege none
  sh -c "$dm_inner" </dev/null 2>/dev/null
fi
dm_tell end
