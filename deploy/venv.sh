#!/bin/sh
# Make a virtual environment where Debian's python3 may lack ensurepip (package python3-venv).
set -eu
dir=$1
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "towntwin: needs Python 3.11 or newer; this is $(python3 --version)" >&2
    exit 2
fi
if ! python3 -c 'import ensurepip' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "towntwin: installing python3-venv"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
    else
        echo "towntwin: this python3 can't make virtual environments; run: sudo apt-get install python3-venv" >&2
        exit 2
    fi
fi
python3 -m venv "$dir"
