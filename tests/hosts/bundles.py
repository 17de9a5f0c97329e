"""Bundles for machines, made by the real command from this checkout or from a copy of it that somebody broke."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
COPIED = ("framefleet", "service", "deploy", "tools", "lock", "LICENSE")


class BundleMaker:
    """Makes bundles that all have their own release id."""

    def __init__(self, cache: Path, picture: Path) -> None:
        """Prepares a place for bundles.

        Args:
            cache: keeps the wheels from one time to the next.
            picture: what hosts check instances with.
        """
        self._cache, self._picture = cache, picture
        self._folder = cache / str(os.getpid())
        self._folder.mkdir(parents=True)
        for wheels in cache.glob("wheels-*"):
            (self._folder / wheels.name).symlink_to(wheels)

    def make(self, fleet: Path, code: Path = ROOT, slice_mb: int = 0) -> Path:
        """`python -m deploy bundle` for a fleet.toml; gives the tar."""
        options = ("--fleet", str(fleet.absolute()), "--out", str(self._folder), "--picture", str(self._picture))
        options += ("--slice-mb", str(slice_mb))
        done = subprocess.run(
            [sys.executable, "-m", "deploy", "bundle", *options], cwd=code, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found = re.search(r"^(/\S+\.tar):", done.stdout, re.MULTILINE)
        assert found, done.stdout
        return Path(found[1])

    def remove(self) -> None:
        """Removes the bundles, but not the wheels."""
        for wheels in self._folder.glob("wheels-*"):
            if not wheels.is_symlink() and not (self._cache / wheels.name).exists():
                wheels.rename(self._cache / wheels.name)
        shutil.rmtree(self._folder)


def release_of(bundle: Path) -> str:
    """The release id in a bundle's name."""
    return bundle.stem.removeprefix("framefleet-")


def changed_code(folder: Path, changes: Mapping[str, tuple[str, str]]) -> Path:
    """A copy of this checkout's code.

    Args:
        folder: where to.
        changes: by file, a text that occurs in it once, and what to write instead.
    """
    for name in COPIED:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    for name, (old, new) in changes.items():
        text = (folder / name).read_text()
        assert text.count(old) == 1, f"{old!r} occurs {text.count(old)} times in {name}"
        (folder / name).write_text(text.replace(old, new))
    return folder
