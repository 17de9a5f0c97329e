"""How much CPU time the instances behind a URL have used so far, from their `/metrics`."""

import re
from collections.abc import Callable

from loadtest.errors import TargetError
from loadtest.target.target import Reply

ROUTE = "/metrics"
OK = 200
# A balancer goes round idle instances: so many answers without a new name mean that there is none.
KNOWN_IN_A_ROW = 8
MOST_ASKED = 2000
_CPU = re.compile(rb"^process_cpu_seconds_total ([0-9.eE+-]+)$", re.MULTILINE)


def read(get: Callable[[str], Reply]) -> dict[str, float]:
    """Asks until every instance has answered.

    Args:
        get: reads a route.

    Returns:
        CPU seconds by instance; empty if the service has no such route or does not tell.
    """
    found: dict[str, float] = {}
    known = 0
    for _ in range(MOST_ASKED):
        seconds, name = _ask(get)
        if seconds is None:
            return {}
        known = known + 1 if name in found else 0
        found[name] = seconds
        if known == KNOWN_IN_A_ROW:
            break
    return found


def used_s(before: dict[str, float], after: dict[str, float]) -> float | None:
    """CPU seconds between two readings; none if an instance came, went or started again meanwhile."""
    if not before or before.keys() != after.keys():
        return None
    spent = [after[name] - before[name] for name in before]
    return None if min(spent) < 0 else sum(spent)


def _ask(get: Callable[[str], Reply]) -> tuple[float | None, str]:
    try:
        reply = get(ROUTE)
    except TargetError:
        return None, ""
    match = _CPU.search(reply.body)
    return (float(match[1]) if reply.status == OK and match else None), reply.instance
