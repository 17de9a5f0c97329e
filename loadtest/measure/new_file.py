"""A file that is written from its start and only ever appended to, so that a run cut short keeps what it had."""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO, TypeVar

from loadtest.errors import RunError

Self = TypeVar("Self", bound="NewFile")


class NewFile:
    """A new file of a run; use it with `with`. What was there is replaced."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None

    def __enter__(self: Self) -> Self:
        self._file = self._path.open("wb")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    @property
    def opened(self) -> BinaryIO:
        """The file itself.

        Raises:
            RunError: it is not open.
        """
        if self._file is None:
            raise RunError(f"{self._path}: file is not open; use it with `with`")
        return self._file
