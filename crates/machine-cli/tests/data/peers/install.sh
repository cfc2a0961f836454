#!/bin/sh
# Installs other people's programs that drive docker-machine, unmodified, into the folder $1: python/ (a virtual
# environment with Ansible and python-docker-machine), collections/ (what Ansible's inventory plugin consists of), node/ (in it
# Prism, too, which judges requests by a provider's description), and moto/ (an imitation of Amazon's services, which the driver amazonec2 is tested against). What is there already
# stays, unless what is wanted has changed.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
into=$(cd "$1" && pwd)
# The collection comes in this package only (55 MB, of which two folders are kept).
collections=ansible==12.3.0

wanted=$(cat "$0" "$here/requirements.txt" "$here/moto.txt" "$here/package.json" | cksum)
[ "$(cat "$into/complete" 2>/dev/null)" != "$wanted" ] || exit 0
rm -rf "$into/python" "$into/collections" "$into/node" "$into/wheel" "$into/moto"

python3 -m venv "$into/python"
pip="$into/python/bin/pip --quiet --disable-pip-version-check"
$pip install -r "$here/requirements.txt"

$pip download --no-deps --dest "$into/wheel" "$collections"
"$into/python/bin/python" - "$into" <<'UNPACK'
import glob, sys, zipfile
into = sys.argv[1]
kept = tuple(f"ansible_collections/community/{name}/" for name in ("docker", "library_inventory_filtering_v1"))
wheel = zipfile.ZipFile(glob.glob(f"{into}/wheel/ansible-*.whl")[0])
wheel.extractall(f"{into}/collections", [name for name in wheel.namelist() if name.startswith(kept)])
UNPACK
rm -rf "$into/wheel"

# Apart from the others: what they need and what it needs does not go together.
python3 -m venv "$into/moto"
"$into/moto/bin/pip" --quiet --disable-pip-version-check install -r "$here/moto.txt"

mkdir "$into/node"
cp "$here/package.json" "$into/node/"
(cd "$into/node" && npm install --silent --no-package-lock --no-audit --no-fund)

echo "$wanted" > "$into/complete"
