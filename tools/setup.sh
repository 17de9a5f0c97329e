#!/bin/bash -p
# Makes a checkout ready to run: .venv from the lock, nginx, and the default model and sample videos under ./var.
# Run again, it only looks: nothing that is already right is touched, and what was cut off is completed.
# Usage: tools/setup.sh [--dev] [--quick] [--python=PATH] [--var=FOLDER]
#   --dev    with what the tests and `make lint` need
#   --quick  say and do nothing where all of it was done before
#
# -p: no BASH_ENV, CDPATH or functions of the caller's. The environment has no say in what is installed, but for what pip
# needs to reach an index (framefleet/pip.py) and for proxies.
set -euo pipefail
unset "${!PYTHON@}" BASH_ENV
cd -- "$(dirname -- "$0")/.."

PYTHON= # empty looks for one
VAR=var
PY=.venv/bin/python
LOCK=lock/checkout.txt
DEV_LOCK=lock/dev.txt # all of the other, and more
DEV=
QUICK=
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

is_new_enough() { "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; }

# The system's own before that of a conda environment or venv that happens to be active: those may be gone tomorrow.
find_python() {
    local path found
    for path in "$(without_active "$PATH")" "$PATH"; do
        if found=$(PATH=$path command -v python3) && is_new_enough "$found"; then
            printf '%s' "$found"
            return
        fi
    done
    die "no Python 3.10 or later found; install one, or name it: make setup PYTHON=path"
}

without_active() {
    local folder kept=
    local IFS=:
    set -f
    for folder in $1; do
        case $folder in
        "${CONDA_PREFIX:-/none}"/* | "${VIRTUAL_ENV:-/none}"/*) ;;
        *) kept+=${kept:+:}$folder ;;
        esac
    done
    printf '%s' "$kept"
}

# All at once: one line to run as root, and not another after that.
check_owners() {
    local folder others=()
    for folder in "$VAR" .venv; do
        [ "$folder" = "$VAR" ] || [ -e "$folder" ] || folder=. # there it is made
        if [ "$folder" != "$VAR" ] && is_installed; then
            continue
        fi
        [ ! -e "$folder" ] || [ -w "$folder" ] || others+=("$(realpath -- "$folder")")
    done
    [ ${#others[@]} -eq 0 ] ||
        die "${others[0]} belongs to $(stat -c %U -- "${others[0]}"); run: sudo chown -R $(id -un 2>/dev/null)$(printf ' %q' "${others[@]}")"
}

check_python() {
    if [ -z "$PYTHON" ]; then
        PYTHON=$(find_python)
    fi
    command -v "$PYTHON" >/dev/null || die "$PYTHON not found; install Python 3.10 or later, or name one: PYTHON=path"
    is_new_enough "$PYTHON" || die "$("$PYTHON" --version) is too old; name a Python 3.10 or later: make setup PYTHON=path"
    "$PYTHON" -I -c 'import ensurepip, venv' 2>/dev/null || install_packages python3-venv
}

# True if .venv has all of the lock, and the Python that was asked for if one was.
is_installed() {
    local has
    has=$("$PY" --version 2>/dev/null) || return
    [ -z "$PYTHON" ] || [ "$has" = "$("$PYTHON" --version 2>/dev/null)" ] || return
    [[ "$(cat "$STAMP" 2>/dev/null) " = "$has $(sum <"$LOCK") ${DEV:+$(sum <"$DEV_LOCK") }"* ]]
}

sum() { sha256sum | cut -c -64; }

install_venv() {
    if is_installed; then
        say ".venv is up to date"
        return
    fi
    if [ -z "$DEV" ] || ! DEV= is_installed; then
        check_python
        say "installing Python packages into .venv: 170 MB to download, 500 MB on disk, a minute"
        "$PYTHON" -I -m venv --clear .venv
        install_lock "$LOCK"
    fi
    if [ -n "$DEV" ]; then
        say "installing what tests and linters need: 65 MB to download, 200 MB on disk"
        rm -f "$STAMP"
        install_lock "$DEV_LOCK"
    fi
    printf '%s' "$("$PY" --version) $(sum <"$LOCK")${DEV:+ $(sum <"$DEV_LOCK")}" >"$STAMP"
}

# Not compiled ahead: much of it is never imported, and Python keeps what is.
install_lock() {
    # sed, and not grep: to find no such line is no failure.
    "$PY" -m framefleet.pip install --disable-pip-version-check --no-compile --no-deps --require-hashes -r "$1" |
        sed -nuE '/^(Collecting|Installing|Successfully)/{s/^(.{100}).*/\1/;p}' ||
        die "the packages could not be installed, see above; run it again once that is mended"
}

has_nginx() { PATH="$PATH:/usr/sbin" command -v nginx >/dev/null; }

install_system_packages() {
    has_nginx || install_packages nginx
    # opencv-python's wheel leaves these two to the system.
    "$PY" -I -c 'import cv2' 2>/dev/null || install_packages libgl1 libglib2.0-0
    "$PY" -I -c 'import cv2' || die "OpenCV does not load; the line above says which library is missing"
}

# What the model is built by: other code builds it anew.
made_by() { find service/models -name '*.py' | sort | xargs cat | sum; }

is_ready() { is_installed && has_nginx && [ "$(cat "$VAR/set-up" 2>/dev/null)" = "$(made_by)" ]; }

for option; do
    case $option in
    --dev) DEV=1 ;;
    --quick) QUICK=1 ;;
    --python=*) PYTHON=${option#*=} ;;
    --var=*) VAR=${option#*=} ;;
    *) die "$option is no option; usage: tools/setup.sh [--dev] [--quick] [--python=PATH] [--var=FOLDER]" ;;
    esac
done
if [ -n "$QUICK" ] && is_ready; then
    exit
fi
check_owners
install_venv
install_system_packages
"$PY" -m service.models.fetch --var="$VAR"
mkdir -p -- "$VAR"
made_by >"$VAR/set-up"
[ -n "$QUICK" ] || say "done; next: make demo"
