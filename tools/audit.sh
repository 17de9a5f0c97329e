#!/usr/bin/env bash
# Asks PyPI which locked packages have known vulnerabilities. Exits with 1 if any has, with 2 if it could not be asked.
set -euo pipefail
cd "$(dirname "$0")/.."

AUDIT=${AUDIT:-.venv/bin/pip-audit}

die() { printf 'audit: %s\n' "$*" >&2; exit 2; }

command -v "$AUDIT" >/dev/null || die "$AUDIT is missing; run: make setup"
locks=(lock/*.txt)
# --disable-pip: every version is in the locks already, so nothing has to be resolved or downloaded.
if said=$("$AUDIT" --disable-pip --require-hashes --progress-spinner off "${locks[@]/#/--requirement=}" 2>&1); then
    printf 'audit: no known vulnerabilities in %s\n' "${locks[*]}"
elif grep -q '^Found [0-9]* known vulnerabilit' <<<"$said"; then
    printf '%s\n' "$said"
    printf 'audit: raise the versions in pyproject.toml, then: make lock\n'
    exit 1
else
    die "nothing was checked: $(tail -n 1 <<<"$said" | cut -c -300) (is the network there?)"
fi
