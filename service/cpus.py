"""The CPUs an instance keeps to, before its worker counts them or starts a thread."""

import os

from framefleet.machine.cpus import parse_cpus, write_cpus


def keep_to_cpus(wanted: str) -> str:
    """Keeps this thread, and what it starts from now on, to some CPUs.

    Args:
        wanted: as taskset takes them; empty leaves everything as it is.

    Returns:
        Which of them cannot be used, such as in a container or after one was unplugged, in words; empty if all can.
        The others are used; all there are if none is left.
    """
    asked, allowed = set(parse_cpus(wanted)), os.sched_getaffinity(0)
    if usable := asked & allowed:
        os.sched_setaffinity(0, usable)
    if asked <= allowed:
        return ""
    return f"{write_cpus(asked - allowed)} cannot be used here; it runs on {write_cpus(usable or allowed)}"


def usable_threads(threads: int) -> int:
    """How many threads that compute an engine may start: more than CPUs only wait for one another.

    Args:
        threads: as asked for; 0 takes as many as there are CPUs.
    """
    cpus = len(os.sched_getaffinity(0))
    return min(threads or cpus, cpus)
