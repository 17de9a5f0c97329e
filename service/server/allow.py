"""Lets only some addresses connect, where an instance listens beyond loopback: strangers are not to pass by nginx."""

import ipaddress
from typing import Any

from service.errors import StartError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_allow(text: str) -> tuple[Network, ...]:
    """Reads addresses and networks with commas between; empty lets everybody connect.

    Raises:
        StartError: one is neither.
    """
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",")) if text else ()
    except ValueError as error:
        raise StartError(f"FRAMEFLEET_ALLOW: {error}; write such as 10.0.0.10,10.0.1.0/24") from None


def keep_out_others(listener: Any, allowed: tuple[Network, ...]) -> None:
    """Closes others' connections as soon as they are taken: not a byte of theirs is read, no thread waits for one.

    Args:
        listener: gunicorn's, listening; its `accept` is replaced.
        allowed: who may connect; empty for everybody.
    """
    if not allowed:
        return
    take = listener.accept

    def accept() -> tuple[Any, Any]:
        while True:  # until nobody waits, which the listener says with an exception
            connection, peer = take()
            if any(_address(peer[0]) in network for network in allowed):
                return connection, peer
            connection.close()

    listener.accept = accept


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A peer's address; that of an IPv4 peer also where it came to an IPv6 socket."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
