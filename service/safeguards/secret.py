"""The secret of a host: its instances name pictures with it, so that who does not know it cannot aim at a name.

It lies in the folder that they share, for its owner alone. Whoever comes first makes it, whole or not at all; a damaged
one is made anew, and what it named is forgotten. No start and no request fails for it.
"""

import os
import secrets
import tempfile
from contextlib import suppress
from pathlib import Path

from service.log import log_event

FILE = "secret"
SECRET_BYTES = 8


def host_secret(folder: Path) -> int:
    """Reads a host's secret, or makes it.

    Args:
        folder: shared by the instances of a host.

    Returns:
        64 bits; another number for each process where the folder gives none: the log says so.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = _read(folder / FILE) or _make(folder / FILE)
    except OSError as error:
        log_event("no_host_secret", folder=str(folder), reason=str(error))
        found = secrets.token_bytes(SECRET_BYTES)
    return int.from_bytes(found, "big")


def _read(path: Path) -> bytes:
    """The secret; empty where there is none, or something else."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return b""
    try:
        found = os.read(descriptor, SECRET_BYTES + 1)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
    return found if len(found) == SECRET_BYTES else b""


def _make(path: Path) -> bytes:
    """Makes the secret, unless another process was quicker.

    Raises:
        OSError: the folder takes none.
    """
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
        try:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
            with suppress(FileExistsError):
                os.link(file.name, path)
            if not _read(path):
                os.replace(file.name, path)
        finally:
            with suppress(FileNotFoundError):
                os.unlink(file.name)
    found = _read(path)
    if not found:
        raise OSError(f"{path} is not what was written there")
    return found
