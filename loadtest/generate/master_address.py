"""Where load generators of several machines meet: `ADDRESS:PORT`, of `--bind` there and `--master` here.

On loopback alone. Locust's own messages come before any of ours: whoever reaches a master is sent its orders, and who
answers a worker says where it sends its load, with its key. A password in our messages would change nothing of that,
and they are not encrypted; ssh does both.
"""

import ipaddress
import re

from loadtest.errors import OptionError

LOOPBACK = "127.0.0.1"
LAST_PORT = 65_535
# A name, an IPv4 or an IPv6 address in brackets.
HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")


def meeting_place(text: str, option: str) -> tuple[str, str]:
    """Host, an address, and port.

    Args:
        text: as it was typed.
        option: that it was typed for.

    Raises:
        OptionError: it is no such address, or other machines reach it. The host is not repeated, it may be a key.
    """
    host, _, port = text.strip().rpartition(":")
    if not HOST.fullmatch(host) or not (port.isascii() and port.isdecimal() and 1 <= int(port) <= LAST_PORT):
        raise OptionError(f"{option}: must be ADDRESS:PORT, e.g. 127.0.0.1:5557, the port from 1 to {LAST_PORT}")
    address = LOOPBACK if host.lower() == "localhost" else host.strip("[]")
    if not _is_loopback(address):
        raise OptionError(
            f"{option}: must be an address of this machine alone, such as 127.0.0.1:{port}: whoever reaches it could "
            f"take orders there, or give them; other machines come by ssh: `ssh -N -L {port}:127.0.0.1:{port} LEAD`"
        )
    return address, port


def checked_bind(text: str) -> str:
    """The same `--bind`; empty for none.

    Raises:
        OptionError: it is no address, or other machines reach it.
    """
    if text:
        meeting_place(text, "--bind")
    return text.strip()


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
