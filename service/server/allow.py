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


class AllowedOnly:
    """A listener that closes others' connections as soon as it takes them: not a byte is read, no thread waits.

    Args:
        listener: gunicorn's, listening.
        allowed: who may connect.
    """

    def __init__(self, listener: Any, allowed: tuple[Network, ...]) -> None:
        self._listener, self._allowed = listener, allowed

    def accept(self) -> tuple[Any, Any]:
        """Takes the next connection of who may; raises as the listener does where nobody waits any more."""
        while True:
            connection, peer = self._listener.accept()
            if any(_address(peer[0]) in network for network in self._allowed):
                return connection, peer
            connection.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._listener, name)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """A peer's address; that of an IPv4 peer also where it came to an IPv6 socket."""
    address = ipaddress.ip_address(text)
    return getattr(address, "ipv4_mapped", None) or address
