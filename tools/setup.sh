#!/usr/bin/env bash
# Makes a checkout ready to run: .venv from the lock, nginx, and the default model and sample videos under ./var.
# Run again, it only looks: nothing that is already right is touched.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VAR=${VAR:-var}
LOCK=lock/dev.txt
STAMP=.venv/installed-lock

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

# Installs Debian packages when we may; else says which line to run.
install_packages() {
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || die "missing: $*. Run: sudo apt-get install -y $*"
        as_root=(sudo -n)
    fi
    command -v apt-get >/dev/null || die "missing: $*. Install them with this system's package manager"
    say "installing $* with apt-get"
    "${as_root[@]}" apt-get update -qq
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

check_python() {
    command -v "$PYTHON" >/dev/null || die "$PYTHON not found; install Python 3.10 or later, or set PYTHON=path"
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        die "$("$PYTHON" --version) is too old; set PYTHON= to a Python 3.10 or later"
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
}

install_venv() {
    local wanted
    wanted="$("$PYTHON" --version) $(sha256sum <"$LOCK")"
    if [ -x .venv/bin/python ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$wanted" ]; then
        say ".venv is up to date"
        return
    fi
    say "installing Python packages into .venv (about 800 MB; a minute or two)"
    "$PYTHON" -m venv --clear .venv
    .venv/bin/python -m pip install --disable-pip-version-check --no-deps --require-hashes -r "$LOCK" |
        grep --line-buffered -E '^(Collecting|Installing|Successfully)' | cut -c -100
    printf '%s' "$wanted" >"$STAMP"
}

install_system_packages() {
    PATH="$PATH:/usr/sbin" command -v nginx >/dev/null || install_packages nginx
    # opencv-python's wheel leaves these two to the system.
    .venv/bin/python -c 'import cv2' 2>/dev/null || install_packages libgl1 libglib2.0-0
    .venv/bin/python -c 'import cv2' || die "OpenCV does not load; the line above says which library is missing"
}

check_python
install_venv
install_system_packages
.venv/bin/python -m service.model.fetch --var "$VAR"
say "done; next: make demo"
