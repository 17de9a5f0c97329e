"""A checkout in which nothing runs: `make` there calls programs that only write down how they were called."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = """#!/bin/sh
# To look whether all is there is no call, and words are really told apart.
[ "$1" = --quick ] && exit 0
[ "$2" = tools/words.py ] && exec {python} "$@"
{{ printf '%s\\0' "$0" "$@"; printf '\\1\\0'; }} >>{calls}
env -0 >{environment}
"""


@dataclass(frozen=True, slots=True)
class Checkout:
    """Where it is; what `make` called lies beside it."""

    folder: Path

    @property
    def calls(self) -> Path:
        return self.folder.parent / "calls"

    @property
    def environment(self) -> Path:
        return self.folder.parent / "environment"

    def stand_in(self, name: str) -> None:
        """Puts a program that only writes down how it was called in some program's place."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        names = {"python": sys.executable, "calls": self.calls, "environment": self.environment}
        path.write_text(STAND_IN.format(**{name: shlex.quote(str(value)) for name, value in names.items()}))
        path.chmod(0o755)

    def make(self, *arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            ["make", *arguments],
            cwd=self.folder,
            env={**outside_make(), **environ},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def called(self, *arguments: str, **environ: str) -> tuple[str, ...]:
        """The words of the one call that `make` makes."""
        self.calls.unlink(missing_ok=True)
        done = self.make(*arguments, **environ)
        assert done.returncode == 0, done.stdout + done.stderr
        (call,) = self._calls()
        return call

    def seen(self) -> dict[str, str]:
        """The environment of the last call."""
        lines = self.environment.read_bytes().decode(errors="surrogateescape").split("\0")
        return dict(line.split("=", 1) for line in lines if line)

    def _calls(self) -> Iterator[tuple[str, ...]]:
        words = self.calls.read_bytes().decode(errors="surrogateescape").split("\0")[:-1]
        while words:
            end = words.index("\1")
            yield tuple(words[:end])
            words = words[end + 1 :]


def checkout(folder: Path) -> Checkout:
    """Makes one."""
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copytree(ROOT / "tools", folder / "tools")
    made = Checkout(folder)
    for name in (".venv/bin/python", "tools/setup.sh", "tools/deploy.sh"):
        made.stand_in(name)
    (folder / ".venv/installed-lock").touch()
    return made


def outside_make() -> dict[str, str]:
    """The environment without what an outer `make` adds to it."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
