"""Does something as another user of this machine, where the tests run as root."""

import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

NOBODY, UNKNOWN = 65534, 54321
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


def _answer(uid: int, ask: Callable[[], Any], answer: "multiprocessing.Queue[Any]", here: Path) -> None:
    os.chdir(here)
    os.setgroups([])
    os.setuid(uid)
    try:
        answer.put(ask())
    except Exception as error:
        answer.put(str(error))  # not every exception can be sent


def as_user(uid: int, ask: Callable[[], Any], here: Path = Path("/")) -> Any:
    """What a function gives, or the words of what it raises, in a process of another user."""
    context = multiprocessing.get_context("fork")
    answer: multiprocessing.Queue[Any] = context.Queue()
    child = context.Process(target=_answer, args=(uid, ask, answer, here))
    child.start()
    found = answer.get(timeout=60)
    child.join()
    return found
