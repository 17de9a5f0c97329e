"""Tells by a digest whether the running nginx has read its files as they are now.

Who lets nginx read them notes the digest: the balancer program before it becomes nginx, a rollout after a reload.
"""

import hashlib
from collections.abc import Sequence
from pathlib import PurePosixPath

from deploy.paths import Paths
from deploy.render import RenderedFile

FOLDER = "nginx"


def digest(files: Sequence[RenderedFile]) -> str:
    """Of those of the files that nginx reads."""
    return _digest({str(file.path): file.text for file in files if file.path.parts[0] == FOLDER})


def digest_on_disk(paths: Paths) -> str:
    """The same, of the files in the fleet's etc folder."""
    files = sorted((paths.etc / FOLDER).rglob("*"))
    texts = {PurePosixPath(*file.relative_to(paths.etc).parts): file.read_text() for file in files if file.is_file()}
    return _digest({str(path): text for path, text in texts.items()})


def loaded(paths: Paths) -> str:
    """What the running nginx has read; empty if nobody noted it."""
    return paths.nginx_loaded.read_text() if paths.nginx_loaded.exists() else ""


def _digest(texts: dict[str, str]) -> str:
    parts = [f"{path}\n{text}" for path, text in texts.items()]
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()
