"""Shows a person how far a run is: a bar on a terminal, a line now and then elsewhere."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TextIO

from tqdm import tqdm

# Into a log file one line every so many seconds is enough.
LOG_EVERY_S = 5.0
SCREEN_EVERY_S = 0.1


class Progress:
    """Progress on one stream.

    Args:
        stream: where it is shown.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        self._stream = stream

    def note(self, text: str) -> None:
        """Says something besides, if there is anything to say."""
        if text:
            print(text, file=self._stream, flush=True)

    @contextmanager
    def steps(self, name: str, total: int, unit: str) -> Iterator[Callable[[], object]]:
        """A bar that one call advances by one."""
        with self._bar(name, total, unit) as bar:
            yield bar.update

    @contextmanager
    def counts(self, name: str, total: int, unit: str) -> Iterator[Callable[[int, Mapping[str, int]], object]]:
        """A bar that is told how many there are by now, and how many of each kind."""
        with self._bar(name, total, unit) as bar:

            def show(done: int, kinds: Mapping[str, int]) -> None:
                bar.set_postfix({kind: number for kind, number in kinds.items() if number}, refresh=False)
                bar.update(done - bar.n)

            yield show

    def _bar(self, name: str, total: int, unit: str) -> "tqdm[Any]":
        screen = self._stream.isatty()
        return tqdm(
            desc=name,
            total=total,
            unit=unit,
            file=self._stream,
            ascii=not screen,
            dynamic_ncols=screen,
            mininterval=SCREEN_EVERY_S if screen else LOG_EVERY_S,
            miniters=1,
        )
