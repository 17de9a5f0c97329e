#!/bin/sh
# Puts a bundle on this host: tools/deploy.sh BUNDLE.tar [OPTIONS]. Inside an unpacked bundle: ./deploy.sh [OPTIONS].
# OPTIONS are those of `framefleet deploy`, such as --fleet fleet.toml --host NAME. INSTALL=, PYTHON= and SIGNERS= have
# defaults. Nothing of the bundle runs before this has checked its signature, where one is asked for, and its files.
set -eu
# These would send `cd` elsewhere and `tar` something else.
unset CDPATH TAR_OPTIONS

# The system's own python3 before that of a conda environment or venv that happens to be active: a service cannot run
# from somebody's home, and tomorrow that may be gone.
own_python() (
    IFS=:
    set -f
    outside=
    for folder in $PATH; do
        case $folder in
        "${CONDA_PREFIX:-/none}"/* | "${VIRTUAL_ENV:-/none}"/*) ;;
        *) outside=$outside${outside:+:}$folder ;;
        esac
    done
    PATH=$outside
    command -v python3 || echo python3
)

PYTHON=${PYTHON:-$(own_python)}
INSTALL=${INSTALL:-/opt/framefleet}
export INSTALL
# Where this file is, in the form of ssh's allowed signers, only bundles are taken that one of them has signed.
signers=${SIGNERS:-/etc/framefleet/allowed_signers}
signed_only=
if [ -n "${SIGNERS:-}" ] || [ -e "$signers" ] || [ -L "$signers" ]; then signed_only=yes; fi

# What is named may be others': it must not steer the terminal.
die() { printf 'deploy: %s\n' "$*" | LC_ALL=C tr -c '\n -~' '?' >&2; exit 1; }

command -v "$PYTHON" >/dev/null || die "$PYTHON not found; install python3 and python3-venv"
"$PYTHON" -I -c 'import sys; sys.exit(sys.version_info < (3, 10))' || die "$("$PYTHON" --version) is too old; set PYTHON="
"$PYTHON" -I -c 'import ensurepip, venv' 2>/dev/null || die "$PYTHON cannot make a venv; apt-get install python3-venv"

# A folder of root's alone, for what is checked there and must not change afterwards.
make_room() {
    umask 022
    mkdir -p "$INSTALL" || die "cannot write to $INSTALL; run this as root"
    [ -z "$(find -H "$INSTALL" -maxdepth 0 \( ! -uid 0 ! -uid "$(id -u)" -o -perm -002 \))" ] ||
        die "$INSTALL: others may swap what is checked there; chown 0 $INSTALL; chmod go-w $INSTALL"
    # What a power cut left behind of this script; incoming.fleet, which this bundle may lie in, is deploy-fleet's.
    find "$INSTALL" -maxdepth 1 -name 'incoming.??????' -mmin +1440 -exec rm -rf {} +
    unpacked=$(mktemp -d "$INSTALL/incoming.XXXXXX")
    trap 'rm -rf "$unpacked"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

case ${1:-} in
*.tar)
    [ -r "$1" ] || die "$1: no such bundle"
    make_room
    tar -xf "$1" -C "$unpacked" --strip-components=1 --no-same-owner --no-same-permissions
    shift
    bundle=$unpacked
    ;;
*)
    bundle=$(cd -- "$(dirname -- "$0")" && pwd)
    [ -f "$bundle/SHA256SUMS" ] || die "name a bundle: $0 build/framefleet-....tar (make bundle)"
    if [ "$signed_only" ]; then
        make_room
        cp -R -- "$bundle/." "$unpacked"
        bundle=$unpacked
    fi
    ;;
esac

check_signature() {
    signature=$bundle/SHA256SUMS.sig
    command -v ssh-keygen >/dev/null || die "ssh-keygen not found, which checks signatures; apt-get install openssh-client"
    [ -f "$signers" ] && [ -r "$signers" ] || die "$signers: no file that can be read; list there who may sign bundles"
    [ -z "$(find -L "$signers" -maxdepth 0 \( -perm /022 -o ! -uid 0 ! -uid "$(id -u)" \))" ] ||
        die "$signers: others may write it; chown 0 $signers; chmod 644 $signers"
    [ -f "$signature" ] ||
        die "the bundle is not signed, and this host takes only what is signed by one of $signers; make bundle SIGN_KEY="
    found=$(ssh-keygen -Y check-novalidate -n framefleet -s "$signature" <"$bundle/SHA256SUMS" 2>&1) ||
        die "the signature does not fit the bundle ($found); it was changed, or signed for something else"
    # One line each; -I takes what stands in the file.
    ssh-keygen -Y find-principals -s "$signature" -f "$signers" 2>/dev/null | while IFS= read -r signer; do
        if ssh-keygen -Y verify -n framefleet -f "$signers" -I "$signer" -s "$signature" \
            <"$bundle/SHA256SUMS" >/dev/null 2>&1; then
            printf '== signature: of %s\n' "$signer"
            exit 9
        fi
    done || return 0
    die "signed by none of $signers: $found; have one of them sign it, or add who did"
}

# Before Python sees the bundle: a module that was slipped in, compiled or not, would run at the first import.
check_files() (
    cd -- "$bundle"
    fix='unpack the bundle again, or copy it here again'
    odd=$(find . ! -type d ! -type f -o -name '*
*')
    [ -z "$odd" ] || die "$odd: no plain file or folder; $fix"
    # Names that are listed come twice at least.
    unlisted=$({
        sed 's/^[0-9a-f]\{64\}  //; p' SHA256SUMS
        find . -type f ! -path ./SHA256SUMS ! -path ./SHA256SUMS.sig | sed 's|^\./||'
    } | LC_ALL=C sort | LC_ALL=C uniq -u)
    [ -z "$unlisted" ] || die "$unlisted: not listed in SHA256SUMS; $fix"
    # The large ones are left to the bootstrap.
    grep -v '^[0-9a-f]*  \(wheels\|more-wheels\|model\)/' SHA256SUMS | sha256sum --quiet --strict -c - ||
        die "damaged: hashes differ; $fix"
)

# Whatever modes a tar asks for, nobody else changes what is checked next.
if [ "$bundle" = "${unpacked:-}" ]; then chmod -R go-w "$bundle" && chmod 700 "$bundle"; fi
[ -f "$bundle/SHA256SUMS" ] || die "$bundle/SHA256SUMS is missing; name a bundle that \`make bundle\` made"
if [ "$signed_only" ]; then check_signature; fi
check_files

# -I: the folder this is called from, which the options may name files in, has no say in what is imported.
run='import sys; sys.path.insert(0, sys.argv[1]); from framefleet.command import carry_out; carry_out("deploy.ship.bootstrap", sys.argv[2:])'
"$PYTHON" -I -B -X pycache_prefix=/dev/null -c "$run" "$bundle" "$@"
