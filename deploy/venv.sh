#!/bin/sh
# Make a virtual environment, also where Debian's python3 comes without ensurepip (package python3-venv).
# Nothing of the machine is changed and no root is needed: Debian's pip is fetched, unpacked and used from here.
set -eu
dir=$1
say() { echo "towntwin: $1" >&2; }

if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    say "needs Python 3.11 or newer; this is $(python3 --version)"
    exit 2
fi

scratch=$(mktemp -d)
made=no
trap 'rm -rf "$scratch"; [ $made = yes ] || rm -rf "$dir"' EXIT # never half-made
trap 'exit 130' INT TERM

if python3 -c 'import ensurepip' 2>/dev/null; then
    python3 -m venv "$dir"
elif command -v apt-get >/dev/null && command -v dpkg >/dev/null; then
    say "fetching pip from Debian (python3-pip-whl), for this folder only"
    mkdir -p "$scratch/lists/partial" "$scratch/cache/archives/partial"
    own="-o Dir::State::Lists=$scratch/lists -o Dir::Cache=$scratch/cache -o APT::Sandbox::User="
    # shellcheck disable=SC2086 # a list of options
    (cd "$scratch" && apt-get $own -qq update && apt-get $own -qq download python3-pip-whl && dpkg -x ./*.deb pip)
    pip=$(echo "$scratch"/pip/usr/share/python-wheels/pip-*.whl)
    python3 -m venv --without-pip "$dir"
    "$dir/bin/python" "$pip/pip" install --quiet --no-index --no-deps "$pip"
else
    say "this python3 has no ensurepip: install it (on Debian: apt-get install python3-venv), then try again"
    exit 2
fi
made=yes
