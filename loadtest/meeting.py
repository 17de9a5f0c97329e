"""Where load generators of several machines meet: `ADDRESS:PORT`, of `--bind` there and `--master` here."""

import re

from loadtest.errors import OptionError

LAST_PORT = 65_535
# A name, an IPv4 or an IPv6 address in brackets.
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def meeting_place(text: str, option: str) -> tuple[str, str]:
    """Host and port.

    Args:
        text: as it was typed.
        option: that it was typed for.

    Raises:
        OptionError: it is no such address; what was typed is not repeated, it may hold a key.
    """
    host, _, port = text.strip().rpartition(":")
    if not HOST.fullmatch(host) or not (port.isascii() and port.isdecimal() and 1 <= int(port) <= LAST_PORT):
        raise OptionError(f"{option}: must be ADDRESS:PORT, e.g. 10.0.0.1:5557, the port from 1 to {LAST_PORT}")
    return host.strip("[]"), port


def checked_bind(text: str) -> str:
    """The same `--bind`; empty for none.

    Raises:
        OptionError: it is no address.
    """
    if text:
        meeting_place(text, "--bind")
    return text.strip()
