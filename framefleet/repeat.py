"""Does something again and again while something else goes on."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeated(act: Callable[[], None], pause_s: Callable[[], float]) -> Iterator[None]:
    """Acts after each pause, in a thread of its own, while the block lasts; the last act is waited for."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(pause_s()):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
