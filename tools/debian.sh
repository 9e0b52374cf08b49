#!/bin/sh
# Usage: tools/debian.sh PACKAGE...
# See that Debian packages are there: install what is missing as root, else say by name what to do.
set -eu

missing=""
for package in "$@"; do
    # Without dpkg (another system) everything counts as missing, and is named below.
    if ! dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed; then
        missing="$missing $package"
    fi
done
if [ -z "$missing" ]; then
    exit 0
fi

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing Debian packages:$missing"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list on purpose
    if apt-get update -qq && apt-get install -qq --no-install-recommends $missing >/dev/null; then
        exit 0
    fi
fi
echo "not here:$missing. Install with: sudo apt-get install$missing" >&2
echo "(on a system that is not Debian or Ubuntu: what gives the same)" >&2
exit 1
