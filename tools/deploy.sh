#!/bin/sh
# Puts a bundle on this host: tools/deploy.sh BUNDLE.tar [OPTIONS]. Inside an unpacked bundle: ./deploy.sh [OPTIONS].
# OPTIONS are those of `framefleet deploy`, such as --fleet fleet.toml --host NAME. INSTALL= and PYTHON= have defaults.
set -eu
# These would send `cd` elsewhere and `tar` something else.
unset CDPATH TAR_OPTIONS

PYTHON=${PYTHON:-python3}
INSTALL=${INSTALL:-/opt/framefleet}
export INSTALL

die() { printf 'deploy: %s\n' "$*" >&2; exit 1; }

command -v "$PYTHON" >/dev/null || die "$PYTHON not found; install python3 and python3-venv"
"$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$("$PYTHON" --version) is too old; set PYTHON="
"$PYTHON" -I -c 'import ensurepip, venv' 2>/dev/null || die "$PYTHON cannot make a venv; apt-get install python3-venv"

case ${1:-} in
*.tar)
    [ -r "$1" ] || die "$1: no such bundle"
    umask 022
    mkdir -p "$INSTALL" || die "cannot write to $INSTALL; run this as root"
    # What a power cut left behind.
    find "$INSTALL" -maxdepth 1 -name 'incoming.*' -mmin +1440 -exec rm -rf {} +
    unpacked=$(mktemp -d "$INSTALL/incoming.XXXXXX")
    trap 'rm -rf "$unpacked"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    tar -xf "$1" -C "$unpacked" --strip-components=1 --no-same-owner
    shift
    bundle=$unpacked
    ;;
*)
    bundle=$(cd -- "$(dirname -- "$0")" && pwd)
    [ -f "$bundle/SHA256SUMS" ] || die "name a bundle: $0 build/framefleet-....tar (make bundle)"
    ;;
esac

# -I: the folder this is called from, which the options may name files in, has no say in what is imported.
run='import sys; sys.path.insert(0, sys.argv[1]); from framefleet.command import carry_out; carry_out("deploy.bootstrap", sys.argv[2:])'
"$PYTHON" -I -B -c "$run" "$bundle" "$@"
