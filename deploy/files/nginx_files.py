"""Tells by a digest whether the running nginx has read its files, and the certificate they name, as they are now.

Who lets nginx read them notes the digest: the balancer program before it becomes nginx, a rollout after a reload.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from deploy.errors import ControlError
from deploy.machine.run_files import read_state
from deploy.paths import Paths
from deploy.rendered_file import RenderedFile

FOLDER = "nginx"
# A renewed certificate changes no file of ours, but nginx has to read it.
CERTIFICATE = re.compile(r'^\s*ssl_certificate(?:_key)? "(?P<path>[^"]+)";$', re.MULTILINE)


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
    try:
        return read_state(paths.nginx_loaded)
    except ControlError:  # something else stands there
        return ""


def _digest(texts: dict[str, str]) -> str:
    parts = [f"{path}\n{text}" for path, text in texts.items()]
    parts += [f"{path}\n{_sha256(Path(path))}" for path in _certificates(texts.values())]
    return hashlib.sha256("\0".join(sorted(parts)).encode()).hexdigest()


def _certificates(texts: Iterable[str]) -> set[str]:
    return {match["path"] for text in texts for match in CERTIFICATE.finditer(text)}


def _sha256(file: Path) -> str:
    """Of a file; empty if it cannot be read, which nginx itself says better."""
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError:
        return ""
