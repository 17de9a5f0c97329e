"""Lists of CPUs as the kernel and taskset write them, such as `0-3,8`: deploy/ writes them, the service reads them."""

import re
from collections.abc import Collection

_RUN = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def parse_cpus(text: str) -> tuple[int, ...]:
    """Reads a list of CPUs; empty text is none.

    Raises:
        ValueError: it is no such list.
    """
    cpus: list[int] = []
    for part in text.strip().split(",") if text.strip() else ():
        run = _RUN.fullmatch(part)
        if run is None:
            raise ValueError(f"{text.strip()!r} is no list of CPUs such as 0-3,8")
        cpus += range(int(run[1]), int(run[2] or run[1]) + 1)
    return tuple(cpus)


def write_cpus(cpus: Collection[int]) -> str:
    """Writes CPUs: the inverse of `parse_cpus`."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][1] + 1:
            runs[-1][1] = cpu
        else:
            runs.append([cpu, cpu])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)
