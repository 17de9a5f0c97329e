"""The service settings that nginx and supervisor have to agree with."""

import math
from collections.abc import Mapping

from deploy.errors import Problem
from deploy.fleet import PREFIX

LONGEST_HOLD_MS = 30_000


class ServiceLimits:
    """Reads those settings; what cannot be read is in `problems`.

    Args:
        settings: variables by their whole name, `FRAMEFLEET_...`.

    Attributes:
        max_body_bytes: bytes of a request body at most.
        hold_ms: ms nginx may keep a request while no instance listens: its deadline, up to `LONGEST_HOLD_MS`.
        read_timeout_s: s nginx waits for an instance: a slow answer within the service's own deadline must get through,
            also after a request was held.
        stop_wait_s: s supervisord waits for an instance to end: requests in flight must get their own grace.
        problems: one per setting that is no number above 0.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        self.problems: list[Problem] = []
        self.max_body_bytes = self._whole(settings, "MAX_BODY_BYTES", 64 * 2**20)
        deadline_ms = self._whole(settings, "DEADLINE_MS", 5000)
        self.hold_ms = min(deadline_ms, LONGEST_HOLD_MS)
        self.read_timeout_s = max(30, -(-(deadline_ms + self.hold_ms) // 1000) + 5)
        self.stop_wait_s = max(45, self._whole(settings, "GRACEFUL_TIMEOUT_S", 30) + 15)

    def _whole(self, settings: Mapping[str, str], name: str, default: int) -> int:
        text = settings.get(PREFIX + name, str(default))
        try:
            value = math.ceil(float(text))
        except (ValueError, OverflowError):
            value = 0
        if value < 1:
            self.problems.append(Problem(PREFIX + name, f"{text!r} is not a number above 0", "unset or correct it"))
        return value


def balancer_workers(cores: int) -> int:
    """Nginx worker processes: proxying is cheap, a few saturate the instances of a large machine."""
    return max(1, min(4, cores))
