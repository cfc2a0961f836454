#!/bin/sh
# Installs the models of Microsoft's SDK, against which requests to Azure are checked, into the folder $1 (78 MB). What is
# there already stays, unless what is wanted has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
wanted=$(cat "$0" "$here/requirements.txt" | cksum)
[ "$(cat "$1/complete" 2>/dev/null)" != "$wanted" ] || exit 0
rm -rf "$1"
python3 -m venv "$1"
"$1/bin/pip" --quiet --disable-pip-version-check install -r "$here/requirements.txt"
echo "$wanted" > "$1/complete"
