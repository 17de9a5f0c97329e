"""Decides what goes into a bundle: all that a host without a network needs to run this release.

Flow: checkout + fleet.toml + wheels -> [Entry...] -> run_bundle -> framefleet-<id>.tar -> bootstrap on the host, which
uses it too, so: only the standard library.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from deploy.release import RECORD, SUMS, TEST_PICTURE, Release, to_json
from framefleet.whole_file import sha256

CODE = ("framefleet", "service", "deploy")
PROGRAM_MODE, FILE_MODE, FOLDER_MODE = 0o755, 0o644, 0o755
# Beside the code: where each file goes in the bundle, and where it is in a checkout.
FILES = {
    "lock/service.txt": "lock/service.txt",
    "LICENSE": "LICENSE",
    "Makefile": "tools/host.mk",
    "deploy.sh": "tools/deploy.sh",
    "bin/framefleet": "tools/framefleet",
    # What a person on the host reads at night, with all that it links to.
    **{
        f"docs/{name}.md": f"docs/{name}.md"
        for name in ("deploy", "gpu-host", "models", "operate", "security", "settings")
    },
}
PROGRAMS = frozenset({"deploy.sh", "bin/framefleet"})
JOIN = """\
#!/bin/sh
# Puts the slices of {name} together again, beside this file.
set -eu
cd "$(dirname "$0")"
sha256sum --quiet -c {name}.slices.sha256
cat {slices} >{name}
sha256sum -c {name}.sha256
"""


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a bundle.

    Attributes:
        path: in the bundle.
        content: a file to copy, or the bytes themselves.
        mode: permission bits.
    """

    path: PurePosixPath
    content: Path | bytes
    mode: int = FILE_MODE


def entries(
    root: Path,
    release: Release,
    *,
    inventory: Path,
    picture: bytes,
    model: Path | None,
    wheels: Sequence[Path],
    more_wheels: Sequence[Path] = (),
) -> tuple[Entry, ...]:
    """Lists everything but SHA256SUMS.

    Args:
        root: the checkout.
        release: what is made.
        inventory: the fleet.toml it is made for; a host's first deploy takes it, later ones have their own.
        picture: a JPEG that every instance is asked about when it is deployed.
        model: its file, taken along with the manifest beside it; None for a stand-in.
        wheels: files that lock/service.txt is installed from.
        more_wheels: files that are installed as they are, such as TensorRT's.
    """
    found = [
        Entry(PurePosixPath(RECORD), to_json(release).encode()),
        Entry(PurePosixPath(TEST_PICTURE), picture),
        Entry(PurePosixPath("fleet.toml"), inventory),
        *(Entry(PurePosixPath(to), root / source, mode_of(to)) for to, source in FILES.items()),
        *(Entry(PurePosixPath(*file.relative_to(root).parts), file) for file in _code(root)),
        *(Entry(PurePosixPath("wheels", wheel.name), wheel) for wheel in wheels),
        *(Entry(PurePosixPath("more-wheels", wheel.name), wheel) for wheel in more_wheels),
    ]
    for file in (model, model.with_suffix(".json")) if model else ():
        if file.exists():
            found.append(Entry(PurePosixPath("model", file.name), file))
    return tuple(sorted(found, key=lambda entry: entry.path))


def sums(listed: Sequence[Entry]) -> Entry:
    """SHA256SUMS over the entries, as `sha256sum -c` reads it."""
    lines = "".join(f"{sha256(entry.content)}  {entry.path}\n" for entry in listed)
    return Entry(PurePosixPath(SUMS), lines.encode())


def slice_names(name: str, size: int, slice_bytes: int) -> tuple[str, ...]:
    """Names for the slices of a file of `size` bytes, in order; `cat NAME.[0-9]*` would read them so too."""
    count = max(1, -(-size // slice_bytes))
    width = max(3, len(str(count - 1)))
    return tuple(f"{name}.{index:0{width}}" for index in range(count))


def join_recipe(name: str, slices: Sequence[str]) -> str:
    """A shell script that checks slices, joins and checks the whole."""
    return JOIN.format(name=name, slices=" ".join(slices))


def sum_lines(names: Sequence[str], digest: Callable[[str], str]) -> str:
    """Lines for `sha256sum -c`."""
    return "".join(f"{digest(name)}  {name}\n" for name in names)


def _code(root: Path) -> Iterator[Path]:
    for package in CODE:
        for file in sorted((root / package).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc":
                yield file


def mode_of(path: str) -> int:
    """Permission bits of a file of a bundle."""
    return PROGRAM_MODE if path in PROGRAMS else FILE_MODE
