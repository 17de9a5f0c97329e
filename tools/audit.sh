#!/bin/bash -p
# Asks PyPI which locked packages have known vulnerabilities. Exits with 1 if any has, with 2 if it could not be asked.
# Usage: tools/audit.sh [COMMAND...], which is pip-audit unless another is named. -p: see tools/setup.sh.
set -euo pipefail
cd -- "$(dirname -- "$0")/.."

die() { printf 'audit: %s\n' "$*" >&2; exit 2; }

# Not .venv/bin/pip-audit, which names the folder that it was installed in.
[ $# -gt 0 ] || set -- .venv/bin/python -m pip_audit
command -v "$1" >/dev/null || die "$1 is missing; run: make dev"
locks=(lock/*.txt)
# --disable-pip: every version is in the locks already, so nothing has to be resolved or downloaded.
if said=$("$@" --disable-pip --require-hashes --progress-spinner off "${locks[@]/#/--requirement=}" 2>&1); then
    printf 'audit: no known vulnerabilities in %s\n' "${locks[*]}"
elif [[ $said =~ (^|$'\n')Found\ [0-9]+\ known\ vulnerabilit ]]; then
    printf '%s\n' "$said"
    printf 'audit: raise the versions in pyproject.toml, then: make lock\n'
    exit 1
else
    die "nothing was checked: $(tail -n 1 <<<"$said" | cut -c -300) (is the network there?)"
fi
