"""Reserves TCP ports for servers that are yet to start."""

import random
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from framefleet.machine.claim import ClaimedError, claimed

_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_USUAL = range(20000, 32768)
_FEWEST = 2000


class NoPortError(RuntimeError):
    """There are not so many free ports in a row."""


@contextmanager
def reserved_ports(count: int = 1, among: range | None = None) -> Iterator[int]:
    """Free ports in a row, given to nobody else who asks here while the `with` lasts.

    The kernel may give a port of its ephemeral range to any outgoing connection, between a look at it and its use, so
    these lie below that range. Who else asks, in whatever process, is kept off by a claim, as local to a network
    namespace as ports are.

    Args:
        count: how many.
        among: where they are looked for; None is below the ephemeral range.

    Yields:
        The first of them.

    Raises:
        NoPortError: there are not so many.
    """
    among = among or _below_ephemeral()
    firsts = list(range(among.start, among.stop - count + 1))
    random.shuffle(firsts)
    for first in firsts:
        with ExitStack() as held, suppress(ClaimedError, OSError):
            for port in range(first, first + count):
                held.enter_context(claimed(f"port-{port}"))
                _check_free(port)
            kept = held.pop_all()
            break
    else:
        raise NoPortError(f"no {count} free ports in a row from {among.start} to {among.stop - 1}; free some")
    with kept:
        yield first


def _below_ephemeral() -> range:
    """What is left below that range; the usual place on machines that leave nothing or do not say."""
    try:
        end = int(_EPHEMERAL.read_text().split()[0])
    except OSError:
        return _USUAL
    first = min(_USUAL.start, end - _FEWEST)
    return range(first, end) if first >= _FEWEST else _USUAL


def _check_free(port: int) -> None:
    with socket.socket() as trial:
        trial.bind(("", port))  # at every address
