"""One build of the kit as it lies on a host, and in the bundle it came in.

Flow: checkout -> bundle -> [Release] -> bootstrap -> `<install>/releases/<id>` -> host recipes. Only the standard
library: the bootstrap reads this before anything is installed.
"""

import json
import re
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path

RECORD = "release.json"
# As sha256sum writes and checks it.
SUMS = "SHA256SUMS"
# Of that file, so of every file; beside it where a bundle is signed.
SIGNATURE = f"{SUMS}.sig"
# Written last, with the digest of SHA256SUMS in it: a release without it was cut off while it was built.
BUILT = "built"
TEST_PICTURE = "golden.jpg"
ID = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9][A-Za-z0-9._-]{0,40}")


@dataclass(frozen=True, slots=True)
class Release:
    """What release.json says.

    Attributes:
        id: UTC time of its making and revision of the code; names its folder, shown by /readyz.
        created: that time as ISO 8601, for people.
        python: version its wheels are for, such as `3.11`.
        machine: architecture they are for, such as `x86_64`.
        model: file name of the model that came with it; empty if none did.
        model_sha256: that file's hash; empty if there is none.
    """

    id: str
    created: str
    python: str
    machine: str
    model: str = ""
    model_sha256: str = ""


def release_id(moment: datetime, revision: str) -> str:
    """Names a release that is made at a moment (UTC) from a revision of the code; ids sort by time."""
    return f"{moment:%Y%m%dT%H%M%SZ}-{revision}"


def to_json(release: Release) -> str:
    """Writes what `from_json` reads."""
    return json.dumps(asdict(release), indent=2) + "\n"


def from_json(text: str) -> Release:
    """Reads a release.json; keys of later versions are ignored.

    Raises:
        ValueError: it is none.
    """
    values = json.loads(text)
    known = {field.name for field in fields(Release)}
    if not isinstance(values, dict) or not all(isinstance(values.get(name, ""), str) for name in known):
        raise ValueError("not an object of strings")
    try:
        release = Release(**{name: value for name, value in values.items() if name in known})
    except TypeError as error:
        raise ValueError(str(error)) from None
    if not ID.fullmatch(release.id):
        raise ValueError(f"{release.id!r} is no release id")
    return release


def release_of(repo: Path) -> Release | None:
    """The release whose code lies in a folder; None in a checkout.

    Raises:
        ValueError: the folder has a release.json that is none.
    """
    record = repo / RECORD
    return from_json(record.read_text()) if record.exists() else None


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file of the bundle in a folder, or that the release there was made from, by its path."""
    lines = (folder / SUMS).read_text().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def is_built(folder: Path) -> bool:
    """True if the release in this folder is complete."""
    return (folder / BUILT).exists()
