"""Stand-in accelerators that several processes share."""

import fcntl
import threading
from pathlib import Path

import numpy as np
import pytest

from service.engines.simulated import SimulatedEngine
from service.errors import StartError

FRAMES = np.zeros((1, 64, 64, 3), np.uint8)


def waits(lock: Path) -> bool:
    """True if somebody waits for a file's lock."""
    inode = str(lock.stat().st_ino)
    return any("->" in line and inode in line for line in Path("/proc/locks").read_text().splitlines())


def test_engines_of_one_lock_take_turns(tmp_path: Path) -> None:
    lock, order = tmp_path / "lock", list[str]()

    def infer() -> None:
        engine.infer(FRAMES)
        order.append("inferred")

    with SimulatedEngine(f"a_ms=0,b_ms=0,size=64,lock={lock}", 0) as engine, lock.open() as another:
        fcntl.flock(another, fcntl.LOCK_EX)
        thread = threading.Thread(target=infer)
        thread.start()
        while thread.is_alive() and not waits(lock):
            pass
        order.append("released")
        fcntl.flock(another, fcntl.LOCK_UN)
        thread.join()
        assert order == ["released", "inferred"]
        fcntl.flock(another, fcntl.LOCK_EX | fcntl.LOCK_NB)  # and it is free again


def test_a_lock_that_cannot_be_had_is_no_start(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"lock=.*No such file"), SimulatedEngine(f"lock={tmp_path}/no/lock", 0):
        pass
