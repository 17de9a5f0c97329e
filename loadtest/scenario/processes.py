"""Which processes answer behind a URL, so that a scenario sees whether one of them was killed or replaced."""

from collections.abc import Callable, Mapping
from typing import Any

from loadtest.target.target import Target

TIMEOUT_S = 10.0
# A balancer goes round idle instances: so many answers without a new name mean that there is none.
KNOWN_IN_A_ROW = 8
MOST_ASKED = 2000


def running(url: str) -> dict[str, int]:
    """Process ids by instance; empty if the service does not tell."""
    with Target(url, TIMEOUT_S) as target:
        return read(target.status)


def read(status: Callable[[], Mapping[str, Any]]) -> dict[str, int]:
    """Asks until every instance has answered.

    Args:
        status: the `/status` document of whichever instance answers.
    """
    found: dict[str, int] = {}
    known = 0
    for _ in range(MOST_ASKED):
        document = status()
        name, pid = document.get("instance"), document.get("pid")
        known = 0 if isinstance(name, str) and isinstance(pid, int) and name not in found else known + 1
        if isinstance(name, str) and isinstance(pid, int):
            found[name] = pid
        if known == KNOWN_IN_A_ROW:
            break
    return found


def ended(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """Instances whose process is another one now, or none."""
    return tuple(name for name, pid in before.items() if after.get(name) != pid)


def replaced(before: Mapping[str, int], after: Mapping[str, int]) -> tuple[str, ...]:
    """Instances that answer again, from another process."""
    return tuple(name for name in ended(before, after) if name in after)
