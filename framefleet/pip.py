"""Runs pip with those of its user's settings alone that say how an index is reached: `python -m framefleet.pip ...`.

`user = true` in a pip.conf, PIP_TARGET, PIP_QUIET and their like would install elsewhere, other versions, or without a
word. Only the standard library and pip are needed, so that it works before anything is installed.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence

PREFIX = "PIP_"
# Where packages come from, and how to get there. Proxies, .netrc and the cache folder are not pip's own and stay too.
KEPT = frozenset(
    {
        *("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "keyring-provider"),
        *("cert", "client-cert", "use-feature", "use-deprecated"),  # the latter two choose whose certificates count
        *("timeout", "default-timeout", "retries", "cache-dir", "no-cache-dir"),
    }
)
# Kept where `find-links` says where else packages are; without that it could only fail.
NO_INDEX = "no-index"
# What of the environment matters to reading the settings, beside settings.
SOURCE = "PIP_CONFIG_FILE"
LONGEST_REASON = 400


class PipError(Exception):
    """pip's own settings cannot be read; the message says why."""


def pip_environment(command: str, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment to run pip in, with `python -I -m pip`.

    Args:
        command: pip's, such as `install`; a pip.conf may have a section for each.
        environ: the caller's.

    Returns:
        The caller's, with all that pip is to know of its user's settings in it: of a pip.conf too, which is not read.

    Raises:
        PipError: its configuration files cannot be read.
    """
    plain = {name: value for name, value in environ.items() if not name.startswith((PREFIX, "PYTHON"))}
    settings = kept_settings(_config_list(plain, environ), command)
    return plain | {SOURCE: os.devnull} | {_variable(name): value for name, value in settings.items()}


def kept_settings(lines: Iterable[str], command: str) -> dict[str, str]:
    """Picks what is kept out of the lines of `pip config list`; later sections of pip's count more."""
    found: dict[tuple[str, str], str] = {}
    for line in lines:
        where, _, value = line.partition("=")
        section, _, name = where.rpartition(".")
        found[section, name] = str(ast.literal_eval(value))
    settings: dict[str, str] = {}
    for section in ("global", command, ":env:"):
        settings |= {name: value for (of, name), value in found.items() if of == section and value}
    kept = KEPT | {NO_INDEX} if "find-links" in settings else KEPT
    return {name: value for name, value in settings.items() if name in kept}


def _config_list(plain: Mapping[str, str], environ: Mapping[str, str]) -> Sequence[str]:
    wanted = {SOURCE, *(_variable(name) for name in (*KEPT, NO_INDEX))}
    own = {name: value for name, value in environ.items() if name in wanted}
    # In a pip.conf these would silence the list, or refuse to make it.
    own |= {"PIP_QUIET": "0", "PIP_VERBOSE": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    command = (sys.executable, "-I", "-m", "pip", "config", "list")
    done = subprocess.run(command, env={**plain, **own}, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = " ".join(done.stderr.split())[-LONGEST_REASON:] or "no reason given"
        raise PipError(f"pip's settings cannot be read: {reason}; `pip config debug` lists its files")
    return [line for line in done.stdout.splitlines() if "=" in line]


def _variable(name: str) -> str:
    return PREFIX + name.upper().replace("-", "_")


def main(arguments: Sequence[str]) -> None:
    """Becomes pip."""
    try:
        environment = pip_environment(arguments[0] if arguments else "")
    except PipError as error:
        sys.exit(f"pip: {error}")
    os.execve(sys.executable, [sys.executable, "-I", "-m", "pip", *arguments], environment)


if __name__ == "__main__":
    main(sys.argv[1:])
