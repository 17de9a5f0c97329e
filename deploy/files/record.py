"""The fleet as a JSON document: written beside the rendered files, read by every verb that asks about it later."""

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from deploy.errors import ControlError, Problem
from deploy.fleet import Fleet
from deploy.machine.run_files import MAX_STATE_BYTES, open_to_read
from deploy.paths import Paths
from framefleet.machine.ownership import why_denied


def to_json(fleet: Fleet) -> str:
    """Writes a fleet so that `from_json` gives an equal one back."""
    return msgspec.json.format(msgspec.json.encode(fleet, enc_hook=str)).decode() + "\n"


@lru_cache(maxsize=4)
def from_json(text: str) -> Fleet:
    """Reads what `to_json` wrote; the same text once.

    Raises:
        ValueError: it is no such document, or was written by another version of this package.
    """
    try:
        return msgspec.json.decode(text, type=Fleet, dec_hook=_path)
    except msgspec.MsgspecError as error:
        raise ValueError(f"not a fleet of this version: {error}") from error


def read_record(paths: Paths) -> Fleet:
    """Reads the fleet that was asked for last in this folder.

    Raises:
        ControlError: there is none, or it cannot be read.
    """
    try:
        with open_to_read(paths.record) as file:
            fleet = from_json(file.read(MAX_STATE_BYTES).decode())
            # Somebody else's would name any file, whose text is then sent to whom it names, too.
            own = os.fstat(file.fileno()).st_uid in (0, os.geteuid())
            return fleet if own else replace(fleet, own_key=None)
    except FileNotFoundError:
        raise ControlError(Problem(str(paths.state), "no fleet was started here", "run `make up` first")) from None
    except PermissionError:
        raise ControlError(Problem(str(paths.record), "permission denied", why_denied(paths.record))) from None
    except (OSError, ValueError) as error:
        raise ControlError(Problem(str(paths.record), str(error), "run `make down`, then `make up`")) from None


def _path(kind: type, value: Any) -> Path:
    return Path(value)
