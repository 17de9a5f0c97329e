"""Says who else could have written a file that runs as code: TensorRT engines, their plugins, TorchScript.

A plugin is a shared library, an engine holds kernels and what to call in plugins, a TorchScript file is a program that
may do what torch can, such as write files: whoever can write one, or a folder on the way to it, can run what he likes
as this service. Root can anyway, and so can who may write this very code: its owner, and mostly nobody else.
"""

import os
import stat
from collections.abc import Collection
from pathlib import Path

from service.errors import StartError

OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
VARIABLE = "FRAMEFLEET_TRUST_ANY_PATH"


def code_owners() -> frozenset[int]:
    """Ids of the users who may write code that this service runs: root, and the owner of its modules."""
    return frozenset({0, Path(__file__).stat().st_uid})


def code_group() -> int | None:
    """Id of the group that may write this code, as in a checkout made with a umask of 002; None where none may."""
    code = Path(__file__).stat()
    return code.st_gid if code.st_mode & stat.S_IWGRP else None


def owners_by(trust_any_path: int) -> frozenset[int] | None:
    """The users who may have written what runs as code, as the setting of that name says; None for anybody."""
    return None if trust_any_path else code_owners()


def trusted_file(path: Path, variable: str, owners: Collection[int] | None) -> Path:
    """Makes sure that nobody else can have written a file.

    Args:
        path: of the file.
        variable: the setting that names it, for the message.
        owners: ids of the users it may belong to, and every folder above it; None trusts everybody.

    Returns:
        The file with all links resolved: the one to load, as a link could point elsewhere a moment later.

    Raises:
        StartError: somebody else could have; the message says where.
        OSError: there is no such file.
    """
    found = path.resolve(strict=True)
    if owners is None:
        return found
    for place in (found, *found.parents):
        if reason := _reason(place.stat(), owners):
            raise StartError(
                f"{variable}: {found} runs as code, but {place} {reason}; correct that, move the file, "
                f"or set {VARIABLE}=1 if that is as it should be"
            )
    return found


def _reason(found: os.stat_result, owners: Collection[int]) -> str:
    if found.st_uid not in owners:
        return f"belongs to user {found.st_uid}, not to root or the owner of this service's code"
    # In a sticky folder, such as /tmp, others cannot replace what is not theirs.
    others_write = found.st_mode & (stat.S_IWOTH if found.st_gid == code_group() else OTHERS_WRITE)
    if others_write and not (stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX):
        return f"may be written by others than its owner (mode {stat.S_IMODE(found.st_mode):o})"
    return ""
