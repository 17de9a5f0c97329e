#!/bin/bash -p
# Makes a self-signed certificate, for trials of [tls]: tools/certificate.sh FOLDER NAME [ADDRESS]. -p: see tools/setup.sh.
set -euo pipefail

die() { printf 'certificate: %s\n' "$*" >&2; exit 1; }

folder=$1 name=$2 address=${3:-}
[ -n "$name" ] || die "NAME= is missing: make certificate NAME=host"
is_address() { [[ $1 =~ ^[0-9]+(\.[0-9]+){3}$|^[0-9A-Fa-f]*:[0-9A-Fa-f:.]+$ ]]; }
# What else stands there would be read by openssl, as further names or as a file.
if is_address "$name"; then
    holds=IP:$name
elif [[ $name =~ ^(\*\.)?[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$ ]]; then
    holds=DNS:$name
else
    die "NAME=$name is no host's name; write one such as gpu1.example, or an address"
fi
if [ -n "$address" ]; then
    is_address "$address" || die "ADDRESS=$address is no address; write one such as 10.0.0.11"
    holds+=,IP:$address
fi

there=$folder
until [ -e "$there" ] || [ "$there" = "$(dirname -- "$there")" ]; do
    there=$(dirname -- "$there")
done
[ -d "$there" ] || die "$there is no folder; choose another (VAR=)"
for place in "$there" "$folder/key.pem" "$folder/fullchain.pem"; do
    if [ -e "$place" ] && [ ! -w "$place" ]; then
        there=$(realpath -- "$there")
        case $there/ in
        "$PWD"/*) advice="sudo chown -R $(id -un 2>/dev/null) $(printf %q "$there"), or " ;;
        *) advice= ;; # not of a folder that others use too
        esac
        die "$place belongs to $(stat -Lc %U -- "$place"): ${advice}choose a folder of your own (VAR=)"
    fi
done
mkdir -p -- "$folder"
umask 077
# A subject holds 64 letters at most; clients look at the alternative names alone.
if ! said=$(openssl req -x509 -nodes -days 90 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj "/CN=${name:0:64}" \
    -addext "subjectAltName=$holds" -keyout "$folder/key.pem" -out "$folder/fullchain.pem" 2>&1); then
    die "openssl fails: $(tail -n 1 <<<"$said")"
fi
printf '%s %s\n' "$folder/fullchain.pem" "$folder/key.pem"
