"""One configuration file as text, before it is written."""

from dataclasses import dataclass
from pathlib import PurePosixPath

FILE_MODE = 0o644


@dataclass(frozen=True, slots=True)
class RenderedFile:
    """One configuration file.

    Attributes:
        path: relative to the fleet's etc folder.
        text: its whole content.
        mode: permission bits.
    """

    path: PurePosixPath
    text: str
    mode: int = FILE_MODE
