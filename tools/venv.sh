#!/bin/sh
# Make .venv, or keep it if it works. PYTHON=path chooses the Python.
set -eu

# Run it to know: a pyenv shim is on the PATH even for a version that is not active.
usable() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if usable .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
    exit 0
fi

candidates=${PYTHON:-python3 python3.13 python3.12 python3.11 /usr/bin/python3}
for python in $candidates none; do
    if usable "$python"; then
        break
    fi
done
if [ "$python" = none ]; then
    echo "Walnut needs Python 3.11 or later; none of these is one: $candidates." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

# Debian and Ubuntu keep the half of venv that brings pip in a package of its own.
if ! "$python" -c 'import ensurepip' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    tools/debian.sh "python$version-venv"
fi

echo "making .venv with $("$python" -c 'import sys; print(sys.executable, sys.version.split()[0])')"
rm -rf .venv
"$python" -m venv .venv
