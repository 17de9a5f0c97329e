"""API keys: a file of hashes with names and scopes, read again when it changes; `python -m service.keys NAME` adds one.

A line of the file is `name:SHA-256 of the key:scopes`. The key itself is shown once, when it is made, and kept nowhere.
"""

if __name__ == "__main__":
    from framefleet.command import carry_out

    carry_out("service.keys")


import argparse
import hashlib
import hmac
import os
import re
import secrets
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from framefleet.machine.ownership import why_denied
from framefleet.text_file import NotText, read_text
from service.errors import StartError
from service.log import log_event

SCOPES = ("detect", "operate")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HASH = re.compile(r"[0-9a-f]{64}")
CHECK_EVERY_S = 1.0
SECRET_BYTES = 32
# Nobody finds 32 random bytes by their hash.
NEW_FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class Key:
    """One key.

    Attributes:
        name: whose it is, for logs.
        sha256: of the key, hexadecimal.
        scopes: `detect` for pictures, `operate` for figures.
    """

    name: str
    sha256: str
    scopes: frozenset[str]

    def line(self) -> str:
        """How it stands in the file."""
        return f"{self.name}:{self.sha256}:{','.join(sorted(self.scopes))}\n"


class BadKeyFile(Exception):
    """The file cannot be read, or a line of it is no key."""


def read_keys(path: Path) -> tuple[Key, ...]:
    """Reads the file; empty lines and those that start with # are skipped.

    Raises:
        BadKeyFile: says which line is wrong, without repeating it: it may hold a key by mistake.
    """
    try:
        lines = read_text(path).splitlines()
    except NotText as error:
        raise BadKeyFile(f"{path}: {error}; {error.fix}") from None
    except PermissionError:
        raise BadKeyFile(f"{path}: permission denied; {why_denied(path)}") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise BadKeyFile(f"{path}: {reason}; `make key NAME=...` makes one") from None
    keys = [
        _parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line and not line.startswith("#")
    ]
    names = [key.name for key in keys]
    for name in names:
        if names.count(name) > 1:
            raise BadKeyFile(f"{path}: {name} is there twice; give every key its own name")
    return tuple(keys)


def _parse(line: str, where: str) -> Key:
    parts = line.split(":")
    if len(parts) != 3 or not NAME.fullmatch(parts[0]) or not HASH.fullmatch(parts[1]):  # noqa: PLR2004
        raise BadKeyFile(f"{where}: not name:sha256:scopes; `make key NAME=...` writes such lines")
    scopes = frozenset(parts[2].split(","))
    if not scopes <= set(SCOPES):
        raise BadKeyFile(f"{where}: scopes are {' and '.join(SCOPES)}, separated by commas")
    return Key(parts[0], parts[1], scopes)


class KeyRing:
    """The keys as the file has them now.

    Args:
        path: of the file.
        clock: s, monotonic.

    Raises:
        StartError: the file cannot be used. Later, a file that was broken meanwhile leaves the keys as they were.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._lock = threading.Lock()
        self._checked = clock()
        self._stamp = _stamp(path)
        try:
            self._keys = read_keys(path)
        except BadKeyFile as error:
            raise StartError(f"FRAMEFLEET_KEYS: {error}") from None

    def find(self, secret: str) -> Key | None:
        """The key that a client sent, if it is one.

        Every key is compared, each in constant time: how long this takes says nothing about the keys.
        """
        digest = hashlib.sha256(secret.encode()).hexdigest()
        found = None
        for key in self._current():
            if hmac.compare_digest(key.sha256, digest):
                found = key
        return found

    def _current(self) -> tuple[Key, ...]:
        with self._lock:
            if self._clock() - self._checked >= CHECK_EVERY_S:
                self._checked = self._clock()
                self._reload()
            return self._keys

    def _reload(self) -> None:
        stamp = _stamp(self._path)
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._keys = read_keys(self._path)
        except BadKeyFile as error:
            log_event("keys_not_reloaded", detail=str(error))
        else:
            log_event("keys_reloaded", count=len(self._keys))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def add_key(path: Path, name: str, scopes: Sequence[str]) -> str:
    """Makes a key, adds its hash to the file, and returns the key itself.

    Raises:
        BadKeyFile: the name or the file will not do.
    """
    if not NAME.fullmatch(name):
        raise BadKeyFile(f"{name!r}: no plain name; use letters, digits and . _ - (64 at most)")
    keys = read_keys(path) if path.exists() else ()
    if name in {key.name for key in keys}:
        raise BadKeyFile(f"{path}: {name} is there already; delete its line first, which ends that key within a second")
    secret = secrets.token_urlsafe(SECRET_BYTES)
    added = Key(name, hashlib.sha256(secret.encode()).hexdigest(), frozenset(scopes))
    path.parent.mkdir(parents=True, exist_ok=True)
    before = read_text(path) if path.exists() else ""
    if before and not before.endswith("\n"):  # as some editors leave it
        before += "\n"
    # A name that nobody can foresee, in a folder that may be another user's than root, who runs this.
    descriptor, temporary = tempfile.mkstemp("", f".{path.name}.", path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(before + added.line())
            _as_before(path, descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return secret


def _as_before(path: Path, descriptor: int) -> None:
    """Gives the next file the owner and mode of the one it replaces; instances may be another user's."""
    if not path.exists():
        os.fchmod(descriptor, NEW_FILE_MODE)
        return
    found = path.stat()
    try:
        os.fchown(descriptor, found.st_uid, found.st_gid)
    except PermissionError as error:  # it is the old file that is in the way
        raise PermissionError(error.errno, error.strerror, str(path)) from None
    os.fchmod(descriptor, found.st_mode & 0o777)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; 0 with the new key on stdout, 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python -m service.keys", description="Make an API key; it is shown once.")
    parser.add_argument("name", help="whose key it is; shown in logs")
    parser.add_argument("--file", type=Path, default=Path("var/keys"), help="(default: %(default)s)")
    parser.add_argument(
        "--scopes",
        default="detect",
        type=lambda text: text.split(","),
        help="detect for pictures, operate for status and metrics; commas between (default: %(default)s)",
    )
    options = parser.parse_args(arguments)
    if not set(options.scopes) <= set(SCOPES):
        parser.error(f"--scopes: there are {' and '.join(SCOPES)}")
    try:
        print(add_key(options.file, options.name, options.scopes))
    except BadKeyFile as error:
        print(f"keys: {error}", file=sys.stderr)
        return 1
    return 0
