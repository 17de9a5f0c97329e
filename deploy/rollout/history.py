"""What was deployed on a host: now, before, and what a deploy that has not ended is changing it to.

One file holds all of it and is replaced as a whole, so a power cut leaves the old or the new state, never half of one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import msgspec

from deploy.describe.fleet_file import parse_inventory
from deploy.describe.inventory import Inventory
from deploy.errors import ControlError, Problem
from deploy.files.record import from_json as fleet_from_json
from deploy.fleet import Fleet
from deploy.paths import Folders
from deploy.rendered_file import RenderedFile

FLEET = "fleet.json"
PROGRAMS = "supervisor/programs/"


@dataclass(frozen=True, slots=True)
class Deployment:
    """One state of a host, complete enough to be gone back to without its bundle.

    Attributes:
        release: id of the release.
        host: the host's name in the inventory.
        inventory: text of the fleet.toml.
        drained: names of hosts that were drained by hand.
        files: everything rendered.
        at: when it was made, ISO 8601, UTC.
        by: who made it.
    """

    release: str
    host: str
    inventory: str
    drained: tuple[str, ...]
    files: tuple[RenderedFile, ...]
    at: str
    by: str

    @property
    def parsed(self) -> Inventory:
        """The fleet.toml, read."""
        return parse_inventory(self.inventory)

    @property
    def folders(self) -> Folders:
        """The host's folders."""
        return self.parsed.folders

    @property
    def fleet(self) -> Fleet:
        """What the files were rendered from.

        Raises:
            ValueError: by a version whose fleets this one cannot read.
        """
        return fleet_from_json(self.texts[FLEET])

    @property
    def texts(self) -> Mapping[str, str]:
        """The files' texts by path."""
        return {str(file.path): file.text for file in self.files}

    def new_programs(self, other: "Deployment | None") -> frozenset[str]:
        """Names of the programs that the other has not, or has otherwise."""
        before = other.texts if other else {}
        paths = [path for path, text in self.texts.items() if path.startswith(PROGRAMS) and before.get(path) != text]
        return frozenset(PurePath(path).stem for path in paths)


@dataclass(frozen=True, slots=True)
class History:
    """What a host's next deploy has to know.

    Attributes:
        current: what was deployed last and proved itself.
        previous: what `rollback` goes back to.
        pending: what a deploy has begun to change to; still there if it was cut off.
        made_user: True if a deploy made the system user, so that `undeploy` removes it.
    """

    current: Deployment | None = None
    previous: Deployment | None = None
    pending: Deployment | None = None
    made_user: bool = False

    @property
    def releases(self) -> frozenset[str]:
        """Ids of the releases that must stay."""
        known = (self.current, self.previous, self.pending)
        return frozenset(deployment.release for deployment in known if deployment)


def to_json(history: History) -> str:
    """Writes what `read_history` reads."""
    return msgspec.json.format(msgspec.json.encode(history, enc_hook=str)).decode() + "\n"


def read_history(file: Path) -> History:
    """Reads a host's history; an empty one where nothing was deployed yet.

    Raises:
        ControlError: the file is damaged.
    """
    try:
        return msgspec.json.decode(file.read_bytes(), type=History, dec_hook=_path)
    except FileNotFoundError:
        return History()
    except msgspec.MsgspecError as error:
        fix = "put it aside; the next deploy then takes this host for a fresh one"
        raise ControlError(Problem(str(file), str(error), fix)) from None


def _path(kind: Any, value: str) -> Any:
    return kind(value)
